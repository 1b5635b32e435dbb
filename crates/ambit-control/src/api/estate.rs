//! The estate: what a version would change, putting it in force, and asking servers for their tools.

use std::sync::Arc;

use ambit_core::{ServerName, TaskId, estate::Estate, json::Value};
use ambit_engine::Inspection;
use ambit_identity::{PersonCaller, PersonProof};
use ambit_policy::{PolicyBook, Prospect};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::{
    Control, NoTools, Shared,
    body::{Answer, Json},
    caller::{Peer, Person, is_first},
    log::with_text,
    problem::Problem,
    tasks::parsed,
};
use crate::{
    check::{Checked, KnownBy, check_archive},
    credentials::{self, Unsealed},
    inspect::propose,
    people::SignIns,
    plan::{self, Running},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EstateAsk {
    archive: String,
}

pub(super) async fn plan(
    State(shared): State<Arc<Shared>>,
    peer: Peer,
    Json { asked, .. }: Json<EstateAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let checked = checked(asked).await?;
    let book = match control.handle.book() {
        Ok(book) => {
            let caller = peer.identify(book.estate())?;
            let inspection = control
                .handle
                .may_inspect(&caller, (control.clock)())
                .await?;
            Some((book, inspection))
        }
        // Nothing is in force, so there is nothing to learn but what the caller sent.
        Err(error) if is_first(&error) => {
            peer.identify(checked.estate())?;
            None
        }
        Err(error) => return Err(error.into()),
    };
    let old = book.as_ref().map(|it| it.0.estate().as_ref());
    let mut plan = plan::plan(old, checked.estate());
    if let Some((book, inspection)) = &book {
        let mut running = running(control, inspection)?;
        let ended = control.handle.unregistered(inspection, checked.estate())?;
        plan.end(&ended, &running);
        running.retain(|it| !ended.contains(&it.task));
        plan.stop((book.estate(), checked.estate()), &running);
    }
    let missing = match &book {
        Some((_, inspection)) => unsealed(control, inspection, checked.estate())?,
        None => credentials::wanted(checked.estate()),
    };
    let mut value = plan.to_value();
    let mut text = plan.to_string();
    for it in &missing {
        text.push_str(&format!("\n{it}\n"));
    }
    if let Value::Object(members) = &mut value {
        members.insert("unsealed".to_owned(), listed(&missing));
    }
    Ok(with_text(value, text))
}

/// Returns the live tasks.
fn running(control: &Control, inspection: &Inspection) -> Result<Vec<Running>, Problem> {
    let tasks = control.handle.tasks(inspection)?.into_iter();
    let named = tasks.map(|it| {
        Ok(Running {
            task: it.id,
            template: it.template,
            agent: it.agent,
            lineage: it.lineage,
            subject: control.handle.person_alias(inspection, it.subject)?,
        })
    });
    named.collect()
}

pub(super) async fn apply(
    State(shared): State<Arc<Shared>>,
    peer: Peer,
    Json { asked, .. }: Json<EstateAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let checked = checked(asked).await?;
    let caller = match control.handle.book() {
        Ok(book) => {
            let caller = peer.identify(book.estate())?;
            let goes = peer.identify(checked.estate()).is_err();
            if book.would_apply(caller.alias()) == Prospect::Open {
                if goes {
                    return Err(locked_out(&caller));
                }
                governed(control, &checked)?;
            }
            caller
        }
        Err(error) if is_first(&error) => {
            let caller = peer.identify(checked.estate())?;
            governed(control, &checked)?;
            caller
        }
        Err(error) => return Err(error.into()),
    };
    let cases = checked.cases();
    let (book, files) = checked.into_parts();
    let applied = control
        .handle
        .apply(&caller, book, files, (control.clock)())
        .await?;
    let before = applied
        .before
        .map_or(Value::Null, |it| it.to_string().into());
    let ended = applied.ended.iter().map(|it| Value::from(it.to_string()));
    let mut members = vec![
        ("estate", applied.estate.to_string().into()),
        ("before", before),
        ("cases", (cases as u64).into()),
        ("ended", ended.collect()),
    ];
    // The estate is in force, whatever the caller may see of it.
    match seen_now(control, &peer, applied.replaced).await {
        Ok((missing, stopped)) => members.extend([
            ("stopped_count", (stopped.len() as u64).into()),
            ("stopped", plan::first(stopped.into_iter())),
            ("unsealed", listed(&missing)),
        ]),
        Err(problem) => tracing::info!(
            code = problem.code(),
            "what the estate stops was not looked at for whoever applied it"
        ),
    }
    Ok(Answer(Value::object(members)))
}

/// Returns the servers of the estate in force whose credentials are not sealed, and the live tasks in which something
/// could be done under the `old` one and nothing can now.
///
/// # Errors
/// The caller may not look under the estate in force; nobody looked then.
async fn seen_now(
    control: &Control,
    peer: &Peer,
    old: Option<Arc<PolicyBook>>,
) -> Result<(Vec<Unsealed>, Vec<TaskId>), Problem> {
    let book = control.handle.book()?;
    let caller = peer.identify(book.estate())?;
    let inspection = control
        .handle
        .may_inspect(&caller, (control.clock)())
        .await?;
    let missing = unsealed(control, &inspection, book.estate())?;
    let Some(old) = old else {
        return Ok((missing, Vec::new()));
    };
    let running = running(control, &inspection)?;
    let stopped = plan::stopping((old.estate(), book.estate()), &running);
    Ok((missing, stopped.map(|it| it.1.task).collect()))
}

/// Returns the servers of `estate` whose credentials are not sealed.
fn unsealed(
    control: &Control,
    inspection: &Inspection,
    estate: &Estate,
) -> Result<Vec<Unsealed>, Problem> {
    let archive = control.handle.archive(inspection);
    Ok(credentials::unsealed(archive.as_ref(), estate)?)
}

fn listed(missing: &[Unsealed]) -> Value {
    missing.iter().map(Unsealed::to_value).collect()
}

pub(super) async fn inspect(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(name): Path<String>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let name: ServerName = parsed(&name)?;
    let leave = control
        .handle
        .may_inspect_server(&caller, name.clone(), (control.clock)())
        .await?;
    let book = control.handle.book()?;
    let server = book.estate().servers.get(&name);
    let server = server.ok_or_else(|| {
        Problem::not_found(
            format!("server `{name}`"),
            "check the spelling against servers/NAME.toml of the estate in force",
        )
    })?;
    let failed = |detail: String| {
        Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream_failed",
            "the server gave no list of tools",
        )
        .because(detail)
    };
    let listed = (control.list_tools)(leave.spend()).await;
    let tools = listed.map_err(|error| match error {
        NoTools::Credential(detail) => not_set_up(detail),
        NoTools::Failed(detail) => failed(detail),
    })?;
    let proposal = propose(server, &tools).map_err(|it| failed(it.to_string()))?;
    Ok(Answer(Value::object([
        ("server", name.as_str().into()),
        ("toml", proposal.toml.into()),
        ("tools_json", proposal.tools_json.into()),
    ])))
}

/// Nobody asked the server: what it wants is missing here.
fn not_set_up(detail: String) -> Problem {
    let title = "the server can't be asked for its tools yet";
    Problem::new(StatusCode::CONFLICT, "credential_missing", title).because(detail)
}

/// Whoever applies an estate is somebody in it: otherwise the last person could lock everybody out.
fn locked_out(caller: &PersonCaller) -> Problem {
    let title = "the estate names nobody for whoever applies it";
    let write = match caller.proof() {
        PersonProof::LocalUser { unix_uid } => {
            format!("write `unix_uid = {unix_uid}` for one person of estate.toml")
        }
        PersonProof::SignIn { .. } => {
            let alias = caller.alias();
            format!("keep `[people.{alias}]` in estate.toml, with the proof that you signed in by")
        }
    };
    let detail = format!("{write}, or have another administrator apply it");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "locked_out", title).because(detail)
}

/// Refuses an estate that nobody could follow with another one at this server.
fn governed(control: &Control, checked: &Checked) -> Result<(), Problem> {
    let (issuer, holders) = match &control.sign_ins {
        SignIns::Nowhere => (None, Vec::new()),
        SignIns::At(provider) => (Some(provider.issuer()), Vec::new()),
        SignIns::WithPasskeys(_) => (None, control.handle.passkey_holders()?),
    };
    let known = KnownBy::Server {
        issuer,
        holders: &holders,
    };
    let governed = checked.is_governed(known);
    governed.map_err(|problem| Problem::check_failed(&[problem]))
}

/// Checks the estate away from the threads that answer others: policies take a while to compile.
async fn checked(asked: EstateAsk) -> Result<Checked, Problem> {
    let check = move || check_archive(asked.archive.as_bytes());
    match tokio::task::spawn_blocking(check).await {
        Ok(Ok(checked)) => Ok(checked),
        Ok(Err(problems)) => Err(Problem::check_failed(&problems)),
        Err(_) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "the check of the estate was broken off",
        )),
    }
}

//! Tasks: start, list, show, end; and the runner's own word that its task is complete.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, SvidKind, TaskId, TemplateName, Timestamp,
    delegation::Lineage,
    estate::{Client, Estate},
    json::Value,
    task::{Contained, End, Task, TaskState},
};
use ambit_engine::{EndedTask, Ender, Inspection, StartTask, Started, TaskSummary, Waits};
use ambit_identity::{Issuance, JoinToken, ProvedKey};
use axum::extract::{Path, State};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    Control, Shared,
    body::{Answer, Asked, Json},
    caller::{Onlooker, Person, Run},
    problem::Problem,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartAsk {
    template: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default, rename = "parameters")]
    _parameters: BTreeMap<String, serde::de::IgnoredAny>,
    contained: ContainedWord,
    #[serde(default)]
    csr: Option<String>,
    #[serde(default)]
    attested: bool,
    #[serde(default)]
    join_token: bool,
}

/// How the instance of a task gets its identity.
enum Serves {
    /// Whoever asks holds its key.
    Key(Box<ProvedKey>),
    /// The next process of its agent that attests at the Workload API.
    NextWorkload,
    /// Whoever shows this secret, and a key.
    JoinToken(JoinToken),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ContainedWord {
    Namespaces,
    None,
}

/// The most ended tasks in one answer.
pub const TASKS_PER_ANSWER_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAsk {
    #[serde(default)]
    ended: bool,
    before: Option<String>,
    count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndAsk {
    end: EndWord,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndWord {
    Completed,
    Cancelled,
}

pub(super) async fn start(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Json { asked, value }: Json<StartAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    // The request is checked before anything starts: a mistake in it should leave no trace.
    let serves = serves(&asked, (control.clock)().chance)?;
    let template = parsed(&asked.template)?;
    let ask = StartTask {
        agent: match &asked.agent {
            Some(name) => parsed(name)?,
            None => only_agent(control.handle.book()?.estate(), &template)?,
        },
        template,
        parameters: value
            .get("parameters")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
        contained: match asked.contained {
            ContainedWord::Namespaces => Contained::Namespaces,
            ContainedWord::None => Contained::None,
        },
    };
    let (handle, moment) = (&control.handle, (control.clock)());
    match serves {
        Serves::Key(key) => {
            let started = handle.start_task(&caller, ask, moment).await?;
            served(control, &started, &key).await
        }
        Serves::NextWorkload => {
            may_wait(control, &ask.agent)?;
            let started = handle.start_waiting_task(&caller, ask, Waits::ForAgent, moment);
            Ok(Answer(started_value(control, &started.await?, None)))
        }
        Serves::JoinToken(token) => {
            let waits = Waits::ForJoinToken(token.digest());
            let started = handle.start_waiting_task(&caller, ask, waits, moment);
            // Shown here and nowhere else: from now on only its digest is known.
            let secret = ("join_token", token.reveal());
            Ok(Answer(started_value(
                control,
                &started.await?,
                Some(secret),
            )))
        }
    }
}

/// Certifies the instance of a task that started.
async fn served(control: &Control, started: &Started, key: &ProvedKey) -> Result<Answer, Problem> {
    let svid = certify_first(control, &started.task, started.certificate_expires_at, key).await?;
    Ok(Answer(started_value(
        control,
        started,
        Some(("svid", &svid)),
    )))
}

/// Reads how the instance gets its identity: exactly one way is named.
fn serves(asked: &StartAsk, chance: [u8; 32]) -> Result<Serves, Problem> {
    match (&asked.csr, asked.attested, asked.join_token) {
        (Some(csr), false, false) => Ok(Serves::Key(Box::new(proved_key(csr)?))),
        (None, true, false) => Ok(Serves::NextWorkload),
        (None, false, true) => Ok(Serves::JoinToken(JoinToken::of_chance(chance))),
        _ => Err(Problem::invalid(
            "name one of three: `csr` has the instance's signing request; `attested` is true, and the next process of the \
             agent that attests becomes the instance; `join_token` is true, and whoever shows the answer's token does",
        )),
    }
}

/// Reads a signing request (DER) in base64.
pub(super) fn proved_key(request: &str) -> Result<ProvedKey, Problem> {
    let request = STANDARD
        .decode(request)
        .map_err(|_| Problem::invalid("`csr` is the signing request (DER) in base64"))?;
    ProvedKey::from_request(&request)
        .map_err(|error| Problem::invalid(format!("`csr` can't be used: {error}")))
}

/// Refuses a task that no process could serve.
fn may_wait(control: &Control, agent: &AgentName) -> Result<(), Problem> {
    let book = control.handle.book()?;
    let estate = book.estate();
    let registered = estate.agents.get(agent);
    let by_key = |it: &Client| it.runs.as_ref() == Some(agent);
    if registered
        .is_some_and(|it| it.workloads.is_empty() && it.tokens.is_empty() && it.svids.is_empty())
        && !estate.clients.values().any(by_key)
    {
        return Err(Problem::invalid(format!(
            "nobody can prove to be agent `{agent}`; write a `[[workload]]`, a `[[token]]` or an `[[svid]]` into its file, or \
             `runs` into a client's, and apply the estate; or say who becomes the instance (`--svid DIR`, `--join-token`)"
        )));
    }
    Ok(())
}

/// Returns the agent that alone lists `template`. Nothing is decided here: the task is, for this agent.
fn only_agent(estate: &Estate, template: &TemplateName) -> Result<AgentName, Problem> {
    let agents = estate.agents.iter();
    let mut names = agents.filter_map(|(name, it)| it.templates.contains(template).then_some(name));
    let (first, second) = (names.next(), names.next());
    match (first, second) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(Problem::invalid(format!(
            "no agent lists the template `{template}`; name another template, or add it to an agent"
        ))),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(names);
            let all: Vec<_> = all.map(|it| format!("`{it}`")).collect();
            let all = all.join(", ");
            Err(Problem::invalid(format!(
                "several agents may have a task of `{template}`: {all}; name one as `agent`, with --for"
            )))
        }
    }
}

/// Certifies the instance of a task that it got just now. A task that nobody can serve would stay open until it expires:
/// it ends when that can't be done.
pub(super) async fn certify_first(
    control: &Control,
    task: &Task,
    expires_at: Timestamp,
    key: &ProvedKey,
) -> Result<String, Problem> {
    match certify(control, task, expires_at, key).await {
        Ok(svid) => Ok(svid),
        Err(problem) => {
            control.end_unserved(task.id).await;
            Err(problem.adding("the task was cancelled"))
        }
    }
}

/// Certifies the instance of a task until `expires_at`, or as long as the keys may sign.
pub(super) async fn certify(
    control: &Control,
    task: &Task,
    expires_at: Timestamp,
    key: &ProvedKey,
) -> Result<String, Problem> {
    let (moment, keys) = ((control.clock)(), control.keys_in_force());
    let issuance = Issuance {
        key,
        spiffe_id: &task.spiffe_id,
        now: moment.now,
        expires_at: expires_at.min(keys.expires_at()),
        chance: moment.chance.first_chunk().copied().unwrap_or_default(),
    };
    let svid = keys.issue(&issuance).map_err(|error| {
        Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "the instance's certificate could not be made",
        )
        .because(crate::check::chain(&error))
    })?;
    // On record before it leaves.
    control
        .handle
        .certified(
            task,
            (SvidKind::X509, svid.certificate()),
            svid.expires_at(),
        )
        .await?;
    Ok(svid.to_pem())
}

pub(super) fn started_value(
    control: &Control,
    started: &Started,
    more: Option<(&str, &str)>,
) -> Value {
    let details = (
        "authorization_details",
        started.authorization_details.clone(),
    );
    let more = more.map(|(name, it)| (name, Value::from(it)));
    served_value(control, &started.task, more.into_iter().chain([details]))
}

/// Returns what an instance needs to know of its task, and `more`.
pub(super) fn served_value<'a>(
    control: &Control,
    task: &Task,
    more: impl IntoIterator<Item = (&'a str, Value)>,
) -> Value {
    let members = [
        ("task", task.id.to_string().into()),
        ("instance", task.instance.to_string().into()),
        ("spiffe_id", task.spiffe_id.to_string().into()),
        ("bundle", control.keys_in_force().bundle().to_pem().into()),
        ("authority", task.authority.to_string().into()),
        ("expires_at", task.expires_at.to_string().into()),
        ("gateway", control.gateway.as_str().into()),
    ];
    Value::object(members.into_iter().chain(more))
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Asked(asked): Asked<ListAsk>,
) -> Result<Answer, Problem> {
    let handle = shared.control.handle.clone();
    let told = |tasks: &[TaskSummary], inspection| {
        let tasks = tasks.iter();
        let tasks = tasks.map(|it| summary(&shared.control, inspection, it));
        tasks.collect::<Result<Vec<Value>, Problem>>()
    };
    let count = asked.count.unwrap_or(TASKS_PER_ANSWER_MAX);
    if !(1..=TASKS_PER_ANSWER_MAX).contains(&count) {
        return Err(Problem::invalid(format!(
            "`count` is 1 to {TASKS_PER_ANSWER_MAX}; ask several times for more"
        )));
    }
    let before: Option<TaskId> = asked.before.as_deref().map(parsed).transpose()?;
    if !asked.ended {
        let tasks = told(&handle.tasks(&inspection)?, &inspection)?;
        return Ok(Answer(Value::object([("tasks", Value::Array(tasks))])));
    }
    // Read away from the threads that answer others.
    let reading = tokio::task::spawn_blocking(move || {
        let ended = handle.ended_tasks(&inspection, before, count);
        (ended, inspection)
    });
    let (ended, inspection) = reading.await.map_err(|_| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "failed", "the reading was broken off")
    })?;
    let ended = ended?;
    let last = ended.last().filter(|_| ended.len() == count);
    let mut members = vec![("tasks", Value::Array(told(&ended, &inspection)?))];
    members.extend(last.map(|it| ("next", it.id.to_string().into())));
    Ok(Answer(Value::object(members)))
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let id: TaskId = parsed(&id)?;
    let task = shared.control.handle.task(&inspection, id)?;
    let task = task.ok_or_else(|| {
        Problem::not_found(
            format!("task {id}"),
            "`ambit task list --all` shows the tasks",
        )
    })?;
    summary(&shared.control, &inspection, &task).map(Answer)
}

pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(id): Path<String>,
    Json { asked, .. }: Json<EndAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let end = match asked.end {
        EndWord::Completed => End::Completed,
        EndWord::Cancelled => End::Cancelled,
    };
    let by = Ender::Person(&caller);
    let ended = control
        .handle
        .end_task(by, parsed(&id)?, end, (control.clock)())
        .await?;
    Ok(Answer(ended_value(&ended)))
}

/// The run, or its runner, says that its work is done.
pub(super) async fn complete(
    State(shared): State<Arc<Shared>>,
    Run(caller): Run,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let moment = (control.clock)();
    let task = control.handle.offers(&caller, moment.now)?.task.id;
    let by = Ender::Instance(&caller);
    let ended = control
        .handle
        .end_task(by, task, End::Completed, moment)
        .await?;
    Ok(Answer(ended_value(&ended)))
}

/// Reads an identifier or name.
pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(format!("{error}")))
}

fn ended_value(ended: &EndedTask) -> Value {
    let below = ended.below.iter().map(ToString::to_string);
    Value::object([
        ("task", ended.task.id.to_string().into()),
        ("state", state(ended.task.state).into()),
        ("below", below.map(Value::from).collect()),
    ])
}

fn summary(
    control: &Control,
    inspection: &Inspection,
    task: &TaskSummary,
) -> Result<Value, Problem> {
    let subject = control.handle.person_alias(inspection, task.subject)?;
    let subject = subject.unwrap_or_else(|| task.subject.to_string());
    let labels = task.usage.labels.iter().map(|it| it.as_str());
    let mut members = vec![
        ("task", task.id.to_string().into()),
        ("state", state(task.state).into()),
        ("template", task.template.as_str().into()),
        ("version", u64::from(task.template_version).into()),
        ("agent", task.agent.as_str().into()),
        ("instance", task.instance.to_string().into()),
        ("spiffe_id", task.spiffe_id.to_string().into()),
        ("subject", subject.into()),
        ("parameters", Value::Object(task.parameters.clone())),
        ("contained", task.contained.as_str().into()),
        ("started_at", task.started_at.to_string().into()),
        ("expires_at", task.expires_at.to_string().into()),
        ("calls", u64::from(task.usage.calls).into()),
        ("labels", labels.collect()),
    ];
    if let Lineage::Child {
        parent, delegation, ..
    } = task.lineage
    {
        members.push(("parent", parent.to_string().into()));
        members.push(("delegation", delegation.to_string().into()));
    }
    Ok(Value::object(members))
}

const fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Active => "active",
        TaskState::Ended(end) => end.as_str(),
    }
}

//! Taking authority away, and giving it back to what begins later.

use std::sync::Arc;

use ambit_core::{PersonId, act::Target, json::Value, limits::REASON_BYTES_MAX};
use ambit_identity::PersonCaller;
use axum::extract::State;
use serde::Deserialize;

use super::{
    Control, Shared,
    body::{Answer, Json},
    caller::Person,
    problem::Problem,
    tasks::parsed,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetedAsk {
    target: TargetAsk,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetAsk {
    kind: TargetWord,
    id: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetWord {
    Task,
    Instance,
    Agent,
    Person,
    Server,
}

pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Json { asked, .. }: Json<TargetedAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    check_reason(&asked.reason)?;
    let target = target(control, &caller, &asked.target).await?;
    let banned = match target {
        Target::Person(person) => alias(control, &caller, person).await?,
        Target::Task(_) | Target::Instance(_) | Target::Agent(_) | Target::Server(_) => None,
    };
    let report = control
        .handle
        .revoke(&caller, target, asked.reason, (control.clock)())
        .await?;
    if let Some(person) = banned {
        // A ban that is lifted gives no session back.
        shared.sessions.close_all_of(&person);
    }
    let texts = |it: &mut dyn Iterator<Item = String>| it.map(Value::from).collect::<Vec<_>>();
    Ok(Answer(Value::object([
        ("revocation", report.revocation.to_string().into()),
        ("target", report.target.to_string().into()),
        (
            "ended",
            Value::Array(texts(&mut report.ended.iter().map(ToString::to_string))),
        ),
        (
            "crossed",
            Value::Array(texts(&mut report.crossed.iter().map(ToString::to_string))),
        ),
        ("took_ms", report.took.as_millis().into()),
    ])))
}

pub(super) async fn reinstate(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Json { asked, .. }: Json<TargetedAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    check_reason(&asked.reason)?;
    let target = target(control, &caller, &asked.target).await?;
    let done = control
        .handle
        .reinstate(&caller, target, asked.reason, (control.clock)())
        .await?;
    Ok(Answer(Value::object([(
        "target",
        done.target.to_string().into(),
    )])))
}

fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "say why, in 1 to {REASON_BYTES_MAX} bytes: the reason is kept with the record"
        )));
    }
    Ok(())
}

async fn target(
    control: &Control,
    caller: &PersonCaller,
    asked: &TargetAsk,
) -> Result<Target, Problem> {
    Ok(match asked.kind {
        TargetWord::Task => Target::Task(parsed(&asked.id)?),
        TargetWord::Instance => Target::Instance(parsed(&asked.id)?),
        TargetWord::Agent => Target::Agent(parsed(&asked.id)?),
        TargetWord::Server => Target::Server(parsed(&asked.id)?),
        TargetWord::Person => Target::Person(person(control, caller, &asked.id).await?),
    })
}

/// Returns who a pseudonym is.
async fn alias(
    control: &Control,
    caller: &PersonCaller,
    person: PersonId,
) -> Result<Option<String>, Problem> {
    let moment = (control.clock)();
    let inspection = control.handle.may_inspect(caller, moment).await?;
    Ok(control.handle.person_alias(&inspection, person)?)
}

/// Reads a pseudonym, or the alias that the estate uses.
async fn person(control: &Control, caller: &PersonCaller, text: &str) -> Result<PersonId, Problem> {
    if let Ok(person) = text.parse() {
        return Ok(person);
    }
    let inspection = control
        .handle
        .may_inspect(caller, (control.clock)())
        .await?;
    let found = control
        .handle
        .pseudonym(&inspection, text, (control.clock)())
        .await?;
    found.ok_or_else(|| {
        Problem::not_found(
            format!("person `{text}` in the estate, nor one who ever did anything"),
            "check the spelling against `[people.NAME]` in estate.toml",
        )
    })
}

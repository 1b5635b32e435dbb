//! Delegations: given, listed, exchanged, taken back; by people on the local socket and by runs of agents.

use std::sync::Arc;

use ambit_core::{
    DelegationId, Millis, TaskId, delegation::Delegation, json::Value, task::Contained,
};
use ambit_engine::{Delegate, DelegateTask, DelegationSummary, Delegator, Started, Withdrawal};
use ambit_identity::ProvedKey;
use ambit_policy::{DelegationStanding, PartAsk, part_details};
use axum::{
    Extension,
    extract::{Path, State},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Json},
    caller::{Instance, Onlooker, Person, Run},
    problem::Problem,
    tasks::{ContainedWord, certify_first, parsed, started_value},
};
use crate::carried::OnlyAnswer;

/// An answer, and what becomes of its task when nobody hears it.
type Exchanged = (Option<Extension<OnlyAnswer>>, Answer);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DelegateAsk {
    to: String,
    #[serde(default)]
    spiffe_id: Option<String>,
    #[serde(rename = "authorization_details")]
    _authorization_details: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    ttl_seconds: Option<u64>,
    #[serde(default)]
    depth_left: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangeAsk {
    contained: ContainedWord,
    csr: String,
}

/// A person gives a part of a task away that runs on their behalf.
pub(super) async fn delegate(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(task): Path<String>,
    Json { asked, value }: Json<DelegateAsk>,
) -> Result<Answer, Problem> {
    let what = wanted(parsed(&task)?, &asked, &value)?;
    give(&shared, Delegator::Person(&caller), what).await
}

/// A run of an agent gives a part of its own task away.
pub(super) async fn delegate_own(
    State(shared): State<Arc<Shared>>,
    Run(caller): Run,
    Json { asked, value }: Json<DelegateAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let task = control
        .handle
        .offers(&caller, (control.clock)().now)?
        .task
        .id;
    let what = wanted(task, &asked, &value)?;
    give(&shared, Delegator::Instance(&caller), what).await
}

/// A person's runner takes a part for a new run of the delegate agent.
pub(super) async fn exchange(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(delegation): Path<String>,
    Json { asked, .. }: Json<ExchangeAsk>,
) -> Result<Exchanged, Problem> {
    take(&shared, Delegate::Runner(&caller), (&delegation, &asked)).await
}

/// A run of the delegate agent takes a part beside its own task.
pub(super) async fn exchange_own(
    State(shared): State<Arc<Shared>>,
    Instance(caller): Instance,
    Path(delegation): Path<String>,
    Json { asked, .. }: Json<ExchangeAsk>,
) -> Result<Exchanged, Problem> {
    take(&shared, Delegate::Instance(&caller), (&delegation, &asked)).await
}

/// A person takes a delegation back.
pub(super) async fn withdraw(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(delegation): Path<String>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let by = Delegator::Person(&caller);
    let back = control
        .handle
        .withdraw(by, parsed(&delegation)?, (control.clock)());
    Ok(Answer(withdrawal(&back.await?)))
}

/// A run of an agent takes a delegation of its own task back.
pub(super) async fn withdraw_own(
    State(shared): State<Arc<Shared>>,
    Run(caller): Run,
    Path(delegation): Path<String>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let by = Delegator::Instance(&caller);
    let back = control
        .handle
        .withdraw(by, parsed(&delegation)?, (control.clock)());
    Ok(Answer(withdrawal(&back.await?)))
}

/// The delegations of live tasks.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
) -> Result<Answer, Problem> {
    let now = (shared.control.clock)().now;
    let all = shared.control.handle.delegations(&inspection)?;
    let summary = |it: &DelegationSummary| {
        let standing = match it.standing {
            DelegationStanding::Open if it.delegation.expires_at <= now => "expired",
            DelegationStanding::None | DelegationStanding::Open => "open",
            DelegationStanding::Spent => "spent",
            DelegationStanding::Withdrawn => "withdrawn",
        };
        told(&it.delegation, standing, it.child)
    };
    let delegations = all.iter().map(summary).collect();
    Ok(Answer(Value::object([("delegations", delegations)])))
}

async fn give(shared: &Shared, by: Delegator<'_>, what: DelegateTask) -> Result<Answer, Problem> {
    let control = &shared.control;
    let given = control.handle.delegate(by, what, (control.clock)()).await?;
    Ok(Answer(told(&given, "open", None)))
}

async fn take(
    shared: &Shared,
    by: Delegate<'_>,
    (delegation, asked): (&str, &ExchangeAsk),
) -> Result<Exchanged, Problem> {
    let control = &shared.control;
    let delegation: DelegationId = parsed(delegation)?;
    // The request is checked before anything is spent: a mistake in it should leave no trace.
    let request = STANDARD
        .decode(&asked.csr)
        .map_err(|_| Problem::invalid("`csr` is the signing request (DER) in base64"))?;
    let key = ProvedKey::from_request(&request)
        .map_err(|error| Problem::invalid(format!("`csr` can't be used: {error}")))?;
    let contained = match asked.contained {
        ContainedWord::Namespaces => Contained::Namespaces,
        ContainedWord::None => Contained::None,
    };
    let moment = (control.clock)();
    let started: Started = control
        .handle
        .exchange(by, delegation, contained, moment)
        .await?;
    // A delegation is spent once. What a person's runner asked for with a key is answered again.
    let only = match by {
        Delegate::Runner(_) => None,
        Delegate::Instance(_) | Delegate::Workload(_) | Delegate::Claimant(..) => {
            Some(OnlyAnswer::of_task(&control.handle, started.task.id))
        }
    };
    let until = started.certificate_expires_at;
    let svid = certify_first(control, &started.task, until, &key).await?;
    let answer = started_value(control, &started, Some(("svid", &svid)));
    Ok((only.map(Extension), Answer(answer)))
}

fn wanted(task: TaskId, asked: &DelegateAsk, value: &Value) -> Result<DelegateTask, Problem> {
    let details = value.get("authorization_details").unwrap_or(&Value::Null);
    let part = PartAsk::from_details(details);
    Ok(DelegateTask {
        task,
        to: parsed(&asked.to)?,
        spiffe_id: asked.spiffe_id.as_deref().map(parsed).transpose()?,
        part: part.map_err(|problem| Problem::invalid(problem.to_string()))?,
        ttl: asked.ttl_seconds.map(Millis::from_seconds),
        depth_left: asked.depth_left,
    })
}

fn told(delegation: &Delegation, standing: &str, child: Option<TaskId>) -> Value {
    let mut members = vec![
        ("delegation", delegation.id.to_string().into()),
        ("parent", delegation.parent.to_string().into()),
        ("to", delegation.to.as_str().into()),
        ("standing", standing.into()),
        ("authorization_details", part_details(&delegation.part)),
        ("depth_left", u64::from(delegation.depth_left).into()),
        ("authority", delegation.authority.to_string().into()),
        ("made_at", delegation.made_at.to_string().into()),
        ("expires_at", delegation.expires_at.to_string().into()),
    ];
    if let Some(spiffe_id) = &delegation.spiffe_id {
        members.push(("spiffe_id", spiffe_id.to_string().into()));
    }
    if let Some(child) = child {
        members.push(("child", child.to_string().into()));
    }
    Value::object(members)
}

fn withdrawal(back: &Withdrawal) -> Value {
    let ended = back.ended.iter().map(ToString::to_string);
    let crossed = back.crossed.iter().map(ToString::to_string);
    Value::object([
        ("delegation", back.delegation.to_string().into()),
        ("ended", Value::Array(ended.map(Value::from).collect())),
        ("crossed", Value::Array(crossed.map(Value::from).collect())),
    ])
}

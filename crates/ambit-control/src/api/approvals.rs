//! Approvals: a human's yes or no to one exact act.

use std::sync::Arc;

use ambit_audit::decode;
use ambit_core::{
    ApprovalId, Timestamp,
    json::Value,
    record::{Body, Verdict},
};
use ambit_engine::{Approval, ApprovalStanding, ApprovalSummary, Counts, Inspection};
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{
    Control, Shared,
    body::{Answer, Asked, Json},
    caller::{Onlooker, Person},
    problem::Problem,
    tasks::parsed,
};
use crate::visible::{visible, visible_json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecideAsk {
    verdict: VerdictWord,
    reason: Option<String>,
}

/// The most approvals of ended tasks in one answer.
pub(super) const APPROVALS_PER_ANSWER_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAsk {
    #[serde(default)]
    ended: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum VerdictWord {
    Approved,
    Refused,
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Asked(asked): Asked<ListAsk>,
) -> Result<Answer, Problem> {
    let handle = &shared.control.handle;
    let mut approvals = Vec::new();
    if asked.ended {
        approvals = handle.ended_approvals(&inspection, APPROVALS_PER_ANSWER_MAX)?;
        approvals.reverse();
    }
    // A task that ended a moment ago is in both.
    let live = handle.approvals(&inspection)?;
    approvals.retain(|it| live.iter().all(|live| live.approval.id != it.approval.id));
    approvals.extend(live);
    let approvals: Result<Vec<Value>, Problem> = approvals
        .iter()
        .map(|it| whole(&shared.control, &inspection, it))
        .collect();
    Ok(Answer(Value::object([(
        "approvals",
        Value::Array(approvals?),
    )])))
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let id: ApprovalId = parsed(&id)?;
    let approval = shared.control.handle.approval(&inspection, id)?;
    whole(&shared.control, &inspection, &approval).map(Answer)
}

/// Saying the same thing twice is no mistake: the engine answers as it did.
pub(super) async fn decide(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(id): Path<String>,
    Json { asked, .. }: Json<DecideAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let verdict = match asked.verdict {
        VerdictWord::Approved => Verdict::Approved,
        VerdictWord::Refused => Verdict::Refused,
    };
    let id: ApprovalId = parsed(&id)?;
    let (handle, moment) = (&control.handle, (control.clock)());
    let decided = match (verdict, asked.reason) {
        (Verdict::Refused, Some(reason)) => {
            handle.refuse_approval(&caller, id, reason, moment).await?
        }
        (Verdict::Approved, Some(_)) => {
            return Err(Problem::invalid("only a no takes a `reason`; leave it out"));
        }
        (Verdict::Approved | Verdict::Refused, None) => {
            handle.decide_approval(&caller, id, verdict, moment).await?
        }
    };
    Ok(Answer(Value::object([
        ("approval", decided.approval.id.to_string().into()),
        ("task", decided.approval.task.to_string().into()),
        ("verdict", verdict.as_str().into()),
        ("state", state(&decided, (control.clock)().now).into()),
    ])))
}

/// Everything about the approval. The act stands there whole; `shown` is the same with nothing hidden.
fn whole(
    control: &Control,
    inspection: &Inspection,
    summary: &ApprovalSummary,
) -> Result<Value, Problem> {
    let approval = &summary.approval;
    let name = |person| -> Result<Value, Problem> {
        let alias = control.handle.person_alias(inspection, person)?;
        Ok(alias.unwrap_or_else(|| person.to_string()).into())
    };
    let task = control.handle.task(inspection, approval.task)?;
    let mut members = vec![
        ("approval", approval.id.to_string().into()),
        ("state", state(summary, (control.clock)().now).into()),
        ("task", approval.task.to_string().into()),
        ("decision", approval.decision.to_string().into()),
        ("action", approval.action.as_str().into()),
        ("reason", approval.reason.code().into()),
        ("requested_at", approval.requested_at.to_string().into()),
        ("digest", approval.act.commitment.to_string().into()),
    ];
    if let Some(task) = &task {
        members.push(("agent", task.agent.as_str().into()));
        members.push(("template", task.template.as_str().into()));
    }
    if let Some(subject) = summary.subject {
        members.push(("subject", name(subject)?));
    }
    members.extend(
        approval
            .server
            .as_ref()
            .map(|it| ("server", it.as_str().into())),
    );
    members.extend(
        approval
            .tool
            .as_ref()
            .map(|it| ("tool", it.as_str().into())),
    );
    match &approval.standing {
        ApprovalStanding::Pending { until } => {
            members.push(("expires_at", until.to_string().into()));
        }
        ApprovalStanding::Approved { by, until } => {
            members.push(("by", name(*by)?));
            members.push(("expires_at", until.to_string().into()));
        }
        ApprovalStanding::Refused { by } | ApprovalStanding::Void { by, .. } => {
            members.push(("by", name(*by)?))
        }
        ApprovalStanding::Spent { decision } => {
            members.push(("spent_by", decision.to_string().into()));
        }
    }
    let rules = rules(control, inspection, approval)?;
    let because = match rules.is_empty() {
        true => String::new(),
        false => format!(" (rules: {})", visible(&rules.join(", "))),
    };
    let why = format!("{}{because}", approval.reason.for_agent());
    members.push(("why", why.into()));
    members.push(("rules", rules.iter().map(String::as_str).collect()));
    members.extend(description(control, summary)?.map(|it| ("description", it.into())));
    if let Some(act) = &summary.act {
        members.push(("shown", visible_json(act).into()));
        members.push(("act", act.clone()));
    }
    Ok(Value::object(members))
}

/// Returns the rules that held the act.
fn rules(
    control: &Control,
    inspection: &Inspection,
    approval: &Approval,
) -> Result<Vec<String>, Problem> {
    let leaves = control
        .handle
        .archive(inspection)
        .leaves(approval.leaf, 1)?;
    let record = leaves.first().and_then(|it| decode(it).ok());
    Ok(match record.map(|it| it.body) {
        Some(Body::Decided(decided)) => decided.rules,
        _ => Vec::new(),
    })
}

/// Returns how the tool describes itself, with nothing hidden, when it is still the one that the act pins.
fn description(control: &Control, summary: &ApprovalSummary) -> Result<Option<String>, Problem> {
    let approval = &summary.approval;
    let book = control.handle.book()?;
    let named = approval.server.as_ref().zip(approval.tool.as_ref());
    let tool = named.and_then(|(server, tool)| book.estate().tool(server, tool));
    let pinned = summary.act.as_ref().and_then(|it| it.get("pin"));
    let pinned = pinned.and_then(Value::as_str);
    let tool = tool.filter(|it| Some(it.pin.to_string().as_str()) == pinned);
    let text = tool.and_then(|it| it.definition.get("description")?.as_str());
    Ok(text.map(visible))
}

fn state(summary: &ApprovalSummary, now: Timestamp) -> &'static str {
    match (&summary.approval.standing, summary.counts) {
        (ApprovalStanding::Refused { .. }, _) => "refused",
        (ApprovalStanding::Void { .. }, _) => "void",
        (ApprovalStanding::Spent { .. }, _) => "spent",
        (
            ApprovalStanding::Pending { until } | ApprovalStanding::Approved { until, .. },
            Counts::NoLonger,
        ) if now < *until => "ended",
        (_, Counts::NoLonger) => "expired",
        (ApprovalStanding::Pending { .. }, Counts::Yes) => "pending",
        (ApprovalStanding::Approved { .. }, Counts::Yes) => "approved",
    }
}

//! What stands sealed beside records, opened for a person, and acts whose outcome nobody knew, settled by one.

use std::sync::Arc;

use ambit_core::{
    DecisionId,
    json::{self, Value},
    record::Settlement,
};
use ambit_engine::{Found, Opened};
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Json},
    caller::Person,
    problem::Problem,
    tasks::parsed,
};
use crate::visible::{visible, visible_json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAsk {
    records: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleAsk {
    settlement: SettlementWord,
    reason: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SettlementWord {
    Happened,
    DidNotHappen,
}

/// Shows what stands sealed beside records of one task. That it was opened is on the record before.
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Json { asked, .. }: Json<OpenAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let opened = control
        .handle
        .open_sealed(&caller, asked.records, (control.clock)())
        .await?;
    Ok(Answer(Value::object([(
        "opened",
        opened.into_iter().map(shown).collect(),
    )])))
}

/// Takes a person's word on an act whose outcome nobody knew.
pub(super) async fn settle(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(decision): Path<String>,
    Json { asked, .. }: Json<SettleAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let decision: DecisionId = parsed(&decision)?;
    let settlement = match asked.settlement {
        SettlementWord::Happened => Settlement::Happened,
        SettlementWord::DidNotHappen => Settlement::DidNotHappen,
    };
    let settled = control
        .handle
        .settle_act(
            &caller,
            (decision, settlement),
            asked.reason,
            (control.clock)(),
        )
        .await?;
    Ok(Answer(Value::object([
        ("decision", settled.decision.to_string().into()),
        ("task", settled.task.to_string().into()),
        ("settlement", settled.settlement.as_str().into()),
    ])))
}

/// The content as it was sealed, and beside it the same with nothing hidden.
fn shown(opened: Opened) -> Value {
    let members = [
        ("record", opened.leaf.into()),
        ("what", opened.content.as_str().into()),
        ("commitment", opened.sealed.commitment.to_string().into()),
    ];
    let (state, content) = match opened.found {
        Found::Whole(bytes) => ("opened", Some(read(&bytes))),
        Found::Erased => ("erased", None),
        Found::NotKept => ("not_kept", None),
    };
    let content = content
        .into_iter()
        .flat_map(|(value, shown)| [("content", value), ("shown", shown.into())]);
    let state = [("state", Value::from(state))];
    Value::object(members.into_iter().chain(state).chain(content))
}

/// Reads what was sealed: JSON in nearly all cases, otherwise text.
fn read(bytes: &[u8]) -> (Value, String) {
    match json::parse(bytes) {
        Ok(value) => {
            let shown = visible_json(&value);
            (value, shown)
        }
        Err(_) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let shown = visible(&text);
            (text.into(), shown)
        }
    }
}

//! `ambit log … --open` and `ambit log settle`: what stands sealed beside records, and what nobody knew.

use ambit_core::json::Value;
use clap::Args;

use super::super::{Session, tasks::segment};
use crate::{
    output::{Tone, cell, pretty},
    problem::Problem,
};

/// Options of `ambit log settle`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("settlement").required(true))]
pub(crate) struct SettleArguments {
    /// The decision that permitted the act, as `ambit status` names it
    decision: String,
    /// Its server has it
    #[arg(long, group = "settlement")]
    happened: bool,
    /// Its server has nothing of it
    #[arg(long, group = "settlement")]
    did_not_happen: bool,
    /// How you know; kept encrypted beside the record, for people
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Prints `text`, and then what stands sealed beside these records; `value` gets it as `opened`.
pub(super) async fn open(
    session: &Session,
    (value, text): (&Value, &str),
    records: &[u64],
) -> Result<(), Problem> {
    let records = records.iter().copied().collect::<Value>();
    let body = Value::object([("records", records)]);
    let answer = session.client()?.post("/v1/log/open", &body).await?;
    let opened = answer.get("opened").and_then(Value::as_array);
    let opened = opened.unwrap_or_default();
    let mut text = text.trim_end().to_owned();
    for content in opened {
        text.push_str(&format!("\n\n{}", told(content)));
    }
    let mut members = value.as_object().cloned().unwrap_or_default();
    members.insert("opened".to_owned(), Value::Array(opened.to_vec()));
    session.output.thing(&Value::Object(members), &text)
}

/// Says why a decision was made, and opens its act and what came of it.
pub(super) async fn why(session: &Session, path: &str) -> Result<(), Problem> {
    let answer = session.client()?.get(path).await?;
    let number = |name| answer.get(name).and_then(Value::as_integer);
    let records = [number("index"), number("outcome")].into_iter().flatten();
    let records: Vec<u64> = records.filter_map(|it| it.try_into().ok()).collect();
    let text = answer
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    open(session, (&answer, text), &records).await
}

/// Says whether an act happened.
pub(super) async fn settle(session: &Session, arguments: &SettleArguments) -> Result<(), Problem> {
    let settlement = match arguments.happened {
        true => "happened",
        false => "did_not_happen",
    };
    let body = Value::object([
        ("settlement", Value::from(settlement)),
        ("reason", arguments.reason.as_str().into()),
    ]);
    let path = format!("/v1/acts/{}/settle", segment(&arguments.decision));
    let answer = session.client()?.post(&path, &body).await?;
    let word = session.output.paint(Tone::Good, "settled");
    let found = match arguments.happened {
        true => "it happened",
        false => {
            "it did not happen; a new call needs a new decision, and a new approval where one is asked for"
        }
    };
    let text = format!("{word} {}: {found}", cell(&answer, "decision"));
    session.output.thing(&answer, &text)
}

/// Returns one content for people: what it is, and all of it with nothing hidden.
fn told(content: &Value) -> String {
    let (what, record) = (cell(content, "what"), cell(content, "record"));
    match cell(content, "state").as_str() {
        "opened" => {
            let whole = content.get("content").unwrap_or(&Value::Null);
            format!("The {what} beside record {record}:\n{}", pretty(whole))
        }
        "erased" => format!(
            "The {what} beside record {record} is erased: its key was destroyed. Its commitment stands, {}.",
            cell(content, "commitment")
        ),
        _ => format!(
            "The {what} beside record {record} was not kept: it was too long, or enough was kept already. Its \
             commitment stands, {}.",
            cell(content, "commitment")
        ),
    }
}

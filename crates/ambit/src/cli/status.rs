//! `ambit status`.

use ambit_core::json::Value;

use super::{Session, counted};
use crate::{
    output::{Tone, cell, members},
    problem::Problem,
};

/// How many acts with an unknown outcome are named to people; `-o json` names more.
const UNKNOWN_SHOWN: usize = 20;

/// Says how the server is; the acts whose outcome nobody knows come first.
pub(crate) async fn status(session: &Session) -> Result<(), Problem> {
    let answer = session.client()?.get("/v1/status").await?;
    session.output.thing(&answer, &told(session, &answer))
}

fn told(session: &Session, answer: &Value) -> String {
    let unknown = answer.get("unknown").and_then(Value::as_array);
    let unknown = unknown.unwrap_or_default();
    let mut text = String::new();
    if !unknown.is_empty() {
        let count = answer.get("unknown_count").and_then(Value::as_integer);
        let count = count.and_then(|it| usize::try_from(it).ok());
        let count = count.unwrap_or(unknown.len());
        let head = format!("{} with an unknown outcome:", counted(count, "act"));
        text.push_str(&format!("{}\n", session.output.paint(Tone::Bad, &head)));
        for act in unknown.iter().take(UNKNOWN_SHOWN) {
            text.push_str(&format!(
                "  {} of {}, permitted {}\n    next: {}\n",
                cell(act, "what"),
                cell(act, "task"),
                cell(act, "permitted_at"),
                cell(act, "next"),
            ));
        }
        if count > UNKNOWN_SHOWN {
            let more = count - UNKNOWN_SHOWN;
            text.push_str(&format!("  and {more} more; `-o json` names them\n"));
        }
        text.push('\n');
    }
    let mut rest = answer.as_object().cloned().unwrap_or_default();
    rest.retain(|name, _| !name.starts_with("unknown"));
    text + &members(&Value::Object(rest))
}

//! How Ambit is.

use std::sync::Arc;

use ambit_core::{Millis, json::Value, record::Status};
use ambit_engine::{Moment, OpenAct};
use axum::extract::State;

use super::{Shared, body::Answer, caller::Onlooker, problem::Problem};
use crate::story::to_settle;

/// The most acts with an unknown outcome in one answer, the oldest first.
const UNKNOWN_PER_ANSWER_MAX: usize = 256;
/// How far the machine's clock may be behind the log's time before anybody is told: clocks that are kept in step are set
/// back by less.
pub const CLOCK_BEHIND_TOLD: Millis = Millis::from_seconds(2);

pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let moment = (control.clock)();
    let keys = control.keys_in_force();
    let book = control.handle.book()?;
    let tasks = control.handle.tasks(&inspection)?;
    let open = control.handle.open_acts(&inspection)?;
    let archive = control.handle.archive(&inspection);
    let size = archive.size()?;
    let mut unknown: Vec<_> = open
        .iter()
        .filter(|it| it.status == Some(Status::Unknown))
        .collect();
    unknown.sort_by_key(|it| it.leaf);
    let urls = [
        ("gateway_url", &control.gateway_url),
        ("public", &control.issuer),
    ];
    let urls = urls
        .into_iter()
        .filter_map(|(name, url)| Some((name, url.as_deref()?.into())));
    let members = [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("time", moment.now.to_string().into()),
        ("clock", clock(&moment).into()),
        ("trust_domain", keys.trust_domain().as_str().into()),
        ("authority_expires_at", keys.expires_at().to_string().into()),
        ("gateway", control.gateway.as_str().into()),
        ("estate", book.estate().digest.to_string().into()),
        ("agents", (book.estate().agents.len() as u64).into()),
        ("servers", (book.estate().servers.len() as u64).into()),
        ("tasks", (tasks.len() as u64).into()),
        ("log_size", size.into()),
        (
            "open_acts",
            open.iter().map(|it| it.decision.to_string()).collect(),
        ),
        ("unknown_count", (unknown.len() as u64).into()),
        (
            "unknown",
            unknown
                .into_iter()
                .take(UNKNOWN_PER_ANSWER_MAX)
                .map(named)
                .collect(),
        ),
    ];
    Ok(Answer(Value::object(members.into_iter().chain(urls))))
}

/// Says whether the machine's clock goes with the log's time, and what follows when it does not.
fn clock(moment: &Moment) -> String {
    let behind = moment.now.since(moment.wall);
    if behind <= CLOCK_BEHIND_TOLD {
        return "right".to_owned();
    }
    format!(
        "{} s behind the log: it was ahead once, and the log's time waits for it; tasks, tokens and SVIDs end as much earlier \
         until then",
        behind.as_millis() / 1000
    )
}

/// Names an act whose outcome nobody knows, with what to do.
fn named(act: &OpenAct) -> Value {
    let what = match (&act.server, &act.tool) {
        (Some(server), Some(tool)) => format!("{server}.{tool}"),
        (Some(server), None) => format!("{} at {server}", act.action),
        (None, _) => act.action.clone(),
    };
    Value::object([
        ("decision", act.decision.to_string().into()),
        ("task", act.task.to_string().into()),
        ("what", what.into()),
        ("permitted_at", act.at.to_string().into()),
        ("next", to_settle(act.decision).into()),
    ])
}

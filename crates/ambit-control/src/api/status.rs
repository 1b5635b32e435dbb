//! How Ambit is.

use std::sync::Arc;

use ambit_core::json::Value;
use axum::extract::State;

use super::{Shared, body::Answer, caller::Onlooker, problem::Problem};

pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let keys = control.keys_in_force();
    let book = control.handle.book()?;
    let tasks = control.handle.tasks(&inspection)?;
    let unknown = control.handle.open_acts(&inspection)?;
    let archive = control.handle.archive(&inspection);
    let size = archive.size()?;
    let unknown: Vec<Value> = unknown
        .iter()
        .map(|it| it.decision.to_string().into())
        .collect();
    Ok(Answer(Value::object([
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("time", (control.clock)().now.to_string().into()),
        ("trust_domain", keys.trust_domain().as_str().into()),
        ("authority_expires_at", keys.expires_at().to_string().into()),
        ("gateway", control.gateway.as_str().into()),
        ("estate", book.estate().digest.to_string().into()),
        ("agents", (book.estate().agents.len() as u64).into()),
        ("servers", (book.estate().servers.len() as u64).into()),
        ("tasks", (tasks.len() as u64).into()),
        ("log_size", size.into()),
        ("open_acts", Value::Array(unknown)),
    ])))
}

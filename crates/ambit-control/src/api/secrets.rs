//! Credentials for the gateway to inject. They go in here and never come out.

use std::sync::Arc;

use ambit_core::{ServerName, json::Value};
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Json},
    caller::Person,
    problem::Problem,
    tasks::parsed,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealAsk {
    secret: String,
}

pub(super) async fn seal(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(reference): Path<String>,
    Json { asked, .. }: Json<SealAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    // References are spelled as the estate spells them.
    let reference: ServerName = parsed(&reference)?;
    let reference = reference.as_str().to_owned();
    let chance = (control.clock)().chance;
    let sealed = (control.seal_credential)(&reference, asked.secret.as_bytes(), chance)
        .map_err(Problem::invalid)?;
    control
        .handle
        .keep_credential(&caller, reference.clone(), sealed, (control.clock)())
        .await?;
    Ok(Answer(Value::object([
        ("secret", reference.into()),
        ("state", "sealed".into()),
    ])))
}

//! Passkeys, as administrators see them: offered, listed, removed.

use std::sync::Arc;

use ambit_core::{PasskeyId, json::Value};
use axum::extract::{Path, State};

use super::{
    Shared,
    body::Answer,
    caller::{Onlooker, Person},
    problem::Problem,
    tasks::parsed,
};
use crate::people::SignIns;

/// `POST /v1/people/{person}/enrolment`.
pub(super) async fn offer(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(alias): Path<String>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    // A link that nobody could follow would lie in the log.
    if !matches!(control.sign_ins, SignIns::WithPasskeys(_)) {
        return Err(Problem::invalid(
            "nobody signs in with a passkey here: that wants `[public]` with https and a host's name, and no `[sign_in]`, in ambit.toml",
        ));
    }
    let moment = (control.clock)();
    let offered = control
        .handle
        .offer_enrolment(&caller, alias.clone(), moment)
        .await?;
    let url = control.issuer.as_deref().unwrap_or_default();
    let link = format!("{url}/enroll?code={}", offered.secret.as_str());
    Ok(Answer(Value::object([
        ("person", alias.into()),
        ("link", link.into()),
        (
            "expires_at",
            offered.enrolment.expires_at.to_string().into(),
        ),
    ])))
}

/// `GET /v1/passkeys`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Onlooker(inspection): Onlooker,
) -> Result<Answer, Problem> {
    let passkeys = shared.control.handle.passkeys(&inspection)?;
    let passkeys = passkeys.iter().map(|(passkey, alias)| {
        Value::object([
            ("passkey", passkey.id.to_string().into()),
            ("person", alias.as_str().into()),
            ("kept", passkey.kept.as_str().into()),
            ("algorithm", passkey.algorithm.as_str().into()),
            ("sign_count", u64::from(passkey.sign_count).into()),
        ])
    });
    let passkeys: Value = passkeys.collect();
    Ok(Answer(Value::object([("passkeys", passkeys)])))
}

/// `POST /v1/passkeys/{passkey}/remove`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(passkey): Path<String>,
) -> Result<Answer, Problem> {
    let id: PasskeyId = parsed(&passkey)?;
    let control = &shared.control;
    control
        .handle
        .remove_passkey(&caller, id, (control.clock)())
        .await?;
    Ok(Answer(Value::object([
        ("passkey", id.to_string().into()),
        ("state", "removed".into()),
    ])))
}

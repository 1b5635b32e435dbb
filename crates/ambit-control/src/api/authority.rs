//! The issuing keys: shown, and rotated step by step.

use std::sync::Arc;

use ambit_core::{Timestamp, json::Value, record::KeyStep};
use ambit_engine::KeyRotation;
use ambit_identity::{
    IssuingKeys, PairChance, RotationError,
    authority::{Due, KeyState},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    Control, Doors, Shared,
    body::{Answer, Json},
    caller::{Onlooker, Person},
    problem::Problem,
};

/// Keeps other issuing keys than before, durably.
pub type KeepKeys = Arc<dyn Fn(&IssuingKeys) -> Result<(), String> + Send + Sync>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateAsk {
    step: StepWord,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StepWord {
    Prepare,
    Activate,
    Replace,
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Onlooker(_): Onlooker,
) -> Result<Answer, Problem> {
    Ok(Answer(told(&shared.control.keys_in_force())))
}

/// The bundle as a document (SPIFFE Trust Domain and Bundle §4). Public: it holds public keys alone.
pub(super) async fn bundle(State(shared): State<Arc<Shared>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        // Whoever asks again sooner than the refresh hint does so because of a change.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (
        headers,
        shared.control.keys_in_force().bundle().to_document(),
    )
        .into_response()
}

pub(super) async fn rotate(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Json { asked, .. }: Json<RotateAsk>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let step = match asked.step {
        StepWord::Prepare => KeyStep::Prepare,
        StepWord::Activate => KeyStep::Activate,
        StepWord::Replace => KeyStep::Replace,
    };
    // One step at a time: each follows from the keys before it.
    let _turn = shared.rotating.lock().await;
    let moment = (control.clock)();
    let next = taken(control, step, moment.now);
    // Who may not hears that first, whatever the keys say.
    let rotation = rotation(step, next.as_ref().unwrap_or(&*control.keys_in_force()));
    if let Err(error) = &next {
        control
            .handle
            .may_inspect(&caller, (control.clock)())
            .await?;
        return Err(Problem::invalid(crate::check::chain(error)));
    }
    let leave = control
        .handle
        .may_rotate_keys(&caller, rotation, moment)
        .await?;
    leave.spend();
    let next = put_in_force(
        control,
        next.map_err(|error| Problem::invalid(error.to_string()))?,
    );
    let next = next.map_err(|why| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "the new keys could not be kept; the old ones still sign",
        )
        .because(why)
    })?;
    Ok(Answer(told(&next)))
}

/// Takes each step of the rotation that time asks for, on the record.
pub async fn rotate_if_due(doors: &Doors) {
    let (shared, control) = (&doors.0, doors.control());
    let _turn = shared.rotating.lock().await;
    let now = (control.clock)().now;
    let step = match control.keys_in_force().due(now) {
        Due::Nothing => return,
        Due::Prepare => KeyStep::Prepare,
        Due::Activate => KeyStep::Activate,
        Due::Tidy => KeyStep::Tidy,
    };
    let next = match taken(control, step, now) {
        Ok(next) => next,
        Err(error) => {
            tracing::error!(
                error = crate::check::chain(&error),
                "the issuing keys can't be rotated"
            );
            return;
        }
    };
    match control.handle.keys_due(rotation(step, &next)).await {
        Ok(leave) => {
            leave.spend();
            if let Err(why) = put_in_force(control, next) {
                tracing::error!(
                    why,
                    "rotated issuing keys can't be kept; the old ones still sign"
                );
            }
        }
        Err(error) => {
            tracing::error!(
                error = crate::check::chain(&error),
                "a rotation can't be written"
            );
        }
    }
}

/// Returns the keys after a step.
fn taken(control: &Control, step: KeyStep, now: Timestamp) -> Result<IssuingKeys, RotationError> {
    let keys = control.keys_in_force();
    let chance = || PairChance {
        x509: (control.clock)().chance,
        jwt: (control.clock)().chance,
    };
    // One draw in 2^32 is no key; a second one is enough.
    match step {
        KeyStep::Prepare => match keys.prepare(chance(), now) {
            Err(RotationError::Authority(_)) => keys.prepare(chance(), now),
            other => other,
        },
        KeyStep::Replace => keys
            .replace(chance(), now)
            .or_else(|_| keys.replace(chance(), now)),
        KeyStep::Activate => keys.activate(now),
        KeyStep::Tidy => keys.tidy(now),
    }
}

/// Returns what is written of a step that leads to `next`: the pair that it is about.
fn rotation(step: KeyStep, next: &IssuingKeys) -> KeyRotation {
    let wanted = match step {
        KeyStep::Prepare => KeyState::Prepared,
        KeyStep::Activate | KeyStep::Replace | KeyStep::Tidy => KeyState::Active,
    };
    let report = next.report();
    let about = report
        .iter()
        .find(|it| it.state == wanted)
        .or(report.first());
    KeyRotation {
        step,
        certificate: about.map_or(ambit_core::Digest::of(b""), |it| it.certificate),
        sequence: next.bundle().sequence(),
    }
}

/// Keeps the keys, then lets everybody have them: what signs must still be there after a crash.
fn put_in_force(control: &Control, next: IssuingKeys) -> Result<Arc<IssuingKeys>, String> {
    (control.keep_keys)(&next)?;
    let next = Arc::new(next);
    control.keys.send_replace(next.clone());
    Ok(next)
}

fn told(keys: &IssuingKeys) -> Value {
    let key = |it: ambit_identity::authority::KeyReport| {
        Value::object([
            ("state", it.state.as_str().into()),
            ("certificate", it.certificate.to_string().into()),
            ("kid", it.kid.into()),
            ("since", it.since.to_string().into()),
            ("until", it.until.to_string().into()),
        ])
    };
    Value::object([
        ("trust_domain", keys.trust_domain().as_str().into()),
        ("sequence", keys.bundle().sequence().into()),
        (
            "keys",
            Value::Array(keys.report().into_iter().map(key).collect()),
        ),
        ("roots", keys.bundle().to_pem().into()),
    ])
}

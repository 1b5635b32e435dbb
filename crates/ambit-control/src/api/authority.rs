//! The issuing keys: shown, and rotated step by step.

use std::sync::Arc;

use ambit_core::{Timestamp, json::Value, record::KeyStep};
use ambit_engine::{KeyRotation, Refusal};
use ambit_identity::{
    IssuingKeys, PairChance, PersonCaller, RotationError,
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

/// Keeps issuing keys, durably.
pub type KeepKeys = Arc<dyn Fn(Keep<'_>) -> Result<(), String> + Send + Sync>;

/// What is kept of a step of the rotation. The next keys are kept beside those in force before the step is written, so
/// that they are there whichever of the two the log knows after a crash.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// The step may be written: `next` are kept beside those in force, and do not count yet.
    Beside {
        /// Those that sign.
        in_force: &'a IssuingKeys,
        /// Those that will, when the step is written.
        next: &'a IssuingKeys,
    },
    /// The step is written: these count.
    InForce(&'a IssuingKeys),
    /// The step is refused: those beside are forgotten.
    NotTaken,
}

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
    // One step at a time: each follows from the keys before it.
    let turn = Arc::clone(&shared.rotating).lock_owned().await;
    // Whoever asked may go: a step that is written is taken all the same.
    let taken = tokio::spawn(async move {
        let answer = rotated(&shared, &caller, asked.step).await;
        drop(turn);
        answer
    });
    taken.await.map_err(|_| {
        let title = "the step was not taken to its end; look at `ambit authority show`";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", title)
    })?
}

async fn rotated(
    shared: &Shared,
    caller: &PersonCaller,
    step: StepWord,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let step = match step {
        StepWord::Prepare => KeyStep::Prepare,
        StepWord::Activate => KeyStep::Activate,
        StepWord::Replace => KeyStep::Replace,
    };
    // Who may not hears that first, whatever the keys say, and no keys are made for them.
    let would = control
        .handle
        .would_rotate_keys(caller, step, (control.clock)());
    would.await?;
    let moment = (control.clock)();
    let next = taken(control, step, moment.now)
        .map_err(|error| Problem::invalid(crate::check::chain(&error)))?;
    keep_beside(control, &next).map_err(|why| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "the new keys could not be kept; nothing is written, and the old ones still sign",
        )
        .because(why)
    })?;
    let leave = control
        .handle
        .may_rotate_keys(caller, rotation(step, &next), moment)
        .await
        .inspect_err(|refusal| forget_if_decided(control, refusal))?;
    leave.spend();
    Ok(Answer(told(&put_in_force(control, next))))
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
    if let Err(why) = keep_beside(control, &next) {
        tracing::error!(
            why,
            "rotated issuing keys can't be kept; the old ones still sign"
        );
        return;
    }
    match control.handle.keys_due(rotation(step, &next)).await {
        Ok(leave) => {
            leave.spend();
            put_in_force(control, next);
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
        // It changes no key.
        KeyStep::Begin => Ok(keys.as_ref().clone()),
    }
}

/// Returns what is written of a step that leads to `next`: the pair that it is about.
fn rotation(step: KeyStep, next: &IssuingKeys) -> KeyRotation {
    let wanted = match step {
        KeyStep::Prepare => KeyState::Prepared,
        KeyStep::Begin | KeyStep::Activate | KeyStep::Replace | KeyStep::Tidy => KeyState::Active,
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

/// Keeps the keys to which a step leads, before it is written: what signs must still be there after a crash.
fn keep_beside(control: &Control, next: &IssuingKeys) -> Result<(), String> {
    let in_force = &control.keys_in_force();
    (control.keep_keys)(Keep::Beside { in_force, next })
}

/// Forgets the keys of a step that is refused. After a failure they stay: it may be written all the same.
fn forget_if_decided(control: &Control, refusal: &Refusal) {
    match refusal {
        Refusal::Failed(_) => return,
        Refusal::Denied { .. }
        | Refusal::NotFound(_)
        | Refusal::Invalid(_)
        | Refusal::Conflict(_) => {}
    }
    if let Err(why) = (control.keep_keys)(Keep::NotTaken) {
        tracing::warn!(why, "the keys of a refused step can't be removed");
    }
}

/// Lets everybody have the keys of a step that is written. They are kept already, so they count whatever the files say.
fn put_in_force(control: &Control, next: IssuingKeys) -> Arc<IssuingKeys> {
    if let Err(why) = (control.keep_keys)(Keep::InForce(&next)) {
        tracing::error!(
            why,
            "rotated issuing keys stand beside those before them still; the next start puts them in force"
        );
    }
    let next = Arc::new(next);
    control.keys.send_replace(next.clone());
    next
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

//! Joining: whoever shows the join token of a task that waits, or a workload token that is its agent, and proves to hold
//! a key, becomes its instance.

use std::sync::Arc;

use ambit_core::limits::SVID_TTL_MAX;
use ambit_engine::Claim;
use ambit_identity::{Claimant, JoinToken};
use axum::{Extension, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Json},
    problem::Problem,
    tasks::{certify, proved_key, served_value},
};
use crate::{carried::OnlyAnswer, foreign::ForeignTokenError};

/// The longest body of a request to join, in bytes: a stranger sends it.
pub const JOIN_BYTES_MAX: usize = 8 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinAsk {
    token: String,
    csr: String,
}

/// How often whoever claims can show what it claims by.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shown {
    Once,
    AtWill,
}

/// Whether the task has its instance since just now.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Novelty {
    New,
    Known,
}

/// Claims a task. What is wrong with the request is said before that; which tokens there are is not.
pub(super) async fn join(
    State(shared): State<Arc<Shared>>,
    Json { asked, .. }: Json<JoinAsk, JOIN_BYTES_MAX>,
) -> Result<(Option<Extension<OnlyAnswer>>, Answer), Problem> {
    let control = &shared.control;
    let key = proved_key(&asked.csr)?;
    let (claimant, shown) = match JoinToken::parse(&asked.token) {
        Ok(token) => (Claimant::joining(&token, &key), Shown::Once),
        Err(_) => (foreign(&shared, &asked.token).await?, Shown::AtWill),
    };
    let (task, novelty) = match control.handle.claim(claimant).await? {
        Claim::New(task) => (task, Novelty::New),
        // The same workload may ask again: it has another key, or its certificate ends.
        Claim::Known(task) => (task, Novelty::Known),
        Claim::OtherAgent | Claim::NothingWaits => return Err(refused()),
    };
    let now = (control.clock)().now;
    let until = task.expires_at.min(now.plus(SVID_TTL_MAX));
    // A join token is spent: there is no other answer.
    let only = (shown == Shown::Once).then(|| OnlyAnswer::of_task(&control.handle, task.id));
    match certify(control, &task, until, &key).await {
        Ok(svid) => {
            let svid = ("svid", svid.as_str().into());
            let answer = Answer(served_value(control, &task, [svid]));
            Ok((only.map(Extension), answer))
        }
        Err(problem) if novelty == Novelty::Known => Err(problem),
        Err(problem) => {
            // A task that nobody can serve would stay open until it expires.
            control.end_unserved(task.id).await;
            Err(problem)
        }
    }
}

/// Identifies the holder of a workload token.
async fn foreign(shared: &Shared, token: &str) -> Result<Claimant, Problem> {
    let identified = shared.foreign.identify(&shared.control, token).await;
    identified.map_err(|error| {
        tracing::warn!(
            error = crate::check::chain(&error),
            "a workload token was refused"
        );
        match error {
            ForeignTokenError::Token(_) | ForeignTokenError::Unknown(_) => refused(),
            ForeignTokenError::Keys(_) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "issuer_unavailable",
                "the keys of the token's issuer can't be had now",
            )
            .because("try again in a minute"),
            ForeignTokenError::Engine(error) => error.into(),
        }
    })
}

fn refused() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "join_refused",
        "no task waits for this token",
    )
    .because("it is wrong, was spent, or its task has ended; ask for `ambit task start TEMPLATE --for AGENT` with `--join-token` or \
         `--attested`")
}

//! Joining: whoever shows the join token of a task that waits, and proves to hold a key, becomes its instance.

use std::sync::Arc;

use ambit_core::{limits::SVID_TTL_MAX, task::End};
use ambit_engine::{Claim, Ender};
use ambit_identity::{Claimant, JoinToken};
use axum::{extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Json},
    problem::Problem,
    tasks::{certify, proved_key, served_value},
};

/// The longest body of a request to join, in bytes: a stranger sends it.
pub const JOIN_BYTES_MAX: usize = 8 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinAsk {
    token: String,
    csr: String,
}

/// Spends a join token. What is wrong with the request is said before that; which tokens there are is not.
pub(super) async fn join(
    State(shared): State<Arc<Shared>>,
    Json { asked, .. }: Json<JoinAsk, JOIN_BYTES_MAX>,
) -> Result<Answer, Problem> {
    let control = &shared.control;
    let token = JoinToken::parse(&asked.token).map_err(|_| refused())?;
    let key = proved_key(&asked.csr)?;
    let claim = control
        .handle
        .claim(Claimant::joining(&token, &key))
        .await?;
    let task = match claim {
        Claim::New(task) => task,
        Claim::Known(_) | Claim::OtherAgent | Claim::NothingWaits => return Err(refused()),
    };
    let now = (control.clock)().now;
    let until = task.expires_at.min(now.plus(SVID_TTL_MAX));
    match certify(control, &task, until, &key).await {
        Ok(svid) => {
            let svid = ("svid", svid.as_str().into());
            Ok(Answer(served_value(control, &task, [svid])))
        }
        Err(problem) => {
            // The token is spent: a task that nobody can serve would stay open until it expires.
            let (end, moment) = (End::Cancelled, (control.clock)());
            let end = control
                .handle
                .end_task(Ender::RunnerGone, task.id, end, moment);
            let _ = end.await;
            Err(problem)
        }
    }
}

fn refused() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "join_refused",
        "no task waits for this join token",
    )
    .because("it is wrong, was shown before, or its task has ended; ask for `ambit task start TEMPLATE --for AGENT --join-token`")
}

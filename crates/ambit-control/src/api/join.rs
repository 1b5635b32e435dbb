//! Joining: whoever shows the join token of a task that waits, or a workload token that is its agent, and proves to hold
//! a key, becomes its instance.

use std::sync::Arc;

use ambit_core::limits::SVID_TTL_MAX;
use ambit_engine::Claim;
use ambit_identity::{
    Claimant, JOIN_TOKEN_PREFIX, JoinToken, ProvedKey, jose::JoseError, senders::SenderError,
};
use axum::{Extension, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    Shared,
    body::{Answer, Json},
    problem::Problem,
    tasks::{certify, certify_first, proved_key, served_value},
};
use crate::{
    carried::OnlyAnswer,
    foreign::{ForeignTokenError, Identified},
    oauth::{Assertion, Good, Sent},
};

/// The longest body of a request to join, in bytes: a stranger sends it.
pub const JOIN_BYTES_MAX: usize = 8 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinAsk {
    token: String,
    csr: String,
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
    Json { asked, .. }: Json<JoinAsk>,
) -> Result<(Option<Extension<OnlyAnswer>>, Answer), Problem> {
    let control = &shared.control;
    let key = proved_key(&asked.csr)?;
    let mut sent = None;
    let claimant = match JoinToken::parse(&asked.token) {
        Ok(token) => Claimant::joining(&token, &key),
        Err(_) => {
            let identified = foreign(&shared, &asked.token).await?;
            sent = Some(sender(&shared, &asked.token, &identified, &key)?);
            identified.claimant
        }
    };
    let (task, novelty) = match control.handle.claim(claimant).await? {
        Claim::New(task) => (task, Novelty::New),
        // The same workload may ask again: it has another key, or its certificate ends.
        Claim::Known(task) => (task, Novelty::Known),
        Claim::NothingWaits if sent.is_some() => return Err(nothing_waits()),
        Claim::OtherAgent | Claim::NothingWaits => {
            // A stolen token shows itself by its second use.
            tracing::warn!(
                "a join token was refused: it is wrong, was spent, or its task has ended"
            );
            return Err(refused());
        }
    };
    let now = (control.clock)().now;
    let until = task.expires_at.min(now.plus(SVID_TTL_MAX));
    // A join token is spent: there is no other answer. What its owner can send again is answered again.
    let only = sent
        .is_none()
        .then(|| OnlyAnswer::of_task(&control.handle, task.id));
    let svid = match novelty {
        Novelty::New => certify_first(control, &task, until, &key).await?,
        Novelty::Known => certify(control, &task, until, &key).await?,
    };
    if let Some(sent) = sent {
        sent.gave();
    }
    let svid = ("svid", svid.as_str().into());
    let answer = Answer(served_value(control, &task, [svid]));
    Ok((only.map(Extension), answer))
}

/// Identifies the holder of a workload token.
async fn foreign(shared: &Shared, token: &str) -> Result<Identified, Problem> {
    let identified = shared.foreign.identify(&shared.control, token).await;
    identified.map_err(|error| {
        tracing::warn!(
            error = crate::check::chain(&error),
            audience_expected = error.audience_expected(),
            "a workload token was refused"
        );
        match error {
            ForeignTokenError::Token(cause @ JoseError::Audience { .. }) => no_run(
                "the workload token is refused",
                format!(
                    "{cause}; get one for the `audience` of its issuer's file in issuers/ of the estate: who runs Ambit knows it"
                ),
            ),
            ForeignTokenError::Token(cause) => no_run(
                "the workload token is refused",
                format!(
                    "{}; get another from its issuer, or show a join token, which begins with `{JOIN_TOKEN_PREFIX}`",
                    crate::check::chain(&cause)
                ),
            ),
            ForeignTokenError::Unknown(seen) => {
                no_run("no agent is registered for this workload token", seen)
            }
            ForeignTokenError::Keys => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "issuer_unavailable",
                "the keys of the token's issuer can't be had now",
            )
            .because("try again in a minute"),
            ForeignTokenError::Engine(error) => error.into(),
        }
    })
}

/// Lets nobody but who showed a workload token first show it again: issuers hand the same one out twice.
fn sender<'a>(
    shared: &'a Shared,
    token: &str,
    identified: &Identified,
    key: &ProvedKey,
) -> Result<Sent<'a>, Problem> {
    let assertion = Assertion::new(token, identified.expires_at, Good::Again);
    let sent = shared
        .oauth
        .sent(&assertion, Some(key.name()), shared.control.wall());
    sent.map_err(|error| match error {
        SenderError::Full => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "join_unavailable",
            "too many workload tokens are remembered",
        )
        .because("try again in a minute"),
        SenderError::Another | SenderError::Over => Problem::new(
            StatusCode::FORBIDDEN,
            "join_refused",
            "the workload token was used before, by another key",
        )
        .because(
            "sign the request with the key that came first, or get a new token from its issuer",
        ),
    })
}

/// Says what is wrong with a workload token: of that whoever has it may hear everything.
fn no_run(what: &'static str, why: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "join_refused", what).because(why)
}

/// The token was good: whoever has it may hear what is missing.
fn nothing_waits() -> Problem {
    no_run(
        "no task waits for a run of this agent",
        "start one with `ambit task start TEMPLATE --for AGENT --attested`".to_owned(),
    )
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

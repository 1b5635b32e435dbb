//! Grants by which a run of an agent that was not certified claims the task that waits for it.

use ambit_core::token::{Grant, RestsOn};
use ambit_engine::{ClaimedTokens, Refreshable, TokenAsk, TokenBy, TokenGrant};
use ambit_identity::{
    Claimant, ForeignSvid,
    senders::SenderError,
    token::{assertion::ProvedClient, registration::identify_client},
};

use super::{
    OAuthError, Server,
    client::{Client, Shown},
    form::{Form, JWT_BEARER},
    grants::{Asking, asked_details, issue, ttl},
    sent::{Assertion, Good},
};
use crate::{
    check::chain,
    foreign::{ForeignTokenError, Identified},
};

/// Identifies the workload whose token is shown as a grant (RFC 7523 §2.1), before anything is used up for it: a token
/// that a stranger made up takes no room from anybody.
pub(super) async fn shown_workload(
    server: Server<'_>,
    (form, client): (&Form, &Client),
) -> Result<Option<Identified>, OAuthError> {
    if form.get("grant_type") != Some(JWT_BEARER) {
        return Ok(None);
    }
    match client {
        Client::Unnamed | Client::Known { .. } => {}
        Client::Instance(_) | Client::Workload(_) | Client::Foreign(..) | Client::Holder { .. } => {
            return Err(OAuthError::new(
                "unauthorized_client",
                "who proves itself by an SVID, or by its issuer's token, asks for a token with client_credentials",
            ));
        }
    }
    let token = form.required("assertion")?;
    let identified = server.foreign.identify(server.control, token).await;
    let identified = identified.map_err(|error| refused_token(error, OAuthError::grant));
    Ok(Some(identified?))
}

/// A workload shows a token of its own issuer: Kubernetes, a build, a cloud. Such a token is good for whoever holds it
/// while it lives; what is given for it is bound to the key that is proved beside it.
pub(super) async fn jwt_bearer(
    server: Server<'_>,
    asking: Asking<'_>,
) -> Result<TokenGrant, OAuthError> {
    let place = server.place(asking.form)?;
    let token = asking.form.required("assertion")?;
    let identified = asking.workload.ok_or_else(|| {
        OAuthError::grant("no workload was identified by the assertion".to_owned())
    })?;
    let assertion = Assertion::new(token, identified.expires_at, Good::Again);
    let sent = server
        .oauth
        .sent(&assertion, asking.binding.key(), server.control.wall());
    let sent = sent.map_err(|error| refused_sender(error, OAuthError::grant))?;
    let asked = (place.url, Grant::JwtBearer);
    let granted = claimed(server, asking, identified.claimant.clone(), asked).await?;
    sent.gave();
    Ok(granted)
}

/// A workload of a foreign issuer or trust domain asks for itself by the same token (RFC 7523 §2.2).
pub(super) async fn by_holder(
    server: Server<'_>,
    asking: Asking<'_>,
    (identified, audience): (&Identified, String),
) -> Result<TokenGrant, OAuthError> {
    let claimant = identified.claimant.clone();
    let asked = (audience, Grant::ClientCredentials);
    claimed(server, asking, claimant, asked).await
}

/// A client that the estate declares as a run of an agent asks for itself (RFC 6749 §4.4).
pub(super) async fn by_key(
    server: Server<'_>,
    asking: Asking<'_>,
    (shown, audience): (&Shown, String),
) -> Result<TokenGrant, OAuthError> {
    let Shown::Key(proved) = shown else {
        return Err(OAuthError::new(
            "unauthorized_client",
            "no task stands behind this client by itself; ask for a person's consent (authorization_code)",
        ));
    };
    let claimant = run_of(server, proved)?;
    claimed(
        server,
        asking,
        claimant,
        (audience, Grant::ClientCredentials),
    )
    .await
}

/// A workload of a foreign trust domain asks for itself (RFC 6749 §4.4, draft-ietf-oauth-spiffe-client-auth).
pub(super) async fn by_svid(
    server: Server<'_>,
    asking: Asking<'_>,
    (svid, audience): (&ForeignSvid, String),
) -> Result<TokenGrant, OAuthError> {
    let asked = (audience, Grant::ClientCredentials);
    claimed(server, asking, registered(server, svid)?, asked).await
}

/// Returns whose run a workload of a foreign trust domain is.
pub(super) fn registered(server: Server<'_>, svid: &ForeignSvid) -> Result<Claimant, OAuthError> {
    let book = server.control.handle.book()?;
    let claimant = svid.claimant(book.estate()).map_err(|error| {
        tracing::warn!(%error, "a foreign workload was refused");
        // Registrations are for those who operate Ambit.
        OAuthError::new(
            "unauthorized_client",
            format!(
                "no agent is registered for {}; ask who runs Ambit, whose log names the nearest registration",
                svid.spiffe_id()
            ),
        )
    });
    Ok(claimant?.1)
}

/// Returns whose run a client is that signed with its key.
pub(super) fn run_of(server: Server<'_>, proved: &ProvedClient) -> Result<Claimant, OAuthError> {
    let book = server.control.handle.book()?;
    let claimant = identify_client(proved, &book.estate().clients);
    claimant.map_err(|error| OAuthError::new("unauthorized_client", error.to_string()))
}

/// Claims the task that waits, or finds the one that was claimed before, and issues a token of it.
async fn claimed(
    server: Server<'_>,
    asking: Asking<'_>,
    claimant: Claimant,
    (audience, grant): (String, Grant),
) -> Result<TokenGrant, OAuthError> {
    let rests_on = RestsOn {
        client: asking.client_proof(server)?,
        registration: claimant.registration(),
    };
    let leave = match server.control.handle.claim_tokens(claimant).await? {
        ClaimedTokens::Leave(leave) => leave,
        ClaimedTokens::NothingWaits => {
            return Err(OAuthError::grant(
                "no task waits for a run of this agent; start one with `ambit task start TEMPLATE --for AGENT --attested`",
            ));
        }
        ClaimedTokens::OtherAgent => {
            return Err(OAuthError::grant(
                "this workload is the instance of a live task of another agent; end that task first",
            ));
        }
    };
    let ask = TokenAsk {
        client: asking.client.id(),
        audience,
        binding: asking.binding,
        ttl: ttl(asking.binding),
        refreshable: Refreshable::No,
        grant,
        parent: None,
        details: asked_details(asking.form)?,
        rests_on,
    };
    issue(server, TokenBy::Leave(leave), ask).await
}

/// Says why a workload token is refused: as a grant, or as a client's assertion.
pub(super) fn refused_token(
    error: ForeignTokenError,
    as_what: impl FnOnce(String) -> OAuthError,
) -> OAuthError {
    tracing::warn!(
        error = chain(&error),
        audience_expected = error.audience_expected(),
        "a workload token was refused"
    );
    match error {
        ForeignTokenError::Token(_) | ForeignTokenError::Unknown(_) => as_what(chain(&error)),
        ForeignTokenError::Keys => OAuthError::unavailable(error.to_string()),
        ForeignTokenError::Engine(error) => error.into(),
    }
}

/// Says why an assertion is not taken from this sender.
pub(super) fn refused_sender(
    error: SenderError,
    as_what: impl FnOnce(String) -> OAuthError,
) -> OAuthError {
    match error {
        SenderError::Another | SenderError::Over => as_what(error.to_string()),
        SenderError::Full => OAuthError::unavailable(error.to_string()),
    }
}

//! Grants by which a run of an agent that was not certified claims the task that waits for it.

use ambit_core::token::Grant;
use ambit_engine::{ClaimedTokens, Refreshable, TokenAsk, TokenBy, TokenGrant};
use ambit_identity::{Claimant, ForeignSvid, token::registration::identify_client};

use super::{
    OAuthError, Server,
    client::{Client, Shown},
    grants::{Asking, asked_details, issue, ttl},
};
use crate::{check::chain, foreign::ForeignTokenError};

/// A workload shows a token of its own issuer (RFC 7523 §2.1): Kubernetes, a build, a cloud. Such a token is good for
/// whoever holds it while it lives; what is given for it is bound to the key that is proved beside it.
pub(super) async fn jwt_bearer(
    server: Server<'_>,
    asking: Asking<'_>,
) -> Result<TokenGrant, OAuthError> {
    let place = server.place(asking.form)?;
    match asking.client {
        Client::Unnamed | Client::Known { .. } => {}
        Client::Instance(_) | Client::Workload(_) | Client::Foreign(_) => {
            return Err(OAuthError::new(
                "unauthorized_client",
                "who proves itself by an SVID asks for a token with client_credentials",
            ));
        }
    }
    let assertion = asking.form.required("assertion")?;
    let identified = server.foreign.identify(server.control, assertion).await;
    let (claimant, name) = identified.map_err(refused)?;
    let client = match (asking.client.id(), name) {
        (Some(_), Some(_)) => {
            return Err(OAuthError::new(
                "unauthorized_client",
                "a JWT-SVID is the client itself; ask with it as client_assertion, or leave client_id out",
            ));
        }
        (client, name) => client.or(name.map(|it| it.to_string())),
    };
    let asked = (place.url, Grant::JwtBearer, client);
    claimed(server, asking, claimant, asked).await
}

/// A client that the estate declares as a run of an agent asks for itself (RFC 6749 §4.4).
pub(super) async fn by_key(
    server: Server<'_>,
    asking: Asking<'_>,
    (shown, audience): (&Shown, String),
) -> Result<TokenGrant, OAuthError> {
    let none = |what: String| OAuthError::new("unauthorized_client", what);
    let Shown::Key(proved) = shown else {
        return Err(none(
            "no task stands behind this client by itself; ask for a person's consent (authorization_code)"
                .to_owned(),
        ));
    };
    let book = server.control.handle.book()?;
    let claimant = identify_client(proved, &book.estate().clients);
    let claimant = claimant.map_err(|error| none(error.to_string()))?;
    let client = asking.client.id();
    let asked = (audience, Grant::ClientCredentials, client);
    claimed(server, asking, claimant, asked).await
}

/// A workload of a foreign trust domain asks for itself (RFC 6749 §4.4, draft-ietf-oauth-spiffe-client-auth).
pub(super) async fn by_svid(
    server: Server<'_>,
    asking: Asking<'_>,
    (svid, audience): (&ForeignSvid, String),
) -> Result<TokenGrant, OAuthError> {
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
    let client = asking.client.id();
    let asked = (audience, Grant::ClientCredentials, client);
    claimed(server, asking, claimant?.1, asked).await
}

/// Claims the task that waits, or finds the one that was claimed before, and issues a token of it.
async fn claimed(
    server: Server<'_>,
    asking: Asking<'_>,
    claimant: Claimant,
    (audience, grant, client): (String, Grant, Option<String>),
) -> Result<TokenGrant, OAuthError> {
    let (leave, task) = match server.control.handle.claim_tokens(claimant).await? {
        ClaimedTokens::Leave(leave, task) => (leave, task),
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
        client: client.unwrap_or_else(|| task.spiffe_id.to_string()),
        audience,
        binding: asking.binding,
        ttl: ttl(asking.binding),
        refreshable: Refreshable::No,
        grant,
        parent: None,
        details: asked_details(asking.form)?,
    };
    issue(server, TokenBy::Leave(leave), ask).await
}

fn refused(error: ForeignTokenError) -> OAuthError {
    tracing::warn!(error = chain(&error), "a workload token was refused");
    match error {
        ForeignTokenError::Token(_) | ForeignTokenError::Unknown(_) => {
            OAuthError::grant(chain(&error))
        }
        ForeignTokenError::Keys(_) => OAuthError::unavailable(error.to_string()),
        ForeignTokenError::Engine(error) => error.into(),
    }
}

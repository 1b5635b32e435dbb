//! The grants: each finds the live task that stands behind a request, or there is no token.

use ambit_core::{
    ClientName, Digest,
    json::{self, Value},
    limits::{ACCESS_TOKEN_TTL, PART_BYTES_MAX},
    token::{Grant, KeyBinding, RestsOn},
};
use ambit_engine::{RefreshAsk, Refreshable, TokenAsk, TokenBy, TokenGrant, TokenStanding};
use ambit_identity::client_proof;

use super::{
    BEARER_TTL, OAuthError, Server,
    claimed::{by_holder, by_key, by_svid, jwt_bearer},
    client::{Client, Shown},
    codes::{Ends, Redeemed},
    device::DEVICE_GRANT,
    exchange::{TOKEN_EXCHANGE, token_exchange},
    form::{Form, JWT_BEARER},
    locked,
};
use crate::foreign::Identified;

/// A request for a token, its client and its key proved.
pub(super) struct Asking<'a> {
    pub(super) form: &'a Form,
    pub(super) client: &'a Client,
    pub(super) binding: KeyBinding,
    /// The workload whose token is the grant, when one is.
    pub(super) workload: Option<&'a Identified>,
}

impl Asking<'_> {
    /// Names what the client showed, when the estate declares it: the tokens rest upon that.
    pub(super) fn client_proof(&self, server: Server<'_>) -> Result<Option<Digest>, OAuthError> {
        let Client::Known { id, shown, .. } = self.client else {
            return Ok(None);
        };
        let book = server.control.handle.book()?;
        let name = id.parse::<ClientName>().ok();
        let declared = name.and_then(|it| book.estate().clients.get(&it));
        let key = match shown {
            Shown::Key(proved) => Some(proved.key()),
            Shown::Name => None,
        };
        Ok(declared.and_then(|it| client_proof(it, key)))
    }
}

/// Grants what is asked for, or says why not.
pub(super) async fn grant(
    server: Server<'_>,
    asking: Asking<'_>,
) -> Result<TokenGrant, OAuthError> {
    match asking.form.required("grant_type")? {
        "client_credentials" => client_credentials(server, asking).await,
        "authorization_code" => authorization_code(server, asking).await,
        "refresh_token" => refresh_token(server, asking).await,
        JWT_BEARER => jwt_bearer(server, asking).await,
        TOKEN_EXCHANGE => token_exchange(server, asking).await,
        other => Err(unsupported(other)),
    }
}

impl Server<'_> {
    /// Refuses what is no grant of this server before anybody proves anything: that helps whoever asks for it.
    pub(super) fn check_grant_type(&self, form: &Form) -> Result<(), OAuthError> {
        match form.required("grant_type")? {
            "client_credentials" | "refresh_token" | JWT_BEARER | TOKEN_EXCHANGE => Ok(()),
            "authorization_code" | DEVICE_GRANT if self.check_people().is_ok() => Ok(()),
            other => Err(unsupported(other)),
        }
    }
}

/// Says that a grant is not offered here.
fn unsupported(grant_type: &str) -> OAuthError {
    OAuthError::new(
        "unsupported_grant_type",
        format!(
            "grant_type `{}` is not offered; the metadata lists those that are",
            crate::visible::visible(grant_type)
        ),
    )
}

/// An instance asks for itself (RFC 6749 §4.4).
async fn client_credentials(
    server: Server<'_>,
    asking: Asking<'_>,
) -> Result<TokenGrant, OAuthError> {
    let place = server.place(asking.form)?;
    let client = asking.client.name()?;
    let by = match asking.client {
        Client::Instance(caller) => TokenBy::Instance(caller),
        Client::Workload(proved) => TokenBy::Workload(proved),
        Client::Foreign(svid, _) => return by_svid(server, asking, (svid, place.url)).await,
        Client::Holder { identified, .. } => {
            return by_holder(server, asking, (identified, place.url)).await;
        }
        Client::Known { shown, .. } => return by_key(server, asking, (shown, place.url)).await,
        Client::Unnamed => return Err(OAuthError::request("prove who asks")),
    };
    let ask = TokenAsk {
        client: Some(client),
        audience: place.url,
        binding: asking.binding,
        ttl: ttl(asking.binding),
        refreshable: Refreshable::No,
        grant: Grant::ClientCredentials,
        parent: None,
        details: asked_details(asking.form)?,
        rests_on: RestsOn::default(),
    };
    issue(server, by, ask).await
}

/// A client redeems the code that a person's consent gave it (RFC 6749 §4.1.3).
async fn authorization_code(
    server: Server<'_>,
    asking: Asking<'_>,
) -> Result<TokenGrant, OAuthError> {
    let (client, form) = (asking.client.name()?, asking.form);
    let code = form.required("code")?;
    let now = (server.control.clock)().now;
    let redeemed = locked(&server.oauth.codes).redeem(code, form, (&client, asking.binding), now);
    let redeemed = match redeemed {
        Ok(redeemed) => redeemed,
        Err(refused) => {
            match refused.ends {
                Ends::Nothing => {}
                // Somebody else has the code too: what it gave is worth nothing from now on.
                Ends::Given(given) => {
                    let (task, first) = *given;
                    let handle = &server.control.handle;
                    let ended = handle.code_replayed(&client, (task, first)).await;
                    server.control.end_unserved(task).await;
                    ended.map_err(OAuthError::refused)?;
                }
                Ends::Task(task) => server.control.end_unserved(task).await,
            }
            return Err(refused.error);
        }
    };
    let task = redeemed.task;
    let granted = by_code(server, (client, &asking), redeemed).await;
    match granted {
        Ok(granted) => {
            locked(&server.oauth.codes).gave(code, granted.access().id);
            Ok(granted)
        }
        Err(error) => {
            // The code is used up: nobody can enter the task any more.
            server.control.end_unserved(task).await;
            Err(error)
        }
    }
}

/// Issues the tokens of a code that was redeemed.
async fn by_code(
    server: Server<'_>,
    (client, asking): (String, &Asking<'_>),
    redeemed: Redeemed,
) -> Result<TokenGrant, OAuthError> {
    let form = asking.form;
    let audience = match form.get("resource") {
        None => redeemed.audience,
        Some(wanted) if wanted == redeemed.audience => redeemed.audience,
        Some(_) => {
            return Err(OAuthError::target(
                "`resource` is another place than the one that was consented to",
            ));
        }
    };
    let ask = TokenAsk {
        client: Some(client),
        audience,
        binding: asking.binding,
        ttl: ttl(asking.binding),
        refreshable: Refreshable::Yes,
        grant: Grant::AuthorizationCode,
        parent: None,
        details: asked_details(asking.form)?,
        rests_on: RestsOn {
            client: asking.client_proof(server)?,
            registration: None,
        },
    };
    issue(server, TokenBy::Leave(redeemed.leave), ask).await
}

/// A client spends a refresh token (RFC 6749 §6): it gets another, and this one is worth nothing any more.
async fn refresh_token(server: Server<'_>, asking: Asking<'_>) -> Result<TokenGrant, OAuthError> {
    if asking.form.get("authorization_details").is_some() {
        return Err(OAuthError::new(
            "invalid_authorization_details",
            "a refreshed token carries what the first one did; leave authorization_details out",
        ));
    }
    let audience = asking.form.get("resource");
    let audience = audience.map(|it| server.read_place(it)).transpose()?;
    let ask = RefreshAsk {
        text: asking.form.required("refresh_token")?.to_owned(),
        client: asking.client.name()?,
        shown: asking.client.shown(),
        binding: asking.binding,
        ttl: ttl(asking.binding),
        audience: audience.map(|it| it.url),
        client_proof: asking.client_proof(server)?,
    };
    let moment = (server.control.clock)();
    let granted = server.control.handle.refresh_token(ask, moment).await;
    granted.map_err(OAuthError::refused)
}

/// Issues the tokens.
pub(super) async fn issue(
    server: Server<'_>,
    by: TokenBy<'_>,
    ask: TokenAsk,
) -> Result<TokenGrant, OAuthError> {
    let moment = (server.control.clock)();
    let granted = server.control.handle.issue_token(by, ask, moment).await;
    granted.map_err(OAuthError::refused)
}

/// How long a token lives: one that nobody needs a key for, not long.
pub(super) const fn ttl(binding: KeyBinding) -> ambit_core::Millis {
    match binding {
        KeyBinding::Mtls { .. } | KeyBinding::Dpop { .. } => ACCESS_TOKEN_TTL,
        KeyBinding::Bearer => BEARER_TTL,
    }
}

/// Refuses parameters that would ask for another authority than the task's and could be overlooked.
pub(super) fn refuse_unknown(form: &Form) -> Result<(), OAuthError> {
    if form.get("scope").is_some() {
        return Err(OAuthError::new(
            "invalid_scope",
            "there are no scopes here; what a token allows is its task, in authorization_details",
        ));
    }
    if form.get("audience").is_some() {
        return Err(OAuthError::target(
            "name the place as `resource` (RFC 8707), not as `audience`",
        ));
    }
    Ok(())
}

/// Reads which part of its task a token shall carry (RFC 9396 §6.1); the whole when nothing is said.
pub(super) fn asked_details(form: &Form) -> Result<Option<Value>, OAuthError> {
    let Some(text) = form.get("authorization_details") else {
        return Ok(None);
    };
    let read = json::parse_bounded(text.as_bytes(), PART_BYTES_MAX);
    read.map(Some).map_err(|error| {
        let what = format!("authorization_details can't be read: {error}");
        OAuthError::new("invalid_authorization_details", what)
    })
}

/// Says whether a refresh token, by its text, is worth something now.
pub(super) fn refresh_standing(
    server: Server<'_>,
    text: &str,
) -> Result<TokenStanding, OAuthError> {
    let now = (server.control.clock)().now;
    Ok(server.control.handle.refresh_standing(text, now)?)
}

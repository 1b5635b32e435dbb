//! The authorization server: OAuth 2.1 for agents and their clients.
//!
//! Nothing here gives authority. A token says which live task stands behind it; the task was started by a person, on
//! the record, and every use of the token asks the live state again. Issuing is one turn of the engine; what is kept
//! here is short-lived: nonces, used proofs, pushed requests, codes. A restart forgets them, and clients begin again.
//!
//! | route | standard |
//! |---|---|
//! | `/.well-known/oauth-authorization-server` | RFC 8414 |
//! | `/.well-known/openid-configuration` | OpenID Connect Discovery 1.0 |
//! | `/oauth/jwks` | RFC 7517 |
//! | `/oauth/token`, `/oauth/mtls/token` | RFC 6749, RFC 7523, RFC 8693, RFC 8705, RFC 8707, RFC 9396, RFC 9449 |
//! | `/oauth/par` | RFC 9126 |
//! | `/oauth/introspect`, `/oauth/revoke` | RFC 7662, RFC 7009 |
//!
//! Whatever goes wrong is the JSON of RFC 6749 §5.2 with the standard's code and what to do next.

mod claimed;
mod client;
mod codes;
mod declared;
mod error;
mod exchange;
mod form;
mod grants;
mod introspect;
mod keyring;
mod metadata;
mod proof;
mod pushed;
mod resource;
mod token;

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambit_core::{AgentName, Millis};
use ambit_identity::{dpop::NonceKey, replay::ReplayCache, token::assertion::ClientKeys};

use self::{codes::Codes, keyring::Keyring, pushed::Pushed};
pub use self::{
    codes::{AuthorizationCode, CODE_TTL, CODES_MAX},
    error::OAuthError,
    form::{FORM_BYTES_MAX, FORM_FIELDS_MAX},
    pushed::{AuthorizeRequest, PUSHED_MAX, PUSHED_TTL, Wanted},
};
pub(crate) use self::{
    introspect::{introspect, revoke},
    metadata::{authorization_server, jwks, openid_configuration},
    pushed::push,
    token::{token, token_mtls},
};
use crate::{
    api::{Control, Doors, Shared},
    foreign::{ForeignKeys, Freshness, PublishedKeys},
};

/// The most proofs and assertions that are remembered, so that each is good once.
pub const USED_PROOFS_MAX: usize = 200_000;
/// How long a bearer token lives at most: whoever finds it can use it.
pub const BEARER_TTL: Millis = Millis::from_seconds(120);

/// Finds a client whose metadata document its identifier names: an `https` URL. Those that the estate declares are found
/// without it.
pub type FindClient = Arc<dyn Fn(String) -> FoundClient + Send + Sync>;

/// A client, or why it is not known and what to do.
pub type FoundClient = Pin<Box<dyn Future<Output = Result<KnownClient, String>> + Send>>;

/// A client that is known to the authorization server.
#[derive(Clone, Debug)]
pub struct KnownClient {
    /// Its name, for people.
    pub name: String,
    /// Where it may be sent back to, letter by letter.
    pub redirect_uris: Vec<String>,
    /// The agents whose tasks it may have tokens of.
    pub agents: ClientAgents,
    /// Its name in requests (`client_id`) and the keys by which it proves itself.
    pub keys: ClientProof,
}

/// The agents whose tasks a client may have tokens of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientAgents {
    /// Whichever a person picks.
    Any,
    /// These, as the estate says.
    Only(BTreeSet<AgentName>),
}

/// How a client proves itself.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// By an assertion that it signs with one of these keys.
    Keys(ClientKeys),
    /// Not at all: a public client. PKCE and its redirect address are all that tells it apart.
    Public,
}

/// What the authorization server keeps between requests.
pub(crate) struct OAuth {
    nonces: NonceKey,
    used: Mutex<ReplayCache>,
    keyring: Mutex<Option<Arc<Keyring>>>,
    pushed: Mutex<Pushed>,
    codes: Mutex<Codes>,
    client_keys: PublishedKeys,
}

/// The authorization server as one request sees it.
#[derive(Clone, Copy)]
pub(super) struct Server<'a> {
    pub(super) control: &'a Control,
    pub(super) oauth: &'a OAuth,
    pub(super) foreign: &'a ForeignKeys,
    pub(super) issuer: &'a str,
}

impl OAuth {
    /// Makes it, with a fresh key for its nonces.
    pub(crate) fn new(control: &Control) -> Self {
        Self {
            nonces: NonceKey::new(&(control.clock)().chance),
            used: Mutex::new(ReplayCache::new(USED_PROOFS_MAX)),
            keyring: Mutex::new(None),
            pushed: Mutex::new(Pushed::default()),
            codes: Mutex::new(Codes::default()),
            client_keys: PublishedKeys::default(),
        }
    }
}

impl Shared {
    /// Returns the authorization server; there is none without a public URL, which is its name.
    fn server(&self) -> Result<Server<'_>, OAuthError> {
        let issuer = self.control().issuer.as_deref();
        let issuer = issuer.ok_or_else(|| {
            OAuthError::unavailable(
                "there is no authorization server; write [public] into ambit.toml",
            )
        })?;
        Ok(Server {
            control: self.control(),
            oauth: self.oauth(),
            foreign: self.foreign(),
            issuer,
        })
    }
}

/// What the consent page needs: requests, and codes for what was consented to.
impl Doors {
    /// Takes a pushed request, once (RFC 9126 §4).
    ///
    /// # Errors
    /// [`OAuthError`] when there is none of this name for this client, or it is over.
    pub fn pushed_request(
        &self,
        request_uri: &str,
        client_id: &str,
    ) -> Result<AuthorizeRequest, OAuthError> {
        let server = self.shared().server()?;
        let now = (server.control.clock)().now;
        locked(&server.oauth.pushed).take(request_uri, client_id, now)
    }

    /// Reads the parameters of a request that was not pushed, for a client that is known.
    ///
    /// # Errors
    /// [`OAuthError`] when a parameter is missing, stands twice or is not what the standard wants. Tell the person,
    /// not the client: its address may be what is wrong.
    pub fn authorize_request(
        &self,
        query: &str,
        client_id: &str,
        client: &KnownClient,
    ) -> Result<AuthorizeRequest, OAuthError> {
        let server = self.shared().server()?;
        let form = form::Form::parse(query.as_bytes())?;
        pushed::read(server, &form, client_id, client)
    }

    /// Finds a client by its name.
    ///
    /// # Errors
    /// Why it is not known and what to do.
    pub async fn find_client(&self, client_id: &str) -> Result<KnownClient, String> {
        let server = self.shared().server().map_err(|it| it.to_string())?;
        server.known_client(client_id, Freshness::Usual).await
    }

    /// Gives the client a code for the task to which a person consented. Returns where to send the person.
    ///
    /// # Errors
    /// [`OAuthError`] when too many codes wait.
    pub fn issue_code(
        &self,
        request: AuthorizeRequest,
        leave: ambit_engine::ClientLeave,
    ) -> Result<AuthorizationCode, OAuthError> {
        let server = self.shared().server()?;
        let moment = (server.control.clock)();
        locked(&server.oauth.codes).issue(server.issuer, request, leave, &moment)
    }

    /// Returns where to send a person who said no, or for whom a request can't be granted (RFC 6749 §4.1.2.1).
    pub fn refuse_code(&self, request: &AuthorizeRequest, error: &str, why: &str) -> String {
        let issuer = self.control().issuer.as_deref().unwrap_or_default();
        codes::refused(issuer, request, error, why)
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OAuth")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

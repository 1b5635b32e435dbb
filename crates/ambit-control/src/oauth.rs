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
//! | `/oauth/authorize`, `/oauth/consent` | RFC 6749 §4.1, RFC 7636, RFC 9207 |
//! | `/oauth/par` | RFC 9126 |
//! | `/oauth/device_authorization` | RFC 8628 |
//! | `/oauth/introspect`, `/oauth/revoke` and the same under `/oauth/mtls` | RFC 7662, RFC 7009, RFC 8705 |
//!
//! Whatever goes wrong is the JSON of RFC 6749 §5.2 with the standard's code and what to do next.

mod authorize;
mod claimed;
mod client;
mod codes;
mod consent;
mod declared;
mod device;
mod device_codes;
mod document;
mod error;
mod exchange;
mod form;
mod grants;
mod introspect;
mod keyring;
mod metadata;
mod proof;
mod pushed;
mod redirect;
mod resource;
mod sent;
mod start;
mod token;
mod wanted;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use ambit_core::{AgentName, Millis, Timestamp, limits::ACCESS_TOKEN_TTL, origin::Origin};
use ambit_identity::{
    dpop::NonceKey,
    replay::{ReplayCache, ReplayError, ReplayOwner, ReplayRoom},
    senders::{SENDERS_MAX, Senders},
    token::assertion::ClientKeys,
};

#[cfg(test)]
pub(crate) use self::consent::end_if_abandoned;
#[cfg(test)]
pub(crate) use self::error::places;
pub(crate) use self::redirect::Redirect;
pub(crate) use self::{
    authorize::authorize,
    client::unknown_client,
    consent::{decide, show},
    device::{DEVICE_PAGE, device_authorization},
    device_codes::{Before, Claimed, DeviceCodes, Entered, WrongCode},
    introspect::{introspect, introspect_mtls, revoke, revoke_mtls},
    metadata::{authorization_server, jwks, openid_configuration},
    pushed::push,
    sent::{Assertion, Good, Sent},
    token::{token, token_mtls},
};
use self::{
    codes::Codes, consent::Consents, document::Documents, keyring::Keyring, pushed::Pushed,
    start::Start,
};
pub use self::{
    codes::{CODE_TTL, CODES_MAX},
    consent::{CONSENT_FIELDS_MAX, CONSENT_TTL, CONSENTS_MAX, CONSENTS_PER_SESSION_MAX},
    device::COMMAND_LINE,
    device_codes::{
        DEVICE_CODE_TTL, DEVICE_CODES_MAX, DEVICE_CODES_PER_ORIGIN_MAX, DEVICE_NAME_CHARACTERS_MAX,
        DEVICE_POLL_EVERY, USER_CODE_CHARACTERS, WRONG_CODES_PER_PERSON_MAX,
    },
    document::{
        CLIENT_ASKED_EVERY, CLIENT_DOCUMENT_BYTES_MAX, CLIENT_DOCUMENT_PAUSE, CLIENT_DOCUMENT_TTL,
        CLIENT_DOCUMENT_TTL_MAX, CLIENT_DOCUMENTS_FOR_STRANGERS_MAX, CLIENT_DOCUMENTS_MAX,
        CLIENT_DOCUMENTS_PER_ASKER_MAX, CLIENT_FETCHES_MAX, CLIENT_FETCHES_PER_HOST_MAX,
        CLIENT_NAME_MAX, ClientDocument, DocumentError, FetchDocument, FetchedDocument,
        FetchingDocument, REDIRECTS_MAX, read as read_client_document,
    },
    error::OAuthError,
    form::{FORM_BYTES_MAX, FORM_FIELDS_MAX},
    pushed::{
        PUSHED_BYTES_MAX, PUSHED_MAX, PUSHED_OPENED_TTL, PUSHED_PER_ORIGIN_MAX, PUSHED_TTL,
        STATE_BYTES_MAX,
    },
    redirect::REDIRECT_BYTES_MAX,
};
use crate::{
    api::{Control, Shared},
    foreign::{ForeignKeys, PublishedKeys},
    locked::locked,
    people::SignIns,
};

/// Returns the origin that a door wrote upon a request. Requests upon which none did share one origin.
fn origin_of(extensions: &http::Extensions) -> Origin {
    extensions.get().copied().unwrap_or(Origin::unknown())
}

/// The most proofs and assertions that are remembered in each [`Circle`], so that each is good once.
pub const USED_PROOFS_MAX: usize = 200_000;
/// The most of them that one client has, or one key of whoever proved nothing else.
pub const USED_PROOFS_PER_OWNER_MAX: usize = 20_000;
/// How many answers of the same person to the same question are waited for before one is refused: clicks on one button.
pub const CLICKS_MAX: usize = 16;
/// How long a bearer token lives at most: whoever finds it can use it.
pub const BEARER_TTL: Millis = Millis::from_seconds(120);
// Whoever needs a key for theirs may use it longer.
const _: () = assert!(BEARER_TTL.as_millis() < ACCESS_TOKEN_TTL.as_millis());

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

/// Those whose proofs share room: a flood of strangers keeps no client and no person out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Circle {
    /// Clients that the estate declares and runs of agents, which proved who they are.
    Clients,
    /// Clients that describe themselves and proved to be who they describe: anybody can.
    Described,
    /// Whoever says who they are, or is to be known by what they show: public clients, command lines, workload tokens.
    Strangers,
    /// People, by their logins and passkeys.
    People,
}

/// What was used up, for each circle.
struct Used {
    clients: Mutex<ReplayCache>,
    described: Mutex<ReplayCache>,
    strangers: Mutex<ReplayCache>,
    people: Mutex<ReplayCache>,
}

/// What the authorization server keeps between requests.
pub(crate) struct OAuth {
    nonces: NonceKey,
    start: Start,
    used: Used,
    senders: Mutex<Senders>,
    keyring: Mutex<Option<Arc<Keyring>>>,
    pushed: Mutex<Pushed>,
    codes: Mutex<Codes>,
    client_keys: PublishedKeys,
    consents: Mutex<Consents>,
    documents: Documents,
    devices: Mutex<DeviceCodes>,
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
            start: Start::of(control),
            used: Used::new(),
            senders: Mutex::new(Senders::new(SENDERS_MAX)),
            keyring: Mutex::new(None),
            pushed: Mutex::new(Pushed::default()),
            codes: Mutex::new(Codes::default()),
            client_keys: PublishedKeys::default(),
            consents: Mutex::new(Consents::default()),
            documents: Documents::default(),
            devices: Mutex::new(DeviceCodes::default()),
        }
    }

    /// Returns the command lines that wait for a person.
    pub(crate) fn devices(&self) -> MutexGuard<'_, DeviceCodes> {
        locked(&self.devices)
    }

    /// Returns the key of the nonces that proofs want.
    pub(crate) const fn nonces(&self) -> &NonceKey {
        &self.nonces
    }

    /// Returns the nonce that the next proof wants.
    pub(crate) fn nonce(&self, now: Timestamp) -> String {
        self.nonces.nonce(now)
    }

    /// Uses an identifier of a proof up.
    pub(crate) fn admit(
        &self,
        circle: Circle,
        (owner, token_id): (ReplayOwner<'_>, &str),
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), ReplayError> {
        locked(self.used.of(circle))
            .admit(owner, token_id, until, now)
            .map(|_first| ())
    }
}

impl Used {
    fn new() -> Self {
        let room = ReplayRoom {
            entries_max: USED_PROOFS_MAX,
            per_owner_max: USED_PROOFS_PER_OWNER_MAX,
        };
        Self {
            clients: Mutex::new(ReplayCache::new(room)),
            described: Mutex::new(ReplayCache::new(room)),
            strangers: Mutex::new(ReplayCache::new(room)),
            people: Mutex::new(ReplayCache::new(room)),
        }
    }

    const fn of(&self, circle: Circle) -> &Mutex<ReplayCache> {
        match circle {
            Circle::Clients => &self.clients,
            Circle::Described => &self.described,
            Circle::Strangers => &self.strangers,
            Circle::People => &self.people,
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

impl Server<'_> {
    /// Refuses what wants a person in front of a browser, where nobody signs in. The metadata is silent of it, too.
    fn check_people(&self) -> Result<(), OAuthError> {
        match self.control.sign_ins {
            SignIns::At(_) | SignIns::WithPasskeys(_) => Ok(()),
            SignIns::Nowhere => Err(OAuthError::absent(
                "people do not sign in at this server; `[sign_in]` of ambit.toml names a provider, and a host's name in \
                 `public.url` lets them use passkeys",
            )),
        }
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OAuth")
    }
}

#[cfg(test)]
impl OAuth {
    /// Fills what waits with requests like the one that was pushed last: so many pushed, so many codes.
    pub(crate) fn fill(&self, (pushed, codes): (usize, usize), now: ambit_core::Timestamp) {
        let like = locked(&self.pushed).fill(pushed, now);
        locked(&self.codes).fill(codes, &like, now.plus(CODE_TTL));
    }

    /// Returns how many proofs are remembered.
    pub(crate) fn remembered(&self) -> usize {
        let circles = [
            Circle::Clients,
            Circle::Described,
            Circle::Strangers,
            Circle::People,
        ];
        let all = circles.map(|it| locked(self.used.of(it)).len());
        all.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_proofs_are_remembered_of_one_and_of_all() {
        let now = Timestamp::from_millis(1_795_305_600_000);
        let used = Used::new();
        let mut used = locked(used.of(Circle::Clients));
        let mut admit = |owner: usize, number: usize| {
            let owner = owner.to_string();
            let owner = ReplayOwner::Assertion { issuer: &owner };
            used.admit(owner, &number.to_string(), now.plus(Millis::new(1)), now)
        };
        let owners = USED_PROOFS_MAX / USED_PROOFS_PER_OWNER_MAX;
        for owner in 0..owners {
            for number in 0..USED_PROOFS_PER_OWNER_MAX {
                assert!(admit(owner, number).is_ok(), "{owner} {number}");
            }
            if owner == 0 {
                let more = admit(owner, USED_PROOFS_PER_OWNER_MAX);
                assert_eq!(more.err(), Some(ReplayError::OwnerFull));
            }
        }
        assert_eq!(admit(owners, 0).err(), Some(ReplayError::Full));
        assert_eq!(admit(0, 0).err(), Some(ReplayError::Replayed));
    }
}

//! Evidence of who is calling.

pub use ambit_core::token::KeyBinding;
use ambit_core::{AgentName, InstanceId, SpiffeId, TaskId, Timestamp};

/// One run of an agent, proved by its X509-SVID or by an access token.
///
/// Made only by [`identify_instance`](crate::identify_instance), which proves it for the life of the
/// connection, and by [`identify_token`](crate::identify_token), which proves it for one request. It says nothing about what the instance may do: every
/// decision rechecks the live state, and refuses once [`expires_at`](Self::expires_at) is reached.
///
/// ```compile_fail,E0451
/// use ambit_core::{AgentName, Digest, InstanceId, SpiffeId, Timestamp};
/// use ambit_identity::{InstanceCaller, KeyBinding};
///
/// fn forge(spiffe_id: SpiffeId, agent: AgentName, instance: InstanceId, expires_at: Timestamp) {
///     let binding = KeyBinding::Mtls { certificate: Digest::of(b"") };
///     let _ = InstanceCaller { spiffe_id, agent, instance, binding, expires_at, token: None, foreign: None };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct InstanceCaller {
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) agent: AgentName,
    pub(crate) instance: InstanceId,
    pub(crate) binding: KeyBinding,
    pub(crate) expires_at: Timestamp,
    pub(crate) token: Option<Box<TokenClaim>>,
    /// The name by which its own trust domain knows it, when that is a foreign one.
    pub(crate) foreign: Option<Box<SpiffeId>>,
}

/// What the access token of a caller says of itself. What it is worth now is asked of the live state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenClaim {
    /// Its identifier (`jti`), by which it is revoked.
    pub token_id: String,
    /// The task for which it was issued (`mission`).
    pub task: TaskId,
    /// Who asked for it (`client_id`).
    pub client: String,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// A person whom the estate names, proved by the operating system's word on a local socket or by a
/// sign-in at the provider that the organisation trusts.
///
/// Made only by [`identify_person`](crate::identify_person),
/// [`identify_signed_in`](crate::identify_signed_in), [`identify_passkey`](crate::identify_passkey) and
/// [`ProvedLogin::identify`](crate::login::ProvedLogin::identify). What the person may do is asked of the estate
/// in force on every decision, not of this.
///
/// ```compile_fail,E0451
/// use ambit_identity::{PersonCaller, PersonProof};
///
/// let proof = PersonProof::LocalUser { unix_uid: 0 };
/// let _ = PersonCaller { alias: "mallory".to_owned(), proof };
/// ```
#[derive(Clone, Debug)]
pub struct PersonCaller {
    pub(crate) alias: String,
    pub(crate) proof: PersonProof,
}

/// How a person proved to be one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PersonProof {
    /// The operating system says which local user holds the socket. Whatever runs as that user can
    /// do the same.
    LocalUser {
        /// The user's number.
        unix_uid: u32,
    },
    /// The provider said who is in front of the browser.
    SignIn {
        /// What carries the sign-in from request to request.
        carrier: Carrier,
    },
}

/// What carries a sign-in from request to request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// A browser's cookie.
    Browser,
    /// A key in a file. Whatever runs as the user who can read it can do the same.
    KeyFile,
}

/// The gateway of a trust domain, proved by its X509-SVID.
///
/// Made only by [`identify_gateway`](crate::identify_gateway).
///
/// ```compile_fail,E0451
/// fn forge(spiffe_id: ambit_core::SpiffeId) {
///     let _ = ambit_identity::Gateway { spiffe_id };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Gateway {
    pub(crate) spiffe_id: SpiffeId,
}

/// Whether what a caller showed is valid still.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validity {
    /// It is.
    Holds,
    /// Its time has come.
    Over,
}

impl InstanceCaller {
    /// Returns the SPIFFE ID, of the form `spiffe://TD/agent/NAME/INSTANCE`.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Returns the agent of which this is a run.
    pub const fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// Returns the name that its certificate or token has: its own, or the one by which a foreign trust domain knows it.
    pub fn proved_name(&self) -> &SpiffeId {
        self.foreign.as_deref().unwrap_or(&self.spiffe_id)
    }

    /// Returns the run.
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Returns what ties the caller to its key.
    pub const fn binding(&self) -> KeyBinding {
        self.binding
    }

    /// Returns the first instant at which the certificate or the token is no longer valid.
    ///
    /// A connection can outlive the certificate that opened it; authority may not.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Says whether the certificate or the token is over: at `now`, or, when a foreign trust domain's clock dated it, at `wall`.
    pub fn validity(&self, now: Timestamp, wall: Timestamp) -> Validity {
        let dated_by_others = self.foreign.is_some() && self.token.is_none();
        let at = if dated_by_others { wall } else { now };
        if self.expires_at <= at {
            Validity::Over
        } else {
            Validity::Holds
        }
    }

    /// Returns what the access token says of itself; none when the caller came without one.
    pub fn token(&self) -> Option<&TokenClaim> {
        self.token.as_deref()
    }
}

impl PersonCaller {
    /// Returns the alias that the estate uses for the person.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Returns how the person proved to be this one.
    pub const fn proof(&self) -> PersonProof {
        self.proof
    }
}

impl Gateway {
    /// Returns the SPIFFE ID, `spiffe://TD/ambit/gateway`.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

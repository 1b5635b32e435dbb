//! What people prove who they are with, as the log knows it: passkeys, and logins of command lines. Never a secret.

use crate::{Digest, LoginId, PasskeyId, PersonId, Timestamp, record::Warrant};

/// One change of what a person proves who they are with.
#[derive(Clone, Debug, PartialEq)]
pub enum ProofFact {
    /// A person let a command line act in their name.
    LoginOpened {
        /// The login.
        login: Login,
        /// Who may say so: the person.
        warrant: Warrant,
    },
    /// A login ended before its time.
    LoginEnded {
        /// Which.
        login: LoginId,
        /// Who may say so; nobody, when a newer login took its place.
        warrant: Option<Warrant>,
    },
    /// A person may register a passkey, once.
    EnrolmentOffered {
        /// The enrolment.
        enrolment: Enrolment,
        /// Who may say so.
        warrant: Warrant,
    },
    /// Whoever had the link of an enrolment registered a passkey. The enrolment is spent.
    PasskeyRegistered {
        /// The passkey.
        passkey: Passkey,
        /// The digest that names the enrolment.
        enrolment: Digest,
    },
    /// Somebody signed in with a passkey.
    PasskeyUsed {
        /// Which.
        passkey: PasskeyId,
        /// How often its authenticator says that it signed; 0 when it does not count.
        sign_count: u32,
    },
    /// A passkey is good for nothing any more, nor are the logins that it opened.
    PasskeyRemoved {
        /// Which.
        passkey: PasskeyId,
        /// Who may say so.
        warrant: Warrant,
    },
}

/// What lets a command line act in a person's name: a secret and a key that it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// Its name.
    pub id: LoginId,
    /// In whose name.
    pub person: PersonId,
    /// SHA-256 over the key with which every request is signed (RFC 7638).
    pub key: Digest,
    /// SHA-256 over the secret that comes with every request.
    pub secret: Digest,
    /// How the person had proved to be this one.
    pub by: LoginBy,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
}

/// How a person had proved to be this one when a login was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginBy {
    /// The organisation's provider said so.
    Provider {
        /// SHA-256 over the login's secret and the provider's name for the person: whoever reads the log can't guess it.
        subject: Digest,
    },
    /// By this passkey.
    Passkey {
        /// Which.
        passkey: PasskeyId,
    },
}

/// Leave for whoever has a link to register a passkey for a person, once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Enrolment {
    /// For whom. A person has one at a time.
    pub person: PersonId,
    /// SHA-256 over the link's secret: names it.
    pub secret: Digest,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
}

/// A key pair that an authenticator keeps for a person (WebAuthn Level 3 §4, public key credential).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passkey {
    /// Its name here.
    pub id: PasskeyId,
    /// Whose.
    pub person: PersonId,
    /// The authenticator's name for it, in base64url.
    pub credential: String,
    /// How it signs.
    pub algorithm: PasskeyAlgorithm,
    /// The public key: SubjectPublicKeyInfo (DER), in base64url.
    pub public_key: String,
    /// How often its authenticator says that it signed; 0 when it does not count.
    pub sign_count: u32,
    /// Where the private key lives.
    pub kept: PasskeyKept,
}

/// How a passkey signs (COSE algorithms, RFC 9053).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PasskeyAlgorithm {
    /// ECDSA on P-256 with SHA-256 (-7).
    Es256,
    /// EdDSA on Ed25519 (-8).
    EdDsa,
    /// RSA PKCS #1 v1.5 with SHA-256 (-257).
    Rs256,
}

/// Where the private key of a passkey lives (WebAuthn Level 3 §6.1.3, backup eligibility).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PasskeyKept {
    /// In one device, and never elsewhere.
    Device,
    /// With a provider that copies it to other devices of the person.
    Synced,
}

impl ProofFact {
    /// Returns the decision behind it, when it is a person's act.
    pub const fn warrant(&self) -> Option<&Warrant> {
        match self {
            Self::LoginOpened { warrant, .. }
            | Self::EnrolmentOffered { warrant, .. }
            | Self::PasskeyRemoved { warrant, .. } => Some(warrant),
            Self::LoginEnded { warrant, .. } => warrant.as_ref(),
            Self::PasskeyRegistered { .. } | Self::PasskeyUsed { .. } => None,
        }
    }
}

impl PasskeyAlgorithm {
    /// Every algorithm, the one that authenticators shall prefer first.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// Returns the word that records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// Returns the number that browsers use (IANA COSE Algorithms).
    pub const fn cose(self) -> i32 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }
}

impl PasskeyKept {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Device, Self::Synced];

    /// Returns the word that records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Synced => "synced",
        }
    }
}

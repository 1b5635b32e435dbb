//! Tokens that carry a task's authority over the wire, as the log knows them: never their text.

use std::sync::Arc;

use crate::{Digest, TaskId, Timestamp, TokenId, delegation::Part};

/// A token that was issued under a task. It is worth what its task is worth, at most until its end.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedToken {
    /// Its name: the access token's `jti`.
    pub id: TokenId,
    /// The first token of those that came of one grant: revoking a family revokes them all.
    pub family: TokenId,
    /// What it is for.
    pub kind: TokenKind,
    /// Under which task.
    pub task: TaskId,
    /// Who asked for it (`client_id`).
    pub client: String,
    /// The one place where access tokens of it can be used (RFC 8707).
    pub audience: String,
    /// What its presenter must hold.
    pub binding: KeyBinding,
    /// How it was asked for.
    pub grant: Grant,
    /// The token that was spent or exchanged for it.
    pub parent: Option<TokenId>,
    /// What it carries of its task, when that is not the whole: tools and servers, without bounds of their own.
    pub part: Option<Arc<Part>>,
    /// What the estate must still say: without it the token is worth nothing.
    pub rests_on: RestsOn,
    /// The first instant at which it is no longer valid.
    pub expires_at: Timestamp,
}

/// What the estate said when a token was given, by digests that name it. A token is worth something as long as the estate
/// in force says the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RestsOn {
    /// That it declares the client, and what that showed: its key, or no key at all.
    pub client: Option<Digest>,
    /// That whoever asked is a run of the task's agent: a client, a workload of a foreign issuer or trust domain.
    pub registration: Option<Digest>,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// Acts at the gateway.
    Access,
    /// Gets one more access token and one more of its own kind, once (RFC 6749 §6).
    Refresh {
        /// SHA-256 over its secret part.
        secret: Digest,
    },
}

/// What ties a caller, or the presenter of a token, to a key that only they hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyBinding {
    /// Mutual TLS with the leaf certificate of this digest (RFC 8705 `x5t#S256`).
    Mtls {
        /// SHA-256 over the certificate's DER form.
        certificate: Digest,
    },
    /// A DPoP proof by the key of this thumbprint with every request (RFC 9449 `jkt`).
    Dpop {
        /// SHA-256 over the key (RFC 7638).
        thumbprint: Digest,
    },
    /// Nothing: whoever has the token can be the caller.
    Bearer,
}

/// How a token was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grant {
    /// The instance itself asked (RFC 6749 §4.4).
    ClientCredentials,
    /// A person consented in a browser (RFC 6749 §4.1).
    AuthorizationCode,
    /// A refresh token was spent (RFC 6749 §6).
    RefreshToken,
    /// A workload token of a foreign issuer claimed a waiting task (RFC 7523 §2.1).
    JwtBearer,
    /// A delegation was spent (RFC 8693).
    TokenExchange,
}

/// Why a token is worth nothing before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenEnd {
    /// Its client gave it up (RFC 7009).
    Revoked,
    /// A refresh token was shown a second time: somebody else has it.
    Reused,
    /// The code that it came of was shown a second time.
    CodeReplayed,
}

/// How far a revocation of a token goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// That token.
    Token,
    /// All tokens of its family.
    Family,
}

impl KeyBinding {
    /// Returns the word for the kind of binding in policies and records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Mtls { .. } => "mtls",
            Self::Dpop { .. } => "dpop",
            Self::Bearer => "bearer",
        }
    }

    /// Returns the digest that names the key, when there is one.
    pub const fn key(&self) -> Option<Digest> {
        match self {
            Self::Mtls { certificate } => Some(*certificate),
            Self::Dpop { thumbprint } => Some(*thumbprint),
            Self::Bearer => None,
        }
    }
}

impl Grant {
    /// Every grant.
    pub const ALL: [Self; 5] = [
        Self::ClientCredentials,
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::JwtBearer,
        Self::TokenExchange,
    ];

    /// Returns the word that records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "jwt_bearer",
            Self::TokenExchange => "token_exchange",
        }
    }
}

impl TokenEnd {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Revoked, Self::Reused, Self::CodeReplayed];

    /// Returns the word that records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Reused => "reused",
            Self::CodeReplayed => "code_replayed",
        }
    }
}

impl Reach {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Token, Self::Family];

    /// Returns the word that records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Family => "family",
        }
    }
}

//! Who asks: a client proves itself in exactly one way.

use std::{borrow::Cow, time::Duration};

use ambit_core::{Millis, SpiffeId, Timestamp, limits::CLIENT_BYTES_MAX};
use ambit_engine::ClientShown;
use ambit_identity::{
    ForeignSvid, InstanceCaller,
    jose::{Doubt, JoseError},
    replay::{ReplayError, ReplayOwner},
    senders::assertion_name,
    token::{
        CLOCK_LEEWAY,
        assertion::{self, ProvedClient, ProvedWorkload, TYPE_JWT_BEARER, TYPE_JWT_SPIFFE},
    },
};
use axum::{
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    Circle, ClientAgents, ClientProof, KnownClient, OAuthError, Server,
    claimed::refused_token,
    document::{Inquirer, NotKnown},
    form::Form,
    origin_of,
    sent::{Assertion, Good},
    start::{Made, Maker},
};
use crate::{
    carried::aside,
    foreign::{AssertionBy, Freshness, Identified},
};

/// A client that proved itself, or a public one that says who it is.
pub(super) enum Client {
    /// A run of an agent, by its certificate.
    Instance(InstanceCaller),
    /// A run of an agent, by a JWT-SVID.
    Workload(ProvedWorkload),
    /// A workload of a foreign trust domain, by a JWT-SVID of that domain.
    Foreign(ForeignSvid, Assertion),
    /// A workload of a foreign issuer or trust domain, by the token that would get it a task (RFC 7523 §2.2).
    Holder {
        identified: Box<Identified>,
        assertion: Assertion,
        /// The run that it is, once it has claimed a task.
        serves: Option<SpiffeId>,
    },
    /// A client of the estate, or one with a metadata document.
    Known {
        id: String,
        client: Box<KnownClient>,
        shown: Shown,
    },
    /// Whoever shows a workload token, which says who it is (RFC 7523 §2.1: client authentication is optional).
    Unnamed,
}

/// How a known client showed who it is.
pub(super) enum Shown {
    /// By a signature of its key.
    Key(ProvedClient),
    /// By saying so: a public client.
    Name,
}

impl Client {
    /// Returns the client's name (`client_id`), when it has one.
    pub(super) fn id(&self) -> Option<String> {
        match self {
            Self::Instance(caller) => Some(caller.proved_name().to_string()),
            Self::Workload(proved) => Some(proved.spiffe_id().to_string()),
            Self::Foreign(svid, _) => Some(svid.spiffe_id().to_string()),
            Self::Holder { serves, .. } => serves.as_ref().map(SpiffeId::to_string),
            Self::Known { id, .. } => Some(id.clone()),
            Self::Unnamed => None,
        }
    }

    /// Says whether the client authenticated, or only said who it is.
    pub(super) const fn shown(&self) -> ClientShown {
        match self {
            Self::Instance(_) | Self::Workload(_) | Self::Foreign(..) | Self::Holder { .. } => {
                ClientShown::Proved
            }
            Self::Known {
                shown: Shown::Key(_),
                ..
            } => ClientShown::Proved,
            Self::Known {
                shown: Shown::Name, ..
            }
            | Self::Unnamed => ClientShown::Named,
        }
    }

    /// Returns the client's name (`client_id`).
    pub(super) fn name(&self) -> Result<String, OAuthError> {
        let none = || match self {
            Self::Holder { .. } => OAuthError::client(
                "this workload serves no live task, so it has no tokens; get one of a task that waits for it first",
            ),
            Self::Instance(_)
            | Self::Workload(_)
            | Self::Foreign(..)
            | Self::Known { .. }
            | Self::Unnamed => nobody(),
        };
        self.id().ok_or_else(none)
    }

    /// Says with whose proofs its own are remembered.
    pub(super) fn circle(&self) -> Circle {
        match self {
            Self::Known {
                shown: Shown::Key(_),
                client,
                ..
            } => client.circle(),
            Self::Instance(_) | Self::Workload(_) | Self::Foreign(..) | Self::Holder { .. } => {
                Circle::Clients
            }
            Self::Known {
                shown: Shown::Name, ..
            }
            | Self::Unnamed => Circle::Strangers,
        }
    }

    /// Says whose share its proofs take room of; nobody's but their keys' where it proved nothing else.
    pub(super) fn prover(&self) -> Option<String> {
        match self.circle() {
            Circle::Clients | Circle::Described => self.id(),
            Circle::Strangers | Circle::People => None,
        }
    }

    /// Returns the assertion that its issuer may have handed out before, when it came by one.
    pub(super) const fn assertion(&self) -> Option<&Assertion> {
        match self {
            Self::Foreign(_, assertion) | Self::Holder { assertion, .. } => Some(assertion),
            Self::Instance(_) | Self::Workload(_) | Self::Known { .. } | Self::Unnamed => None,
        }
    }
}

impl KnownClient {
    /// Says with whose proofs its own are remembered, when it proved that it is this client.
    const fn circle(&self) -> Circle {
        match &self.agents {
            ClientAgents::Only(_) => Circle::Clients,
            ClientAgents::Any => Circle::Described,
        }
    }
}

/// Answers an instance's endpoint where nobody is known by the connection.
pub(crate) async fn unknown_client(headers: HeaderMap) -> Response {
    let unknown = OAuthError::client(
        "nobody is known by this connection; connect with your X509-SVID, or ask at the public port",
    );
    match headers.get(header::AUTHORIZATION) {
        Some(tried) => unknown.challenged(tried).into_response(),
        None => unknown.into_response(),
    }
}

impl Server<'_> {
    /// Says who asks. An assertion is good once, and is used up by this.
    pub(super) async fn client(
        &self,
        head: &Parts,
        form: &Form,
        by_certificate: Option<&InstanceCaller>,
        now: Timestamp,
    ) -> Result<Client, OAuthError> {
        let asker = Inquirer::Stranger(origin_of(&head.extensions));
        let no_secrets = OAuthError::client(
            "clients have no secrets here; prove yourself with a client_assertion or an X509-SVID",
        );
        if let Some(tried) = head.headers.get(header::AUTHORIZATION) {
            return Err(no_secrets.challenged(tried));
        }
        if form.get("client_secret").is_some() {
            return Err(no_secrets);
        }
        let assertion = form.get("client_assertion");
        let kind = form.get("client_assertion_type");
        let client = match (assertion, kind, by_certificate) {
            (None, None, Some(caller)) => Client::Instance(caller.clone()),
            (Some(assertion), Some(TYPE_JWT_SPIFFE), None) => self.by_svid(assertion, now).await?,
            (Some(assertion), Some(TYPE_JWT_BEARER), None) => {
                self.by_key(assertion, &asker).await?
            }
            (None, None, None) if form.is_workload_token() => Client::Unnamed,
            (None, None, None) => self.public(form, &asker).await?,
            (Some(_), Some(_), None) => {
                return Err(OAuthError::client(format!(
                    "client_assertion_type must be {TYPE_JWT_SPIFFE} or {TYPE_JWT_BEARER}"
                )));
            }
            (Some(_), None, _) | (None, Some(_), _) => {
                return Err(OAuthError::client(
                    "client_assertion and client_assertion_type belong together; send both",
                ));
            }
            (Some(_), Some(_), Some(_)) => {
                return Err(OAuthError::client(
                    "prove yourself in one way: by a certificate or by an assertion",
                ));
            }
        };
        if form
            .get("client_id")
            .is_some_and(|it| client.id().is_none_or(|id| it != id))
        {
            return Err(OAuthError::client(
                "client_id is another client than the one that proved itself; leave it out",
            ));
        }
        Ok(client)
    }

    async fn by_svid(&self, token: &str, now: Timestamp) -> Result<Client, OAuthError> {
        let federated = self.control.federated();
        let wall = self.control.wall();
        let foreign = federated.identify_token(token, self.issuer, wall);
        if let Some((svid, proved)) = foreign.map_err(|error| refused(&error))? {
            // Other authorities hand the same JWT-SVID out until half its life is over, and give it no identifier then.
            let good = match proved.token_id() {
                None => Good::Again,
                Some(token_id) => {
                    let until = proved.expires_at().plus(CLOCK_LEEWAY);
                    let times = (proved.issued_at(), until);
                    let owner = svid.spiffe_id().to_string();
                    let others = (Circle::Clients, Maker::Another, wall);
                    self.use_once(&owner, token_id, times, others).await?;
                    Good::Once
                }
            };
            let assertion = Assertion::new(token, proved.expires_at(), good);
            return Ok(Client::Foreign(svid, assertion));
        }
        let keys = self.keyring()?;
        let proved = assertion::verify_jwt_spiffe(token, &keys.svids, self.issuer, now);
        let proved = proved.map_err(|error| refused(&error))?;
        // One without an identifier is its own.
        let token_id = match proved.token_id() {
            Some(token_id) => Cow::Borrowed(token_id),
            None => Cow::Owned(assertion_name(token).to_string()),
        };
        let owner = proved.spiffe_id().to_string();
        let until = proved.expires_at().plus(CLOCK_LEEWAY);
        let times = (proved.issued_at(), until);
        let own = (Circle::Clients, Maker::Ambit, now);
        self.use_once(&owner, &token_id, times, own).await?;
        Ok(Client::Workload(proved))
    }

    /// The dates of an assertion are of the clock of who made it.
    async fn by_key(&self, token: &str, asker: &Inquirer) -> Result<Client, OAuthError> {
        if self.foreign.claimed_by(self.control, token)? == AssertionBy::Issuer {
            return self.by_issuer(token).await;
        }
        let wall = self.control.wall();
        let id = assertion::claimed_client(token).map_err(|error| refused(&error))?;
        let (mut client, mut proved) = self
            .verify(token, (&id, asker), Freshness::Usual, wall)
            .await?;
        if let Err(error) = &proved
            && Doubt::of(token, error) == Doubt::NewerKeys
        {
            // It may have begun to sign with another key.
            (client, proved) = self
                .verify(token, (&id, asker), Freshness::New, wall)
                .await?;
        }
        let proved = proved.map_err(|error| refused(&error))?;
        let times = (proved.issued_at(), proved.remember_until());
        let others = (client.circle(), Maker::Another, wall);
        self.use_once(&id, proved.token_id(), times, others).await?;
        Ok(Client::Known {
            id,
            client: Box::new(client),
            shown: Shown::Key(proved),
        })
    }

    async fn by_issuer(&self, token: &str) -> Result<Client, OAuthError> {
        let identified = self.foreign.identify(self.control, token).await;
        let identified = identified.map_err(|error| refused_token(error, OAuthError::client))?;
        Ok(Client::Holder {
            serves: self.control.handle.serves(&identified.claimant)?,
            assertion: Assertion::new(token, identified.expires_at, Good::Again),
            identified: Box::new(identified),
        })
    }

    async fn verify(
        &self,
        token: &str,
        (id, asker): (&str, &Inquirer),
        wanted: Freshness,
        wall: Timestamp,
    ) -> Result<(KnownClient, Result<ProvedClient, JoseError>), OAuthError> {
        let client = self.known((id, asker), wanted).await?;
        let ClientProof::Keys(keys) = &client.keys else {
            return Err(OAuthError::client(
                "this client declared no keys; declare them, or leave the assertion out",
            ));
        };
        let proved = assertion::verify_private_key_jwt(token, keys, self.issuer, wall);
        Ok((client, proved))
    }

    /// Returns the public client that the form names. It proved nothing: what it gets hangs on a code or another token.
    async fn public(&self, form: &Form, asker: &Inquirer) -> Result<Client, OAuthError> {
        let id = form.get("client_id").ok_or_else(nobody)?;
        let client = self.known((id, asker), Freshness::Usual).await?;
        match client.keys {
            ClientProof::Public => Ok(Client::Known {
                id: id.to_owned(),
                client: Box::new(client),
                shown: Shown::Name,
            }),
            ClientProof::Keys(_) => Err(OAuthError::client(
                "this client declared keys; send a client_assertion signed with one of them",
            )),
        }
    }

    /// Finds a client by its name, which `asker` said.
    pub(super) async fn known(
        &self,
        (id, asker): (&str, &Inquirer),
        wanted: Freshness,
    ) -> Result<KnownClient, OAuthError> {
        if id.len() > CLIENT_BYTES_MAX {
            return Err(OAuthError::client("client_id is too long"));
        }
        let found = self.known_client((id, asker), wanted).await;
        found.map_err(|error| match error {
            NotKnown::Refused(why) => OAuthError::client(why),
            NotKnown::Busy => OAuthError::busy(error.to_string()),
        })
    }

    /// Uses an assertion up that is good once. One whose maker's clock is ahead waits until its time has come, so that
    /// whatever was used before a restart was made before it.
    async fn use_once(
        &self,
        issuer: &str,
        token_id: &str,
        (issued_at, until): (Option<Timestamp>, Timestamp),
        (circle, maker, now): (Circle, Maker, Timestamp),
    ) -> Result<(), OAuthError> {
        let ahead = match self.oauth.start.made(issued_at, (maker, now)) {
            Made::SinceStart(ahead) => ahead,
            Made::Before => {
                return Err(OAuthError::client(
                    "this assertion was made before this server started, and may have been used then; make a new one",
                ));
            }
            Made::Unknown => {
                return Err(OAuthError::client(
                    "this assertion does not say when it was made; write `iat`",
                ));
            }
        };
        let owner = ReplayOwner::Assertion { issuer };
        let wall = self.control.wall();
        let admitted = self.oauth.admit(circle, (owner, token_id), until, wall);
        match admitted {
            Ok(()) => {}
            Err(error @ (ReplayError::Full | ReplayError::OwnerFull)) => {
                return Err(OAuthError::unavailable(error.to_string()));
            }
            Err(ReplayError::Replayed) => {
                return Err(OAuthError::client(
                    "this assertion was used before; make a new one, with a new jti, for each request",
                ));
            }
            Err(error @ ReplayError::Over) => return Err(OAuthError::client(error.to_string())),
        }
        if ahead > Millis::new(0) {
            aside(tokio::time::sleep(Duration::from_millis(ahead.as_millis()))).await;
        }
        Ok(())
    }
}

fn nobody() -> OAuthError {
    OAuthError::client(
        "nobody asks; prove who you are with a client_assertion, or with an X509-SVID at the mTLS endpoint",
    )
}

fn refused(error: &JoseError) -> OAuthError {
    OAuthError::client(format!(
        "the client assertion is refused: {}",
        crate::check::chain(error)
    ))
}

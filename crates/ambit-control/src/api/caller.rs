//! Who is calling: identified anew at every request.

use std::sync::Arc;

use ambit_core::estate::Estate;
use ambit_engine::{EngineError, Inspection};
use ambit_identity::{
    InstanceCaller, PeerCredentials, PersonCaller, identify_person, login::ProvedLogin,
};
use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use super::{Shared, problem::Problem};

/// A person of the estate in force.
pub(super) struct Person(pub(super) PersonCaller);

/// A person who may look.
pub(super) struct Onlooker(pub(super) Inspection);

/// A run of an agent, by its certificate alone. Who comes by a token is refused: what they would get, an identity of their
/// own or the standing of a runner, outlives the token.
pub(crate) struct Instance(pub(crate) InstanceCaller);

/// A run of an agent, by its certificate or by a token that is bound to a key it proved.
pub(crate) struct Run(pub(crate) InstanceCaller);

/// Who asks, before it is anybody of an estate.
pub(super) enum Peer {
    /// The other end of the local socket.
    Local(PeerCredentials),
    /// A command line with a login.
    Login(Box<ProvedLogin>),
}

impl Peer {
    /// Identifies the person among those of `estate`.
    pub(super) fn identify(&self, estate: &Estate) -> Result<PersonCaller, Problem> {
        let people = &estate.people;
        let found = match self {
            Self::Local(peer) => identify_person(*peer, people),
            Self::Login(login) => login.identify(people),
        };
        found.map_err(|error| not_identified(error.to_string()))
    }
}

impl FromRequestParts<Arc<Shared>> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Problem> {
        let login = parts.extensions.get::<ProvedLogin>().cloned();
        let local = parts.extensions.get::<PeerCredentials>().copied();
        match (login, local) {
            (Some(login), None) => Ok(Self::Login(Box::new(login))),
            (None, Some(peer)) => Ok(Self::Local(peer)),
            (None, None) | (Some(_), Some(_)) => {
                Err(not_identified("use the local control socket, or a login"))
            }
        }
    }
}

impl FromRequestParts<Arc<Shared>> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let peer = Peer::from_request_parts(parts, shared).await?;
        let book = shared.control.handle.book()?;
        peer.identify(book.estate()).map(Self)
    }
}

impl FromRequestParts<Arc<Shared>> for Onlooker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let Person(caller) = Person::from_request_parts(parts, shared).await?;
        let control = &shared.control;
        let inspection = control
            .handle
            .may_inspect(&caller, (control.clock)())
            .await?;
        Ok(Self(inspection))
    }
}

impl FromRequestParts<Arc<Shared>> for Run {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<InstanceCaller>().cloned();
        caller
            .map(Self)
            .ok_or_else(|| not_identified("use the instance's certificate, or a token of its task"))
    }
}

impl FromRequestParts<Arc<Shared>> for Instance {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let Run(caller) = Run::from_request_parts(parts, shared).await?;
        if caller.token().is_none() {
            return Ok(Self(caller));
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "svid_required",
            "this is for instances that connect with their X509-SVID",
        )
        .because("use the instance's certificate itself, without an access token"))
    }
}

/// Says whether the engine has no estate yet: then the first one names its own people.
pub(super) fn is_first(error: &EngineError) -> bool {
    matches!(error, EngineError::NoEstate)
}

fn not_identified(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "not_identified",
        "Ambit does not know who is calling",
    )
    .because(detail)
}

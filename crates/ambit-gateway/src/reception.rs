//! Who asks: the instance of the connection, or the one that an access token names.

use std::sync::{Arc, atomic::Ordering};

use ambit_core::{Reason, estate::BearerTokens};
use ambit_engine::Presented;
use ambit_identity::{InstanceCaller, KeyBinding};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::{
    body::{self, Body},
    doors::MALFORMED,
    edge,
    gateway::{Gateway, no_route, turn_away},
    mcp::acts::Door,
    tokens::{DPOP_NONCE, Tokens, described, uses_proofs},
    visitor::Visitor,
};

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// An instance, proved by its certificate.
    Instance(InstanceCaller),
    /// A workload of a foreign trust domain, proved by its certificate. It is the instance of whatever task it claims.
    Foreign(Arc<Visitor>),
    /// Nobody yet: each request must bring an access token.
    Stranger,
}

impl Peer {
    const fn instance(&self) -> Option<&InstanceCaller> {
        match self {
            Self::Instance(caller) => Some(caller),
            Self::Foreign(_) | Self::Stranger => None,
        }
    }
}

impl Gateway {
    /// Answers one request of `peer`.
    pub(crate) async fn receive(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let Peer::Foreign(visitor) = peer else {
            return self.receive_known(request, peer).await;
        };
        // What leads nowhere claims nothing.
        if !self.wants_instance(&request) {
            return self.receive_known(request, &Peer::Stranger).await;
        }
        match self.instance_of(visitor).await {
            Ok(caller) => self.receive_known(request, &Peer::Instance(caller)).await,
            Err(refusal) => self.turn_away(peer, refusal).await,
        }
    }

    fn wants_instance<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        request.method() == Method::CONNECT
            || self.hosts.check(request).is_ok()
                && (is_for_the_control_api(path) || Door::of_path(path).is_some())
    }

    async fn receive_known(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return match peer.instance() {
                Some(caller) => self.answer(request, caller).await,
                None => self.turn_away(peer, wants_svid()).await,
            };
        }
        if let Err(refusal) = self.hosts.check(&request) {
            return self.turn_away(peer, *refusal).await;
        }
        let path = request.uri().path();
        if let (Some(tokens), Some(described)) = (&self.tokens, described(path)) {
            return match (described, request.method()) {
                (Some(door), &Method::GET) => tokens.metadata(&door),
                (Some(_), _) => edge::wrong_method(&[Method::GET]),
                (None, _) => self.turn_away(peer, no_route()).await,
            };
        }
        if let (Some(fallback), true) = (&self.fallback, is_for_the_control_api(path)) {
            return match peer.instance() {
                Some(caller) => fallback(request, caller.clone()).await,
                None => self.turn_away(peer, wants_svid()).await,
            };
        }
        let Some(door) = Door::of_path(path) else {
            return self.turn_away(peer, no_route()).await;
        };
        match (&self.tokens, peer) {
            (Some(tokens), _) => self.by_token(tokens, door, request, peer).await,
            (None, Peer::Instance(caller)) => self.answer_at(door, request, caller).await,
            (None, Peer::Foreign(_) | Peer::Stranger) => self.turn_away(peer, wants_svid()).await,
        }
    }

    async fn by_token(
        &self,
        tokens: &Tokens,
        door: Door,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let proved = uses_proofs(&head.headers);
        let moment = self.doors.moment();
        let now = moment.now;
        let identified = tokens.identify(&head, &door, peer.instance(), &moment);
        let caller = match identified {
            Ok(caller) => caller,
            Err(why) => {
                self.count(peer, &why);
                return tokens.refuse(&door, &why, now);
            }
        };
        if caller.binding() == KeyBinding::Bearer && !self.takes_bearer() {
            return turn_away(&self.doors, &caller, tokens.too_weak(&door)).await;
        }
        // That the task has ended is told as the answer to the act; that the token was given up, as OAuth clients hear it.
        let presented = self.doors.handle.presented(&caller, now);
        if matches!(presented, Ok(Presented::Nothing)) {
            let refusal = tokens.given_up(&door, caller.binding(), now);
            return turn_away(&self.doors, &caller, refusal).await;
        }
        let request = Request::from_parts(head, body);
        let mut response = self.answer_at(door, request, &caller).await;
        if let (true, Ok(nonce)) = (proved, tokens.nonce(self.doors.now()).parse()) {
            response.headers_mut().insert(DPOP_NONCE.clone(), nonce);
        }
        response
    }

    /// Says whether the estate in force takes tokens that are bound to no key at all. Which acts they may do is decided
    /// later, act by act.
    fn takes_bearer(&self) -> bool {
        let book = self.doors.handle.book();
        book.is_ok_and(|it| it.estate().bearer_tokens == BearerTokens::Taken)
    }

    /// Passes a refusal by the edge on. Those of an instance are written down, those of strangers counted.
    pub(crate) async fn turn_away(&self, peer: &Peer, refusal: Response<Body>) -> Response<Body> {
        match peer {
            Peer::Instance(caller) => turn_away(&self.doors, caller, refusal).await,
            Peer::Foreign(_) | Peer::Stranger => {
                self.strangers_refused.fetch_add(1, Ordering::Relaxed);
                refusal
            }
        }
    }

    /// Writes down, or counts, that what came could not be read.
    pub(crate) async fn note(&self, peer: &Peer, reason: Reason) {
        match peer {
            Peer::Instance(caller) => self.doors.note(caller, MALFORMED, reason).await,
            Peer::Foreign(_) | Peer::Stranger => {
                self.strangers_refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn count(&self, peer: &Peer, why: &crate::tokens::Unidentified) {
        self.strangers_refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(
            ?why,
            certified = peer.instance().is_some(),
            "a request identified nobody"
        );
    }
}

fn wants_svid() -> Response<Body> {
    let detail = "this is for instances that connect with their X509-SVID; access tokens are for /mcp and /s/NAME/mcp";
    body::problem(StatusCode::FORBIDDEN, "svid_required", detail)
}

/// Says whether a path is of the control API's routes for instances: its own, and the token endpoint for those that come
/// with a certificate (RFC 8705 §5).
fn is_for_the_control_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || path.starts_with("/oauth/")
}

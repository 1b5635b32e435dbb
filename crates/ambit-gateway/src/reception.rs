//! Who asks: the instance of the connection, or the one that an access token names.

use std::sync::{Arc, atomic::Ordering};

use ambit_core::{Reason, estate::BearerTokens, json::Value};
use ambit_engine::{Ground, Presented};
use ambit_identity::{InstanceCaller, KeyBinding};
use http::{Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use crate::{
    body::{self, Body},
    doors::MALFORMED,
    edge,
    gateway::{Fallback, Gateway, no_route, refuse_token, turn_away},
    limits::REQUEST_BODY_TIMEOUT,
    mcp::acts::Door,
    punctual::Punctual,
    seating::Chair,
    tokens::{DPOP_NONCE, Place, Tokens, Unidentified, described, uses_proofs},
    visitor::{Visitor, foreign_client},
};

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// An instance, proved once.
    Instance(InstanceCaller),
    /// Whoever holds the key of a certificate: an instance, or a workload of a foreign trust domain, which is the instance of
    /// whatever task it claims. Proved anew at each request.
    Visitor(Arc<Visitor>),
    /// Nobody yet: each request must bring an access token.
    Stranger,
}

impl Peer {
    /// Returns the instance of ours that it was last found to be, for what is written of refusals.
    pub(crate) fn last_known(&self) -> Option<InstanceCaller> {
        match self {
            Self::Instance(caller) => Some(caller.clone()),
            Self::Visitor(visitor) => visitor.own(),
            Self::Stranger => None,
        }
    }

    const fn instance(&self) -> Option<&InstanceCaller> {
        match self {
            Self::Instance(caller) => Some(caller),
            Self::Visitor(_) | Self::Stranger => None,
        }
    }
}

impl Gateway {
    /// Answers one request of `peer`.
    pub(crate) async fn receive(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let Peer::Visitor(visitor) = peer else {
            return self.receive_known(request, peer).await;
        };
        // What leads nowhere claims nothing.
        if visitor.own().is_none() && !self.wants_instance(&request) {
            return self.receive_known(request, &Peer::Stranger).await;
        }
        let caller = match self.instance_of(visitor).await {
            Ok(caller) => caller,
            // It is not written down as anybody's: nobody is proved.
            Err(refusal) => {
                unseat(request.extensions());
                return self.turn_away(&Peer::Stranger, refusal).await;
            }
        };
        if let Some(chair) = request.extensions().get::<Arc<Chair>>() {
            self.seat(chair, &caller);
        }
        if request.method() == Method::CONNECT {
            let unproved = self.unproved(visitor);
            return self.tunnel(request, &caller, Some(unproved)).await;
        }
        let answer = self.receive_known(request, &Peer::Instance(caller)).await;
        Self::cut(self.unproved(visitor), answer)
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
            return self.at_the_control_api(fallback, request, peer).await;
        }
        let Some(door) = Door::of_path(path) else {
            return self.turn_away(peer, no_route()).await;
        };
        match (&self.tokens, peer) {
            (Some(tokens), _) => self.by_token(tokens, door, request, peer).await,
            (None, Peer::Instance(caller)) => self.answer_at(door, request, caller).await,
            (None, Peer::Visitor(_) | Peer::Stranger) => self.turn_away(peer, wants_svid()).await,
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
        let place = tokens.at(door);
        let shown = (&head, self.bearer_tokens());
        let caller = match self.identified((tokens, &place), shown, peer).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        let request = Request::from_parts(head, body);
        let mut response = self.answer_at(place.door().clone(), request, &caller).await;
        if foreign_client(&caller).is_some() {
            response = Self::cut(self.unvouched(&caller), response);
        }
        self.add_nonce(tokens, proved, &mut response);
        response
    }

    /// Answers at the control API's routes for instances. Those of the task take a token too, but none without a key: who
    /// shows one is identified by it, and never by a certificate beside it that says another task. The endpoints of the
    /// authorization server read a request's proofs themselves.
    async fn at_the_control_api(
        &self,
        fallback: &Fallback,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<Body> {
        let path = request.uri().path();
        let tokens = self.tokens.as_ref().filter(|_| is_of_the_task(path));
        let Some(tokens) = tokens else {
            let shown = request.headers().contains_key(header::AUTHORIZATION);
            return match peer.instance() {
                Some(_) if shown && is_of_the_task(path) => {
                    self.turn_away(peer, takes_no_tokens()).await
                }
                Some(caller) => fallback(punctual(request), caller.clone()).await,
                None if is_of_the_task(path) => self.turn_away(peer, wants_svid()).await,
                None => self.turn_away(peer, no_client()).await,
            };
        };
        let place = tokens.at_the_task(path);
        let (head, body) = request.into_parts();
        let proved = uses_proofs(&head.headers);
        let shown = (&head, BearerTokens::Refused);
        let caller = match self.identified((tokens, &place), shown, peer).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        let mut response = fallback(punctual(Request::from_parts(head, body)), caller).await;
        self.add_nonce(tokens, proved, &mut response);
        response
    }

    /// Says which instance makes the request with this head at `place`, or answers why none does. Without a certificate, the
    /// connection is whose token is shown last.
    async fn identified(
        &self,
        (tokens, place): (&Tokens, &Place),
        (head, bearer): (&Parts, BearerTokens),
        peer: &Peer,
    ) -> Result<InstanceCaller, Response<Body>> {
        let shown = (head, bearer);
        let found = self.identified_by((tokens, place), shown, peer).await;
        if let (Peer::Stranger, Some(chair)) = (peer, head.extensions.get::<Arc<Chair>>()) {
            match &found {
                Ok(caller) => self.seat(chair, caller),
                Err(_) => chair.belongs_to_nobody(),
            }
        }
        found
    }

    async fn identified_by(
        &self,
        (tokens, place): (&Tokens, &Place),
        (head, bearer): (&Parts, BearerTokens),
        peer: &Peer,
    ) -> Result<InstanceCaller, Response<Body>> {
        let (moment, door) = (self.doors.moment(), place.door());
        let now = moment.now;
        let caller = match tokens.identify(head, place, peer.instance(), &moment) {
            Ok(caller) => caller,
            Err(why) => {
                let refusal = tokens.refuse(door, &why, now);
                // Whoever is proved beside an old token is told apart; a token alone proves nobody any more.
                if let (Unidentified::Expired(..), Some(caller)) = (&why, peer.instance()) {
                    let why = (Reason::TokenExpired, refusal);
                    return Err(refuse_token(&self.doors, caller, why).await);
                }
                self.count(peer, &why);
                return Err(refusal);
            }
        };
        if let Err(why) = self.vouched(&caller) {
            tracing::info!(error = %crate::causes(&why), "the client of a token is vouched for no longer");
            self.strangers_refused.fetch_add(1, Ordering::Relaxed);
            return Err(tokens.unvouched(door, caller.binding(), now));
        }
        if caller.binding() == KeyBinding::Bearer && bearer == BearerTokens::Refused {
            let why = (Reason::BindingTooWeak, tokens.too_weak(door));
            return Err(refuse_token(&self.doors, &caller, why).await);
        }
        // That the task has ended is told as the answer to the act; that the token was given up, as OAuth clients hear it.
        let presented = self.doors.handle.presented(&caller, now);
        if let Ok(Presented::Nothing(reason)) = presented {
            let refusal = tokens.worth_nothing(door, caller.binding(), reason, now);
            return Err(refuse_token(&self.doors, &caller, (reason, refusal)).await);
        }
        Ok(caller)
    }

    /// Gives the connection at whose other end `caller` is a seat of its own, as long as a task that acts stands behind it.
    pub(crate) fn seat(&self, chair: &Chair, caller: &InstanceCaller) {
        match self.doors.handle.ground(caller, self.doors.now()) {
            Ok(Ground::Stands) => chair.belongs_to(caller.spiffe_id()),
            Ok(Ground::Gone) | Err(_) => chair.belongs_to_nobody(),
        }
    }

    /// Gives who proved a key the nonce for the next proof.
    fn add_nonce(&self, tokens: &Tokens, proved: bool, response: &mut Response<Body>) {
        if let (true, Ok(nonce)) = (proved, tokens.nonce(self.doors.now()).parse()) {
            response.headers_mut().insert(DPOP_NONCE.clone(), nonce);
        }
    }

    /// Says whether the estate in force takes tokens that are bound to no key at all. Which acts they may do is decided
    /// later, act by act.
    fn bearer_tokens(&self) -> BearerTokens {
        let book = self.doors.handle.book();
        book.map_or(BearerTokens::Refused, |it| it.estate().bearer_tokens)
    }

    /// Passes a refusal by the edge on. Those of an instance are written down, those of strangers counted.
    pub(crate) async fn turn_away(&self, peer: &Peer, refusal: Response<Body>) -> Response<Body> {
        match peer.last_known() {
            Some(caller) => turn_away(&self.doors, &caller, refusal).await,
            None => {
                self.strangers_refused.fetch_add(1, Ordering::Relaxed);
                refusal
            }
        }
    }

    /// Writes down, or counts, that what came could not be read.
    pub(crate) async fn note(&self, peer: &Peer, reason: Reason) {
        match peer.last_known() {
            Some(caller) => self.doors.note(&caller, MALFORMED, reason).await,
            None => {
                self.strangers_refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn count(&self, peer: &Peer, why: &Unidentified) {
        self.strangers_refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(
            ?why,
            certified = peer.instance().is_some(),
            "a request identified nobody"
        );
    }
}

/// Moves the connection of a request back among those of strangers.
fn unseat(extensions: &http::Extensions) {
    if let Some(chair) = extensions.get::<Arc<Chair>>() {
        chair.belongs_to_nobody();
    }
}

/// Gives the body so much time, so that no request is under way for ever.
fn punctual(request: Request<Incoming>) -> Request<Punctual> {
    request.map(|body| Punctual::new(body, REQUEST_BODY_TIMEOUT))
}

fn wants_svid() -> Response<Body> {
    let detail = "this is for instances that connect with their X509-SVID; access tokens are for /mcp and /s/NAME/mcp";
    body::problem(StatusCode::FORBIDDEN, "svid_required", detail)
}

/// Answers at the endpoints of the authorization server, in its words (RFC 6749 section 5.2).
fn no_client() -> Response<Body> {
    let what = "nobody is known by this connection; connect with your X509-SVID, or ask at the public port";
    let refusal = Value::object([
        ("error", "invalid_client".into()),
        ("error_description", what.into()),
    ]);
    body::json(StatusCode::UNAUTHORIZED, refusal.to_canonical())
}

fn takes_no_tokens() -> Response<Body> {
    let detail = "this server takes no access tokens; leave Authorization out, and the certificate alone is looked at";
    body::problem(StatusCode::BAD_REQUEST, "invalid_request", detail)
}

/// Says whether a path is of the control API's routes for instances: its own, and the endpoints of the authorization
/// server for those that come with a certificate (RFC 8705 §5).
fn is_for_the_control_api(path: &str) -> bool {
    is_of_the_task(path) || path.starts_with("/oauth/")
}

fn is_of_the_task(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

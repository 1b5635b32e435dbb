//! The gateway: routes, and the loops that accept connections of identified instances.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use ambit_core::Reason;
use ambit_engine::{Clock, Handle};
use ambit_identity::{IdentityError, InstanceCaller};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::{
    body::{Body as HttpBody, Incoming},
    server::conn::http1,
};
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Secrets,
    body::{self, Body},
    connect,
    doors::{Doors, MALFORMED, SHOW_TOKEN},
    edge::{self, Hosts},
    limits::{
        HANDSHAKE_TIMEOUT, REQUEST_HEAD_TIMEOUT, STDIO_PROCESSES_MAX, UPSTREAM_ANSWER_TIMEOUT,
    },
    mcp::{
        acts::Door,
        changes,
        downstream::{self, Visit},
        refusal::Links,
    },
    parting::part,
    punctual::Punctual,
    reception::Peer,
    sandbox::SandboxPolicy,
    seating::{Chair, Room, Seating},
    serving::serve_http,
    tokens::{TokenConfig, Tokens},
    upstream::Means,
    visitor::{Trusting, Unproved},
};

/// Answers what is not MCP on a connection of an identified instance: the routes under `/v1`.
pub type Fallback = Arc<dyn Fn(Request<Punctual>, InstanceCaller) -> Answering + Send + Sync>;
/// Answers at the endpoints of the authorization server who is nobody by their connection.
pub type Unknown = Arc<dyn Fn(Request<Punctual>) -> Answering + Send + Sync>;
/// An answer under way.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// How the operator wants the gateway.
pub struct GatewayConfig {
    /// The names under which the doors are reached, besides the loopback ones.
    pub hosts: Hosts,
    /// How stdio servers are confined.
    pub sandbox: SandboxPolicy,
    /// How many connections there may be at once.
    pub room: Room,
    /// The most stdio server processes at once.
    pub stdio_processes_max: usize,
    /// How long an upstream may take to answer one request.
    pub upstream_answer_timeout: Duration,
    /// The roots for upstreams over https; without them such upstreams are refused.
    pub upstream_tls: Option<Arc<rustls::ClientConfig>>,
    /// What answers under `/v1`.
    pub fallback: Option<Fallback>,
    /// What answers under `/oauth` whoever is nobody; without it, nothing is there.
    pub unknown: Option<Unknown>,
    /// Where people read about refusals.
    pub links: Links,
    /// What it takes to accept access tokens; without it, only who connects with an SVID is served.
    pub tokens: Option<TokenConfig>,
    /// Whom the gateway believes who connects with a certificate; without it, nobody.
    pub trusting: Option<Trusting>,
    /// Counts the requests that identified nobody. They are not written down one by one.
    pub strangers_refused: Arc<AtomicU64>,
    /// Says how much time has passed since any instant, to measure how long things take; without it nothing is measured.
    pub stopwatch: Option<Stopwatch>,
}

/// Tells how much time has passed since an instant that stays the same.
pub type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The doors through which agents act. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) doors: Arc<Doors>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) unknown: Option<Unknown>,
    pub(crate) tokens: Option<Arc<Tokens>>,
    pub(crate) trusting: Option<Trusting>,
    pub(crate) strangers_refused: Arc<AtomicU64>,
    seating: Seating,
}

/// What the gateway shows in TLS handshakes, and whom it lets through them, as of now.
#[derive(Clone, Debug)]
pub struct Face {
    /// Shows the gateway's SVID and wants one of an instance or of a foreign trust domain, or takes clients without too.
    pub tls: Arc<rustls::ServerConfig>,
}

/// A connection ended before it carried a request.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    /// The handshake took too long.
    #[error("the TLS handshake took too long")]
    Slow,
    /// The peer is no instance.
    #[error("the peer is not an instance of this trust domain")]
    Identity(#[source] IdentityError),
}

impl GatewayConfig {
    /// Returns the defaults around what has none.
    pub fn new(sandbox: SandboxPolicy) -> Self {
        Self {
            hosts: Hosts::new([]),
            sandbox,
            room: Room::default(),
            stdio_processes_max: STDIO_PROCESSES_MAX,
            upstream_answer_timeout: UPSTREAM_ANSWER_TIMEOUT,
            upstream_tls: None,
            fallback: None,
            unknown: None,
            links: Links::none(),
            tokens: None,
            trusting: None,
            strangers_refused: Arc::default(),
            stopwatch: None,
        }
    }
}

impl Gateway {
    /// Returns a gateway that decides through `handle`. It opens nothing yet.
    pub fn new(config: GatewayConfig, handle: Handle, clock: Clock, secrets: Secrets) -> Self {
        let mut means = Means::new(secrets, config.upstream_tls, config.sandbox);
        means.answer_timeout = config.upstream_answer_timeout;
        means.processes = Arc::new(Semaphore::new(config.stdio_processes_max));
        Self {
            doors: Arc::new(Doors::new(
                (handle, clock),
                config.stopwatch,
                means,
                config.links,
            )),
            hosts: Arc::new(config.hosts),
            fallback: config.fallback,
            unknown: config.unknown,
            tokens: config.tokens.map(|it| Arc::new(Tokens::new(it))),
            trusting: config.trusting,
            strangers_refused: config.strangers_refused,
            seating: Seating::new(config.room),
        }
    }

    /// Answers one request of an identified instance. `/v1` is the fallback's and not for this function.
    pub async fn answer<B>(&self, request: Request<B>, caller: &InstanceCaller) -> Response<Body>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() == Method::CONNECT {
            return self.tunnel(request, caller, None).await;
        }
        if let Err(refusal) = self.hosts.check(&request) {
            return turn_away(&self.doors, caller, *refusal).await;
        }
        match Door::of_path(request.uri().path()) {
            Some(door) => self.answer_at(door, request, caller).await,
            None => turn_away(&self.doors, caller, no_route()).await,
        }
    }

    /// Opens a tunnel. It ends with `unproved`, when there is that.
    pub(crate) async fn tunnel<B>(
        &self,
        request: Request<B>,
        caller: &InstanceCaller,
        unproved: Option<Unproved>,
    ) -> Response<Body> {
        let unproved = unproved.unwrap_or_else(|| Box::pin(std::future::pending()));
        connect::answer(&self.doors, caller, (request, unproved)).await
    }

    /// Answers one request at a door that leads to MCP.
    pub(crate) async fn answer_at<B>(
        &self,
        door: Door,
        request: Request<B>,
        caller: &InstanceCaller,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let visit = Visit {
            doors: Arc::clone(&self.doors),
            caller: caller.clone(),
            door,
        };
        match *request.method() {
            Method::POST => post(&visit, request).await,
            Method::GET => match edge::accepts(request.headers()) {
                Some(accepts) => changes::get(&visit, accepts).await,
                None => {
                    let refusal = edge::wrong_method(&[Method::POST]);
                    turn_away(&self.doors, caller, refusal).await
                }
            },
            _ => {
                let refusal = edge::wrong_method(&[Method::GET, Method::POST]);
                turn_away(&self.doors, caller, refusal).await
            }
        }
    }

    /// Serves one connection of `peer` until either side ends it.
    pub async fn serve_connection<T>(&self, io: T, peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let here = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        self.serve_seated(io, peer, &self.seating.take(here)).await;
    }

    async fn serve_seated<T>(&self, io: T, peer: Peer, chair: &Arc<Chair>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // A foreign workload is nobody here until it claims a task.
        if let Some(caller) = peer.last_known() {
            self.seat(chair, &caller);
        }
        let answer = |mut request: Request<Incoming>, framing| {
            let (gateway, peer, chair) = (self.clone(), peer.clone(), Arc::clone(chair));
            request.extensions_mut().insert(Arc::clone(&chair));
            async move {
                match edge::check_framing(framing) {
                    Ok(()) => {
                        let answer = gateway.receive(request, &peer);
                        // Boxed: a connection that waits holds no room for an answer.
                        chair.goes_out(Box::pin(chair.answers(answer)).await)
                    }
                    Err(refusal) => gateway.turn_away(&peer, *refusal).await,
                }
            }
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(REQUEST_HEAD_TIMEOUT);
        let served = tokio::select! {
            served = serve_http(&http, io, answer, chair.stays_a_stranger()) => served,
            () = chair.leaves() => return,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
            // The library has answered already what can't be read as HTTP.
            let reason = match error.is_parse_too_large() {
                true => Some(Reason::TooLarge),
                false => error.is_parse().then_some(Reason::Malformed),
            };
            if let Some(reason) = reason {
                self.note(&peer, reason).await;
            }
        }
    }

    /// Accepts connections on `listener` until `stop` resolves; `face` is asked anew for each. Without one they are closed.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        face: Arc<dyn Fn() -> Option<Face> + Send + Sync>,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match face() {
                    Some(face) => self.welcome(stream, peer, face),
                    None => {
                        tracing::warn!(%peer, "there is nothing to show; a connection was closed")
                    }
                },
                Err(error) => {
                    // Out of descriptors, or the peer was gone already: go on, but not in a tight loop.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, face: Face) {
        let (gateway, chair) = (self.clone(), self.seating.take(peer));
        tokio::spawn(async move {
            // It has less time than a stranger's connection.
            let identified = tokio::select! {
                identified = gateway.identify(stream, &face) => identified,
                () = chair.leaves() => return,
            };
            match identified {
                Ok((stream, peer)) => gateway.serve_seated(stream, peer, &chair).await,
                Err(error) => {
                    gateway.doors.handle.metrics().connections_refused.add(1);
                    tracing::info!(%peer, error = %crate::causes(&error), "a connection was refused");
                }
            }
        });
    }

    async fn identify(
        &self,
        stream: TcpStream,
        face: &Face,
    ) -> Result<(tokio_rustls::server::TlsStream<TcpStream>, Peer), AcceptError> {
        stream.set_nodelay(true).map_err(AcceptError::Handshake)?;
        let handshake = TlsAcceptor::from(Arc::clone(&face.tls)).accept(stream);
        let shaken = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| AcceptError::Slow)?;
        let stream = shaken.map_err(AcceptError::Handshake)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // The handshake let in who has no certificate only where tokens are taken.
        if chain.is_empty() && self.tokens.is_some() {
            return Ok((stream, Peer::Stranger));
        }
        match self.visitor(chain) {
            Ok(visitor) => Ok((stream, Peer::Visitor(Arc::new(visitor)))),
            Err(error) => {
                part(stream).await;
                Err(AcceptError::Identity(error))
            }
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

async fn post<B>(visit: &Visit, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let accepts = match edge::check_post(request.headers()) {
        Ok(accepts) => accepts,
        Err(refusal) => return turn_away(&visit.doors, &visit.caller, *refusal).await,
    };
    let (parts, body) = request.into_parts();
    match edge::read_body(body).await {
        Ok(bytes) => downstream::answer(visit, &parts.headers, accepts, &bytes).await,
        Err(refusal) => turn_away(&visit.doors, &visit.caller, *refusal).await,
    }
}

/// Records that the edge turned a request of a known caller away, and passes the answer on.
pub(crate) async fn turn_away(
    doors: &Doors,
    caller: &InstanceCaller,
    refusal: Response<Body>,
) -> Response<Body> {
    let reason = edge::reason(refusal.status());
    doors.handle.metrics().turned_away.add(1);
    doors.note(caller, MALFORMED, reason).await;
    refusal
}

/// Records that the access token of a known caller was refused for `reason`, and passes the answer on.
pub(crate) async fn refuse_token(
    doors: &Doors,
    caller: &InstanceCaller,
    (reason, refusal): (Reason, Response<Body>),
) -> Response<Body> {
    doors.handle.metrics().turned_away.add(1);
    doors.note(caller, SHOW_TOKEN, reason).await;
    refusal
}

/// Returns the answer to a request at a path that is no route.
pub(crate) fn no_route() -> Response<Body> {
    let detail = "the routes are /mcp and /s/NAME/mcp";
    body::problem(StatusCode::NOT_FOUND, "not_found", detail)
}

/// How long accepting rests after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

//! The port for anybody: small, bounded in every way, with TLS unless it is on loopback. Under `ambit dev` it serves the
//! one user of that server alone.
//!
//! Whoever connects is a stranger. What is served is a router's business; here connections are counted, timed and
//! given a face.

mod face;
mod owner;

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ambit_core::origin::Origin;
use ambit_gateway::{Notice, Punctual, Seat, Seats, serve_http};
use axum::Router;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioTimer, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use self::face::Faces;
#[cfg(test)]
pub(crate) use self::face::issuing_keys;
pub(crate) use self::face::{FILES_READ_EVERY, FaceError, read_identity};
use self::owner::{NoOwner, owner};
use super::{
    engine::Running,
    listen::ACCEPT_PAUSE,
    server::{ServeError, listen, local},
};
use crate::{
    clock::Clock,
    config::{Guests, PublicConfig, PublicUrl},
};

/// How many strangers are connected at once; for one more, the one that is idle longest of where most come from ends.
pub(super) const PUBLIC_CONNECTIONS_MAX: usize = 1024;
/// How many strangers of one address elsewhere are connected at once; for one more, its own that is idle longest ends.
const PUBLIC_CONNECTIONS_PER_ORIGIN_MAX: usize = 128;
/// How many requests one connection may carry; then it is closed and another one may be made.
const REQUESTS_PER_CONNECTION_MAX: usize = 256;
/// The longest head of a stranger's request, in bytes.
const PUBLIC_HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields of a stranger's request.
const PUBLIC_HEADERS_MAX: usize = 64;
/// How long a stranger may take for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a stranger's request may take to arrive.
const PUBLIC_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the body of a stranger's request may take to arrive.
const PUBLIC_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection of a stranger lasts; what is under way then ends soon after.
const CONNECTION_TTL_MAX: Duration = Duration::from_secs(120);
/// How many ports are tried until one is free on both loopbacks.
const PORTS_TRIED_MAX: usize = 16;

/// The port, bound but not yet served.
#[derive(Debug)]
pub(crate) struct PublicPort {
    listeners: Vec<TcpListener>,
    url: PublicUrl,
    faces: Option<Arc<Faces>>,
    guests: Guests,
}

/// The port of the bundle, known by the server's SPIFFE ID (`https_spiffe`), bound but not yet served. Nobody is asked who
/// they are, and nobody is shown another face: that is why it is a port of its own.
#[derive(Debug)]
pub(crate) struct BundlePort {
    listener: TcpListener,
    faces: Arc<Faces>,
}

/// How long strangers may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    handshake: Duration,
    head: Duration,
    body: Duration,
    connection: Duration,
}

impl PublicPort {
    /// Binds the port and makes its first face, so that what is wrong with either is said at the start.
    pub(crate) async fn bind(
        config: &PublicConfig,
        running: &Running,
        clock: &Clock,
    ) -> Result<Self, ServeError> {
        let (address, listeners) = match config.guests {
            Guests::Anybody => {
                let listener = listen(config.listen).await?;
                (local(&listener)?, vec![listener])
            }
            Guests::ThisUser => both_loopbacks(config.listen).await?,
        };
        let url = config.url_at(address).map_err(ServeError::PublicUrl)?;
        let faces = Faces::new(config, &url, running, clock)?.map(Arc::new);
        Ok(Self {
            listeners,
            url,
            faces,
            guests: config.guests,
        })
    }

    /// Returns how others name it.
    pub(crate) const fn url(&self) -> &PublicUrl {
        &self.url
    }

    /// Serves `router` until dropped.
    pub(crate) async fn serve(self, router: Router, seats: usize) {
        let serving = Serving::new(self.faces, router, self.guests, seats);
        let mut all = JoinSet::new();
        for listener in self.listeners {
            all.spawn(accept(listener, serving.clone()));
        }
        all.join_all().await;
    }
}

impl BundlePort {
    /// Binds the port at `address` and makes its first face.
    pub(crate) async fn bind(
        address: SocketAddr,
        running: &Running,
        clock: &Clock,
    ) -> Result<Self, ServeError> {
        let listener = listen(address).await?;
        let faces = Arc::new(Faces::by_spiffe_id(running, clock)?);
        Ok(Self { listener, faces })
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> Result<SocketAddr, ServeError> {
        local(&self.listener)
    }

    /// Serves `router` until dropped.
    pub(crate) async fn serve(self, router: Router, seats: usize) {
        let serving = Serving::new(Some(self.faces), router, Guests::Anybody, seats);
        accept(self.listener, serving).await;
    }
}

/// What is served to whom, and what all of it shares.
#[derive(Clone)]
struct Serving {
    faces: Option<Arc<Faces>>,
    router: Router,
    guests: Guests,
    seats: Seats<Origin>,
    patience: Patience,
}

impl Serving {
    fn new(faces: Option<Arc<Faces>>, router: Router, guests: Guests, seats: usize) -> Self {
        Self {
            faces,
            router,
            guests,
            seats: Seats::new(seats, Origin::crowd),
            patience: Patience {
                handshake: HANDSHAKE_TIMEOUT,
                head: PUBLIC_HEAD_TIMEOUT,
                body: PUBLIC_BODY_TIMEOUT,
                connection: CONNECTION_TTL_MAX,
            },
        }
    }

    async fn greet(
        self,
        stream: TcpStream,
        (peer, seat): (SocketAddr, Arc<Seat<Origin>>),
        over: impl Future<Output = ()>,
    ) {
        if let Err(error) = welcome(self.guests, &stream, peer).await {
            let error = &error as &dyn std::error::Error;
            return tracing::debug!(%peer, error, "somebody else came to a port of one user");
        }
        let Some(faces) = self.faces else {
            return connection(stream, (peer, seat), self.router, (self.patience, over)).await;
        };
        let acceptor = TlsAcceptor::from(faces.now());
        match timeout(self.patience.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                connection(stream, (peer, seat), self.router, (self.patience, over)).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a stranger's TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a stranger's TLS handshake took too long"),
        }
    }
}

/// Why somebody is not served.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    /// The kernel names nobody.
    #[error("whose it is can't be known")]
    Unknown(#[from] NoOwner),
    /// It is another local user's.
    #[error("it is of local user {0}")]
    OtherUser(u32),
    /// The connection is gone, or the question was.
    #[error("it is gone")]
    Gone(#[from] io::Error),
}

/// Binds one port number on both loopbacks: whichever a browser takes for `localhost`, nobody else may have the other.
async fn both_loopbacks(wanted: SocketAddr) -> Result<(SocketAddr, Vec<TcpListener>), ServeError> {
    let mut wanted = wanted;
    for _ in 0..PORTS_TRIED_MAX {
        let first = listen(wanted).await?;
        let address = local(&first)?;
        let other = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
        match TcpListener::bind(other).await {
            Ok(second) => return Ok((address, vec![first, second])),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => wanted.set_port(0),
            // This machine has no IPv6: nobody has the other loopback.
            Err(_) => return Ok((address, vec![first])),
        }
    }
    Err(ServeError::Listen {
        place: "both loopbacks".to_owned(),
        source: io::ErrorKind::AddrInUse.into(),
    })
}

async fn accept(listener: TcpListener, serving: Serving) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (origin, notice) = (Origin::of(peer), Notice::default());
        let seat = Arc::new(seat(&serving.seats, origin, &notice));
        let (over, serving) = (sleep(serving.patience.connection), serving.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serving.greet(stream, (peer, seat), over) => {}
                () = notice.heard() => tracing::debug!(%peer, "an idle stranger is let go"),
            }
        });
    }
}

/// Gives whoever comes from there a seat; one beyond its share gets that of one from there.
fn seat(seats: &Seats<Origin>, origin: Origin, notice: &Notice) -> Seat<Origin> {
    let share = origin.places(seats.most(), PUBLIC_CONNECTIONS_PER_ORIGIN_MAX);
    seats.take(origin, share, notice)
}

async fn welcome(guests: Guests, stream: &TcpStream, peer: SocketAddr) -> Result<(), NotServed> {
    match guests {
        Guests::Anybody => Ok(()),
        Guests::ThisUser => {
            let ends = (peer, stream.local_addr()?);
            let user = spawn_blocking(move || owner(ends)).await;
            let user = user.map_err(io::Error::other)??;
            if user == rustix::process::getuid().as_raw() {
                return Ok(());
            }
            Err(NotServed::OtherUser(user))
        }
    }
}

async fn connection<S>(
    stream: S,
    (peer, seat): (SocketAddr, Arc<Seat<Origin>>),
    router: Router,
    (patience, over): (Patience, impl Future<Output = ()>),
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let answer = |request: Request<Incoming>, _framing| {
        let before = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut request = request.map(|body| Punctual::new(body, patience.body));
        request.extensions_mut().insert(Origin::of(peer));
        let (answering, seat) = (service.call(request), Arc::clone(&seat));
        async move {
            let Ok(mut response) = seat.answers(answering).await;
            dress(&mut response);
            if before + 1 >= REQUESTS_PER_CONNECTION_MAX {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            seat.goes_out(response)
        }
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(PUBLIC_HEAD_BYTES_MAX)
        .max_headers(PUBLIC_HEADERS_MAX);
    if let Err(error) = serve_http(&http, stream, answer, over).await {
        tracing::debug!(%error, "a stranger's connection broke");
    }
}

/// Adds what every answer to a stranger says.
fn dress<B>(response: &mut Response<B>) {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
}

#[cfg(test)]
mod tests;

//! The port for anybody: small, bounded in every way, with TLS unless it is on loopback.
//!
//! Whoever connects is a stranger. What is served is a router's business; here connections are counted, timed and
//! given a face.

mod face;
mod places;
mod punctual;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ambit_control::origin::Origin;
use axum::Router;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use self::face::Faces;
pub(crate) use self::face::{FILES_READ_EVERY, FaceError, read_identity};
use self::{places::Places, punctual::Punctual};
use super::{
    engine::Running,
    listen::ACCEPT_PAUSE,
    server::{ServeError, listen, local},
};
use crate::{
    clock::Clock,
    config::{PublicConfig, PublicUrl},
};

/// How many strangers are connected at once; further ones wait.
const STRANGERS_MAX: usize = 1024;
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
/// How long one connection of a stranger lasts, whatever is under way.
const CONNECTION_TTL_MAX: Duration = Duration::from_secs(120);

/// The port, bound but not yet served.
#[derive(Debug)]
pub(crate) struct PublicPort {
    listener: TcpListener,
    url: PublicUrl,
    faces: Option<Arc<Faces>>,
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
        let listener = listen(config.listen).await?;
        let url = config
            .url_at(local(&listener)?)
            .map_err(ServeError::PublicUrl)?;
        let faces = Faces::new(config, &url, running, clock)?.map(Arc::new);
        Ok(Self {
            listener,
            url,
            faces,
        })
    }

    /// Returns how others name it.
    pub(crate) const fn url(&self) -> &PublicUrl {
        &self.url
    }

    /// Serves `router` until dropped.
    pub(crate) async fn serve(self, router: Router) {
        serve(self.listener, self.faces, router).await;
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
    pub(crate) async fn serve(self, router: Router) {
        serve(self.listener, Some(self.faces), router).await;
    }
}

async fn serve(listener: TcpListener, faces: Option<Arc<Faces>>, router: Router) {
    let patience = Patience {
        handshake: HANDSHAKE_TIMEOUT,
        head: PUBLIC_HEAD_TIMEOUT,
        body: PUBLIC_BODY_TIMEOUT,
        connection: CONNECTION_TTL_MAX,
    };
    let places = Arc::new(Semaphore::new(STRANGERS_MAX));
    accept(listener, faces, router, places, patience).await;
}

async fn accept(
    listener: TcpListener,
    faces: Option<Arc<Faces>>,
    router: Router,
    places: Arc<Semaphore>,
    patience: Patience,
) {
    let shares = Places::default();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let share = match shares.take(Origin::of(peer)) {
            Ok(share) => share,
            Err(error) => {
                tracing::debug!(%peer, %error, "a stranger is let go");
                continue;
            }
        };
        let (faces, router) = (faces.clone(), router.clone());
        tokio::spawn(async move {
            let served = greet(stream, peer, faces, router, patience);
            // Its end is the connection's, whatever was under way.
            let _ = timeout(patience.connection, served).await;
            drop((place, share));
        });
    }
}

async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    faces: Option<Arc<Faces>>,
    router: Router,
    patience: Patience,
) {
    let Some(faces) = faces else {
        return connection(stream, peer, router, patience).await;
    };
    let acceptor = TlsAcceptor::from(faces.now());
    match timeout(patience.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, peer, router, patience).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a stranger's TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a stranger's TLS handshake took too long"),
    }
}

async fn connection<S>(stream: S, peer: SocketAddr, router: Router, patience: Patience)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let before = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut request = request.map(|body| Punctual::new(body, patience.body));
        request.extensions_mut().insert(Origin::of(peer));
        let answering = service.call(request);
        async move {
            let mut response = answering.await?;
            dress(&mut response);
            if before + 1 >= REQUESTS_PER_CONNECTION_MAX {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(PUBLIC_HEAD_BYTES_MAX)
        .max_headers(PUBLIC_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
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

//! The runner's way to the gateway: mutually authenticated TLS, a few connections, reused.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1::SendRequest, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A body on its way through.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// How many idle connections are kept.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// How long the gateway may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to the gateway of one instance. It holds the instance's key, so it stays outside.
#[derive(Clone)]
pub(crate) struct Uplink {
    /// A server that was started anew may have another one.
    address: Arc<Mutex<SocketAddr>>,
    tls: TlsConnector,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

/// Why the gateway could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UplinkError {
    /// No connection.
    #[error("could not connect to the gateway at {address}; is the server running?")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// HTTP failed.
    #[error("the gateway broke the connection")]
    Broken(#[from] hyper::Error),
    /// The request can't be written as HTTP.
    #[error("the request can't be passed on")]
    Form(#[from] http::Error),
    /// The gateway said no.
    #[error("the gateway answered {0}")]
    Refused(StatusCode),
}

impl Uplink {
    /// Returns a way to the gateway at `address`, over TLS as `config` says: it presents the instance's
    /// SVID and accepts only the gateway's.
    pub(crate) fn new(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self {
            address: Arc::new(Mutex::new(address)),
            tls: TlsConnector::from(config),
            idle: Arc::default(),
        }
    }

    /// Sends `request`, whose URI is a path, and returns the answer as it begins.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, UplinkError> {
        let mut sender = match self.take_idle() {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let response = sender.send_request(request).await?;
        let idle = Arc::clone(&self.idle);
        // The connection is ready again once the answer's body has been read.
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE_CONNECTIONS_MAX {
                    idle.push(sender);
                }
            }
        });
        Ok(response)
    }

    /// Asks for `path` with `method` and no body.
    pub(crate) async fn ask(
        &self,
        method: http::Method,
        path: &'static str,
    ) -> Result<Response<Incoming>, UplinkError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host())
            .body(nothing())?;
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(UplinkError::Refused(response.status()))
    }

    /// Asks for a tunnel to `target` (`host:port`). A refusal is an answer: the response as it came.
    pub(crate) async fn tunnel(
        &self,
        target: &Uri,
    ) -> Result<Result<Upgraded, Response<Incoming>>, UplinkError> {
        let (mut sender, connection) = handshake(self.secure().await?).await?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(http::Method::CONNECT)
            .uri(target.clone())
            .header(header::HOST, target.to_string())
            .body(nothing())?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(Ok(hyper::upgrade::on(response).await?));
        }
        Ok(Err(response))
    }

    /// Returns the authority that requests carry in `Host`.
    pub(crate) fn host(&self) -> String {
        self.address().to_string()
    }

    /// Goes to the gateway at `address` from now on.
    pub(crate) fn move_to(&self, address: SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    async fn open(&self) -> Result<SendRequest<Body>, UplinkError> {
        let (sender, connection) = handshake(self.secure().await?).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn secure(&self) -> Result<TlsStream<TcpStream>, UplinkError> {
        let address = self.address();
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // The gateway is told by its SPIFFE ID; the name only fills a field of TLS.
            let name = ambit_identity::tls::server_name();
            self.tls.connect(name, stream).await
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it took longer than 5 s");
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected
            .unwrap_or_else(|_| Err(late()))
            .map_err(|source| UplinkError::Connect { address, source })
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uplink({})", self.address())
    }
}

/// Returns an empty body.
pub(crate) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

type Connection = hyper::client::conn::http1::Connection<TokioIo<TlsStream<TcpStream>>, Body>;

async fn handshake(
    stream: TlsStream<TcpStream>,
) -> Result<(SendRequest<Body>, Connection), hyper::Error> {
    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await
}

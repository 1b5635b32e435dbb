//! Requests to the public port of a server elsewhere: signed, and over TLS unless it is on this machine.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ambit_core::Digest;
use ambit_identity::dpop::{MadeRequest, ProofMaker};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    clock::{Clock, NoChance, chance},
    config::{OutboundConfig, PublicUrl, Scheme},
    problem::Exit,
    serve::upstream_tls,
};

/// How long one request may take, from the look-up of the name to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A way to one server, and the key that signs what goes along it.
pub(crate) struct Channel {
    url: PublicUrl,
    maker: ProofMaker,
    clock: Clock,
    tls: Option<Arc<ClientConfig>>,
    nonce: Mutex<Option<String>>,
}

/// What goes along a channel.
#[derive(Clone, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) method: Method,
    /// The path, with a query.
    pub(crate) path: &'a str,
    /// The text of the login, once there is one.
    pub(crate) login: Option<&'a str>,
    /// The body and its media type.
    pub(crate) body: Option<(Bytes, &'static str)>,
    /// The longest answer that is read, in bytes.
    pub(crate) bytes_max: usize,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    headers: HeaderMap,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The address is none.
    #[error("{0}")]
    Url(String),
    /// The roots can't be read.
    #[error("{0}")]
    Roots(String),
    /// No root is known.
    #[error(
        "this machine trusts no certificates; install its ca-certificates, or give `--roots FILE`"
    )]
    NoRoots,
    /// The server can't be reached.
    #[error(
        "no Ambit server can be reached at {url}; check the address, and `--roots` when its certificate is not publicly trusted"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {url} broke; try again")]
    Broken {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{0} did not answer in time; try again")]
    Late(String),
    /// The proof can't be made.
    #[error("the request can't be signed; run `ambit login`")]
    Proof(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No random bytes.
    #[error(transparent)]
    Chance(#[from] NoChance),
}

impl ChannelError {
    /// Returns the exit code.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Url(_) | Self::Roots(_) => Exit::Usage,
            Self::NoRoots
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Late(_)
            | Self::Proof(_)
            | Self::Chance(_) => Exit::Unreachable,
        }
    }
}

impl Channel {
    /// Returns a way to the server at `url`, known by this machine's roots and those in `roots`.
    pub(crate) fn new(
        url: &str,
        maker: ProofMaker,
        roots: Option<&Path>,
        clock: Clock,
    ) -> Result<Self, ChannelError> {
        let url = PublicUrl::of_key("the server's URL", url).map_err(ChannelError::Url)?;
        let outbound = OutboundConfig {
            roots: roots.map(Path::to_owned),
            ..OutboundConfig::default()
        };
        let more = outbound.read_roots().map_err(ChannelError::Roots)?;
        Ok(Self {
            url,
            maker,
            clock,
            tls: upstream_tls(more),
            nonce: Mutex::default(),
        })
    }

    /// Returns the server's public URL.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns how the server is spoken to: without TLS, from this machine alone.
    pub(crate) const fn scheme(&self) -> Scheme {
        self.url.scheme()
    }

    /// Sends a request. One that lacks the server's nonce is sent again with it, once.
    pub(crate) async fn send(&self, sent: Sent<'_>) -> Result<Came, ChannelError> {
        let late = || ChannelError::Late(self.url().to_owned());
        let came = timeout(REQUEST_TIMEOUT, self.attempt(&sent)).await;
        let came = came.map_err(|_| late())??;
        if !came.wants_nonce() {
            return Ok(came);
        }
        let came = timeout(REQUEST_TIMEOUT, self.attempt(&sent)).await;
        came.map_err(|_| late())?
    }

    async fn attempt(&self, sent: &Sent<'_>) -> Result<Came, ChannelError> {
        let request = self.request(sent)?;
        let uri: Uri = self
            .url()
            .parse()
            .map_err(|_| ChannelError::Url(format!("`{}` is no URL", self.url())))?;
        let unreachable = |source| ChannelError::Unreachable {
            url: self.url().to_owned(),
            source,
        };
        let is_plain = self.url.scheme() == Scheme::Http;
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let host = self.url.host().to_owned();
        let found = lookup_host((host.as_str(), port)).await;
        let found: Vec<_> = found.map_err(unreachable)?.collect();
        // Without TLS nothing leaves this machine.
        if is_plain && !found.iter().all(|it| it.ip().is_loopback()) {
            let what = format!("{} is not on this machine; write https://", self.url());
            return Err(ChannelError::Url(what));
        }
        let stream = TcpStream::connect(found.as_slice()).await;
        let stream = stream.map_err(unreachable)?;
        let came = if is_plain {
            self.exchange(stream, request, sent.bytes_max).await?
        } else {
            let tls = self.tls.clone().ok_or(ChannelError::NoRoots)?;
            let name =
                ServerName::try_from(host).map_err(|error| unreachable(io::Error::other(error)))?;
            let stream = TlsConnector::from(tls).connect(name, stream).await;
            let stream = stream.map_err(unreachable)?;
            self.exchange(stream, request, sent.bytes_max).await?
        };
        if let Some(nonce) = came.headers.get(NONCE).and_then(|it| it.to_str().ok()) {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
        }
        Ok(came)
    }

    fn request(&self, sent: &Sent<'_>) -> Result<Request<Full<Bytes>>, ChannelError> {
        let (path, _) = sent.path.split_once('?').unwrap_or((sent.path, ""));
        let nonce = self
            .nonce
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let id = Digest::from_bytes(chance()?).to_string();
        let proof = self.maker.prove(&MadeRequest {
            method: sent.method.as_str(),
            url: &format!("{}{path}", self.url()),
            access_token: sent.login,
            nonce: nonce.as_deref(),
            token_id: &id,
            now: self.clock.now(),
        });
        let proof = proof.map_err(|error| ChannelError::Proof(error.into()))?;
        let authority = self.url().split_once("://").unwrap_or_default().1;
        let mut request = Request::builder()
            .method(sent.method.clone())
            .uri(sent.path)
            .header(header::HOST, authority)
            .header(header::CONNECTION, "close")
            .header(PROOF, proof);
        if let Some(login) = sent.login {
            request = request.header(header::AUTHORIZATION, format!("DPoP {login}"));
        }
        let (body, kind) = sent.body.clone().unwrap_or_default();
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(body));
        request.map_err(|error| self.broken(error))
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Came, ChannelError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = made.map_err(|error| self.broken(error))?;
        let driving = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request).await;
            let (head, body) = response.map_err(|error| self.broken(error))?.into_parts();
            let body = Limited::new(body, bytes_max).collect().await;
            Ok(Came {
                status: head.status,
                headers: head.headers,
                body: body.map_err(|error| self.broken(error))?.to_bytes(),
            })
        };
        let answered = answered.await;
        driving.abort();
        answered
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ChannelError {
        ChannelError::Broken {
            url: self.url().to_owned(),
            source: source.into(),
        }
    }
}

impl Came {
    /// Says whether the same request, with the nonce that came, is wanted (RFC 9449 §8, §9).
    fn wants_nonce(&self) -> bool {
        let asked = |it: &[u8]| {
            let text = String::from_utf8_lossy(it);
            text.contains("use_dpop_nonce")
        };
        let challenge = self.headers.get(header::WWW_AUTHENTICATE);
        match self.status {
            StatusCode::UNAUTHORIZED => challenge.is_some_and(|it| asked(it.as_bytes())),
            StatusCode::BAD_REQUEST => asked(&self.body),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({})", self.url())
    }
}

const PROOF: HeaderName = HeaderName::from_static("dpop");
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

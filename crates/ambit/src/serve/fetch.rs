//! The one way in which Ambit itself fetches: one request, no redirects, all of it bounded.
//!
//! The address may come from an estate that many may edit, or from a stranger. Then only `https` and only public addresses
//! are asked, and for strangers only the usual port: what is fetched can't be a way into the network in which Ambit runs
//! (OWASP SSRF prevention; RFC 9700 §4.11 is the same danger for others). The operator may name networks for each of the
//! two; those of the one do not count for the other.

mod address;
mod bundles;
mod documents;
mod provider;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use ambit_identity::{IdentityError, tls::identity_error};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use self::address::{Scheme, Target, connect};
use crate::config::OutboundConfig;

/// How long one request may take, from the look-up of the name to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body of the answer to something posted, in bytes: nothing is looked for in it.
const POSTED_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest head of an answer, in bytes.
const FETCHED_HEAD_BYTES_MAX: usize = 16 * 1024;

/// What fetches for Ambit, wherever it needs something of others.
#[derive(Clone)]
pub(crate) struct Fetcher {
    tls: Option<Arc<ClientConfig>>,
    bounds: Arc<OutboundConfig>,
}

/// How far a request may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// The estate names the address, or whom it believes: `https`, to public addresses and `outbound.inner_networks`.
    Estate,
    /// A stranger names it: `https` at `outbound.client_document_ports`, to public addresses and
    /// `outbound.client_document_networks`.
    Stranger,
    /// Whoever operates this machine named it in `ambit.toml`: `https` anywhere, or `http` on loopback.
    Named,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) url: String,
    pub(crate) reach: Reach,
    /// The longest body that is read.
    pub(crate) bytes_max: usize,
    /// A form to post, and what proves who posts it. Without one it is a `GET`.
    pub(crate) form: Option<(String, Option<(HeaderName, HeaderValue)>)>,
}

/// What was answered, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// What it says of how long it may be kept (RFC 9111).
    pub(crate) cache_control: String,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("`{0}` is no address that is fetched; write `https://HOST/PATH`")]
    Address(String),
    #[error("this machine trusts no certificates; install its ca-certificates")]
    NoRoots,
    #[error(
        "`{0}` leads to {1}, which is no public address; give the document itself instead, or let who operates Ambit name \
         the network in `outbound.{2}`"
    )]
    NotPublic(String, IpAddr, &'static str),
    #[error("`{0}` is at another port than those of `outbound.client_document_ports`")]
    Port(String),
    #[error("`{0}` has no address")]
    NoHost(String),
    #[error("the secret `{0}` is not sealed here; run `ambit secret set {0}`")]
    Secret(String),
    #[error("the host can't be reached")]
    Unreachable(#[source] io::Error),
    #[error("who answers is not who must")]
    Unknown(#[source] IdentityError),
    #[error("the answer can't be read")]
    Broken(#[source] hyper::Error),
    #[error("the answer is {0}; only 200 is taken, and nothing is followed")]
    Status(StatusCode),
    #[error("the answer has more than {1} bytes, or broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>, usize),
    #[error("no TLS can be spoken")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it took more than 10 seconds")]
    Timeout,
}

impl Fetcher {
    /// Returns a fetcher that knows hosts by `tls`, and reaches as far as `bounds` say.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>, bounds: &OutboundConfig) -> Self {
        Self {
            tls,
            bounds: Arc::new(bounds.clone()),
        }
    }

    /// Sends one request. Whatever the status is, it is the answer; nothing is followed.
    pub(crate) async fn fetch(&self, wanted: Wanted) -> Result<Answer, FetchError> {
        self.fetch_by(self.tls.clone(), wanted).await
    }

    /// Does so with a host that is known by `tls` rather than by the usual roots.
    pub(crate) async fn fetch_by(
        &self,
        tls: Option<Arc<ClientConfig>>,
        wanted: Wanted,
    ) -> Result<Answer, FetchError> {
        let asked = timeout(FETCH_TIMEOUT, self.ask(tls, wanted)).await;
        asked.unwrap_or(Err(FetchError::Timeout))
    }

    /// Posts `body`, which is of the media type `kind`, to where `ambit.toml` says.
    pub(crate) async fn post(
        &self,
        url: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Answer, FetchError> {
        let target = Target::parse(url, Reach::Named)?;
        let request = blank(&target)?
            .method(Method::POST)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::from(body));
        let request = request.map_err(|_| FetchError::Address(url.to_owned()))?;
        let bounds = (Reach::Named, POSTED_ANSWER_BYTES_MAX);
        let sent = timeout(
            FETCH_TIMEOUT,
            self.send(self.tls.clone(), target, request, bounds),
        );
        sent.await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn ask(
        &self,
        tls: Option<Arc<ClientConfig>>,
        wanted: Wanted,
    ) -> Result<Answer, FetchError> {
        let target = Target::parse(&wanted.url, wanted.reach)?;
        let bounds = (wanted.reach, wanted.bytes_max);
        let request = request(&target, wanted)?;
        self.send(tls, target, request, bounds).await
    }

    async fn send(
        &self,
        tls: Option<Arc<ClientConfig>>,
        target: Target,
        request: Request<Full<Bytes>>,
        (reach, bytes_max): (Reach, usize),
    ) -> Result<Answer, FetchError> {
        let addresses = target.addresses(reach, &self.bounds).await?;
        let connected = connect(&addresses).await;
        let stream = connected.map_err(FetchError::Unreachable)?;
        if target.scheme == Scheme::Plain {
            return exchange(stream, request, bytes_max).await;
        }
        let tls = tls.ok_or(FetchError::NoRoots)?;
        let name = ServerName::try_from(target.host);
        let name = name.map_err(|_| FetchError::Address(target.uri.to_string()))?;
        let secured = TlsConnector::from(tls).connect(name, stream).await;
        exchange(secured.map_err(unknown)?, request, bytes_max).await
    }
}

/// Says why a handshake failed: whom the peer was not, when that is the reason.
fn unknown(error: io::Error) -> FetchError {
    let cause = error.get_ref().and_then(|it| it.downcast_ref());
    match cause.and_then(identity_error) {
        Some(cause) => FetchError::Unknown(cause.clone()),
        None => FetchError::Unreachable(error),
    }
}

/// Returns what every request begins with.
fn blank(target: &Target) -> Result<http::request::Builder, FetchError> {
    let authority = target.uri.authority().map(|it| it.as_str());
    let authority = authority.ok_or_else(|| FetchError::Address(target.uri.to_string()))?;
    let path = target.uri.path_and_query().map_or("/", |it| it.as_str());
    Ok(Request::builder()
        .uri(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "close"))
}

fn request(target: &Target, wanted: Wanted) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = blank(target)?.header(header::ACCEPT, "application/json");
    let Some((form, proof)) = wanted.form else {
        let request = request.body(Full::default());
        return request.map_err(|_| FetchError::Address(wanted.url));
    };
    request = request
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some((name, value)) = proof {
        request = request.header(name, value);
    }
    let request = request.body(Full::from(form));
    request.map_err(|_| FetchError::Address(wanted.url))
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(FETCHED_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Broken)?;
    let driving = tokio::spawn(connection);
    let answered = async {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(FetchError::Broken)?.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| FetchError::Body(error, bytes_max))?;
        let directives = head.headers.get_all(header::CACHE_CONTROL).into_iter();
        let directives = directives.filter_map(|it| it.to_str().ok());
        Ok(Answer {
            status: head.status,
            cache_control: directives.collect::<Vec<_>>().join(","),
            body: body.to_bytes(),
        })
    };
    let answered = answered.await;
    driving.abort();
    answered
}

/// Says an error with its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;

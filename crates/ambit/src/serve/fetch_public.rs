//! Fetching a public document for others: the address comes from a configuration that many may edit, or from a document
//! that a stranger wrote.
//!
//! Only `https`, only to public addresses, without following where it is sent: what is fetched can't be a way into the
//! network in which Ambit runs (OWASP SSRF prevention; RFC 9700 §4.11 is the same danger for others).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ambit_control::foreign::Fetch;
use ambit_identity::jose::JWK_SET_BYTES_MAX;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long one document may take, all in all.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The most addresses of one host that are tried.
const ADDRESSES_TRIED_MAX: usize = 4;
/// The longest head of an answer, in bytes.
const FETCHED_HEAD_BYTES_MAX: usize = 16 * 1024;

/// A document can't be had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("`{0}` is no address that is fetched; write `https://HOST/PATH`")]
    Address(String),
    #[error("this machine has no root certificates; install `ca-certificates`")]
    NoRoots,
    #[error("`{0}` leads to {1}, which is no public address; give the document itself instead")]
    NotPublic(String, IpAddr),
    #[error("`{0}` has no address")]
    NoHost(String),
    #[error("the host can't be reached")]
    Unreachable(#[source] io::Error),
    #[error("the answer can't be read")]
    Broken(#[source] hyper::Error),
    #[error("the answer is {0}; only 200 is taken, and nothing is followed")]
    Status(StatusCode),
    #[error("the document has more than {JWK_SET_BYTES_MAX} bytes, or broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it took more than 10 seconds")]
    Timeout,
}

/// Returns what fetches documents, with this machine's roots.
pub(crate) fn fetch(tls: Option<Arc<ClientConfig>>) -> Fetch {
    Arc::new(move |url| {
        let tls = tls.clone();
        Box::pin(async move {
            let fetched = timeout(FETCH_TIMEOUT, document(&url, tls)).await;
            let fetched = fetched.unwrap_or(Err(FetchError::Timeout));
            fetched.map_err(|error| told(&error))
        })
    })
}

async fn document(url: &str, tls: Option<Arc<ClientConfig>>) -> Result<Vec<u8>, FetchError> {
    let (uri, host, port) = target(url)?;
    let tls = tls.ok_or(FetchError::NoRoots)?;
    let name = ServerName::try_from(host.clone());
    let name = name.map_err(|_| FetchError::Address(url.to_owned()))?;
    let addresses = public_addresses(&host, port).await?;
    let stream = connect(&addresses).await.map_err(FetchError::Unreachable)?;
    let connected = TlsConnector::from(tls).connect(name, stream).await;
    let stream = TokioIo::new(connected.map_err(FetchError::Unreachable)?);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(FETCHED_HEAD_BYTES_MAX)
        .handshake(stream)
        .await
        .map_err(FetchError::Broken)?;
    let driver = tokio::spawn(connection);
    let answered = answer(&mut sender, &uri).await;
    driver.abort();
    answered
}

async fn answer(
    sender: &mut http1::SendRequest<Empty<Bytes>>,
    uri: &Uri,
) -> Result<Vec<u8>, FetchError> {
    let wrong = || FetchError::Address(uri.to_string());
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let request = Request::get(path)
        .header(header::HOST, uri.authority().ok_or_else(wrong)?.as_str())
        .header(header::ACCEPT, "application/json")
        .body(Empty::new())
        .map_err(|_| wrong())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(FetchError::Broken)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), JWK_SET_BYTES_MAX);
    let whole = body.collect().await.map_err(FetchError::Body)?;
    Ok(whole.to_bytes().to_vec())
}

fn target(url: &str) -> Result<(Uri, String, u16), FetchError> {
    let wrong = || FetchError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    if uri.scheme_str() != Some("https") || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(443));
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok((uri, host, port))
}

/// Looks the host up, once: what was looked at is what is connected to. One address that is not public refuses all.
async fn public_addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, FetchError> {
    let found = lookup_host((host, port))
        .await
        .map_err(FetchError::Unreachable)?;
    let found: Vec<_> = found.collect();
    if let Some(inner) = found.iter().find(|it| reach(it.ip()) == Reach::Inner) {
        return Err(FetchError::NotPublic(host.to_owned(), inner.ip()));
    }
    if found.is_empty() {
        return Err(FetchError::NoHost(host.to_owned()));
    }
    Ok(found)
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(ADDRESSES_TRIED_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether an address is of the public internet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    Public,
    Inner,
}

/// Says what an address is, by the IANA registries of special-purpose addresses (RFC 6890): what is not surely public
/// is not.
fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(it) => reach_v4(it),
        IpAddr::V6(it) => reach_v6(it),
    }
}

const fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    let inner = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    if inner { Reach::Inner } else { Reach::Public }
}

const fn reach_v6(address: Ipv6Addr) -> Reach {
    // Mapped, translated and tunnelled IPv4 lies outside of 2000::/3 or below 2001::/23 and 2002::/16.
    let [a, b, ..] = address.segments();
    match (a, b) {
        (0x2001, 0..=0x01ff | 0x0db8) | (0x2002 | 0x3ffe, _) => Reach::Inner,
        (0x3fff, 0..=0x0fff) => Reach::Inner,
        (0x2000..=0x3fff, _) => Reach::Public,
        _ => Reach::Inner,
    }
}

fn told(error: &dyn std::error::Error) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        let check = |text: &str, expect| assert_eq!(reach(text.parse().unwrap()), expect, "{text}");
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "223.255.255.255",
            "2606:4700::1",
        ] {
            check(text, Reach::Public);
        }
        let inner = "0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 \
                     192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.9 224.0.0.1 255.255.255.255 :: ::1 ::ffff:10.0.0.1 \
                     ::ffff:8.8.8.8 64:ff9b::a00:1 2001::1 2001:db8::1 2002:a00:1:: fc00::1 fd12::1 fe80::1 ff02::1 3fff::1";
        for text in inner.split_whitespace() {
            check(text, Reach::Inner);
        }
    }

    #[tokio::test]
    async fn what_leads_inside_is_not_fetched() {
        let fetch = fetch(super::super::doors::upstream_tls());
        for (url, part) in [
            ("http://example.com/", "https://HOST"),
            ("https://user@example.com/", "https://HOST"),
            ("file:///etc/passwd", "https://HOST"),
            ("", "https://HOST"),
            ("https://127.0.0.1:1/", "no public address"),
            ("https://[::1]:1/", "no public address"),
            ("https://[::ffff:127.0.0.1]/", "no public address"),
            ("https://localhost/", "no public address"),
            ("https://169.254.169.254/latest", "no public address"),
        ] {
            let refused = fetch(url.to_owned()).await.unwrap_err();
            // A machine without roots refuses before it looks.
            assert!(
                refused.contains(part) || refused.contains("root certificates"),
                "{url}: {refused}"
            );
        }
    }
}

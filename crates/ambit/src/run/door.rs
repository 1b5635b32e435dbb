//! The runner's door: HTTP on the command's own loopback, passed on to the gateway.
//!
//! The door adds the instance's identity and takes nothing from the command but MCP requests, CONNECT, and what a run gives
//! away of its own task.
//! `Host` and `Origin` are checked, so that a web page in a browser inside can't speak through it.

mod upload;

use std::{future::pending, sync::Arc, time::Duration};

use ambit_core::json::Value;
use ambit_gateway::{Framing, serve_http};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::uplink::{Body, Uplink};

/// How many connections the command may have open at once; further ones wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the path's secret is, in bytes, for a command on the host's own network.
pub(crate) const SECRET_BYTES: usize = 16;

/// Headers that belong to one connection (RFC 9110 §7.6.1), or to the door itself.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy-connection"),
];

/// The door of one command.
#[derive(Debug)]
pub(crate) struct Door {
    uplink: Uplink,
    port: u16,
    /// Stands first in the path, for a command on the host's own network.
    secret: Option<String>,
}

/// What a request asks the door for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Errand {
    /// Pass it on under this path.
    PassOn(Uri),
    /// Open a tunnel.
    Tunnel,
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Refused {
    #[error("the Host header names another server; use the address in AMBIT_MCP_URL")]
    Host,
    #[error("requests from web pages are not passed on; the Origin header names one")]
    Origin,
    #[error(
        "only /mcp, /s/NAME/mcp and /v1/task/delegations are here; use the address in AMBIT_MCP_URL"
    )]
    Path,
    #[error(
        "only CONNECT reaches other hosts, and only the model endpoints that the agent declares"
    )]
    PlainProxy,
    #[error("the body has two lengths; send Content-Length or Transfer-Encoding, not both")]
    TwoLengths,
    #[error("the address lacks the secret that AMBIT_MCP_URL and HTTPS_PROXY carry")]
    Secret,
}

impl Door {
    /// Returns a door that listens on `port` and leads to `uplink`.
    pub(crate) fn new(uplink: Uplink, port: u16, secret: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            uplink,
            port,
            secret,
        })
    }

    /// Serves `listener` until dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let door = Arc::clone(&self);
                    tokio::spawn(async move {
                        door.connection(stream).await;
                        drop(place);
                    });
                }
                // Out of descriptors, or the peer left already: neither is worth ending for.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        // Small answers must not wait for an acknowledgement; without it they are only slower.
        let _ = stream.set_nodelay(true);
        let answer = |request: Request<Incoming>, framing| {
            let door = Arc::clone(&self);
            async move {
                match framing {
                    Framing::Plain => door.answer(request).await,
                    Framing::Ambiguous => {
                        let refused = Refused::TwoLengths;
                        problem(StatusCode::BAD_REQUEST, &refused.to_string())
                    }
                }
            }
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        if let Err(error) = serve_http(&http, stream, answer, pending()).await {
            tracing::debug!(%error, "the command's connection broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.errand(request.method(), request.uri(), request.headers()) {
            Err(refused) => problem(StatusCode::FORBIDDEN, &refused.to_string()),
            Ok(Errand::Tunnel) => self.tunnel(request).await,
            Ok(Errand::PassOn(path)) => self.pass_on(request, path).await,
        }
    }

    /// Says what a request wants, or refuses it.
    fn errand(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Errand, Refused> {
        if method == Method::CONNECT {
            return match &self.secret {
                Some(secret) if !proxy_secret_is(headers, secret) => Err(Refused::Secret),
                _ => Ok(Errand::Tunnel),
            };
        }
        if uri.authority().is_some() {
            return Err(Refused::PlainProxy);
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if self.is_own(host.as_bytes()) => (),
            _ => return Err(Refused::Host),
        }
        let own_origin = |origin: &HeaderValue| {
            origin
                .as_bytes()
                .strip_prefix(b"http://")
                .is_some_and(|host| self.is_own(host))
        };
        if !headers.get_all(header::ORIGIN).iter().all(own_origin) {
            return Err(Refused::Origin);
        }
        let path = match &self.secret {
            None => uri.path(),
            Some(secret) => {
                let rest = uri
                    .path()
                    .strip_prefix('/')
                    .and_then(|it| it.strip_prefix(secret));
                rest.ok_or(Refused::Secret)?
            }
        };
        if !is_mcp_path(path) && !gives_away(path) {
            return Err(Refused::Path);
        }
        path.parse().map(Errand::PassOn).map_err(|_| Refused::Path)
    }

    fn is_own(&self, host: &[u8]) -> bool {
        ["127.0.0.1", "localhost"].iter().any(|name| {
            let own = format!("{name}:{}", self.port);
            host.eq_ignore_ascii_case(own.as_bytes())
        })
    }

    async fn pass_on(&self, request: Request<Incoming>, path: Uri) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        head.uri = path;
        strip(&mut head.headers);
        let Ok(host) = HeaderValue::try_from(self.uplink.host()) else {
            return problem(
                StatusCode::BAD_GATEWAY,
                "the gateway's address is no host name",
            );
        };
        head.headers.insert(header::HOST, host);
        head.headers.remove(header::ORIGIN);
        // The runner's certificate says who calls; what the agent has for its servers is not for the gateway.
        head.headers.remove(header::AUTHORIZATION);
        match self
            .uplink
            .send(Request::from_parts(head, upload::passed_on(body)))
            .await
        {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                strip(&mut head.headers);
                Response::from_parts(head, body.boxed())
            }
            Err(error) => problem(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }

    async fn tunnel(&self, request: Request<Incoming>) -> Response<Body> {
        match self.uplink.tunnel(request.uri()).await {
            Err(error) => problem(StatusCode::BAD_GATEWAY, &error.to_string()),
            Ok(Err(refusal)) => {
                let (mut head, body) = refusal.into_parts();
                strip(&mut head.headers);
                Response::from_parts(head, body.boxed())
            }
            Ok(Ok(outside)) => {
                tokio::spawn(async move {
                    let Ok(inside) = hyper::upgrade::on(request).await else {
                        return;
                    };
                    let (mut inside, mut outside) = (TokioIo::new(inside), TokioIo::new(outside));
                    // Either side may hang up at any time: that is how tunnels end.
                    let _ = copy_bidirectional(&mut inside, &mut outside).await;
                });
                Response::new(super::uplink::nothing())
            }
        }
    }
}

/// Says whether a path gives a part of the own task away or takes one back. Taking a part needs a key that the runner
/// does not share: that is done with `ambit run --delegation`.
fn gives_away(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/task/delegations") else {
        return false;
    };
    let withdraws = rest
        .strip_prefix('/')
        .and_then(|it| it.strip_suffix("/withdraw"));
    rest.is_empty() || withdraws.is_some_and(|it| !it.is_empty() && !it.contains('/'))
}

fn is_mcp_path(path: &str) -> bool {
    let server = path
        .strip_prefix("/s/")
        .and_then(|rest| rest.strip_suffix("/mcp"));
    path == "/mcp" || server.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Says whether `Proxy-Authorization` is `Basic` with the user `ambit` and `secret`.
fn proxy_secret_is(headers: &HeaderMap, secret: &str) -> bool {
    let wanted = format!("Basic {}", base64(format!("ambit:{secret}").as_bytes()));
    let given = headers
        .get(header::PROXY_AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    given.is_some_and(|given| {
        aws_lc_rs::constant_time::verify_slices_are_equal(given, wanted.as_bytes()).is_ok()
    })
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&NOT_PASSED_ON) {
        headers.remove(name);
    }
}

/// Returns an RFC 9457 problem.
fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    let value = Value::object([
        ("title", Value::from("Ambit did not pass the request on")),
        ("status", u64::from(status.as_u16()).into()),
        ("code", "not_passed_on".into()),
        ("detail", detail.into()),
    ]);
    let body = Full::new(Bytes::from(value.to_canonical())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    let problem_json = HeaderValue::from_static("application/problem+json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, problem_json);
    response
}

/// Returns standard base 64 (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests;

//! The edge: what every request must be before anybody looks into it.

use std::collections::BTreeSet;

use ambit_core::Reason;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header, uri::Authority};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use tokio::time::timeout;

use crate::{
    body::{self, Body},
    framing::Framing,
    limits::{REQUEST_BODY_BYTES_MAX, REQUEST_BODY_TIMEOUT},
};

/// In which form a client takes answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Accepts {
    /// One JSON text.
    Json,
    /// One JSON text or a stream of events.
    Events,
}

/// The names under which the doors are reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hosts {
    names: BTreeSet<String>,
}

impl Hosts {
    /// Returns the loopback names and `names`. Ports play no part.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"]
            .into_iter()
            .map(str::to_owned);
        Self {
            names: loopback
                .chain(names)
                .map(|it| it.to_ascii_lowercase())
                .collect(),
        }
    }

    /// Refuses requests to other names and from other origins: a web page must not reach a door through a name of
    /// its own (DNS rebinding).
    ///
    /// # Errors
    /// The answer to give.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Box<Response<Body>>> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts
            .next()
            .and_then(|it| it.to_str().ok())
            .or_else(|| request.uri().authority().map(Authority::as_str));
        if hosts.next().is_some() || !host.is_some_and(|it| self.has(it)) {
            return Err(refusal(
                StatusCode::MISDIRECTED_REQUEST,
                "wrong_host",
                "the Host header names another server",
            ));
        }
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        let known = |it: &http::HeaderValue| {
            let origin = it.to_str().unwrap_or_default();
            let rest = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            rest.is_some_and(|it| self.has(it))
        };
        if origins.all(known) {
            return Ok(());
        }
        Err(refusal(
            StatusCode::FORBIDDEN,
            "wrong_origin",
            "requests from this web origin are not accepted",
        ))
    }

    fn has(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        !authority.as_str().contains('@')
            && self.names.contains(&authority.host().to_ascii_lowercase())
    }
}

/// Checks the head of a POST with one JSON message.
///
/// # Errors
/// The answer to give: another content type, an encoding, an `Accept` that excludes JSON.
pub(crate) fn check_post(headers: &HeaderMap) -> Result<Accepts, Box<Response<Body>>> {
    let kind = single(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|it| it.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|it| it.eq_ignore_ascii_case("charset=utf-8"));
    if !is_json || !is_utf8 {
        let detail = "send one message as application/json in UTF-8";
        return Err(refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_content_type",
            detail,
        ));
    }
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|it| it != "identity")
    {
        let detail = "send the message without Content-Encoding";
        return Err(refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_content_encoding",
            detail,
        ));
    }
    accepts(headers).ok_or_else(|| {
        let detail = "accept application/json and text/event-stream";
        refusal(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
    })
}

/// Says in which form the client takes answers; none when neither fits. A missing `Accept` takes JSON.
pub(crate) fn accepts(headers: &HeaderMap) -> Option<Accepts> {
    let (mut json, mut events, mut any) = (false, false, false);
    for value in headers.get_all(header::ACCEPT) {
        any = true;
        for range in value.to_str().unwrap_or_default().split(',') {
            match range.split(';').next().unwrap_or_default().trim() {
                "*/*" => (json, events) = (true, true),
                "application/json" | "application/*" => json = true,
                "text/event-stream" | "text/*" => events = true,
                _ => {}
            }
        }
    }
    match (any, json, events) {
        (false, ..) | (true, true, false) => Some(Accepts::Json),
        (true, _, true) => Some(Accepts::Events),
        (true, false, false) => None,
    }
}

/// Reads a body whole.
///
/// # Errors
/// The answer to give: it is too long, too slow, or broke off.
pub(crate) async fn read_body<B>(body: B) -> Result<Bytes, Box<Response<Body>>>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Who announces too much need not send it.
    if body.size_hint().lower() > REQUEST_BODY_BYTES_MAX as u64 {
        return Err(too_long());
    }
    let read = timeout(
        REQUEST_BODY_TIMEOUT,
        Limited::new(body, REQUEST_BODY_BYTES_MAX).collect(),
    )
    .await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(refusal(
            StatusCode::BAD_REQUEST,
            "body_incomplete",
            "the body broke off",
        )),
        Err(_) => Err(refusal(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "the body took too long",
        )),
    }
}

/// Refuses a request whose body has two lengths: others on the way may have read the other one.
///
/// # Errors
/// The answer to give.
pub(crate) fn check_framing(framing: Framing) -> Result<(), Box<Response<Body>>> {
    match framing {
        Framing::Plain => Ok(()),
        Framing::Ambiguous => {
            let detail = "send Content-Length or Transfer-Encoding, not both";
            Err(refusal(StatusCode::BAD_REQUEST, "ambiguous_length", detail))
        }
    }
}

/// Returns the answer to a method that the route does not have.
pub(crate) fn wrong_method(allowed: &[Method]) -> Response<Body> {
    let mut response = body::problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "this route takes other methods",
    );
    let allowed = allowed
        .iter()
        .map(Method::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if let Ok(allowed) = allowed.parse() {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Returns why the edge turned a request away, for the record.
pub(crate) fn reason(status: StatusCode) -> Reason {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Reason::TooLarge,
        StatusCode::METHOD_NOT_ALLOWED => Reason::MethodNotAllowed,
        StatusCode::TOO_MANY_REQUESTS => Reason::Overloaded,
        _ => Reason::Malformed,
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn too_long() -> Box<Response<Body>> {
    let detail = format!("a message has at most {REQUEST_BODY_BYTES_MAX} bytes");
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_too_long", &detail)
}

fn refusal(status: StatusCode, code: &str, detail: &str) -> Box<Response<Body>> {
    Box::new(body::problem(status, code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn only_known_hosts_and_origins_pass() {
        let hosts = Hosts::new(["Gate.Example".to_owned()]);
        let check = |headers: &[(&str, &str)]| {
            hosts
                .check(&request(headers))
                .map_err(|it| it.status().as_u16())
        };
        for headers in [
            &[("host", "localhost")][..],
            &[("host", "127.0.0.1:8080")],
            &[("host", "[::1]:80")],
            &[("host", "GATE.example")],
            &[("host", "localhost"), ("origin", "http://localhost:3000")],
        ] {
            assert_eq!(check(headers), Ok(()), "{headers:?}");
        }
        for headers in [
            &[][..],
            &[("host", "evil.example")],
            &[("host", "localhost.evil.example")],
            &[("host", "localhost@evil.example")],
            &[("host", "localhost"), ("host", "localhost")],
        ] {
            assert_eq!(check(headers), Err(421), "{headers:?}");
        }
        for origin in ["http://evil.example", "null", "file://localhost", ""] {
            assert_eq!(
                check(&[("host", "localhost"), ("origin", origin)]),
                Err(403),
                "{origin}"
            );
        }
    }

    #[test]
    fn a_post_is_plain_json() {
        let check = |headers: &[(&str, &str)]| {
            check_post(request(headers).headers()).map_err(|it| it.status().as_u16())
        };
        let json = ("content-type", "application/json");
        for (headers, expected) in [
            (&[json][..], Ok(Accepts::Json)),
            (
                &[("content-type", "application/json; charset=utf-8")],
                Ok(Accepts::Json),
            ),
            (
                &[json, ("accept", "application/json, text/event-stream")],
                Ok(Accepts::Events),
            ),
            (&[json, ("accept", "application/json")], Ok(Accepts::Json)),
            (&[json, ("accept", "*/*")], Ok(Accepts::Events)),
            (&[json, ("accept", "text/html")], Err(406)),
            (&[json, ("content-encoding", "gzip")], Err(415)),
            (&[("content-type", "text/plain")], Err(415)),
            (
                &[("content-type", "application/json; charset=utf-16")],
                Err(415),
            ),
            (&[json, json], Err(415)),
            (&[], Err(415)),
        ] {
            assert_eq!(check(headers), expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_body_ends_at_its_maximum() {
        let check = async |bytes: usize| read_body(Full::new(Bytes::from(vec![0; bytes]))).await;
        assert!(check(REQUEST_BODY_BYTES_MAX).await.is_ok());
        assert_eq!(
            check(REQUEST_BODY_BYTES_MAX + 1)
                .await
                .unwrap_err()
                .status(),
            413
        );
    }
}

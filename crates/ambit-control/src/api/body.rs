//! Bodies: read whole, bounded, by the one strict parser; answered in canonical JSON.

use ambit_core::json::{self, Value};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::estate::ARCHIVE_BYTES_MAX;

/// The longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The longest body of a request that carries an estate, in bytes: an archive is JSON in JSON, so up to twice its length.
pub const ESTATE_BODY_BYTES_MAX: usize = 2 * ARCHIVE_BYTES_MAX + 64;

/// The longest body of a request that says everything by its path, in bytes. Nobody reads it.
pub(super) const EMPTY_BODY_BYTES_MAX: usize = 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotRead {
    /// It is longer than so many bytes, or is announced so.
    #[error("send at most {0} bytes")]
    TooLong(usize),
    /// It did not arrive in time.
    #[error("send all of it without a pause")]
    Late,
    /// Its end never came.
    #[error("send all of it")]
    BrokeOff,
}

/// Reads a body whole. Of one that is announced as too long nothing is read.
///
/// # Errors
/// [`NotRead`]: why it was not read.
pub(crate) async fn read_whole(body: Body, bytes_max: usize) -> Result<Bytes, NotRead> {
    let announced = usize::try_from(body.size_hint().lower());
    if announced.is_ok_and(|it| it <= bytes_max) {
        let read = Limited::new(body, bytes_max).collect().await;
        return match read {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(NotRead::TooLong(bytes_max)),
            Err(error) if is_late(&*error) => Err(NotRead::Late),
            Err(_) => Err(NotRead::BrokeOff),
        };
    }
    Err(NotRead::TooLong(bytes_max))
}

/// Reads a body that came through [`crate::carried`], which knows how long the route's may be.
pub(crate) async fn read_carried(body: Body) -> Result<Bytes, NotRead> {
    read_whole(body, ESTATE_BODY_BYTES_MAX).await
}

/// A body read as a `T` and, beside it, as the value that it is.
pub(super) struct Json<T> {
    pub(super) asked: T,
    pub(super) value: Value,
}

/// What the query of a request says.
pub(super) struct Asked<T>(pub(super) T);

/// An answer in canonical JSON.
pub(super) struct Answer(pub(super) Value);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        let bytes = read_carried(request.into_body()).await?;
        let refused = |detail: String| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "body_invalid",
                "the body can't be read",
            )
            .because(detail)
        };
        let value = json::parse_bounded(&bytes, ESTATE_BODY_BYTES_MAX);
        let value = value.map_err(|it| refused(it.to_string()))?;
        let asked =
            serde_json::from_str(&value.to_canonical()).map_err(|it| refused(it.to_string()))?;
        Ok(Self { asked, value })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(Problem::invalid(crate::check::chain(&error))),
        }
    }
}

impl From<NotRead> for Problem {
    fn from(why: NotRead) -> Self {
        let (status, code, title) = match why {
            NotRead::TooLong(_) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is too long",
            ),
            NotRead::Late => (
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                "the body took too long",
            ),
            NotRead::BrokeOff => (
                StatusCode::BAD_REQUEST,
                "body_incomplete",
                "the body broke off",
            ),
        };
        Self::new(status, code, title).because(why.to_string())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, kind)], self.0.to_canonical()).into_response()
    }
}

/// Says whether a body took longer than its door gives it: the door's body fails with that.
fn is_late(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |it| it.source());
    let io = causes.filter_map(|it| it.downcast_ref::<std::io::Error>());
    io.map(std::io::Error::kind)
        .any(|it| it == std::io::ErrorKind::TimedOut)
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: &str| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body is of another kind",
        )
        .because(detail)
    };
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok());
    let kind = kind.and_then(|it| it.split(';').next()).map(str::trim);
    if kind != Some("application/json") {
        return Err(unsupported("send `Content-Type: application/json`"));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unsupported("send the body without `Content-Encoding`"));
    }
    Ok(())
}

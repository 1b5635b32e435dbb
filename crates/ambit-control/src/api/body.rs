//! Bodies: read whole, bounded, by the one strict parser; answered in canonical JSON.

use ambit_core::json::{self, Value};
use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::estate::ARCHIVE_BYTES_MAX;

/// The longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The longest body of a request that carries an estate, in bytes: an archive is JSON in JSON, so up to twice its length.
pub const ESTATE_BODY_BYTES_MAX: usize = 2 * ARCHIVE_BYTES_MAX + 64;

/// A body read as a `T` and, beside it, as the value that it is.
pub(super) struct Json<T, const BYTES_MAX: usize = BODY_BYTES_MAX> {
    pub(super) asked: T,
    pub(super) value: Value,
}

/// What the query of a request says.
pub(super) struct Asked<T>(pub(super) T);

/// An answer in canonical JSON.
pub(super) struct Answer(pub(super) Value);

impl<S: Send + Sync, T: DeserializeOwned, const BYTES_MAX: usize> FromRequest<S>
    for Json<T, BYTES_MAX>
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        let bytes = to_bytes(request.into_body(), BYTES_MAX)
            .await
            .map_err(|_| {
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body_too_large",
                    "the body is too long",
                )
                .because(format!("send at most {BYTES_MAX} bytes"))
            })?;
        let refused = |detail: String| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "body_invalid",
                "the body can't be read",
            )
            .because(detail)
        };
        let value = json::parse_bounded(&bytes, BYTES_MAX).map_err(|it| refused(it.to_string()))?;
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

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, kind)], self.0.to_canonical()).into_response()
    }
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

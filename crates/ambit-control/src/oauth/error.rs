//! Errors in the words of the OAuth standards.

use ambit_core::json::Value;
use ambit_engine::{EngineError, TokenRefusal};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A request to the authorization server is refused (RFC 6749 §5.2).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {description}")]
pub struct OAuthError {
    status: StatusCode,
    code: &'static str,
    description: String,
    nonce: Option<String>,
    challenge: Challenge,
}

/// Whether the client came with `Authorization`, which wants an answer in kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Challenge {
    None,
    /// By the scheme that it tried (RFC 6749 section 5.2), though none is good here.
    Tried(&'static str),
}

impl OAuthError {
    pub(super) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            description: description.into(),
            nonce: None,
            challenge: Challenge::None,
        }
    }

    pub(super) fn request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(super) fn target(description: impl Into<String>) -> Self {
        Self::new("invalid_target", description)
    }

    pub(super) fn client(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            ..Self::new("invalid_client", description)
        }
    }

    /// The client tried `Authorization`, with this in it.
    pub(super) fn challenged(self, tried: &HeaderValue) -> Self {
        let tried = tried.to_str().unwrap_or_default();
        let scheme = tried.split(' ').next().unwrap_or_default();
        let known = SCHEMES.iter().find(|it| it.eq_ignore_ascii_case(scheme));
        Self {
            challenge: Challenge::Tried(known.copied().unwrap_or(BASIC)),
            ..self
        }
    }

    pub(super) fn unavailable(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..Self::new("temporarily_unavailable", description)
        }
    }

    /// What is asked for is not offered here at all.
    pub(super) fn absent(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::request(description)
        }
    }

    pub(super) fn too_large(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Self::request(description)
        }
    }

    pub(super) fn failed(error: &dyn std::error::Error) -> Self {
        tracing::error!(
            error = crate::check::chain(error),
            "the authorization server failed"
        );
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..Self::new("server_error", "the token could not be made; try again")
        }
    }

    /// Gives the client the nonce that its next proof wants (RFC 9449 §8).
    pub(super) fn with_nonce(self, nonce: String) -> Self {
        Self {
            nonce: Some(nonce),
            ..self
        }
    }

    /// Returns the standard's code.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Returns what was wrong and what to do.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the same in the characters that an answer to a client may have (RFC 6749 §4.1.2.1).
    pub(super) fn plain_description(&self) -> String {
        plain(&self.description)
    }

    /// Returns the status of a page that says so. A page asks for no password.
    pub(super) fn page_status(&self) -> StatusCode {
        match self.status {
            StatusCode::UNAUTHORIZED => StatusCode::BAD_REQUEST,
            other => other,
        }
    }

    pub(super) fn refused(error: TokenRefusal) -> Self {
        match error {
            TokenRefusal::OtherAudience(_) => Self::target(error.to_string()),
            TokenRefusal::Failed(error) => Self::from(error),
            TokenRefusal::Details(error) => {
                Self::new("invalid_authorization_details", error.to_string())
            }
            TokenRefusal::NoBearer => Self::new("invalid_dpop_proof", error.to_string()),
            TokenRefusal::OtherAgent { .. } => Self::new("unauthorized_client", error.to_string()),
            TokenRefusal::NoTask
            | TokenRefusal::TooMany { .. }
            | TokenRefusal::Unknown
            | TokenRefusal::Reused
            | TokenRefusal::Withdrawn { .. }
            | TokenRefusal::OtherClient
            | TokenRefusal::OtherKey => Self::grant(error.to_string()),
        }
    }
}

impl From<EngineError> for OAuthError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoTask => Self::grant(error.to_string()),
            EngineError::Busy | EngineError::NoSpace | EngineError::NoEstate => {
                Self::unavailable(error.to_string())
            }
            EngineError::Stopped(_)
            | EngineError::EstateMissing(_)
            | EngineError::Archive(_)
            | EngineError::Custody(_)
            | EngineError::Row(_)
            | EngineError::Fold(_)
            | EngineError::Log(_)
            | EngineError::Scope(_) => {
                tracing::error!(
                    error = crate::check::chain(&error),
                    "the authorization server can't answer"
                );
                Self::unavailable(
                    "Ambit can decide nothing now; who runs it sees why in `ambit status`",
                )
            }
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Value::object([
            ("error", self.code.into()),
            ("error_description", plain(&self.description).into()),
        ]);
        let mut response = (self.status, json(&body)).into_response();
        put_nonce(&mut response, self.nonce.as_deref());
        if let Challenge::Tried(scheme) = self.challenge
            && let Ok(challenge) = format!("{scheme} realm=\"ambit\"").parse()
        {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Returns an answer that nobody keeps (RFC 6749 §5.1).
pub(super) fn json(body: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    let keep = HeaderValue::from_static("no-store");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)];
    (headers, body.to_canonical()).into_response()
}

pub(super) fn put_nonce(response: &mut Response, nonce: Option<&str>) {
    if let Some(Ok(nonce)) = nonce.map(HeaderValue::from_str) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
}

/// Returns the text in the characters that a description may have (RFC 6749 section 5.2).
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars().take(DESCRIPTION_MAX) {
        match character {
            '"' | '\\' => plain.push('\''),
            ' '..='~' => plain.push(character),
            '\u{a7}' => plain.push_str("section "),
            '\u{b1}' => plain.push_str("+-"),
            '\u{2212}' | '\u{2013}' | '\u{2014}' => plain.push('-'),
            '\u{2026}' => plain.push_str("..."),
            _ => plain.push('?'),
        }
    }
    plain
}

/// The longest description, in characters.
const DESCRIPTION_MAX: usize = 600;
const BASIC: &str = "Basic";
/// The schemes that clients try.
const SCHEMES: [&str; 4] = [BASIC, "Bearer", "DPoP", "Digest"];
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

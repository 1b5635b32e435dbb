//! Errors in the words of the OAuth standards.

use ambit_core::{json::Value, quotable::quotable};
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
    tried: Option<Scheme>,
    retry_after_seconds: Option<u16>,
}

/// The scheme of `Authorization` that a client tried: its answer names the same (RFC 6749 section 5.2), though none is
/// good here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Basic,
    Bearer,
    Dpop,
    Digest,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Basic, Self::Bearer, Self::Dpop, Self::Digest];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "Basic",
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
            Self::Digest => "Digest",
        }
    }

    /// Returns the one that a header tries; of one that is unknown, the one of clients' secrets.
    fn of(tried: &HeaderValue) -> Self {
        let tried = tried.to_str().unwrap_or_default();
        let name = tried.split(' ').next().unwrap_or_default();
        let mut all = Self::ALL.into_iter();
        let found = all.find(|it| it.as_str().eq_ignore_ascii_case(name));
        found.unwrap_or(Self::Basic)
    }
}

impl OAuthError {
    #[track_caller]
    pub(super) fn new(code: &'static str, description: impl Into<String>) -> Self {
        #[cfg(test)]
        places::keep(std::panic::Location::caller());
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            description: description.into(),
            nonce: None,
            tried: None,
            retry_after_seconds: None,
        }
    }

    #[track_caller]
    pub(super) fn request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    #[track_caller]
    pub(super) fn grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    #[track_caller]
    pub(super) fn target(description: impl Into<String>) -> Self {
        Self::new("invalid_target", description)
    }

    #[track_caller]
    pub(super) fn client(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            ..Self::new("invalid_client", description)
        }
    }

    /// The client tried `Authorization`, with this in it.
    pub(super) fn challenged(self, tried: &HeaderValue) -> Self {
        Self {
            tried: Some(Scheme::of(tried)),
            ..self
        }
    }

    #[track_caller]
    pub(super) fn unavailable(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..Self::new("temporarily_unavailable", description)
        }
    }

    /// There is no room just now (RFC 9110 section 15.6.4).
    #[track_caller]
    pub(super) fn busy(description: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(BUSY_SECONDS),
            ..Self::unavailable(description)
        }
    }

    /// It was asked too often (RFC 6585 section 4): RFC 6749 has no code for that, and the one of RFC 8628 says it.
    #[track_caller]
    fn too_fast(wait_seconds: u64, description: String) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry_after_seconds: Some(u16::try_from(wait_seconds).unwrap_or(u16::MAX)),
            ..Self::new("slow_down", description)
        }
    }

    /// What is asked for is not offered here at all.
    #[track_caller]
    pub(super) fn absent(description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::request(description)
        }
    }

    #[track_caller]
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
        quotable(&self.description, DESCRIPTION_CHARACTERS_MAX)
    }

    /// Returns the status of a page that says so. A page asks for no password.
    pub(super) fn page_status(&self) -> StatusCode {
        match self.status {
            StatusCode::UNAUTHORIZED => StatusCode::BAD_REQUEST,
            other => other,
        }
    }

    /// Says in an answer when to come again, where that is known.
    pub(super) fn put_retry_after(&self, response: &mut Response) {
        let seconds = self.retry_after_seconds.map(HeaderValue::from);
        seconds.and_then(|it| response.headers_mut().insert(header::RETRY_AFTER, it));
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
            | TokenRefusal::Narrowed(_)
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
            EngineError::TooFast { wait_seconds } => {
                Self::too_fast(wait_seconds, error.to_string())
            }
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
            ("error_description", self.plain_description().into()),
        ]);
        let mut response = (self.status, json(&body)).into_response();
        put_nonce(&mut response, self.nonce.as_deref());
        self.put_retry_after(&mut response);
        let challenge = self
            .tried
            .map(|it| format!("{} realm=\"ambit\"", it.as_str()));
        if let Some(Ok(challenge)) = challenge.map(HeaderValue::try_from) {
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

/// When to come again where there was no room: as long as a fetch takes at most.
const BUSY_SECONDS: u16 = 10;
/// The longest description, in characters.
const DESCRIPTION_CHARACTERS_MAX: usize = 600;
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// From where in this crate errors came in this process, so that a test finds those that no test asks for.
#[cfg(test)]
pub(crate) mod places {
    use std::{
        collections::BTreeSet,
        panic::Location,
        sync::{Mutex, PoisonError},
    };

    static KEPT: Mutex<BTreeSet<(&str, u32)>> = Mutex::new(BTreeSet::new());

    pub(super) fn keep(place: &'static Location<'static>) {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((place.file(), place.line()));
    }

    /// Returns file and line of each.
    pub(crate) fn all() -> BTreeSet<(&'static str, u32)> {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_fast_hears_when_to_come_again() {
        for (wait_seconds, told) in [(2, "2"), (u64::MAX, "65535")] {
            let error = OAuthError::refused(EngineError::TooFast { wait_seconds }.into());
            assert_eq!(error.code(), "slow_down");
            let response = error.into_response();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            let wait = response.headers().get(header::RETRY_AFTER).unwrap();
            assert_eq!(wait, told);
        }
    }
}

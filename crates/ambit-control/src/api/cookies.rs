//! What a browser keeps for us, by names that nobody else can set where there is TLS.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::Shared;
use crate::people::NoSession;

/// What a browser keeps for us.
#[derive(Clone, Copy)]
pub(super) enum Cookie {
    Flow,
    Session,
}

impl Cookie {
    /// Returns the name. With TLS no other host, path or plain connection can set it (RFC 6265bis §4.1.3.2).
    pub(super) fn name(self, shared: &Shared) -> String {
        let prefix = if is_secure(shared) { "__Host-" } else { "" };
        let name = match self {
            Self::Flow => "ambit-sign-in",
            Self::Session => "ambit-session",
        };
        format!("{prefix}{name}")
    }
}

/// Returns the one cookie of this name. Two of them are none: one is not ours.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, NoSession> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let pairs = all
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(';'));
    let mut found = pairs
        .filter_map(|it| it.trim().split_once('='))
        .filter(|(it, _)| *it == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Ok(value),
        (None | Some(_), _) => Err(NoSession),
    }
}

/// `Lax`, not `Strict`: people come back from the provider, and from clients that want their consent. What changes
/// anything is a form with a token.
pub(super) fn set_cookie(
    response: &mut Response,
    shared: &Shared,
    cookie: Cookie,
    value: &str,
    age_seconds: u64,
) {
    let secure = if is_secure(shared) { "; Secure" } else { "" };
    let name = cookie.name(shared);
    let text =
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_seconds}{secure}");
    if let Ok(text) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, text);
    }
}

fn is_secure(shared: &Shared) -> bool {
    shared
        .control()
        .issuer
        .as_deref()
        .is_none_or(|it| it.starts_with("https://"))
}

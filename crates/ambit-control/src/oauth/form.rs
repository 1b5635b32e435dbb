//! Forms: read whole, bounded, each parameter once.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};

use super::OAuthError;
use crate::api::read_carried;

/// The longest form, in bytes.
pub const FORM_BYTES_MAX: usize = 64 * 1024;
/// The most parameters of a form.
pub const FORM_FIELDS_MAX: usize = 32;

/// The grant by which a workload token is shown (RFC 7523 §2.1).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The parameters of a request.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads the form that a request carries.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, OAuthError> {
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|it| it.to_str().ok());
        let kind = kind.and_then(|it| it.split(';').next()).map(str::trim);
        if kind.is_none_or(|it| !it.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
            return Err(OAuthError::request(
                "send the parameters in the body, as application/x-www-form-urlencoded",
            ));
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(OAuthError::request(
                "send the body without Content-Encoding",
            ));
        }
        let bytes = read_carried(body).await;
        let bytes = bytes.map_err(|why| OAuthError::request(why.to_string()))?;
        Self::parse(&bytes)
    }

    /// Reads a form. A parameter without a value counts as not sent (RFC 6749 §3.2).
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OAuthError> {
        let mut fields = BTreeMap::new();
        for (index, (name, value)) in form_urlencoded::parse(bytes).enumerate() {
            if index >= FORM_FIELDS_MAX {
                let max = FORM_FIELDS_MAX;
                return Err(OAuthError::request(format!(
                    "send at most {max} parameters"
                )));
            }
            if name.contains(char::REPLACEMENT_CHARACTER)
                || value.contains(char::REPLACEMENT_CHARACTER)
            {
                return Err(OAuthError::request("a parameter is not UTF-8"));
            }
            if value.is_empty() {
                continue;
            }
            if name == "resource" && fields.contains_key("resource") {
                return Err(OAuthError::target(
                    "name one resource; get one token for each place (RFC 8707)",
                ));
            }
            let shown = crate::visible::visible(&name);
            if fields
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                let what = format!("parameter `{shown}` stands twice; send it once");
                return Err(OAuthError::request(what));
            }
        }
        Ok(Self(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Says whether the form shows a workload token and names no client beside it.
    pub(super) fn is_workload_token(&self) -> bool {
        self.get("grant_type") == Some(JWT_BEARER) && self.get("client_id").is_none()
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, OAuthError> {
        let missing = || OAuthError::request(format!("parameter `{name}` is missing"));
        self.get(name).ok_or_else(missing)
    }
}

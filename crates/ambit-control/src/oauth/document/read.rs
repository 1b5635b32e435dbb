//! What a client's document says.

use ambit_core::json::{Value, parse_bounded};
use ambit_identity::jose::JwkSet;

use super::{
    super::redirect::Redirect,
    CLIENT_DOCUMENT_BYTES_MAX,
    address::{Address, host},
};
use crate::{check::chain, visible::visible};

/// The most addresses that a client may declare to be sent back to.
pub const REDIRECTS_MAX: usize = 16;
/// The longest name of a client that is shown, in characters.
pub const CLIENT_NAME_MAX: usize = 64;

/// Why a document describes no client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// It does not say that it is a client's. Whoever named its address hears nothing of what is there.
    #[error("it {0}")]
    NoClient(String),
    /// It says so, and something else that is no good.
    #[error("the client's document {0}; tell who runs the client")]
    Wrong(String),
}

/// A document that was read, before its keys are had.
#[derive(Debug)]
pub struct ClientDocument {
    name: String,
    redirect_uris: Vec<String>,
    keys: DocumentKeys,
}

/// How a client proves itself, by its document.
#[derive(Debug)]
pub(super) enum DocumentKeys {
    /// Not at all.
    None,
    /// By these keys.
    Given(JwkSet),
    /// By those that are at this address.
    At(String),
}

impl ClientDocument {
    /// Returns the name that people read: one line, nothing hidden.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where people may be sent back to.
    pub fn redirect_uris(&self) -> &[String] {
        &self.redirect_uris
    }

    pub(super) fn into_parts(self) -> (String, Vec<String>, DocumentKeys) {
        (self.name, self.redirect_uris, self.keys)
    }
}

/// Reads the document at `client_id`. Members that say nothing about who the client is are ignored (RFC 7591 §2).
///
/// # Errors
/// [`DocumentError`]: what is wrong with it.
pub fn read(client_id: &str, bytes: &[u8]) -> Result<ClientDocument, DocumentError> {
    let value = parse_bounded(bytes, CLIENT_DOCUMENT_BYTES_MAX);
    let value = value
        .map_err(|error| DocumentError::NoClient(format!("can't be read: {}", chain(&error))))?;
    if value.get("client_id").and_then(Value::as_str) != Some(client_id) {
        let what = "has another client_id than its own address, letter by letter";
        return Err(DocumentError::NoClient(what.to_owned()));
    }
    described(client_id, &value).map_err(DocumentError::Wrong)
}

fn described(client_id: &str, value: &Value) -> Result<ClientDocument, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if value.get("client_secret").is_some() {
        return Err("holds a client_secret, which everybody can read".to_owned());
    }
    let redirects = value.get("redirect_uris").and_then(Value::as_array);
    let redirects = redirects.ok_or("has no list redirect_uris")?;
    if redirects.is_empty() || redirects.len() > REDIRECTS_MAX {
        return Err(format!("has not 1 to {REDIRECTS_MAX} redirect_uris"));
    }
    let mut redirect_uris = Vec::new();
    for redirect in redirects {
        let address = redirect.as_str().unwrap_or_default();
        let read = Redirect::parse(address);
        read.map_err(|what| format!("has a redirect_uri that {what}"))?;
        redirect_uris.push(address.to_owned());
    }
    let lists_code = |name: &str, word: &str| {
        let list = value.get(name).and_then(Value::as_array);
        list.is_none_or(|it| it.iter().any(|it| it.as_str() == Some(word)))
    };
    if !lists_code("grant_types", "authorization_code") || !lists_code("response_types", "code") {
        return Err("does not list the code flow (authorization_code, code)".to_owned());
    }
    Ok(ClientDocument {
        name: name(text("client_name").unwrap_or_default(), client_id),
        redirect_uris,
        keys: keys(value)?,
    })
}

fn keys(value: &Value) -> Result<DocumentKeys, String> {
    let method = value.get("token_endpoint_auth_method").map(Value::as_str);
    match method {
        Some(Some("none")) => return Ok(DocumentKeys::None),
        Some(Some("private_key_jwt")) => {}
        // Nobody shares a secret with a stranger: the usual default of RFC 7591 can't be meant.
        None if value.get("jwks").is_none() && value.get("jwks_uri").is_none() => {
            return Ok(DocumentKeys::None);
        }
        None => {}
        Some(_) => {
            return Err(
                "names a token_endpoint_auth_method other than none and private_key_jwt".to_owned(),
            );
        }
    }
    match (value.get("jwks"), value.get("jwks_uri").map(Value::as_str)) {
        (Some(set), None) => {
            let set = JwkSet::from_value(set);
            Ok(DocumentKeys::Given(
                set.map_err(|error| format!("has keys of no use: {error}"))?,
            ))
        }
        (None, Some(url)) => {
            let url = url.unwrap_or_default();
            Address::parse(url).map_err(|what| format!("has a jwks_uri that {what}"))?;
            Ok(DocumentKeys::At(url.to_owned()))
        }
        (Some(_), Some(_)) => Err("has both jwks and jwks_uri".to_owned()),
        (None, None) => Err("names private_key_jwt and has no keys".to_owned()),
    }
}

/// Returns the name that people read: short, on one line, with nothing hidden.
fn name(text: &str, client_id: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return host(client_id);
    }
    let short: String = text.chars().take(CLIENT_NAME_MAX).collect();
    let more = if short.len() < text.len() {
        "\u{2026}"
    } else {
        ""
    };
    format!("{}{more}", visible(&short))
}

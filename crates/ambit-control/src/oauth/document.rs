//! Clients that nobody declared here: their name is the address of a document that describes them
//! (draft-ietf-oauth-client-id-metadata-document).
//!
//! Whoever can write at that address is the client. The document is a stranger's: it is fetched with care, read
//! strictly where it counts, and what it says of itself is shown to people as no more than that.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use ambit_core::{
    Millis, Timestamp,
    json::{Value, parse_bounded},
    limits::CLIENT_BYTES_MAX,
};
use ambit_identity::jose::JwkSet;
use http::Uri;
use tokio::sync::Semaphore;

use super::{
    ClientAgents, ClientProof, KnownClient, declared::client_keys, locked, redirect::Redirect,
};
use crate::{
    check::chain,
    foreign::{Fetch, Freshness, ISSUER_ASKED_EVERY},
    visible::visible,
};

/// The longest document of a client, in bytes.
pub const CLIENT_DOCUMENT_BYTES_MAX: usize = 5 * 1024;
/// The most documents that are remembered.
pub const CLIENT_DOCUMENTS_MAX: usize = 1024;
/// The most documents that are fetched at once.
pub const CLIENT_FETCHES_MAX: usize = 8;
/// The most addresses that a client may declare to be sent back to.
pub const REDIRECTS_MAX: usize = 16;
/// The longest name of a client that is shown, in characters.
pub const CLIENT_NAME_MAX: usize = 64;
/// How long a document is believed when its host says nothing of it.
pub const CLIENT_DOCUMENT_TTL: Millis = Millis::from_seconds(300);
/// How long a document is believed, whatever its host says.
pub const CLIENT_DOCUMENT_TTL_MAX: Millis = Millis::from_seconds(24 * 3600);

/// Fetches the document at an `https` address, from a public host, without following where it is sent.
pub type FetchDocument = Arc<dyn Fn(String) -> FetchingDocument + Send + Sync>;

/// The document, or why it can't be had.
pub type FetchingDocument = Pin<Box<dyn Future<Output = Result<FetchedDocument, String>> + Send>>;

/// A document as its host gave it: at most [`CLIENT_DOCUMENT_BYTES_MAX`] bytes.
#[derive(Clone, Debug)]
pub struct FetchedDocument {
    /// The text.
    pub bytes: Vec<u8>,
    /// What its host says of how long it may be believed (RFC 9111 `Cache-Control`).
    pub cache_control: String,
}

/// The documents that were fetched a while ago. Refusals are not remembered.
pub(super) struct Documents {
    kept: Mutex<BTreeMap<String, Kept>>,
    fetching: Semaphore,
}

struct Kept {
    client: KnownClient,
    since: Timestamp,
    until: Timestamp,
}

impl Documents {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            fetching: Semaphore::new(CLIENT_FETCHES_MAX),
        }
    }

    /// Finds the client whose document is at `client_id`.
    ///
    /// # Errors
    /// Why there is none and what to do.
    pub(super) async fn find(
        &self,
        client_id: &str,
        (fetch, fetch_keys): (&FetchDocument, &Fetch),
        wanted: Freshness,
        now: Timestamp,
    ) -> Result<KnownClient, String> {
        check_address(client_id)?;
        if let Some(client) = self.kept(client_id, wanted, now) {
            return Ok(client);
        }
        let Ok(_place) = self.fetching.try_acquire() else {
            return Err("many documents of clients are being fetched; try again".to_owned());
        };
        let fetched = fetch(client_id.to_owned()).await;
        let fetched =
            fetched.map_err(|why| format!("the client's document can't be had: {why}"))?;
        let document = read(client_id, &fetched.bytes)?;
        let client = document.with_keys(client_id, fetch_keys).await?;
        if let Some(ttl) = believed(&fetched.cache_control) {
            let kept = Kept {
                client: client.clone(),
                since: now,
                until: now.plus(ttl),
            };
            self.keep(client_id, kept);
        }
        Ok(client)
    }

    /// Returns the client as it was fetched before. One of whose keys is missing is asked for again, but not all the time.
    fn kept(&self, client_id: &str, wanted: Freshness, now: Timestamp) -> Option<KnownClient> {
        let kept = locked(&self.kept);
        let kept = kept.get(client_id).filter(|it| now < it.until)?;
        let is_fresh = wanted == Freshness::Usual || now.since(kept.since) < ISSUER_ASKED_EVERY;
        is_fresh.then(|| kept.client.clone())
    }

    fn keep(&self, client_id: &str, fresh: Kept) {
        let now = fresh.since;
        let mut kept = locked(&self.kept);
        kept.retain(|_, it| now < it.until);
        if kept.len() >= CLIENT_DOCUMENTS_MAX {
            let first = kept.iter().min_by_key(|(_, it)| it.until);
            let first = first.map(|(id, _)| id.clone());
            first.and_then(|it| kept.remove(&it));
        }
        kept.insert(client_id.to_owned(), fresh);
    }
}

/// Whether a client's name is the address of its document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Described {
    /// By its document.
    ByDocument,
    /// By the estate.
    ByEstate,
}

impl Described {
    /// Says where the client of this name is described.
    pub(super) fn of(client_id: &str) -> Self {
        match client_id.contains("://") {
            true => Self::ByDocument,
            false => Self::ByEstate,
        }
    }
}

/// Returns the host of a client's document.
pub(super) fn host(client_id: &str) -> String {
    let uri: Option<Uri> = client_id.parse().ok();
    let host = uri
        .as_ref()
        .and_then(Uri::authority)
        .map(ToString::to_string);
    host.unwrap_or_default()
}

/// A document that was read, before its keys are had.
#[derive(Debug)]
pub struct ClientDocument {
    name: String,
    redirect_uris: Vec<String>,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    Public,
    Given(JwkSet),
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

    async fn with_keys(self, client_id: &str, fetch: &Fetch) -> Result<KnownClient, String> {
        let set = match self.proof {
            Proof::Public => None,
            Proof::Given(set) => Some(set),
            Proof::At(url) => {
                let bytes = fetch(url).await;
                let bytes =
                    bytes.map_err(|why| format!("the client's keys can't be had: {why}"))?;
                Some(JwkSet::parse(&bytes).map_err(|error| unusable(&error))?)
            }
        };
        let keys = match set {
            None => ClientProof::Public,
            Some(set) => ClientProof::Keys(client_keys(client_id, &set)?),
        };
        Ok(KnownClient {
            name: self.name,
            redirect_uris: self.redirect_uris,
            agents: ClientAgents::Any,
            keys,
        })
    }
}

/// Reads the document at `client_id`. Members that say nothing about who the client is are ignored (RFC 7591 §2).
///
/// # Errors
/// What is wrong with it.
pub fn read(client_id: &str, bytes: &[u8]) -> Result<ClientDocument, String> {
    let wrong = |what: &str| format!("the client's document {what}; tell who runs the client");
    let value = parse_bounded(bytes, CLIENT_DOCUMENT_BYTES_MAX);
    let value = value.map_err(|error| wrong(&format!("can't be read: {error}")))?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("client_id") != Some(client_id) {
        return Err(wrong(
            "has another client_id than its own address, letter by letter",
        ));
    }
    if value.get("client_secret").is_some() {
        return Err(wrong("holds a client_secret, which everybody can read"));
    }
    let redirects = value.get("redirect_uris").and_then(Value::as_array);
    let redirects = redirects.ok_or_else(|| wrong("has no list redirect_uris"))?;
    if redirects.is_empty() || redirects.len() > REDIRECTS_MAX {
        return Err(wrong(&format!(
            "has not 1 to {REDIRECTS_MAX} redirect_uris"
        )));
    }
    let mut redirect_uris = Vec::new();
    for redirect in redirects {
        let address = redirect.as_str().unwrap_or_default();
        let read = Redirect::parse(address);
        read.map_err(|what| wrong(&format!("has a redirect_uri that {what}")))?;
        redirect_uris.push(address.to_owned());
    }
    let lists_code = |name: &str, word: &str| {
        let list = value.get(name).and_then(Value::as_array);
        list.is_none_or(|it| it.iter().any(|it| it.as_str() == Some(word)))
    };
    if !lists_code("grant_types", "authorization_code") || !lists_code("response_types", "code") {
        return Err(wrong(
            "does not list the code flow (authorization_code, code)",
        ));
    }
    Ok(ClientDocument {
        name: name(text("client_name").unwrap_or_default(), client_id),
        redirect_uris,
        proof: proof(&value).map_err(|what| wrong(&what))?,
    })
}

fn proof(value: &Value) -> Result<Proof, String> {
    let method = value.get("token_endpoint_auth_method").map(Value::as_str);
    match method {
        Some(Some("none")) => return Ok(Proof::Public),
        Some(Some("private_key_jwt")) => {}
        // Nobody shares a secret with a stranger: the usual default of RFC 7591 can't be meant.
        None if value.get("jwks").is_none() && value.get("jwks_uri").is_none() => {
            return Ok(Proof::Public);
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
            Ok(Proof::Given(
                set.map_err(|error| format!("has keys of no use: {error}"))?,
            ))
        }
        (None, Some(Some(url))) if url.starts_with("https://") => Ok(Proof::At(url.to_owned())),
        (None, Some(_)) => Err("has a jwks_uri that does not begin with https://".to_owned()),
        (Some(_), Some(_)) => Err("has both jwks and jwks_uri".to_owned()),
        (None, None) => Err("names private_key_jwt and has no keys".to_owned()),
    }
}

/// Says whether a name is the address of a document: `https`, a host and a path, written in the one way.
fn check_address(client_id: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "client_id {what}; a client that describes itself is named by its document, such as \
             https://app.example/client.json"
        ))
    };
    if client_id.len() > CLIENT_BYTES_MAX || !client_id.bytes().all(|it| it.is_ascii_graphic()) {
        return wrong("is too long, or has characters that no address has");
    }
    let Ok(uri) = client_id.parse::<Uri>() else {
        return wrong("is no address");
    };
    let Some(rest) = client_id.strip_prefix("https://") else {
        return wrong("does not begin with https://");
    };
    let Some((authority, path)) = rest.split_once('/') else {
        return wrong("has no path");
    };
    let host = uri.host().unwrap_or_default();
    if host.is_empty() || authority.contains('@') || host.bytes().any(|it| it.is_ascii_uppercase())
    {
        return wrong("has a user, or a host with capitals or none");
    }
    let is_relative = |it: &str| {
        let it = it.to_ascii_lowercase().replace("%2e", ".");
        it == "." || it == ".."
    };
    if path.is_empty() || path.contains(['#', '\\']) || path.split('/').any(is_relative) {
        return wrong("has no path, a fragment, or steps such as `..`");
    }
    Ok(())
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

/// Says how long a document may be believed; nothing when it may not be kept.
fn believed(cache_control: &str) -> Option<Millis> {
    let text = cache_control.to_ascii_lowercase();
    let mut directives = text.split(',').map(str::trim);
    if directives
        .clone()
        .any(|it| it.starts_with("no-store") || it.starts_with("no-cache"))
    {
        return None;
    }
    let seconds = directives.find_map(|it| it.strip_prefix("max-age="));
    let Some(seconds) = seconds else {
        return Some(CLIENT_DOCUMENT_TTL);
    };
    // What can't be read is not believed for long.
    let ttl = seconds
        .trim_matches('"')
        .parse()
        .map_or(CLIENT_DOCUMENT_TTL, Millis::from_seconds);
    Some(ttl.min(CLIENT_DOCUMENT_TTL_MAX)).filter(|it| it.as_millis() > 0)
}

fn unusable(error: &dyn std::error::Error) -> String {
    format!("the client's keys are of no use: {}", chain(error))
}

#[cfg(test)]
mod tests;

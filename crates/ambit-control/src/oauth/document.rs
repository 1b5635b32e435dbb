//! Clients that nobody declared here: their name is the address of a document that describes them
//! (draft-ietf-oauth-client-id-metadata-document).
//!
//! Whoever can write at that address is the client. The document is a stranger's, and so may be whoever names it: it is
//! fetched with care, for so many at once, and until it says itself that it is a client's nobody is told what is there.

mod address;
mod read;
mod shelf;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use ambit_core::{Millis, Timestamp, origin::Origin};
use ambit_identity::{
    jose::{JWK_SET_BYTES_MAX, JwkSet},
    token::assertion::ClientKeys,
};

pub(super) use self::address::{check_address, host};
use self::{
    read::DocumentKeys,
    shelf::{Fetching, Look, Shelf},
};
pub use self::{
    read::{CLIENT_NAME_MAX, ClientDocument, DocumentError, REDIRECTS_MAX, read},
    shelf::{
        CLIENT_ASKED_EVERY, CLIENT_DOCUMENT_PAUSE, CLIENT_DOCUMENTS_FOR_STRANGERS_MAX,
        CLIENT_DOCUMENTS_MAX, CLIENT_DOCUMENTS_PER_ASKER_MAX, CLIENT_FETCHES_MAX,
        CLIENT_FETCHES_PER_HOST_MAX,
    },
};
use super::{ClientAgents, ClientProof, KnownClient, declared::client_keys, locked};
use crate::{carried::aside, check::chain, foreign::Freshness};

/// The longest document of a client, in bytes.
pub const CLIENT_DOCUMENT_BYTES_MAX: usize = 5 * 1024;
/// How long a document is believed when its host says nothing of it.
pub const CLIENT_DOCUMENT_TTL: Millis = Millis::from_seconds(300);
/// How long a document is believed, whatever its host says.
pub const CLIENT_DOCUMENT_TTL_MAX: Millis = Millis::from_seconds(24 * 3600);

/// Fetches what a stranger publishes at an `https` address: so many bytes at most, from a public host, without following
/// where it is sent.
pub type FetchDocument = Arc<dyn Fn(String, usize) -> FetchingDocument + Send + Sync>;

/// The document, or why it can't be had: that is for the log alone.
pub type FetchingDocument = Pin<Box<dyn Future<Output = Result<FetchedDocument, String>> + Send>>;

/// A document as its host gave it.
#[derive(Clone, Debug)]
pub struct FetchedDocument {
    /// The text.
    pub bytes: Vec<u8>,
    /// What its host says of how long it may be believed (RFC 9111 `Cache-Control`).
    pub cache_control: String,
}

/// Who makes Ambit fetch a document, as far as places are shared out by it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Inquirer {
    /// A person who is signed in, by the estate's name.
    Person(String),
    /// Anybody, from there.
    Stranger(Origin),
}

/// Why a client is not known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NotKnown {
    /// There is none of that name, or what it says of itself is no good.
    #[error("{0}")]
    Refused(String),
    /// Nobody looked: too many are asked for.
    #[error("too many documents of clients are asked for just now; try again in some seconds")]
    Busy,
}

impl From<String> for NotKnown {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

/// The documents that were asked for.
#[derive(Default)]
pub(super) struct Documents(Arc<Mutex<Shelf>>);

impl Documents {
    /// Finds the client whose document is at `client_id`. Whoever asks while it is fetched waits for the same answer.
    ///
    /// # Errors
    /// [`NotKnown`]: why there is none and what to do.
    pub(super) async fn find(
        &self,
        (client_id, asker): (&str, &Inquirer),
        fetch: &FetchDocument,
        wanted: Freshness,
        now: Timestamp,
    ) -> Result<KnownClient, NotKnown> {
        check_address(client_id)?;
        let looked = locked(&self.0).look((client_id, asker), wanted, now)?;
        let mut coming = match looked {
            Look::Known(client) => return Ok(*client),
            Look::UnderWay(coming) => coming,
            Look::Fetch(fetching, coming) => {
                self.send(client_id, fetching, fetch);
                coming
            }
        };
        // A stranger's host may let everybody wait.
        let came = async {
            let found = coming.wait_for(Option::is_some).await;
            found.ok().and_then(|it| it.clone())
        };
        let found = aside(came).await;
        // It broke off.
        found.unwrap_or(Err(NotKnown::Busy))
    }

    /// Says that a person let this client act for them: from now on its document is asked for beside those that strangers
    /// name.
    pub(super) fn let_in(&self, client_id: &str) {
        locked(&self.0).let_in(client_id);
    }

    /// Whoever asked may leave: what was asked for comes in all the same, for those who ask next.
    fn send(&self, client_id: &str, fetching: Fetching, fetch: &FetchDocument) {
        let (shelf, fetch) = (Arc::clone(&self.0), Arc::clone(fetch));
        let client_id = client_id.to_owned();
        tokio::spawn(async move {
            let found = fetched(&shelf, &client_id, &fetch).await;
            locked(&shelf).settle(&client_id, fetching, found);
        });
    }
}

/// A client, and how long it may be believed; no time at all when it may not be kept.
type Fetched = (KnownClient, Option<Millis>);

async fn fetched(
    shelf: &Mutex<Shelf>,
    client_id: &str,
    fetch: &FetchDocument,
) -> Result<Fetched, NotKnown> {
    let answer = fetch(client_id.to_owned(), CLIENT_DOCUMENT_BYTES_MAX).await;
    let answer = answer.map_err(|why| unknown(client_id, &why))?;
    let document = read(client_id, &answer.bytes).map_err(|error| match &error {
        DocumentError::NoClient(_) => unknown(client_id, &error.to_string()),
        DocumentError::Wrong(_) => NotKnown::Refused(error.to_string()),
    })?;
    let (name, redirect_uris, keys) = document.into_parts();
    let keys = match keys {
        DocumentKeys::None => ClientProof::Public,
        DocumentKeys::Given(set) => {
            let keys = client_keys(client_id, &set);
            ClientProof::Keys(
                keys.map_err(|why| format!("the client's keys are of no use: {why}"))?,
            )
        }
        DocumentKeys::At(url) => {
            locked(shelf).goes_on_to(client_id, &host(&url))?;
            let keys = published_keys(client_id, url, fetch).await;
            ClientProof::Keys(keys.map_err(|why| without_keys(client_id, &why))?)
        }
    };
    let client = KnownClient {
        name,
        redirect_uris,
        agents: ClientAgents::Any,
        keys,
    };
    Ok((client, believed(&answer.cache_control)))
}

async fn published_keys(
    client_id: &str,
    url: String,
    fetch: &FetchDocument,
) -> Result<ClientKeys, String> {
    let answer = fetch(url, JWK_SET_BYTES_MAX).await?;
    let set = JwkSet::parse(&answer.bytes).map_err(|error| chain(&error))?;
    client_keys(client_id, &set)
}

/// What whoever named an address hears of it, whatever is there: who could tell more by it would look around in the networks
/// that Ambit is in.
fn unknown(client_id: &str, why: &str) -> NotKnown {
    tracing::warn!(client_id, why, "there is no document of a client");
    NotKnown::Refused(
        "there is no document of a client at `client_id` that can be had; who runs Ambit finds why in its log".to_owned(),
    )
}

fn without_keys(client_id: &str, why: &str) -> NotKnown {
    tracing::warn!(client_id, why, "a client has no keys at its `jwks_uri`");
    NotKnown::Refused(
        "there are no keys at the client's `jwks_uri` that can be had; who runs Ambit finds why in its log".to_owned(),
    )
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

#[cfg(test)]
mod tests;

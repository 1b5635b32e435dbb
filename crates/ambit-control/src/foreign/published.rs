//! The keys that others publish: fetched, kept for a while, and asked for again without asking too often.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use ambit_core::{Timestamp, json};
use ambit_identity::jose::{Algorithm, JWK_SET_BYTES_MAX, JwkSet, KeyUse, VerifyingKeys};

use super::{Fetch, ISSUER_ASKED_EVERY, ISSUER_KEYS_STALE_MAX, ISSUER_KEYS_TTL};
use crate::check::chain;

/// The keys of those whom the estate names, as they were fetched.
#[derive(Default)]
pub(crate) struct PublishedKeys(Mutex<HashMap<String, Arc<Kept>>>);

/// Where somebody's keys are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeySource<'a> {
    /// Where the discovery document of this issuer says (OpenID Connect Discovery §4).
    Discovered(&'a str),
    /// At this address.
    At(&'a str),
    /// Here: a JWK Set, as text.
    Given(&'a str),
}

/// How fresh keys must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// Those that are kept do.
    Usual,
    /// They must be asked for: one is missing.
    New,
}

/// One set of keys, parsed when it came. Who asks for them waits for who is asking already.
#[derive(Default)]
struct Kept(tokio::sync::Mutex<Fetched>);

#[derive(Default)]
struct Fetched {
    /// From where, and what was there when.
    keys: Option<(String, VerifyingKeys, Timestamp)>,
    asked_at: Option<Timestamp>,
}

impl PublishedKeys {
    /// Returns the keys of the one whom the estate calls `name`, as of `now`.
    ///
    /// # Errors
    /// Why they can't be had.
    pub(crate) async fn current(
        &self,
        (fetch, now): (&Fetch, Timestamp),
        name: &str,
        from: KeySource<'_>,
        wanted: Freshness,
    ) -> Result<VerifyingKeys, String> {
        self.kept(name).current((fetch, now), from, wanted).await
    }

    fn kept(&self, name: &str) -> Arc<Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the estate: only whom it names, or named since the start, comes here.
        kept.entry(name.to_owned()).or_default().clone()
    }
}

impl Kept {
    async fn current(
        &self,
        (fetch, now): (&Fetch, Timestamp),
        from: KeySource<'_>,
        wanted: Freshness,
    ) -> Result<VerifyingKeys, String> {
        let mut fetched = self.0.lock().await;
        // Keys of another address are another's.
        fetched.keys.take_if(|(before, ..)| !from.is_place(before));
        if let KeySource::Given(text) = from {
            if let Some((_, keys, _)) = &fetched.keys {
                return Ok(keys.clone());
            }
            let keys = parsed(text.as_bytes())?;
            fetched.keys = Some((from.place(), keys.clone(), now));
            return Ok(keys);
        }
        let age = |at: Timestamp| now.since(at);
        let rested = fetched
            .asked_at
            .is_none_or(|it| age(it) >= ISSUER_ASKED_EVERY);
        if let Some((_, keys, at)) = &fetched.keys
            && (!rested || wanted == Freshness::Usual && age(*at) < ISSUER_KEYS_TTL)
            && age(*at) < ISSUER_KEYS_STALE_MAX
        {
            return Ok(keys.clone());
        }
        if !rested {
            return Err("they were asked for less than a minute ago".to_owned());
        }
        fetched.asked_at = Some(now);
        match fetched_from(fetch, from).await {
            Ok(keys) => {
                fetched.keys = Some((from.place(), keys.clone(), now));
                Ok(keys)
            }
            Err(why) => {
                tracing::warn!(from = from.place(), why, "published keys can't be fetched");
                let kept = fetched.keys.as_ref();
                let kept = kept.filter(|(_, _, at)| age(*at) < ISSUER_KEYS_STALE_MAX);
                kept.map(|(_, keys, _)| keys.clone()).ok_or(why)
            }
        }
    }
}

impl KeySource<'_> {
    /// Names the place: another one is other keys.
    fn place(self) -> String {
        match self {
            Self::Discovered(issuer) => format!("issuer {issuer}"),
            Self::At(at) => at.to_owned(),
            Self::Given(text) => text.to_owned(),
        }
    }

    /// Says whether `place` names this one.
    fn is_place(self, place: &str) -> bool {
        match self {
            Self::Discovered(issuer) => place.strip_prefix("issuer ") == Some(issuer),
            Self::At(text) | Self::Given(text) => place == text,
        }
    }
}

async fn fetched_from(fetch: &Fetch, from: KeySource<'_>) -> Result<VerifyingKeys, String> {
    let at = match from {
        KeySource::At(at) => at.to_owned(),
        KeySource::Discovered(issuer) => discover(fetch, issuer).await?,
        KeySource::Given(text) => return parsed(text.as_bytes()),
    };
    parsed(&fetch(at).await?)
}

/// Parses keys for signatures: once, whatever comes to be verified by them.
fn parsed(text: &[u8]) -> Result<VerifyingKeys, String> {
    let set = JwkSet::parse(text).map_err(|error| chain(&error))?;
    let uses = [KeyUse::Signature, KeyUse::Unstated];
    VerifyingKeys::new(&set, &uses, &Algorithm::ALL).map_err(|error| chain(&error))
}

/// Returns where the discovery document says that the keys are (OpenID Connect Discovery §4).
async fn discover(fetch: &Fetch, issuer: &str) -> Result<String, String> {
    let base = issuer.trim_end_matches('/');
    let bytes = fetch(format!("{base}/.well-known/openid-configuration")).await?;
    let document =
        json::parse_as_written(&bytes, JWK_SET_BYTES_MAX).map_err(|error| chain(&error))?;
    let text = |name| document.get(name).and_then(json::Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err("its discovery document is another issuer's".to_owned());
    }
    let at = text("jwks_uri").filter(|it| it.starts_with("https://"));
    let at = at.ok_or("its discovery document has no `jwks_uri` that begins with https://")?;
    Ok(at.to_owned())
}

impl fmt::Debug for PublishedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishedKeys")
    }
}

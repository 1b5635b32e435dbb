//! The keys that others publish: fetched, kept for a while, and asked for again without asking too often.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use ambit_core::{Timestamp, json};
use ambit_identity::jose::{Algorithm, JWK_SET_BYTES_MAX, JwkSet, KeyUse, VerifyingKeys};

use super::{Fetch, ISSUER_ASKED_EVERY, ISSUER_KEYS_STALE_MAX, ISSUER_KEYS_TTL};
use crate::{carried::aside, check::chain, locked::locked};

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

/// One set of keys, parsed when it came. Who needs newer ones than are known waits for who is asking already.
#[derive(Default)]
struct Kept {
    /// What is known, also while it is asked for.
    known: Arc<Mutex<Option<Known>>>,
    fetched: Arc<tokio::sync::Mutex<Fetched>>,
}

/// Keys from one place.
struct Known {
    place: String,
    keys: VerifyingKeys,
    at: Timestamp,
}

/// What was had from one place. Another place begins anew: its keys are another's, and it was never asked.
#[derive(Default)]
struct Fetched {
    place: String,
    /// What was there when.
    keys: Option<(VerifyingKeys, Timestamp)>,
    asked_at: Option<Timestamp>,
}

/// Where to find them.
enum Address {
    Discovered(String),
    At(String),
    Given(String),
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
        let at = match from {
            KeySource::Given(text) => Address::Given(text.to_owned()),
            KeySource::Discovered(issuer) => Address::Discovered(issuer.to_owned()),
            KeySource::At(at) => Address::At(at.to_owned()),
        };
        self.kept(name).current((fetch, now), at, wanted).await
    }

    fn kept(&self, name: &str) -> Arc<Kept> {
        let mut kept = locked(&self.0);
        // Bounded by the estate: only whom it names, or named since the start, comes here.
        kept.entry(name.to_owned()).or_default().clone()
    }
}

impl Kept {
    async fn current(
        &self,
        (fetch, now): (&Fetch, Timestamp),
        from: Address,
        wanted: Freshness,
    ) -> Result<VerifyingKeys, String> {
        let place = from.place();
        if wanted == Freshness::Usual
            && let Some(known) = locked(&self.known).as_ref()
            && known.place == place
            && now.since(known.at) < ISSUER_KEYS_TTL
        {
            return Ok(known.keys.clone());
        }
        aside(self.fetch((fetch, now), from, wanted)).await
    }

    /// Has them fetched where they may be asked for. Who waits for that has begun nothing: it is asked who somebody is.
    async fn fetch(
        &self,
        (fetch, now): (&Fetch, Timestamp),
        from: Address,
        wanted: Freshness,
    ) -> Result<VerifyingKeys, String> {
        let place = from.place();
        let mut fetched = Arc::clone(&self.fetched).lock_owned().await;
        if fetched.place != place {
            *fetched = Fetched {
                place,
                ..Fetched::default()
            };
        }
        if let Address::Given(text) = &from {
            let keys = match fetched.keys.take() {
                Some((keys, _)) => keys,
                None => parsed(text.as_bytes())
                    .inspect_err(|why| tracing::warn!(why, "declared keys are of no use"))?,
            };
            fetched.keys = Some((keys.clone(), now));
            return Ok(keys);
        }
        let age = |at: Timestamp| now.since(at);
        let rested = fetched
            .asked_at
            .is_none_or(|it| age(it) >= ISSUER_ASKED_EVERY);
        if let Some((keys, at)) = &fetched.keys
            && (!rested || wanted == Freshness::Usual && age(*at) < ISSUER_KEYS_TTL)
            && age(*at) < ISSUER_KEYS_STALE_MAX
        {
            return Ok(keys.clone());
        }
        if !rested {
            return Err("they were asked for less than a minute ago".to_owned());
        }
        // Who asks may be anybody, and leave: what is asked for comes in all the same, for those who ask next.
        let (fetch, known) = (fetch.clone(), Arc::clone(&self.known));
        let asking = tokio::spawn(async move {
            fetched.asked_at = Some(now);
            let found = from.fetch(&fetch).await;
            let found = fetched.keep(found, now);
            *locked(&known) = fetched.known();
            found
        });
        let broke_off = |_| Err("asking for them broke off; try again".to_owned());
        asking.await.unwrap_or_else(broke_off)
    }
}

impl Fetched {
    fn known(&self) -> Option<Known> {
        self.keys.as_ref().map(|(keys, at)| Known {
            place: self.place.clone(),
            keys: keys.clone(),
            at: *at,
        })
    }

    /// Keeps what was found, and returns it, or what was there before and is not too old.
    fn keep(
        &mut self,
        found: Result<VerifyingKeys, String>,
        now: Timestamp,
    ) -> Result<VerifyingKeys, String> {
        match found {
            Ok(keys) => {
                self.keys = Some((keys.clone(), now));
                Ok(keys)
            }
            Err(why) => {
                tracing::warn!(from = self.place, why, "published keys can't be fetched");
                let kept = self.keys.as_ref();
                let kept = kept.filter(|(_, at)| now.since(*at) < ISSUER_KEYS_STALE_MAX);
                kept.map(|(keys, _)| keys.clone()).ok_or(why)
            }
        }
    }
}

impl Address {
    /// Names the place.
    fn place(&self) -> String {
        match self {
            Self::Discovered(issuer) => format!("issuer {issuer}"),
            Self::At(at) => at.clone(),
            Self::Given(text) => text.clone(),
        }
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<VerifyingKeys, String> {
        let at = match self {
            Self::At(at) => at.clone(),
            Self::Discovered(issuer) => discover(fetch, issuer).await?,
            Self::Given(text) => return parsed(text.as_bytes()),
        };
        parsed(&fetch(at).await?)
    }
}

/// Parses keys for signatures: once, whatever comes to be verified by them.
fn parsed(text: &[u8]) -> Result<VerifyingKeys, String> {
    let set = JwkSet::parse(text).map_err(|error| chain(&error))?;
    let uses = [KeyUse::Signature, KeyUse::Unstated];
    VerifyingKeys::new(&set, &uses, &Algorithm::ALL).map_err(|error| chain(&error))
}

async fn discover(fetch: &Fetch, issuer: &str) -> Result<String, String> {
    let base = issuer.trim_end_matches('/');
    let document = fetch(format!("{base}/.well-known/openid-configuration")).await?;
    keys_address(issuer, &document)
}

/// Returns where the discovery document of `issuer` says that its keys are (OpenID Connect Discovery §4).
///
/// # Errors
/// In words, when it is another issuer's, cannot be read, or names no address that begins with `https://`.
pub fn keys_address(issuer: &str, document: &[u8]) -> Result<String, String> {
    let document =
        json::parse_as_written(document, JWK_SET_BYTES_MAX).map_err(|error| chain(&error))?;
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

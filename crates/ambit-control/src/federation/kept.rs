//! One foreign trust domain: the newest bundle of it, from where it came, and what was told of it.

use std::{collections::BTreeSet, sync::Arc};

use ambit_core::{
    Digest, Millis, Timestamp,
    bundle::{BundleFact, BundleProfile, BundleRefusal},
    estate::{BundleSource, Federation},
    json::{self, Value},
};
use ambit_identity::{
    BUNDLE_BYTES_MAX, BundleError, TrustBundle,
    bundle::{ReadBundle, Succession},
};

use super::{BUNDLE_REFRESH_DEFAULT, BUNDLE_REFRESH_MAX, BUNDLE_REFRESH_MIN, BUNDLE_STALE_MAX};
use crate::{api::Control, check::chain};

/// The longest text that is kept, in bytes: a document with every character escaped, and a little.
pub const KEPT_BYTES_MAX: usize = 2 * BUNDLE_BYTES_MAX;

/// One foreign trust domain.
pub(super) struct Kept {
    pub(super) federation: Arc<Federation>,
    /// The newest bundle, and when its endpoint said it last.
    pub(super) held: Option<Held>,
    /// When its endpoint is asked; never, when there is none.
    pub(super) next_at: Option<Timestamp>,
    /// When it took the place of another source of the same trust domain.
    replaced_at: Option<Timestamp>,
    told: Told,
}

/// A bundle that was taken.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) bundle: Arc<TrustBundle>,
    /// When its endpoint said it last.
    said_at: Timestamp,
    /// When a key of the one before was seen to be in it no more.
    pub(super) keys_left_at: Option<Timestamp>,
}

/// What the log says already.
#[derive(Default)]
struct Told {
    /// The document that was last written down as believed by this process.
    believed: Option<Digest>,
    /// Why others were refused since.
    refused: BTreeSet<BundleRefusal>,
    /// Whether what is held was written down as too old.
    lapsed: Lapsed,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Lapsed {
    #[default]
    Untold,
    Told,
}

/// Why there is no newer bundle.
enum Trouble {
    /// The endpoint is at fault, or what stands between.
    Refused {
        why: BundleRefusal,
        document: Option<Digest>,
        sequence: Option<u64>,
        told: String,
    },
    /// Ambit is: it can't write now.
    Ours(String),
}

impl Kept {
    /// Returns the trust domain with what was kept of it, when that is of the same source.
    pub(super) fn new(
        federation: &Federation,
        (read_back, replaced_at): (Option<String>, Option<Timestamp>),
        now: Timestamp,
    ) -> Self {
        let federation = Arc::new(federation.clone());
        let held = match &federation.source {
            BundleSource::Given(text) => {
                let found = read(&federation, text).ok();
                found.map(|it| Held {
                    bundle: Arc::new(it.bundle),
                    said_at: now,
                    keys_left_at: replaced_at,
                })
            }
            BundleSource::Web { .. } | BundleSource::Spiffe { .. } => {
                let held = read_back.and_then(|text| restore(&federation, &text));
                held.map(|it| Held {
                    keys_left_at: it.keys_left_at.max(replaced_at),
                    ..it
                })
            }
        };
        let is_given = matches!(federation.source, BundleSource::Given(_));
        Self {
            federation,
            held,
            next_at: (!is_given).then_some(now),
            replaced_at,
            told: Told::default(),
        }
    }

    /// Goes on from `old`, which it replaces, when the estate itself gives the bundles of both: no key left when all of the
    /// old one are in the new one.
    pub(super) fn following(mut self, old: &Self) -> Self {
        let sources = (&old.federation.source, &self.federation.source);
        if let (BundleSource::Given(_), BundleSource::Given(_)) = sources
            && let (Some(before), Some(held)) = (&old.held, &mut self.held)
            && held.bundle.has_all_keys_of(&before.bundle)
        {
            held.keys_left_at = before.keys_left_at;
        }
        self
    }

    /// Returns the bundle, as long as it is believed.
    pub(super) fn believed(&self, now: Timestamp) -> Option<&Held> {
        let held = self.held.as_ref()?;
        let believed = self.next_at.is_none() || now.since(held.said_at) < BUNDLE_STALE_MAX;
        believed.then_some(held)
    }

    /// Hears what the endpoint said, or why it said nothing.
    pub(super) async fn hear(
        &mut self,
        answer: Result<Vec<u8>, String>,
        control: &Control,
        now: Timestamp,
    ) {
        let taken = match answer {
            Ok(bytes) => self.take(&bytes, control, now).await,
            Err(told) => Err(Trouble::Refused {
                why: BundleRefusal::Unavailable,
                document: None,
                sequence: None,
                told,
            }),
        };
        let Err(trouble) = taken else {
            return;
        };
        self.next_at = Some(now.plus(BUNDLE_REFRESH_MIN));
        let (Trouble::Refused { told, .. } | Trouble::Ours(told)) = &trouble;
        tracing::warn!(
            trust = %self.federation.name, trouble = told,
            "the bundle of a foreign trust domain can't be had; the last one counts for a day"
        );
        if let Trouble::Refused {
            why,
            document,
            sequence,
            ..
        } = trouble
        {
            self.refuse(why, (document, sequence), control).await;
        }
    }

    /// Writes down, once, that the bundle is too old to be believed.
    pub(super) async fn lapse(&mut self, control: &Control, now: Timestamp) {
        let is_over = self.held.is_some() && self.believed(now).is_none();
        if !is_over || self.told.lapsed == Lapsed::Told {
            return;
        }
        let fact = BundleFact::Lapsed {
            trust_domain: self.federation.trust_domain.clone(),
            sequence: self.sequence(),
        };
        if self.write(fact, control).await.is_ok() {
            self.told.lapsed = Lapsed::Told;
            self.told.believed = None;
        }
    }

    /// Takes an answer, which must not be older than what is held.
    async fn take(
        &mut self,
        bytes: &[u8],
        control: &Control,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let document = Digest::of(bytes);
        let refused = |why, sequence, told| Trouble::Refused {
            why,
            document: Some(document),
            sequence,
            told,
        };
        let malformed = |told| refused(BundleRefusal::Malformed, None, told);
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(chain(&error)))?;
        let read = read(&self.federation, text).map_err(|error| malformed(chain(&error)))?;
        let ReadBundle { bundle, left_out } = read;
        let name = &self.federation.name;
        for (place, why) in left_out {
            tracing::warn!(trust = %name, place, why, "a key of a bundle is left out");
        }
        if let Some(held) = &self.held {
            held.bundle.succession(&bundle).map_err(|error| {
                let sequence = bundle.sequence_stated();
                refused(BundleRefusal::Rollback, sequence, chain(&error))
            })?;
        }
        let hint = bundle.refresh_hint().unwrap_or(BUNDLE_REFRESH_DEFAULT);
        let fresh = self.succeeded(bundle, now);
        let is_news = match &self.held {
            Some(held) => !Arc::ptr_eq(&held.bundle, &fresh.bundle) || self.believed(now).is_none(),
            None => true,
        };
        if is_news && self.told.believed != Some(document) {
            let fact = BundleFact::Believed {
                trust_domain: self.federation.trust_domain.clone(),
                profile: profile(&self.federation),
                document,
                sequence: fresh.bundle.sequence_stated(),
                before: self.sequence(),
            };
            self.write(fact, control).await?;
            self.told.believed = Some(document);
        }
        // Kept before it is believed: what was believed once is the least that counts after a restart.
        let kept = kept_text(&self.federation, text, &fresh);
        (control.federation.keep)(&self.federation.name, &kept).map_err(Trouble::Ours)?;
        if is_news {
            self.told.refused.clear();
            self.told.lapsed = Lapsed::Untold;
        }
        self.held = Some(fresh);
        let pause: Millis = hint.clamp(BUNDLE_REFRESH_MIN, BUNDLE_REFRESH_MAX);
        self.next_at = Some(now.plus(pause));
        Ok(())
    }

    /// Returns what is held once `bundle` takes the place of what is.
    fn succeeded(&self, bundle: TrustBundle, now: Timestamp) -> Held {
        let Some(held) = &self.held else {
            return Held {
                bundle: Arc::new(bundle),
                said_at: now,
                keys_left_at: self.replaced_at,
            };
        };
        // The same one stays, so that nobody looks again at whom it proves.
        if matches!(held.bundle.succession(&bundle), Ok(Succession::Same)) {
            let said_at = now;
            return Held {
                said_at,
                ..held.clone()
            };
        }
        let stays = bundle.has_all_keys_of(&held.bundle);
        Held {
            bundle: Arc::new(bundle),
            said_at: now,
            keys_left_at: if stays { held.keys_left_at } else { Some(now) },
        }
    }

    async fn refuse(
        &mut self,
        why: BundleRefusal,
        (document, sequence): (Option<Digest>, Option<u64>),
        control: &Control,
    ) {
        if self.told.refused.contains(&why) {
            return;
        }
        let fact = BundleFact::Refused {
            trust_domain: self.federation.trust_domain.clone(),
            profile: profile(&self.federation),
            why,
            document,
            sequence,
            before: self.sequence(),
        };
        if self.write(fact, control).await.is_ok() {
            self.told.refused.insert(why);
        }
    }

    async fn write(&self, fact: BundleFact, control: &Control) -> Result<(), Trouble> {
        let written = control.handle.bundle_changed(fact).await;
        written.map_err(|error| {
            let error = chain(&error);
            tracing::warn!(trust = %self.federation.name, error, "a change of a bundle could not be written down");
            Trouble::Ours(error)
        })
    }

    fn sequence(&self) -> Option<u64> {
        self.held.as_ref()?.bundle.sequence_stated()
    }
}

/// Reads a document.
pub(super) fn read(federation: &Federation, text: &str) -> Result<ReadBundle, BundleError> {
    TrustBundle::from_document(federation.trust_domain.clone(), text.as_bytes())
}

/// Only what is fetched is told; of a bundle in the estate, the estate's own record tells.
const fn profile(federation: &Federation) -> BundleProfile {
    match federation.source {
        BundleSource::Given(_) | BundleSource::Web { .. } => BundleProfile::Web,
        BundleSource::Spiffe { .. } => BundleProfile::Spiffe,
    }
}

/// Writes what is kept: from where, when it was said last, and the document.
fn kept_text(federation: &Federation, document: &str, held: &Held) -> String {
    let left = held
        .keys_left_at
        .map(|it| ("keys_left_at", it.as_millis().into()));
    let members = [
        ("source", source_digest(federation).to_string().into()),
        ("said_at", held.said_at.as_millis().into()),
        ("document", document.into()),
    ];
    Value::object(members.into_iter().chain(left)).to_canonical()
}

/// Reads what was kept; nothing, when it is of another source or not whole.
fn restore(federation: &Federation, text: &str) -> Option<Held> {
    let value = json::parse_bounded(text.as_bytes(), KEPT_BYTES_MAX).ok()?;
    let source = value.get("source").and_then(Value::as_str)?;
    if source != source_digest(federation).to_string() {
        return None;
    }
    let time = |name| {
        let millis = value.get(name).and_then(Value::as_integer)?;
        Some(Timestamp::from_millis(u64::try_from(millis).ok()?))
    };
    let document = value.get("document").and_then(Value::as_str)?;
    Some(Held {
        bundle: Arc::new(read(federation, document).ok()?.bundle),
        said_at: time("said_at")?,
        keys_left_at: time("keys_left_at"),
    })
}

fn source_digest(federation: &Federation) -> Digest {
    let (kind, url, endpoint, first) = match &federation.source {
        BundleSource::Given(text) => ("given", "", String::new(), text.as_str()),
        BundleSource::Web { url } => ("https_web", url.as_str(), String::new(), ""),
        BundleSource::Spiffe {
            url,
            endpoint,
            first,
        } => (
            "https_spiffe",
            url.as_str(),
            endpoint.to_string(),
            first.as_deref().unwrap_or_default(),
        ),
    };
    let domain = federation.trust_domain.as_str();
    let parts = [domain, kind, url, &endpoint, first];
    Digest::of_parts(&parts.map(str::as_bytes))
}

//! The bundles of foreign trust domains: fetched, kept, and believed for a while (SPIFFE Federation).
//!
//! A bundle only ever gets newer: a smaller sequence is refused, also after a restart, since what was fetched is kept.
//! An endpoint that fails leaves the last good bundle in force, and that for a day at most.

use std::{collections::BTreeMap, fmt, sync::Arc};

use ambit_core::{
    Digest, FederationName, Millis, SpiffeId, Timestamp,
    estate::{BundleSource, Estate, Federation},
    json::{self, Value},
};
use ambit_identity::{
    BUNDLE_BYTES_MAX, FederatedBundles, TrustBundle,
    bundle::{ReadBundle, Succession},
};
use futures_util::future::join_all;
use tokio::sync::{Mutex, watch};

use crate::{
    api::{Control, Doors},
    check::chain,
    foreign::Fetching,
};

/// How often an endpoint is asked that does not say how often it wants to be.
pub const BUNDLE_REFRESH_DEFAULT: Millis = Millis::from_seconds(300);
/// How often an endpoint is asked at most, whatever it says.
pub const BUNDLE_REFRESH_MIN: Millis = Millis::from_seconds(60);
/// How seldom an endpoint is asked, whatever it says.
pub const BUNDLE_REFRESH_MAX: Millis = Millis::from_seconds(3600);
/// How long a bundle is believed after its endpoint said it last.
pub const BUNDLE_STALE_MAX: Millis = Millis::from_seconds(24 * 3600);

/// One question to a bundle endpoint.
#[derive(Clone, Debug)]
pub struct BundleAsk {
    /// Its address.
    pub url: String,
    /// By what the endpoint is known.
    pub proof: EndpointProof,
}

/// By what a bundle endpoint is known.
#[derive(Clone, Debug)]
pub enum EndpointProof {
    /// By its host's name (`https_web`).
    Host,
    /// By its SPIFFE ID (`https_spiffe`).
    SpiffeId {
        /// Who must answer.
        endpoint: SpiffeId,
        /// Whose roots prove it.
        bundle: Arc<TrustBundle>,
    },
}

/// Asks an endpoint: at most [`BUNDLE_BYTES_MAX`] bytes, without following where it is sent.
pub type FetchBundle = Arc<dyn Fn(BundleAsk) -> Fetching + Send + Sync>;
/// Returns what was kept of a trust domain, when anything was.
pub type ReadKept = Arc<dyn Fn(&FederationName) -> Option<String> + Send + Sync>;
/// Keeps what must outlive a restart.
pub type KeepBundle = Arc<dyn Fn(&FederationName, &str) -> Result<(), String> + Send + Sync>;
/// The bundles that are believed now, and who waits to hear that they changed.
pub type FederatedInForce = Arc<watch::Sender<Arc<FederatedBundles>>>;

/// What it takes to believe foreign trust domains.
#[derive(Clone)]
pub struct FederationParts {
    /// Asks endpoints.
    pub fetch: FetchBundle,
    /// Reads what was kept.
    pub read: ReadKept,
    /// Keeps what was fetched.
    pub keep: KeepBundle,
    /// What is believed now.
    pub in_force: FederatedInForce,
}

/// The foreign trust domains of the estate in force.
#[derive(Default)]
pub(crate) struct Federations(Mutex<BTreeMap<FederationName, Kept>>);

/// One foreign trust domain.
struct Kept {
    federation: Arc<Federation>,
    /// The newest bundle, and when its endpoint said it last.
    held: Option<(Arc<TrustBundle>, Timestamp)>,
    /// When its endpoint is asked; never, when there is none.
    next_at: Option<Timestamp>,
}

/// Why there is no newer bundle.
type Trouble = String;

impl FederationParts {
    /// Returns what believes bundles of the estate itself, and asks nobody.
    pub fn offline() -> Self {
        Self {
            fetch: Arc::new(|_| Box::pin(async { Err("nobody is asked here".to_owned()) })),
            read: Arc::new(|_| None),
            keep: Arc::new(|_, _| Ok(())),
            in_force: Arc::new(watch::Sender::default()),
        }
    }
}

impl Control {
    /// Returns the bundles of foreign trust domains that are believed now.
    pub(crate) fn federated(&self) -> Arc<FederatedBundles> {
        self.federation.in_force.borrow().clone()
    }
}

/// Asks the endpoints that are due and puts in force what is believed now. Cheap when nothing is due.
pub async fn refresh_bundles(doors: &Doors) {
    let control = doors.control();
    let Ok(book) = control.handle.book() else {
        return;
    };
    let mut all = doors.shared().federations().0.lock().await;
    let now = (control.clock)().now;
    follow(&mut all, book.estate(), control, now);
    let asks: Vec<_> = all
        .values()
        .filter(|it| it.next_at.is_some_and(|at| at <= now))
        .map(|it| (it.federation.name.clone(), ask(it, &all, now)))
        .collect();
    let fetched = asks.into_iter().map(|(name, ask)| async {
        let answer = match ask {
            Ok(ask) => (control.federation.fetch)(ask).await,
            Err(trouble) => Err(trouble),
        };
        (name, answer)
    });
    for (name, answer) in join_all(fetched).await {
        let Some(kept) = all.get_mut(&name) else {
            continue;
        };
        if let Err(trouble) = answer.and_then(|it| kept.take(&it, control, now)) {
            kept.next_at = Some(now.plus(BUNDLE_REFRESH_MIN));
            tracing::warn!(
                trust = %name, trouble,
                "the bundle of a foreign trust domain can't be had; the last one counts for a day"
            );
        }
    }
    put_in_force(&all, control, now);
}

/// Takes what the estate has, and no more of what it has no more.
fn follow(
    all: &mut BTreeMap<FederationName, Kept>,
    estate: &Estate,
    control: &Control,
    now: Timestamp,
) {
    // A bundle from elsewhere is another one: nothing is concluded from the old.
    all.retain(|name, it| estate.federations.get(name) == Some(&*it.federation));
    for (name, federation) in &estate.federations {
        if !all.contains_key(name) {
            let read = (control.federation.read)(name);
            all.insert(name.clone(), Kept::new(federation, read, now));
        }
    }
}

/// Returns what to ask for a newer bundle.
fn ask(
    kept: &Kept,
    all: &BTreeMap<FederationName, Kept>,
    now: Timestamp,
) -> Result<BundleAsk, Trouble> {
    match &kept.federation.source {
        BundleSource::Given(_) => Err("the estate has the bundle itself".to_owned()),
        BundleSource::Web { url } => Ok(BundleAsk {
            url: url.clone(),
            proof: EndpointProof::Host,
        }),
        BundleSource::Spiffe {
            url,
            endpoint,
            first,
        } => {
            let bundle = match first {
                // The newest is the only one: an older key may be known to others by now.
                Some(first) => match &kept.held {
                    Some((bundle, _)) => Arc::clone(bundle),
                    None => Arc::new(read(&kept.federation, first)?.bundle),
                },
                None => all
                    .values()
                    .find(|it| it.federation.trust_domain == *endpoint.trust_domain())
                    .and_then(|it| it.believed(now))
                    .ok_or_else(|| {
                        format!(
                            "the bundle of {}, which proves the endpoint, is not there",
                            endpoint.trust_domain()
                        )
                    })?,
            };
            Ok(BundleAsk {
                url: url.clone(),
                proof: EndpointProof::SpiffeId {
                    endpoint: endpoint.clone(),
                    bundle,
                },
            })
        }
    }
}

fn put_in_force(all: &BTreeMap<FederationName, Kept>, control: &Control, now: Timestamp) {
    let believed = all
        .values()
        .filter_map(|it| Some((Arc::clone(&it.federation), it.believed(now)?)));
    let own = control.keys_in_force().trust_domain().clone();
    let fresh = match FederatedBundles::new(&own, believed) {
        Ok(fresh) => fresh,
        Err(error) => {
            tracing::error!(error = chain(&error), "no foreign trust domain is believed");
            FederatedBundles::default()
        }
    };
    control.federation.in_force.send_if_modified(|old| {
        let changed = !old.is_same(&fresh);
        if changed {
            *old = Arc::new(fresh);
        }
        changed
    });
}

impl Kept {
    fn new(federation: &Federation, read_back: Option<String>, now: Timestamp) -> Self {
        let federation = Arc::new(federation.clone());
        let held = match &federation.source {
            BundleSource::Given(text) => {
                let found = read(&federation, text).ok();
                found.map(|it| (Arc::new(it.bundle), now))
            }
            BundleSource::Web { .. } | BundleSource::Spiffe { .. } => {
                read_back.and_then(|text| restore(&federation, &text))
            }
        };
        let is_given = matches!(federation.source, BundleSource::Given(_));
        Self {
            federation,
            held,
            next_at: (!is_given).then_some(now),
        }
    }

    /// Returns the bundle, as long as it is believed.
    fn believed(&self, now: Timestamp) -> Option<Arc<TrustBundle>> {
        let (bundle, at) = self.held.as_ref()?;
        let believed = self.next_at.is_none() || now.since(*at) < BUNDLE_STALE_MAX;
        believed.then(|| Arc::clone(bundle))
    }

    /// Takes an answer, which must not be older than what is held.
    fn take(&mut self, bytes: &[u8], control: &Control, now: Timestamp) -> Result<(), Trouble> {
        let text = std::str::from_utf8(bytes).map_err(|error| chain(&error))?;
        let ReadBundle { bundle, left_out } = read(&self.federation, text)?;
        let name = &self.federation.name;
        for (place, why) in left_out {
            tracing::warn!(trust = %name, place, why, "a key of a bundle is left out");
        }
        let held = self.held.as_ref().map(|(held, _)| Arc::clone(held));
        let succession = held.as_ref().map(|it| it.succession(&bundle)).transpose();
        let succession = succession.map_err(|error| chain(&error))?;
        let hint = bundle.refresh_hint().unwrap_or(BUNDLE_REFRESH_DEFAULT);
        let pause = hint.clamp(BUNDLE_REFRESH_MIN, BUNDLE_REFRESH_MAX);
        // Kept before it is believed: what was believed once is the least that counts after a restart.
        (control.federation.keep)(name, &kept_text(&self.federation, text, now))?;
        let bundle = match (held, succession) {
            // The same one stays, so that nobody looks again at whom it proves.
            (Some(held), Some(Succession::Same)) => held,
            _ => Arc::new(bundle),
        };
        self.held = Some((bundle, now));
        self.next_at = Some(now.plus(pause));
        Ok(())
    }
}

fn read(federation: &Federation, text: &str) -> Result<ReadBundle, Trouble> {
    TrustBundle::from_document(federation.trust_domain.clone(), text.as_bytes())
        .map_err(|error| chain(&error))
}

/// Writes what is kept: from where, when it was said last, and the document.
fn kept_text(federation: &Federation, document: &str, at: Timestamp) -> String {
    Value::object([
        ("source", source_digest(federation).to_string().into()),
        ("said_at", at.as_millis().into()),
        ("document", document.into()),
    ])
    .to_canonical()
}

/// Reads what was kept; nothing, when it is of another source or not whole.
fn restore(federation: &Federation, text: &str) -> Option<(Arc<TrustBundle>, Timestamp)> {
    let value = json::parse_bounded(text.as_bytes(), KEPT_BYTES_MAX).ok()?;
    let source = value.get("source").and_then(Value::as_str)?;
    if source != source_digest(federation).to_string() {
        return None;
    }
    let Some(Value::Integer(said_at)) = value.get("said_at") else {
        return None;
    };
    let document = value.get("document").and_then(Value::as_str)?;
    let bundle = read(federation, document).ok()?.bundle;
    let at = Timestamp::from_millis(u64::try_from(*said_at).ok()?);
    Some((Arc::new(bundle), at))
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

/// The longest text that is kept, in bytes: a document with every character escaped, and a little.
pub const KEPT_BYTES_MAX: usize = 2 * BUNDLE_BYTES_MAX;

impl fmt::Debug for FederationParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FederationParts")
    }
}

impl fmt::Debug for Federations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Federations")
    }
}

#[cfg(test)]
mod tests;

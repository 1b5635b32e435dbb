//! The bundles of foreign trust domains: fetched, kept, and believed for a while (SPIFFE Federation).
//!
//! A bundle only ever gets newer: a smaller sequence is refused, also after a restart, since what was fetched is kept.
//! An endpoint that fails leaves the last good bundle in force, and that for a day at most.

mod kept;

use std::{collections::BTreeMap, fmt, sync::Arc};

use ambit_core::{
    FederationName, Millis, SpiffeId, Timestamp,
    estate::{BundleSource, Estate},
};
use ambit_identity::{BelievedBundle, FederatedBundles, TrustBundle};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{Mutex, watch};

pub use self::kept::KEPT_BYTES_MAX;
use self::kept::{Kept, read};
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

/// Asks an endpoint: at most [`ambit_identity::BUNDLE_BYTES_MAX`] bytes, without following where it is sent.
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
    for kept in all.values_mut() {
        kept.lapse(control, now).await;
    }
    // At once: an endpoint that takes its time holds up nobody else's.
    put_in_force(&all, control, now);
    let asks = all
        .values()
        .filter(|it| it.next_at.is_some_and(|at| at <= now))
        .map(|it| (it.federation.name.clone(), ask(it, &all, now)));
    let mut fetching: FuturesUnordered<_> = asks
        .map(|(name, ask)| async {
            let answer = match ask {
                Ok(ask) => (control.federation.fetch)(ask).await,
                Err(trouble) => Err(trouble),
            };
            (name, answer)
        })
        .collect();
    while let Some((name, answer)) = fetching.next().await {
        let Some(kept) = all.get_mut(&name) else {
            continue;
        };
        let now = (control.clock)().now;
        kept.hear(answer, control, now).await;
        put_in_force(&all, control, now);
    }
}

/// Takes what the estate has, and no more of what it has no more.
fn follow(
    all: &mut BTreeMap<FederationName, Kept>,
    estate: &Estate,
    control: &Control,
    now: Timestamp,
) {
    // A bundle from elsewhere is another one: nothing is concluded from the old, but that its keys may have left.
    let is_other = |name: &FederationName, it: &mut Kept| {
        estate.federations.get(name) != Some(&*it.federation)
    };
    let gone = all.extract_if(.., is_other);
    let had: BTreeMap<_, _> = gone
        .map(|(_, it)| (it.federation.trust_domain.clone(), it))
        .collect();
    for (name, federation) in &estate.federations {
        if !all.contains_key(name) {
            let read = (control.federation.read)(name);
            let kept = match had.get(&federation.trust_domain) {
                None => Kept::new(federation, (read, None), now),
                Some(old) => Kept::new(federation, (read, Some(now)), now).following(old),
            };
            all.insert(name.clone(), kept);
        }
    }
}

/// Returns what to ask for a newer bundle.
fn ask(
    kept: &Kept,
    all: &BTreeMap<FederationName, Kept>,
    now: Timestamp,
) -> Result<BundleAsk, String> {
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
                    Some(held) => Arc::clone(&held.bundle),
                    None => {
                        let read = read(&kept.federation, first).map_err(|it| chain(&it))?;
                        Arc::new(read.bundle)
                    }
                },
                None => all
                    .values()
                    .find(|it| it.federation.trust_domain == *endpoint.trust_domain())
                    .and_then(|it| Some(Arc::clone(&it.believed(now)?.bundle)))
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
    let believed = all.values().filter_map(|it| {
        let held = it.believed(now)?;
        Some(BelievedBundle {
            federation: Arc::clone(&it.federation),
            bundle: Arc::clone(&held.bundle),
            keys_left_at: held.keys_left_at,
        })
    });
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

//! Foreign trust domains: their bundles are fetched when they are due and kept beside the keys.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use ambit_control::{
    api::Doors,
    federation::{FederationParts, KEPT_BYTES_MAX, refresh_bundles},
};
use ambit_core::Digest;
use tokio::{sync::watch, time::MissedTickBehavior};

use super::fetch::Fetcher;
use crate::{clock::Clock, config::StateDirectory};

/// How often it is asked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns what fetches with `fetcher` and keeps in `state`.
pub(crate) fn parts(state: &StateDirectory, fetcher: &Fetcher, clock: &Clock) -> FederationParts {
    let (reads, keeps) = (state.clone(), state.clone());
    FederationParts {
        fetch: fetcher.bundles(clock),
        read: Arc::new(move |name| {
            let path = reads.federated().join(format!("{name}.json"));
            let fits = std::fs::metadata(&path).ok()?.len() <= KEPT_BYTES_MAX as u64;
            let text = fits.then(|| std::fs::read_to_string(&path));
            text?.ok()
        }),
        keep: Arc::new(move |name, text| {
            let path = keeps.federated().join(format!("{name}.json"));
            replace(&keeps.federated(), &path, text).map_err(|error| error.to_string())
        }),
        in_force: Arc::new(watch::Sender::default()),
    }
}

/// Leaves the old text whole or the new one whole, durably.
fn replace(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(text.as_bytes())?;
    fresh.as_file().sync_all()?;
    fresh.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Keeps the bundles of foreign trust domains fresh, until dropped. What the estate says of them is followed at once.
pub(crate) async fn federate(doors: Doors, mut estate: watch::Receiver<Option<Digest>>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            Ok(()) = estate.changed() => {}
        }
        refresh_bundles(&doors).await;
    }
}

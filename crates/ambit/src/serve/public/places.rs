//! Places for strangers: so many in all, and of these so many for one origin.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambit_control::origin::{Origin, Share};

/// How many strangers of one origin are connected at once; further ones are let go.
pub(super) const STRANGERS_PER_ORIGIN_MAX: usize = 128;

/// How many places each origin has taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Origin, usize>>>);

/// A place that an origin has taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    origin: Origin,
}

/// The share of an origin is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{STRANGERS_PER_ORIGIN_MAX} connections come from there already")]
pub(super) struct ShareTaken;

impl Places {
    /// Takes a place for `origin`.
    pub(super) fn take(&self, origin: Origin) -> Result<Place, ShareTaken> {
        let mut taken = self.locked();
        let count = taken.entry(origin).or_insert(0);
        match origin.share(*count, STRANGERS_PER_ORIGIN_MAX) {
            Share::Taken => Err(ShareTaken),
            Share::Free => {
                *count += 1;
                let places = self.clone();
                Ok(Place { places, origin })
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Origin, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.locked();
        if let Some(count) = taken.get_mut(&self.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_its_share_and_others_have_theirs() {
        let places = Places::default();
        let origin = |address: &str| Origin::of(format!("{address}:1").parse().unwrap());
        let (one, other) = (origin("192.0.2.1"), origin("192.0.2.2"));
        let mut taken: Vec<Place> = (0..STRANGERS_PER_ORIGIN_MAX)
            .map(|_| places.take(one).unwrap())
            .collect();
        assert_eq!(places.take(one).unwrap_err(), ShareTaken);
        assert!(places.take(other).is_ok());
        assert!(places.take(origin("127.0.0.1")).is_ok());
        taken.pop();
        taken.push(places.take(one).unwrap());
        drop(taken);
        assert!(places.locked().is_empty(), "nothing is kept of who left");
    }
}

//! The places of requests: who has a share of them, and who gives one up for a while.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, Weak},
};

use ambit_core::origin::Origin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Asker;
use crate::locked::locked;

/// How many requests of one door are carried at once. One more waits for its turn, and begins nothing when it leaves
/// before.
pub(crate) const CARRIED_MAX: usize = 1024;
/// How many of them strangers have: the others are for local users, instances and logins alone.
pub(crate) const CARRIED_FOR_STRANGERS_MAX: usize = CARRIED_MAX - CARRIED_MAX / 4;
/// How many of these are for requests from this machine, such as those of a proxy, and for those of unknown origin.
pub(crate) const CARRIED_UNSHARED_MAX: usize = CARRIED_FOR_STRANGERS_MAX / 2;
/// How many of them one asker has: an instance, a local user, a login, an IPv4 address elsewhere or an IPv6 network of 48
/// bits. One more waits for the asker's own.
pub(crate) const CARRIED_PER_ASKER_MAX: usize = 128;
/// Beyond so many, shares of those who have nothing here are forgotten.
pub(super) const SHARES_KEPT_MAX: usize = 2 * CARRIED_MAX;

/// All places of one door.
pub(super) struct Places {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// Of those strangers who have no share.
    unshared: Arc<Semaphore>,
    /// The shares of those who have a request here.
    shares: Mutex<HashMap<Asker, Weak<Semaphore>>>,
}

/// The place of one request.
pub(super) struct Placement {
    /// What it takes, in the order in which everybody takes it: so nobody waits for somebody who waits.
    wanted: Vec<Arc<Semaphore>>,
    held: Mutex<Vec<OwnedSemaphorePermit>>,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// It has its place.
    Placed,
    /// It waits without one.
    Aside,
}

tokio::task_local! {
    /// The place of the request that is being carried.
    pub(super) static PLACE: Arc<Placement>;
}

/// Waits for others without a place, and goes on when there is one again. Whatever waits so has begun nothing yet: it ends
/// when its asker leaves.
pub(crate) async fn aside<T>(waiting: impl Future<Output = T>) -> T {
    let Ok(place) = PLACE.try_with(Arc::clone) else {
        return waiting.await;
    };
    place.give_up();
    let done = waiting.await;
    place.take().await;
    done
}

impl Places {
    /// Returns what an asker's request takes.
    pub(super) fn place(&self, asker: Asker) -> Placement {
        let strangers = || Arc::clone(&self.strangers);
        let all = Arc::clone(&self.all);
        let wanted = match asker {
            Asker::Instance(_) | Asker::User(_) | Asker::Login(_) => vec![self.share(asker), all],
            // All who come through a proxy here are one origin.
            Asker::Anybody | Asker::From(Origin::Here) => {
                vec![Arc::clone(&self.unshared), strangers(), all]
            }
            Asker::From(origin @ (Origin::Address(_) | Origin::Network(_))) => {
                let own = self.share(Asker::From(origin.crowd()));
                vec![own, strangers(), all]
            }
        };
        Placement {
            wanted,
            held: Mutex::default(),
        }
    }

    /// Returns the share of an asker. It is forgotten when nothing of the asker's is here.
    fn share(&self, asker: Asker) -> Arc<Semaphore> {
        let mut shares = locked(&self.shares);
        if let Some(share) = shares.get(&asker).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= SHARES_KEPT_MAX {
            shares.retain(|_, it| it.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(CARRIED_PER_ASKER_MAX));
        shares.insert(asker, Arc::downgrade(&share));
        share
    }
}

impl Placement {
    /// Waits for it, where it is not held already.
    pub(super) async fn take(&self) {
        if self.standing() == Standing::Placed {
            return;
        }
        let mut taken = Vec::with_capacity(self.wanted.len());
        for wanted in &self.wanted {
            // They are never closed.
            taken.extend(Arc::clone(wanted).acquire_owned().await);
        }
        *locked(&self.held) = taken;
    }

    fn give_up(&self) {
        locked(&self.held).clear();
    }

    pub(super) fn standing(&self) -> Standing {
        match locked(&self.held).is_empty() {
            true => Standing::Aside,
            false => Standing::Placed,
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        let many = |count| Arc::new(Semaphore::new(count));
        Self {
            all: many(CARRIED_MAX),
            strangers: many(CARRIED_FOR_STRANGERS_MAX),
            unshared: many(CARRIED_UNSHARED_MAX),
            shares: Mutex::default(),
        }
    }
}

#[cfg(test)]
impl Places {
    /// Returns how many places are free.
    pub(super) fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// Returns how many shares are remembered.
    pub(super) fn shares_kept(&self) -> usize {
        locked(&self.shares).len()
    }
}

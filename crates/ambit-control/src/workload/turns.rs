//! Who may be looked at now: each local user has turns of its own, so that a flood of one takes nothing from others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::locked::locked;

/// How many processes of one local user are looked at at the same time; further ones wait for their turn.
pub const LOOKS_PER_USER_MAX: usize = 16;
/// How many calls of one local user are looked at or wait for it; further ones are refused. Streams that are open and look
/// again are not refused: they are counted as streams.
pub const CALLS_LOOKED_AT_PER_USER_MAX: usize = 4096;

/// The turns of all users. A user is in it for as long as a call is.
#[derive(Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<u32, Arc<OfUser>>>>);

struct OfUser {
    looks: Arc<Semaphore>,
    calls: AtomicUsize,
}

/// Which kind of call asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asks {
    /// One that begins.
    Anew,
    /// A stream that is open.
    Again,
}

/// A turn, until dropped.
pub(super) struct Turn {
    uid: u32,
    all: Arc<Mutex<HashMap<u32, Arc<OfUser>>>>,
    look: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits for the user's turn.
    ///
    /// # Errors
    /// `Unavailable` when [`CALLS_LOOKED_AT_PER_USER_MAX`] of the user's calls came before.
    pub(super) async fn take(&self, uid: u32, asks: Asks) -> Result<Turn, Status> {
        let of_user = {
            let mut all = locked(&self.0);
            let of_user = all.entry(uid).or_insert_with(|| {
                Arc::new(OfUser {
                    looks: Arc::new(Semaphore::new(LOOKS_PER_USER_MAX)),
                    calls: AtomicUsize::new(0),
                })
            });
            let calls = of_user.calls.load(Ordering::Relaxed);
            if asks == Asks::Anew && calls >= CALLS_LOOKED_AT_PER_USER_MAX {
                return Err(Status::unavailable(
                    "too many calls of this user wait to be looked at; wait before asking again",
                ));
            }
            of_user.calls.fetch_add(1, Ordering::Relaxed);
            Arc::clone(of_user)
        };
        // From here on the call is counted until this is dropped, also when nobody waits for the answer any more.
        let mut turn = Turn {
            uid,
            all: Arc::clone(&self.0),
            look: None,
        };
        turn.look = Arc::clone(&of_user.looks).acquire_owned().await.ok();
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before its user may be forgotten.
        self.look = None;
        let mut all = locked(&self.all);
        if let Some(of_user) = all.get(&self.uid)
            && of_user.calls.fetch_sub(1, Ordering::Relaxed) <= 1
        {
            all.remove(&self.uid);
        }
    }
}

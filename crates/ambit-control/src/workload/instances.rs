//! Which process is which instance: bound when it attests, for as long as its task and it live.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU64, atomic::Ordering},
};

use ambit_core::{AgentName, Millis, SvidKind, TaskId, Timestamp, task::Task};
use ambit_engine::{Claim, EngineError};
use ambit_identity::{
    AttestedWorkload, Claimant, Issuance, IssuingKeys, Svid, SvidKey, identify_instance,
    identify_workload,
};
use futures_util::FutureExt;
use tonic::Status;

use super::{
    Peer,
    turns::{Asks, Turns},
};
use crate::{
    api::{Control, Doors},
    carried::{Asker, Carrying},
    locked::locked,
};

/// The most refusals that one local user hears in a second; then nothing is looked at for that user until the next.
pub const REFUSALS_PER_USER_MAX: u32 = 20;
/// The most local users whose refusals are counted at once; beyond, all are counted as one.
const USERS_COUNTED_MAX: usize = 1024;
/// How long an SVID from the Workload API lives. It is renewed at half its life.
pub const SVID_TTL: Millis = Millis::from_seconds(3600);

/// The processes that are instances, and the refusals that others heard.
#[derive(Default)]
pub(crate) struct Workloads {
    inner: Mutex<Inner>,
    turns: Turns,
    carrying: Carrying,
}

#[derive(Default)]
struct Inner {
    bound: HashMap<TaskId, Arc<Bound>>,
    refused: HashMap<u32, (u64, u32)>,
}

/// One process as one instance.
pub(super) struct Bound {
    pub(super) task: Arc<Task>,
    held: tokio::sync::Mutex<Option<Arc<Held>>>,
}

/// The instance's key and SVID, shared by all its streams.
pub(super) struct Held {
    pub(super) key: SvidKey,
    pub(super) svid: Svid,
    renew_at: Timestamp,
    /// The sequence of the bundle under which it was last found valid.
    valid_under: AtomicU64,
}

/// Whether somebody follows the process of an instance already.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Novelty {
    New,
    Known,
}

impl Workloads {
    /// Returns what is held for the instance of `task`.
    fn bound(&self, task: &Arc<Task>) -> (Arc<Bound>, Novelty) {
        let mut inner = self.inner();
        if let Some(bound) = inner.bound.get(&task.id) {
            return (bound.clone(), Novelty::Known);
        }
        let bound = Arc::new(Bound {
            task: task.clone(),
            held: tokio::sync::Mutex::default(),
        });
        inner.bound.insert(task.id, bound.clone());
        (bound, Novelty::New)
    }

    fn forget(&self, task: TaskId) {
        self.inner().bound.remove(&task);
    }

    /// Counts a refusal of a local user.
    fn refused(&self, uid: u32, now: Timestamp) {
        let second = now.as_millis() / 1000;
        let mut inner = self.inner();
        if inner.refused.len() >= USERS_COUNTED_MAX {
            inner.refused.retain(|_, (at, _)| *at >= second);
        }
        let uid = if inner.refused.len() >= USERS_COUNTED_MAX {
            u32::MAX
        } else {
            uid
        };
        let entry = inner.refused.entry(uid).or_insert((second, 0));
        // A look that took long counts in the second that it ended in, and begins none anew.
        if entry.0 < second {
            *entry = (second, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }

    /// Refuses a local user who was refused too often in this second, before anything is looked at.
    fn quota(&self, uid: u32, now: Timestamp) -> Result<(), Status> {
        let second = now.as_millis() / 1000;
        let inner = self.inner();
        let many = |uid: u32| {
            let counted = inner.refused.get(&uid);
            counted.is_some_and(|(at, count)| *at == second && *count >= REFUSALS_PER_USER_MAX)
        };
        let crowded = inner.refused.len() >= USERS_COUNTED_MAX && many(u32::MAX);
        if many(uid) || crowded {
            return Err(Status::unavailable(
                "this user was refused too often in this second; wait before asking again",
            ));
        }
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        locked(&self.inner)
    }
}

/// Says whose run the process is, by what is seen of it now.
pub(super) async fn attest(
    doors: &Doors,
    peer: &Peer,
    asks: Asks,
) -> Result<AttestedWorkload, Status> {
    let control = doors.control();
    let now = (control.clock)().now;
    let uid = peer.credentials.uid;
    doors.workloads().quota(uid, now)?;
    let turn = doors.workloads().turns.take(uid, asks).await?;
    let book = control.handle.book().map_err(|error| not_ready(&error))?;
    let agents = Arc::new(book.estate().agents.clone());
    let seen = (peer.look)(agents.clone()).await;
    drop(turn);
    let refuse = |told: String| {
        doors.workloads().refused(uid, now);
        Err(Status::permission_denied(told))
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            tracing::warn!(
                uid,
                pid = peer.process.pid,
                why,
                "a process could not be attested"
            );
            return refuse(
                "this process could not be looked at; it must live while it asks".to_owned(),
            );
        }
    };
    // Who asks hears only what it knows of itself; the registrations are for those who operate Ambit.
    let told = format!(
        "no agent is registered for this process ({seen}); ask who runs Ambit, whose log names the nearest registration"
    );
    match identify_workload(seen, &agents) {
        Ok(attested) => Ok(attested),
        Err(error) => {
            tracing::warn!(%error, "a process was refused at the Workload API");
            refuse(told)
        }
    }
}

/// Returns the instance that the process is, with an SVID that is valid now.
pub(super) async fn instance(
    doors: &Doors,
    peer: &Peer,
    asks: Asks,
) -> Result<(Arc<Bound>, Arc<Held>), Status> {
    let attested = attest(doors, peer, asks).await?;
    // The process may end at any moment, and its call with it: a claim goes on until somebody follows the process.
    let (carrying, theirs) = (
        doors.workloads().carrying.clone(),
        (doors.clone(), peer.clone()),
    );
    let asker = Asker::User(peer.credentials.uid);
    let work = async move { claim(&theirs.0, &theirs.1, &attested).await };
    let claimed = carrying.to_its_end(asker, work);
    let broke_off = |_| Status::unavailable("the call broke off; try again");
    let bound = claimed.await.map_err(broke_off)??;
    match bound.current(doors.control()).await {
        Ok(held) => Ok((bound, held)),
        Err(Trouble::Ended) => Err(super::streams::over()),
        Err(Trouble::Failed(status)) => Err(status),
    }
}

/// Claims the task of the process, and follows the process from then on.
async fn claim(
    doors: &Doors,
    peer: &Peer,
    attested: &AttestedWorkload,
) -> Result<Arc<Bound>, Status> {
    let control = doors.control();
    let claimant = Claimant::process(attested, &peer.process.to_bytes());
    let claim = control.handle.claim(claimant).await;
    let task = match claim.map_err(|error| not_ready(&error))? {
        Claim::New(task) | Claim::Known(task) => task,
        // The same process can become another program; that one is not this instance.
        Claim::OtherAgent => {
            return Err(Status::permission_denied(
                "this process is an instance of another agent than the one that it is registered as now",
            ));
        }
        Claim::NothingWaits => {
            let now = (control.clock)().now;
            doors.workloads().refused(peer.credentials.uid, now);
            return Err(no_task(attested.agent()));
        }
    };
    let (bound, novelty) = doors.workloads().bound(&task);
    if novelty == Novelty::New {
        tracing::info!(task = %task.id, seen = %attested.seen(), "a process is the instance of a task");
        follow(doors, peer, &bound);
    }
    Ok(bound)
}

/// Ends the instance with its process, and lets go of the process with its task.
fn follow(doors: &Doors, peer: &Peer, bound: &Arc<Bound>) {
    let (doors, ended, task) = (doors.clone(), peer.ended.clone(), bound.task.id);
    tokio::spawn(async move {
        let control = doors.control();
        tokio::select! {
            () = control.handle.task_ended(task) => (),
            () = ended() => control.end_unserved(task).await,
        }
        doors.workloads().forget(task);
    });
}

/// Why there is no SVID.
enum Trouble {
    /// The task has ended.
    Ended,
    /// Something else.
    Failed(Status),
}

impl Bound {
    /// Returns the instance's key and SVID; makes another when half its life is over or its issuer is gone.
    async fn current(&self, control: &Control) -> Result<Arc<Held>, Trouble> {
        let keys = control.keys_in_force();
        let mut held = self.held.lock().await;
        let now = (control.clock)().now;
        // What was held before the end is given to nobody after it.
        let ended = control.handle.task_ended(self.task.id).now_or_never();
        if ended.is_some() || self.task.expires_at <= now {
            return Err(Trouble::Ended);
        }
        if let Some(held) = held.as_ref()
            && held.is_fresh(&keys, now)
        {
            return Ok(held.clone());
        }
        let fresh = Arc::new(self.issue(control, &keys).await?);
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// Signs an SVID and writes it down before anybody gets it.
    async fn issue(&self, control: &Control, keys: &IssuingKeys) -> Result<Held, Trouble> {
        let key = fresh_key(control).map_err(Trouble::Failed)?;
        let moment = (control.clock)();
        let now = moment.now;
        let expires_at = self
            .task
            .expires_at
            .min(now.plus(SVID_TTL))
            .min(keys.expires_at());
        if self.task.expires_at <= now.plus(Millis::from_seconds(2)) {
            return Err(Trouble::Ended);
        }
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(
                error = crate::check::chain(error),
                "an SVID could not be issued"
            );
            Trouble::Failed(Status::unavailable("no SVID can be issued now; try again"))
        };
        let proved = key.proved().map_err(|error| failed(&error))?;
        let ask = Issuance {
            key: &proved,
            spiffe_id: &self.task.spiffe_id,
            now,
            expires_at,
            chance: moment.chance.first_chunk().copied().unwrap_or_default(),
        };
        let svid = keys.issue(&ask).map_err(|error| failed(&error))?;
        let written = control
            .handle
            .certified(
                &self.task,
                (SvidKind::X509, svid.certificate()),
                svid.expires_at(),
            )
            .await;
        match written {
            Ok(()) => Ok(Held {
                renew_at: now.plus(Millis::new(expires_at.since(now).as_millis() / 2)),
                valid_under: AtomicU64::new(keys.bundle().sequence()),
                key,
                svid,
            }),
            Err(EngineError::NoTask) => Err(Trouble::Ended),
            Err(error) => Err(failed(&error)),
        }
    }
}

impl Held {
    /// Returns how long it is until another is due.
    pub(super) fn renew_in(&self, now: Timestamp) -> Millis {
        self.renew_at.since(now)
    }

    fn is_fresh(&self, keys: &IssuingKeys, now: Timestamp) -> bool {
        if now >= self.renew_at {
            return false;
        }
        let sequence = keys.bundle().sequence();
        if self.valid_under.load(Ordering::Relaxed) == sequence {
            return true;
        }
        let valid = identify_instance(self.svid.chain(), keys.bundle(), now).is_ok();
        if valid {
            self.valid_under.store(sequence, Ordering::Relaxed);
        }
        valid
    }
}

fn fresh_key(control: &Control) -> Result<SvidKey, Status> {
    let draw = || SvidKey::generate((control.clock)().chance);
    // One draw in 2^32 is no key; a second one is enough.
    draw()
        .or_else(|_| draw())
        .map_err(|_| Status::unavailable("no key could be made; try again"))
}

fn no_task(agent: &AgentName) -> Status {
    Status::permission_denied(format!(
        "this process is agent `{agent}`, and no task waits for it; start one with `ambit task start TEMPLATE --for \
         {agent} --attested`"
    ))
}

pub(super) fn not_ready(error: &EngineError) -> Status {
    tracing::warn!(
        error = crate::check::chain(error),
        "the Workload API can't answer"
    );
    Status::unavailable("Ambit can't decide anything now; try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ASI08: looks that take long give no user a new second.
    #[test]
    fn asi08_a_slow_look_gives_no_refusals_back() {
        let (uid, workloads) = (7, Workloads::default());
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        for _ in 1..REFUSALS_PER_USER_MAX {
            workloads.refused(uid, at(5));
        }
        assert!(workloads.quota(uid, at(5)).is_ok());
        // It was begun a second before.
        workloads.refused(uid, at(4));
        assert!(workloads.quota(uid, at(5)).is_err());
        assert!(workloads.quota(uid, at(6)).is_ok());
        assert!(workloads.quota(uid + 1, at(5)).is_ok());
    }

    /// As many users are told apart as there is room for; those beyond share one count.
    #[test]
    fn users_beyond_the_most_share_one_count() {
        let workloads = Workloads::default();
        let now = Timestamp::from_millis(5000);
        let last = u32::try_from(USERS_COUNTED_MAX).unwrap();
        for uid in 0..last {
            workloads.refused(uid, now);
        }
        for _ in 0..REFUSALS_PER_USER_MAX {
            assert!(workloads.quota(last, now).is_ok());
            workloads.refused(last, now);
        }
        assert!(workloads.quota(last, now).is_err());
        assert!(workloads.quota(0, now).is_err(), "nobody can be told apart");
        let later = Timestamp::from_millis(6000);
        workloads.refused(0, later);
        assert!(workloads.quota(last, later).is_ok());
    }
}

//! Tasks that wait for whoever proves to be a run of their agent: who gets which, once, on the record.

use std::sync::Arc;

use ambit_core::{
    AgentName, Digest, SpiffeId, TaskId, Timestamp,
    claim::{ClaimProof, ClaimStanding},
    limits::TASK_TTL_MAX,
    record::Body,
    task::{Task, TaskState},
};
use ambit_identity::{
    Claimant, ForeignSvid, Ground, InstanceCaller, PersonCaller, Proved, UnknownSvid,
};

use super::{
    Asked,
    tasks::{StartTask, Started, start},
};
use crate::{EngineError, Handle, Moment, Refusal, TaskEntry, desk::Desk, live::Live};

/// The most tasks of one agent that wait to be claimed.
pub const WAITING_PER_AGENT_MAX: usize = 64;

/// Who may claim a task that starts without an instance that is certified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waits {
    /// The first who proves to be a run of its agent.
    ForAgent,
    /// Only who shows the join token with this digest.
    ForJoinToken(Digest),
}

/// What a claimant got.
#[derive(Clone, Debug)]
pub enum Claim {
    /// A task that waited. It has waited longest, and is on record as this claimant's.
    New(Arc<Task>),
    /// The live task that it claimed before, also before a restart.
    Known(Arc<Task>),
    /// Nothing: it is the instance of a live task of another agent.
    OtherAgent,
    /// Nothing: no live task waits for it. A join token that was shown before is one of these, and so is whoever was
    /// identified by an estate that is not in force any more, and is nobody by the one that is.
    NothingWaits,
}

/// A workload of a foreign trust domain is no instance.
#[derive(Debug, thiserror::Error)]
pub enum NotInstance {
    /// It is a run of no one agent. Not for its own ears: it names registrations.
    #[error(transparent)]
    Unknown(#[from] UnknownSvid),
    /// It is the instance of a live task of another agent.
    #[error(
        "it is the instance of a live task of another agent than it is registered as now; end that task first"
    )]
    OtherAgent,
    /// No task waits for it.
    #[error(
        "no task waits for agent `{0}`; ask for `ambit task start TEMPLATE --for {0} --attested`"
    )]
    NothingWaits(AgentName),
    /// It showed no certificate, so that there is no key by which it is known.
    #[error("a JWT-SVID proves no key; connect with an X509-SVID")]
    NoCertificate,
    /// The engine could not answer.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

impl Handle {
    /// Returns the instance that a workload of a foreign trust domain is: of the task that it has claimed, or of the one
    /// that has waited longest for it, which it claims by this.
    ///
    /// # Errors
    /// [`NotInstance`] says what is missing.
    pub async fn foreign_instance(
        &self,
        svid: &ForeignSvid,
    ) -> Result<InstanceCaller, NotInstance> {
        let (agent, claimant) = svid.claimant(self.book()?.estate())?;
        let task = match self.claim(claimant).await? {
            Claim::New(task) | Claim::Known(task) => task,
            Claim::OtherAgent => return Err(NotInstance::OtherAgent),
            Claim::NothingWaits => return Err(NotInstance::NothingWaits(agent)),
        };
        let caller = svid.as_instance(&task.spiffe_id);
        caller.ok_or(NotInstance::NoCertificate)
    }

    /// Starts a task as [`Handle::start_task`] does, whose instance is whoever claims it first.
    ///
    /// # Errors
    /// As there, or [`WAITING_PER_AGENT_MAX`] tasks of the agent wait already.
    pub async fn start_waiting_task(
        &self,
        caller: &PersonCaller,
        ask: StartTask,
        waits: Waits,
        moment: Moment,
    ) -> Result<Started, Refusal> {
        let (custody, trust_domain) = (
            self.shared.custody.clone(),
            self.shared.trust_domain.clone(),
        );
        let join_token = match waits {
            Waits::ForAgent => None,
            Waits::ForJoinToken(digest) => Some(digest),
        };
        let start = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            refuse_crowd(desk, &ask.agent)?;
            let ask = (ask, TASK_TTL_MAX);
            let started = start(desk, asked, ask, custody.as_ref(), &trust_domain)?;
            let task = started.task.id;
            desk.write(Body::TaskWaits { task, join_token })?;
            Ok(started)
        };
        self.govern(caller, moment, start).await
    }

    /// Gives the claimant its task: the live one that it has, or the one that has waited longest for it. Returns when
    /// that is durable. The one way to a task for everybody who was not certified at its start.
    ///
    /// # Errors
    /// Nothing could be written.
    pub async fn claim(&self, claimant: Claimant) -> Result<Claim, EngineError> {
        self.shared.running()?;
        let now = (self.shared.clock)().now;
        {
            let live = self.shared.read()?;
            if live.grounds.bear(&claimant.footing()) == Ground::Gone {
                return Ok(Claim::NothingWaits);
            }
            if let Some(known) = known(&live, &claimant, now) {
                return Ok(known);
            }
            // Who is refused takes no turn from those who are not.
            if next(&live, &claimant, now).is_none() {
                return Ok(Claim::NothingWaits);
            }
        }
        self.turn(move |desk| {
            let taken = take(desk, &claimant);
            Box::new(move |committed| committed.and(taken))
        })
        .await?
    }

    /// Returns the name of the run that the claimant is: the instance of the live task that it has claimed. None when it
    /// has claimed none, or one of another agent than it is a run of now.
    pub fn serves(&self, claimant: &Claimant) -> Result<Option<SpiffeId>, EngineError> {
        let now = (self.shared.clock)().now;
        let live = self.shared.read()?;
        if live.grounds.bear(&claimant.footing()) == Ground::Gone {
            return Ok(None);
        }
        Ok(match known(&live, claimant, now) {
            Some(Claim::New(task) | Claim::Known(task)) => Some(task.spiffe_id.clone()),
            Some(Claim::OtherAgent | Claim::NothingWaits) | None => None,
        })
    }

    /// Returns how many live tasks of `agent` wait to be claimed.
    pub fn waiting(&self, agent: &AgentName) -> Result<usize, EngineError> {
        let now = (self.shared.clock)().now;
        Ok(waiting(&*self.shared.read()?, agent, now).count())
    }
}

fn refuse_crowd(desk: &Desk<'_>, agent: &AgentName) -> Result<(), Refusal> {
    if waiting(desk.live, agent, desk.at()).count() < WAITING_PER_AGENT_MAX {
        return Ok(());
    }
    Err(Refusal::Conflict(format!(
        "{WAITING_PER_AGENT_MAX} tasks of agent `{agent}` wait to be claimed already; start their workloads, or end some of \
         the tasks"
    )))
}

fn take(desk: &mut Desk<'_>, claimant: &Claimant) -> Result<Claim, EngineError> {
    let at = desk.at();
    // Another estate may have come into force since it was identified.
    if desk.live.grounds.bear(&claimant.footing()) == Ground::Gone {
        return Ok(Claim::NothingWaits);
    }
    // Another turn may have given it one meanwhile.
    if let Some(known) = known(desk.live, claimant, at) {
        return Ok(known);
    }
    let proof = match claimant.proved() {
        Proved::Agent(_, proof) => *proof,
        Proved::JoinToken(_) => ClaimProof::JoinToken,
    };
    let Some(task) = next(desk.live, claimant, at) else {
        return Ok(Claim::NothingWaits);
    };
    let Some(runtime) = desk.live.runtime.get(&task) else {
        return Ok(Claim::NothingWaits);
    };
    let whole = runtime.task.clone();
    desk.write(Body::TaskClaimed {
        task,
        proof,
        workload: claimant.workload(),
        footing: claimant.footing(),
    })?;
    Ok(Claim::New(whole))
}

/// Returns what the claimant has already. A join token is good for one claim, whoever shows it.
pub(super) fn known(live: &Live, claimant: &Claimant, now: Timestamp) -> Option<Claim> {
    let Proved::Agent(agent, _) = claimant.proved() else {
        return None;
    };
    let task = live.state.claims.get(&claimant.workload())?;
    let entry = live.state.task(*task).filter(|it| is_active(it, now))?;
    if entry.task.agent != *agent {
        return Some(Claim::OtherAgent);
    }
    let runtime = live.runtime.get(task)?;
    Some(Claim::Known(runtime.task.clone()))
}

/// Returns the task that the claimant would get.
fn next(live: &Live, claimant: &Claimant, now: Timestamp) -> Option<TaskId> {
    match claimant.proved() {
        Proved::Agent(agent, _) => open(live, agent, now),
        Proved::JoinToken(token) => joined(live, *token, now),
    }
}

/// Returns the task that has waited longest for any run of `agent`.
fn open(live: &Live, agent: &AgentName, now: Timestamp) -> Option<TaskId> {
    let mut open = waiting(live, agent, now);
    let for_all = |it: &&TaskEntry| it.claim == (ClaimStanding::Waiting { join_token: None });
    open.find(for_all).map(|it| it.task.id)
}

/// Returns the task that waits for the join token.
fn joined(live: &Live, token: Digest, now: Timestamp) -> Option<TaskId> {
    let wanted = ClaimStanding::Waiting {
        join_token: Some(token),
    };
    let waiting = live
        .state
        .waiting
        .values()
        .filter_map(|it| live.state.task(*it));
    let mut fitting = waiting.filter(|it| it.claim == wanted && is_active(it, now));
    fitting.next().map(|it| it.task.id)
}

/// Iterates over the tasks of `agent` that wait, in the order of their start.
fn waiting<'a>(
    live: &'a Live,
    agent: &'a AgentName,
    now: Timestamp,
) -> impl Iterator<Item = &'a TaskEntry> {
    let waiting = live
        .state
        .waiting
        .values()
        .filter_map(|it| live.state.task(*it));
    waiting.filter(move |it| it.task.agent == *agent && is_active(it, now))
}

fn is_active(entry: &TaskEntry, now: Timestamp) -> bool {
    entry.state.standing(entry.task.expires_at, now) == TaskState::Active
}

//! The fold of the log: what is so after the records so far.
//!
//! [`State::apply`] is the only function that changes it, live and in `log rebuild` alike. It touches rows; the
//! rows go into the store in the same transaction as the records.
//!
//! # Invariant
//! The rows after `n` records depend on those records alone (test: `a_rebuild_gives_the_same_rows`).

mod approval;
mod delegation;
mod digest;
mod fold;
mod issuing;
mod proof;
mod rows;
mod token;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ambit_core::{
    AgentName, ApprovalId, DecisionId, DelegationId, Digest, InstanceId, LoginId, PasskeyId,
    PersonId, ServerName, TaskId, Timestamp, TokenId, ToolName,
    act::Target,
    claim::{ClaimStanding, Footing},
    limits::TASKS_LIVE_MAX,
    record::{Actor, Sealed, Status},
    task::{Task, TaskState, Usage},
};
use ambit_policy::Standing;

pub use self::{
    approval::{Approval, ApprovalStanding},
    delegation::DelegationEntry,
    fold::FoldError,
    issuing::{RecordedKeys, recorded_keys},
    proof::{LoginEntry, PasskeyEntry},
    rows::{RowError, TABLES},
    token::{TokenEntry, TokenUse},
};
pub(crate) use self::{
    digest::SetDigest,
    proof::EnrolmentEntry,
    rows::ended::{ended_approval, ended_approvals, ended_task, ended_tasks},
};

/// What is so after the records so far. Ended tasks leave it; their rows stay in the store.
#[derive(Debug)]
pub struct State {
    pub(crate) origin: Option<String>,
    pub(crate) estate: Option<Digest>,
    pub(crate) issuing: Option<RecordedKeys>,
    pub(crate) tasks: BTreeMap<TaskId, TaskEntry>,
    pub(crate) instances: HashMap<InstanceId, TaskId>,
    /// The active tasks that wait to be claimed, by the leaf that started them: names of one millisecond have no order.
    /// Derived; not a row.
    pub(crate) waiting: BTreeMap<u64, TaskId>,
    /// Who has claimed which active task. Derived; not a row.
    pub(crate) claims: HashMap<Digest, TaskId>,
    pub(crate) approvals: BTreeMap<ApprovalId, Approval>,
    /// Which approvals of a task may still count, oldest first. Derived; not a row.
    pub(crate) approvals_of: HashMap<TaskId, Vec<ApprovalId>>,
    pub(crate) delegations: delegation::Delegations,
    /// Which delegations a task made. Derived; not a row.
    delegations_of: HashMap<TaskId, Vec<DelegationId>>,
    /// The children of a task. Derived; not a row.
    children: HashMap<TaskId, Vec<TaskId>>,
    /// The parts that a run took beside its own task. Derived; not a row.
    taken: HashMap<InstanceId, Vec<TaskId>>,
    pub(crate) tokens: BTreeMap<TokenId, TokenEntry>,
    /// Which tokens a live task has. Derived; not a row.
    tokens_of: HashMap<TaskId, BTreeSet<TokenId>>,
    pub(crate) open: BTreeMap<DecisionId, OpenAct>,
    pub(crate) revoked: BTreeSet<Target>,
    /// What was revoked once and is not now, with the leaf that lifted it: what began before stays without.
    pub(crate) reinstated: BTreeMap<Target, u64>,
    pub(crate) seen: BTreeMap<(ServerName, ToolName), Digest>,
    pub(crate) people: BTreeSet<PersonId>,
    pub(crate) logins: BTreeMap<LoginId, LoginEntry>,
    pub(crate) passkeys: BTreeMap<PasskeyId, PasskeyEntry>,
    pub(crate) enrolments: BTreeMap<PersonId, EnrolmentEntry>,
    pub(crate) epochs: NarrowingEpochs,
    /// Over the rows that may still change.
    pub(crate) digest: SetDigest,
    /// Over the rows of ended tasks.
    ended: SetDigest,
    touched: BTreeSet<rows::RowKey>,
    hashes: HashMap<rows::RowKey, Digest>,
}

/// A live task, or one that ended a moment ago and whose acts are still under way.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEntry {
    /// The leaf that started it.
    pub leaf: u64,
    /// The task, without its parameters: they are sealed beside the log.
    pub task: Task,
    /// The sealed parameters; of a child, its sealed part.
    pub parameters: Sealed,
    /// Where it stands.
    pub state: TaskState,
    /// What it has used.
    pub usage: Usage,
    /// Who may claim it, or did.
    pub claim: ClaimStanding,
    /// What its instance stands on: of a task that was claimed, and of a part that such an instance took.
    pub footing: Footing,
    /// Who started it, or took the part.
    pub started_by: Actor,
}

/// An act that was permitted and of whose end nothing is written yet, or whose end nobody knows.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAct {
    /// The leaf that permitted it.
    pub leaf: u64,
    /// The decision that permitted it.
    pub decision: DecisionId,
    /// Under which task.
    pub task: TaskId,
    /// What was asked.
    pub action: String,
    /// At which server.
    pub server: Option<ServerName>,
    /// With which tool.
    pub tool: Option<ToolName>,
    /// The sealed act.
    pub act: Option<Sealed>,
    /// When it was permitted.
    pub at: Timestamp,
    /// [`Status::Unknown`] once it is certain that nobody knows; `None` while it may be under way.
    pub status: Option<Status>,
}

/// Counts what took authority away, so that a decision can name what it read. Not kept: after a start no
/// decision is under way.
#[derive(Debug)]
pub(crate) struct NarrowingEpochs {
    pub(crate) estate: u64,
    pub(crate) tasks: HashMap<TaskId, u64>,
    pub(crate) agents: HashMap<AgentName, u64>,
    pub(crate) people: HashMap<PersonId, u64>,
    pub(crate) servers: HashMap<ServerName, u64>,
    /// Whose yes an act under way has spent, and at which leaf.
    pub(crate) approvers: HashMap<DecisionId, (PersonId, u64)>,
}

/// Whether one more task may be live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    ForOneMore,
    Full,
}

impl State {
    /// Returns the state before any record.
    pub fn empty() -> Self {
        Self {
            origin: None,
            estate: None,
            issuing: None,
            tasks: BTreeMap::new(),
            instances: HashMap::new(),
            waiting: BTreeMap::new(),
            claims: HashMap::new(),
            approvals: BTreeMap::new(),
            approvals_of: HashMap::new(),
            delegations: BTreeMap::new(),
            delegations_of: HashMap::new(),
            children: HashMap::new(),
            taken: HashMap::new(),
            tokens: BTreeMap::new(),
            tokens_of: HashMap::new(),
            open: BTreeMap::new(),
            revoked: BTreeSet::new(),
            reinstated: BTreeMap::new(),
            seen: BTreeMap::new(),
            people: BTreeSet::new(),
            logins: BTreeMap::new(),
            passkeys: BTreeMap::new(),
            enrolments: BTreeMap::new(),
            epochs: NarrowingEpochs {
                estate: 0,
                tasks: HashMap::new(),
                agents: HashMap::new(),
                people: HashMap::new(),
                servers: HashMap::new(),
                approvers: HashMap::new(),
            },
            digest: SetDigest::empty(),
            ended: SetDigest::empty(),
            touched: BTreeSet::new(),
            hashes: HashMap::new(),
        }
    }

    /// Returns the digest over all rows of all tables.
    pub fn digest(&self) -> Digest {
        self.digest.with(self.ended.to_digest()).to_digest()
    }

    /// Returns the version of the estate in force.
    pub fn estate(&self) -> Option<Digest> {
        self.estate
    }

    /// Returns the live task `id`.
    pub fn task(&self, id: TaskId) -> Option<&TaskEntry> {
        self.tasks.get(&id)
    }

    /// Iterates over the live tasks in the order of their start.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskEntry> {
        self.tasks.values()
    }

    /// Iterates over the approvals of live tasks in the order of their requests.
    pub fn approvals(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.values()
    }

    /// Iterates over the acts whose end is not written or not known.
    pub fn open_acts(&self) -> impl Iterator<Item = &OpenAct> {
        self.open.values()
    }

    /// Says whether one more task may be live.
    pub(crate) fn room(&self) -> Room {
        if self.tasks.len() < TASKS_LIVE_MAX {
            Room::ForOneMore
        } else {
            Room::Full
        }
    }

    /// Forgets a task that has ended, with its approvals. Their rows stay in the store. One that ended in this very
    /// batch stays until its rows were taken.
    pub(crate) fn forget(&mut self, task: TaskId) {
        if self.touched.contains(&rows::RowKey::Task(task)) {
            return;
        }
        let Some(entry) = self.tasks.remove(&task) else {
            return;
        };
        self.instances.remove(&entry.task.instance);
        self.epochs.tasks.remove(&task);
        self.approvals_of.remove(&task);
        self.approvals.retain(|_, it| it.task != task);
        self.forget_delegations(&entry);
    }

    /// Says whether authority was taken from `target` as a whole, for whatever begins now.
    pub fn standing(&self, target: &Target) -> Standing {
        if self.revoked.contains(target) {
            Standing::Revoked
        } else {
            Standing::Live
        }
    }

    /// Says whether authority was taken from `target` since `leaf`, where a task began. A ban that was lifted later
    /// stands for that task still: after a revocation there is no later permit under the authority that it hit.
    pub fn standing_since(&self, leaf: u64, target: &Target) -> Standing {
        match self.reinstated.get(target) {
            Some(reinstated) if leaf < *reinstated => Standing::Revoked,
            _ => self.standing(target),
        }
    }

    /// Returns whose yes an act under way has spent, and whether authority was taken from that person since.
    pub(crate) fn approver(&self, decision: DecisionId) -> Option<(PersonId, Standing)> {
        let (by, leaf) = self.epochs.approvers.get(&decision)?;
        Some((*by, self.standing_since(*leaf, &Target::Person(*by))))
    }
}

#[cfg(test)]
mod tests;

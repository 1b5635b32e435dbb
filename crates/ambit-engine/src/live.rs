//! What the engine holds in memory: the fold, the policies in force, and what live tasks need to act.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ambit_core::{
    ApprovalId, Digest, InstanceId, PersonId, Reason, TaskId, Timestamp,
    act::{Act, Governance, Target},
    claim::ClaimStanding,
    delegation::Part,
    json::Value,
    record::Actor,
    task::{Contained, Task, TaskState, Usage},
};
use ambit_identity::{Ground, Grounds};
use ambit_policy::{
    ApprovalState, Epochs, PolicyBook, Prospect, Standing, SubjectStanding, TaskScope, Touched,
};
use tokio::sync::watch;

use crate::{ApprovalStanding, EngineError, Metrics, State};

/// How many sealed bytes of its refused acts are kept for one task and its children, so that people can see what was asked. Of the rest
/// the log holds commitment and length. Counted since the start of Ambit.
pub const REFUSED_KEPT_BYTES_MAX: u64 = 1024 * 1024;
/// How many sealed bytes of its held acts are kept for one task and its children; beyond it nothing more is held, and what needs a person's
/// yes is refused. Counted since the start of Ambit.
pub const HELD_KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many instances of forgotten tasks are remembered.
pub(crate) const FORMER_INSTANCES_MAX: usize = 10_000;

/// Whether there is room for what was to be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keeping {
    Kept,
    Full,
}

/// The fold and everything that is derived from it and from the sealed things beside the log.
pub(crate) struct Live {
    pub(crate) state: State,
    pub(crate) book: Option<Arc<PolicyBook>>,
    /// What tokens can rest upon under the estate in force.
    pub(crate) grounds: Grounds,
    /// Every version of the estate that a live task was started under.
    pub(crate) books: HashMap<Digest, Arc<PolicyBook>>,
    pub(crate) runtime: HashMap<TaskId, Arc<TaskRuntime>>,
    pub(crate) aliases: HashMap<PersonId, String>,
    /// The people who started agents without containment, which ran since the start.
    pub(crate) loose: HashSet<PersonId>,
    /// The local users as whom processes claimed tasks that ran since the start.
    pub(crate) loose_users: HashSet<u32>,
    /// Says that another version of the estate came into force.
    pub(crate) in_force: watch::Sender<Option<Digest>>,
    /// Whose instances were those that the fold has forgotten, the newest last, so that what they still ask is told of
    /// their task.
    pub(crate) former: VecDeque<(InstanceId, TaskId)>,
    /// The tasks whose runners were there when Ambit ended and have not come back, and how long they are waited for.
    pub(crate) absent: HashMap<TaskId, Timestamp>,
    /// What is counted of what is written.
    pub(crate) metrics: Arc<Metrics>,
}

/// What a live task needs to act, beyond the fold.
pub(crate) struct TaskRuntime {
    /// The task with its parameters.
    pub(crate) task: Arc<Task>,
    pub(crate) wrapped_key: Arc<[u8]>,
    own: Arc<PolicyBook>,
    /// The task of which it has a part, and the part; none when a person started it.
    pub(crate) above: Option<(Arc<Self>, Arc<Part>)>,
    details: OnceLock<Arc<Value>>,
    /// The compiled bounds, for the version of the estate in force when they were compiled.
    scope: Mutex<Option<(Digest, Arc<TaskScope>)>>,
    /// Says to stdio servers, streams and tunnels that the task has ended.
    pub(crate) ended: watch::Sender<bool>,
    refused_bytes: AtomicU64,
    held_bytes: AtomicU64,
}

/// What one decision reads, taken in one moment.
pub(crate) struct Snapshot {
    pub(crate) state: TaskState,
    pub(crate) usage: Usage,
    pub(crate) live: ambit_policy::Live,
    pub(crate) approval: ApprovalState,
    pub(crate) epochs: Epochs,
    /// What is so of each task above, the parent first.
    pub(crate) above: Vec<SnapshotAbove>,
}

/// What one decision reads of a task above the one that asks.
pub(crate) struct SnapshotAbove {
    pub(crate) state: TaskState,
    pub(crate) usage: Usage,
    pub(crate) live: ambit_policy::Live,
}

impl TaskRuntime {
    pub(crate) fn new(task: Task, wrapped_key: Vec<u8>, own: Arc<PolicyBook>) -> Self {
        Self {
            task: Arc::new(task),
            wrapped_key: wrapped_key.into(),
            own,
            above: None,
            details: OnceLock::new(),
            scope: Mutex::new(None),
            ended: watch::Sender::new(false),
            refused_bytes: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
        }
    }

    /// Returns what a child needs to act: `task` has `part` of what `parent` may do.
    pub(crate) fn child(task: Task, wrapped_key: Vec<u8>, parent: Arc<Self>, part: Part) -> Self {
        let own = parent.own.clone();
        Self {
            above: Some((parent, Arc::new(part))),
            ..Self::new(task, wrapped_key, own)
        }
    }

    /// Iterates over the tasks above, the parent first.
    pub(crate) fn tasks_above(&self) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(self.above.as_ref().map(|(parent, _)| parent), move |it| {
            it.above.as_ref().map(|(parent, _)| parent)
        })
    }

    /// Takes room for the copy of a refused act.
    pub(crate) fn keep_refused(&self, bytes: usize) -> Keeping {
        keep(&self.root().refused_bytes, bytes, REFUSED_KEPT_BYTES_MAX)
    }

    /// Takes room for a held act.
    pub(crate) fn keep_held(&self, bytes: usize) -> Keeping {
        keep(&self.root().held_bytes, bytes, HELD_KEPT_BYTES_MAX)
    }

    /// Returns the task that a person started: what is kept is counted for it and all its children together.
    fn root(&self) -> &Self {
        self.tasks_above().last().map_or(self, Arc::as_ref)
    }

    /// Returns the task's authority as authorization details (RFC 9396), made once.
    pub(crate) fn details(&self) -> Result<Arc<Value>, EngineError> {
        if let Some(details) = self.details.get() {
            return Ok(details.clone());
        }
        let estate = self.own.estate();
        let details = match &self.above {
            Some((_, part)) => ambit_policy::part_details(part),
            None => {
                let template = estate.templates.get(&self.task.template);
                let template = template.ok_or(EngineError::EstateMissing(estate.digest))?;
                let parameters = &self.task.parameters;
                let details = ambit_policy::authorization_details(template, estate, parameters);
                let digest = Digest::of(details.to_canonical().as_bytes());
                if digest == self.task.authority {
                    details
                } else {
                    // It started before the second form.
                    ambit_policy::authorization_details_in_first_form(template, estate, parameters)
                }
            }
        };
        Ok(self.details.get_or_init(|| Arc::new(details)).clone())
    }

    /// Returns the bounds of a caller whose token carries `part` of the task; without one, the task's.
    pub(crate) fn scope_of(
        &self,
        current: &PolicyBook,
        part: Option<&Arc<Part>>,
    ) -> Result<Arc<TaskScope>, EngineError> {
        let scope = self.scope(current)?;
        Ok(match part {
            None => scope,
            Some(part) => Arc::new(scope.narrowed(part.clone())),
        })
    }

    /// Returns the task's bounds under `current`, compiled once per version of the estate.
    pub(crate) fn scope(&self, current: &PolicyBook) -> Result<Arc<TaskScope>, EngineError> {
        let version = current.estate().digest;
        let mut cached = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, scope)) = cached.as_ref()
            && *digest == version
        {
            return Ok(scope.clone());
        }
        let scope = match &self.above {
            None => TaskScope::new(&self.own, current, &self.task)?,
            Some((parent, part)) => {
                let above = parent.scope(current)?;
                TaskScope::child(&self.own, current, &self.task, (&above, part.clone()))?
            }
        };
        let scope = Arc::new(scope);
        *cached = Some((version, scope.clone()));
        Ok(scope)
    }
}

fn keep(kept: &AtomicU64, bytes: usize, bytes_max: u64) -> Keeping {
    let more = |kept: u64| {
        let sum = kept.saturating_add(bytes as u64);
        (sum <= bytes_max).then_some(sum)
    };
    match kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
        Ok(_) => Keeping::Kept,
        Err(_) => Keeping::Full,
    }
}

impl Live {
    /// Puts policies in force.
    pub(crate) fn put_in_force(&mut self, book: Arc<PolicyBook>) {
        let estate = book.estate();
        self.grounds = Grounds::of(estate);
        let digest = estate.digest;
        self.books.insert(digest, book.clone());
        self.book = Some(book);
        self.in_force.send_replace(Some(digest));
    }

    /// Returns the active tasks whose instances came by what `grounds` does not hold, as of `now`, parents before their
    /// children.
    pub(crate) fn unregistered(&self, grounds: &Grounds) -> Vec<TaskId> {
        let gone = |it: &&crate::TaskEntry| {
            it.state == TaskState::Active && grounds.bear(&it.footing) == Ground::Gone
        };
        let mut gone: Vec<_> = self.state.tasks().filter(gone).collect();
        gone.sort_by_key(|it| it.task.lineage.depth());
        gone.into_iter().map(|it| it.task.id).collect()
    }

    /// Remembers whose word an agent of this task could give: of the person who started it without containment.
    pub(crate) fn loosen(&mut self, entry: &crate::TaskEntry) {
        self.loose_users.extend(entry.footing.unix_uid);
        let here = match entry.claim {
            ClaimStanding::Closed | ClaimStanding::Attended => true,
            // Who claims it says where it runs.
            ClaimStanding::Waiting { .. } | ClaimStanding::Claimed { .. } => false,
        };
        if let Actor::Person(person) = entry.started_by
            && here
            && entry.task.contained == Contained::None
        {
            self.loose.insert(person);
        }
    }

    /// Returns the policies in force.
    pub(crate) fn book(&self) -> Result<Arc<PolicyBook>, EngineError> {
        self.book.clone().ok_or(EngineError::NoEstate)
    }

    /// Returns what a decision on `act` under `task` reads as of `now`; `None` when the task is gone.
    pub(crate) fn snapshot(
        &self,
        runtime: &TaskRuntime,
        act: &Act,
        commitment: Digest,
        now: Timestamp,
    ) -> Option<Snapshot> {
        let task = &runtime.task;
        let own = self.one(task, act, now)?;
        let above = runtime.tasks_above().map(|it| self.one(&it.task, act, now));
        Some(Snapshot {
            state: own.state,
            usage: own.usage,
            live: own.live,
            approval: self.approval(task.id, commitment, now),
            epochs: self.epochs(task, act.server()),
            above: above.collect::<Option<_>>()?,
        })
    }

    fn one(&self, task: &Task, act: &Act, now: Timestamp) -> Option<SnapshotAbove> {
        let entry = self.state.task(task.id)?;
        let server = act.server();
        let seen = server.zip(act.tool()).and_then(|(server, tool)| {
            self.state
                .seen
                .get(&(server.clone(), tool.clone()))
                .copied()
        });
        let standing = |target| self.state.standing_since(entry.leaf, &target);
        let live = ambit_policy::Live {
            instance: standing(Target::Instance(task.instance)),
            agent: standing(Target::Agent(task.agent.clone())),
            person: self.subject_standing(entry.leaf, task),
            server: server.map_or(ambit_policy::Standing::Live, |server| {
                standing(Target::Server(server.clone()))
            }),
            tool_seen: seen,
        };
        Some(SnapshotAbove {
            state: entry.state.standing(task.expires_at, now),
            usage: entry.usage.clone(),
            live,
        })
    }

    /// Says where the person stands on whose behalf `task`, which began at `leaf`, runs.
    pub(crate) fn subject_standing(&self, leaf: u64, task: &Task) -> SubjectStanding {
        let person = Target::Person(task.subject);
        let standing = self.state.standing_since(leaf, &person);
        let Some(book) = &self.book else {
            return SubjectStanding::Gone;
        };
        let alias = self.aliases.get(&task.subject).map(String::as_str);
        SubjectStanding::of(standing, book.estate(), (alias, &task.template))
    }

    /// Says whether `task` may still run on behalf of its person, or why not.
    pub(crate) fn subject(&self, task: TaskId) -> Result<(), Reason> {
        let entry = self.state.task(task).ok_or(Reason::TaskEnded)?;
        self.subject_standing(entry.leaf, &entry.task).reason()
    }

    /// Says whether the yes of `person` to an act under `task` counts: whether the policies in force would let them give it.
    pub(crate) fn approver_standing(&self, person: PersonId, task: TaskId) -> Standing {
        let asked = (self.book.as_ref(), self.aliases.get(&person));
        let (Some(book), Some(alias)) = asked else {
            return Standing::Revoked;
        };
        let Some(touched) = self.touched(task) else {
            return Standing::Revoked;
        };
        let act = Governance::DecideApproval {
            approval: ApprovalId::from_bits(0),
        };
        match book.prospect((person, alias), act, touched) {
            Prospect::Open => Standing::Live,
            Prospect::Stopped { .. } => Standing::Revoked,
        }
    }

    /// Returns what a person touches who does something to the task: whose it is, its template as of its start, what it is of.
    pub(crate) fn touched(&self, task: TaskId) -> Option<Touched<'_>> {
        let task = &self.state.task(task)?.task;
        let book = self.books.get(&task.estate);
        Some(Touched {
            subject: Some(task.subject),
            template: book.and_then(|it| it.estate().templates.get(&task.template)),
            of: Some((&task.agent, &task.template)),
        })
    }

    /// Returns the epochs that a decision under `task` at `server` depends upon.
    pub(crate) fn epochs(&self, task: &Task, server: Option<&ambit_core::ServerName>) -> Epochs {
        let epochs = &self.state.epochs;
        Epochs {
            estate: epochs.estate,
            task: epochs.tasks.get(&task.id).copied().unwrap_or(0),
            agent: epochs.agents.get(&task.agent).copied().unwrap_or(0),
            person: epochs.people.get(&task.subject).copied().unwrap_or(0),
            server: server
                .and_then(|it| epochs.servers.get(it))
                .copied()
                .unwrap_or(0),
        }
    }

    /// Returns where the approval of exactly this act stands.
    fn approval(&self, task: TaskId, commitment: Digest, now: Timestamp) -> ApprovalState {
        let of_task = self.state.approvals_of.get(&task).into_iter().flatten();
        let of_task = of_task.filter_map(|id| self.state.approvals.get(id));
        let (mut pending, mut void) = (0, ApprovalState::None);
        for approval in of_task.filter(|it| it.is_read(now)) {
            if approval.is_pending(now) {
                pending += 1;
            }
            if approval.act.commitment != commitment {
                continue;
            }
            let approval_id = approval.id;
            return match approval.standing {
                ApprovalStanding::Pending { until } => ApprovalState::Pending {
                    approval: approval_id,
                    expires_at: until,
                },
                ApprovalStanding::Approved { by, until }
                    if self.approver_standing(by, task) == Standing::Live =>
                {
                    ApprovalState::Approved {
                        approval: approval_id,
                        until,
                    }
                }
                ApprovalStanding::Refused { .. } => ApprovalState::Refused {
                    approval: approval_id,
                },
                ApprovalStanding::Approved { .. } | ApprovalStanding::Void { .. } => {
                    void = ApprovalState::Void {
                        approval: approval_id,
                    };
                    continue;
                }
                ApprovalStanding::Spent { .. } => continue,
            };
        }
        if pending >= ambit_core::limits::APPROVALS_PENDING_MAX {
            return ApprovalState::TooMany;
        }
        void
    }

    /// Returns the pseudonym of the person with this alias, when it was seen before.
    pub(crate) fn person(&self, alias: &str) -> Option<PersonId> {
        self.aliases
            .iter()
            .find(|(_, it)| *it == alias)
            .map(|(id, _)| *id)
    }

    /// Says whether an agent ran where it could speak for `person`: one that this person started without containment, or
    /// a process of this person's local user that claimed its task. Its task may be over; the process may not be. Only a new start of Ambit, which the agent can't cause where Ambit runs as a user of its
    /// own, forgets it.
    pub(crate) fn weak_binding(&self, person: PersonId) -> ambit_policy::WeakBinding {
        let alias = self.aliases.get(&person);
        let book = self.book.as_ref();
        let known = alias.and_then(|it| book?.estate().people.get(it));
        let user = known.and_then(|it| it.unix_uid);
        let is_shared = user.is_some_and(|it| self.loose_users.contains(&it));
        if is_shared || self.loose.contains(&person) {
            return ambit_policy::WeakBinding::UncontainedAgentOnSameUser;
        }
        ambit_policy::WeakBinding::No
    }

    /// Returns the task of `instance`, also when it is over.
    pub(crate) fn task_of(&self, instance: InstanceId) -> Option<TaskId> {
        let live = self.state.instances.get(&instance).copied();
        let former = || self.former.iter().rev().find(|it| it.0 == instance);
        live.or_else(|| former().map(|it| it.1))
    }

    /// Forgets tasks that have ended and whose certificates have, too. Their rows stay in the store.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let over = |entry: &&crate::TaskEntry| {
            entry.state != TaskState::Active && entry.task.expires_at <= now
        };
        let over: Vec<_> = self
            .state
            .tasks()
            .filter(over)
            .map(|it| it.task.id)
            .collect();
        for task in over {
            let instance = self.state.task(task).map(|it| it.task.instance);
            self.state.forget(task);
            self.runtime.remove(&task);
            self.former.extend(instance.map(|it| (it, task)));
        }
        forget_oldest(&mut self.former);
    }
}

/// Forgets the runs that ended first, when there are too many.
fn forget_oldest(former: &mut VecDeque<(InstanceId, TaskId)>) {
    let beyond = former.len().saturating_sub(FORMER_INSTANCES_MAX);
    drop(former.drain(..beyond));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_runs_that_ended_are_remembered() {
        let run = |it: u128| (InstanceId::from_bits(it), TaskId::from_bits(it));
        let most = FORMER_INSTANCES_MAX as u128;
        let mut former: VecDeque<_> = (0..most).map(run).collect();
        forget_oldest(&mut former);
        assert_eq!(former.len(), FORMER_INSTANCES_MAX);
        former.push_back(run(most));
        forget_oldest(&mut former);
        assert_eq!(former.len(), FORMER_INSTANCES_MAX);
        assert_eq!(former.front(), Some(&run(1)), "the oldest went");
    }
}

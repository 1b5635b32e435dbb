//! One step of a delegation at the desk: who takes it, and the decision on it.

use std::{collections::BTreeSet, sync::Arc};

use ambit_core::{
    AgentName, DecisionId, InstanceId, SpiffeId, TaskId, Timestamp,
    act::Target,
    claim::ClaimProof,
    delegation::{DelegationStep, Part},
    estate::PersonRole,
    limits::{CHILDREN_PER_TASK_MAX, DELEGATIONS_PER_TASK_MAX, SUBTREE_TASKS_MAX},
    record::Actor,
    task::{Contained, End, TaskState},
    token::KeyBinding,
};
use ambit_identity::{Claimant, Ground, InstanceCaller, Proved};
use ambit_policy::{
    Acting, CallerToken, DelegationAsk, DelegationDecision, DelegationPermit, DelegationRoom,
    DelegationStanding, Denial, Standing, SubjectToken, decide_delegation,
};

use super::{Delegate, Delegator, standing};
use crate::{
    Claim, DelegationEntry, Denied, Moment, Refusal, TaskEntry,
    desk::Desk,
    govern::{Asked, claim::known},
    live::TaskRuntime,
    moment::Chance,
    quota::Writing,
    sequencer::Shared,
    state::Room,
};

/// Who takes a step, proved.
pub(super) enum Evidence {
    Instance(Box<Run>),
    Claimant(Box<Newcomer>),
    Person(ambit_identity::PersonCaller),
}

/// A workload that proved to be a run of an agent. What it serves is looked at in the turn.
pub(super) struct Newcomer {
    claimant: Claimant,
    agent: AgentName,
    proof: ClaimProof,
    expires_at: Timestamp,
}

/// A run of an agent, proved.
pub(super) struct Run {
    spiffe_id: SpiffeId,
    agent: AgentName,
    instance: InstanceId,
    expires_at: Timestamp,
    binding: &'static str,
    /// How it came, when an access token may stand behind that.
    caller: Option<InstanceCaller>,
}

/// A step at the desk: who, when, and with which chance.
pub(super) struct Step {
    pub(super) chance: Chance,
    decision: DecisionId,
    by: By,
    shared: Arc<Shared>,
    asked_at: Timestamp,
}

enum By {
    Instance(Box<Run>),
    /// It serves no task.
    Workload(Box<Newcomer>),
    Person(Box<Asked>),
}

/// What a step is about.
pub(super) struct What {
    pub(super) to: AgentName,
    pub(super) to_instance: Option<SpiffeId>,
    pub(super) part: Option<Part>,
    pub(super) depth_left: u8,
    pub(super) expires_at: Timestamp,
    pub(super) standing: DelegationStanding,
    pub(super) subject_token: SubjectToken,
    /// The leaf that made the delegation, when it is made.
    pub(super) since: Option<u64>,
    pub(super) contained: Option<Contained>,
    /// What the child's token will be bound to, when one is asked for.
    pub(super) bound: Option<KeyBinding>,
}

impl What {
    /// Returns what a step on a delegation that is made is about.
    pub(super) fn of(entry: &DelegationEntry) -> Self {
        let delegation = &entry.delegation;
        Self {
            to: delegation.to.clone(),
            to_instance: delegation.spiffe_id.clone(),
            part: None,
            depth_left: delegation.depth_left,
            expires_at: delegation.expires_at,
            standing: entry.standing,
            subject_token: SubjectToken::None,
            since: Some(entry.leaf),
            contained: None,
            bound: None,
        }
    }
}

impl Step {
    pub(super) fn new(by: Evidence, moment: &Moment, shared: Arc<Shared>) -> Self {
        let mut chance = Chance::new(moment.chance);
        let decision = chance.id(moment.now);
        let own = Chance::new(chance.draw());
        let by = match by {
            Evidence::Instance(run) => By::Instance(run),
            Evidence::Claimant(newcomer) => By::Workload(newcomer),
            Evidence::Person(caller) => By::Person(Box::new(Asked {
                caller,
                chance,
                decision,
                shared: shared.clone(),
            })),
        };
        Self {
            chance: own,
            decision,
            by,
            shared,
            asked_at: moment.now,
        }
    }

    /// Decides on the step under the policies in force; a no is written down.
    pub(super) fn permit(
        &mut self,
        desk: &mut Desk<'_>,
        (step, parent): (DelegationStep, &TaskRuntime),
        what: &What,
    ) -> Result<DelegationPermit, Refusal> {
        let book = desk.live.book()?;
        let person = match &mut self.by {
            By::Instance(_) | By::Workload(_) => None,
            By::Person(asked) => Some(asked.person(desk)?),
        };
        let carried = self.carried(desk);
        let scope = parent.scope_of(&book, carried.as_ref())?;
        let (task, at) = (&parent.task, desk.at());
        let state = &desk.live.state;
        let entry = state
            .task(task.id)
            .ok_or_else(|| Refusal::not_found(task.id))?;
        let none = BTreeSet::<PersonRole>::new();
        let by = match (&self.by, person) {
            (By::Instance(run), _) => self.instance(desk, run),
            (By::Workload(newcomer), _) => Acting::Workload {
                workload: newcomer.claimant.workload(),
                agent: &newcomer.agent,
                binding: newcomer.proof.as_str(),
            },
            (By::Person(asked), Some(person)) => {
                let people = &book.estate().people;
                Acting::Person {
                    person,
                    roles: people
                        .get(asked.caller.alias())
                        .map_or(&none, |it| &it.roles),
                    standing: state.standing(&Target::Person(person)),
                    weak_binding: desk.live.weak_binding(person),
                }
            }
            (By::Person(_), None) => return Err(Refusal::not_found(task.id)),
        };
        let actor = actor(by);
        let delegate = Target::Agent(what.to.clone());
        let decided = decide_delegation(DelegationAsk {
            decision: self.decision,
            at,
            book: &book,
            step,
            by,
            parent: task,
            scope: &scope,
            state: entry.state,
            usage: &entry.usage,
            subject: desk.live.subject_standing(entry.leaf, task),
            to: &what.to,
            to_instance: what.to_instance.as_ref(),
            delegate: what.since.map_or_else(
                || state.standing(&delegate),
                |leaf| state.standing_since(leaf, &delegate),
            ),
            part: what.part.as_ref(),
            depth_left: what.depth_left,
            expires_at: what.expires_at,
            standing: what.standing,
            subject_token: what.subject_token,
            room: room(desk, step, (task.id, actor)),
            contained: what.contained,
            bound: what.bound,
        });
        match decided {
            DelegationDecision::Allow(permit) => Ok(permit),
            DelegationDecision::Deny(denial) => Err(self.refuse(desk, (denial, actor))?),
        }
    }

    /// Finds the live task that a workload serves: it acts as the instance of that one, and brings its labels along.
    pub(super) fn serve(&mut self, desk: &Desk<'_>) -> Result<(), Refusal> {
        let By::Workload(newcomer) = &self.by else {
            return Ok(());
        };
        let at = self.now(desk);
        if newcomer.expires_at <= at {
            let over = "what proved the delegate is over; make it anew";
            return Err(Refusal::Conflict(over.to_owned()));
        }
        // Another estate may have come into force since it was identified.
        if desk.live.grounds.bear(&newcomer.claimant.footing()) == Ground::Gone {
            return Err(Refusal::Conflict(
                "the estate registers this workload no more; it has to be registered again"
                    .to_owned(),
            ));
        }
        let task = match known(desk.live, &newcomer.claimant, at) {
            None | Some(Claim::NothingWaits) => return Ok(()),
            Some(Claim::New(task) | Claim::Known(task)) => task,
            Some(Claim::OtherAgent) => {
                return Err(Refusal::Conflict(
                    "this workload is the instance of a live task of another agent; end that task first".to_owned(),
                ));
            }
        };
        self.by = By::Instance(Box::new(Run {
            spiffe_id: task.spiffe_id.clone(),
            agent: task.agent.clone(),
            instance: task.instance,
            expires_at: newcomer.expires_at,
            binding: newcomer.proof.as_str(),
            caller: None,
        }));
        Ok(())
    }

    /// Returns how a workload that served no task proved itself, and who it is.
    pub(super) const fn newcomer(&self) -> Option<(ClaimProof, &Claimant)> {
        match &self.by {
            By::Workload(newcomer) => Some((newcomer.proof, &newcomer.claimant)),
            By::Instance(_) | By::Person(_) => None,
        }
    }

    /// Says how contained a child runs: as its runner says, and one that an instance takes never more than the instance.
    pub(super) fn contained(&self, desk: &Desk<'_>, asked: Option<Contained>) -> Contained {
        let own = match &self.by {
            By::Person(_) => return asked.unwrap_or(Contained::None),
            By::Instance(run) => own_task(desk, run).map(|it| it.task.contained),
            By::Workload(_) => None,
        };
        match (own, asked) {
            (Some(Contained::Namespaces), None | Some(Contained::Namespaces)) => {
                Contained::Namespaces
            }
            (Some(_) | None, _) => Contained::None,
        }
    }

    /// Returns when the task ends that the run serves already who takes the step; none when that is a person or
    /// a workload that serves none.
    pub(super) fn own_expires_at(&self, desk: &Desk<'_>) -> Option<Timestamp> {
        match &self.by {
            By::Person(_) | By::Workload(_) => None,
            By::Instance(run) => own_task(desk, run).map(|it| it.task.expires_at),
        }
    }

    /// Returns what the token carries by which the step is taken, when that is less than its task: no more of another's
    /// part is taken by it.
    fn carried(&self, desk: &Desk<'_>) -> Option<Arc<Part>> {
        match &self.by {
            By::Instance(run) => run.caller.as_ref().and_then(|it| desk.live.carried(it)),
            By::Workload(_) | By::Person(_) => None,
        }
    }

    fn instance<'a>(&self, desk: &Desk<'_>, run: &'a Run) -> Acting<'a> {
        let state = &desk.live.state;
        let own = own_task(desk, run);
        let over = run.expires_at <= self.now(desk);
        let standing_of = |id: TaskId| {
            if over {
                return TaskState::Ended(End::Expired);
            }
            standing(desk, id).unwrap_or(TaskState::Ended(End::Expired))
        };
        let leaf = own.map_or(0, |it| it.leaf);
        let revoked = [
            Target::Instance(run.instance),
            Target::Agent(run.agent.clone()),
        ];
        let revoked = revoked
            .iter()
            .any(|it| state.standing_since(leaf, it) == Standing::Revoked);
        Acting::Instance {
            instance: run.instance,
            agent: &run.agent,
            spiffe_id: &run.spiffe_id,
            task: own.map(|it| (it.task.id, standing_of(it.task.id))),
            standing: if revoked {
                Standing::Revoked
            } else {
                Standing::Live
            },
            binding: run.binding,
            token: run.caller.as_ref().map_or(CallerToken::Whole, |it| {
                desk.live.caller_token(it, self.now(desk))
            }),
        }
    }

    /// Returns against which instant the proof of whoever takes the step is held: never an earlier one than of the ask.
    fn now(&self, desk: &Desk<'_>) -> Timestamp {
        desk.at().max(self.asked_at)
    }

    /// Writes a denial down; when its caller is refused in a flood, it is counted instead.
    fn refuse(
        &self,
        desk: &mut Desk<'_>,
        (denial, actor): (Denial, Actor),
    ) -> Result<Refusal, Refusal> {
        let denied = Denied {
            decision: denial.decision(),
            reason: denial.reason(),
        };
        let explanation = denial.explanation();
        let task = match actor {
            Actor::Instance(_) => denial.task(),
            Actor::Person(_) | Actor::Workload(_) | Actor::Ambit | Actor::Nobody => None,
        };
        let mut quotas = self.shared.quotas();
        let writing = quotas.refused(actor, task, denied.reason, self.asked_at);
        drop(quotas);
        if writing != Writing::Counted {
            desk.write(denial)?;
        }
        Ok(Refusal::Denied {
            denied,
            explanation,
        })
    }
}

/// Returns who acts, as the record says it.
const fn actor(by: Acting<'_>) -> Actor {
    match by {
        Acting::Instance { instance, .. } => Actor::Instance(instance),
        Acting::Workload { workload, .. } => Actor::Workload(workload),
        Acting::Person { person, .. } => Actor::Person(person),
    }
}

/// Says whether there is room for what the step makes.
fn room(desk: &Desk<'_>, step: DelegationStep, (task, by): (TaskId, Actor)) -> DelegationRoom {
    let state = &desk.live.state;
    match step {
        DelegationStep::Withdraw => DelegationRoom::Left,
        DelegationStep::Delegate if state.delegations_of(task) >= DELEGATIONS_PER_TASK_MAX => {
            DelegationRoom::DelegationsFull
        }
        DelegationStep::Delegate => DelegationRoom::Left,
        DelegationStep::Exchange if state.children_ever(task) >= CHILDREN_PER_TASK_MAX => {
            DelegationRoom::ChildrenFull
        }
        DelegationStep::Exchange if state.subtree_of_root(task) >= SUBTREE_TASKS_MAX => {
            DelegationRoom::SubtreeFull
        }
        DelegationStep::Exchange if state.room() == Room::Full => DelegationRoom::TasksFull,
        DelegationStep::Exchange if state.labels_of_child(task, by).is_err() => {
            DelegationRoom::LabelsFull
        }
        DelegationStep::Exchange => DelegationRoom::Left,
    }
}

/// Returns the task that a run serves.
fn own_task<'d>(desk: &'d Desk<'_>, run: &Run) -> Option<&'d TaskEntry> {
    let state = &desk.live.state;
    let own = state.instances.get(&run.instance);
    let own = own.and_then(|it| state.task(*it));
    // The certificate names the agent too; a task of another agent is none of the caller's.
    own.filter(|it| it.task.spiffe_id == run.spiffe_id)
}

impl Evidence {
    /// Takes the delegate's proof up.
    pub(super) fn of_delegate(by: Delegate<'_>) -> Result<Self, Refusal> {
        Ok(match by {
            Delegate::Instance(caller) => Self::Instance(Box::new(caller.into())),
            Delegate::Workload(proved) => {
                let spiffe_id = proved.spiffe_id().clone();
                let run = spiffe_id.as_instance();
                let (agent, instance) = run.ok_or_else(|| {
                    Refusal::NotFound(format!("{spiffe_id} is no run of an agent"))
                })?;
                Self::Instance(Box::new(Run {
                    agent,
                    instance,
                    spiffe_id,
                    expires_at: proved.expires_at(),
                    binding: "jwt_svid",
                    caller: None,
                }))
            }
            Delegate::Claimant(claimant, expires_at) => {
                let Proved::Agent(agent, proof) = claimant.proved() else {
                    let what = "a join token is for the task that it was made for, and no other";
                    return Err(Refusal::Conflict(what.to_owned()));
                };
                Self::Claimant(Box::new(Newcomer {
                    agent: agent.clone(),
                    proof: *proof,
                    claimant: claimant.clone(),
                    expires_at,
                }))
            }
            Delegate::Runner(caller) => Self::Person(caller.clone()),
        })
    }
}

impl From<&InstanceCaller> for Run {
    fn from(caller: &InstanceCaller) -> Self {
        Self {
            spiffe_id: caller.spiffe_id().clone(),
            agent: caller.agent().clone(),
            instance: caller.instance(),
            expires_at: caller.expires_at(),
            binding: caller.binding().as_str(),
            caller: Some(caller.clone()),
        }
    }
}

impl From<Delegator<'_>> for Evidence {
    fn from(by: Delegator<'_>) -> Self {
        match by {
            Delegator::Instance(caller) => Self::Instance(Box::new(caller.into())),
            Delegator::Person(caller) => Self::Person(caller.clone()),
        }
    }
}

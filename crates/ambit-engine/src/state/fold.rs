//! One record after another.

use ambit_core::{
    ApprovalId, PersonId, Timestamp,
    act::Target,
    claim::{ClaimStanding, Footing},
    limits::APPROVAL_GRANTED_TTL,
    record::{Actor, Answer, Body, Decided, Performed, Record, Status, Verdict},
    task::{End, Task, TaskState, Usage},
};

use super::{
    Approval, ApprovalStanding, OpenAct, State, TaskEntry, delegation::end_below, rows::RowKey,
};

/// A record does not follow from the records before it: the log or this binary is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FoldError {
    /// It begins a log that has begun, or the log does not begin with its opening.
    #[error("record {index}: a log begins once, with its opening")]
    Opening {
        /// The record's place.
        index: u64,
    },
    /// It names a thing that is not there.
    #[error("record {index} names {what}, which is not there")]
    Missing {
        /// The record's place.
        index: u64,
        /// What it names.
        what: String,
    },
    /// It repeats a thing that is there already.
    #[error("record {index} makes {what}, which is there already")]
    Twice {
        /// The record's place.
        index: u64,
        /// What it makes.
        what: String,
    },
    /// It says something that does not follow.
    #[error("record {index}: {what}")]
    Inconsistent {
        /// The record's place.
        index: u64,
        /// What does not follow.
        what: &'static str,
    },
}

impl State {
    /// Changes the state by the record at `index`, or refuses a record that does not follow. After a refusal the
    /// state is of no use any more: its owner stops.
    pub fn apply(&mut self, index: u64, record: &Record) -> Result<(), FoldError> {
        if self.origin.is_none() != matches!(record.body, Body::LogOpened { .. }) {
            return Err(FoldError::Opening { index });
        }
        match &record.body {
            Body::LogOpened { origin, .. } => {
                self.origin = Some(origin.clone());
                self.touch(RowKey::Log);
            }
            Body::PersonKnown { person } => {
                self.people.insert(*person);
                self.touch(RowKey::Person(*person));
            }
            Body::EstateApplied { estate, .. } => {
                self.estate = Some(*estate);
                self.epochs.estate = index;
                self.touch(RowKey::Log);
            }
            Body::TaskStarted {
                task,
                parameters,
                warrant,
            } => self.start(index, task, *parameters, Actor::Person(warrant.by))?,
            Body::TaskWaits { task, join_token } => self.wait(index, *task, *join_token)?,
            Body::TaskClaimed { task, .. } => self.claim(index, *task, &record.body)?,
            Body::TaskAttended { task } => self.attend(index, *task)?,
            Body::TaskEnded { task, end, .. } => {
                self.expect_active(index, *task)?;
                self.end(index, *task, *end);
            }
            Body::DelegationMade {
                delegation, part, ..
            } => self.delegate(index, delegation, *part)?,
            Body::DelegationSpent {
                task,
                part,
                mandate,
            } => self.exchange((index, record.at), task, *part, mandate)?,
            Body::DelegationWithdrawn { delegation, .. } => self.withdraw(index, *delegation)?,
            Body::Decided(decided) => self.decided(index, record.at, decided)?,
            Body::Performed(performed) => self.performed(index, performed)?,
            Body::ActSettled { decision, task, .. } => self.settle(index, *decision, *task)?,
            Body::ApprovalDecided {
                approval,
                verdict,
                warrant,
                ..
            } => self.answered((index, record.at), *approval, *verdict, warrant.by)?,
            Body::Revoked { target, .. } => self.revoke(index, target),
            Body::RevocationCarried { target, .. } => self.carry(index, target)?,
            Body::Reinstated { target, .. } => self.reinstate(index, target)?,
            Body::ToolSeen { server, tool, seen } => {
                let key = (server.clone(), tool.clone());
                self.seen.insert(key.clone(), *seen);
                self.epochs.servers.insert(server.clone(), index);
                self.touch(RowKey::Seen(key.0, key.1));
            }
            Body::Proof(fact) => self.prove((index, record.at), fact)?,
            Body::TokenIssued(token) => self.issue((index, record.at), token)?,
            Body::TokenRevoked { token, reach, .. } => self.revoke_token(index, *token, *reach)?,
            body @ Body::KeysRotated { .. } => self.rotate(index, body)?,
            Body::InstanceCertified { .. }
            | Body::RevocationEffective { .. }
            | Body::ServerInspected { .. }
            | Body::Bundle(_)
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::RefusalsCoalesced { .. }
            | Body::StateDigest { .. } => {}
        }
        Ok(())
    }

    /// A ban of the log that this one replaces stands.
    fn carry(&mut self, index: u64, target: &Target) -> Result<(), FoldError> {
        if self.estate.is_some() || matches!(target, Target::Task(_) | Target::Instance(_)) {
            return Err(inconsistent(index, "a ban is carried over as a log begins"));
        }
        self.revoke(index, target);
        Ok(())
    }

    fn reinstate(&mut self, index: u64, target: &Target) -> Result<(), FoldError> {
        if !self.revoked.remove(target) {
            return Err(inconsistent(index, "what is reinstated was revoked before"));
        }
        self.reinstated.insert(target.clone(), index);
        self.touch(RowKey::Revoked(target.clone()));
        Ok(())
    }

    /// A person says yes or no to a held act.
    fn answered(
        &mut self,
        (index, at): (u64, Timestamp),
        approval: ApprovalId,
        verdict: Verdict,
        by: PersonId,
    ) -> Result<(), FoldError> {
        let task = self.approvals.get(&approval).map(|it| it.task);
        self.expect_active(index, task.ok_or_else(|| missing(index, &approval))?)?;
        let Some(entry) = self.approvals.get_mut(&approval) else {
            return Ok(());
        };
        if !matches!(entry.standing, ApprovalStanding::Pending { .. }) {
            return Err(inconsistent(index, "an approval is decided once"));
        }
        entry.standing = match verdict {
            Verdict::Approved => ApprovalStanding::Approved {
                by,
                until: at.plus(APPROVAL_GRANTED_TTL),
            },
            Verdict::Refused => ApprovalStanding::Refused { by },
        };
        let task = entry.task;
        self.epochs.tasks.insert(task, index);
        self.touch(RowKey::Approval(approval));
        Ok(())
    }

    pub(super) fn start(
        &mut self,
        index: u64,
        task: &Task,
        parameters: ambit_core::record::Sealed,
        started_by: Actor,
    ) -> Result<(), FoldError> {
        if self.tasks.contains_key(&task.id) || self.instances.contains_key(&task.instance) {
            return Err(FoldError::Twice {
                index,
                what: task.id.to_string(),
            });
        }
        let entry = TaskEntry {
            leaf: index,
            task: task.clone(),
            parameters,
            state: TaskState::Active,
            usage: Usage::nothing(),
            claim: ClaimStanding::Closed,
            footing: self.footing_of(started_by),
            started_by,
        };
        self.hang(&entry);
        self.tasks.insert(task.id, entry);
        self.instances.insert(task.instance, task.id);
        self.touch(RowKey::Task(task.id));
        Ok(())
    }

    fn wait(
        &mut self,
        index: u64,
        id: ambit_core::TaskId,
        join_token: Option<ambit_core::Digest>,
    ) -> Result<(), FoldError> {
        self.expect_active(index, id)?;
        let entry = self.tasks.get_mut(&id).ok_or_else(|| missing(index, &id))?;
        if entry.claim != ClaimStanding::Closed {
            return Err(inconsistent(index, "a task is offered once"));
        }
        entry.claim = ClaimStanding::Waiting { join_token };
        self.waiting.insert(entry.leaf, id);
        self.touch(RowKey::Task(id));
        Ok(())
    }

    fn attend(&mut self, index: u64, id: ambit_core::TaskId) -> Result<(), FoldError> {
        self.expect_active(index, id)?;
        let entry = self.tasks.get_mut(&id).ok_or_else(|| missing(index, &id))?;
        if entry.claim != ClaimStanding::Closed {
            return Err(inconsistent(index, "a runner attends what nobody claims"));
        }
        entry.claim = ClaimStanding::Attended;
        self.touch(RowKey::Task(id));
        Ok(())
    }

    fn claim(
        &mut self,
        index: u64,
        id: ambit_core::TaskId,
        claimed: &Body,
    ) -> Result<(), FoldError> {
        let Body::TaskClaimed {
            workload, footing, ..
        } = claimed
        else {
            return Err(inconsistent(index, "a claim says who claims"));
        };
        self.expect_active(index, id)?;
        let entry = self.tasks.get_mut(&id).ok_or_else(|| missing(index, &id))?;
        if !matches!(entry.claim, ClaimStanding::Waiting { .. }) {
            return Err(inconsistent(
                index,
                "a task is claimed once, while it waits",
            ));
        }
        entry.claim = ClaimStanding::Claimed {
            workload: *workload,
        };
        entry.footing = *footing;
        self.waiting.remove(&entry.leaf);
        self.claims.insert(*workload, id);
        self.touch(RowKey::Task(id));
        Ok(())
    }

    /// Returns what somebody stands on: an instance takes parts by what it came by itself.
    fn footing_of(&self, by: Actor) -> Footing {
        let own = match by {
            Actor::Instance(instance) => self.instances.get(&instance),
            // A workload's own claim follows, and says what it stands on.
            Actor::Workload(_) | Actor::Person(_) | Actor::Ambit | Actor::Nobody => None,
        };
        let own = own.and_then(|it| self.tasks.get(it));
        own.map(|it| it.footing).unwrap_or_default()
    }

    /// Ends a task and all that hangs on it. An ended task's rows move to the ended tables and change no more.
    pub(super) fn end(&mut self, index: u64, id: ambit_core::TaskId, end: End) {
        let hanging = self.hanging_on(id);
        self.end_one(index, id, end);
        for below in hanging {
            self.end_one(index, below, end_below(end));
        }
    }

    fn end_one(&mut self, index: u64, id: ambit_core::TaskId, end: End) {
        let Some(entry) = self.tasks.get_mut(&id) else {
            return;
        };
        if entry.state != TaskState::Active {
            return;
        }
        entry.state = TaskState::Ended(end);
        self.waiting.remove(&entry.leaf);
        if let ClaimStanding::Claimed { workload } = entry.claim
            && self.claims.get(&workload) == Some(&id)
        {
            self.claims.remove(&workload);
        }
        self.epochs.tasks.insert(id, index);
        let approvals: Vec<_> = self
            .approvals
            .values()
            .filter(|it| it.task == id)
            .map(|it| it.id)
            .collect();
        for approval in approvals {
            self.touch(RowKey::Approval(approval));
        }
        for made in self.delegations_of.get(&id).cloned().unwrap_or_default() {
            self.touch(RowKey::Delegation(made));
        }
        self.drop_tokens(id);
        self.touch(RowKey::Task(id));
    }

    fn decided(&mut self, index: u64, at: Timestamp, decided: &Decided) -> Result<(), FoldError> {
        match &decided.answer {
            Answer::Deny { .. } => Ok(()),
            Answer::Hold {
                approval,
                expires_at,
                ..
            } => {
                let (Some(task), Some(act)) = (decided.task, decided.act) else {
                    return Err(inconsistent(index, "a hold names its task and its act"));
                };
                if let Some(pending) = self.approvals.get(approval) {
                    let same = pending.act.commitment == act.commitment && pending.task == task;
                    return if same {
                        Ok(())
                    } else {
                        Err(inconsistent(index, "an approval is for one act"))
                    };
                }
                self.expect_active(index, task)?;
                let standing = ApprovalStanding::Pending { until: *expires_at };
                let entry = Approval::requested(*approval, index, at, decided, standing);
                let entry = entry.ok_or_else(|| missing(index, approval))?;
                self.approvals.insert(*approval, entry);
                let approvals = &self.approvals;
                let of_task = self.approvals_of.entry(task).or_default();
                of_task.retain(|it| approvals.get(it).is_some_and(|it| it.is_read(at)));
                of_task.push(*approval);
                self.epochs.tasks.insert(task, index);
                self.touch(RowKey::Approval(*approval));
                Ok(())
            }
            Answer::Allow {
                charged, spends, ..
            } => {
                let Some(task) = decided.task else {
                    return Err(inconsistent(index, "a permit names its task"));
                };
                if self.open.contains_key(&decided.decision) {
                    return Err(FoldError::Twice {
                        index,
                        what: decided.decision.to_string(),
                    });
                }
                if let Some(approval) = spends {
                    self.spend(index, *approval, decided)?;
                }
                self.charge(index, task, decided, charged)?;
                let open = OpenAct::permitted(index, at, decided, None);
                let open = open.ok_or_else(|| missing(index, &decided.decision))?;
                self.open.insert(decided.decision, open);
                self.touch(RowKey::Open(decided.decision));
                Ok(())
            }
        }
    }

    fn spend(
        &mut self,
        index: u64,
        approval: ambit_core::ApprovalId,
        decided: &Decided,
    ) -> Result<(), FoldError> {
        let entry = self
            .approvals
            .get_mut(&approval)
            .ok_or_else(|| missing(index, &approval))?;
        let same = decided
            .act
            .is_some_and(|it| it.commitment == entry.act.commitment);
        let ApprovalStanding::Approved { by, .. } = entry.standing else {
            return Err(inconsistent(
                index,
                "a permit spends a yes that counts, once",
            ));
        };
        if !same {
            return Err(inconsistent(index, "a permit spends a yes to its own act"));
        }
        entry.standing = ApprovalStanding::Spent {
            decision: decided.decision,
        };
        let task = entry.task;
        self.epochs.tasks.insert(task, index);
        self.epochs.approvers.insert(decided.decision, (by, index));
        self.touch(RowKey::Approval(approval));
        Ok(())
    }

    fn charge(
        &mut self,
        index: u64,
        task: ambit_core::TaskId,
        decided: &Decided,
        charged: &ambit_core::Labels,
    ) -> Result<(), FoldError> {
        self.expect_active(index, task)?;
        // What a child does, every task above it has done.
        for member in self.line(task) {
            self.charge_one(index, member, decided, charged)?;
        }
        Ok(())
    }

    fn charge_one(
        &mut self,
        index: u64,
        task: ambit_core::TaskId,
        decided: &Decided,
        charged: &ambit_core::Labels,
    ) -> Result<(), FoldError> {
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Ok(());
        };
        let usage = &mut entry.usage;
        usage.calls = usage.calls.saturating_add(1);
        if let (Some(server), Some(tool)) = (&decided.server, &decided.tool) {
            let count = usage
                .tool_calls
                .entry((server.clone(), tool.clone()))
                .or_insert(0);
            *count = count.saturating_add(1);
        }
        let labels = usage.labels.union(charged);
        let labels = labels.map_err(|_| inconsistent(index, "too many labels came together"))?;
        if labels != usage.labels {
            usage.labels = labels;
            self.epochs.tasks.insert(task, index);
        }
        self.touch(RowKey::Task(task));
        Ok(())
    }

    fn performed(&mut self, index: u64, performed: &Performed) -> Result<(), FoldError> {
        self.epochs.approvers.remove(&performed.decision);
        let open = self.open.get_mut(&performed.decision);
        let open = open.ok_or_else(|| missing(index, &performed.decision))?;
        if performed.status == Status::Unknown {
            open.status = Some(Status::Unknown);
        } else {
            self.open.remove(&performed.decision);
        }
        self.touch(RowKey::Open(performed.decision));
        for member in self.line(performed.task) {
            self.join(index, member, &performed.labels)?;
        }
        Ok(())
    }

    /// A person said of an act whose outcome nobody knew whether it happened.
    fn settle(
        &mut self,
        index: u64,
        decision: ambit_core::DecisionId,
        task: ambit_core::TaskId,
    ) -> Result<(), FoldError> {
        let open = self.open.get(&decision);
        let open = open.ok_or_else(|| missing(index, &decision))?;
        if open.status != Some(Status::Unknown) || open.task != task {
            return Err(inconsistent(index, "only an unknown outcome is settled"));
        }
        self.open.remove(&decision);
        self.touch(RowKey::Open(decision));
        Ok(())
    }

    fn revoke(&mut self, index: u64, target: &Target) {
        match target {
            Target::Task(_) | Target::Instance(_) => {}
            Target::Agent(name) => {
                self.epochs.agents.insert(name.clone(), index);
                self.revoked.insert(target.clone());
            }
            Target::Person(id) => {
                self.epochs.people.insert(*id, index);
                self.revoked.insert(target.clone());
                self.void(index, *id);
                self.drop_proofs(*id);
            }
            Target::Server(name) => {
                self.epochs.servers.insert(name.clone(), index);
                self.revoked.insert(target.clone());
            }
        }
        if self.revoked.contains(target) {
            self.reinstated.remove(target);
            self.touch(RowKey::Revoked(target.clone()));
        }
        for task in self.tasks_under(target) {
            self.end(index, task, End::Revoked);
        }
    }

    /// Voids what `person` said yes to and nobody spent. Rows of an ended task change no more.
    fn void(&mut self, index: u64, person: PersonId) {
        let mut voided = Vec::new();
        for approval in self.approvals.values_mut() {
            let entry = self.tasks.get(&approval.task);
            let active = entry.is_some_and(|it| it.state == TaskState::Active);
            if let ApprovalStanding::Approved { by, until } = approval.standing
                && by == person
                && active
            {
                approval.standing = ApprovalStanding::Void { by, until };
                voided.push((approval.id, approval.task));
            }
        }
        for (approval, task) in voided {
            self.epochs.tasks.insert(task, index);
            self.touch(RowKey::Approval(approval));
        }
    }

    /// Returns the active tasks whose authority hangs on `target`, with those below them and those that their runs took.
    pub fn tasks_under(&self, target: &Target) -> Vec<ambit_core::TaskId> {
        let hangs = |entry: &&TaskEntry| match target {
            Target::Task(id) => entry.task.id == *id,
            Target::Instance(id) => entry.task.instance == *id,
            Target::Agent(name) => entry.task.agent == *name,
            Target::Person(id) => entry.task.subject == *id,
            Target::Server(_) => false,
        };
        let active = self
            .tasks
            .values()
            .filter(|it| it.state == TaskState::Active);
        let mut found = std::collections::BTreeSet::new();
        for hit in active.filter(hangs).map(|it| it.task.id) {
            found.insert(hit);
            found.extend(self.hanging_on(hit));
        }
        let is_active = |it: &ambit_core::TaskId| {
            self.tasks.get(it).map(|it| it.state) == Some(TaskState::Active)
        };
        found.into_iter().filter(is_active).collect()
    }

    pub(super) fn expect_active(
        &self,
        index: u64,
        task: ambit_core::TaskId,
    ) -> Result<(), FoldError> {
        let entry = self.tasks.get(&task).ok_or_else(|| missing(index, &task))?;
        if entry.state == TaskState::Active {
            return Ok(());
        }
        Err(inconsistent(index, "an ended task can do nothing more"))
    }
}

pub(super) fn missing(index: u64, what: &impl std::fmt::Display) -> FoldError {
    FoldError::Missing {
        index,
        what: what.to_string(),
    }
}

pub(super) const fn inconsistent(index: u64, what: &'static str) -> FoldError {
    FoldError::Inconsistent { index, what }
}

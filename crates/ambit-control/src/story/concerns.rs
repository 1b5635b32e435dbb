//! Which records of a log the story of one task needs.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    InstanceId, TaskId,
    record::{Actor, Body, Mandate},
    task::Task,
};

use super::{
    Entry,
    trace::{begun, spent},
};

/// Finds the records that [`super::trace`] of one task needs, in the order of the log. The ends of all with which it, or
/// a part of it, ended are among them: of those above, and of the tasks of runs that took a part beside their own.
#[derive(Clone, Debug)]
pub struct Concerns {
    task: TaskId,
    parents: BTreeMap<TaskId, TaskId>,
    /// Which task each run serves, and beside which task of its own a run took a part.
    served: BTreeMap<InstanceId, TaskId>,
    takers: BTreeMap<TaskId, TaskId>,
    /// The task, its parts, and what hangs on those.
    below: BTreeSet<TaskId>,
    /// Those with whose end one of them ends.
    line: BTreeSet<TaskId>,
}

impl Concerns {
    /// Returns what finds the records of `task`.
    pub fn of(task: TaskId) -> Self {
        Self {
            task,
            parents: BTreeMap::new(),
            served: BTreeMap::new(),
            takers: BTreeMap::new(),
            below: BTreeSet::from([task]),
            line: BTreeSet::from([task]),
        }
    }

    /// Says whether the story needs the next record of the log.
    pub fn take(&mut self, body: &Body) -> bool {
        match body {
            Body::DelegationSpent { task, mandate, .. } => {
                self.spent(task, mandate);
                // One short record for each child that ever was: the line above may be among them.
                true
            }
            Body::TaskStarted { task, .. } => {
                self.served.insert(task.instance, task.id);
                task.id == self.task
            }
            // That the task came by it is known only when it is spent.
            Body::DelegationMade { .. } => true,
            Body::DelegationWithdrawn { parent, .. } => self.is_near(*parent),
            Body::TaskEnded { task, .. } => self.is_near(*task),
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::EstateApplied { .. }
            | Body::InstanceCertified { .. }
            | Body::TaskWaits { .. }
            | Body::TaskClaimed { .. }
            | Body::TaskAttended { .. }
            | Body::Decided(_)
            | Body::Performed(_)
            | Body::ApprovalDecided { .. }
            | Body::Revoked { .. }
            | Body::KeysRotated { .. }
            | Body::Bundle(_)
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::RevocationEffective { .. }
            | Body::ToolSeen { .. }
            | Body::TokenIssued(_)
            | Body::TokenRevoked { .. }
            | Body::ServerInspected { .. }
            | Body::ActSettled { .. }
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::RefusalsCoalesced { .. }
            | Body::StateDigest { .. } => concerns_task(body, self.task),
        }
    }

    fn is_near(&self, task: TaskId) -> bool {
        self.line.contains(&task) || self.below.contains(&task)
    }

    fn spent(&mut self, child: &Task, mandate: &Mandate) {
        self.served.insert(child.instance, child.id);
        let parent = child.lineage.parent();
        let own = run_of(mandate).and_then(|it| self.served.get(&it).copied());
        self.parents.extend(parent.map(|it| (child.id, it)));
        self.takers.extend(own.map(|it| (child.id, it)));
        let mut hangs = [parent, own].into_iter().flatten();
        if hangs.any(|it| self.below.contains(&it)) {
            self.below.insert(child.id);
        }
        if self.below.contains(&child.id) {
            self.draw_line(child.id);
        }
    }

    /// Finds all with whose end `task` ends.
    fn draw_line(&mut self, task: TaskId) {
        let mut next = vec![task];
        while let Some(it) = next.pop() {
            let above = [self.parents.get(&it), self.takers.get(&it)];
            for above in above.into_iter().flatten() {
                if self.line.insert(*above) {
                    next.push(*above);
                }
            }
        }
    }
}

/// Which starts of tasks belong to a story beside the records that [`Concerns`] found: those that people made of tasks
/// with whose end it, or a part of it, ends.
#[derive(Clone, Debug)]
pub struct Starts {
    own: TaskId,
    tasks: BTreeSet<TaskId>,
    runs: BTreeSet<InstanceId>,
}

impl Starts {
    /// Returns what finds the starts above `task` and its parts, of which these are the records.
    pub fn above(entries: &[Entry], task: TaskId) -> Self {
        let own = entries.iter().filter_map(begun).find(|it| it.id == task);
        let mut found = Self {
            own: task,
            tasks: BTreeSet::from([task]),
            runs: own.map(|it| it.instance).into_iter().collect(),
        };
        let spent: Vec<_> = entries
            .iter()
            .filter_map(|it| spent(&it.record.body))
            .collect();
        for (child, mandate) in &spent {
            let parent = child.lineage.parent();
            if parent.is_some_and(|it| found.tasks.contains(&it))
                || run_of(mandate).is_some_and(|it| found.runs.contains(&it))
            {
                found.tasks.insert(child.id);
                found.runs.insert(child.instance);
            }
        }
        // Whoever is above was there before.
        for (child, mandate) in spent.iter().rev() {
            if found.tasks.contains(&child.id) || found.runs.contains(&child.instance) {
                found.tasks.extend(child.lineage.parent());
                found.runs.extend(run_of(mandate));
            }
        }
        found
    }

    /// Says whether a record is one of them.
    pub fn wants(&self, body: &Body) -> bool {
        let Body::TaskStarted { task, .. } = body else {
            return false;
        };
        let is_above = self.tasks.contains(&task.id) || self.runs.contains(&task.instance);
        is_above && task.id != self.own
    }
}

/// Returns the run that took a part beside its own task, when one did.
pub(super) const fn run_of(mandate: &Mandate) -> Option<InstanceId> {
    match mandate.by {
        Actor::Instance(run) => Some(run),
        Actor::Workload(_) | Actor::Person(_) | Actor::Ambit | Actor::Nobody => None,
    }
}

/// Says whether [`super::trace`] of `task` needs a record by itself. Revocations are kept whomever they hit: what they hit is known later.
fn concerns_task(body: &Body, task: TaskId) -> bool {
    match body {
        Body::TaskStarted { task: it, .. } => it.id == task,
        Body::InstanceCertified { task: it, .. }
        | Body::TaskWaits { task: it, .. }
        | Body::TaskClaimed { task: it, .. }
        | Body::TaskAttended { task: it, .. }
        | Body::TaskEnded { task: it, .. }
        | Body::TokenRevoked { task: it, .. }
        | Body::ActSettled { task: it, .. }
        | Body::SealedOpened { task: it, .. }
        | Body::ApprovalDecided { task: it, .. } => *it == task,
        Body::TokenIssued(it) => it.task == task,
        Body::Decided(it) => it.task == Some(task),
        Body::Performed(it) => it.task == task,
        Body::RefusalsCoalesced { task: it, .. } => *it == Some(task),
        Body::Revoked { .. } | Body::RevocationEffective { .. } => true,
        // They change nothing for a task that began before, and a task that began after is as any other.
        Body::Reinstated { .. } | Body::RevocationCarried { .. } => false,
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::EstateApplied { .. }
        | Body::ToolSeen { .. }
        | Body::ServerInspected { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::CredentialSealed { .. }
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. }
        | Body::Proof(_)
        | Body::StateDigest { .. } => false,
    }
}

//! Delegations as the fold knows them, and the lines of tasks that they make.

use std::collections::BTreeMap;

use ambit_core::{
    DelegationId, Labels, TaskId, Timestamp,
    delegation::{Delegation, Lineage},
    label::TooManyLabels,
    record::{Actor, Mandate, Sealed},
    task::{End, Task, TaskState},
};
use ambit_policy::DelegationStanding;

use super::{
    FoldError, State,
    fold::{inconsistent, missing},
    rows::RowKey,
};

/// A delegation of a live task, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DelegationEntry {
    /// The leaf that made it.
    pub leaf: u64,
    /// The delegation, without the constraints of its part: they are sealed beside the log.
    pub delegation: Delegation,
    /// The sealed part.
    pub part: Sealed,
    /// Where it stands. That time passed is a predicate, not a standing.
    pub standing: DelegationStanding,
    /// The child for which it was spent.
    pub child: Option<TaskId>,
}

impl State {
    /// Returns the delegation `id` of a live task.
    pub fn delegation(&self, id: DelegationId) -> Option<&DelegationEntry> {
        self.delegations.get(&id)
    }

    /// Iterates over the delegations of live tasks in the order in which they were made.
    pub fn delegations(&self) -> impl Iterator<Item = &DelegationEntry> {
        self.delegations.values()
    }

    /// Returns how many delegations the task made.
    pub(crate) fn delegations_of(&self, task: TaskId) -> usize {
        self.made_by(task).count()
    }

    /// Returns how many children the task had or has.
    pub(crate) fn children_ever(&self, task: TaskId) -> usize {
        self.made_by(task).filter(|it| it.child.is_some()).count()
    }

    fn made_by(&self, task: TaskId) -> impl Iterator<Item = &DelegationEntry> {
        let made = self.delegations_of.get(&task).into_iter().flatten();
        made.filter_map(|it| self.delegations.get(it))
    }

    /// Returns the task and every one above it, itself first.
    pub(crate) fn line(&self, task: TaskId) -> Vec<TaskId> {
        let mut line = vec![task];
        let mut next = self.parent(task);
        // A child is made after its parent, so the line ends.
        while let Some(above) = next {
            line.push(above);
            next = self.parent(above);
        }
        line
    }

    /// Returns every task below `task` that is still known, parents before their children.
    pub(crate) fn below(&self, task: TaskId) -> Vec<TaskId> {
        let mut found = Vec::new();
        let mut next = vec![task];
        while let Some(above) = next.pop() {
            let children = self.children.get(&above).into_iter().flatten().copied();
            let start = found.len();
            found.extend(children);
            next.extend(found.iter().skip(start));
        }
        found
    }

    /// Returns how many live tasks come from the same task that a person started.
    pub(crate) fn subtree_of_root(&self, task: TaskId) -> usize {
        let root = self.line(task).pop().unwrap_or(task);
        let active = |it: &TaskId| self.tasks.get(it).map(|it| it.state) == Some(TaskState::Active);
        self.below(root).into_iter().filter(active).count()
    }

    /// Returns the labels with which a child of `parent` starts when `by` takes it: the parent's, and those of the
    /// task that the delegate serves already.
    pub(crate) fn labels_of_child(
        &self,
        parent: TaskId,
        by: Actor,
    ) -> Result<Labels, TooManyLabels> {
        let own = match by {
            Actor::Instance(instance) => self.instances.get(&instance),
            Actor::Person(_) | Actor::Workload(_) | Actor::Ambit | Actor::Nobody => None,
        };
        let labels = |id: &TaskId| self.tasks.get(id).map(|it| it.usage.labels.clone());
        let inherited = labels(&parent).unwrap_or_else(Labels::none);
        let brought = own.and_then(labels).unwrap_or_else(Labels::none);
        let together = inherited.union(&brought)?;
        for above in self.line(parent) {
            labels(&above)
                .unwrap_or_else(Labels::none)
                .union(&together)?;
        }
        Ok(together)
    }

    fn parent(&self, task: TaskId) -> Option<TaskId> {
        self.tasks.get(&task)?.task.lineage.parent()
    }

    pub(super) fn delegate(
        &mut self,
        index: u64,
        delegation: &Delegation,
        part: Sealed,
    ) -> Result<(), FoldError> {
        self.expect_active(index, delegation.parent)?;
        if self.delegations.contains_key(&delegation.id) {
            return Err(FoldError::Twice {
                index,
                what: delegation.id.to_string(),
            });
        }
        let entry = DelegationEntry {
            leaf: index,
            delegation: delegation.clone(),
            part,
            standing: DelegationStanding::Open,
            child: None,
        };
        let made = self.delegations_of.entry(delegation.parent).or_default();
        made.push(delegation.id);
        self.delegations.insert(delegation.id, entry);
        self.touch(RowKey::Delegation(delegation.id));
        Ok(())
    }

    pub(super) fn exchange(
        &mut self,
        (index, at): (u64, Timestamp),
        task: &Task,
        part: Sealed,
        mandate: &Mandate,
    ) -> Result<(), FoldError> {
        let Lineage::Child {
            parent, delegation, ..
        } = task.lineage
        else {
            return Err(inconsistent(index, "an exchange starts a child"));
        };
        self.expect_active(index, parent)?;
        let entry = self.delegations.get_mut(&delegation);
        let entry = entry.ok_or_else(|| missing(index, &delegation))?;
        let given = &entry.delegation;
        let fits = given.parent == parent
            && given.to == task.agent
            && given.authority == task.authority
            && task.expires_at <= given.expires_at;
        if !fits {
            return Err(inconsistent(index, "a child is what its delegation says"));
        }
        if entry.standing != DelegationStanding::Open || given.expires_at <= at {
            return Err(inconsistent(index, "a delegation is spent once, in time"));
        }
        entry.standing = DelegationStanding::Spent;
        entry.child = Some(task.id);
        self.touch(RowKey::Delegation(delegation));
        let labels = self.labels_of_child(parent, mandate.by);
        let labels = labels.map_err(|_| inconsistent(index, "too many labels came together"))?;
        self.start(index, task, part, mandate.by)?;
        for member in self.line(task.id) {
            self.join(index, member, &labels)?;
        }
        Ok(())
    }

    pub(super) fn withdraw(&mut self, index: u64, id: DelegationId) -> Result<(), FoldError> {
        let entry = self.delegations.get(&id);
        let entry = entry.ok_or_else(|| missing(index, &id))?;
        let (parent, child) = (entry.delegation.parent, entry.child);
        if entry.standing == DelegationStanding::Withdrawn {
            return Err(inconsistent(index, "a delegation is withdrawn once"));
        }
        self.expect_active(index, parent)?;
        if let Some(entry) = self.delegations.get_mut(&id) {
            entry.standing = DelegationStanding::Withdrawn;
        }
        self.touch(RowKey::Delegation(id));
        if let Some(child) = child {
            self.end(index, child, End::Revoked);
        }
        Ok(())
    }

    /// Gives labels to one task, while it is live.
    pub(super) fn join(
        &mut self,
        index: u64,
        task: TaskId,
        labels: &Labels,
    ) -> Result<(), FoldError> {
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Ok(());
        };
        if entry.state != TaskState::Active {
            return Ok(());
        }
        let joined = entry.usage.labels.union(labels);
        let joined = joined.map_err(|_| inconsistent(index, "too many labels came together"))?;
        if joined != entry.usage.labels {
            entry.usage.labels = joined;
            self.epochs.tasks.insert(task, index);
            self.touch(RowKey::Task(task));
        }
        Ok(())
    }

    /// Forgets what hangs on a task that is forgotten.
    pub(super) fn forget_delegations(&mut self, task: TaskId, parent: Option<TaskId>) {
        for made in self.delegations_of.remove(&task).unwrap_or_default() {
            self.delegations.remove(&made);
        }
        self.children.remove(&task);
        if let Some(siblings) = parent.and_then(|it| self.children.get_mut(&it)) {
            siblings.retain(|it| *it != task);
        }
    }
}

/// How a child ends when its parent ended so.
pub(super) const fn end_below(end: End) -> End {
    match end {
        // What it had still to do is not done.
        End::Completed | End::Cancelled => End::Cancelled,
        End::Expired => End::Expired,
        End::Revoked | End::Unregistered => End::Revoked,
    }
}

/// The delegations of live tasks, by name.
pub(crate) type Delegations = BTreeMap<DelegationId, DelegationEntry>;

//! What the log alone says about delegations: given once, taken once, never more than there was.

use ambit_core::{
    DelegationId, TaskId, Timestamp,
    act::Target,
    delegation::{Delegation, Lineage},
    estate::Template,
    record::{Actor, Decided},
    task::Task,
};

use super::{Broken, Course, Laws, ensure, union};

/// A delegation, as far as it has come.
pub(super) struct Given {
    delegation: Delegation,
    /// How many tasks had started when it was made.
    number: usize,
    child: Option<TaskId>,
    withdrawn: bool,
}

impl Laws {
    pub(super) fn delegated(&mut self, at: Timestamp, given: &Delegation) -> Result<(), Broken> {
        let parent = self.live(given.parent, at, "a delegation")?;
        let in_time = given.expires_at <= parent.task.expires_at;
        ensure(in_time, || format!("{} outlives its task", given.id))?;
        let given = Given {
            delegation: given.clone(),
            number: self.tasks.len(),
            child: None,
            withdrawn: false,
        };
        let id = given.delegation.id;
        let before = self.delegations.insert(id, given);
        ensure(before.is_none(), || format!("{id} is made twice"))
    }

    pub(super) fn exchanged(
        &mut self,
        at: Timestamp,
        task: &Task,
        by: Actor,
    ) -> Result<(), Broken> {
        let Lineage::Child {
            parent,
            delegation,
            depth,
            ..
        } = task.lineage
        else {
            return Err(format!("{} is no child", task.id));
        };
        let above = self.live(parent, at, "a child")?;
        let (whose, estate, labels) = (above.task.subject, above.task.estate, above.labels.clone());
        let same = whose == task.subject && estate == task.estate;
        ensure(same, || format!("{} changes its subject", task.id))?;
        let deeper = above.task.lineage.depth() + 1 == depth;
        ensure(deeper, || format!("{} is at another depth", task.id))?;
        let agent = Target::Agent(task.agent.clone());
        let given = self.delegations.get(&delegation);
        let given = given.ok_or_else(|| format!("{delegation} is spent and was never made"))?;
        let lifted = self.reinstated.get(&agent);
        let revoked = self.revoked.contains(&agent) || lifted.is_some_and(|it| given.number < *it);
        ensure(!revoked, || {
            format!("{} starts under revoked {agent}", task.id)
        })?;
        let fits = given.delegation.parent == parent
            && given.delegation.to == task.agent
            && task.expires_at <= given.delegation.expires_at
            && at < given.delegation.expires_at;
        ensure(fits, || {
            format!("{delegation} is spent by another, or too late")
        })?;
        let open = given.child.is_none() && !given.withdrawn;
        ensure(open, || {
            format!("{delegation} is spent twice, or after it was withdrawn")
        })?;
        let part = given.delegation.part.clone();
        let brought = self
            .tasks
            .values()
            .find(|it| Actor::Instance(it.task.instance) == by);
        let taken_by = brought.map(|it| it.task.id);
        brought.map_or(Ok(()), |own| may_take(own, task, at))?;
        let labels = match brought {
            Some(own) => union(&labels, &own.labels)?,
            None => labels,
        };
        for member in self.line(parent) {
            if let Some(course) = self.tasks.get_mut(&member) {
                course.labels = union(&course.labels, &labels)?;
            }
        }
        if let Some(given) = self.delegations.get_mut(&delegation) {
            given.child = Some(task.id);
        }
        let course = Course {
            task: task.clone(),
            number: self.tasks.len(),
            over: false,
            calls: 0,
            tool_calls: std::collections::BTreeMap::new(),
            labels,
            above: Some((parent, part)),
            taken_by,
        };
        let before = self.tasks.insert(task.id, course);
        ensure(before.is_none(), || format!("{} starts twice", task.id))
    }

    pub(super) fn withdrawn(&mut self, at: Timestamp, id: DelegationId) -> Result<(), Broken> {
        let given = self.delegations.get_mut(&id);
        let given = given.ok_or_else(|| format!("{id} is withdrawn and was never made"))?;
        ensure(!given.withdrawn, || format!("{id} is withdrawn twice"))?;
        given.withdrawn = true;
        let (parent, child) = (given.delegation.parent, given.child);
        self.live(parent, at, "a withdrawal")?;
        if let Some(course) = child.and_then(|it| self.tasks.get_mut(&it)) {
            course.over = true;
        }
        if let Some(child) = child {
            self.end_below(child);
        }
        Ok(())
    }

    /// Returns the task and every one above it, itself first.
    pub(super) fn line(&self, task: TaskId) -> Vec<TaskId> {
        let above = |it: &TaskId| Some(self.tasks.get(it)?.above.as_ref()?.0);
        std::iter::successors(Some(task), above).collect()
    }

    /// Ends everything below an ended task, and what its run took beside it.
    pub(super) fn end_below(&mut self, task: TaskId) {
        let below = self.tasks.values();
        let below = below.filter(|it| {
            let parent = it.above.as_ref().map(|(parent, _)| *parent);
            !it.over && (parent == Some(task) || it.taken_by == Some(task))
        });
        let below: Vec<TaskId> = below.map(|it| it.task.id).collect();
        for child in below {
            if let Some(course) = self.tasks.get_mut(&child) {
                course.over = true;
            }
            self.end_below(child);
        }
    }

    /// Holds a permit against the part that was given, and narrows the template's maxima to it.
    pub(super) fn narrow(
        &self,
        task: TaskId,
        template: &mut Template,
        decided: &Decided,
    ) -> Result<(), Broken> {
        let course = self.tasks.get(&task).ok_or("an unknown task")?;
        let Some((_, part)) = &course.above else {
            return Ok(());
        };
        template.calls_max = template.calls_max.min(part.calls_max);
        let kept = template
            .may_emit
            .iter()
            .filter(|label| part.may_emit.iter().any(|it| it == *label));
        template.may_emit = ambit_core::Labels::new(kept.cloned()).map_err(|it| it.to_string())?;
        let (Some(server), Some(tool)) = (&decided.server, &decided.tool) else {
            return Ok(());
        };
        let named = part.tools.get(&(server.clone(), tool.clone()));
        let given = named.is_some() || part.reads.contains(server);
        ensure(given, || {
            format!("{} is of no part of {task}", decided.decision)
        })?;
        if let Some(max) = named.and_then(|it| it.calls_max)
            && let Some(grant) = template.tools.get_mut(&(server.clone(), tool.clone()))
        {
            grant.calls_max = Some(grant.calls_max.map_or(max, |it| it.min(max)));
        }
        Ok(())
    }
}

/// A run takes a part while its own task is live, and for no longer than that.
fn may_take(own: &Course, task: &Task, at: Timestamp) -> Result<(), Broken> {
    let bounded = task.expires_at <= own.task.expires_at;
    ensure(bounded, || format!("{} outlives who took it", task.id))?;
    let serves = !own.over && at < own.task.expires_at;
    ensure(serves, || {
        format!("{} is taken by a run that ended", task.id)
    })
}

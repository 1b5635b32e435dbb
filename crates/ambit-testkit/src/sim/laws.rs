//! The promises that can be checked from the log alone, written down a second time, without the engine's fold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ambit_core::{
    ApprovalId, DecisionId, DelegationId, Digest, Labels, PersonId, RevocationId, ServerName,
    TaskId, Timestamp, ToolName,
    act::Target,
    delegation::Part,
    estate::{Bound, Mode, Template},
    limits::{APPROVAL_GRANTED_TTL, PERMIT_ACT_BY},
    record::{Answer, Body, Decided, Performed, Record, Status, Verdict},
    task::Task,
};
use ambit_policy::PolicyBook;

use self::delegation::Given;
use super::claims::claims;

mod delegation;

/// What the log says so far, and whether it kept the promises.
pub struct Laws {
    books: BTreeMap<Digest, Arc<PolicyBook>>,
    at: Option<Timestamp>,
    estate: Option<Digest>,
    tasks: BTreeMap<TaskId, Course>,
    approvals: BTreeMap<ApprovalId, Asked>,
    revoked: BTreeSet<Target>,
    /// How many tasks had started when a ban was lifted: they stay without.
    reinstated: BTreeMap<Target, usize>,
    revocations: BTreeSet<RevocationId>,
    effective: BTreeSet<RevocationId>,
    pub(super) open: BTreeMap<DecisionId, Option<Status>>,
    permitted: BTreeMap<DecisionId, TaskId>,
    seen: BTreeMap<(ServerName, ToolName), Digest>,
    delegations: BTreeMap<DelegationId, Given>,
    claims: BTreeSet<String>,
    waiting: BTreeSet<TaskId>,
    coalesced: u64,
}

/// How far a task has come.
struct Course {
    task: Task,
    number: usize,
    over: bool,
    calls: u32,
    tool_calls: BTreeMap<(ServerName, ToolName), u32>,
    labels: Labels,
    /// The task above and the part that was given of it.
    above: Option<(TaskId, Part)>,
    /// The task that the run serves already that took it.
    taken_by: Option<TaskId>,
}

struct Asked {
    task: TaskId,
    commitment: Digest,
    pin: Option<Digest>,
    answer: Option<(Verdict, PersonId, Timestamp)>,
    spent: bool,
    /// Who said yes was revoked since.
    void: bool,
}

/// A promise that the log breaks, in words.
pub type Broken = String;

impl Laws {
    /// Returns the laws of an empty log, under the versions of the estate that may come into force.
    pub fn new(books: BTreeMap<Digest, Arc<PolicyBook>>) -> Self {
        Self {
            books,
            at: None,
            estate: None,
            tasks: BTreeMap::new(),
            approvals: BTreeMap::new(),
            revoked: BTreeSet::new(),
            reinstated: BTreeMap::new(),
            revocations: BTreeSet::new(),
            effective: BTreeSet::new(),
            open: BTreeMap::new(),
            permitted: BTreeMap::new(),
            seen: BTreeMap::new(),
            delegations: BTreeMap::new(),
            claims: BTreeSet::new(),
            waiting: BTreeSet::new(),
            coalesced: 0,
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The record breaks a promise.
    pub fn take(&mut self, record: &Record) -> Result<(), Broken> {
        ensure(self.at <= Some(record.at), || "time decreases".to_owned())?;
        self.at = Some(record.at);
        self.claims.extend(claims(&record.body));
        match &record.body {
            Body::EstateApplied { estate, .. } => self.estate = Some(*estate),
            Body::TaskStarted { task, .. } => self.started(task)?,
            Body::DelegationMade { delegation, .. } => self.delegated(record.at, delegation)?,
            Body::DelegationSpent { task, mandate, .. } => {
                self.exchanged(record.at, task, mandate.by)?;
            }
            Body::DelegationWithdrawn { delegation, .. } => {
                self.withdrawn(record.at, *delegation)?;
            }
            Body::TaskEnded { task, .. } => self.ended(*task)?,
            Body::Decided(decided) => self.decided(record.at, decided)?,
            Body::Performed(performed) => self.performed(performed)?,
            Body::ActSettled { decision, task, .. } => self.settled(*decision, *task)?,
            Body::ApprovalDecided {
                approval,
                task,
                verdict,
                warrant,
                ..
            } => self.answered(record.at, (*approval, *task), *verdict, warrant.by)?,
            Body::Revoked {
                revocation, target, ..
            } => self.revoke(*revocation, target),
            Body::RevocationCarried { target, .. } => {
                self.revoked.insert(target.clone());
            }
            Body::Reinstated { target, .. } => {
                ensure(self.revoked.remove(target), || {
                    format!("{target} is reinstated and was never revoked")
                })?;
                self.reinstated.insert(target.clone(), self.tasks.len());
            }
            Body::RevocationEffective { revocation, .. } => self.effective(*revocation)?,
            Body::ToolSeen { server, tool, seen } => {
                self.seen.insert((server.clone(), tool.clone()), *seen);
            }
            Body::RefusalsCoalesced { count, .. } => self.coalesced += count,
            Body::InstanceCertified { task, .. } => self.under(*task, "a certificate")?,
            Body::TokenIssued(token) => self.under(token.task, "a token")?,
            Body::TokenRevoked { task, .. } => self.under(*task, "a token's end")?,
            Body::TaskAttended { task } => {
                self.live(*task, record.at, "a runner")?;
            }
            Body::TaskWaits { task, .. } => {
                self.live(*task, record.at, "an offer")?;
                ensure(self.waiting.insert(*task), || format!("{task} waits twice"))?;
            }
            Body::TaskClaimed { task, .. } => {
                self.live(*task, record.at, "a claim")?;
                ensure(self.waiting.remove(task), || {
                    format!("{task} is claimed and does not wait")
                })?;
            }
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::ServerInspected { .. }
            | Body::KeysRotated { .. }
            | Body::Bundle(_)
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::StateDigest { .. } => {}
        }
        Ok(())
    }

    fn settled(&mut self, decision: DecisionId, task: TaskId) -> Result<(), Broken> {
        let known = self.permitted.get(&decision) == Some(&task);
        let unknown = self.open.remove(&decision) == Some(Some(Status::Unknown));
        ensure(known && unknown, || {
            format!("{decision} is settled, and was not unknown")
        })
    }

    fn effective(&mut self, revocation: RevocationId) -> Result<(), Broken> {
        let known = self.revocations.contains(&revocation);
        ensure(known && self.effective.insert(revocation), || {
            format!("{revocation} takes effect once, after it was written")
        })
    }

    /// Returns the time of the last record.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// Returns the estate in force.
    pub fn estate(&self) -> Option<Digest> {
        self.estate
    }

    /// Returns how many refusals were counted rather than written.
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Says whether the log holds what a line of [`claims`] says.
    pub fn holds(&self, claim: &str) -> bool {
        self.claims.contains(claim)
    }

    /// Returns the acts whose end is neither written nor written as unknown.
    pub fn unaccounted(&self) -> Vec<DecisionId> {
        let open = self.open.iter().filter(|(_, status)| status.is_none());
        open.map(|(decision, _)| *decision).collect()
    }

    /// Returns the task under which `decision` permitted an act, when it did.
    pub fn permitted(&self, decision: DecisionId) -> Option<TaskId> {
        self.permitted.get(&decision).copied()
    }

    /// Says whether the log has taken the authority of `task`, or of an act of it at `server`.
    pub fn is_over(&self, task: TaskId, server: Option<&ServerName>) -> bool {
        let server = server.map(|it| Target::Server(it.clone()));
        self.tasks.get(&task).is_none_or(|it| it.over)
            || server.is_some_and(|it| self.is_revoked(task, &it))
    }

    /// Says whether `target` was revoked after `task` began, or is.
    fn is_revoked(&self, task: TaskId, target: &Target) -> bool {
        let number = self.tasks.get(&task).map_or(0, |it| it.number);
        let lifted = self.reinstated.get(target);
        self.revoked.contains(target) || lifted.is_some_and(|it| number < *it)
    }

    fn started(&mut self, task: &Task) -> Result<(), Broken> {
        for target in [
            Target::Agent(task.agent.clone()),
            Target::Person(task.subject),
        ] {
            let revoked = self.revoked.contains(&target);
            ensure(!revoked, || format!("a task starts under revoked {target}"))?;
        }
        ensure(Some(task.estate) == self.estate, || {
            "a task starts under an old estate".to_owned()
        })?;
        let course = Course {
            task: task.clone(),
            number: self.tasks.len(),
            over: false,
            calls: 0,
            tool_calls: BTreeMap::new(),
            labels: Labels::none(),
            above: None,
            taken_by: None,
        };
        let before = self.tasks.insert(task.id, course);
        ensure(before.is_none(), || format!("{} starts twice", task.id))
    }

    fn ended(&mut self, id: TaskId) -> Result<(), Broken> {
        let course = self.tasks.get_mut(&id);
        let course = course.ok_or_else(|| format!("{id} ends and never started"))?;
        ensure(!course.over, || format!("{id} ends twice"))?;
        course.over = true;
        self.end_below(id);
        Ok(())
    }

    fn revoke(&mut self, revocation: RevocationId, target: &Target) {
        self.revocations.insert(revocation);
        self.revoked.insert(target.clone());
        for asked in self.approvals.values_mut() {
            let by = asked.answer.map(|(_, by, _)| Target::Person(by));
            asked.void |= by.as_ref() == Some(target);
        }
        for course in self.tasks.values_mut() {
            let task = &course.task;
            course.over |= match target {
                Target::Task(id) => task.id == *id,
                Target::Instance(id) => task.instance == *id,
                Target::Agent(name) => task.agent == *name,
                Target::Person(id) => task.subject == *id,
                Target::Server(_) => false,
            };
        }
        let over = self.tasks.values().filter(|it| it.over);
        let over: Vec<TaskId> = over.map(|it| it.task.id).collect();
        for task in over {
            self.end_below(task);
        }
    }

    /// Checks that what is written now hangs on a live task.
    fn under(&self, id: TaskId, what: &str) -> Result<(), Broken> {
        let at = self.at.unwrap_or(Timestamp::from_millis(0));
        self.live(id, at, what).map(|_| ())
    }

    fn live(&self, id: TaskId, at: Timestamp, what: &str) -> Result<&Course, Broken> {
        let course = self.tasks.get(&id);
        let course = course.ok_or_else(|| format!("{what} for {id}, which never started"))?;
        ensure(!course.over, || format!("{what} after the end of {id}"))?;
        let in_time = at < course.task.expires_at;
        ensure(in_time, || format!("{what} after {id} expired"))?;
        Ok(course)
    }

    fn decided(&mut self, at: Timestamp, decided: &Decided) -> Result<(), Broken> {
        match &decided.answer {
            Answer::Deny { .. } => Ok(()),
            Answer::Hold { approval, .. } => {
                let task = decided.task.ok_or("a hold names no task")?;
                let act = decided.act.ok_or("a hold names no act")?;
                let fresh = Asked {
                    task,
                    commitment: act.commitment,
                    pin: decided.pin,
                    answer: None,
                    spent: false,
                    void: false,
                };
                let asked = self.approvals.entry(*approval).or_insert(fresh);
                let same = asked.task == task && asked.commitment == act.commitment;
                ensure(same, || format!("{approval} is for two acts"))
            }
            Answer::Allow {
                act_by,
                charged,
                spends,
            } => {
                // A batch may have begun a moment before the question, so the two seconds count from the later one.
                let asked_at = (decided.decision.bits() >> 80) as u64;
                let asked_at = Timestamp::from_millis(asked_at);
                ensure(*act_by <= at.max(asked_at).plus(PERMIT_ACT_BY), || {
                    format!("{} lives too long", decided.decision)
                })?;
                self.allowed(at, decided, *spends)?;
                self.charge(at, decided, charged)
            }
        }
    }

    /// Checks a permit against everything that could take it away.
    fn allowed(
        &mut self,
        at: Timestamp,
        decided: &Decided,
        spends: Option<ApprovalId>,
    ) -> Result<(), Broken> {
        let name = decided.decision;
        ensure(Some(decided.estate) == self.estate, || {
            format!("{name} is permitted under an old estate")
        })?;
        if let (Some(server), Some(task)) = (&decided.server, decided.task) {
            let revoked = self.is_revoked(task, &Target::Server(server.clone()));
            ensure(!revoked, || format!("{name} at revoked {server}"))?;
        }
        let mut held = false;
        if let (Some(server), Some(tool)) = (&decided.server, &decided.tool) {
            let key = (server.clone(), tool.clone());
            let book = self.books.get(&decided.estate).ok_or("an unknown estate")?;
            let pin = book.estate().tool(server, tool).map(|it| it.pin);
            ensure(decided.pin == pin, || format!("{name} has another pin"))?;
            let seen = self.seen.get(&key).copied();
            ensure(seen.is_none() || seen == pin, || {
                format!("{name} calls a changed tool")
            })?;
            let task = decided.task.ok_or("a permit names no task")?;
            let templates = [self.template(task, decided.estate), self.template_of(task)];
            held = templates.iter().flatten().any(|it| {
                let grant = it.tools.get(&key);
                grant.is_some_and(|it| it.approval == Bound::Held)
            });
        }
        match spends {
            Some(approval) => self.spend(at, approval, decided),
            None => ensure(!held, || format!("{name} goes without a human's yes")),
        }
    }

    fn spend(
        &mut self,
        at: Timestamp,
        approval: ApprovalId,
        decided: &Decided,
    ) -> Result<(), Broken> {
        let asked = self.approvals.get_mut(&approval);
        let asked = asked.ok_or_else(|| format!("{approval} is spent, never asked for"))?;
        let commitment = decided.act.map(|it| it.commitment);
        let same = Some(asked.commitment) == commitment && Some(asked.task) == decided.task;
        ensure(same, || format!("{approval} is spent on another act"))?;
        ensure(asked.pin == decided.pin, || {
            format!("{approval} is spent on another pin")
        })?;
        let spent = std::mem::replace(&mut asked.spent, true);
        ensure(!spent, || format!("{approval} is spent twice"))?;
        ensure(!asked.void, || {
            format!("{approval} is spent after its giver was revoked")
        })?;
        let Some((Verdict::Approved, _, said)) = asked.answer else {
            return Err(format!("{approval} is spent and nobody said yes"));
        };
        ensure(at < said.plus(APPROVAL_GRANTED_TTL), || {
            format!("{approval} is spent after its time")
        })
    }

    fn charge(&mut self, at: Timestamp, decided: &Decided, charged: &Labels) -> Result<(), Broken> {
        let name = decided.decision;
        let task = decided.task.ok_or("a permit names no task")?;
        self.live(task, at, "a permit")?;
        for member in self.line(task) {
            self.charge_one(at, (member, decided), charged)?;
        }
        self.permitted.insert(name, task);
        let before = self.open.insert(name, None);
        ensure(before.is_none(), || format!("{name} is permitted twice"))
    }

    /// What a child does is charged to every task above it.
    fn charge_one(
        &mut self,
        at: Timestamp,
        (task, decided): (TaskId, &Decided),
        charged: &Labels,
    ) -> Result<(), Broken> {
        let name = decided.decision;
        self.live(task, at, "a permit")?;
        let mut template = self.template_of(task).ok_or("an unknown template")?.clone();
        self.narrow(task, &mut template, decided)?;
        let key = decided.server.clone().zip(decided.tool.clone());
        let sends = key.as_ref().is_some_and(|(server, tool)| {
            let book = self.books.get(&decided.estate);
            let tool = book.and_then(|it| it.estate().tool(server, tool));
            tool.is_some_and(|it| it.mode == Mode::Send)
        });
        let course = self.tasks.get_mut(&task).ok_or("an unknown task")?;
        if sends {
            let leaks = course.labels.without(&template.may_emit).next().is_some();
            ensure(!leaks, || format!("{name} sends what may not leave"))?;
        }
        course.calls += 1;
        ensure(course.calls <= template.calls_max, || {
            format!("{name} exceeds the budget")
        })?;
        if let Some(key) = key {
            let count = course.tool_calls.entry(key.clone()).or_insert(0);
            *count += 1;
            let most = template.tools.get(&key).and_then(|it| it.calls_max);
            let within = most.is_none_or(|it| *count <= it);
            ensure(within, || format!("{name} exceeds its tool's budget"))?;
        }
        course.labels = union(&course.labels, charged)?;
        Ok(())
    }

    fn performed(&mut self, performed: &Performed) -> Result<(), Broken> {
        let name = performed.decision;
        let known = self.permitted.get(&name) == Some(&performed.task);
        ensure(known, || format!("{name} was performed, never permitted"))?;
        let open = self.open.get_mut(&name);
        let open = open.ok_or_else(|| format!("{name} ends twice"))?;
        if performed.status == Status::Unknown {
            *open = Some(Status::Unknown);
        } else {
            self.open.remove(&name);
        }
        for member in self.line(performed.task) {
            let course = self.tasks.get_mut(&member);
            let course = course.ok_or("an outcome of no task")?;
            if !course.over {
                course.labels = union(&course.labels, &performed.labels)?;
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        at: Timestamp,
        (approval, task): (ApprovalId, TaskId),
        verdict: Verdict,
        by: PersonId,
    ) -> Result<(), Broken> {
        let subject = self.live(task, at, "a verdict")?.task.subject;
        let asked = self.approvals.get_mut(&approval);
        let asked = asked.ok_or_else(|| format!("{approval} is answered, never asked for"))?;
        let fits = asked.task == task && asked.answer.is_none() && subject != by;
        ensure(fits, || {
            format!("{approval} is answered once, by another person")
        })?;
        asked.answer = Some((verdict, by, at));
        Ok(())
    }

    fn template_of(&self, task: TaskId) -> Option<&Template> {
        self.template(task, self.tasks.get(&task)?.task.estate)
    }

    fn template(&self, task: TaskId, estate: Digest) -> Option<&Template> {
        let task = &self.tasks.get(&task)?.task;
        self.books
            .get(&estate)?
            .estate()
            .templates
            .get(&task.template)
    }
}

/// Refuses when `kept` is not so.
pub(super) fn ensure(kept: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if kept { Ok(()) } else { Err(broken()) }
}

fn union(one: &Labels, other: &Labels) -> Result<Labels, Broken> {
    one.union(other).map_err(|error| error.to_string())
}

impl std::fmt::Debug for Laws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Laws({} claims)", self.claims.len())
    }
}

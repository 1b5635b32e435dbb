//! The story of one task.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ambit_core::{
    DecisionId, DelegationId, InstanceId, RevocationId, ServerName, TaskId, Timestamp,
    act::Target,
    delegation::Lineage,
    json::Value,
    record::{Answer, Body, Decided, Mandate, Performed, Settlement, Status, Warrant},
    task::{End, Task, TaskState},
};

use super::{Entry, Names, concerns::run_of, words};
use crate::visible::visible;

/// The story of one task, in the order of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Which task.
    pub task: TaskId,
    /// What it is, for whom, and how it stands.
    pub headline: String,
    /// How it stands: `active`, or how it ended.
    pub state: &'static str,
    /// The acts whose outcome nobody knows: somebody must look at the target itself.
    pub unknown: Vec<Line>,
    /// Everything that happened.
    pub lines: Vec<Line>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The index of the record.
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of thing it is.
    pub mark: Mark,
    /// What happened, in words with nothing hidden.
    pub text: String,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// An act was allowed.
    Allowed,
    /// An act waits for a person.
    Held,
    /// An act was denied.
    Denied,
    /// An act was allowed, and nobody knows how it ended.
    Unknown,
    /// Authority was given, approved or certified.
    Given,
    /// Authority ended.
    Ended,
    /// A person settled an act whose outcome nobody knew, or opened what is sealed.
    Noted,
}

/// Tells the story of `task` as of `now`, or nothing when the log does not know it.
pub fn trace(entries: &[Entry], names: &Names, task: TaskId, now: Timestamp) -> Option<Trace> {
    let started = entries.iter().filter_map(begun).find(|it| it.id == task)?;
    let context = Context::gather(entries, started);
    let names = &names.clone().with_claims(entries);
    let lines: Vec<Line> = entries
        .iter()
        .filter_map(|it| context.line(it, names))
        .collect();
    let unknown = lines.iter().filter(|it| it.mark == Mark::Unknown);
    let unknown = unknown.cloned().collect();
    let state = match context.state.standing(started.expires_at, now) {
        TaskState::Active => "active",
        TaskState::Ended(end) => end.as_str(),
    };
    let headline = format!(
        "{}: {}{} by {} for {}: {state}",
        started.id,
        started.template,
        match started.lineage.parent() {
            None => String::new(),
            Some(parent) => format!(", a part delegated by {parent},"),
        },
        started.agent,
        names.person(started.subject)
    );
    Some(Trace {
        task,
        headline: visible(&headline),
        state,
        unknown,
        lines,
    })
}

/// What must be known of the whole log before one record of the task can be told.
struct Context<'a> {
    task: &'a Task,
    outcomes: BTreeMap<DecisionId, &'a Performed>,
    /// What people found of acts whose outcome nobody knew.
    settled: BTreeMap<DecisionId, (Settlement, &'a Warrant)>,
    servers: BTreeSet<&'a ServerName>,
    revocations: BTreeSet<RevocationId>,
    state: TaskState,
    /// The tasks that began, as far as the records say.
    tasks: BTreeMap<TaskId, &'a Task>,
    /// Which run took which part.
    takers: BTreeMap<TaskId, InstanceId>,
    /// Which task each run serves.
    served: BTreeMap<InstanceId, TaskId>,
    /// Those below that are over.
    over_below: BTreeSet<TaskId>,
    /// Those below that a revocation ended.
    cut: BTreeMap<RevocationId, Vec<&'a Task>>,
    /// Those below that ended with the task of a run that took one of them.
    left: BTreeMap<TaskId, Vec<&'a Task>>,
}

impl<'a> Context<'a> {
    fn gather(entries: &'a [Entry], task: &'a Task) -> Self {
        let mut context = Self {
            task,
            outcomes: BTreeMap::new(),
            settled: BTreeMap::new(),
            servers: BTreeSet::new(),
            revocations: BTreeSet::new(),
            state: TaskState::Active,
            tasks: entries
                .iter()
                .filter_map(begun)
                .map(|it| (it.id, it))
                .collect(),
            takers: entries.iter().filter_map(taken).collect(),
            served: entries
                .iter()
                .filter_map(begun)
                .map(|it| (it.instance, it.id))
                .collect(),
            over_below: BTreeSet::new(),
            cut: BTreeMap::new(),
            left: BTreeMap::new(),
        };
        // What was revoked before it began was lifted before, too: it tells nothing of this task.
        let began = |it: &Entry| begun(it).is_some_and(|it| it.id == task.id);
        for entry in entries.iter().skip_while(|it| !began(it)) {
            context.learn_below(&entry.record.body, entry.record.at);
            context.learn(&entry.record.body, entry.record.at);
        }
        context
    }

    /// Learns what became of the parts that the task gave away, and of their parts.
    fn learn_below(&mut self, body: &'a Body, at: Timestamp) {
        let is_live = |it: &&&Task| !self.over_below.contains(&it.id) && at < it.expires_at;
        let below = self
            .tasks
            .values()
            .filter(|it| self.is_below(it, self.task.id));
        let below = below.filter(is_live);
        let ended: Vec<&'a Task> = if let Body::Revoked { target, .. } = body {
            below
                .filter(|it| self.is_hit_below(target, it))
                .copied()
                .collect()
        } else if let Body::TaskEnded { task, .. } = body {
            let own = |it: &&&Task| it.id == *task || self.is_below(it, *task);
            below.filter(own).copied().collect()
        } else if let Body::DelegationWithdrawn { delegation, .. } = body {
            below
                .filter(|it| self.came_by(it, *delegation))
                .copied()
                .collect()
        } else {
            return;
        };
        self.over_below.extend(ended.iter().map(|it| it.id));
        if let Body::Revoked { revocation, .. } = body
            && !ended.is_empty()
        {
            self.cut.insert(*revocation, ended);
        } else if let Body::TaskEnded { task, .. } = body
            && !ended.is_empty()
            && !ended.iter().any(|it| it.id == *task)
        {
            self.left.insert(*task, ended);
        }
    }

    fn learn(&mut self, body: &'a Body, at: Timestamp) {
        let over = self.state != TaskState::Active || self.task.expires_at <= at;
        if let Body::Performed(it) = body
            && it.task == self.task.id
        {
            self.outcomes.insert(it.decision, it);
        }
        if let Body::ActSettled {
            decision,
            settlement,
            warrant,
            ..
        } = body
        {
            self.settled.insert(*decision, (*settlement, warrant));
        }
        if let Body::Decided(it) = body
            && it.task == Some(self.task.id)
        {
            self.servers.extend(&it.server);
        }
        if let Body::TaskEnded { task, end, .. } = body
            && !over
        {
            if *task == self.task.id {
                self.state = TaskState::Ended(*end);
            } else if self.is_above(*task) {
                self.state = TaskState::Ended(match end {
                    End::Completed | End::Cancelled => End::Cancelled,
                    End::Expired => End::Expired,
                    End::Revoked | End::Unregistered => End::Revoked,
                });
            }
        }
        if let Body::DelegationWithdrawn { delegation, .. } = body
            && !over
            && self.came_by(self.task, *delegation)
        {
            self.state = TaskState::Ended(End::Revoked);
        }
        if let Body::Revoked {
            revocation, target, ..
        } = body
            && !over
            && self.is_hit(target)
        {
            self.revocations.insert(*revocation);
            // A server's revocation leaves the task itself alive.
            if !matches!(target, Target::Server(_)) {
                self.state = TaskState::Ended(End::Revoked);
            }
        }
    }

    /// Says whether the delegation is one by which `task`, or one above it, came to be.
    fn came_by(&self, task: &'a Task, delegation: DelegationId) -> bool {
        self.chain(task).into_iter().any(
            |it| matches!(it.lineage, Lineage::Child { delegation: by, .. } if by == delegation),
        )
    }

    fn is_above(&self, task: TaskId) -> bool {
        self.is_below(self.task, task)
    }

    fn is_below(&self, task: &'a Task, above: TaskId) -> bool {
        let mut all = self.chain(task).into_iter().skip(1);
        all.any(|it| it.id == above)
    }

    /// Returns `task` and all with whose end it ends: those above it, and the tasks of the runs that took it or one of
    /// those beside their own.
    fn chain(&self, task: &'a Task) -> Vec<&'a Task> {
        let (mut found, mut next) = (vec![task], 0);
        while let Some(it) = found.get(next).copied() {
            next += 1;
            let parent = it.lineage.parent().and_then(|it| self.tasks.get(&it));
            let run = self.takers.get(&it.id).and_then(|it| self.served.get(it));
            let own = run.and_then(|it| self.tasks.get(it));
            for above in parent.into_iter().chain(own).copied() {
                if !found.iter().any(|it| it.id == above.id) {
                    found.push(above);
                }
            }
        }
        found
    }

    fn is_hit(&self, target: &Target) -> bool {
        match target {
            Target::Server(name) => self.servers.contains(name),
            Target::Task(_) | Target::Instance(_) | Target::Agent(_) | Target::Person(_) => {
                self.is_hit_below(target, self.task)
            }
        }
    }

    /// Says whether a revocation ended `task`, which that of a server never does.
    fn is_hit_below(&self, target: &Target, task: &'a Task) -> bool {
        let chain = self.chain(task);
        match target {
            Target::Task(_) | Target::Instance(_) | Target::Agent(_) => {
                chain.iter().any(|it| self.is_named(target, it))
            }
            Target::Person(id) => *id == task.subject,
            Target::Server(_) => false,
        }
    }

    /// Says whether a revocation is of `task` itself, of its run or of its agent.
    fn is_named(&self, target: &Target, task: &Task) -> bool {
        match target {
            Target::Task(id) => task.id == *id,
            Target::Instance(id) => task.instance == *id || self.takers.get(&task.id) == Some(id),
            Target::Agent(name) => task.agent == *name,
            Target::Person(_) | Target::Server(_) => false,
        }
    }

    /// Returns the task above by whose revocation this one ended.
    fn ended_with(&self, revocation: RevocationId, target: &Target) -> Option<&'a Task> {
        if !self.revocations.contains(&revocation) || self.is_named(target, self.task) {
            return None;
        }
        let mut above = self.chain(self.task).into_iter().skip(1);
        above.find(|it| self.is_named(target, it))
    }

    fn line(&self, entry: &Entry, names: &Names) -> Option<Line> {
        let body = &entry.record.body;
        let (mark, text) = if let Body::Decided(it) = body {
            self.decided(it, names)?
        } else {
            let mark = self.mark(body)?;
            (mark, self.told(body, words::body(body, names)))
        };
        Some(Line {
            index: entry.index,
            at: entry.record.at,
            mark,
            text: visible(&text),
        })
    }

    /// Adds to the words of an end which task it was of, where it was not this one.
    fn told(&self, body: &Body, text: String) -> String {
        let named = |it: &&Task| format!("{} of {}", it.id, it.agent);
        if let Body::TaskEnded { task, .. } = body
            && *task != self.task.id
        {
            if self.is_above(*task) {
                return format!("ended with {task}, which was {text}");
            }
            if let Some(below) = self.left.get(task) {
                let run = Some(&self.task.instance);
                let what = match below.iter().any(|it| self.takers.get(&it.id) == run) {
                    true => "a part that its run took",
                    false => "a part of it",
                };
                let below: Vec<String> = below.iter().map(named).collect();
                let whose = below.join(" and ");
                return format!("{whose}, {what}, ended with {task}, which was {text}");
            }
            let part = self.tasks.get(task).map(named).unwrap_or_default();
            return format!("{part}, a part of it: {text}");
        }
        let mut text = text;
        if let Body::Revoked {
            revocation, target, ..
        } = body
        {
            if let Some(above) = self.ended_with(*revocation, target) {
                text.push_str(&format!("; this part ended with {}", named(&above)));
            }
            if let Some(below) = self.cut.get(revocation) {
                let below: Vec<String> = below.iter().map(named).collect();
                text.push_str(&format!("; with it ended {}", below.join(" and ")));
            }
        }
        text
    }

    fn decided(&self, decided: &Decided, names: &Names) -> Option<(Mark, String)> {
        if decided.task != Some(self.task.id) {
            return None;
        }
        let outcome = self.outcomes.get(&decided.decision).copied();
        let settled = self.settled.get(&decided.decision);
        let found =
            settled.map(|(settlement, warrant)| words::settled(*settlement, warrant, names));
        let end = match (outcome, &found) {
            (Some(performed), Some(found)) => words::End::Settled(performed, found),
            (outcome, _) => outcome.into(),
        };
        let mark = match &decided.answer {
            Answer::Allow { .. } if found.is_none() && is_unknown(outcome) => Mark::Unknown,
            Answer::Allow { .. } => Mark::Allowed,
            Answer::Hold { .. } => Mark::Held,
            Answer::Deny { .. } => Mark::Denied,
        };
        Some((mark, words::decided(decided, end)))
    }

    /// Says what kind of thing a record is, when it belongs to the task.
    fn mark(&self, body: &Body) -> Option<Mark> {
        let (task, mark) = match body {
            Body::TaskStarted { task, .. } => (Some(task.id), Mark::Given),
            Body::InstanceCertified { task, .. }
            | Body::TaskWaits { task, .. }
            | Body::TaskClaimed { task, .. }
            | Body::TaskAttended { task, .. }
            | Body::ApprovalDecided { task, .. } => (Some(*task), Mark::Given),
            Body::ActSettled { task, .. } | Body::SealedOpened { task, .. } => {
                (Some(*task), Mark::Noted)
            }
            Body::TaskEnded { task, .. } => {
                let child = self.tasks.get(task).and_then(|it| it.lineage.parent());
                let own = *task == self.task.id || child == Some(self.task.id);
                let left = self.left.contains_key(task);
                return (own || left || self.is_above(*task)).then_some(Mark::Ended);
            }
            Body::DelegationMade { delegation, .. } => {
                let own =
                    delegation.parent == self.task.id || self.came_by(self.task, delegation.id);
                return own.then_some(Mark::Given);
            }
            Body::DelegationSpent { task, .. } => {
                let own = task.id == self.task.id
                    || task.lineage.parent() == Some(self.task.id)
                    || self.takers.get(&task.id) == Some(&self.task.instance);
                return own.then_some(Mark::Given);
            }
            Body::DelegationWithdrawn {
                delegation, parent, ..
            } => {
                let own = *parent == self.task.id || self.came_by(self.task, *delegation);
                return own.then_some(Mark::Ended);
            }
            Body::TokenIssued(token) => (Some(token.task), Mark::Given),
            Body::TokenRevoked { task, .. } => (Some(*task), Mark::Ended),
            Body::RefusalsCoalesced { task, .. } => (*task, Mark::Denied),
            Body::Revoked { revocation, .. } | Body::RevocationEffective { revocation, .. } => {
                let own = self.revocations.contains(revocation);
                return (own || self.cut.contains_key(revocation)).then_some(Mark::Ended);
            }
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::EstateApplied { .. }
            | Body::Decided(_)
            | Body::Performed(_)
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::ToolSeen { .. }
            | Body::ServerInspected { .. }
            | Body::KeysRotated { .. }
            | Body::Bundle(_)
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::StateDigest { .. } => return None,
        };
        (task == Some(self.task.id)).then_some(mark)
    }
}

/// Returns which part a run of an agent took with a record.
fn taken(entry: &Entry) -> Option<(TaskId, InstanceId)> {
    let (task, mandate) = spent(&entry.record.body)?;
    Some((task.id, run_of(mandate)?))
}

/// Returns the child that begins with a record, and the mandate by which.
pub(super) fn spent(body: &Body) -> Option<(&Task, &Mandate)> {
    let Body::DelegationSpent { task, mandate, .. } = body else {
        return None;
    };
    Some((task, mandate))
}

/// Returns the task that begins with a record.
pub(super) fn begun(entry: &Entry) -> Option<&Task> {
    if let Body::TaskStarted { task, .. } | Body::DelegationSpent { task, .. } = &entry.record.body
    {
        return Some(task);
    }
    None
}

fn is_unknown(outcome: Option<&Performed>) -> bool {
    outcome.is_none_or(|it| it.status == Status::Unknown)
}

impl Mark {
    /// Returns the word that the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Held => "held",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
            Self::Given => "given",
            Self::Ended => "ended",
            Self::Noted => "noted",
        }
    }
}

impl Trace {
    /// Returns the story as the control API gives it.
    pub fn to_value(&self) -> Value {
        let line = |it: &Line| {
            Value::object([
                ("index", it.index.into()),
                ("time", it.at.to_string().into()),
                ("mark", it.mark.as_str().into()),
                ("text", it.text.as_str().into()),
            ])
        };
        Value::object([
            ("task", self.task.to_string().into()),
            ("headline", self.headline.as_str().into()),
            ("state", self.state.into()),
            ("unknown", self.unknown.iter().map(line).collect()),
            ("lines", self.lines.iter().map(line).collect()),
        ])
    }
}

/// Writes the headline, what nobody knows, and then every line with its time since the first.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline)?;
        let start = self
            .lines
            .first()
            .map_or(Timestamp::from_millis(0), |it| it.at);
        if !self.unknown.is_empty() {
            writeln!(f, "\nLook at these first: nobody knows how they ended.")?;
            for line in &self.unknown {
                write_line(f, line, start)?;
            }
            writeln!(f, "  {NEXT}")?;
        }
        writeln!(f, "\nbegan {start}")?;
        for line in &self.lines {
            write_line(f, line, start)?;
        }
        Ok(())
    }
}

/// What to do about an act whose outcome nobody knows.
const NEXT: &str =
    "Ask the server of each whether it happened, then say so with `ambit log settle`.";

fn write_line(f: &mut fmt::Formatter<'_>, line: &Line, start: Timestamp) -> fmt::Result {
    let since = line.at.since(start).as_millis();
    writeln!(
        f,
        "  +{:>4}.{:03}s  #{:<5} {}",
        since / 1000,
        since % 1000,
        line.index,
        line.text
    )
}

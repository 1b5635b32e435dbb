//! The story of one task.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ambit_core::{
    DecisionId, RevocationId, ServerName, TaskId, Timestamp,
    act::Target,
    json::Value,
    record::{Answer, Body, Decided, Performed, Status},
    task::{End, Task, TaskState},
};

use super::{Entry, Names, words};
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
}

/// Tells the story of `task` as of `now`, or nothing when the log does not know it.
pub fn trace(entries: &[Entry], names: &Names, task: TaskId, now: Timestamp) -> Option<Trace> {
    let started = entries.iter().find_map(|it| {
        let Body::TaskStarted { task: it, .. } = &it.record.body else {
            return None;
        };
        (it.id == task).then_some(it.as_ref())
    })?;
    let context = Context::gather(entries, started);
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
        "{}: {} by {} for {}: {state}",
        started.id,
        started.template,
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
    servers: BTreeSet<&'a ServerName>,
    revocations: BTreeSet<RevocationId>,
    state: TaskState,
}

impl<'a> Context<'a> {
    fn gather(entries: &'a [Entry], task: &'a Task) -> Self {
        let mut context = Self {
            task,
            outcomes: BTreeMap::new(),
            servers: BTreeSet::new(),
            revocations: BTreeSet::new(),
            state: TaskState::Active,
        };
        for entry in entries {
            context.learn(&entry.record.body, entry.record.at);
        }
        context
    }

    fn learn(&mut self, body: &'a Body, at: Timestamp) {
        let over = self.state != TaskState::Active || self.task.expires_at <= at;
        if let Body::Performed(it) = body
            && it.task == self.task.id
        {
            self.outcomes.insert(it.decision, it);
        }
        if let Body::Decided(it) = body
            && it.task == Some(self.task.id)
        {
            self.servers.extend(&it.server);
        }
        if let Body::TaskEnded { task, end, .. } = body
            && *task == self.task.id
            && !over
        {
            self.state = TaskState::Ended(*end);
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

    fn is_hit(&self, target: &Target) -> bool {
        match target {
            Target::Task(id) => *id == self.task.id,
            Target::Instance(id) => *id == self.task.instance,
            Target::Agent(name) => *name == self.task.agent,
            Target::Person(id) => *id == self.task.subject,
            Target::Server(name) => self.servers.contains(name),
        }
    }

    fn line(&self, entry: &Entry, names: &Names) -> Option<Line> {
        let body = &entry.record.body;
        let (mark, text) = if let Body::Decided(it) = body {
            self.decided(it)?
        } else {
            (self.mark(body)?, words::body(body, names))
        };
        Some(Line {
            index: entry.index,
            at: entry.record.at,
            mark,
            text: visible(&text),
        })
    }

    fn decided(&self, decided: &Decided) -> Option<(Mark, String)> {
        if decided.task != Some(self.task.id) {
            return None;
        }
        let outcome = self.outcomes.get(&decided.decision).copied();
        let mark = match &decided.answer {
            Answer::Allow { .. } if is_unknown(outcome) => Mark::Unknown,
            Answer::Allow { .. } => Mark::Allowed,
            Answer::Hold { .. } => Mark::Held,
            Answer::Deny { .. } => Mark::Denied,
        };
        Some((mark, words::decided(decided, outcome.into())))
    }

    /// Says what kind of thing a record is, when it belongs to the task.
    fn mark(&self, body: &Body) -> Option<Mark> {
        let (task, mark) = match body {
            Body::TaskStarted { task, .. } => (Some(task.id), Mark::Given),
            Body::InstanceCertified { task, .. }
            | Body::TaskWaits { task, .. }
            | Body::TaskClaimed { task, .. }
            | Body::ApprovalDecided { task, .. } => (Some(*task), Mark::Given),
            Body::TaskEnded { task, .. } => (Some(*task), Mark::Ended),
            Body::TokenIssued(token) => (Some(token.task), Mark::Given),
            Body::TokenRevoked { task, .. } => (Some(*task), Mark::Ended),
            Body::RefusalsCoalesced { task, .. } => (*task, Mark::Denied),
            Body::Revoked { revocation, .. } | Body::RevocationEffective { revocation, .. } => {
                return self.revocations.contains(revocation).then_some(Mark::Ended);
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
            | Body::CredentialSealed { .. }
            | Body::StateDigest { .. } => return None,
        };
        (task == Some(self.task.id)).then_some(mark)
    }
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
        }
        writeln!(f, "\nbegan {start}")?;
        for line in &self.lines {
            write_line(f, line, start)?;
        }
        Ok(())
    }
}

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

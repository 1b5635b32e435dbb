//! Why one decision is what it is.

use std::fmt;

use ambit_core::{
    DecisionId, Digest, Reason, TaskId, Timestamp,
    json::Value,
    record::{Answer, Body, Decided, Mandate, Status, Warrant},
};

use super::{Entry, Names, beyond, words};
use crate::visible::{visible, visible_json};

/// Why one decision is what it is, for people. Agents never see this: it names rules and bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// Which decision.
    pub decision: DecisionId,
    /// The index of its record.
    pub index: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Under which task.
    pub task: Option<TaskId>,
    /// What was asked and answered, in words with nothing hidden.
    pub sentence: String,
    /// `allow`, `hold` or `deny`.
    pub answer: &'static str,
    /// The reason for a hold or denial.
    pub reason: Option<Reason>,
    /// What would change the answer, in words, when something would.
    pub change: Option<String>,
    /// What a person can do next, when there is something.
    pub next: Option<String>,
    /// The index of the record of its outcome, when that is written.
    pub outcome: Option<u64>,
    /// The rules that made it.
    pub rules: Vec<String>,
    /// The version of the estate that decided, for acts of agents.
    pub estate: Option<Digest>,
    /// Everything that the decision depended upon.
    pub facts: Value,
}

/// Returns why `decision` is what it is, or nothing when the log does not have it.
///
/// `explain` says what would change a decision; it comes from the policies that made it.
pub fn why(
    entries: &[Entry],
    names: &Names,
    decision: DecisionId,
    explain: impl Fn(&Decided) -> Option<String>,
) -> Option<Why> {
    entries.iter().find_map(|entry| {
        let body = &entry.record.body;
        if let Body::Decided(it) = body {
            return (it.decision == decision)
                .then(|| of_act(entry, it, (entries, names), &explain));
        }
        if let Some(mandate) = body.mandate().filter(|it| it.decision == decision) {
            return Some(of_step(entry, mandate, names));
        }
        let warrant = body.warrant().filter(|it| it.decision == decision)?;
        Some(of_person(entry, warrant, names))
    })
}

fn of_act(
    entry: &Entry,
    decided: &Decided,
    (entries, names): (&[Entry], &Names),
    explain: &impl Fn(&Decided) -> Option<String>,
) -> Why {
    // What is written later is known better.
    let outcome = entries.iter().rev().find_map(|entry| {
        let Body::Performed(it) = &entry.record.body else {
            return None;
        };
        (it.decision == decided.decision).then_some((entry.index, it.as_ref()))
    });
    let found = entries
        .iter()
        .find_map(|it| settlement_of(&it.record.body, decided.decision, names));
    let end = match (outcome, &found) {
        (Some((_, performed)), Some(found)) => words::End::Settled(performed, found),
        (outcome, _) => outcome.map(|it| it.1).into(),
    };
    let is_unknown = outcome.is_some_and(|it| it.1.status == Status::Unknown);
    let (answer, reason) = match &decided.answer {
        Answer::Allow { .. } => ("allow", None),
        Answer::Hold { reason, .. } => ("hold", Some(*reason)),
        Answer::Deny { reason } => ("deny", Some(*reason)),
    };
    // The sentence says the reason, and the rules stand below.
    let rules = format!(" (rules: {})", decided.rules.join(", "));
    let change = reason.and_then(|reason| {
        let text = explain(decided)?;
        let text = text.strip_suffix(&rules).unwrap_or(&text);
        beyond(words::said(decided, reason), text)
    });
    Why {
        decision: decided.decision,
        index: entry.index,
        at: entry.record.at,
        task: decided.task,
        sentence: visible(&words::decided(decided, end)),
        answer,
        reason,
        change: change.map(|it| visible(&it)),
        next: match next(&decided.answer) {
            None if is_unknown && found.is_none() => Some(to_settle(decided.decision)),
            next => next,
        },
        outcome: outcome.map(|it| it.0),
        rules: decided.rules.clone(),
        estate: Some(decided.estate),
        facts: decided.facts.clone(),
    }
}

/// Returns what a person can do about an answer. A hold names the command that shows the call.
fn next(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Allow { .. } => None,
        Answer::Hold {
            approval, reason, ..
        } => Some(format!(
            "{}: `ambit approvals show {approval}`",
            reason.next_step()
        )),
        Answer::Deny { reason } => Some(reason.next_step().to_owned()),
    }
}

/// Says what a person found of the act that `decision` permitted, when the record does.
fn settlement_of(body: &Body, decision: DecisionId, names: &Names) -> Option<String> {
    let Body::ActSettled {
        decision: of,
        settlement,
        warrant,
        ..
    } = body
    else {
        return None;
    };
    (*of == decision).then(|| words::settled(*settlement, warrant, names))
}

/// Says what to do about an act whose outcome nobody knows.
pub fn to_settle(decision: DecisionId) -> String {
    format!(
        "ask its server whether it happened, then `ambit log settle {decision} --happened` or `--did-not-happen`, \
         with `--reason`"
    )
}

fn of_person(entry: &Entry, warrant: &Warrant, names: &Names) -> Why {
    let task = if let Body::TaskStarted { task, .. } = &entry.record.body {
        Some(task.id)
    } else if let Body::ApprovalDecided { task, .. } = &entry.record.body {
        Some(*task)
    } else if let Body::ActSettled { task, .. } | Body::SealedOpened { task, .. } =
        &entry.record.body
    {
        Some(*task)
    } else {
        None
    };
    Why {
        decision: warrant.decision,
        index: entry.index,
        at: entry.record.at,
        task,
        sentence: visible(&words::body(&entry.record.body, names)),
        answer: "allow",
        reason: None,
        change: None,
        next: None,
        outcome: None,
        rules: warrant.rules.clone(),
        estate: None,
        facts: warrant.facts.clone(),
    }
}

fn of_step(entry: &Entry, mandate: &Mandate, names: &Names) -> Why {
    let task = mandate.facts.get("task").and_then(Value::as_str);
    Why {
        decision: mandate.decision,
        index: entry.index,
        at: entry.record.at,
        task: task.and_then(|it| it.parse().ok()),
        sentence: visible(&words::body(&entry.record.body, names)),
        answer: "allow",
        reason: None,
        change: None,
        next: None,
        outcome: None,
        rules: mandate.rules.clone(),
        estate: None,
        facts: mandate.facts.clone(),
    }
}

impl Why {
    /// Returns the explanation as the control API gives it.
    pub fn to_value(&self) -> Value {
        let text = |it: Option<String>| it.map_or(Value::Null, Value::from);
        Value::object([
            ("decision", self.decision.to_string().into()),
            ("index", self.index.into()),
            ("time", self.at.to_string().into()),
            ("task", text(self.task.map(|it| it.to_string()))),
            ("sentence", self.sentence.as_str().into()),
            ("answer", self.answer.into()),
            ("reason", text(self.reason.map(|it| it.to_string()))),
            (
                "remedy",
                text(self.reason.map(|it| it.remedy().code().to_owned())),
            ),
            ("next", text(self.next.clone())),
            ("outcome", self.outcome.map_or(Value::Null, |it| it.into())),
            ("change", text(self.change.clone())),
            ("rules", self.rules.iter().map(String::as_str).collect()),
            ("estate", text(self.estate.map(|it| it.to_string()))),
            ("facts", self.facts.clone()),
        ])
    }
}

/// Writes the sentence, the reason, the rules, what would change it, and the facts whole.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.sentence)?;
        writeln!(f, "  when    {} (record {})", self.at, self.index)?;
        if let Some(task) = self.task {
            writeln!(f, "  task    {task}")?;
        }
        if let Some(reason) = self.reason {
            let remedy = reason.remedy().code();
            writeln!(f, "  reason  {reason} (for the agent: {remedy})")?;
        }
        if !self.rules.is_empty() {
            writeln!(f, "  rules   {}", visible(&self.rules.join(", ")))?;
        }
        if let Some(change) = &self.change {
            writeln!(f, "  change  {change}")?;
        }
        if let Some(estate) = self.estate {
            writeln!(f, "  estate  {estate}")?;
        }
        if let Some(next) = &self.next {
            writeln!(f, "  next    {next}")?;
        }
        writeln!(
            f,
            "  facts   {}",
            visible_json(&self.facts).replace('\n', "\n          ")
        )
    }
}

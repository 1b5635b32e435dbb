//! Decisions: evidence that something may happen, must wait, or may not happen.
//!
//! Only this crate makes them; whoever holds one can spend it, once, by move.
//!
//! ```compile_fail,E0451
//! let forged = ambit_policy::Permit { ..todo!() };
//! ```
//! ```compile_fail,E0451
//! let forged = ambit_policy::Hold { ..todo!() };
//! ```
//! ```compile_fail,E0599
//! fn twice(permit: ambit_policy::Permit) { let _copy = permit.clone(); }
//! ```
//! ```compile_fail,E0382
//! fn twice(permit: ambit_policy::Permit) { permit.into_act(); permit.into_act(); }
//! ```

mod charge;

use ambit_core::{
    ApprovalId, DecisionId, Digest, Labels, Reason, ServerName, TaskId, Timestamp, ToolName,
    act::Act,
    json::Value,
    limits::PERMIT_ACT_BY,
    record::{Actor, Answer, Body, Decided, Recordable, Sealed},
    token::KeyBinding,
};

use crate::{
    Epochs, PolicyBook, Request,
    book::Sensitivity,
    delegation::DelegationFacts,
    explain,
    facts::Facts,
    gather::{counted_tool, gather},
    judge::{Judged, Verdict, deny, judge, judge_line},
    people::PersonFacts,
};

pub use self::charge::charge;

/// The answer to a request.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// It may happen, once, now.
    Allow(Permit),
    /// A person must say yes to exactly this act first.
    Hold(Hold),
    /// It may not happen.
    Deny(Denial),
}

/// Evidence that one act may happen, once, soon.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    asked: Asked,
    act: Act,
    act_by: Timestamp,
    charged: Labels,
    spends: Option<ApprovalId>,
    epochs: Epochs,
    counted_tool: Option<(ServerName, ToolName)>,
    /// For the task that asked and every one above it.
    flows: Vec<(TaskId, Flow)>,
}

/// Evidence that one act waits for a person's yes.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    asked: Asked,
    act: Act,
    approval: ApprovalId,
    expires_at: Timestamp,
    reason: Reason,
}

/// Evidence that something was refused, and why.
#[derive(Debug)]
#[must_use]
pub struct Denial {
    asked: Asked,
    reason: Reason,
}

/// What every decision knows of its question.
#[derive(Debug)]
struct Asked {
    decision: DecisionId,
    actor: Actor,
    task: Option<TaskId>,
    action: String,
    server: Option<ServerName>,
    tool: Option<ToolName>,
    pin: Option<Digest>,
    act: Option<Sealed>,
    estate: Digest,
    facts: Seen,
    rules: Vec<String>,
}

/// What a decision saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Act(Box<Facts>),
    Person(Box<PersonFacts>),
    Delegation(Box<DelegationFacts>),
    Nothing {
        at: Timestamp,
        /// How whoever asked came, when that is known.
        binding: Option<&'static str>,
    },
}

/// What a permit's labels were held against, so that the sequencer can hold them against what is so when
/// the permit's turn comes.
#[derive(Debug)]
enum Flow {
    /// Nothing can change the answer.
    Settled,
    /// Data leaves: the labels must still be within what may leave.
    Leaves,
    /// The tenant's policies looked at these labels.
    Judged(Labels),
}

/// Decides one act of an agent: gathers the facts, then judges them.
///
/// Pure. Reads of granted servers are free, side effects must be named by the template, and labels are
/// held against what leaves: tools of mode `send` and `execute`. A tool of mode `write` changes something
/// that stays inside the organisation, so labels do not stop it.
pub fn decide(request: Request<'_>) -> Decision {
    let facts = gather(&request);
    let Judged { verdict, rules } = judge_line(&facts, |place, facts| {
        let above = place.checked_sub(1).map(|it| request.above.get(it));
        let scope = match above {
            None => Some(request.scope),
            Some(above) => above.map(|it| it.scope),
        };
        match scope {
            Some(scope) => judge(request.book, &scope.entities, facts),
            None => deny(Reason::PolicyError, Vec::new()),
        }
    });
    let flows = match verdict {
        Verdict::Hold { .. } | Verdict::Deny { .. } => Vec::new(),
        Verdict::Allow { .. } => flows(request.book, &facts),
    };
    let charged = facts.charged.clone();
    let act = request.act;
    let asked = Asked {
        decision: request.decision,
        actor: Actor::Instance(request.task.instance),
        task: Some(request.task.id),
        action: act.action().to_owned(),
        server: act.server().cloned(),
        tool: act.tool().cloned(),
        pin: facts.pinned,
        act: request.sealed,
        estate: request.book.estate().digest,
        facts: Seen::Act(Box::new(facts)),
        rules,
    };
    match verdict {
        Verdict::Allow { spends } => Decision::Allow(Permit {
            act_by: request.at.plus(PERMIT_ACT_BY).min(request.task.expires_at),
            charged,
            spends,
            epochs: request.epochs,
            counted_tool: counted_tool(request.scope, &act).map(|(tool, _)| tool),
            flows,
            asked,
            act,
        }),
        Verdict::Hold {
            approval,
            expires_at,
            reason,
        } => Decision::Hold(Hold {
            asked,
            act,
            approval,
            expires_at,
            reason,
        }),
        Verdict::Deny { reason } => Decision::Deny(Denial { asked, reason }),
    }
}

/// Refuses what never becomes an act: an unknown task, an unknown method, a flood.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one plain fact of the record, and a struct would only be taken apart again"
)]
pub fn refuse(
    decision: DecisionId,
    at: Timestamp,
    actor: Actor,
    task: Option<TaskId>,
    estate: Digest,
    action: &str,
    reason: Reason,
) -> Denial {
    denial(
        (decision, actor, estate, action),
        task,
        Seen::Nothing { at, binding: None },
        (reason, Vec::new()),
    )
}

impl Decision {
    /// Returns the decision's name.
    pub const fn decision(&self) -> DecisionId {
        match self {
            Self::Allow(it) => it.decision(),
            Self::Hold(it) => it.decision(),
            Self::Deny(it) => it.decision(),
        }
    }
}

impl Permit {
    /// Returns the decision's name.
    pub const fn decision(&self) -> DecisionId {
        self.asked.decision
    }

    /// Returns the task under which the act may happen.
    pub const fn task(&self) -> Option<TaskId> {
        self.asked.task
    }

    /// Returns the act.
    pub const fn act(&self) -> &Act {
        &self.act
    }

    /// Returns when the permit ends: soon, and never after the task.
    pub const fn act_by(&self) -> Timestamp {
        self.act_by
    }

    /// Returns the narrowing epochs that the decision read.
    pub const fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// Returns the labels of what the act may return.
    pub const fn charged(&self) -> &Labels {
        &self.charged
    }

    /// Returns the approval that the permit spends.
    pub const fn spends(&self) -> Option<ApprovalId> {
        self.spends
    }

    /// Returns the tool whose own maximum of calls this act counts against.
    pub const fn counted_tool(&self) -> Option<&(ServerName, ToolName)> {
        self.counted_tool.as_ref()
    }

    /// Returns the rules that permitted the act.
    pub fn rules(&self) -> &[String] {
        &self.asked.rules
    }

    /// Gives the act out, and with it the permit up.
    pub fn into_act(self) -> Act {
        self.act
    }
}

impl Hold {
    /// Returns the decision's name.
    pub const fn decision(&self) -> DecisionId {
        self.asked.decision
    }

    /// Returns the task under which the act was asked for.
    pub const fn task(&self) -> Option<TaskId> {
        self.asked.task
    }

    /// Returns the act that waits.
    pub const fn act(&self) -> &Act {
        &self.act
    }

    /// Returns the approval that was asked for, new or pending already.
    pub const fn approval(&self) -> ApprovalId {
        self.approval
    }

    /// Returns when the question expires.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns why a person is asked.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the rules that ask.
    pub fn rules(&self) -> &[String] {
        &self.asked.rules
    }

    /// Returns what an approver or owner may read: rules, facts and what would change them.
    pub fn explanation(&self) -> String {
        explain::answer(self.reason, &self.asked.rules, &self.asked.facts)
    }
}

impl Denial {
    /// Returns the decision's name.
    pub const fn decision(&self) -> DecisionId {
        self.asked.decision
    }

    /// Returns the task under which it was asked for, when one was found.
    pub const fn task(&self) -> Option<TaskId> {
        self.asked.task
    }

    /// Names where it was asked for, when no decision could be made on it.
    pub fn at(mut self, server: Option<&ServerName>, tool: Option<&ToolName>) -> Self {
        self.asked.server = server.cloned();
        self.asked.tool = tool.cloned();
        self
    }

    /// Says how whoever asked came, when no decision could be made on it: those that were made say it themselves.
    pub fn by(mut self, by: KeyBinding) -> Self {
        if let Seen::Nothing { binding, .. } = &mut self.asked.facts {
            *binding = Some(by.as_str());
        }
        self
    }

    /// Says that the sealed act, of so many bytes, is not kept beside the record. Its commitment stays.
    pub fn without_copy(mut self, bytes: u64) -> Self {
        if let Some(act) = &mut self.asked.act {
            act.blob = None;
        }
        if let Seen::Act(facts) = &mut self.asked.facts {
            facts.unkept_bytes = Some(bytes);
        }
        self
    }

    /// Returns why not.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the rules that forbade it, most fundamental first.
    pub fn rules(&self) -> &[String] {
        &self.asked.rules
    }

    /// Returns what people may read: rules, facts and what would change them. Not for the agent.
    pub fn explanation(&self) -> String {
        explain::answer(self.reason, &self.asked.rules, &self.asked.facts)
    }
}

impl Recordable for Permit {
    fn body(&self) -> Body {
        self.asked.body(Answer::Allow {
            act_by: self.act_by,
            charged: self.charged.clone(),
            spends: self.spends,
        })
    }
}

impl Recordable for Hold {
    fn body(&self) -> Body {
        self.asked.body(Answer::Hold {
            approval: self.approval,
            expires_at: self.expires_at,
            reason: self.reason,
        })
    }
}

impl Recordable for Denial {
    fn body(&self) -> Body {
        self.asked.body(Answer::Deny {
            reason: self.reason,
        })
    }
}

impl Recordable for Decision {
    fn body(&self) -> Body {
        match self {
            Self::Allow(it) => it.body(),
            Self::Hold(it) => it.body(),
            Self::Deny(it) => it.body(),
        }
    }
}

impl Asked {
    fn body(&self, answer: Answer) -> Body {
        Body::Decided(Box::new(Decided {
            decision: self.decision,
            actor: self.actor,
            task: self.task,
            action: self.action.clone(),
            server: self.server.clone(),
            tool: self.tool.clone(),
            pin: self.pin,
            act: self.act,
            estate: self.estate,
            facts: self.facts.to_value(),
            answer,
            rules: self.rules.clone(),
        }))
    }
}

impl Seen {
    fn to_value(&self) -> Value {
        match self {
            Self::Act(facts) => facts.to_value(),
            Self::Person(facts) => facts.to_value(),
            Self::Delegation(facts) => facts.to_value(),
            Self::Nothing { at, binding } => {
                let known = [("kind", "refused".into()), ("at", at.as_millis().into())];
                let binding = binding.map(|it| ("binding", it.into()));
                Value::object(known.into_iter().chain(binding))
            }
        }
    }
}

/// Makes a denial of something that is no act of an agent.
pub(crate) fn denial(
    (decision, actor, estate, action): (DecisionId, Actor, Digest, &str),
    task: Option<TaskId>,
    facts: Seen,
    (reason, rules): (Reason, Vec<String>),
) -> Denial {
    let asked = Asked {
        decision,
        actor,
        task,
        action: action.to_owned(),
        server: None,
        tool: None,
        pin: None,
        act: None,
        estate,
        facts,
        rules,
    };
    Denial { asked, reason }
}

fn flows(book: &PolicyBook, facts: &Facts) -> Vec<(TaskId, Flow)> {
    let line = [facts].into_iter().chain(&facts.above);
    line.map(|it| (it.who.task, flow(book, it))).collect()
}

fn flow(book: &PolicyBook, facts: &Facts) -> Flow {
    match book.labels_in_tenant_policies {
        Sensitivity::Sensitive => Flow::Judged(facts.labels.clone()),
        Sensitivity::Blind if facts.action.leaves() => Flow::Leaves,
        Sensitivity::Blind => Flow::Settled,
    }
}

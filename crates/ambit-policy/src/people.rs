//! What people do to Ambit, decided by the same engine on policies of its own.

mod facts;
mod rules;

use std::collections::BTreeSet;

use ambit_core::{
    AgentName, DecisionId, PersonId, TaskId, TemplateName, Timestamp,
    act::Governance,
    estate::{PersonRole, Template},
    record::{Actor, Warrant},
};

pub(crate) use self::{
    facts::PersonFacts,
    rules::{PeopleRules, Question},
};
use crate::{
    Denial, PolicyBook, Standing,
    decision::{Seen, denial},
};

/// One act of a person, with everything that the decision depends upon.
#[derive(Debug)]
pub struct PersonRequest<'a> {
    /// The name that the decision gets.
    pub decision: DecisionId,
    /// The log's time.
    pub at: Timestamp,
    /// The estate in force.
    pub book: &'a PolicyBook,
    /// The person.
    pub person: PersonId,
    /// The alias that the estate uses for the person.
    pub alias: &'a str,
    /// What the estate lets the person do.
    pub roles: &'a BTreeSet<PersonRole>,
    /// Whether the person was revoked.
    pub standing: Standing,
    /// The act.
    pub act: Governance,
    /// What it touches.
    pub touched: Touched<'a>,
    /// How little the person's proof is worth right now.
    pub weak_binding: WeakBinding,
}

/// What a decision on a person's act needs to know of what the act touches.
#[derive(Clone, Copy, Debug)]
pub struct Touched<'a> {
    /// On whose behalf the task runs that is touched, whose login or passkey it is, or who is to be reinstated.
    pub subject: Option<PersonId>,
    /// The template of the task that is touched or started, as it was when the task started.
    pub template: Option<&'a Template>,
    /// The agent and the template of the task that is touched, by their names. What a task starts with is in the act.
    pub of: Option<(&'a AgentName, &'a TemplateName)>,
}

impl Touched<'_> {
    /// Touches no task and nobody.
    pub const NOTHING: Self = Self {
        subject: None,
        template: None,
        of: None,
    };
}

/// Whether an agent could have made a person's request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WeakBinding {
    /// It could not.
    No,
    /// A live task without containment runs as the person's local user, so a peer credential proves little.
    UncontainedAgentOnSameUser,
}

/// The answer to a person's request.
#[derive(Debug)]
#[must_use]
pub enum PersonDecision {
    /// It may happen.
    Allow(PersonPermit),
    /// It may not happen.
    Deny(Denial),
}

/// Evidence that a person may do one thing.
///
/// ```compile_fail,E0451
/// let forged = ambit_policy::PersonPermit { ..todo!() };
/// ```
#[derive(Debug)]
#[must_use]
pub struct PersonPermit {
    decision: DecisionId,
    by: PersonId,
    rules: Vec<String>,
    facts: PersonFacts,
    act: Governance,
}

/// Decides one act of a person.
///
/// Pure. Every role may look (`inspect`); who looks is recorded. Taking authority away (`revoke`,
/// `end_task`) is never refused for a weak proof: it can only narrow.
pub fn decide_person(request: PersonRequest<'_>) -> PersonDecision {
    let facts = PersonFacts::gather(&request);
    let (answer, rules) = request.book.people.judge(&facts);
    match answer {
        Ok(()) => PersonDecision::Allow(PersonPermit {
            decision: request.decision,
            by: request.person,
            rules,
            facts,
            act: request.act,
        }),
        Err(reason) => PersonDecision::Deny(denial(
            (
                request.decision,
                Actor::Person(request.person),
                request.book.estate().digest,
                request.act.action(),
            ),
            touched_task(&request.act),
            Seen::Person(Box::new(facts)),
            (reason, rules),
        )),
    }
}

/// What the policies would answer if somebody asked now, well proved and not revoked. It is no leave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Prospect {
    /// They would let it happen.
    Open,
    /// They would not.
    Stopped {
        /// The rules that forbid it; none where nothing permits it.
        rules: Vec<String>,
    },
}

impl PolicyBook {
    /// Says what the policies would answer the person whom the estate calls `alias`.
    pub fn prospect(
        &self,
        (person, alias): (PersonId, &str),
        act: Governance,
        touched: Touched<'_>,
    ) -> Prospect {
        let known = self.estate().people.get(alias);
        let none = BTreeSet::new();
        let facts = PersonFacts::gather(&PersonRequest {
            decision: DecisionId::from_bits(0),
            at: Timestamp::from_millis(0),
            book: self,
            person,
            alias,
            roles: known.map_or(&none, |it| &it.roles),
            standing: Standing::Live,
            act,
            touched,
            weak_binding: WeakBinding::No,
        });
        match self.people.judge(&facts) {
            (Ok(()), _) => Prospect::Open,
            (Err(_), rules) => Prospect::Stopped { rules },
        }
    }
}

impl PersonPermit {
    /// Returns the decision's name.
    pub const fn decision(&self) -> DecisionId {
        self.decision
    }

    /// Returns the act.
    pub const fn act(&self) -> &Governance {
        &self.act
    }

    /// Returns the person.
    pub const fn by(&self) -> PersonId {
        self.by
    }

    /// Returns what the record of the act says of this decision.
    pub fn warrant(&self) -> Warrant {
        Warrant {
            decision: self.decision,
            by: self.by,
            rules: self.rules.clone(),
            facts: self.facts.to_value(),
        }
    }
}

const fn touched_task(act: &Governance) -> Option<TaskId> {
    match act {
        Governance::EndTask { task } => Some(*task),
        Governance::OpenSealed { task } => *task,
        Governance::StartTask { .. }
        | Governance::DecideApproval { .. }
        | Governance::Revoke { .. }
        | Governance::Reinstate { .. }
        | Governance::ApplyEstate { .. }
        | Governance::SealCredential { .. }
        | Governance::InspectServer { .. }
        | Governance::RotateKeys { .. }
        | Governance::OpenLogin
        | Governance::EndLogin { .. }
        | Governance::OfferEnrolment { .. }
        | Governance::RemovePasskey { .. }
        | Governance::SettleAct { .. }
        | Governance::Inspect => None,
    }
}

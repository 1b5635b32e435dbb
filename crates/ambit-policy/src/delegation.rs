//! The steps of delegations, decided: who may give a part of a task away, take one, or take one back.
//!
//! Agents take these steps as well as people, so the evidence is one of its own: a [`DelegationPermit`], which
//! leaves a [`Mandate`] in the record as a person's permit leaves a warrant.

mod words;

use std::collections::BTreeSet;

use ambit_core::{
    AgentName, DecisionId, Digest, InstanceId, PersonId, Reason, SpiffeId, TaskId, Timestamp,
    delegation::{DelegationStep, Part},
    estate::PersonRole,
    json::Value,
    record::{Actor, Mandate},
    task::{Contained, Task, TaskState, Usage},
    token::KeyBinding,
};

use self::words::{caller_word, proof_word, task_word, token_word};
use crate::{
    Denial, PolicyBook, Standing, SubjectStanding, TaskScope, WeakBinding,
    decision::{Seen, denial},
    parts::excesses,
    people::Question,
    scope::TemplateStanding,
};

/// One step of a delegation, with everything that the decision depends upon.
#[derive(Debug)]
pub struct DelegationAsk<'a> {
    /// The name that the decision gets.
    pub decision: DecisionId,
    /// The log's time.
    pub at: Timestamp,
    /// The estate in force.
    pub book: &'a PolicyBook,
    /// Which step.
    pub step: DelegationStep,
    /// Who takes it.
    pub by: Acting<'a>,
    /// The task that delegates.
    pub parent: &'a Task,
    /// Its bounds, compiled against the same estate in force.
    pub scope: &'a TaskScope,
    /// Where it stands; expiry is taken from `at`.
    pub state: TaskState,
    /// What it has used so far.
    pub usage: &'a Usage,
    /// Whether it may still run on behalf of its person.
    pub subject: SubjectStanding,
    /// The agent that may take the part.
    pub to: &'a AgentName,
    /// The one run of it that may, when it was named.
    pub to_instance: Option<&'a SpiffeId>,
    /// Whether that agent was revoked.
    pub delegate: Standing,
    /// The part that is asked for; none when it was decided before.
    pub part: Option<&'a Part>,
    /// How many hops may follow below the child.
    pub depth_left: u8,
    /// When the delegation ends.
    pub expires_at: Timestamp,
    /// Where the delegation stands; expiry is taken from `at`.
    pub standing: DelegationStanding,
    /// What the token is that was shown as the delegator's.
    pub subject_token: SubjectToken,
    /// Whether there is room for what is asked.
    pub room: DelegationRoom,
    /// How the child will run; none when no child starts.
    pub contained: Option<Contained>,
    /// What ties the child's first token to a key; none when no token comes of the step.
    pub bound: Option<KeyBinding>,
}

/// Who takes a step.
#[derive(Clone, Copy, Debug)]
pub enum Acting<'a> {
    /// One run of an agent, proved.
    Instance {
        /// Which run.
        instance: InstanceId,
        /// Of which agent.
        agent: &'a AgentName,
        /// Its SPIFFE ID.
        spiffe_id: &'a SpiffeId,
        /// The task that it serves, and where that stands; none when it serves none.
        task: Option<(TaskId, TaskState)>,
        /// Whether the run or its agent was revoked.
        standing: Standing,
        /// How it proved who it is, such as `mtls`.
        binding: &'static str,
        /// What the access token is worth by which it came.
        token: CallerToken,
    },
    /// A workload that proved to be a run of an agent and serves no task: a part of one is what it begins with.
    Workload {
        /// Which one, by the digest that names it where it claims tasks.
        workload: Digest,
        /// Of which agent.
        agent: &'a AgentName,
        /// How it proved that, such as `client`.
        binding: &'static str,
    },
    /// A person, proved; at an exchange their runner starts the delegate.
    Person {
        /// Who.
        person: PersonId,
        /// What the estate lets the person do.
        roles: &'a BTreeSet<PersonRole>,
        /// Whether the person was revoked.
        standing: Standing,
        /// How little the person's proof is worth right now.
        weak_binding: WeakBinding,
    },
}

/// What the access token is worth by which an instance takes a step.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CallerToken {
    /// As much as its task; or the instance came without one.
    Whole,
    /// A part of its task alone.
    Narrowed,
    /// Nothing, though its task lives, and why: [`Reason::TokenGivenUp`], or what else the estate or time took.
    Nothing(Reason),
}

/// Where a delegation stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DelegationStanding {
    /// It is not made yet.
    None,
    /// It can be spent.
    Open,
    /// It was spent.
    Spent,
    /// It was taken back.
    Withdrawn,
}

/// What the token is that a delegate shows as the delegator's (RFC 8693 §2.1, `subject_token`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SubjectToken {
    /// None was shown: the step is taken without one.
    None,
    /// A live one of the task that delegated.
    OfParent,
    /// A live one of another task: subject and actor were spliced.
    OfAnother,
    /// A live one of the task that delegated, which carries less than the task.
    Narrowed,
    /// A live one of the task that delegated, which is bound to no key: whoever found it could show it.
    Unbound,
    /// It is worth nothing: unknown, over, revoked, or its task has ended.
    Over,
}

/// Whether there is room for a delegation or a child.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DelegationRoom {
    /// There is.
    Left,
    /// The task made as many delegations as it may.
    DelegationsFull,
    /// The task has as many children as it may.
    ChildrenFull,
    /// As many tasks came from the one that a person started as may.
    SubtreeFull,
    /// As many tasks are live as may be.
    TasksFull,
    /// The labels of the tasks that come together are more than one task can have.
    LabelsFull,
}

/// The answer to a step.
#[derive(Debug)]
#[must_use]
pub enum DelegationDecision {
    /// It may be taken.
    Allow(DelegationPermit),
    /// It may not.
    Deny(Denial),
}

/// Evidence that one step of a delegation may be taken.
///
/// ```compile_fail,E0451
/// let forged = ambit_policy::DelegationPermit {
///     decision: todo!(), by: todo!(), rules: Vec::new(), facts: todo!(),
/// };
/// ```
/// ```compile_fail,E0599
/// fn twice(permit: ambit_policy::DelegationPermit) { let _copy = permit.clone(); }
/// ```
#[derive(Debug)]
#[must_use]
pub struct DelegationPermit {
    decision: DecisionId,
    by: Actor,
    rules: Vec<String>,
    facts: DelegationFacts,
}

/// What a decision on a step depends upon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct DelegationFacts {
    at: Timestamp,
    step: DelegationStep,
    by: Actor,
    task: TaskId,
    to: AgentName,
    roles: Vec<String>,
    words: Vec<(&'static str, String)>,
    /// Where the part goes beyond the task. No value of an argument is among the words.
    exceeds: Vec<String>,
}

const WORDS: [&str; 21] = [
    "caller",
    "standing",
    "relation",
    "caller_task",
    "parent",
    "subject",
    "template",
    "delegable",
    "delegate",
    "delegate_standing",
    "identity",
    "depth",
    "part",
    "delegation",
    "room",
    "contained",
    "containment",
    "binding",
    SUBJECT_TOKEN,
    PROOF,
    TOKEN,
];

const NONE: &str = "none";
const SUBJECT_TOKEN: &str = "subject_token";
const PROOF: &str = "proof";
const TOKEN: &str = "token";
/// Words that are left out when they say what was always so before there was the word.
const UNWRITTEN: [(&str, &str); 3] = [(SUBJECT_TOKEN, NONE), (PROOF, "enough"), (TOKEN, "whole")];

/// Decides one step of a delegation.
///
/// Pure. Taking a delegation back is never refused for a weak proof or a changed estate: it can only narrow.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what is asked is spent: nobody decides it twice"
)]
pub fn decide_delegation(ask: DelegationAsk<'_>) -> DelegationDecision {
    let facts = DelegationFacts::gather(&ask);
    let (answer, rules) = facts.judge(ask.book);
    match answer {
        Ok(()) => DelegationDecision::Allow(DelegationPermit {
            decision: ask.decision,
            by: facts.by,
            rules,
            facts,
        }),
        Err(reason) => DelegationDecision::Deny(denial(
            (
                ask.decision,
                facts.by,
                ask.book.estate().digest,
                ask.step.action(),
            ),
            Some(ask.parent.id),
            Seen::Delegation(Box::new(facts)),
            (reason, rules),
        )),
    }
}

impl DelegationPermit {
    /// Returns the decision's name.
    pub const fn decision(&self) -> DecisionId {
        self.decision
    }

    /// Returns which step may be taken.
    pub const fn step(&self) -> DelegationStep {
        self.facts.step
    }

    /// Gives the permit up for what the record of the step says of this decision.
    pub fn into_mandate(self) -> Mandate {
        Mandate {
            decision: self.decision,
            by: self.by,
            rules: self.rules,
            facts: self.facts.to_value(),
        }
    }
}

impl DelegationFacts {
    fn gather(ask: &DelegationAsk<'_>) -> Self {
        let exceeds = exceeds(ask);
        let word = |name: &str| match name {
            "caller" | "standing" | "relation" | "caller_task" | "identity" | "binding" => {
                caller_word(ask, name)
            }
            PROOF => proof_word(ask),
            TOKEN => token_word(ask),
            "parent" => task_word(ask.state.standing(ask.parent.expires_at, ask.at)),
            "subject" => ask.subject.as_str(),
            "template" => match ask.scope.template {
                TemplateStanding::InForce => "in_force",
                TemplateStanding::Withdrawn => "withdrawn",
            },
            "delegable" if ask.scope.is_delegable() => "delegable",
            "delegable" => "not_delegable",
            "delegate" if ask.scope.lists_delegate(ask.to) => "listed",
            "delegate" => "not_listed",
            "delegate_standing" => ask.delegate.as_str(),
            "depth" if ask.scope.depth_left() > 0 => "left",
            "depth" => "used_up",
            "part" if ask.part.is_none() => "none",
            "part" if exceeds.is_empty() => "within",
            "part" => "exceeds",
            "delegation" => delegation_word(ask),
            "room" => ask.room.as_str(),
            "contained" => contained_word(ask),
            SUBJECT_TOKEN => ask.subject_token.as_str(),
            "containment" if ask.scope.requires_containment() => "required",
            "containment" => "optional",
            _ => "",
        };
        let words = WORDS.map(|name| (name, word(name).to_owned())).to_vec();
        let (by, roles) = match ask.by {
            Acting::Instance { instance, .. } => (Actor::Instance(instance), Vec::new()),
            Acting::Workload { workload, .. } => (Actor::Workload(workload), Vec::new()),
            Acting::Person { person, roles, .. } => {
                let roles = roles.iter().map(|it| it.as_str().to_owned());
                (Actor::Person(person), roles.collect())
            }
        };
        Self {
            at: ask.at,
            step: ask.step,
            by,
            task: ask.parent.id,
            to: ask.to.clone(),
            roles,
            words,
            exceeds,
        }
    }

    /// Answers from the facts alone.
    pub(crate) fn judge(&self, book: &PolicyBook) -> (Result<(), Reason>, Vec<String>) {
        let rules = &book.delegations;
        let (principal, nothing_permits) = match self.by {
            Actor::Instance(id) if self.step == DelegationStep::Exchange => {
                (rules.instance(id), Reason::DelegateMismatch)
            }
            Actor::Instance(id) => (rules.instance(id), Reason::TaskUnknown),
            Actor::Workload(name) => (rules.workload(name), Reason::DelegateMismatch),
            Actor::Person(id) => (rules.person(id), Reason::RoleMissing),
            Actor::Ambit | Actor::Nobody => return (Err(Reason::PolicyError), Vec::new()),
        };
        let words = self.words.iter();
        rules.answer(&Question {
            principal,
            action: self.step.action(),
            roles: &self.roles,
            groups: &[],
            words: words.map(|(name, word)| (*name, word.as_str())).collect(),
            named: Vec::new(),
            nothing_permits,
        })
    }

    pub(crate) const fn is_by_person(&self) -> bool {
        matches!(self.by, Actor::Person(_))
    }

    /// Returns what would change a denial.
    pub(crate) fn advice(&self, reason: Reason) -> Option<String> {
        let to = &self.to;
        let advice = if reason == Reason::DelegationExceedsParent {
            self.exceeds.join("; ")
        } else if reason == Reason::DelegateNotListed {
            format!(
                "name `{to}` under `delegation` of the template, and the template under `parts_of` of agent `{to}`"
            )
        } else if reason == Reason::DelegationsLimit {
            self.word("room").replace('_', " ")
        } else if reason == Reason::DelegationUsed {
            format!("it is {}", self.word("delegation"))
        } else if reason == Reason::DelegateMismatch {
            match self.word(SUBJECT_TOKEN) {
                "of_another" => {
                    "the subject token is of another task than the one that delegated".to_owned()
                }
                "narrowed" => {
                    "the subject token carries less than its task; show one of the whole".to_owned()
                }
                "unbound" => "the subject token is bound to no key; show one that is".to_owned(),
                "over" => "the subject token is worth nothing any more".to_owned(),
                _ => format!("it is for agent `{to}`"),
            }
        } else if reason == Reason::DelegationTooDeep {
            "ask for fewer hops below the part, or have the template's owner raise `depth_max`"
                .to_owned()
        } else if reason == Reason::ContainmentRequired {
            "the child must run contained; start it with `ambit run`".to_owned()
        } else if reason == Reason::BindingTooWeak && !self.is_by_person() {
            format!(
                "the caller came by `{}`, or would have the child's token bound more weakly than the template asks; see \
                 `binding` of the template",
                self.word("binding")
            )
        } else if reason == Reason::TokenNarrowed {
            "a token that carries a part of its task gives nothing of it away and takes nothing back; use one that was \
             asked for without authorization_details"
                .to_owned()
        } else {
            return None;
        };
        Some(advice)
    }

    fn word(&self, name: &str) -> &str {
        let found = self.words.iter().find(|(own, _)| *own == name);
        found.map_or("", |(_, word)| word.as_str())
    }

    pub(crate) fn to_value(&self) -> Value {
        let words = self.words.iter();
        let words = words.filter(|it| unwritten(it.0) != Some(it.1.as_str()));
        let words = words.map(|(name, word)| (*name, Value::from(word.as_str())));
        let by = match self.by {
            Actor::Instance(id) => id.to_string(),
            Actor::Person(id) => id.to_string(),
            Actor::Workload(name) => name.to_string(),
            Actor::Ambit => "ambit".to_owned(),
            Actor::Nobody => "nobody".to_owned(),
        };
        let mut members = vec![
            ("kind", "delegation".into()),
            ("at", self.at.as_millis().into()),
            ("step", self.step.action().into()),
            ("by", by.into()),
            ("task", self.task.to_string().into()),
            ("to", self.to.as_str().into()),
            ("roles", self.roles.iter().map(String::as_str).collect()),
            ("words", Value::object(words)),
        ];
        if !self.exceeds.is_empty() {
            let exceeds = self.exceeds.iter().map(String::as_str).collect();
            members.push(("exceeds", exceeds));
        }
        Value::object(members)
    }

    /// Reads the recorded form; none when it is not exactly that.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let text = |it: &Value| it.as_str().map(str::to_owned);
        let texts = |it: &Value| it.as_array()?.iter().map(text).collect::<Option<Vec<_>>>();
        let words = value.get("words")?;
        let step = value.get("step")?.as_str()?;
        let by = value.get("by")?.as_str()?;
        let facts = Self {
            at: Timestamp::from_millis(u64::try_from(value.get("at")?.as_integer()?).ok()?),
            step: DelegationStep::ALL
                .into_iter()
                .find(|it| it.action() == step)?,
            by: by
                .parse()
                .map(Actor::Instance)
                .or_else(|_| by.parse().map(Actor::Person))
                .or_else(|_| by.parse().map(Actor::Workload))
                .ok()?,
            task: value.get("task")?.as_str()?.parse().ok()?,
            to: value.get("to")?.as_str()?.parse().ok()?,
            roles: texts(value.get("roles")?)?,
            words: WORDS
                .into_iter()
                .map(|name| match words.get(name) {
                    None => Some((name, unwritten(name)?.to_owned())),
                    Some(word) => Some((name, text(word)?)),
                })
                .collect::<Option<_>>()?,
            exceeds: match value.get("exceeds") {
                Some(list) => texts(list)?,
                None => Vec::new(),
            },
        };
        (facts.to_value() == *value).then_some(facts)
    }
}

impl SubjectToken {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => NONE,
            Self::OfParent => "of_parent",
            Self::OfAnother => "of_another",
            Self::Narrowed => "narrowed",
            Self::Unbound => "unbound",
            Self::Over => "over",
        }
    }
}

impl DelegationRoom {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::DelegationsFull => "delegations_full",
            Self::ChildrenFull => "children_full",
            Self::SubtreeFull => "subtree_full",
            Self::TasksFull => "tasks_full",
            Self::LabelsFull => "labels_full",
        }
    }
}

fn exceeds(ask: &DelegationAsk<'_>) -> Vec<String> {
    let Some(part) = ask.part else {
        return Vec::new();
    };
    let mut found = excesses(part, ask.scope, ask.usage);
    if ask.expires_at > ask.parent.expires_at {
        found.push(format!(
            "expiry: the task ends at {}",
            ask.parent.expires_at
        ));
    }
    let below = ask.scope.depth_left().saturating_sub(1);
    if ask.depth_left > below {
        found.push(format!(
            "depth: {} asked for, {below} left below",
            ask.depth_left
        ));
    }
    found
}

fn delegation_word(ask: &DelegationAsk<'_>) -> &'static str {
    match ask.standing {
        DelegationStanding::Open if ask.expires_at <= ask.at => "expired",
        DelegationStanding::None => "none",
        DelegationStanding::Open => "open",
        DelegationStanding::Spent => "spent",
        DelegationStanding::Withdrawn => "withdrawn",
    }
}

/// Returns what a word says that is left out; none for one that never is.
fn unwritten(name: &str) -> Option<&'static str> {
    let found = UNWRITTEN.into_iter().find(|(own, _)| *own == name);
    found.map(|(_, word)| word)
}

/// A child is at least as contained as its parent runs and its template asks.
fn contained_word(ask: &DelegationAsk<'_>) -> &'static str {
    match ask.contained {
        None => "none",
        Some(Contained::Namespaces) => "kept",
        Some(Contained::None) => {
            let asked = ask.scope.requires_containment();
            if asked || ask.parent.contained == Contained::Namespaces {
                "missing"
            } else {
                "kept"
            }
        }
    }
}

//! What people do to Ambit, decided by the same engine on policies of its own.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    str::FromStr,
};

use ambit_core::{
    DecisionId, PersonId, Reason, TaskId, Timestamp,
    act::Governance,
    estate::{Approver, Containment, PersonRole, Starters, Template},
    json::Value,
    record::{Actor, Warrant},
};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as CedarDecision, Entities, Entity,
    EntityUid, PolicyId, PolicySet, Request as CedarRequest, RestrictedExpression, Schema,
};

use crate::{
    Denial, PolicyBook, PolicyProblem, Standing,
    decision::{Seen, denial},
    entities::text,
    rules::{Findings, Rule, names},
    tenant::read_fixed,
    vocabulary::{Vocabulary, uid},
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
    /// On whose behalf the task runs that is touched, or who is to be reinstated.
    pub subject: Option<PersonId>,
    /// The template of the task that is touched or started.
    pub template: Option<&'a Template>,
    /// How little the person's proof is worth right now.
    pub weak_binding: WeakBinding,
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

/// What a decision on a person's act depends upon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PersonFacts {
    at: Timestamp,
    person: PersonId,
    action: String,
    roles: Vec<String>,
    words: Vec<(&'static str, String)>,
}

/// What fixed policies are asked.
pub(crate) struct Question<'a> {
    pub(crate) principal: EntityUid,
    pub(crate) action: &'a str,
    pub(crate) roles: &'a [String],
    pub(crate) words: Vec<(&'static str, &'a str)>,
    /// The reason when no rule permits.
    pub(crate) nothing_permits: Reason,
}

/// The policies on people's acts, or on delegations: fixed, and evaluated as a whole.
pub(crate) struct PeopleRules {
    vocabulary: Vocabulary,
    policies: PolicySet,
    rules: HashMap<PolicyId, Rule>,
    actions: Entities,
    authorizer: Authorizer,
}

const WORDS: [&str; 8] = [
    "person",
    "subject",
    "starter",
    "approver",
    "containment",
    "agent",
    "named",
    "binding",
];

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

impl PeopleRules {
    pub(crate) fn new(schema: &str, policies_text: &str) -> Result<Self, PolicyProblem> {
        let vocabulary = Vocabulary::new()?;
        let schema = Schema::from_str(schema).map_err(|it| PolicyProblem::inside(&it))?;
        let mut policies = PolicySet::new();
        let mut rules = HashMap::new();
        for (policy, rule) in read_fixed(policies_text)? {
            rules.insert(policy.id().clone(), rule);
            policies
                .add(policy)
                .map_err(|it| PolicyProblem::inside(&it))?;
        }
        let estate = Entity::new_no_attrs(uid(&vocabulary.estate, ESTATE), HashSet::new());
        let actions = Entities::from_entities([estate], Some(&schema))
            .map_err(|it| PolicyProblem::inside(&it))?;
        Ok(Self {
            vocabulary,
            policies,
            rules,
            actions,
            authorizer: Authorizer::new(),
        })
    }

    /// Answers from the facts alone.
    pub(crate) fn judge(&self, facts: &PersonFacts) -> (Result<(), Reason>, Vec<String>) {
        let words = facts.words.iter();
        let question = Question {
            principal: uid(&self.vocabulary.person, &facts.person.to_string()),
            action: &facts.action,
            roles: &facts.roles,
            words: words.map(|(name, word)| (*name, word.as_str())).collect(),
            nothing_permits: Reason::RoleMissing,
        };
        self.answer(&question)
    }

    /// Answers any question on fixed policies.
    pub(crate) fn answer(&self, question: &Question<'_>) -> (Result<(), Reason>, Vec<String>) {
        let Some(request) = self.request(question) else {
            return (Err(Reason::PolicyError), Vec::new());
        };
        let response = self
            .authorizer
            .is_authorized(&request, &self.policies, &self.actions);
        let allowed = response.decision() == CedarDecision::Allow;
        let mut findings = Findings::default();
        for id in response.diagnostics().reason() {
            findings.take(self.rules.get(id), allowed, id);
        }
        for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
            findings.errors.push(error.policy_id().to_string());
        }
        findings.sort();
        match findings.hard_stop(question.nothing_permits) {
            None => (Ok(()), names(&findings.permits)),
            Some(reason) => (Err(reason), findings.stops()),
        }
    }

    /// Returns the name of the run of an agent as policies spell it.
    pub(crate) fn instance(&self, instance: ambit_core::InstanceId) -> EntityUid {
        uid(&self.vocabulary.instance, &instance.to_string())
    }

    /// Returns the name of the workload as policies spell it.
    pub(crate) fn workload(&self, workload: ambit_core::Digest) -> EntityUid {
        uid(&self.vocabulary.workload, &workload.to_string())
    }

    /// Returns the name of the person as policies spell it.
    pub(crate) fn person(&self, person: PersonId) -> EntityUid {
        uid(&self.vocabulary.person, &person.to_string())
    }

    fn request(&self, question: &Question<'_>) -> Option<CedarRequest> {
        let words = question.words.iter();
        let words = words.map(|(name, word)| ((*name).to_owned(), text(word)));
        let roles = RestrictedExpression::new_set(question.roles.iter().map(|it| text(it)));
        let context = Context::from_pairs(words.chain([("roles".to_owned(), roles)])).ok()?;
        CedarRequest::new(
            question.principal.clone(),
            uid(&self.vocabulary.action, question.action),
            uid(&self.vocabulary.estate, ESTATE),
            context,
            None,
        )
        .ok()
    }
}

impl PersonFacts {
    fn gather(request: &PersonRequest<'_>) -> Self {
        let template = request.template;
        let word = |name: &str| match name {
            "person" => request.standing.as_str(),
            "subject" => match request.subject {
                None => "none",
                Some(subject) if subject == request.person => "self",
                Some(_) => "other",
            },
            "starter" => template.map_or("none", |it| starter(it, request.alias)),
            "approver" => template.map_or("none", |it| match it.approver {
                Approver::Anyone => "anyone",
                Approver::AnotherPerson => "another_person",
            }),
            "containment" => template.map_or("none", |it| match it.containment {
                Containment::Required => "required",
                Containment::Optional => "optional",
            }),
            "agent" => agent(request),
            "named" if template.is_some() => "found",
            "named" => "missing",
            "binding" => match request.weak_binding {
                WeakBinding::No => "strong",
                WeakBinding::UncontainedAgentOnSameUser => "uncontained_agent_on_same_user",
            },
            _ => "",
        };
        Self {
            at: request.at,
            person: request.person,
            action: request.act.action().to_owned(),
            roles: request
                .roles
                .iter()
                .map(|it| it.as_str().to_owned())
                .collect(),
            words: WORDS.map(|name| (name, word(name).to_owned())).to_vec(),
        }
    }

    pub(crate) fn action(&self) -> &str {
        &self.action
    }

    pub(crate) fn roles(&self) -> String {
        self.roles.join(", ")
    }

    pub(crate) fn to_value(&self) -> Value {
        let words = self
            .words
            .iter()
            .map(|(name, word)| (*name, word.as_str().into()));
        Value::object([
            ("kind", "person".into()),
            ("at", self.at.as_millis().into()),
            ("person", self.person.to_string().into()),
            ("action", self.action.as_str().into()),
            ("roles", self.roles.iter().map(String::as_str).collect()),
            ("words", Value::object(words)),
        ])
    }

    /// Reads the recorded form; none when it is not exactly that.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let text = |it: &Value| it.as_str().map(str::to_owned);
        let words = value.get("words")?;
        let at = u64::try_from(value.get("at")?.as_integer()?).ok()?;
        let facts = Self {
            at: Timestamp::from_millis(at),
            person: value.get("person")?.as_str()?.parse().ok()?,
            action: text(value.get("action")?)?,
            roles: value
                .get("roles")?
                .as_array()?
                .iter()
                .map(text)
                .collect::<Option<_>>()?,
            words: WORDS
                .into_iter()
                .map(|name| Some((name, text(words.get(name)?)?)))
                .collect::<Option<_>>()?,
        };
        (facts.to_value() == *value).then_some(facts)
    }
}

const ESTATE: &str = "estate";

fn starter(template: &Template, alias: &str) -> &'static str {
    match &template.starters {
        Starters::AnyStarter => "listed",
        Starters::Only(aliases) if aliases.contains(alias) => "listed",
        Starters::Only(_) => "not_listed",
    }
}

fn agent(request: &PersonRequest<'_>) -> &'static str {
    let Governance::StartTask { template, agent } = &request.act else {
        return "none";
    };
    let listed = request
        .book
        .estate()
        .agents
        .get(agent)
        .is_some_and(|it| it.templates.contains(template));
    if listed { "may" } else { "may_not" }
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

impl fmt::Debug for PeopleRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeopleRules({} rules)", self.rules.len())
    }
}

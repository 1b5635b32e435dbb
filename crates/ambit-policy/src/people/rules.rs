//! The policies on people's acts, and on delegations: few, and evaluated as a whole.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use ambit_core::{Digest, InstanceId, PersonId, Reason};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as CedarDecision, Entities, Entity,
    EntityUid, Policy, PolicyId, PolicySet, Request as CedarRequest, RestrictedExpression, Schema,
};

use super::facts::{Named, PersonFacts};
use crate::{
    PolicyProblem,
    entities::text,
    rules::{Findings, Rule, names},
    vocabulary::{Vocabulary, uid},
};

/// What the policies are asked.
pub(crate) struct Question<'a> {
    pub(crate) principal: EntityUid,
    pub(crate) action: &'a str,
    pub(crate) roles: &'a [String],
    /// The groups of the principal.
    pub(crate) groups: &'a [String],
    pub(crate) words: Vec<(&'static str, &'a str)>,
    /// What policies are shown as an entity, where there is such a thing.
    pub(crate) named: Vec<(&'static str, EntityUid)>,
    /// The reason when no rule permits.
    pub(crate) nothing_permits: Reason,
}

/// The policies on people's acts, or on delegations.
pub(crate) struct PeopleRules {
    vocabulary: Vocabulary,
    policies: PolicySet,
    rules: HashMap<PolicyId, Rule>,
    entities: Entities,
    authorizer: Authorizer,
}

impl PeopleRules {
    /// Takes the policies of Ambit itself, and those of the tenant, which only forbid.
    pub(crate) fn new(
        schema: &Schema,
        fixed: Vec<(Policy, Rule)>,
        tenant: Vec<(Policy, Rule)>,
    ) -> Result<Self, PolicyProblem> {
        let vocabulary = Vocabulary::new()?;
        let mut policies = PolicySet::new();
        let mut rules = HashMap::new();
        for (policy, rule) in fixed.into_iter().chain(tenant) {
            rules.insert(policy.id().clone(), rule);
            policies
                .add(policy)
                .map_err(|it| PolicyProblem::inside(&it))?;
        }
        let estate = Entity::new_no_attrs(uid(&vocabulary.estate, ESTATE), HashSet::new());
        let entities = Entities::from_entities([estate], Some(schema))
            .map_err(|it| PolicyProblem::inside(&it))?;
        Ok(Self {
            vocabulary,
            policies,
            rules,
            entities,
            authorizer: Authorizer::new(),
        })
    }

    /// Answers from the facts alone.
    pub(crate) fn judge(&self, facts: &PersonFacts) -> (Result<(), Reason>, Vec<String>) {
        let words = facts.words.iter();
        let named = facts.named.iter().map(|(it, name)| {
            let kind = match it {
                Named::Agent => &self.vocabulary.agent,
                Named::Template => &self.vocabulary.template,
            };
            (it.as_str(), uid(kind, name))
        });
        let question = Question {
            principal: self.person(facts.person),
            action: &facts.action,
            roles: &facts.roles,
            groups: &facts.groups,
            words: words.map(|(name, word)| (*name, word.as_str())).collect(),
            named: named.collect(),
            nothing_permits: Reason::RoleMissing,
        };
        self.answer(&question)
    }

    /// Answers any question.
    pub(crate) fn answer(&self, question: &Question<'_>) -> (Result<(), Reason>, Vec<String>) {
        let asked = self.request(question).zip(self.entities_of(question));
        let Some((request, entities)) = asked else {
            return (Err(Reason::PolicyError), Vec::new());
        };
        let response = self
            .authorizer
            .is_authorized(&request, &self.policies, &entities);
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
    pub(crate) fn instance(&self, instance: InstanceId) -> EntityUid {
        uid(&self.vocabulary.instance, &instance.to_string())
    }

    /// Returns the name of the workload as policies spell it.
    pub(crate) fn workload(&self, workload: Digest) -> EntityUid {
        uid(&self.vocabulary.workload, &workload.to_string())
    }

    /// Returns the name of the person as policies spell it.
    pub(crate) fn person(&self, person: PersonId) -> EntityUid {
        uid(&self.vocabulary.person, &person.to_string())
    }

    /// Returns the estate, and the principal in its groups.
    fn entities_of(&self, question: &Question<'_>) -> Option<Entities> {
        if question.groups.is_empty() {
            return Some(self.entities.clone());
        }
        let groups = question.groups.iter();
        let groups: HashSet<_> = groups.map(|it| uid(&self.vocabulary.group, it)).collect();
        let principal = Entity::new_no_attrs(question.principal.clone(), groups);
        self.entities.clone().add_entities([principal], None).ok()
    }

    fn request(&self, question: &Question<'_>) -> Option<CedarRequest> {
        let words = question.words.iter();
        let words = words.map(|(name, word)| ((*name).to_owned(), text(word)));
        let named = question.named.iter().map(|(name, entity)| {
            let entity = RestrictedExpression::new_entity_uid(entity.clone());
            ((*name).to_owned(), entity)
        });
        let roles = RestrictedExpression::new_set(question.roles.iter().map(|it| text(it)));
        let roles = [("roles".to_owned(), roles)];
        let context = Context::from_pairs(words.chain(named).chain(roles)).ok()?;
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

const ESTATE: &str = "estate";

impl fmt::Debug for PeopleRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeopleRules({} rules)", self.rules.len())
    }
}

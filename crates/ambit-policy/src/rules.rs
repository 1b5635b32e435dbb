//! Rules: policies with a name and a reason, in slices small enough to be evaluated at every act.
//!
//! Cedar scans a policy set from end to end, so the sets are cut by action beforehand, and the tenant's
//! also by the resource that their scope names. The cuts keep the meaning: a policy is in every slice
//! whose requests its scope could match, and all tenant policies forbid, so evaluating the slices one
//! after the other says the same as evaluating their union.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc};

use ambit_core::Reason;
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision, Entities, EntityUid,
    Policy, PolicyId, PolicySet, Request, ResourceConstraint, Response, Schema,
};

use crate::{
    PolicyProblem,
    contexts::{Contexts, Sight, context},
    facts::{Facts, Resource},
    screen::{Slice, is_screen},
    vocabulary::{ActAction, Vocabulary, uid},
};

/// The name of a policy, what it means when it forbids, and what lifts it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    /// Of several that forbid, the one with the least rank is told.
    pub(crate) rank: usize,
    pub(crate) reason: Reason,
    pub(crate) lift: Lift,
}

/// What lifts a rule that forbids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lift {
    /// Nothing.
    Never,
    /// A person's yes to exactly this act.
    Approval,
}

/// The policies on agents' acts.
pub(crate) struct ActRules {
    rules: HashMap<PolicyId, Rule>,
    fixed: HashMap<ActAction, Slice>,
    /// Only forbids: the tenant's, and the fixed ones that an approval lifts.
    general: HashMap<ActAction, Slice>,
    /// Only forbids whose scope names one resource.
    special: HashMap<(ActAction, EntityUid), Slice>,
    contexts: Contexts,
    authorizer: Authorizer,
}

/// What the rules said about one request.
#[derive(Debug, Default)]
pub(crate) struct Findings<'a> {
    /// The rules that permit.
    pub(crate) permits: Vec<&'a Rule>,
    /// The rules that forbid for good, most fundamental first.
    pub(crate) forbids: Vec<&'a Rule>,
    /// The rules that ask for a person's yes.
    pub(crate) asks: Vec<&'a Rule>,
    /// The names of rules that could not be evaluated.
    pub(crate) errors: Vec<String>,
}

impl ActRules {
    /// Cuts `fixed` and `tenant` into slices.
    pub(crate) fn new(
        schema: &Schema,
        vocabulary: &Vocabulary,
        fixed: Vec<(Policy, Rule)>,
        tenant: Vec<(Policy, Rule)>,
    ) -> Result<Self, PolicyProblem> {
        let groups = schema
            .action_entities()
            .map_err(|it| PolicyProblem::inside(&it))?;
        let mut sliced = Self {
            rules: HashMap::new(),
            fixed: HashMap::new(),
            general: HashMap::new(),
            special: HashMap::new(),
            contexts: Contexts::default(),
            authorizer: Authorizer::new(),
        };
        for (policy, rule) in fixed {
            for action in matching(&policy, &groups, vocabulary) {
                let slices = match rule.lift {
                    Lift::Never => &mut sliced.fixed,
                    Lift::Approval => &mut sliced.general,
                };
                add(slices, action, &policy)?;
            }
            sliced.rules.insert(policy.id().clone(), rule);
        }
        for (policy, rule) in tenant {
            let resource = named_resource(&policy);
            for action in matching(&policy, &groups, vocabulary) {
                match &resource {
                    Some(resource) => {
                        add(&mut sliced.special, (action, resource.clone()), &policy)?
                    }
                    None => add(&mut sliced.general, action, &policy)?,
                }
            }
            sliced.rules.insert(policy.id().clone(), rule);
        }
        let slices = sliced.fixed.values_mut().chain(sliced.general.values_mut());
        for slice in slices.chain(sliced.special.values_mut()) {
            slice.finish()?;
        }
        Ok(sliced)
    }

    /// Evaluates every rule that could match; none when Cedar can't hold the facts.
    pub(crate) fn evaluate(
        &self,
        vocabulary: &Vocabulary,
        facts: &Facts,
        entities: &Entities,
    ) -> Option<Findings<'_>> {
        let asked = Asked::new(vocabulary, facts);
        let mut findings = Findings::default();
        // Most slices see the same.
        let mut lasting = None;
        for slice in self.slices(facts.action, &asked) {
            let own;
            let request = match (&slice.sight, &mut lasting) {
                (Sight::Lasting, Some(request)) => &*request,
                (Sight::Lasting, empty @ None) => {
                    let context = self.contexts.of(facts, &slice.sight)?;
                    &*empty.insert(asked.with(context)?)
                }
                (Sight::Own(_), _) => {
                    own = asked.with(self.contexts.of(facts, &slice.sight)?)?;
                    &own
                }
            };
            let response = self.respond(request, slice, entities);
            let allowed = response.decision() == Decision::Allow;
            for id in response.diagnostics().reason() {
                findings.take(self.rules.get(id), allowed, id);
            }
            for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors()
            {
                findings.errors.push(name_of(error.policy_id()));
            }
        }
        findings.sort();
        Some(findings)
    }

    /// Evaluates one slice: each of its policies only when the screen does not clear them all at once.
    fn respond(&self, request: &Request, slice: &Slice, entities: &Entities) -> Response {
        if let Some(screened) = &slice.screened {
            let response = self.authorizer.is_authorized(request, screened, entities);
            let diagnostics = response.diagnostics();
            if !diagnostics.reason().any(is_screen) && diagnostics.errors().next().is_none() {
                return response;
            }
        }
        self.authorizer
            .is_authorized(request, &slice.whole, entities)
    }

    /// Returns the union of the slices that [`Self::evaluate`] reads, and one request on which they all could be
    /// evaluated.
    pub(crate) fn whole(
        &self,
        vocabulary: &Vocabulary,
        facts: &Facts,
    ) -> Option<(Request, PolicySet)> {
        let asked = Asked::new(vocabulary, facts);
        let (mut union, mut sight) = (PolicySet::new(), Sight::Lasting);
        for slice in self.slices(facts.action, &asked) {
            sight = sight.joined(&slice.sight);
            for policy in slice.whole.policies() {
                union.add(policy.clone()).ok()?;
            }
        }
        Some((asked.with(context(facts, &sight)?)?, union))
    }

    /// Returns every policy in one set.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> PolicySet {
        let mut all = PolicySet::new();
        let slices = self.fixed.values().chain(self.general.values());
        for policy in slices
            .chain(self.special.values())
            .flat_map(|it| it.whole.policies())
        {
            if all.policy(policy.id()).is_none() {
                all.add(policy.clone()).unwrap();
            }
        }
        all
    }

    fn slices(&self, action: ActAction, asked: &Asked) -> impl Iterator<Item = &Slice> {
        let special = |it: Option<&EntityUid>| {
            // Most estates name few resources in scopes: no key is built for nothing.
            if self.special.is_empty() {
                return None;
            }
            self.special.get(&(action, it?.clone()))
        };
        [
            self.fixed.get(&action),
            self.general.get(&action),
            special(Some(&asked.resource)),
            special(asked.server.as_ref()),
        ]
        .into_iter()
        .flatten()
    }
}

/// Who asks for what, as policies spell it.
pub(crate) struct Asked {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    /// The server behind a tool that is the resource.
    server: Option<EntityUid>,
}

impl Asked {
    pub(crate) fn new(vocabulary: &Vocabulary, facts: &Facts) -> Self {
        let (resource, server) = match &facts.resource {
            Resource::Tool(tool, server) => (
                uid(&vocabulary.tool, tool),
                Some(uid(&vocabulary.server, server)),
            ),
            Resource::Server(server) => (uid(&vocabulary.server, server), None),
            Resource::Endpoint(endpoint) => (uid(&vocabulary.endpoint, endpoint), None),
        };
        Self {
            principal: uid(&vocabulary.task, &facts.who.task.to_string()),
            action: uid(&vocabulary.action, facts.action.as_str()),
            resource,
            server,
        }
    }

    /// Returns the request with this context.
    pub(crate) fn with(&self, context: Context) -> Option<Request> {
        Request::new(
            self.principal.clone(),
            self.action.clone(),
            self.resource.clone(),
            context,
            // Built in code to fit the schema, which a test checks: a check at every act would double the cost.
            None,
        )
        .ok()
    }
}

impl<'a> Findings<'a> {
    /// Files a rule that determined an answer.
    pub(crate) fn take(&mut self, rule: Option<&'a Rule>, allowed: bool, id: &PolicyId) {
        match rule {
            Some(rule) if allowed => self.permits.push(rule),
            Some(rule) if rule.lift == Lift::Approval => self.asks.push(rule),
            Some(rule) => self.forbids.push(rule),
            None => self.errors.push(name_of(id)),
        }
    }

    /// Puts everything in the one order in which it is told.
    pub(crate) fn sort(&mut self) {
        self.permits.sort_by_key(|it| it.rank);
        self.forbids.sort_by_key(|it| it.rank);
        self.asks.sort_by_key(|it| it.rank);
        self.errors.sort();
    }

    /// Returns the reason of a denial that nothing can lift, when there is one.
    pub(crate) fn hard_stop(&self, nothing_permits: Reason) -> Option<Reason> {
        if let Some(first) = self.forbids.first() {
            return Some(first.reason);
        }
        if !self.errors.is_empty() {
            return Some(Reason::PolicyError);
        }
        self.permits.is_empty().then_some(nothing_permits)
    }
}

/// The most rules that one decision names: they must fit into one leaf of the log.
pub(crate) const RULES_NAMED_MAX: usize = 64;

/// Returns the names of the first [`RULES_NAMED_MAX`] of `rules`.
pub(crate) fn names(rules: &[&Rule]) -> Vec<String> {
    let named = rules.iter().take(RULES_NAMED_MAX);
    named.map(|it| it.name.to_string()).collect()
}

impl Findings<'_> {
    /// Returns the names of what keeps a request from being permitted: rules that forbid, then rules that
    /// could not be evaluated.
    pub(crate) fn stops(&self) -> Vec<String> {
        let mut all = names(&self.forbids);
        all.extend(self.errors.iter().cloned());
        all.truncate(RULES_NAMED_MAX);
        all
    }
}

fn name_of(id: &PolicyId) -> String {
    AsRef::<str>::as_ref(id).to_owned()
}

fn add<K: Eq + Hash>(
    slices: &mut HashMap<K, Slice>,
    key: K,
    policy: &Policy,
) -> Result<(), PolicyProblem> {
    slices.entry(key).or_insert_with(Slice::new).add(policy)
}

fn matching(policy: &Policy, groups: &Entities, vocabulary: &Vocabulary) -> Vec<ActAction> {
    let constraint = policy.action_constraint();
    ActAction::ALL
        .into_iter()
        .filter(|action| {
            let own = uid(&vocabulary.action, action.as_str());
            match &constraint {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(named) => *named == own,
                ActionConstraint::In(named) => named
                    .iter()
                    .any(|it| *it == own || groups.is_ancestor_of(it, &own)),
            }
        })
        .collect()
}

fn named_resource(policy: &Policy) -> Option<EntityUid> {
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::Eq(named)
        | ResourceConstraint::In(named)
        | ResourceConstraint::IsIn(_, named) => Some(named),
    }
}

impl fmt::Debug for ActRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActRules({} rules)", self.rules.len())
    }
}

//! The policy engine alone, as a yardstick for measurements.

use cedar_policy::{Authorizer, Decision, Entities, PolicySet, Request as CedarRequest};

use crate::{PolicyBook, Request, gather::gather};

/// A request as the policy engine sees it, built beforehand, with the same policies and entities that
/// [`crate::decide`] would use for it. It can be answered again and again; the answer permits nothing.
pub struct Bare {
    request: CedarRequest,
    policies: PolicySet,
    entities: Entities,
    authorizer: Authorizer,
}

impl Bare {
    /// Prepares `request`; none when it can't be shown to the policies.
    pub fn prepare(book: &PolicyBook, request: &Request<'_>) -> Option<Self> {
        let facts = gather(request);
        let (cedar, policies) = book.acts.whole(&book.vocabulary, &facts)?;
        Some(Self {
            request: cedar,
            policies,
            entities: request.scope.entities.clone(),
            authorizer: Authorizer::new(),
        })
    }

    /// Runs the policy engine once and says how many policies determined its answer.
    pub fn evaluate(&self) -> usize {
        let response = self
            .authorizer
            .is_authorized(&self.request, &self.policies, &self.entities);
        let allowed = usize::from(response.decision() == Decision::Allow);
        response.diagnostics().reason().count() + allowed
    }
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bare({})", self.request)
    }
}

//! What a process is given of foreign trust domains: the bundles that its agent's `federates_with` names, as far as they
//! are believed now. By default none: least authority is also whom one has to believe.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, Digest, TrustDomain,
    estate::{Agent, Estate},
};
use ambit_identity::{FederatedBundles, IssuingKeys, TrustBundle};
use ambit_policy::PolicyBook;
use tokio::sync::watch;
use tonic::Status;

use crate::api::Control;

/// The foreign bundles that a process is given.
#[derive(Clone, Default)]
pub(super) struct Given(Vec<Arc<TrustBundle>>);

impl Given {
    /// Returns what a run of `agent` is given now.
    pub(super) fn of(agent: &AgentName, estate: &Estate, believed: &FederatedBundles) -> Self {
        let Some(agent) = estate.agents.get(agent) else {
            return Self::default();
        };
        if agent.federates_with.is_empty() {
            return Self::default();
        }
        let named = believed.iter();
        let named = named.filter(|(name, _)| agent.federates_with.contains(*name));
        Self(named.map(|(_, bundle)| Arc::clone(bundle)).collect())
    }

    /// Says whether a bundle of `trust_domain` is among them.
    pub(super) fn has(&self, trust_domain: &TrustDomain) -> bool {
        self.0.iter().any(|it| it.trust_domain() == trust_domain)
    }

    /// Returns the roots by the SPIFFE IDs of their trust domains. A domain without any is left out: it vouches for nobody.
    pub(super) fn roots(&self) -> BTreeMap<String, Vec<u8>> {
        let some = self.0.iter().filter(|it| !it.roots().is_empty());
        some.map(|it| (name(it.trust_domain()), roots(it)))
            .collect()
    }

    /// Returns the keys of JWT-SVIDs by the SPIFFE IDs of their trust domains. A domain without any is left out.
    pub(super) fn jwt_keys(&self) -> BTreeMap<String, Vec<u8>> {
        let some = self.0.iter().filter(|it| !it.jwt_keys().keys().is_empty());
        let named = some.map(|it| (name(it.trust_domain()), it.jwt_document().into_bytes()));
        named.collect()
    }

    /// Says whether these are the very same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b)| Arc::ptr_eq(a, b);
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

/// Returns a trust domain as the messages name it.
pub(super) fn name(trust_domain: &TrustDomain) -> String {
    trust_domain.authority().to_string()
}

/// Returns the roots as the messages carry them: DER, one after the other.
pub(super) fn roots(bundle: &TrustBundle) -> Vec<u8> {
    let roots = bundle.roots().iter();
    roots.flat_map(|it| it.iter().copied()).collect()
}

/// What a stream waits for, beside its own SVID: the keys, the foreign bundles, the estate.
pub(super) struct Watching {
    keys: watch::Receiver<Arc<IssuingKeys>>,
    federated: watch::Receiver<Arc<FederatedBundles>>,
    estate: watch::Receiver<Option<Digest>>,
    /// The estate by which the process was last attested.
    book: Option<Arc<PolicyBook>>,
    agent: Option<AgentName>,
    given: Given,
}

/// Everything is stopping.
pub(super) struct Stopping;

impl Watching {
    /// Begins to watch: what changes from here on is seen.
    ///
    /// # Errors
    /// `Unavailable` when the engine has stopped.
    pub(super) fn new(control: &Control) -> Result<Self, Status> {
        let estate = control.handle.estates();
        let estate = estate.map_err(|error| super::instances::not_ready(&error))?;
        let mut watching = Self {
            estate,
            keys: control.keys.subscribe(),
            federated: control.federation.in_force.subscribe(),
            book: None,
            agent: None,
            given: Given::default(),
        };
        watching.keys.borrow_and_update();
        watching.federated.borrow_and_update();
        watching.estate.borrow_and_update();
        watching.book = control.handle.book().ok();
        Ok(watching)
    }

    /// Says whose run the process was found to be, and returns what it is given.
    pub(super) fn attested(&mut self, agent: &AgentName) -> &Given {
        if self.agent.as_ref() != Some(agent) {
            self.agent = Some(agent.clone());
        }
        self.given = self.given_now();
        &self.given
    }

    /// Returns what the process was last given.
    pub(super) const fn given(&self) -> &Given {
        &self.given
    }

    /// Resolves when something changed that may concern the process.
    ///
    /// # Errors
    /// [`Stopping`] when nothing will change any more.
    pub(super) async fn changed(&mut self, control: &Control) -> Result<(), Stopping> {
        loop {
            tokio::select! {
                changed = self.keys.changed() => return changed.map_err(|_| Stopping),
                changed = self.federated.changed() => {
                    changed.map_err(|_| Stopping)?;
                    self.federated.borrow_and_update();
                }
                changed = self.estate.changed() => {
                    changed.map_err(|_| Stopping)?;
                    self.estate.borrow_and_update();
                    let fresh = control.handle.book().ok();
                    let same = same_registrations(self.book.as_deref(), fresh.as_deref());
                    self.book = fresh;
                    if !same {
                        return Ok(());
                    }
                }
            }
            if !self.given_now().is_same(&self.given) {
                return Ok(());
            }
        }
    }

    fn given_now(&self) -> Given {
        let (Some(agent), Some(book)) = (&self.agent, &self.book) else {
            return Given::default();
        };
        Given::of(agent, book.estate(), &self.federated.borrow())
    }
}

/// Says whether both versions of the estate have the same processes as runs of the same agents.
fn same_registrations(old: Option<&PolicyBook>, new: Option<&PolicyBook>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return false;
    };
    let (old, new) = (&old.estate().agents, &new.estate().agents);
    let same = |((had, old), (has, new)): ((&AgentName, &Agent), (&AgentName, &Agent))| {
        had == has && old.workloads == new.workloads
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

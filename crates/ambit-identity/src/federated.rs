//! Workloads of foreign trust domains: proved by the bundle of their own domain, and by that alone.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, Digest, FederationName, SpiffeId, Timestamp, TrustDomain,
    claim::ClaimProof,
    estate::{
        Estate, Federation, SvidRegistration,
        claim_rules::{Fit, Wanted},
    },
};
use rustls_pki_types::CertificateDer;

use crate::{
    Claimant, IdentityError, InstanceCaller, KeyBinding, TrustBundle,
    grounds::run_by_svid,
    jose::{JoseError, JwkError},
    nearest::{Miss, Nearest, Search, hint, shown},
    token::{
        assertion::{self, ProvedWorkload},
        jwt_svid::{JwtSvidKeys, claimed_trust_domain},
    },
    x509_svid::{self, Algorithms, Side},
};

/// The bundles of foreign trust domains that are believed now.
#[derive(Clone, Debug, Default)]
pub struct FederatedBundles(BTreeMap<TrustDomain, Believed>);

/// One foreign trust domain with its bundle.
#[derive(Clone, Debug)]
struct Believed {
    federation: Arc<Federation>,
    bundle: Arc<TrustBundle>,
    keys: JwtSvidKeys,
    keys_left_at: Option<Timestamp>,
}

/// A bundle that is to be believed.
#[derive(Clone, Debug)]
pub struct BelievedBundle {
    /// For which federation of the estate.
    pub federation: Arc<Federation>,
    /// The bundle.
    pub bundle: Arc<TrustBundle>,
    /// When a key was last seen to have left it. What was said in its name before that may rest on that key.
    pub keys_left_at: Option<Timestamp>,
}

/// A workload of a foreign trust domain, proved by that domain's bundle. Which agent it is, the estate says.
///
/// Made only by [`FederatedBundles`].
///
/// ```compile_fail,E0451
/// use ambit_identity::ForeignSvid;
///
/// fn forge(spiffe_id: ambit_core::SpiffeId) {
///     let _ = ForeignSvid { spiffe_id, ..todo!() };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ForeignSvid {
    spiffe_id: SpiffeId,
    federation: Arc<Federation>,
    /// The digest of the certificate; none when a JWT-SVID was shown.
    certificate: Option<Digest>,
    /// The key of its trust domain that vouched for it.
    authority: Digest,
    expires_at: Timestamp,
}

/// A workload of a foreign trust domain that is not a run of exactly one agent. For those who operate Ambit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnknownSvid {
    /// The estate does not believe this trust domain any more, or has its bundle from elsewhere.
    #[error("the estate does not believe {0} as it did; wait a moment, or see its `trust/` files")]
    Domain(TrustDomain),
    /// No registration fits.
    #[error("no agent is registered for {seen}; {}", hint(nearest.as_deref(), "an `[[svid]]`"))]
    Nobody {
        /// Who it is.
        seen: SpiffeId,
        /// The registration whose path has most of the path's beginning, when there is any.
        nearest: Option<Box<Nearest>>,
    },
    /// Registrations of several agents fit.
    #[error("{seen} fits agent `{first}` and agent `{second}`; narrow the path of one of them")]
    Several {
        /// Who it is.
        seen: SpiffeId,
        /// One of them.
        first: AgentName,
        /// Another.
        second: AgentName,
    },
}

impl FederatedBundles {
    /// Returns these bundles, each of the trust domain of its federation. Of `own` there is none: it has another.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses a key.
    pub fn new(
        own: &TrustDomain,
        bundles: impl IntoIterator<Item = BelievedBundle>,
    ) -> Result<Self, JwkError> {
        let mut believed = BTreeMap::new();
        for it in bundles {
            let (federation, bundle) = (it.federation, it.bundle);
            let trust_domain = bundle.trust_domain().clone();
            if trust_domain == *own || trust_domain != federation.trust_domain {
                continue;
            }
            let keys = JwtSvidKeys::new(trust_domain.clone(), bundle.jwt_keys())?;
            let one = Believed {
                federation,
                bundle,
                keys,
                keys_left_at: it.keys_left_at,
            };
            believed.insert(trust_domain, one);
        }
        Ok(Self(believed))
    }

    /// Returns whether these are the very bundles of `other`, for the very same federations.
    pub fn is_same(&self, other: &Self) -> bool {
        let pair = |(had, has): (&Believed, &Believed)| {
            Arc::ptr_eq(&had.bundle, &has.bundle) && Arc::ptr_eq(&had.federation, &has.federation)
        };
        self.0.len() == other.0.len() && self.0.values().zip(other.0.values()).all(pair)
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bundle of `trust_domain`, when that is believed.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Arc<TrustBundle>> {
        Some(&self.0.get(trust_domain)?.bundle)
    }

    /// Returns the keys that sign JWT-SVIDs of `trust_domain`, when that is believed.
    pub fn jwt_keys(&self, trust_domain: &TrustDomain) -> Option<&JwtSvidKeys> {
        Some(&self.0.get(trust_domain)?.keys)
    }

    /// Returns the bundles with the names of their domains in the estate.
    pub fn iter(&self) -> impl Iterator<Item = (&FederationName, &Arc<TrustBundle>)> {
        self.0.values().map(|it| (&it.federation.name, &it.bundle))
    }

    /// Says that a word of `id`'s trust domain, given at `since`, still counts, and of which agent the workload is a run: the
    /// domain is believed, no key has left its bundle since, and the estate registers the workload.
    ///
    /// # Errors
    /// [`UnknownSvid`] says what is so no longer.
    pub fn vouches(
        &self,
        id: &SpiffeId,
        since: Timestamp,
        estate: &Estate,
    ) -> Result<AgentName, UnknownSvid> {
        let gone = || UnknownSvid::Domain(id.trust_domain().clone());
        let believed = self.0.get(id.trust_domain()).ok_or_else(gone)?;
        if believed.keys_left_at.is_some_and(|left| since <= left) {
            return Err(gone());
        }
        let found = registration(&believed.federation, id, estate);
        found.map(|(agent, _)| agent.clone())
    }

    /// Identifies the workload that proved, in a TLS handshake, to hold the key of `chain`'s leaf. None when the leaf
    /// claims no trust domain of these.
    ///
    /// # Errors
    /// [`IdentityError`] says which rule the chain breaks and what was seen.
    pub fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Option<ForeignSvid>, IdentityError> {
        // What it claims chooses the bundle, and nothing else.
        let claimed = chain.first().and_then(x509_svid::claimed_trust_domain);
        match claimed.and_then(|it| self.0.get(&it)) {
            Some(believed) => believed.identify(chain, now).map(Some),
            None => Ok(None),
        }
    }

    /// Identifies the workload that a JWT-SVID for `audience` alone names. None when it claims no trust domain of these.
    ///
    /// # Errors
    /// [`JoseError`] when its trust domain did not sign it for `audience` alone, for now.
    pub fn identify_token(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Option<(ForeignSvid, ProvedWorkload)>, JoseError> {
        // Most servers believe no others, and need not read it for that.
        if self.0.is_empty() {
            return Ok(None);
        }
        let claimed = claimed_trust_domain(token)?;
        let Some(believed) = self.0.get(&claimed) else {
            return Ok(None);
        };
        let proved = assertion::verify_jwt_spiffe(token, &believed.keys, audience, now)?;
        let svid = ForeignSvid {
            spiffe_id: proved.spiffe_id().clone(),
            federation: Arc::clone(&believed.federation),
            certificate: None,
            authority: proved.key(),
            expires_at: proved.expires_at(),
        };
        Ok(Some((svid, proved)))
    }
}

impl Believed {
    fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<ForeignSvid, IdentityError> {
        let algorithms = Algorithms::Foreign;
        let svid = x509_svid::verify(chain, &self.bundle, (Side::Client, algorithms), now)?;
        Ok(ForeignSvid {
            spiffe_id: svid.spiffe_id,
            federation: Arc::clone(&self.federation),
            certificate: Some(svid.certificate),
            authority: svid.authority,
            expires_at: svid.expires_at,
        })
    }
}

impl ForeignSvid {
    /// Returns who it is.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Returns the first instant at which the SVID is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Identifies the one agent of which the workload is a run, and who may claim a task of it.
    ///
    /// The same SPIFFE ID is the same workload: it has one live task at a time.
    ///
    /// # Errors
    /// [`UnknownSvid`] when no registration fits, those of several agents do, or the estate does not believe the trust
    /// domain as it did when the SVID was proved.
    pub fn claimant(&self, estate: &Estate) -> Result<(AgentName, Claimant), UnknownSvid> {
        let (agent, registration) = registration(&self.federation, &self.spiffe_id, estate)?;
        let (authority, path) = (self.authority, self.spiffe_id.path());
        let by = run_by_svid(&self.federation, registration, agent, authority, path);
        let named = self.spiffe_id.to_string();
        let names = [named.as_bytes()];
        let claimant = Claimant::agent(agent.clone(), ClaimProof::Svid, &names);
        Ok((agent.clone(), claimant.registered(by)))
    }

    /// Returns the caller that this workload is, once it has claimed the task whose instance is `instance`. None when
    /// that is no instance, or when no certificate was shown.
    ///
    /// For the engine, which knows who claimed what.
    pub fn as_instance(&self, instance: &SpiffeId) -> Option<InstanceCaller> {
        let (agent, id) = instance.as_instance()?;
        Some(InstanceCaller {
            spiffe_id: instance.clone(),
            agent,
            instance: id,
            binding: KeyBinding::Mtls {
                certificate: self.certificate?,
            },
            expires_at: self.expires_at,
            token: None,
            foreign: Some(Box::new(self.spiffe_id.clone())),
        })
    }
}

/// Finds the one agent of which the workload `id` of `federation` is a run, and by which registration.
fn registration<'a>(
    federation: &Federation,
    id: &SpiffeId,
    estate: &'a Estate,
) -> Result<(&'a AgentName, &'a SvidRegistration), UnknownSvid> {
    let name = &federation.name;
    if estate.federations.get(name) != Some(federation) {
        return Err(UnknownSvid::Domain(id.trust_domain().clone()));
    }
    let mut fitting: Option<(&AgentName, &SvidRegistration)> = None;
    let mut nearest = Search::default();
    for (agent, declared) in &estate.agents {
        for registration in declared.svids.iter().filter(|it| it.federation == *name) {
            if registration.path.fits(id.path()) == Fit::Differs {
                let (fitted, miss) = path_miss(&registration.path, id.path());
                nearest.missed(agent, fitted, vec![miss]);
                continue;
            }
            match fitting {
                Some((first, _)) if first != agent => {
                    return Err(UnknownSvid::Several {
                        seen: id.clone(),
                        first: first.clone(),
                        second: agent.clone(),
                    });
                }
                Some(_) => {}
                None => fitting = Some((agent, registration)),
            }
        }
    }
    fitting.ok_or_else(|| UnknownSvid::Nobody {
        seen: id.clone(),
        nearest: nearest.found(),
    })
}

/// Says what of a path differs, and how many bytes from its beginning do not.
fn path_miss(wanted: &Wanted, seen: &str) -> (usize, Miss) {
    let common = |text: &str| {
        let pairs = text.bytes().zip(seen.bytes());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let fitted = wanted.texts().map(common).max();
    let miss = Miss {
        name: "path".to_owned(),
        wanted: wanted.to_string(),
        seen: shown(seen),
    };
    (fitted.unwrap_or_default(), miss)
}

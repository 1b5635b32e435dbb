//! Foreign trust domains: where their bundles come from, and which of their workloads are an agent.

use super::claim_rules::Wanted;
use crate::{FederationName, SpiffeId, TrustDomain};

/// A foreign trust domain whose workloads are believed to be who its bundle says (SPIFFE Federation §5).
///
/// Trust domain, address and profile are always written, never inferred from one another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Federation {
    /// Its name in the estate.
    pub name: FederationName,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Where its bundle comes from.
    pub source: BundleSource,
}

/// Where the bundle of a foreign trust domain comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BundleSource {
    /// From here: the document itself. For a domain that Ambit can't reach.
    Given(String),
    /// From an endpoint that is known by its host's name (`https_web`).
    Web {
        /// Its address.
        url: String,
    },
    /// From an endpoint that is known by its SPIFFE ID (`https_spiffe`).
    Spiffe {
        /// Its address.
        url: String,
        /// Who must answer there.
        endpoint: SpiffeId,
        /// The document that proves the endpoint until another was fetched. There is one when the endpoint is of the
        /// trust domain itself; another domain's endpoint is proved by the bundle of that one.
        first: Option<String>,
    },
}

/// Which workloads of a foreign trust domain are an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SvidRegistration {
    /// Which trust domain.
    pub federation: FederationName,
    /// What the path of the SPIFFE ID must be, with the `/` at its beginning.
    pub path: Wanted,
}

/// Writes `an SVID of partner with path /ns/books/*`.
impl std::fmt::Display for SvidRegistration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an SVID of {} with path {}", self.federation, self.path)
    }
}

/// Writes where the bundle comes from.
impl std::fmt::Display for BundleSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("the bundle in the estate"),
            Self::Web { url } => f.write_str(url),
            Self::Spiffe { url, endpoint, .. } => write!(f, "{url}, where {endpoint} answers"),
        }
    }
}

//! What becomes of the bundles of foreign trust domains, as the log knows it.

use crate::{Digest, TrustDomain};

/// One change of what is believed of a foreign trust domain. Only changes are told: an endpoint that says the same again,
/// or fails again in the same way, is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BundleFact {
    /// Another document of its endpoint is believed. Written before anybody is proved by it.
    Believed {
        /// Of which trust domain.
        trust_domain: TrustDomain,
        /// How its endpoint was known.
        profile: BundleProfile,
        /// The digest over the document as it was fetched.
        document: Digest,
        /// Its sequence, when it has one.
        sequence: Option<u64>,
        /// The sequence of the one that was believed before, when there was one that had one.
        before: Option<u64>,
    },
    /// What its endpoint gave is not believed; what was believed before stays. Told once for each reason, until another
    /// document is believed.
    Refused {
        /// Of which trust domain.
        trust_domain: TrustDomain,
        /// How its endpoint was to be known.
        profile: BundleProfile,
        /// Why.
        why: BundleRefusal,
        /// The digest over the document, when there was one.
        document: Option<Digest>,
        /// Its sequence, when it could be read and has one.
        sequence: Option<u64>,
        /// The sequence of the one that stays, when there is one that has one.
        before: Option<u64>,
    },
    /// The last document is too old: nobody of the trust domain is proved any more until another is believed.
    Lapsed {
        /// Of which trust domain.
        trust_domain: TrustDomain,
        /// The sequence of the document, when it has one.
        sequence: Option<u64>,
    },
}

/// How the endpoint of a bundle is known (SPIFFE Federation §5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BundleProfile {
    /// By its host.
    Web,
    /// By its SPIFFE ID.
    Spiffe,
}

/// Why what an endpoint gave is not believed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum BundleRefusal {
    /// It gave nothing that counts: it is silent, sends elsewhere, is somebody else, or says too much.
    Unavailable,
    /// It is no bundle of the trust domain.
    Malformed,
    /// It is older than what is believed, or says something else under the same sequence.
    Rollback,
}

impl BundleFact {
    /// Returns the trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        match self {
            Self::Believed { trust_domain, .. }
            | Self::Refused { trust_domain, .. }
            | Self::Lapsed { trust_domain, .. } => trust_domain,
        }
    }
}

impl BundleProfile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Web, Self::Spiffe];

    /// Returns the word that the standard, estates and records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "https_web",
            Self::Spiffe => "https_spiffe",
        }
    }
}

impl BundleRefusal {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Unavailable, Self::Malformed, Self::Rollback];

    /// Returns the word that records use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::Rollback => "rollback",
        }
    }
}

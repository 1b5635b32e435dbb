//! Who is calling: proofs of identity, checked once per connection or token and turned into evidence.
//!
//! Everything that a check depends upon is an argument: certificates, bundles, time, chance. The
//! evidence types ([`InstanceCaller`], [`PersonCaller`], [`Gateway`]) have private fields and are
//! made by one function each.
//!
//! Evidence says who somebody *is*. Whether they still may act is asked anew on every decision:
//! the engine rechecks the live state of the instance, its agent and its task each time.
//!
//! **Architecture invariant:** no sockets and no clock. `rustls` is here because X509-SVID identity
//! is decided inside the TLS handshake; it runs on bytes that others carry.

pub mod authority;
pub mod bundle;
mod caller;
mod claimant;
pub mod dpop;
mod error;
mod federated;
mod grounds;
pub mod jose;
pub mod key;
pub mod login;
pub mod mission;
mod nearest;
mod outer_svid;
pub mod passkey;
mod pem;
mod person;
pub mod replay;
pub mod senders;
pub mod sign_in;
pub mod tls;
pub mod token;
mod trust_bundle;
mod workload;
mod x509;
mod x509_svid;

#[cfg(test)]
mod tests;

pub use crate::{
    authority::{
        Authority, AuthorityError, Issuance, IssuingKeys, PairChance, RotationError, Svid,
        WebIdentity, WebIssuance,
    },
    caller::{
        Carrier, Gateway, InstanceCaller, KeyBinding, PersonCaller, PersonProof, TokenClaim,
        Validity,
    },
    claimant::{
        Claimant, InvalidJoinToken, JOIN_TOKEN_BYTES_MAX, JOIN_TOKEN_PREFIX, JoinToken, Proved,
    },
    error::{IdentityError, SvidFlaw},
    federated::{BelievedBundle, FederatedBundles, ForeignSvid, UnknownSvid},
    grounds::{CLIENT_KEY_USES, COMBINATIONS_MAX, Ground, Grounds, client_proof},
    key::{KeyError, ProvedKey, SvidKey},
    nearest::{Miss, Nearest, SEEN_CHARS_MAX},
    outer_svid::{OuterSvid, OuterSvidError},
    person::{PeerCredentials, SignedIn, identify_passkey, identify_person, identify_signed_in},
    tls::{Clients, TlsClock, TlsError, Trusted},
    token::{Beside, identify_token},
    trust_bundle::{BUNDLE_BYTES_MAX, BUNDLE_ROOTS_MAX, BundleError, TrustBundle},
    workload::{
        AttestedWorkload, DigestWanted, ProcessAttributes, UnknownWorkload, digest_wanted,
        identify_workload,
    },
    x509_svid::{
        CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, identify_gateway, identify_instance,
    },
};

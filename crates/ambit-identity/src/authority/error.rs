//! Why the authority did not sign.

use ambit_core::{SpiffeId, Timestamp, TrustDomain, limits::SVID_TTL_MAX};

use crate::{BundleError, IdentityError, KeyError};

/// The authority could not be made, read, or brought to sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key cannot be used.
    #[error("the authority's key cannot be used")]
    Key {
        /// Why.
        #[from]
        source: KeyError,
    },
    /// A key for JWT-SVIDs cannot be used.
    #[error("the authority's key for JWT-SVIDs cannot be used")]
    JwtKey {
        /// Why.
        #[from]
        source: crate::jose::JwkError,
    },
    /// The certificate cannot serve as a root.
    #[error("the authority's certificate cannot be a root of its trust domain")]
    Root {
        /// Why.
        #[from]
        source: BundleError,
    },
    /// The certificate is of another key.
    #[error(
        "the authority's certificate and key do not belong together; restore both from one backup"
    )]
    OtherKey,
    /// The text is not what [`Authority::to_pem`](crate::Authority::to_pem) or [`Svid::to_pem`](crate::Svid::to_pem) writes.
    #[error("the text is not PEM with the expected sections")]
    Pem {
        /// What the reader said.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The text is not what [`IssuingKeys::to_text`](crate::IssuingKeys::to_text) writes.
    #[error("line {line} of the issuing keys is not understood; restore the file from a backup")]
    KeysText {
        /// Counted from 1; 0 when it is a line that says where a key stands.
        line: usize,
    },
    /// The text of an authority has none or several certificates.
    #[error("an authority has one certificate and the text has {seen}; restore it from a backup")]
    Certificates {
        /// How many.
        seen: usize,
    },
    /// The text is too long, or has too many certificates.
    #[error("the text has {certificates} certificates in {bytes} bytes, more than are read")]
    TooLarge {
        /// How many certificates.
        certificates: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// The certificate is not an SVID.
    #[error("the certificate is not an SVID")]
    NotSvid {
        /// Why.
        #[from]
        source: IdentityError,
    },
    /// The name is not one that this authority vouches for.
    #[error("{seen} is no agent's instance and no gateway of {trust_domain}; ask for one of these")]
    Name {
        /// The name.
        seen: SpiffeId,
        /// The authority's trust domain.
        trust_domain: TrustDomain,
    },
    /// The SVID would be over at once, or live too long.
    #[error(
        "an SVID from {now} to {expires_at} is refused; let it live between two seconds and \
         {SVID_TTL_MAX}"
    )]
    Lifetime {
        /// When it would be made.
        now: Timestamp,
        /// When it would end.
        expires_at: Timestamp,
    },
    /// The SVID would outlive the authority.
    #[error("the authority ends at {ends_at}, before the SVID would; rotate the authority")]
    AuthorityEnds {
        /// When the authority ends.
        ends_at: Timestamp,
    },
    /// The library could not sign.
    #[error("the certificate cannot be signed")]
    Sign {
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// The time is beyond what a certificate can say.
    #[error("a certificate cannot name the time {at}; set the clock")]
    Time {
        /// Which time.
        at: Timestamp,
    },
}

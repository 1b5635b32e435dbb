//! Why somebody could not be identified.

use ambit_core::{SpiffeId, Timestamp, TrustDomain, spiffe::InvalidSpiffeId};
use x509_parser::error::X509Error;

use crate::x509_svid::{CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX};

/// Somebody could not be identified. Each message names what was seen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// No certificate was presented.
    #[error("no client certificate was presented; connect with an X509-SVID")]
    NoCertificate,
    /// The chain has too many certificates.
    #[error(
        "the chain has {seen} certificates and at most {CHAIN_CERTIFICATES_MAX} are read; \
         send the SVID and its intermediates only"
    )]
    ChainTooLong {
        /// How many.
        seen: usize,
    },
    /// A certificate is too large.
    #[error(
        "a certificate has {seen} bytes and at most {CERTIFICATE_BYTES_MAX} are read; \
         issue a smaller one"
    )]
    CertificateTooLarge {
        /// How many bytes.
        seen: usize,
    },
    /// A certificate cannot be read.
    #[error("the certificate cannot be read; send DER as RFC 5280 defines it")]
    Unreadable {
        /// What the parser said.
        #[source]
        source: X509Error,
    },
    /// The certificate's time is over.
    #[error("the certificate expired at {not_after} and it is {now}; start a new instance")]
    Expired {
        /// The last second in which it was valid.
        not_after: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// The certificate's time has not come.
    #[error("the certificate is valid from {not_before} and it is {now}; compare the two clocks")]
    NotYetValid {
        /// The first second in which it is valid.
        not_before: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// No root of the trust domain leads to the certificate.
    #[error(
        "no root of trust domain {trust_domain} leads to the certificate; \
         was it issued by another authority, or has this one been replaced?"
    )]
    UnknownIssuer {
        /// Whose roots were tried.
        trust_domain: TrustDomain,
    },
    /// The path from a root to the certificate is not valid.
    #[error("the path from trust domain {trust_domain} to the certificate is not valid")]
    Path {
        /// Whose roots were tried.
        trust_domain: TrustDomain,
        /// What the validation said.
        #[source]
        source: webpki::Error,
    },
    /// The certificate is valid, but it is not an X509-SVID.
    #[error("the certificate is not an X509-SVID; have it issued by a SPIFFE authority")]
    NotSvid {
        /// Which rule of the standard it breaks.
        #[source]
        source: SvidFlaw,
    },
    /// The SVID names another trust domain than the one whose roots vouch for it.
    #[error("{seen} is not of trust domain {expected}, whose roots vouch for it")]
    OtherTrustDomain {
        /// The name in the certificate.
        seen: SpiffeId,
        /// The trust domain of the bundle.
        expected: TrustDomain,
    },
    /// The SVID names something other than a run of an agent.
    #[error(
        "{seen} is not an agent's instance; only `/agent/NAME/INSTANCE` may act through this door"
    )]
    NotInstance {
        /// The name in the certificate.
        seen: SpiffeId,
    },
    /// The SVID names something other than the gateway.
    #[error("{seen} is not {expected}; check the address")]
    NotGateway {
        /// The name in the certificate.
        seen: SpiffeId,
        /// The name that a gateway of this trust domain has.
        expected: SpiffeId,
    },
    /// No person of the estate has the local user's number.
    #[error(
        "local user {seen} is nobody in the estate; \
         write `unix_uid = {seen}` for one person and apply the estate"
    )]
    UnknownUid {
        /// The peer's uid.
        seen: u32,
    },
    /// Several people of the estate have the local user's number.
    #[error(
        "local user {seen} is {} in the estate; leave `unix_uid = {seen}` with one of them",
        aliases.join(" and ")
    )]
    AmbiguousUid {
        /// The peer's uid.
        seen: u32,
        /// Who has it.
        aliases: Vec<String>,
    },
    /// No person of the estate has the provider's name for whoever signed in.
    #[error(
        "whom `{issuer}` calls `{subject}` is nobody in the estate; write \
         `oidc = {{ issuer = \"{issuer}\", subject = \"{subject}\" }}` for one person and apply the estate"
    )]
    UnknownSubject {
        /// The provider.
        issuer: String,
        /// Its name for whoever signed in.
        subject: String,
    },
    /// The person who holds the passkey is not in the estate.
    #[error(
        "the passkey {passkey} is of somebody who is nobody in the estate; ask an administrator"
    )]
    UnknownHolder {
        /// Which.
        passkey: ambit_core::PasskeyId,
    },
    /// The login was opened by a proof that is no longer the person's.
    #[error("{login} was opened by a proof that is no longer good; run `ambit login`")]
    StaleLogin {
        /// Which.
        login: ambit_core::LoginId,
    },
    /// Several people of the estate have it.
    #[error(
        "whoever signed in is {} in the estate; leave the `oidc` with one of them",
        aliases.join(" and ")
    )]
    AmbiguousSubject {
        /// Who has it.
        aliases: Vec<String>,
    },
}

/// A rule of the X509-SVID standard (§3 to §5), or of Ambit on top of it, that a certificate breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SvidFlaw {
    /// The leaf is a certificate authority.
    #[error("the leaf is a certificate authority")]
    LeafIsAuthority,
    /// The leaf's key usage is not for authentication only.
    #[error(
        "key usage must be there, critical, with digitalSignature and without keyCertSign and cRLSign"
    )]
    KeyUsage,
    /// The leaf's extended key usage is incomplete.
    #[error("extended key usage must have both serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// The leaf has none or several URI names.
    #[error("the subject alternative name must have exactly one URI and has {seen}")]
    UriNames {
        /// How many.
        seen: usize,
    },
    /// The leaf's URI name is not a SPIFFE ID.
    #[error("its URI name is not a SPIFFE ID")]
    SpiffeId {
        /// Which rule it breaks.
        #[source]
        source: InvalidSpiffeId,
    },
    /// The leaf names a trust domain and no workload of it.
    #[error("its SPIFFE ID must have a path: without one it is the trust domain's own")]
    NoPath,
    /// A name in the leaf cannot be read.
    #[error("a subject alternative name cannot be read")]
    UnreadableName,
    /// The leaf's key is not for ES256.
    #[error("its key must be on the curve P-256")]
    Key,
    /// A certificate between root and leaf may not sign certificates.
    #[error("an intermediate certificate must be a certificate authority with keyCertSign")]
    Signer,
}

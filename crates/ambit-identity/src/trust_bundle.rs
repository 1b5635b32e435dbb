//! Trust bundles: the roots by which a trust domain vouches for its workloads.

use std::fmt;

use ambit_core::{Digest, Millis, TrustDomain};
use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};
use x509_parser::error::X509Error;

use crate::{
    IdentityError,
    jose::{Jwk, JwkSet},
    pem, x509, x509_svid,
};

/// The most roots of one bundle. Rotation needs two or three.
pub const BUNDLE_ROOTS_MAX: usize = 16;
/// The longest text of a bundle that is read, in bytes.
pub const BUNDLE_BYTES_MAX: usize = 256 * 1024;

/// The roots and JWT keys of one trust domain, checked once (SPIFFE Trust Domain and Bundle §4).
#[derive(Clone)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    jwt_keys: JwkSet,
    sequence: Option<u64>,
    refresh_hint: Option<Millis>,
}

/// The bytes are not a bundle of this trust domain.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The document is not JSON that has one reading.
    #[error("the bundle is not JSON that has one reading")]
    Json {
        /// What the parser said.
        #[source]
        source: ambit_core::json::JsonError,
    },
    /// The keys for JWT-SVIDs are refused.
    #[error("the bundle's keys for JWT-SVIDs are refused")]
    JwtKeys {
        /// Why.
        #[source]
        source: crate::jose::JwkError,
    },
    /// The document is not a bundle.
    #[error("the document is no bundle: {what}")]
    Document {
        /// Why not.
        what: &'static str,
    },
    /// A bundle is older than the one that is held, or says something else under the same number.
    #[error(
        "the bundle of {trust_domain} says {seen} and {held} is held already; an older bundle could bring \
         back revoked keys, so ask the operators of {trust_domain}"
    )]
    Rollback {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// The sequence that is held.
        held: u64,
        /// What was seen.
        seen: String,
    },
    /// There is no root.
    #[error("the bundle of {trust_domain} has no certificate; an empty one trusts nobody")]
    Empty {
        /// Whose bundle.
        trust_domain: TrustDomain,
    },
    /// There are too many roots, or the text is too long.
    #[error(
        "the bundle has {roots} roots in {bytes} bytes; at most {BUNDLE_ROOTS_MAX} roots in \
         {BUNDLE_BYTES_MAX} bytes are read"
    )]
    TooLarge {
        /// How many roots.
        roots: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// The text is not PEM.
    #[error("the bundle is not PEM text")]
    Pem {
        /// What the reader said.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The text holds something other than certificates.
    #[error("the bundle holds a PEM section that is no certificate; keep keys out of it")]
    NotOnlyCertificates,
    /// A root cannot be read.
    #[error("root {index} of the bundle cannot be read")]
    Unreadable {
        /// Counted from 0.
        index: usize,
        /// What the parser said.
        #[source]
        source: X509Error,
    },
    /// A root cannot serve as one.
    #[error("root {index} of the bundle cannot be a trust anchor")]
    Anchor {
        /// Counted from 0.
        index: usize,
        /// What the validation said.
        #[source]
        source: webpki::Error,
    },
    /// A root may not sign certificates.
    #[error("root {index} of the bundle is no certificate authority with keyCertSign")]
    NotAuthority {
        /// Counted from 0.
        index: usize,
    },
    /// A root names something other than the trust domain.
    #[error("root {index} of the bundle does not name {trust_domain} itself")]
    OtherName {
        /// Counted from 0.
        index: usize,
        /// Whose bundle.
        trust_domain: TrustDomain,
    },
}

/// Names the key of a root. A certificate that is made anew for the same key is the same authority.
pub(crate) fn authority_key(anchor: &TrustAnchor<'_>) -> Digest {
    Digest::of(&anchor.subject_public_key_info)
}

impl TrustBundle {
    /// Iterates over the names of the keys by which the domain vouches: of each root, the digest of its key
    /// (`subjectPublicKeyInfo`), and of each JWT key its thumbprint.
    pub(crate) fn authorities(&self) -> impl Iterator<Item = Digest> {
        let roots = self.anchors.iter().map(authority_key);
        roots.chain(self.jwt_keys.keys().iter().map(Jwk::thumbprint))
    }

    /// Returns the bundle of `trust_domain` with these roots.
    ///
    /// `sequence` grows with each change of the bundle (`spiffe_sequence`).
    ///
    /// # Errors
    /// [`BundleError`] when there is no root, too many, or one that may not sign SVIDs.
    pub fn new(
        trust_domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
        sequence: u64,
    ) -> Result<Self, BundleError> {
        if roots.is_empty() {
            return Err(BundleError::Empty { trust_domain });
        }
        Self::read(trust_domain, roots, Vec::new(), Some(sequence), None)
    }

    /// Returns the same bundle with keys for JWT-SVIDs.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`] when there are too many.
    pub(crate) fn with_jwt_keys(
        mut self,
        keys: Vec<Jwk>,
        refresh_hint: Option<Millis>,
    ) -> Result<Self, BundleError> {
        if keys.len() > BUNDLE_ROOTS_MAX {
            let (roots, bytes) = (keys.len(), 0);
            return Err(BundleError::TooLarge { roots, bytes });
        }
        let source = |source| BundleError::JwtKeys { source };
        self.jwt_keys = JwkSet::new(keys).map_err(source)?;
        self.refresh_hint = refresh_hint;
        Ok(self)
    }

    /// Returns the bundle with these keys; without any, it trusts nobody.
    pub(crate) fn read(
        trust_domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
        jwt_keys: Vec<Jwk>,
        sequence: Option<u64>,
        refresh_hint: Option<Millis>,
    ) -> Result<Self, BundleError> {
        let bytes = roots.iter().map(|it| it.len()).sum();
        if roots.len() > BUNDLE_ROOTS_MAX || bytes > BUNDLE_BYTES_MAX {
            let roots = roots.len();
            return Err(BundleError::TooLarge { roots, bytes });
        }
        let mut anchors = Vec::with_capacity(roots.len());
        for (index, root) in roots.iter().enumerate() {
            anchors.push(check_root(root, index, &trust_domain)?);
        }
        let bundle = Self {
            trust_domain,
            roots,
            anchors,
            jwt_keys: JwkSet::default(),
            sequence,
            refresh_hint: None,
        };
        bundle.with_jwt_keys(jwt_keys, refresh_hint)
    }

    /// Returns the bundle of `trust_domain` whose roots are the PEM certificates of `text`.
    ///
    /// # Errors
    /// [`BundleError`] as for [`TrustBundle::new`], and when the text holds anything but certificates.
    pub fn from_pem(
        trust_domain: TrustDomain,
        text: &str,
        sequence: u64,
    ) -> Result<Self, BundleError> {
        if text.len() > BUNDLE_BYTES_MAX {
            let (roots, bytes) = (0, text.len());
            return Err(BundleError::TooLarge { roots, bytes });
        }
        let roots = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| BundleError::Pem { source })?;
        // The reader skips other sections: a private key must not pass unnoticed.
        if text.matches("-----BEGIN ").count() != roots.len() {
            return Err(BundleError::NotOnlyCertificates);
        }
        Self::new(trust_domain, roots, sequence)
    }

    /// Returns the roots as PEM text.
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(|it| pem::certificate(it)).collect()
    }

    /// Returns the trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the roots in DER form.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Returns the number that grows with each change of the bundle; 0 when it states none.
    pub fn sequence(&self) -> u64 {
        self.sequence.unwrap_or(0)
    }

    /// Returns the number that grows with each change of the bundle, when it states one.
    pub const fn sequence_stated(&self) -> Option<u64> {
        self.sequence
    }

    /// Returns how often its publisher wants to be asked again, when it says so.
    pub const fn refresh_hint(&self) -> Option<Millis> {
        self.refresh_hint
    }

    /// Returns the keys for JWT-SVIDs.
    pub const fn jwt_keys(&self) -> &JwkSet {
        &self.jwt_keys
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots: Vec<Digest> = self.roots.iter().map(|it| Digest::of(it)).collect();
        f.debug_struct("TrustBundle")
            .field("trust_domain", &self.trust_domain)
            .field("roots", &roots)
            .field("jwt_keys", &self.jwt_keys.keys().len())
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

pub(crate) fn check_root(
    root: &CertificateDer<'static>,
    index: usize,
    trust_domain: &TrustDomain,
) -> Result<TrustAnchor<'static>, BundleError> {
    let unreadable = |source| BundleError::Unreadable { index, source };
    let certificate = x509::read(root).map_err(unreadable)?;
    if !x509::may_sign_certificates(&certificate).map_err(unreadable)? {
        return Err(BundleError::NotAuthority { index });
    }
    // A signing certificate may name its trust domain, and nothing below it (X509-SVID §4.3).
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    let names_domain = |id: Result<_, IdentityError>| id == Ok(trust_domain.authority());
    if names.is_some() && !names_domain(x509_svid::spiffe_id(&certificate)) {
        let trust_domain = trust_domain.clone();
        return Err(BundleError::OtherName {
            index,
            trust_domain,
        });
    }
    let anchor = webpki::anchor_from_trusted_cert(root);
    let anchor = anchor.map_err(|source| BundleError::Anchor { index, source })?;
    Ok(anchor.to_owned())
}

//! Callers that prove themselves with an X509-SVID.

use ambit_core::{Digest, SpiffeId, Timestamp, TrustDomain};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

use crate::{
    Gateway, IdentityError, InstanceCaller, KeyBinding, SvidFlaw, TrustBundle,
    trust_bundle::authority_key,
    x509::{self, to_unix_time},
};

/// The most certificates that a peer may send: the SVID and its intermediates.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;
/// The largest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Identifies the instance that proved, in a TLS handshake, to hold the key of `chain`'s leaf.
///
/// `chain` is what the peer sent, leaf first. The path to a root of `bundle` is validated as RFC
/// 5280 says, the leaf as X509-SVID §4 and §5 say, both at `now`. Only ES256 is accepted.
///
/// # Errors
/// [`IdentityError`] says which rule the chain breaks and what was seen.
pub fn identify_instance(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<InstanceCaller, IdentityError> {
    let svid = verify(chain, bundle, (Side::Client, Algorithms::Own), now)?;
    let Some((agent, instance)) = svid.spiffe_id.as_instance() else {
        return Err(IdentityError::NotInstance {
            seen: svid.spiffe_id,
        });
    };
    Ok(InstanceCaller {
        spiffe_id: svid.spiffe_id,
        agent,
        instance,
        binding: KeyBinding::Mtls {
            certificate: svid.certificate,
        },
        expires_at: svid.expires_at,
        token: None,
        foreign: None,
    })
}

/// Identifies the gateway that proved, in a TLS handshake, to hold the key of `chain`'s leaf.
///
/// The checks are those of [`identify_instance`]; the name must be `spiffe://TD/ambit/gateway`.
///
/// # Errors
/// [`IdentityError`] says which rule the chain breaks and what was seen.
pub fn identify_gateway(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<Gateway, IdentityError> {
    let expected = bundle.trust_domain().gateway();
    let how = (Side::Server, Algorithms::Own);
    let spiffe_id = identify_server(chain, bundle, &expected, (how, now))?;
    Ok(Gateway { spiffe_id })
}

/// Identifies the server that is `expected`.
pub(crate) fn identify_server(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    expected: &SpiffeId,
    (how, now): ((Side, Algorithms), Timestamp),
) -> Result<SpiffeId, IdentityError> {
    let svid = verify(chain, bundle, how, now)?;
    if svid.spiffe_id == *expected {
        return Ok(svid.spiffe_id);
    }
    Err(IdentityError::NotGateway {
        seen: svid.spiffe_id,
        expected: expected.clone(),
    })
}

/// Which side of the handshake the peer is on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Whose keys sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithms {
    /// Ours: ES256 and nothing else.
    Own,
    /// Another authority's: whatever is in use and sound.
    Foreign,
}

pub(crate) struct VerifiedSvid {
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) certificate: Digest,
    pub(crate) expires_at: Timestamp,
    /// The root's key that led to it: see [`TrustBundle::authorities`].
    pub(crate) authority: Digest,
}

/// Returns the trust domain that a certificate claims, to choose a bundle with and for nothing else.
pub(crate) fn claimed_trust_domain(leaf: &CertificateDer<'_>) -> Option<TrustDomain> {
    if leaf.len() > CERTIFICATE_BYTES_MAX {
        return None;
    }
    let id = spiffe_id(&read(leaf).ok()?).ok()?;
    Some(id.trust_domain().clone())
}

/// Verifies that a root of `bundle` leads to the leaf of `chain`, and that this is an X509-SVID of its trust domain.
pub(crate) fn verify(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    (side, algorithms): (Side, Algorithms),
    now: Timestamp,
) -> Result<VerifiedSvid, IdentityError> {
    check_sizes(chain)?;
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(IdentityError::NoCertificate);
    };
    let authority = verify_path(leaf, intermediates, bundle, (side, algorithms), now)?;
    // Path validation leaves keyUsage alone (RFC 5280 §6.1.4 n), so it is checked here.
    for signer in intermediates {
        let signer = read(signer)?;
        if !x509::may_sign_certificates(&signer).map_err(unreadable)? {
            return Err(flawed(SvidFlaw::Signer));
        }
    }
    let certificate = read(leaf)?;
    check_leaf(&certificate, algorithms)?;
    let spiffe_id = spiffe_id(&certificate)?;
    if spiffe_id.trust_domain() != bundle.trust_domain() {
        return Err(IdentityError::OtherTrustDomain {
            seen: spiffe_id,
            expected: bundle.trust_domain().clone(),
        });
    }
    if spiffe_id.path().is_empty() {
        return Err(flawed(SvidFlaw::NoPath));
    }
    Ok(VerifiedSvid {
        spiffe_id,
        certificate: Digest::of(leaf),
        expires_at: x509::expires_at(&certificate),
        authority,
    })
}

fn check_sizes(chain: &[CertificateDer<'_>]) -> Result<(), IdentityError> {
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(IdentityError::ChainTooLong { seen: chain.len() });
    }
    let largest = chain.iter().map(|it| it.len()).max().unwrap_or(0);
    if largest > CERTIFICATE_BYTES_MAX {
        return Err(IdentityError::CertificateTooLarge { seen: largest });
    }
    Ok(())
}

fn verify_path(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    (side, algorithms): (Side, Algorithms),
    now: Timestamp,
) -> Result<Digest, IdentityError> {
    let usage = match side {
        Side::Client => KeyUsage::client_auth(),
        Side::Server => KeyUsage::server_auth(),
    };
    let refused = |source| path_error(source, bundle, now);
    let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
    let path = leaf.verify_for_usage(
        algorithms.signatures(),
        bundle.anchors(),
        intermediates,
        to_unix_time(now),
        usage,
        None,
        None,
    );
    let path = path.map_err(refused)?;
    Ok(authority_key(path.anchor()))
}

fn path_error(source: webpki::Error, bundle: &TrustBundle, now: Timestamp) -> IdentityError {
    if let webpki::Error::CertExpired { not_after, .. } = source {
        let not_after = x509::from_seconds(not_after.as_secs());
        return IdentityError::Expired { not_after, now };
    }
    if let webpki::Error::CertNotValidYet { not_before, .. } = source {
        let not_before = x509::from_seconds(not_before.as_secs());
        return IdentityError::NotYetValid { not_before, now };
    }
    if source == webpki::Error::CaUsedAsEndEntity {
        return flawed(SvidFlaw::LeafIsAuthority);
    }
    let trust_domain = bundle.trust_domain().clone();
    if source == webpki::Error::UnknownIssuer {
        return IdentityError::UnknownIssuer { trust_domain };
    }
    IdentityError::Path {
        trust_domain,
        source,
    }
}

fn check_leaf(leaf: &X509Certificate<'_>, algorithms: Algorithms) -> Result<(), IdentityError> {
    if x509::is_authority(leaf).map_err(unreadable)? {
        return Err(flawed(SvidFlaw::LeafIsAuthority));
    }
    let authenticates_only = leaf.key_usage().map_err(unreadable)?.is_some_and(|it| {
        let signs_others = it.value.key_cert_sign() || it.value.crl_sign();
        it.critical && it.value.digital_signature() && !signs_others
    });
    if !authenticates_only {
        return Err(flawed(SvidFlaw::KeyUsage));
    }
    let extended = leaf.extended_key_usage().map_err(unreadable)?;
    if extended.is_some_and(|it| !(it.value.client_auth && it.value.server_auth)) {
        return Err(flawed(SvidFlaw::ExtendedKeyUsage));
    }
    if algorithms == Algorithms::Own && !x509::is_p256(leaf.public_key()) {
        return Err(flawed(SvidFlaw::Key));
    }
    Ok(())
}

/// Returns the leaf's name: its one URI. Names of other kinds may stand beside it and say nothing.
pub(crate) fn spiffe_id(leaf: &X509Certificate<'_>) -> Result<SpiffeId, IdentityError> {
    let names = leaf.subject_alternative_name().map_err(unreadable)?;
    let names = names.map_or(&[][..], |it| it.value.general_names.as_slice());
    let is_unreadable = |it: &GeneralName<'_>| matches!(it, GeneralName::Invalid(..));
    if names.iter().any(is_unreadable) {
        return Err(flawed(SvidFlaw::UnreadableName));
    }
    let mut uris = Vec::new();
    for name in names {
        if let GeneralName::URI(uri) = name {
            uris.push(*uri);
        }
    }
    let [uri] = uris.as_slice() else {
        return Err(flawed(SvidFlaw::UriNames { seen: uris.len() }));
    };
    uri.parse()
        .map_err(|source| flawed(SvidFlaw::SpiffeId { source }))
}

fn read<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    x509::read(der).map_err(unreadable)
}

const fn unreadable(source: x509_parser::error::X509Error) -> IdentityError {
    IdentityError::Unreadable { source }
}

const fn flawed(source: SvidFlaw) -> IdentityError {
    IdentityError::NotSvid { source }
}

/// ES256 and nothing else.
pub(crate) static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] =
    &[webpki::aws_lc_rs::ECDSA_P256_SHA256];

/// What authorities in use sign with: no SHA-1, no RSA below 2048 bits.
pub(crate) static FOREIGN_SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

impl Algorithms {
    fn signatures(self) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
        match self {
            Self::Own => SIGNATURES,
            Self::Foreign => FOREIGN_SIGNATURES,
        }
    }
}

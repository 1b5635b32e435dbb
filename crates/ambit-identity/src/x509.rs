//! Reading X.509 certificates: the few facts that identity asks of them.

use ambit_core::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    certificate::X509Certificate,
    error::X509Error,
    nom,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    x509::SubjectPublicKeyInfo,
};

/// Reads a certificate that fills `der` whole.
pub(crate) fn read<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, X509Error> {
    let (rest, certificate) =
        x509_parser::parse_x509_certificate(der.as_ref()).map_err(cause_of)?;
    if rest.is_empty() {
        return Ok(certificate);
    }
    Err(X509Error::InvalidCertificate)
}

/// Returns whether the certificate may sign others: a certificate authority with keyCertSign.
pub(crate) fn may_sign_certificates(certificate: &X509Certificate<'_>) -> Result<bool, X509Error> {
    let key_usage = certificate.key_usage()?;
    Ok(is_authority(certificate)? && key_usage.is_some_and(|it| it.value.key_cert_sign()))
}

/// Returns whether the certificate says that it is a certificate authority.
pub(crate) fn is_authority(certificate: &X509Certificate<'_>) -> Result<bool, X509Error> {
    Ok(certificate
        .basic_constraints()?
        .is_some_and(|it| it.value.ca))
}

/// Returns whether the public key is for ES256: an elliptic curve key on P-256.
pub(crate) fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref();
    let curve = curve.and_then(|it| it.as_oid().ok());
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256)
}

/// Returns the first instant after the certificate's validity.
///
/// The standard counts the whole second of `notAfter` as valid (RFC 5280 §4.1.2.5).
pub(crate) fn expires_at(certificate: &X509Certificate<'_>) -> Timestamp {
    let seconds = certificate.validity().not_after.timestamp();
    from_seconds(u64::try_from(seconds).unwrap_or(0).saturating_add(1))
}

/// Returns the instant at the start of a second.
pub(crate) const fn from_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// Returns the second in which an instant lies.
pub(crate) const fn to_seconds(at: Timestamp) -> u64 {
    at.as_millis() / 1000
}

/// Returns an instant as the TLS libraries count it.
pub(crate) const fn to_unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(at.as_millis()))
}

/// Returns what went wrong, without the parser's notion of incomplete input.
pub(crate) fn cause_of(error: nom::Err<X509Error>) -> X509Error {
    match error {
        nom::Err::Error(cause) | nom::Err::Failure(cause) => cause,
        nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
    }
}

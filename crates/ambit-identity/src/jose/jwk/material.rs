//! The key itself: kinds, curves and numbers.

use std::collections::BTreeMap;

use ambit_core::json::Value;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
        OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    public_key,
    x509::SubjectPublicKeyInfo,
};

use super::{JwkError, small_order::is_of_small_order, text};
use crate::{
    jose::{Algorithm, algorithm::Implementation, base64url},
    x509,
};

/// A public key, without what is said about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicKey {
    /// `EC`: a point on a curve.
    Ec {
        /// Which curve.
        curve: Curve,
        /// The uncompressed point (SEC 1 §2.3.3): 4, then both coordinates at full length.
        point: Vec<u8>,
    },
    /// `RSA`: big-endian numbers without leading zeros.
    Rsa {
        /// The modulus, 2048 to 8192 bits.
        modulus: Vec<u8>,
        /// The exponent.
        exponent: Vec<u8>,
    },
    /// `OKP` on the curve Ed25519.
    Ed25519 {
        /// The 32 bytes of the point (RFC 8032 §5.1.5).
        point: Vec<u8>,
    },
}

/// A curve for ECDSA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl PublicKey {
    pub(super) fn read(members: &BTreeMap<String, Value>) -> Result<Self, JwkError> {
        let kind = text(members, "kty")?.ok_or(JwkError::Member { name: "kty" })?;
        match (kind, text(members, "crv")?) {
            ("RSA", _) => Self::rsa(bytes(members, "n")?, bytes(members, "e")?),
            ("EC", Some(curve)) => {
                let curve = Curve::named(curve).ok_or(JwkError::OtherKind)?;
                let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
                let length = curve.coordinate_bytes();
                if x.len() != length || y.len() != length {
                    return Err(JwkError::Member { name: "x" });
                }
                Self::ec(curve, [&[UNCOMPRESSED], x.as_slice(), &y].concat())
            }
            ("OKP", Some("Ed25519")) => Self::ed25519(bytes(members, "x")?),
            ("EC" | "OKP", None) => Err(JwkError::Member { name: "crv" }),
            _ => Err(JwkError::OtherKind),
        }
    }

    pub(super) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, JwkError> {
        let read = x509::read(certificate).map_err(|source| JwkError::Certificate { source })?;
        Self::of_spki(read.public_key())
    }

    fn of_spki(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, JwkError> {
        let data = key.subject_public_key.data.as_ref();
        let kind = &key.algorithm.algorithm;
        if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = key.algorithm.parameters.as_ref();
            let curve = curve.and_then(|it| it.as_oid().ok());
            let known = Curve::ALL.into_iter().find(|it| curve == Some(it.oid()));
            return Self::ec(known.ok_or(JwkError::OtherKind)?, data.to_vec());
        }
        if *kind == OID_SIG_ED25519 {
            return Self::ed25519(data.to_vec());
        }
        if *kind != OID_PKCS1_RSAENCRYPTION {
            return Err(JwkError::OtherKind);
        }
        match key.parsed() {
            Ok(public_key::PublicKey::RSA(it)) => {
                Self::rsa(trimmed(it.modulus), trimmed(it.exponent))
            }
            _ => Err(JwkError::Unusable),
        }
    }

    pub(in crate::jose) fn ec(curve: Curve, point: Vec<u8>) -> Result<Self, JwkError> {
        let is_whole =
            point.first() == Some(&UNCOMPRESSED) && point.len() == 2 * curve.coordinate_bytes() + 1;
        if !is_whole {
            return Err(JwkError::Unusable);
        }
        Self::Ec { curve, point }.checked(curve.algorithm())
    }

    fn ed25519(point: Vec<u8>) -> Result<Self, JwkError> {
        if point.len() != ED25519_BYTES {
            return Err(JwkError::Member { name: "x" });
        }
        if is_of_small_order(&point) {
            return Err(JwkError::Unusable);
        }
        Self::Ed25519 { point }.checked(Algorithm::EdDsa)
    }

    fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Self, JwkError> {
        // A Base64urlUInt has no leading zeros (RFC 7518 §2).
        let top = modulus.first().copied().unwrap_or(0);
        if top == 0 {
            return Err(JwkError::Member { name: "n" });
        }
        let seen = (modulus.len() * 8).saturating_sub(top.leading_zeros() as usize);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&seen) {
            return Err(JwkError::Size { seen });
        }
        check_exponent(&exponent)?;
        Self::Rsa { modulus, exponent }.checked(Algorithm::Rs256)
    }

    /// Says whether keys of this kind are for `algorithm`.
    pub fn suits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Ec { curve, .. } => curve.algorithm() == algorithm,
            Self::Rsa { .. } => matches!(algorithm.implementation(), Implementation::Rsa(_)),
            Self::Ed25519 { .. } => algorithm == Algorithm::EdDsa,
        }
    }

    /// Parses the key for the library.
    pub(in crate::jose) fn parsed(
        &self,
        algorithm: Algorithm,
    ) -> Result<ParsedPublicKey, JwkError> {
        let parsed = match (self, algorithm.implementation()) {
            (Self::Rsa { modulus, exponent }, Implementation::Rsa(parameters)) => {
                let (n, e) = (modulus, exponent);
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters)
            }
            (Self::Ec { point, .. } | Self::Ed25519 { point }, Implementation::Curve(it)) => {
                ParsedPublicKey::new(it, point)
            }
            _ => return Err(JwkError::OtherAlgorithm),
        };
        parsed.map_err(|_| JwkError::Unusable)
    }

    /// Returns the members that RFC 7638 §3.2 (RFC 8037 §2) takes the thumbprint of.
    pub(super) fn members(&self) -> BTreeMap<String, Value> {
        let members = match self {
            Self::Ec { curve, point } => {
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates
                    .split_at_checked(curve.coordinate_bytes())
                    .unwrap_or_default();
                let (x, y) = (base64url::encode(x), base64url::encode(y));
                let curve = curve.as_str().to_owned();
                vec![("kty", "EC".to_owned()), ("crv", curve), ("x", x), ("y", y)]
            }
            Self::Rsa { modulus, exponent } => vec![
                ("kty", "RSA".to_owned()),
                ("n", base64url::encode(modulus)),
                ("e", base64url::encode(exponent)),
            ],
            Self::Ed25519 { point } => vec![
                ("kty", "OKP".to_owned()),
                ("crv", "Ed25519".to_owned()),
                ("x", base64url::encode(point)),
            ],
        };
        let members = members.into_iter();
        members
            .map(|(name, it)| (name.to_owned(), it.into()))
            .collect()
    }

    fn checked(self, algorithm: Algorithm) -> Result<Self, JwkError> {
        self.parsed(algorithm)?;
        Ok(self)
    }
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Returns the name as `crv` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    fn oid(self) -> x509_parser::der_parser::Oid<'static> {
        match self {
            Self::P256 => OID_EC_P256,
            Self::P384 => OID_NIST_EC_P384,
            Self::P521 => OID_NIST_EC_P521,
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::P521 => Algorithm::Es512,
        }
    }

    const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

fn check_exponent(exponent: &[u8]) -> Result<(), JwkError> {
    if exponent.is_empty() || exponent.first() == Some(&0) || exponent.len() > EXPONENT_BYTES_MAX {
        return Err(JwkError::Exponent);
    }
    let number = exponent
        .iter()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    if number % 2 == 1 && (EXPONENT_MIN..=EXPONENT_MAX).contains(&number) {
        return Ok(());
    }
    Err(JwkError::Exponent)
}

fn bytes(members: &BTreeMap<String, Value>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    let invalid = || JwkError::Member { name };
    let text = text(members, name)?.ok_or_else(invalid)?;
    base64url::decode(text).map_err(|_| invalid())
}

/// Returns a number of DER without the zero that keeps it positive.
fn trimmed(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|it| *it == 0).collect()
}

/// The first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;
const ED25519_BYTES: usize = 32;
const RSA_BITS_MIN: usize = 2048;
/// The largest RSA modulus, in bits.
const RSA_BITS_MAX: usize = 8192;
const EXPONENT_MIN: u64 = 65_537;
/// The largest RSA exponent: what the library takes.
const EXPONENT_MAX: u64 = (1 << 33) - 1;
/// The longest RSA exponent, in bytes.
const EXPONENT_BYTES_MAX: usize = 5;

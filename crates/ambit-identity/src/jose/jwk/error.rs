//! Why a key is refused.

use ambit_core::json::JsonError;
use x509_parser::error::X509Error;

/// A key, or a set of keys, is refused.
#[derive(Debug, thiserror::Error)]
pub enum JwkError {
    /// The text is not JSON with exactly one reading.
    #[error("the keys are not JSON with one reading and integers only")]
    Json {
        /// What the parser said.
        #[source]
        source: JsonError,
    },
    /// The key is not a JSON object.
    #[error("the key is not a JSON object; send it as RFC 7517 defines it")]
    NotObject,
    /// The set has no list of keys.
    #[error("the key set has no list `keys`; send it as RFC 7517 §5 defines it")]
    NotSet,
    /// The set has too many keys.
    #[error("the key set has {seen} keys and at most {max} are read; leave retired ones out")]
    TooMany {
        /// How many keys.
        seen: usize,
        /// How many may be.
        max: usize,
    },
    /// The key holds a private half or a shared secret.
    #[error("the key has the private member `{member}`: it is no secret any more; replace the key")]
    Private {
        /// Which member.
        member: &'static str,
    },
    /// A member is missing, has the wrong type or a value beyond its bounds.
    #[error("member `{name}` of the key is not as RFC 7517 and RFC 7518 §6 define it")]
    Member {
        /// Which member.
        name: &'static str,
    },
    /// The key is of a kind or on a curve that is not accepted.
    #[error("the key is of no accepted kind; use EC on P-256, P-384 or P-521, RSA, or Ed25519")]
    OtherKind,
    /// The key is not for signatures.
    #[error("the key is not for verifying signatures; publish it with `use` = `sig`")]
    OtherUse,
    /// The key is not for the algorithm.
    #[error("the key is not for the algorithm; keep `alg`, `kty` and `crv` in step")]
    OtherAlgorithm,
    /// The RSA modulus is too small or too large.
    #[error("the RSA key has {seen} bits; from 2048 to 8192 are accepted")]
    Size {
        /// How many bits.
        seen: usize,
    },
    /// The RSA exponent is unusual.
    #[error("the RSA exponent must be odd and from 65537 to 2^33 - 1")]
    Exponent,
    /// The numbers are no key: a point that is not on its curve, for example.
    #[error("the numbers of the key are no public key; was it copied whole?")]
    Unusable,
    /// The certificate cannot be read.
    #[error("a certificate in `x5c` cannot be read")]
    Certificate {
        /// What the parser said.
        #[source]
        source: X509Error,
    },
    /// The certificate is for another key.
    #[error("the first certificate in `x5c` is for another key (RFC 7517 §4.7)")]
    OtherCertificate,
}

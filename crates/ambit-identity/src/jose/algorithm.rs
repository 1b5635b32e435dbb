//! Signature algorithms (RFC 7518 §3.1, RFC 8037).

use std::{fmt, str::FromStr};

use aws_lc_rs::{rsa, signature};

/// A signature algorithm that Ambit verifies. It signs with ES256 alone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// EdDSA, on Ed25519 alone.
    EdDsa,
}

/// The name is not that of an algorithm which Ambit verifies.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no signature algorithm that is accepted; sign with ES256")]
pub struct InvalidAlgorithm(String);

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::EdDsa,
    ];

    /// Returns the name as `alg` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) const fn implementation(self) -> Implementation {
        use Implementation::{Curve, Rsa};
        match self {
            Self::Es256 => Curve(&signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Curve(&signature::ECDSA_P384_SHA384_FIXED),
            Self::Es512 => Curve(&signature::ECDSA_P521_SHA512_FIXED),
            Self::Rs256 => Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Self::EdDsa => Curve(&signature::ED25519),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names are compared exactly: `es256` and `none` are no algorithms.
impl FromStr for Algorithm {
    type Err = InvalidAlgorithm;

    fn from_str(text: &str) -> Result<Self, InvalidAlgorithm> {
        let named = Self::ALL.into_iter().find(|it| it.as_str() == text);
        named.ok_or_else(|| InvalidAlgorithm(text.chars().take(NAME_CHARACTERS_SHOWN).collect()))
    }
}

/// How the library wants an algorithm: RSA keys are built from their numbers, others from a point.
pub(super) enum Implementation {
    Curve(&'static dyn signature::VerificationAlgorithm),
    Rsa(&'static rsa::RsaParameters),
}

/// How much of a foreign name a message shows.
const NAME_CHARACTERS_SHOWN: usize = 32;

//! Key pairs for every algorithm, made anew in each run: no private key lies in the repository.

use std::sync::OnceLock;

use ambit_core::json::Value;
use ambit_identity::jose::{Algorithm, base64url};
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};

/// A key pair.
pub(crate) struct Pair {
    secret: Secret,
}

enum Secret {
    Ec {
        curve: &'static Curve,
        fixed: EcdsaKeyPair,
        der: EcdsaKeyPair,
    },
    Rsa(RsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A curve for ECDSA.
pub(crate) struct Curve {
    name: &'static str,
    /// The order of the base point, big-endian, in hexadecimal digits.
    pub(crate) order: &'static str,
    fixed: &'static EcdsaSigningAlgorithm,
    der: &'static EcdsaSigningAlgorithm,
}

/// The keys of one kind: the one that signs, an older one that is published beside it, and a stranger's.
pub(crate) struct Ring {
    pub(crate) own: Pair,
    pub(crate) older: Pair,
    pub(crate) other: Pair,
}

/// Returns the keys for an algorithm.
pub(crate) fn ring(algorithm: Algorithm) -> &'static Ring {
    static RINGS: [OnceLock<Ring>; 5] = [const { OnceLock::new() }; 5];
    let make: (usize, fn() -> Pair) = match algorithm {
        Algorithm::Es256 => (0, || Pair::on(&P256)),
        Algorithm::Es384 => (1, || Pair::on(&P384)),
        Algorithm::Es512 => (2, || Pair::on(&P521)),
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => (3, Pair::rsa),
        Algorithm::EdDsa => (4, Pair::ed25519),
    };
    let (place, pair) = make;
    RINGS[place].get_or_init(|| Ring {
        own: pair(),
        older: pair(),
        other: pair(),
    })
}

/// Says whether the algorithm is one of RSA.
pub(crate) fn is_rsa(algorithm: Algorithm) -> bool {
    algorithm.as_str().starts_with(['R', 'P'])
}

impl Pair {
    fn on(curve: &'static Curve) -> Self {
        let fixed = EcdsaKeyPair::generate(curve.fixed).unwrap();
        let pkcs8 = fixed.to_pkcs8v1().unwrap();
        let der = EcdsaKeyPair::from_pkcs8(curve.der, pkcs8.as_ref()).unwrap();
        let secret = Secret::Ec { curve, fixed, der };
        Self { secret }
    }

    fn rsa() -> Self {
        let secret = Secret::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        Self { secret }
    }

    fn ed25519() -> Self {
        let secret = Secret::Ed(Ed25519KeyPair::generate().unwrap());
        Self { secret }
    }

    /// Returns the public half with `members` beside it.
    pub(crate) fn jwk<'a>(&'a self, members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
        let mut jwk = self.public();
        jwk.extend(members);
        Value::object(jwk)
    }

    fn public(&self) -> Vec<(&str, Value)> {
        let text = |it: &[u8]| Value::from(base64url::encode(it));
        match &self.secret {
            Secret::Ec { curve, fixed, .. } => {
                let point = &fixed.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let name = curve.name.into();
                vec![
                    ("kty", "EC".into()),
                    ("crv", name),
                    ("x", text(x)),
                    ("y", text(y)),
                ]
            }
            Secret::Rsa(pair) => vec![
                ("kty", "RSA".into()),
                ("n", text(&self.modulus().unwrap())),
                (
                    "e",
                    text(
                        pair.public_key()
                            .exponent()
                            .big_endian_without_leading_zero(),
                    ),
                ),
            ],
            Secret::Ed(pair) => vec![
                ("kty", "OKP".into()),
                ("crv", "Ed25519".into()),
                ("x", text(pair.public_key().as_ref())),
            ],
        }
    }

    /// Returns the modulus, when there is one.
    pub(crate) fn modulus(&self) -> Option<Vec<u8>> {
        let Secret::Rsa(pair) = &self.secret else {
            return None;
        };
        let modulus = pair.public_key().modulus();
        Some(modulus.big_endian_without_leading_zero().to_vec())
    }

    /// Returns the curve, when it is one of ECDSA.
    pub(crate) const fn curve(&self) -> Option<&'static Curve> {
        match &self.secret {
            Secret::Ec { curve, .. } => Some(curve),
            Secret::Rsa(_) | Secret::Ed(_) => None,
        }
    }

    /// Signs with `algorithm`, as JWS wants it. A key for ECDSA or EdDSA has one way alone.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &str) -> Vec<u8> {
        let message = message.as_bytes();
        match &self.secret {
            Secret::Ec { fixed, .. } => {
                let signature = fixed.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let (padding, chance) = (padding(algorithm), SystemRandom::new());
                pair.sign(padding, &chance, message, &mut signature)
                    .unwrap();
                signature
            }
            Secret::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// Signs as X.509 does, when that is another way: both numbers in DER.
    pub(crate) fn sign_der(&self, message: &str) -> Option<Vec<u8>> {
        let Secret::Ec { der, .. } = &self.secret else {
            return None;
        };
        let signature = der.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        Some(signature.as_ref().to_vec())
    }

    /// Returns the private half as `jsonwebtoken` wants it: PKCS #8, for RSA what is inside of it.
    pub(crate) fn private(&self) -> Vec<u8> {
        match &self.secret {
            Secret::Ec { fixed, .. } => fixed.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Secret::Rsa(pair) => {
                let whole = pair.as_der().unwrap();
                whole.as_ref()[RSA_WITHIN_PKCS8..].to_vec()
            }
            Secret::Ed(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        }
    }
}

fn padding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &RSA_PSS_SHA256,
        Algorithm::Ps384 => &RSA_PSS_SHA384,
        Algorithm::Ps512 => &RSA_PSS_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 | Algorithm::EdDsa => {
            panic!("{algorithm} is none of RSA")
        }
    }
}

static P256: Curve = Curve {
    name: "P-256",
    order: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    fixed: &ECDSA_P256_SHA256_FIXED_SIGNING,
    der: &ECDSA_P256_SHA256_ASN1_SIGNING,
};
static P384: Curve = Curve {
    name: "P-384",
    order: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    fixed: &ECDSA_P384_SHA384_FIXED_SIGNING,
    der: &ECDSA_P384_SHA384_ASN1_SIGNING,
};
static P521: Curve = Curve {
    name: "P-521",
    order: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    fixed: &ECDSA_P521_SHA512_FIXED_SIGNING,
    der: &ECDSA_P521_SHA512_ASN1_SIGNING,
};
/// The order of Ed25519's base point (RFC 8032 §5.1), big-endian.
pub(crate) const ED25519_ORDER: &str =
    "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";
/// Where the key begins in PKCS #8, for a key of 2048 bits.
const RSA_WITHIN_PKCS8: usize = 26;

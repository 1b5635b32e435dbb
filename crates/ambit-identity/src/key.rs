//! Keys of SVIDs: ES256 key pairs, and proofs that somebody holds one.

use std::fmt;

use ambit_core::Digest;
use aws_lc_rs::{agreement, signature};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SubjectPublicKeyInfo};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::{
    certification_request::X509CertificationRequest, error::X509Error,
    oid_registry::OID_SIG_ECDSA_WITH_SHA256, prelude::FromDer,
};
use zeroize::{Zeroize, Zeroizing};

use crate::{pem, x509};

/// The longest certificate signing request that is read, in bytes.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// An ES256 key pair. Its private half is wiped from memory in the end and never printed.
pub struct SvidKey {
    pair: KeyPair,
}

/// A public key whose holder proved to have the private half. Of the proof, only the key is kept.
///
/// Made only by [`ProvedKey::from_request`] and [`SvidKey::proved`].
///
/// ```compile_fail,E0451
/// fn forge(spki: rcgen::SubjectPublicKeyInfo) {
///     let _ = ambit_identity::ProvedKey { spki };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ProvedKey {
    pub(crate) spki: SubjectPublicKeyInfo,
}

/// A key cannot be made, read or believed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The random bytes are not a private key. One in 2^32 draws is not.
    #[error("these random bytes are not a private key; draw others")]
    Chance,
    /// The library refused the key.
    #[error("the key is not a PKCS #8 key on the curve P-256")]
    Unusable {
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// The text is not PEM.
    #[error("the key is not PEM text with a section `PRIVATE KEY`")]
    Pem {
        /// What the reader said.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The request is too long.
    #[error(
        "the signing request has {seen} bytes and at most {REQUEST_BYTES_MAX} are read; \
         ask with the key alone"
    )]
    RequestTooLarge {
        /// How many bytes.
        seen: usize,
    },
    /// The request cannot be read.
    #[error("the signing request cannot be read; send DER as RFC 2986 defines it")]
    RequestUnreadable {
        /// What the parser said.
        #[source]
        source: X509Error,
    },
    /// The request is for another algorithm.
    #[error(
        "the signing request is not for ES256; generate the key on P-256 and sign with SHA-256"
    )]
    RequestAlgorithm,
    /// The request's signature is not by its key.
    #[error("the signing request is not signed by its own key; sign it with the key it asks for")]
    RequestSignature,
}

impl SvidKey {
    /// Makes the key pair whose private half is `chance`: fresh, secret random bytes.
    ///
    /// # Errors
    /// [`KeyError::Chance`] when `chance` is not a private key on P-256: draw again.
    pub fn generate(chance: [u8; 32]) -> Result<Self, KeyError> {
        let chance = Zeroizing::new(chance);
        let private = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &*chance)
            .map_err(|_| KeyError::Chance)?;
        let public = private.compute_public_key().map_err(|_| KeyError::Chance)?;
        let pkcs8 = signature::EcdsaKeyPair::from_private_key_and_public_key(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            &*chance,
            public.as_ref(),
        )
        .map_err(|_| KeyError::Chance)?
        .to_pkcs8v1()
        .map_err(|_| KeyError::Chance)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads the key pair from an unencrypted PKCS #8 key in DER form.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when it is not a key on P-256.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from(der);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(|source| KeyError::Unusable { source })?;
        Ok(Self { pair })
    }

    /// Reads the key pair from the first section `PRIVATE KEY` of a PEM text.
    ///
    /// # Errors
    /// [`KeyError`] when there is none, or when it is not a key on P-256.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|source| KeyError::Pem { source })?;
        let key = Self::from_pkcs8(der.secret_pkcs8_der());
        der.zeroize();
        key
    }

    /// Returns the key pair as a PEM section `PRIVATE KEY`, for a file that only its owner reads.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::private_key(self.pair.serialized_der())
    }

    /// Returns a certificate signing request (RFC 2986, DER) that proves possession of the key and
    /// asks for nothing else: the authority decides all else.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when the library cannot sign.
    pub fn signing_request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params
            .serialize_request(&self.pair)
            .map_err(|source| KeyError::Unusable { source })?;
        Ok(request.der().to_vec())
    }

    /// Returns the public key: who holds this value holds the private half.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when the library cannot read its own key.
    pub fn proved(&self) -> Result<ProvedKey, KeyError> {
        ProvedKey::from_spki(&self.public_key_der())
    }

    /// Returns the public key as a DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub fn public_key_der(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(&self.pair)
    }

    pub(crate) const fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// Returns the key pair as an unencrypted PKCS #8 key in DER form, for its holder alone.
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialized_der().to_vec())
    }
}

impl Drop for SvidKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for SvidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SvidKey(..)")
    }
}

impl ProvedKey {
    /// Returns the digest that names the key: SHA-256 over its public half (DER).
    pub fn name(&self) -> Digest {
        Digest::of(rcgen::PublicKeyData::der_bytes(&self.spki))
    }

    /// Reads a certificate signing request (DER) and checks that its own key signed it, with ES256.
    ///
    /// Names, usages and extensions that it asks for are not even looked at.
    ///
    /// # Errors
    /// [`KeyError`] when the request is too long, unreadable, for another algorithm, or not signed
    /// by its key.
    pub fn from_request(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(KeyError::RequestTooLarge { seen: der.len() });
        }
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| request_unreadable(x509::cause_of(error)))?;
        if !rest.is_empty() {
            return Err(request_unreadable(X509Error::InvalidCertificate));
        }
        let info = &request.certification_request_info;
        let signed_with = &request.signature_algorithm.algorithm;
        if *signed_with != OID_SIG_ECDSA_WITH_SHA256 || !x509::is_p256(&info.subject_pki) {
            return Err(KeyError::RequestAlgorithm);
        }
        let key = info.subject_pki.subject_public_key.data.as_ref();
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| KeyError::RequestSignature)?;
        Self::from_spki(info.subject_pki.raw)
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki =
            SubjectPublicKeyInfo::from_der(der).map_err(|source| KeyError::Unusable { source })?;
        Ok(Self { spki })
    }
}

const fn request_unreadable(source: X509Error) -> KeyError {
    KeyError::RequestUnreadable { source }
}

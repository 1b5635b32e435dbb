//! One public key as JSON (RFC 7517, RFC 7518 §6, RFC 8037).

mod error;
mod material;
mod small_order;

use std::collections::BTreeMap;

use ambit_core::{
    Digest,
    json::{self, Value},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;

pub use self::{
    error::JwkError,
    material::{Curve, PublicKey},
};
use super::Algorithm;
use crate::x509_svid::CERTIFICATE_BYTES_MAX;

/// The longest `kid`, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 256;
/// The most certificates of one key's `x5c`.
pub const CERTIFICATES_MAX: usize = 8;

/// A public key. It may say for which use and algorithm it is; a private half is never read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jwk {
    public: PublicKey,
    key_use: KeyUse,
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
    certificates: Vec<CertificateDer<'static>>,
}

/// What a key is for: its member `use` (RFC 7517 §4.2, SPIFFE Trust Domain and Bundle §4.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyUse {
    /// The key does not say.
    Unstated,
    /// `sig`.
    Signature,
    /// `x509-svid`: roots of X509-SVIDs.
    X509Svid,
    /// `jwt-svid`: signatures of JWT-SVIDs.
    JwtSvid,
    /// `wit-svid`: signatures of WIT-SVIDs.
    WitSvid,
}

impl Jwk {
    /// Reads a key from its JSON text of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`JwkError`] as for [`Jwk::from_value`], and when the text cannot be read.
    pub fn parse(text: &[u8], bytes_max: usize) -> Result<Self, JwkError> {
        let value =
            json::parse_integers(text, bytes_max).map_err(|source| JwkError::Json { source })?;
        Self::from_value(&value)
    }

    /// Reads a key from its JSON form. Members that are not named in RFC 7517 are ignored.
    ///
    /// # Errors
    /// [`JwkError`] when it is not a key that can verify signatures, holds a private half, or its
    /// certificate is for another key.
    pub fn from_value(value: &Value) -> Result<Self, JwkError> {
        let members = value.as_object().ok_or(JwkError::NotObject)?;
        refuse_private(members)?;
        check_operations(members)?;
        let key = Self {
            public: PublicKey::read(members)?,
            key_use: KeyUse::read(members)?,
            algorithm: algorithm(members)?,
            key_id: key_id(members)?,
            certificates: certificates(members)?,
        };
        if key.algorithm.is_some_and(|it| !key.public.suits(it)) {
            return Err(JwkError::OtherAlgorithm);
        }
        if let Some(first) = key.certificates.first()
            && PublicKey::of_certificate(first)? != key.public
        {
            return Err(JwkError::OtherCertificate);
        }
        Ok(key)
    }

    /// Returns the key of a certificate, with the certificate as `x5c`.
    ///
    /// # Errors
    /// [`JwkError`] when the certificate cannot be read or its key is of no accepted kind.
    pub fn of_certificate(
        certificate: CertificateDer<'static>,
        key_use: KeyUse,
    ) -> Result<Self, JwkError> {
        Ok(Self {
            public: PublicKey::of_certificate(&certificate)?,
            key_use,
            algorithm: None,
            key_id: None,
            certificates: vec![certificate],
        })
    }

    pub(super) const fn own(public: PublicKey, key_use: KeyUse, key_id: Option<String>) -> Self {
        Self {
            public,
            key_use,
            algorithm: Some(Algorithm::Es256),
            key_id,
            certificates: Vec::new(),
        }
    }

    /// Returns the bare key as DPoP proofs embed it: no identifier, no use, no certificates.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self {
            public: self.public.clone(),
            key_use: KeyUse::Unstated,
            algorithm: None,
            key_id: None,
            certificates: Vec::new(),
        }
    }

    /// Returns the same key for another use.
    #[must_use]
    pub(crate) fn used_for(&self, key_use: KeyUse) -> Self {
        Self {
            key_use,
            ..self.clone()
        }
    }

    /// Returns the JSON form.
    pub fn to_value(&self) -> Value {
        let mut members = self.public.members();
        if let Some(word) = self.key_use.as_str() {
            members.insert("use".to_owned(), word.into());
        }
        if let Some(algorithm) = self.algorithm {
            members.insert("alg".to_owned(), algorithm.as_str().into());
        }
        if let Some(key_id) = &self.key_id {
            members.insert("kid".to_owned(), key_id.as_str().into());
        }
        if !self.certificates.is_empty() {
            let chain = self.certificates.iter().map(|it| STANDARD.encode(it));
            members.insert("x5c".to_owned(), chain.collect());
        }
        Value::Object(members)
    }

    /// Returns the thumbprint (RFC 7638): the digest of the key alone, the same for every `kid`.
    pub fn thumbprint(&self) -> Digest {
        Digest::of(
            Value::Object(self.public.members())
                .to_canonical()
                .as_bytes(),
        )
    }

    /// Returns the key itself.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns what the key is for.
    pub const fn key_use(&self) -> KeyUse {
        self.key_use
    }

    /// Returns the one algorithm that the key is for, when it says.
    pub const fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Returns the identifier (`kid`), when there is one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the certificates (`x5c`), the key's own first. None of them is verified.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl KeyUse {
    fn read(members: &BTreeMap<String, Value>) -> Result<Self, JwkError> {
        match text(members, "use")? {
            None => Ok(Self::Unstated),
            Some("sig") => Ok(Self::Signature),
            Some("x509-svid") => Ok(Self::X509Svid),
            Some("jwt-svid") => Ok(Self::JwtSvid),
            Some("wit-svid") => Ok(Self::WitSvid),
            Some(_) => Err(JwkError::OtherUse),
        }
    }

    /// Returns the word of the member `use`, when there is one.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unstated => None,
            Self::Signature => Some("sig"),
            Self::X509Svid => Some("x509-svid"),
            Self::JwtSvid => Some("jwt-svid"),
            Self::WitSvid => Some("wit-svid"),
        }
    }
}

fn refuse_private(members: &BTreeMap<String, Value>) -> Result<(), JwkError> {
    let private = PRIVATE_MEMBERS.iter().find(|it| members.contains_key(**it));
    private.map_or(Ok(()), |member| Err(JwkError::Private { member }))
}

fn check_operations(members: &BTreeMap<String, Value>) -> Result<(), JwkError> {
    let Some(operations) = members.get("key_ops") else {
        return Ok(());
    };
    let invalid = || JwkError::Member { name: "key_ops" };
    let operations = operations.as_array().ok_or_else(invalid)?;
    if operations.iter().any(|it| it.as_str().is_none()) {
        return Err(invalid());
    }
    if operations.iter().any(|it| it.as_str() == Some("verify")) {
        return Ok(());
    }
    Err(JwkError::OtherUse)
}

fn algorithm(members: &BTreeMap<String, Value>) -> Result<Option<Algorithm>, JwkError> {
    let Some(name) = text(members, "alg")? else {
        return Ok(None);
    };
    name.parse().map(Some).map_err(|_| JwkError::OtherAlgorithm)
}

fn key_id(members: &BTreeMap<String, Value>) -> Result<Option<String>, JwkError> {
    let Some(key_id) = text(members, "kid")? else {
        return Ok(None);
    };
    if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX {
        return Err(JwkError::Member { name: "kid" });
    }
    Ok(Some(key_id.to_owned()))
}

fn certificates(
    members: &BTreeMap<String, Value>,
) -> Result<Vec<CertificateDer<'static>>, JwkError> {
    let Some(chain) = members.get("x5c") else {
        return Ok(Vec::new());
    };
    let invalid = || JwkError::Member { name: "x5c" };
    let chain = chain.as_array().ok_or_else(invalid)?;
    if chain.is_empty() || chain.len() > CERTIFICATES_MAX {
        return Err(invalid());
    }
    let read = |item: &Value| {
        let text = item.as_str().ok_or_else(invalid)?;
        let der = STANDARD.decode(text).map_err(|_| invalid())?;
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(invalid());
        }
        Ok(CertificateDer::from(der))
    };
    chain.iter().map(read).collect()
}

fn text<'a>(
    members: &'a BTreeMap<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, JwkError> {
    let value = members.get(name);
    let read = |it: &'a Value| it.as_str().ok_or(JwkError::Member { name });
    value.map(read).transpose()
}

/// Members that hold a private half or a shared secret (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

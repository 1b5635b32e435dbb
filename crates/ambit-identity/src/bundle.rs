//! The bundle as others read it: a JWK Set with a sequence (SPIFFE Trust Domain and Bundle §4).
//!
//! A document is read whole or refused. A single key in it that is of an unknown kind, or malformed, is left
//! out and named: leaving out only narrows, while keeping the old bundle would keep what the new one revokes.

use std::{collections::BTreeSet, sync::Arc};

use ambit_core::{Millis, TrustDomain, json, json::Value};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::{
    BUNDLE_BYTES_MAX, BUNDLE_ROOTS_MAX, SvidKey, TrustBundle,
    jose::{Jwk, JwkError, KeyUse, SigningKey},
    token::jwt_svid::JwtSvidIssuer,
    trust_bundle::{BundleError, check_root},
};

/// The most keys of one document, those that are left out too.
pub const BUNDLE_KEYS_MAX: usize = 64;

/// The key that signs JWT-SVIDs.
#[derive(Debug)]
pub(crate) struct JwtAuthority {
    key: SvidKey,
    signing: Arc<SigningKey>,
    issuer: JwtSvidIssuer,
}

/// A bundle that was read, and what of it was left out.
#[derive(Debug)]
pub struct ReadBundle {
    /// The bundle.
    pub bundle: TrustBundle,
    /// Why keys of the document are not in it, by their place, counted from 0.
    pub left_out: Vec<(usize, String)>,
}

/// Whether a bundle may take the place of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Succession {
    /// It is the same.
    Same,
    /// It is newer.
    Newer,
}

impl TrustBundle {
    /// Returns the document: what `GET /spiffe/bundle` answers.
    pub fn to_document(&self) -> String {
        let mut members = vec![("keys", Value::Array(self.jwks()))];
        if let Some(sequence) = self.sequence_stated() {
            members.push(("spiffe_sequence", sequence.into()));
        }
        if let Some(hint) = self.refresh_hint() {
            members.push(("spiffe_refresh_hint", (hint.as_millis() / 1000).into()));
        }
        Value::object(members).to_canonical()
    }

    /// Returns the JWK Set of the JWT keys alone, as the Workload API hands it out.
    pub fn jwt_document(&self) -> String {
        let keys = self.jwt_keys().keys().iter().map(jwk_value);
        Value::object([("keys", keys.collect())]).to_canonical()
    }

    /// Reads the document of `trust_domain`. An empty `keys` trusts nobody: everything was revoked.
    ///
    /// # Errors
    /// [`BundleError`] when the document is too long, not JSON with one reading, or not a JWK Set of a bundle.
    pub fn from_document(
        trust_domain: TrustDomain,
        bytes: &[u8],
    ) -> Result<ReadBundle, BundleError> {
        let wrong = |what| BundleError::Document { what };
        if bytes.len() > BUNDLE_BYTES_MAX {
            let (roots, bytes) = (0, bytes.len());
            return Err(BundleError::TooLarge { roots, bytes });
        }
        let document = json::parse(bytes).map_err(|source| BundleError::Json { source })?;
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(wrong("it has no list `keys`"))?;
        if keys.len() > BUNDLE_KEYS_MAX {
            return Err(wrong("it has more than 64 keys"));
        }
        let count = |name: &str, error| match document.get(name) {
            None => Ok(None),
            Some(Value::Integer(it)) => u64::try_from(*it).map(Some).map_err(|_| error),
            Some(_) => Err(error),
        };
        let sequence = count(
            "spiffe_sequence",
            wrong("`spiffe_sequence` is no whole number from 0 on"),
        )?;
        let hint = count(
            "spiffe_refresh_hint",
            wrong("`spiffe_refresh_hint` is no whole number of seconds"),
        )?;
        let (mut roots, mut jwt, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for (place, key) in keys.iter().enumerate() {
            match read_key(key, &trust_domain) {
                Ok(Key::X509(root)) => roots.push(root),
                Ok(Key::Jwt(key)) => jwt.push(key),
                Err(why) => left_out.push((place, why)),
            }
        }
        let names: BTreeSet<_> = jwt.iter().map(Jwk::key_id).collect();
        if names.len() < jwt.len() {
            return Err(wrong("two keys have the same `kid`"));
        }
        let hint = hint.map(Millis::from_seconds);
        let bundle = Self::read(trust_domain, roots, jwt, sequence, hint)?;
        Ok(ReadBundle { bundle, left_out })
    }

    /// Says whether `next` may take the place of this bundle of the same trust domain. Which keys it has counts; their
    /// order and the refresh hint do not.
    ///
    /// # Errors
    /// [`BundleError::Rollback`] when its sequence is smaller, when the same sequence has other keys, or when the
    /// sequence is gone.
    pub fn succession(&self, next: &Self) -> Result<Succession, BundleError> {
        let (old, new) = (self.sequence_stated(), next.sequence_stated());
        let same = self.trust_domain() == next.trust_domain()
            && old == new
            && self.key_texts() == next.key_texts();
        match (old, new) {
            (Some(old), Some(new)) if new > old => Ok(Succession::Newer),
            (None, Some(_)) => Ok(Succession::Newer),
            _ if same => Ok(Succession::Same),
            (None, None) => Ok(Succession::Newer),
            (Some(old), new) => Err(BundleError::Rollback {
                trust_domain: self.trust_domain().clone(),
                held: old,
                seen: new.map_or_else(|| "no sequence".to_owned(), |it| format!("sequence {it}")),
            }),
        }
    }

    /// Says whether every key of `former` is in this bundle of the same trust domain.
    pub fn has_all_keys_of(&self, former: &Self) -> bool {
        former.key_texts().is_subset(&self.key_texts())
    }

    fn key_texts(&self) -> BTreeSet<String> {
        self.jwks().iter().map(Value::to_canonical).collect()
    }

    fn jwks(&self) -> Vec<Value> {
        // Every root was read before; one that is of no known kind cannot be among them.
        let root =
            |it: &CertificateDer<'static>| Jwk::of_certificate(it.clone(), KeyUse::X509Svid).ok();
        let roots = self.roots().iter().filter_map(root);
        let roots = roots.map(|it| jwk_value(&it));
        let jwt = self.jwt_keys().keys().iter().map(jwk_value);
        roots.chain(jwt).collect()
    }
}

impl JwtAuthority {
    pub(crate) fn new(key: SvidKey) -> Result<Self, JwkError> {
        let signing = Arc::new(SigningKey::from_svid_key(&key, KeyUse::JwtSvid)?);
        let issuer = JwtSvidIssuer::new(signing.clone());
        Ok(Self {
            key,
            signing,
            issuer,
        })
    }

    pub(crate) fn public(&self) -> &Jwk {
        self.signing.public()
    }

    pub(crate) const fn issuer(&self) -> &JwtSvidIssuer {
        &self.issuer
    }

    pub(crate) const fn signing(&self) -> &Arc<SigningKey> {
        &self.signing
    }

    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }
}

enum Key {
    X509(CertificateDer<'static>),
    Jwt(Jwk),
}

/// Reads one key of a document, or says why it is left out.
fn read_key(key: &Value, trust_domain: &TrustDomain) -> Result<Key, String> {
    let jwk = Jwk::from_value(key).map_err(|error| error.to_string())?;
    match jwk.key_use() {
        KeyUse::X509Svid => read_root(&jwk, trust_domain).map(Key::X509),
        KeyUse::JwtSvid if jwk.key_id().is_none_or(str::is_empty) => {
            Err("a JWT key has no `kid`".to_owned())
        }
        KeyUse::JwtSvid => Ok(Key::Jwt(jwk)),
        KeyUse::Unstated | KeyUse::Signature | KeyUse::WitSvid => {
            Err("its `use` is not for X509-SVIDs or JWT-SVIDs".to_owned())
        }
    }
}

/// Returns the one certificate of a JWK (X509-SVID §6.2).
fn read_root(jwk: &Jwk, trust_domain: &TrustDomain) -> Result<CertificateDer<'static>, String> {
    let [only] = jwk.certificates() else {
        return Err("`x5c` must have exactly one certificate".to_owned());
    };
    match check_root(only, 0, trust_domain) {
        Ok(_) => Ok(only.clone()),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the members of a key that the SPIFFE standards define; `alg` is none of them.
fn jwk_value(jwk: &Jwk) -> Value {
    let mut value = jwk.to_value();
    if let Value::Object(members) = &mut value {
        members.remove("alg");
    }
    value
}

const _: () = assert!(BUNDLE_KEYS_MAX >= 2 * BUNDLE_ROOTS_MAX);

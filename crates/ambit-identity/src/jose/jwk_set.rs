//! Sets of public keys (RFC 7517 §5).

use ambit_core::json::{self, Value};

use super::{Jwk, JwkError};

/// The longest text of a set, in bytes.
pub const JWK_SET_BYTES_MAX: usize = 256 * 1024;
/// The most keys of a set, those that are ignored too.
pub const JWK_SET_KEYS_MAX: usize = 64;

/// The keys of a set that can verify signatures; others are counted and left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    ignored: usize,
}

impl JwkSet {
    /// Returns the set of these keys.
    ///
    /// # Errors
    /// [`JwkError::TooMany`] beyond [`JWK_SET_KEYS_MAX`].
    pub fn new(keys: Vec<Jwk>) -> Result<Self, JwkError> {
        check_count(keys.len())?;
        Ok(Self { keys, ignored: 0 })
    }

    /// Reads a set from its JSON text. Members beside `keys` are ignored.
    ///
    /// # Errors
    /// [`JwkError`] as for [`JwkSet::from_value`], and when the text cannot be read.
    pub fn parse(text: &[u8]) -> Result<Self, JwkError> {
        let value = json::parse_as_written(text, JWK_SET_BYTES_MAX)
            .map_err(|source| JwkError::Json { source })?;
        Self::from_value(&value)
    }

    /// Reads a set from its JSON form.
    ///
    /// Keys of unknown kind or use, with missing members or with values out of range are ignored,
    /// as RFC 7517 §5 asks: a newer key must not take the others away.
    ///
    /// # Errors
    /// [`JwkError`] when it is no set, has too many keys, or one of them holds a private half.
    pub fn from_value(value: &Value) -> Result<Self, JwkError> {
        let list = value.get("keys").and_then(Value::as_array);
        let list = list.ok_or(JwkError::NotSet)?;
        check_count(list.len())?;
        let mut set = Self::default();
        for item in list {
            match Jwk::from_value(item) {
                Ok(key) => set.keys.push(key),
                // Whoever publishes a private key has lost it: nothing of that set is believed.
                Err(error @ JwkError::Private { .. }) => return Err(error),
                Err(JwkError::NotObject) => return Err(JwkError::NotObject),
                Err(_) => set.ignored += 1,
            }
        }
        Ok(set)
    }

    /// Returns the JSON form, with the member `keys` alone.
    pub fn to_value(&self) -> Value {
        let keys = self.keys.iter().map(Jwk::to_value).collect();
        Value::object([("keys", Value::Array(keys))])
    }

    /// Returns the keys.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// Returns how many keys were left out because they cannot verify signatures here.
    pub const fn ignored(&self) -> usize {
        self.ignored
    }
}

const fn check_count(seen: usize) -> Result<(), JwkError> {
    if seen > JWK_SET_KEYS_MAX {
        let max = JWK_SET_KEYS_MAX;
        return Err(JwkError::TooMany { seen, max });
    }
    Ok(())
}

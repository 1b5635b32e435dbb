//! Claims (RFC 7519 §4): typed once, with integer dates and bounded texts.

use std::collections::BTreeMap;

use ambit_core::{Millis, Timestamp, json::Value};

use super::JoseError;

/// The longest text of one claim, in bytes.
pub const TEXT_BYTES_MAX: usize = 2048;
/// The most audiences of one token, where several are read at all.
pub const AUDIENCES_MAX: usize = 16;

/// The claims of one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(BTreeMap<String, Value>);

/// Between which instants a token is good.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How far two clocks may lie apart.
    pub leeway: Millis,
    /// How far ahead of now the token's end may lie.
    pub lifetime_max: Millis,
}

impl Claims {
    /// Takes the members of a token. Names and audiences that RFC 7519 §4.1 registers have their types, whether this kind of
    /// token reads them or not: other readers refuse such a token. Dates are judged where they are read.
    pub(super) fn new(members: BTreeMap<String, Value>) -> Result<Self, JoseError> {
        let wrong = |name, rule| JoseError::Claim { name, rule };
        for name in ["iss", "sub", "jti"] {
            if members.get(name).is_some_and(|it| it.as_str().is_none()) {
                return Err(wrong(name, "a text"));
            }
        }
        let is_text = |it: &Value| it.as_str().is_some();
        let are_texts = |it: &Value| it.as_array().is_some_and(|it| it.iter().all(is_text));
        let name = "aud";
        if members
            .get(name)
            .is_some_and(|it| !is_text(it) && !are_texts(it))
        {
            return Err(wrong(name, "a text, or a list of texts"));
        }
        Ok(Self(members))
    }

    /// Returns a claim of any type.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns all claims.
    pub const fn members(&self) -> &BTreeMap<String, Value> {
        &self.0
    }

    /// Refuses claims that are not named in `known`.
    ///
    /// # Errors
    /// [`JoseError::UnknownClaim`] for the first one.
    pub fn only(&self, known: &[&str]) -> Result<(), JoseError> {
        let unknown = self.0.keys().find(|it| !known.contains(&it.as_str()));
        unknown.map_or(Ok(()), |name| {
            let name = name.chars().take(NAME_CHARACTERS_SHOWN).collect();
            Err(JoseError::UnknownClaim { name })
        })
    }

    /// Returns a claim that is a text of 1 to [`TEXT_BYTES_MAX`] bytes, when it is there.
    ///
    /// # Errors
    /// [`JoseError::Claim`] when it is anything else.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, JoseError> {
        self.text_bounded(name, TEXT_BYTES_MAX)
    }

    /// Returns a claim that is a text of 1 to `bytes_max` bytes, when it is there.
    ///
    /// # Errors
    /// [`JoseError::Claim`] when it is anything else, and [`JoseError::TooLong`].
    pub fn text_bounded(
        &self,
        name: &'static str,
        bytes_max: usize,
    ) -> Result<Option<&str>, JoseError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        read_text(name, value, bytes_max).map(Some)
    }

    /// Returns a claim that is a text and must be there.
    ///
    /// # Errors
    /// As for [`Claims::text`], and when it is missing.
    pub fn required_text(&self, name: &'static str) -> Result<&str, JoseError> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    /// Returns a date (RFC 7519 §2, NumericDate): whole seconds since 1970, written as an integer.
    ///
    /// # Errors
    /// [`JoseError::Claim`] when it is anything else.
    pub fn date(&self, name: &'static str) -> Result<Option<Timestamp>, JoseError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let rule = "a date in whole seconds since 1970, written as an integer";
        let seconds = value.as_integer().and_then(|it| u64::try_from(it).ok());
        let seconds = seconds.filter(|it| *it <= DATE_SECONDS_MAX);
        let seconds = seconds.ok_or(JoseError::Claim { name, rule })?;
        Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1000))))
    }

    /// Returns the audiences: one text, or a list of different ones (RFC 7519 §4.1.3).
    ///
    /// # Errors
    /// [`JoseError::Claim`] when there is none, more than [`AUDIENCES_MAX`], or not a text.
    pub fn audiences(&self) -> Result<Vec<&str>, JoseError> {
        let name = "aud";
        let value = self.get(name).ok_or_else(|| missing(name))?;
        if value.as_str().is_some() {
            return Ok(vec![read_text(name, value, TEXT_BYTES_MAX)?]);
        }
        let rule = "a text, or a list of 1 to 16 texts";
        let items = value.as_array();
        let items = items.filter(|it| (1..=AUDIENCES_MAX).contains(&it.len()));
        let items = items.ok_or(JoseError::Claim { name, rule })?;
        let read = |it| read_text(name, it, TEXT_BYTES_MAX);
        items.iter().map(read).collect()
    }

    /// Checks that `expected` is the one audience.
    ///
    /// # Errors
    /// [`JoseError::Audience`] when there is another one, or one more.
    pub fn check_sole_audience(&self, expected: &str) -> Result<(), JoseError> {
        let seen = self.audiences()?;
        if seen == [expected] {
            return Ok(());
        }
        let seen = seen.join("`, `");
        Err(JoseError::Audience {
            seen: seen.chars().take(AUDIENCES_SHOWN_CHARACTERS_MAX).collect(),
            expected: expected.to_owned(),
        })
    }

    /// Checks `exp`, which must be there, `nbf` and `iat`, and returns the end.
    ///
    /// # Errors
    /// [`JoseError`] when a date is wrong, or `now` lies outside of the token's time.
    pub fn check_window(&self, now: Timestamp, window: Window) -> Result<Timestamp, JoseError> {
        let expires_at = self.date("exp")?.ok_or_else(|| missing("exp"))?;
        if now >= expires_at.plus(window.leeway) {
            return Err(JoseError::Expired { expires_at, now });
        }
        for name in ["nbf", "iat"] {
            let Some(not_before) = self.date(name)? else {
                continue;
            };
            if not_before > now.plus(window.leeway) {
                return Err(JoseError::NotYetValid { not_before, now });
            }
            if not_before >= expires_at {
                let rule = "later than `nbf` and `iat`";
                return Err(JoseError::Claim { name: "exp", rule });
            }
        }
        let latest = now.plus(window.lifetime_max).plus(window.leeway);
        if expires_at > latest {
            let lifetime_max = window.lifetime_max;
            return Err(JoseError::LivesTooLong {
                expires_at,
                lifetime_max,
            });
        }
        Ok(expires_at)
    }
}

pub(crate) const fn missing(name: &'static str) -> JoseError {
    let rule = "there";
    JoseError::Claim { name, rule }
}

fn read_text<'a>(name: &'static str, value: &'a Value, max: usize) -> Result<&'a str, JoseError> {
    let rule = "a text that is not empty";
    let text = value.as_str().filter(|it| !it.is_empty());
    let text = text.ok_or(JoseError::Claim { name, rule })?;
    if text.len() > max {
        let seen = text.len();
        return Err(JoseError::TooLong {
            what: name,
            seen,
            max,
        });
    }
    Ok(text)
}

/// How much of a token's audiences a message shows.
const AUDIENCES_SHOWN_CHARACTERS_MAX: usize = 256;
/// How much of a foreign name a message shows.
const NAME_CHARACTERS_SHOWN: usize = 64;
/// The latest date of a claim: the last second of the year 9999.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;

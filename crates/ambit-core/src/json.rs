//! JSON that has one reading: the strict parser and the canonical encoder (RFC 8785).
//!
//! Everything that is decided, shown to a human, digested or forwarded is a [`Value`]. Duplicate
//! keys, integers beyond ±(2^53 − 1), invalid UTF-8, lone surrogates and deep nesting are refused, because two readers
//! could take them differently.

mod canonical;
mod parse;

use std::collections::BTreeMap;

pub use parse::{JsonError, parse, parse_as_written, parse_bounded, parse_integers};

/// A JSON value with exactly one reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number within ±(2^53 − 1). Numbers written as `1.0` or `1e3` are whole numbers too.
    Integer(i64),
    /// A finite number that is not whole; its magnitude is below 2^53. [`parse_as_written`] gives every other number that
    /// is not written as an integer within ±(2^53 − 1), too.
    Number(f64),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Self>),
    /// Named members, each name once. Iterates in the order of UTF-8 bytes; the encoder sorts as RFC 8785 wants.
    Object(BTreeMap<String, Self>),
}

/// The largest integer magnitude that every JSON reader agrees on (RFC 8259 §6): 2^53 − 1.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

impl Value {
    /// Returns the canonical bytes (RFC 8785, JCS): the same value always gives the same bytes.
    pub fn to_canonical(&self) -> String {
        canonical::encode(self)
    }

    /// Appends the canonical bytes to `out`.
    pub fn write_canonical(&self, out: &mut String) {
        canonical::write_value(out, self);
    }

    /// Returns an object with `members`; a name given twice keeps its last value.
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// Returns the member `name`, when this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// Returns the members, when this is an object.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Object(members) = self {
            Some(members)
        } else {
            None
        }
    }

    /// Returns the items, when this is a list.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// Returns the text, when this is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// Returns the whole number, when this is one.
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    /// Returns the truth value, when this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self {
            Some(*truth)
        } else {
            None
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

/// Numbers beyond 2^53 − 1 are clamped: counters and times of ours never come near it.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(
            i64::try_from(number)
                .unwrap_or(INTEGER_MAX)
                .min(INTEGER_MAX),
        )
    }
}

impl<T: Into<Self>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests;

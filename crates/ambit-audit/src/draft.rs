//! Records made ready before their turn: encoded but for the time, which only the batch knows.

use ambit_core::{
    Timestamp,
    json::Value,
    limits::{JSON_DEPTH_MAX, LEAF_BYTES_MAX},
    record::{Body, Record, Recordable},
};

use crate::{encoding::Undated, log::LogError};

/// A value with its record, encoded but for the time. What is left to do in its turn is little.
#[derive(Debug)]
pub struct Draft<T> {
    value: T,
    body: Body,
    text: Undated,
}

/// Whether a record fits into a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fits {
    /// It does.
    Leaf,
    /// It is too long for any.
    Nowhere,
}

impl<T: Recordable> Draft<T> {
    /// Makes the record of `value` ready.
    ///
    /// # Errors
    /// Its facts nest too deep, or hold a number that is not finite.
    pub fn new(value: T) -> Result<Self, LogError> {
        let body = value.body();
        if !facts_of(&body).is_none_or(|facts| is_readable(facts, FACTS_DEPTH_MAX)) {
            return Err(LogError::FactsUnreadable);
        }
        let text = Undated::new(&body);
        Ok(Self { value, body, text })
    }
}

impl<T> Draft<T> {
    /// Returns the value.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// Says whether the log takes it.
    pub fn fits(&self) -> Fits {
        match self.text.bytes_max() <= LEAF_BYTES_MAX {
            true => Fits::Leaf,
            false => Fits::Nowhere,
        }
    }

    /// Gives the draft up and returns the value.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns the value with its record and its leaf of the time `at`.
    pub(crate) fn dated(self, at: Timestamp) -> (T, Record, Vec<u8>) {
        let leaf = self.text.dated(at);
        let record = Record {
            at,
            body: self.body,
        };
        (self.value, record, leaf)
    }
}

/// How deep facts may nest, so that the record around them can be read back.
pub(crate) const FACTS_DEPTH_MAX: usize = JSON_DEPTH_MAX - 4;

fn facts_of(body: &Body) -> Option<&Value> {
    if let Body::Decided(decided) = body {
        return Some(&decided.facts);
    }
    body.warrant().map(|warrant| &warrant.facts)
}

/// Says whether `value` nests at most `depth` levels and holds only finite numbers.
fn is_readable(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|it| is_readable(it, depth - 1)),
        Value::Object(members) => {
            depth > 0 && members.values().all(|it| is_readable(it, depth - 1))
        }
        Value::Number(number) => number.is_finite(),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::String(_) => true,
    }
}

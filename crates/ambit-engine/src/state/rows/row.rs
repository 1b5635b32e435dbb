//! One row as the store gives it, and its members read one by one.

use ambit_audit::decode;
use ambit_core::{
    Labels,
    json::{self, Value},
    record::Record,
};

use super::RowError;
use crate::Archive;

/// A row, and where it stands.
pub(super) struct Row<'a> {
    pub(super) archive: &'a dyn Archive,
    pub(super) table: &'static str,
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
}

impl Row<'_> {
    pub(super) fn wrong(&self, what: &str) -> RowError {
        RowError::Unreadable {
            table: self.table,
            key: self.key.to_owned(),
            what: what.to_owned(),
        }
    }

    pub(super) fn json(&self) -> Result<Value, RowError> {
        json::parse(self.value).map_err(|error| self.wrong(&error.to_string()))
    }

    pub(super) fn text<'v>(&self, value: &'v Value, name: &str) -> Result<&'v str, RowError> {
        value
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| self.wrong(name))
    }

    pub(super) fn number(&self, value: &Value, name: &str) -> Result<u64, RowError> {
        let number = value.get(name).and_then(Value::as_integer);
        number
            .and_then(|it| it.try_into().ok())
            .ok_or_else(|| self.wrong(name))
    }

    pub(super) fn count(&self, value: &Value, name: &str) -> Result<u32, RowError> {
        self.number(value, name)?
            .try_into()
            .map_err(|_| self.wrong(name))
    }

    pub(super) fn labels(&self, value: &Value) -> Result<Labels, RowError> {
        let labels = value
            .get("labels")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let labels = labels.map(|it| it.as_str().and_then(|it| it.parse().ok()));
        let labels: Option<Vec<_>> = labels.collect();
        labels
            .and_then(|it| Labels::new(it).ok())
            .ok_or_else(|| self.wrong("labels"))
    }

    pub(super) fn record(&self, leaf: u64) -> Result<Record, RowError> {
        let leaves = self.archive.leaves(leaf, 1)?;
        let bytes = leaves
            .first()
            .ok_or_else(|| self.wrong("its leaf is missing"))?;
        decode(bytes).map_err(|error| self.wrong(&format!("its leaf: {error}")))
    }
}

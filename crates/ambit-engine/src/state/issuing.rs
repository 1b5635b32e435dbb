//! The issuing keys as the log knows them.

use ambit_core::{
    Digest,
    json::Value,
    record::{Body, KeyStep},
};

use super::{FoldError, State, fold::inconsistent, rows::RowKey};
use crate::{Archive, RowError};

/// Which issuing keys the log knows: key files that say otherwise are older, or another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedKeys {
    /// The digest over the certificate of the pair that signs.
    pub certificate: Digest,
    /// The bundle's sequence.
    pub sequence: u64,
}

/// Reads which issuing keys the log of `archive` knows; none, when it was begun before logs knew them.
///
/// # Errors
/// The store can't be read, or its row makes no sense.
pub fn recorded_keys(archive: &dyn Archive) -> Result<Option<RecordedKeys>, RowError> {
    super::rows::recorded_keys(archive)
}

impl State {
    /// A log that does not know its keys from the beginning never learns them: it was written by an older binary, and
    /// folds as that one folded it.
    pub(super) fn rotate(&mut self, index: u64, body: &Body) -> Result<(), FoldError> {
        let Body::KeysRotated {
            step,
            certificate,
            sequence,
            ..
        } = *body
        else {
            return Ok(());
        };
        let known = match (step, self.issuing) {
            (KeyStep::Begin, Some(_)) => {
                return Err(inconsistent(index, "a log begins with its keys once"));
            }
            (KeyStep::Begin, None) => RecordedKeys {
                certificate,
                sequence,
            },
            (_, None) => return Ok(()),
            // The record is about the pair that is prepared; another one signs.
            (KeyStep::Prepare, Some(known)) => RecordedKeys { sequence, ..known },
            (KeyStep::Activate | KeyStep::Replace | KeyStep::Tidy, Some(_)) => RecordedKeys {
                certificate,
                sequence,
            },
        };
        self.issuing = Some(known);
        self.touch(RowKey::Log);
        Ok(())
    }
}

impl RecordedKeys {
    /// Returns what the log's row says of them.
    pub(super) fn to_value(self) -> Value {
        Value::object([
            ("certificate", self.certificate.to_string().into()),
            ("sequence", self.sequence.into()),
        ])
    }

    /// Reads what [`RecordedKeys::to_value`] wrote.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let certificate = value.get("certificate")?.as_str()?.parse().ok()?;
        let sequence = value.get("sequence")?.as_integer()?.try_into().ok()?;
        Some(Self {
            certificate,
            sequence,
        })
    }
}

//! What the store can be asked, while the sequencer writes.

use ambit_core::{Digest, PersonId, TaskId};

/// Reads what is durable.
pub trait Archive: Send + Sync {
    /// Returns how many records the log has.
    fn size(&self) -> Result<u64, ArchiveError>;
    /// Returns at most `count` leaves from `first` on; fewer at the end of the log.
    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, ArchiveError>;
    /// Returns a hash tile of the log (C2SP tlog-tiles) of `width` hashes, when the log reaches so far.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, ArchiveError>;
    /// Returns the newest signed checkpoint.
    fn checkpoint(&self) -> Result<Option<String>, ArchiveError>;
    /// Returns the sealed bytes of this digest that `leaf` names, when they were not erased.
    fn blob(&self, leaf: u64, id: Digest) -> Result<Option<Vec<u8>>, ArchiveError>;
    /// Returns all rows of a folded table by key.
    fn rows(&self, table: &str) -> Result<Vec<(String, Vec<u8>)>, ArchiveError>;
    /// Returns at most `count` rows of a folded table, those with the greatest keys below `before`, greatest first.
    fn rows_before(
        &self,
        table: &str,
        before: &str,
        count: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ArchiveError>;
    /// Returns one row of a folded table.
    fn row(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ArchiveError>;
    /// Returns the wrapped key of a task, when it was not erased.
    fn task_key(&self, task: TaskId) -> Result<Option<Vec<u8>>, ArchiveError>;
    /// Returns everybody's alias.
    fn directory(&self) -> Result<Vec<(PersonId, String)>, ArchiveError>;
    /// Returns the files of a version of the estate.
    fn estate(&self, digest: Digest) -> Result<Option<Vec<u8>>, ArchiveError>;
    /// Returns a sealed credential.
    fn secret(&self, reference: &str) -> Result<Option<Vec<u8>>, ArchiveError>;
}

/// The store could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the store could not be read while {attempted}")]
pub struct ArchiveError {
    attempted: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ArchiveError {
    /// Says what was attempted and why it failed.
    pub fn new(
        attempted: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            attempted,
            source: source.into(),
        }
    }
}

//! What becomes durable together, and the side that makes it so.

use ambit_core::{Digest, PersonId, TaskId};

use crate::tile::Tile;

/// Everything that becomes durable at once: leaves, the tiles they complete, the change of the folded tables, what
/// stands beside the log, and the checkpoint over all of it.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The index of the first leaf: the size of the log before.
    pub first_index: u64,
    /// The leaves, in order.
    pub leaves: &'a [Vec<u8>],
    /// The full hash tiles that the leaves complete.
    pub tiles: &'a [Tile],
    /// The changes of the folded tables, in order.
    pub rows: &'a [RowChange],
    /// What stands beside the log.
    pub attachments: &'a [Attachment],
    /// The signed checkpoint over the tree with these leaves.
    pub checkpoint: &'a str,
}

/// A change of one row of a folded table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RowChange {
    /// Which table.
    pub table: &'static str,
    /// Which row.
    pub key: String,
    /// Its new value; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// Something that stands beside the log and can be erased without breaking a proof.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attachment {
    /// Sealed bytes. A leaf has at most one; they are kept in the order of leaves, so that appending is all it takes.
    Blob {
        /// The leaf that names them.
        leaf: u64,
        /// SHA-256 over `bytes`.
        id: Digest,
        /// Under whose key they are sealed, when under a task's.
        task: Option<TaskId>,
        /// The sealed bytes.
        bytes: Vec<u8>,
    },
    /// The wrapped key of a task.
    TaskKey {
        /// Which task.
        task: TaskId,
        /// The wrapped key.
        wrapped: Vec<u8>,
    },
    /// Who a pseudonym is.
    Directory {
        /// The pseudonym.
        person: PersonId,
        /// Who it is.
        alias: String,
    },
    /// The files of a version of the estate.
    Estate {
        /// SHA-256 over `bytes`.
        digest: Digest,
        /// The canonical archive.
        bytes: Vec<u8>,
    },
    /// A sealed credential.
    Secret {
        /// Under which name.
        reference: String,
        /// The sealed credential.
        sealed: Vec<u8>,
    },
}

/// For what the durable side has room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Space {
    /// For everything.
    Ample,
    /// The disk was full, and what was kept in reserve is in use: only for what takes authority away, and for how acts
    /// ended.
    Reserve,
}

/// The side that makes commits durable.
pub trait Durable: Send {
    /// Makes `commit` durable in one transaction: all of it on return, or nothing of it.
    ///
    /// # Errors
    /// It is not known to be durable. The log stops.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DurableError>;

    /// Says for what there is room now.
    fn space(&mut self) -> Space;
}

/// A commit is not known to be durable.
#[derive(Debug, thiserror::Error)]
#[error("could not make the records durable: {source}")]
pub struct DurableError {
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl DurableError {
    /// Returns the error with its cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: cause.into(),
        }
    }
}

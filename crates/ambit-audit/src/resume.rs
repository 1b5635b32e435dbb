//! Where a log ended, read back at the start and checked against its signed checkpoint.

use ambit_core::{Digest, Timestamp};

use crate::{
    checkpoint::VerifierKey,
    encoding::{DecodeError, decode},
    log::LogError,
    tile::{hashes_of, partial_tile},
    tree::Frontier,
};

/// Where a log ended.
#[derive(Clone, Debug)]
pub struct Resume {
    frontier: Frontier,
    last_at: Option<Timestamp>,
    checkpoint: Option<String>,
}

/// The end of a log cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Reading failed.
    #[error("the end of the log cannot be read: {0}")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A leaf or a tile is missing.
    #[error("the log has {size} records but part of its end is missing; run `ambit log verify`")]
    Missing {
        /// How many records it should have.
        size: u64,
    },
    /// The log has records and no checkpoint.
    #[error("the log has {size} records and no checkpoint; run `ambit recover`")]
    NoCheckpoint {
        /// How many records it has.
        size: u64,
    },
    /// The last record cannot be read.
    #[error("the last record, {index}, cannot be read: {source}")]
    Record {
        /// Its index.
        index: u64,
        /// Why.
        source: DecodeError,
    },
}

impl Resume {
    /// Returns the end of a log that has not begun.
    pub const fn empty() -> Self {
        Self {
            frontier: Frontier::new(),
            last_at: None,
            checkpoint: None,
        }
    }

    /// Reads back where a log of `size` records ended: `leaves(first, count)` gives leaves, `tile(level, index)` the
    /// bytes of a full tile. [`Log::open`] checks the result against the signed `checkpoint`.
    ///
    /// # Errors
    /// Reading failed, or something is missing.
    pub fn from_archive<E: std::error::Error + Send + Sync + 'static>(
        size: u64,
        checkpoint: Option<String>,
        mut leaves: impl FnMut(u64, usize) -> Result<Vec<Vec<u8>>, E>,
        mut tile: impl FnMut(u8, u64) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, ResumeError> {
        let read = |error: E| ResumeError::Read(Box::new(error));
        let Some(index) = size.checked_sub(1) else {
            return Ok(Self {
                checkpoint,
                ..Self::empty()
            });
        };
        let checkpoint = checkpoint.ok_or(ResumeError::NoCheckpoint { size })?;
        let frontier = Frontier::restore(size, |level, width| {
            let place = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            partial_tile(level, place, width, &mut leaves, &mut tile)
                .map_err(read)?
                .map(|hashes| hashes_of(&hashes).collect())
                .ok_or(ResumeError::Missing { size })
        })?;
        let last = leaves(index, 1).map_err(read)?;
        let last = last.first().ok_or(ResumeError::Missing { size })?;
        let last = decode(last).map_err(|source| ResumeError::Record { index, source })?;
        Ok(Self {
            frontier,
            last_at: Some(last.at),
            checkpoint: Some(checkpoint),
        })
    }

    /// Returns how many records the log has.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Returns the root of the tree.
    pub fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// Returns the time of the last record.
    pub const fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    pub(crate) fn into_frontier(self) -> Frontier {
        self.frontier
    }

    pub(crate) fn check(&self, verifier: &VerifierKey) -> Result<(), LogError> {
        let Some(note) = &self.checkpoint else {
            return if self.frontier.size() == 0 {
                Ok(())
            } else {
                Err(LogError::CheckpointDiffers)
            };
        };
        let signed = verifier.open(note)?;
        if signed.size != self.frontier.size() || signed.root != self.frontier.root() {
            return Err(LogError::CheckpointDiffers);
        }
        Ok(())
    }
}

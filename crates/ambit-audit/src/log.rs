//! The log: the only place where a record becomes durable evidence.

use std::sync::Arc;

use ambit_core::{
    Millis, Timestamp,
    limits::{BATCH_RECORDS_MAX, CLOCK_JUMP_MAX, LEAF_BYTES_MAX},
    record::{Record, Recordable},
};

use crate::{
    checkpoint::{Checkpoint, CheckpointError, KeyError, LogKey},
    draft::Draft,
    durable::{Attachment, Commit, Durable, DurableError, RowChange, Space},
    resume::Resume,
    tree::{Frontier, leaf_hash},
};

/// One totally ordered log with its tree, its key and its durable side.
///
/// The first error of the durable side stops it for good: what is durable then is read anew at the next start.
#[derive(Debug)]
pub struct Log<D> {
    durable: D,
    key: LogKey,
    origin: String,
    frontier: Frontier,
    last_at: Option<Timestamp>,
    stopped: bool,
}

/// Records that become durable together.
#[derive(Debug)]
pub struct Batch {
    first_index: u64,
    at: Timestamp,
    leaves: Vec<Vec<u8>>,
    /// Tells this batch from every other.
    mark: Arc<()>,
}

/// A value whose record waits in a batch.
#[derive(Debug)]
pub struct Pending<T> {
    index: u64,
    at: Timestamp,
    mark: Arc<()>,
    value: T,
}

/// A batch that is durable.
#[derive(Debug)]
pub struct Committed {
    mark: Arc<()>,
    size: u64,
    checkpoint: String,
}

/// The evidence that the record of `value` is durable in the log. Spent by move.
///
/// Nothing but [`Pending::settle`] makes one:
///
/// ```compile_fail,E0451
/// use ambit_audit::Recorded;
/// use ambit_core::Timestamp;
///
/// let forged = Recorded { index: 0, at: Timestamp::from_millis(0), value: "permit" };
/// ```
///
/// It cannot be copied, so it cannot be spent twice:
///
/// ```compile_fail,E0382
/// fn twice(recorded: ambit_audit::Recorded<u8>) -> (u8, u8) {
///     (recorded.spend(), recorded.spend())
/// }
/// ```
#[derive(Debug)]
pub struct Recorded<T> {
    index: u64,
    at: Timestamp,
    value: T,
}

/// Why the log did not take something.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An earlier commit failed.
    #[error("the log stopped after a failed commit; mend the store and restart ambit")]
    Stopped,
    /// The clock jumped forward.
    #[error(
        "the clock reads {now}, more than {CLOCK_JUMP_MAX} after the log's last record of {last_at}; set the clock right, or confirm the gap"
    )]
    ClockJump {
        /// The time of the last record.
        last_at: Timestamp,
        /// What the clock reads.
        now: Timestamp,
    },
    /// A record is too long.
    #[error("the record has {bytes} bytes; a leaf has at most {LEAF_BYTES_MAX}")]
    LeafTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The facts of a record nest too deep, or hold a number that is not finite.
    #[error(
        "the record's facts nest too deep to be read back, or hold a number that is not finite"
    )]
    FactsUnreadable,
    /// A batch is full.
    #[error("the batch has {BATCH_RECORDS_MAX} records; commit it and begin another")]
    BatchFull,
    /// A batch has no records.
    #[error("the batch has no records; nothing changes without one")]
    BatchEmpty,
    /// A batch was begun before another was committed.
    #[error("the batch was begun before another was committed; begin it anew")]
    BatchStale,
    /// A pending value belongs to another batch.
    #[error("the record belongs to another batch than the one that was committed")]
    OtherBatch,
    /// The log's name is refused.
    #[error("the log's origin is refused: {0}")]
    Origin(#[source] KeyError),
    /// What was read back is not what the signed checkpoint says.
    #[error(
        "the log's tree is not the one its checkpoint signs; run `ambit log verify` to find the damage"
    )]
    CheckpointDiffers,
    /// The checkpoint that was read back is refused.
    #[error("the stored checkpoint is refused: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The durable side failed.
    #[error("the log stops: {0}")]
    Durable(#[source] DurableError),
}

impl<D: Durable> Log<D> {
    /// Opens the log `origin` where `resume` says that it ended; an empty one begins a log.
    ///
    /// # Errors
    /// The origin is no name, or the tree that was read back is not the one that its checkpoint signs.
    pub fn open(durable: D, key: LogKey, origin: String, resume: Resume) -> Result<Self, LogError> {
        let verifier = key.verifier(&origin).map_err(LogError::Origin)?;
        resume.check(&verifier)?;
        Ok(Self {
            durable,
            key,
            origin,
            last_at: resume.last_at(),
            frontier: resume.into_frontier(),
            stopped: false,
        })
    }

    /// Begins a batch. Its time is `now`, or the last record's when the clock went backward.
    ///
    /// # Errors
    /// The log stopped, or the clock jumped forward over [`CLOCK_JUMP_MAX`].
    pub fn begin(&self, now: Timestamp) -> Result<Batch, LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        let last_at = self.last_at.unwrap_or(now);
        if now.since(last_at) > CLOCK_JUMP_MAX {
            return Err(LogError::ClockJump { last_at, now });
        }
        Ok(Batch {
            first_index: self.frontier.size(),
            at: now.max(last_at),
            leaves: Vec::new(),
            mark: Arc::new(()),
        })
    }

    /// Accepts that nothing was written until `now`, such as after a long halt: the next batch may begin then,
    /// however long ago the last record is. Somebody who knows must have said so.
    ///
    /// Returns the gap. Time still never decreases.
    pub fn accept_gap(&mut self, now: Timestamp) -> Millis {
        let gap = self.last_at.map_or(Millis::new(0), |last| now.since(last));
        self.last_at = self.last_at.map(|last| last.max(now));
        gap
    }

    /// Makes the batch durable, together with the changes of the folded tables and what stands beside the log.
    ///
    /// # Errors
    /// The batch is empty or stale, or the durable side failed: then the log stops for good.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a batch and its changes are committed once: they are spent"
    )]
    pub fn commit(
        &mut self,
        batch: Batch,
        rows: Vec<RowChange>,
        attachments: Vec<Attachment>,
    ) -> Result<Committed, LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        if batch.leaves.is_empty() {
            return Err(LogError::BatchEmpty);
        }
        if batch.first_index != self.frontier.size() {
            return Err(LogError::BatchStale);
        }
        let mut tiles = Vec::new();
        for leaf in &batch.leaves {
            self.frontier.push(leaf_hash(leaf), &mut tiles);
        }
        let checkpoint = self.key.sign(&self.checkpoint());
        let commit = Commit {
            first_index: batch.first_index,
            leaves: &batch.leaves,
            tiles: &tiles,
            rows: &rows,
            attachments: &attachments,
            checkpoint: &checkpoint,
        };
        self.durable.commit(&commit).map_err(|error| {
            self.stopped = true;
            LogError::Durable(error)
        })?;
        self.last_at = Some(batch.at);
        Ok(Committed {
            mark: batch.mark,
            size: self.frontier.size(),
            checkpoint,
        })
    }

    /// Says for what the durable side has room now.
    pub fn space(&mut self) -> Space {
        self.durable.space()
    }

    /// Returns how many records the log has, a failed batch included.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Returns the log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the time of the last record.
    pub const fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// Returns what the log's next checkpoint says when nothing more is written.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            size: self.frontier.size(),
            root: self.frontier.root(),
        }
    }
}

impl Batch {
    /// Returns the time of every record of the batch.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns how many records it has.
    pub const fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Says whether it has no records.
    pub const fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Adds the record of `value`.
    ///
    /// # Errors
    /// The batch is full, or the record too long or too deep. Nothing is added then.
    pub fn add<T: Recordable>(&mut self, value: T) -> Result<Pending<T>, LogError> {
        self.add_folded(value, |_, _| Ok(()))
    }

    /// Adds the record of `value` and lets `fold` see it with its index, so that nobody makes the record twice.
    ///
    /// # Errors
    /// As for [`Batch::add`], and whatever `fold` says. Nothing is added then.
    pub fn add_folded<T: Recordable, E: From<LogError>>(
        &mut self,
        value: T,
        fold: impl FnOnce(u64, &Record) -> Result<(), E>,
    ) -> Result<Pending<T>, E> {
        self.add_draft(Draft::new(value)?, fold)
    }

    /// Adds a record that was made ready before, as [`Batch::add_folded`] does.
    ///
    /// # Errors
    /// As for [`Batch::add_folded`]. Nothing is added then.
    pub fn add_draft<T, E: From<LogError>>(
        &mut self,
        draft: Draft<T>,
        fold: impl FnOnce(u64, &Record) -> Result<(), E>,
    ) -> Result<Pending<T>, E> {
        if self.leaves.len() >= BATCH_RECORDS_MAX {
            return Err(LogError::BatchFull.into());
        }
        let (value, record, leaf) = draft.dated(self.at);
        let bytes = leaf.len();
        if bytes > LEAF_BYTES_MAX {
            return Err(LogError::LeafTooLong { bytes }.into());
        }
        let index = self.first_index + self.leaves.len() as u64;
        fold(index, &record)?;
        self.leaves.push(leaf);
        Ok(Pending {
            index,
            at: self.at,
            mark: Arc::clone(&self.mark),
            value,
        })
    }
}

impl<T> Pending<T> {
    /// Returns the index that the record will have.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Returns the value. It is not durable yet.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// Turns the value into evidence, given the commit of its own batch.
    ///
    /// # Errors
    /// Another batch was committed.
    pub fn settle(self, committed: &Committed) -> Result<Recorded<T>, LogError> {
        if !Arc::ptr_eq(&self.mark, &committed.mark) {
            return Err(LogError::OtherBatch);
        }
        Ok(Recorded {
            index: self.index,
            at: self.at,
            value: self.value,
        })
    }
}

impl Committed {
    /// Returns the size of the log with the batch.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the signed checkpoint over the log with the batch.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }
}

impl<T> Recorded<T> {
    /// Returns the index of the record.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Returns the time of the record.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the value.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// Spends the evidence and returns the value.
    pub fn spend(self) -> T {
        self.value
    }
}

#[cfg(test)]
mod tests;

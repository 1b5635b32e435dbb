//! What seals and opens things that stand beside the log.

use ambit_core::{Digest, TaskId, record::Sealed};

/// Seals and opens with keys that never leave it.
pub trait Custody: Send + Sync {
    /// Makes the secret salt and data key of a task and returns them wrapped, to be kept beside the log.
    fn new_task_key(&self, task: TaskId, chance: [u8; 32]) -> Result<Vec<u8>, CustodyError>;
    /// Returns the commitment to `plaintext` under the task's salt.
    fn commit(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
    ) -> Result<Digest, CustodyError>;
    /// Seals `plaintext`: its commitment, the blob's digest, and the blob.
    fn seal(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
        chance: [u8; 12],
    ) -> Result<(Sealed, Vec<u8>), CustodyError>;
    /// Opens a blob and checks it against its commitment.
    fn open(
        &self,
        wrapped: &[u8],
        task: TaskId,
        sealed: &Sealed,
        blob: &[u8],
    ) -> Result<Vec<u8>, CustodyError>;
}

/// A key could not be used, or the sealed bytes are not what the log says.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The wrapped key was made under another key, for another task, or was changed.
    #[error("the key of {task} can't be unwrapped; was the key file replaced?")]
    Unwrap {
        /// Which task.
        task: TaskId,
    },
    /// The sealed bytes were changed, or are another's.
    #[error("sealed bytes of {task} do not open, or are not what the log committed to")]
    Open {
        /// Which task.
        task: TaskId,
    },
    /// Sealing failed.
    #[error("sealing for {task} failed")]
    Seal {
        /// Which task.
        task: TaskId,
    },
}

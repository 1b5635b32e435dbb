#![allow(missing_docs)]
use ambit_core::{Digest, TaskId, record::Sealed};
pub(crate) trait Custody: Send + Sync {
    fn new_task_key(&self, task: TaskId, chance: [u8; 32]) -> Result<Vec<u8>, CustodyError>;
    fn commit(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
    ) -> Result<Digest, CustodyError>;
    fn seal(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
        chance: [u8; 12],
    ) -> Result<(Sealed, Vec<u8>), CustodyError>;
    fn open(
        &self,
        wrapped: &[u8],
        task: TaskId,
        sealed: &Sealed,
        blob: &[u8],
    ) -> Result<Vec<u8>, CustodyError>;
}
#[derive(Debug, thiserror::Error)]
pub(crate) enum CustodyError {
    #[error("the key of {task} can't be unwrapped; was the key file replaced?")]
    Unwrap { task: TaskId },
    #[error("sealed bytes of {task} do not open, or are not what the log committed to")]
    Open { task: TaskId },
    #[error("sealing for {task} failed")]
    Seal { task: TaskId },
}

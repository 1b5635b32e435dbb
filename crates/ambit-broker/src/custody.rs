//! Custody of the tasks' keys under one key from a file.
//!
//! ```text
//! key file (32 bytes)
//!   ├─ wraps each task's salt and data key     wrapped = 1 | key id (8) | nonce (12) | 64 | tag (16)
//!   │    └─ the data key seals the task's blobs   blob = 1 | nonce (12) | … | tag (16)
//!   └─ seals credentials for upstreams         sealed = 1 | key id (8) | chance (32) | nonce (12) | … | tag (16)
//! ```
//!
//! Destroying a task's wrapped key erases all its blobs; the log's commitments still verify.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambit_core::{Digest, TaskId, limits::JSON_BYTES_MAX, record::Sealed};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    KeyFileError, SecretKey,
    aead::{self, Context, Refused},
    keyfiles,
};
use ambit_engine::{Custody, CustodyError};

/// The longest plaintext that is sealed, in bytes.
pub const PLAINTEXT_BYTES_MAX: usize = JSON_BYTES_MAX;
/// The most unwrapped task keys that are kept in memory.
pub const TASK_KEYS_CACHED_MAX: usize = 16_384;

/// Custody whose key comes from a file.
pub struct FileCustody {
    key: SecretKey,
    key_id: KeyId,
    unwrapped: Mutex<KeyCache>,
}

impl FileCustody {
    /// Returns the custody under `key`.
    pub fn new(key: SecretKey) -> Self {
        let digest = Digest::of_parts(&[b"ambit key id v1\0", key.expose()]);
        let key_id = digest.as_bytes().first_chunk().copied();
        Self {
            key,
            key_id: key_id.unwrap_or_default(),
            unwrapped: Mutex::default(),
        }
    }

    /// Returns the custody under the key in the file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError`] when the file is missing, open to others, or not a key.
    pub fn open_file(path: &Path) -> Result<Self, KeyFileError> {
        keyfiles::read_key(path).map(Self::new)
    }

    /// Makes `chance` the key in a new file at `path` and returns the custody under it.
    ///
    /// # Errors
    /// [`KeyFileError`] when the file exists or cannot be written durably.
    pub fn create_file(path: &Path, chance: [u8; 32]) -> Result<Self, KeyFileError> {
        keyfiles::create_key(path, chance).map(Self::new)
    }

    /// Forgets the unwrapped key of a task, as when its wrapped key was destroyed to erase its blobs.
    pub fn forget(&self, task: TaskId) {
        self.cache().forget(task);
    }

    pub(crate) const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Returns what begins everything that is sealed under this custody's key directly.
    pub(crate) fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [VERSION; HEADER_BYTES];
        for (to, from) in header.iter_mut().skip(1).zip(self.key_id) {
            *to = from;
        }
        header
    }

    fn task_key(&self, wrapped: &[u8], task: TaskId) -> Result<Arc<TaskKey>, Refused> {
        if let Some(known) = self.cache().get(task, wrapped) {
            return Ok(known);
        }
        let sealed = wrapped.strip_prefix(&self.header()).ok_or(Refused)?;
        let opened = aead::open(self.key.expose(), wrapping(&task_bytes(task)), sealed)?;
        let key = Arc::new(TaskKey::from_bytes(&opened).ok_or(Refused)?);
        self.cache().put(task, wrapped, &key);
        Ok(key)
    }

    // A panic while the lock is held leaves the cache whole: every step of it is one assignment.
    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.unwrapped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn seal_blob(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
        chance: [u8; 12],
    ) -> Result<(Sealed, Vec<u8>), CustodyError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(CustodyError::Seal { task });
        }
        let key = self
            .task_key(wrapped, task)
            .map_err(|_| CustodyError::Unwrap { task })?;
        let commitment = key.commit(plaintext);
        let mut blob = vec![VERSION];
        let id = task_bytes(task);
        let context = sealing(&id, &commitment);
        aead::seal(&key.data_key, context, chance, plaintext, &mut blob)
            .map_err(|_| CustodyError::Seal { task })?;
        let sealed = Sealed {
            commitment,
            blob: Some(Digest::of(&blob)),
        };
        Ok((sealed, blob))
    }
}

impl Custody for FileCustody {
    fn new_task_key(&self, task: TaskId, chance: [u8; 32]) -> Result<Vec<u8>, CustodyError> {
        let failed = |_| CustodyError::Seal { task };
        let mut chance = zeroize::Zeroizing::new(chance);
        let secret = aead::derive::<64>(&chance, &[b"ambit task salt and data key v1"]);
        let secret = secret.map_err(failed)?;
        let nonce = aead::derive::<12>(&chance, &[b"ambit task key nonce v1"]).map_err(failed)?;
        chance.zeroize();
        let mut wrapped = self.header().to_vec();
        let id = task_bytes(task);
        let key = self.key.expose();
        aead::seal(key, wrapping(&id), *nonce, &*secret, &mut wrapped).map_err(failed)?;
        Ok(wrapped)
    }

    fn commit(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
    ) -> Result<Digest, CustodyError> {
        let key = self.task_key(wrapped, task);
        let key = key.map_err(|_| CustodyError::Unwrap { task })?;
        Ok(key.commit(plaintext))
    }

    fn seal(
        &self,
        wrapped: &[u8],
        task: TaskId,
        plaintext: &[u8],
        chance: [u8; 12],
    ) -> Result<(Sealed, Vec<u8>), CustodyError> {
        self.seal_blob(wrapped, task, plaintext, chance)
    }

    fn open(
        &self,
        wrapped: &[u8],
        task: TaskId,
        sealed: &Sealed,
        blob: &[u8],
    ) -> Result<Vec<u8>, CustodyError> {
        let refused = || CustodyError::Open { task };
        if sealed.blob.is_some_and(|id| id != Digest::of(blob)) {
            return Err(refused());
        }
        let key = self.task_key(wrapped, task);
        let key = key.map_err(|_| CustodyError::Unwrap { task })?;
        let body = blob.strip_prefix(&[VERSION]).ok_or_else(refused)?;
        let id = task_bytes(task);
        let mut plaintext = aead::open(&key.data_key, sealing(&id, &sealed.commitment), body)
            .map_err(|_| refused())?;
        if key.commit(&plaintext) != sealed.commitment {
            return Err(refused());
        }
        Ok(std::mem::take(&mut *plaintext))
    }
}

impl fmt::Debug for FileCustody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileCustody(..)")
    }
}

type KeyId = [u8; 8];

/// The secret salt of a task's commitments and the key of its blobs.
#[derive(Zeroize, ZeroizeOnDrop)]
struct TaskKey {
    salt: [u8; 32],
    data_key: [u8; 32],
}

impl TaskKey {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (salt, rest) = bytes.split_first_chunk()?;
        Some(Self {
            salt: *salt,
            data_key: *<&[u8; 32]>::try_from(rest).ok()?,
        })
    }

    fn commit(&self, plaintext: &[u8]) -> Digest {
        Digest::of_parts(&[&self.salt, plaintext])
    }
}

/// Unwrapped keys of the tasks seen last. Wiped when they leave.
#[derive(Default)]
struct KeyCache {
    keys: BTreeMap<TaskId, (Vec<u8>, Arc<TaskKey>)>,
    order: VecDeque<TaskId>,
}

impl KeyCache {
    /// Returns the task's key when it was unwrapped from these very bytes.
    fn get(&self, task: TaskId, wrapped: &[u8]) -> Option<Arc<TaskKey>> {
        let (from, key) = self.keys.get(&task)?;
        (from == wrapped).then(|| Arc::clone(key))
    }

    fn put(&mut self, task: TaskId, wrapped: &[u8], key: &Arc<TaskKey>) {
        let entry = (wrapped.to_vec(), Arc::clone(key));
        if self.keys.insert(task, entry).is_some() {
            return;
        }
        self.order.push_back(task);
        if self.order.len() <= TASK_KEYS_CACHED_MAX {
            return;
        }
        if let Some(oldest) = self.order.pop_front() {
            self.keys.remove(&oldest);
        }
    }

    fn forget(&mut self, task: TaskId) {
        if self.keys.remove(&task).is_some() {
            self.order.retain(|it| *it != task);
        }
    }
}

const fn wrapping(task: &[u8; 16]) -> Context<'_> {
    Context {
        label: "ambit wrapped task key v1",
        parts: [task, &[]],
    }
}

const fn sealing<'a>(task: &'a [u8; 16], commitment: &'a Digest) -> Context<'a> {
    Context {
        label: "ambit task blob v1",
        parts: [task, commitment.as_bytes()],
    }
}

const fn task_bytes(task: TaskId) -> [u8; 16] {
    task.bits().to_be_bytes()
}

/// The version of every sealed form.
pub(crate) const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + size_of::<KeyId>();

#[cfg(test)]
mod tests;

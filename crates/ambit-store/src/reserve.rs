//! Space kept in reserve beside the database: on a full disk it is given up, so that what takes authority away and how
//! acts ended can still be written.
//!
//! The reserve is a file whose blocks are allocated, not a hole. Whoever else writes to the same disk can eat what is
//! given up.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ambit_audit::Space;
use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
};

use crate::StoreError;

/// How much space is kept in reserve, in bytes: for the batch that met the full disk, for the outcomes of what was under
/// way, and for some hundreds of revocations.
pub const RESERVE_BYTES: u64 = 32 * 1024 * 1024;

/// The reserve of one database.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    file: File,
    space: Space,
}

/// Whether there was something to give up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Released {
    /// There is room now that there was not.
    Now,
    /// It was given up before.
    Before,
}

impl Reserve {
    /// Opens the reserve beside `database` and makes it when there is room; when there is none, it is given up already.
    ///
    /// # Errors
    /// The file can't be made, for another reason than a full disk.
    pub(crate) fn open(database: &Path) -> Result<Self, StoreError> {
        let mut name = database.to_owned().into_os_string();
        name.push(".reserve");
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path);
        let file = file.map_err(|source| failed(&path, source))?;
        let mut reserve = Self {
            path,
            file,
            space: Space::Reserve,
        };
        match reserve.fill(RESERVE_BYTES) {
            Ok(()) => reserve.space = Space::Ample,
            Err(error) if is_full(&error) => reserve.empty()?,
            Err(source) => return Err(failed(&reserve.path, source)),
        }
        Ok(reserve)
    }

    /// Gives the space up.
    ///
    /// # Errors
    /// The file can't be shortened.
    pub(crate) fn release(&mut self) -> Result<Released, StoreError> {
        if self.space == Space::Reserve {
            return Ok(Released::Before);
        }
        self.empty()?;
        self.space = Space::Reserve;
        Ok(Released::Now)
    }

    /// Takes the space back as soon as there is twice as much, so that it does not come and go with each record. What
    /// can't be taken back now is tried again the next time.
    pub(crate) fn space(&mut self) -> Space {
        if self.space == Space::Reserve
            && free_bytes(&self.file) >= 2 * RESERVE_BYTES
            && self.fill(RESERVE_BYTES).is_ok()
        {
            self.space = Space::Ample;
        }
        self.space
    }

    fn fill(&mut self, bytes: u64) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.len() >= bytes && found.blocks().saturating_mul(BLOCK_BYTES) >= bytes {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(bytes)?,
            Err(error) => {
                // What was allocated before the disk was full goes back.
                let _ = self.file.set_len(0);
                return Err(error.into());
            }
            Ok(()) => {}
        }
        self.file.sync_all()
    }

    /// Fills the file where the file system can't allocate.
    fn write_zeros(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(0)?;
        let zeros = vec![0; CHUNK_BYTES];
        let mut file = &self.file;
        io::Seek::rewind(&mut file)?;
        for _ in 0..bytes.div_ceil(CHUNK_BYTES as u64) {
            file.write_all(&zeros)?;
        }
        Ok(())
    }

    /// A file system gives blocks back when it has written down that they are free.
    fn empty(&self) -> Result<(), StoreError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.sync_all());
        emptied.map_err(|source| failed(&self.path, source))
    }
}

/// The unit of a file's count of blocks, in bytes (POSIX `st_blocks` on Linux).
const BLOCK_BYTES: u64 = 512;
/// How much is written at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Says whether there is no space left for us.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn free_bytes(file: &File) -> u64 {
    fstatvfs(file).map_or(0, |it| it.f_bavail.saturating_mul(it.f_frsize))
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        attempted: "keep space in reserve in",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_allocated_given_up_and_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("db.sqlite");
        let path = directory.path().join("db.sqlite.reserve");
        let allocated = || std::fs::metadata(&path).unwrap().blocks() * BLOCK_BYTES;
        let mut reserve = Reserve::open(&database).unwrap();
        assert_eq!(reserve.space(), Space::Ample);
        assert!(allocated() >= RESERVE_BYTES, "a hole keeps nothing");
        assert_eq!(reserve.release().unwrap(), Released::Now);
        assert_eq!(allocated(), 0);
        assert_eq!(reserve.release().unwrap(), Released::Before);
        assert_eq!(reserve.space(), Space::Ample, "this disk has room");
        assert!(allocated() >= RESERVE_BYTES);
    }
}

//! The high-water mark: the newest signed checkpoint, kept outside the database, so that an older database is noticed.
//!
//! It is rewritten in place after every commit, without waiting for the disk: a mark that lags after a power loss
//! is older than the database, never newer. A mark restored together with the database is not noticed; only
//! a witness sees that.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ambit_audit::{Checkpoint, VerifierKey};
use ambit_core::Digest;

use crate::StoreError;

/// The size of the file, in bytes: one sector, which disks write whole. Longer checkpoints take a multiple.
const SECTOR_BYTES: usize = 512;
/// The longest mark that is read, in bytes.
const MARK_BYTES_MAX: u64 = 64 * 1024;

/// The high-water mark of one log.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
    file: Option<File>,
}

impl Mark {
    /// Returns the mark at `path`. Nothing is read or written yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
        }
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the mark and checks its signature. `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no checkpoint signed by the log's key.
    pub fn read(&self, key: &VerifierKey) -> Result<Option<Checkpoint>, StoreError> {
        let bytes = match fs::metadata(&self.path) {
            Ok(found) if found.len() <= MARK_BYTES_MAX => fs::read(&self.path),
            // What is too long to be a mark is refused as a malformed one.
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", source)),
        };
        let text = String::from_utf8_lossy(&bytes);
        let note = text.trim_end_matches(PADDING);
        if note == EMPTY {
            return Ok(Some(Checkpoint {
                origin: key.name().to_owned(),
                size: 0,
                root: Digest::of(b""),
            }));
        }
        key.open(note).map(Some).map_err(|source| {
            let path = self.path.clone();
            StoreError::MarkCorrupt { path, source }
        })
    }

    /// Writes durably that the log has not begun, so that a crash after its first commit leaves no log without a mark.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_empty(&mut self) -> Result<(), StoreError> {
        self.write_durable(EMPTY)
    }

    /// Writes the mark over, without waiting for the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, note: &str) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return self.write_durable(note);
        };
        let written = file.write_all_at(&padded(note), 0);
        written.map_err(|source| self.failed("write the mark", source))
    }

    /// Replaces the mark by another file, durable on return.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_durable(&mut self, note: &str) -> Result<(), StoreError> {
        let replaced = self.replace(note);
        let file = replaced.map_err(|source| self.failed("write the mark", source))?;
        self.file = Some(file);
        Ok(())
    }

    fn replace(&self, note: &str) -> io::Result<File> {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&padded(note))?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        let parent = self.path.parent().filter(|it| *it != Path::new(""));
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(file)
    }

    fn failed(&self, attempted: &'static str, source: io::Error) -> StoreError {
        let path = self.path.clone();
        StoreError::File {
            attempted,
            path,
            source,
        }
    }
}

/// The mark of a log that has not begun. It is not signed: like any older mark, it promises only that records may come.
const EMPTY: &str = "ambit: this log has not begun\n";
/// What fills the file behind the checkpoint, so that a shorter one leaves nothing of a longer one.
const PADDING: char = ' ';

fn padded(note: &str) -> Vec<u8> {
    let mut bytes = note.as_bytes().to_vec();
    let whole = bytes.len().next_multiple_of(SECTOR_BYTES);
    bytes.resize(whole, PADDING as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use ambit_audit::LogKey;

    use super::*;

    fn note(size: u64) -> String {
        let key = LogKey::from_seed(&[1; 32]).unwrap();
        key.sign(&Checkpoint {
            origin: "example.org/log".to_owned(),
            size,
            root: Digest::of(&size.to_be_bytes()),
        })
    }

    #[test]
    fn the_newest_mark_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let key = LogKey::from_seed(&[1; 32]).unwrap();
        let key = key.verifier("example.org/log").unwrap();
        let mut mark = Mark::at(directory.path().join("mark"));
        assert!(mark.read(&key).unwrap().is_none());
        mark.write_empty().unwrap();
        assert_eq!(mark.read(&key).unwrap().unwrap().size, 0);
        for size in [1, 100_000, 99, 7] {
            mark.write(&note(size)).unwrap();
            assert_eq!(mark.read(&key).unwrap().unwrap().size, size);
        }
        mark.write_durable(&note(8)).unwrap();
        mark.write(&note(9)).unwrap();
        let again = Mark::at(mark.path());
        assert_eq!(again.read(&key).unwrap().unwrap().size, 9);
    }

    #[test]
    fn a_damaged_mark_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let key = LogKey::from_seed(&[1; 32]).unwrap();
        let key = key.verifier("example.org/log").unwrap();
        let mark = Mark::at(directory.path().join("mark"));
        let check = |bytes: &[u8]| {
            fs::write(mark.path(), bytes).unwrap();
            let refused = mark.read(&key).unwrap_err();
            assert!(
                matches!(refused, StoreError::MarkCorrupt { .. }),
                "{refused}"
            );
            assert!(refused.to_string().contains("ambit recover"), "{refused}");
        };
        check(b"");
        check(b"nonsense");
        check(&[0xff; 512]);
        check(note(3).replace('3', "4").as_bytes());
        check(&vec![b'x'; MARK_BYTES_MAX as usize + 1]);
    }
}

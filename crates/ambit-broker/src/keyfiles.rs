//! Files that hold keys: owned and readable by one user, made once, written durably.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use zeroize::{Zeroize, Zeroizing};

/// The longest key file that holds text, in bytes.
pub const KEY_TEXT_BYTES_MAX: usize = 128 * 1024;

/// 32 secret bytes. Wiped in the end and never printed.
pub struct SecretKey(Box<Zeroizing<[u8; 32]>>);

/// A key file cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no file.
    #[error(
        "there is no key file at {path}; restore it from a backup, or create a new one for new data"
    )]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// There is a file already.
    #[error(
        "there is a key file at {path} already, and keys are never overwritten; move it away first"
    )]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Others than the owner can read or change it.
    #[error("key file {path} has mode {mode:03o} and is open to others; run `chmod 600` on it")]
    Mode {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user.
    #[error(
        "key file {path} belongs to user {seen}, not to user {expected} who runs this; run `chown` on it"
    )]
    Owner {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        seen: u32,
        /// Whose it should be.
        expected: u32,
    },
    /// It is a symbolic link, a folder, a pipe or a device.
    #[error("{path} is not a regular file; put the key file itself there")]
    NotRegular {
        /// Where.
        path: PathBuf,
    },
    /// It has another length than a key.
    #[error("key file {path} has {seen} bytes and a key has {expected}; restore it from a backup")]
    Length {
        /// Where.
        path: PathBuf,
        /// How many bytes.
        seen: u64,
        /// How many bytes a key has.
        expected: u64,
    },
    /// It is too long, or not text.
    #[error(
        "key file {path} is not text of at most {KEY_TEXT_BYTES_MAX} bytes; restore it from a backup"
    )]
    NotText {
        /// Where.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("key file {path} can't be {attempt}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SecretKey {
    /// Takes 32 fresh, secret random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let mut key = Self(Box::new(Zeroizing::new([0; 32])));
        key.0.copy_from_slice(&*bytes);
        key
    }

    /// Returns the bytes, for the algorithm that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Reads a key of 32 bytes.
///
/// # Errors
/// [`KeyFileError`] when the file is missing, not regular, of another user, open to others, or of
/// another length.
pub fn read_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    let bytes = read(path, KEY_BYTES)?;
    match bytes.as_slice().try_into() {
        Ok(bytes) => Ok(SecretKey::new(bytes)),
        Err(_) => Err(KeyFileError::Length {
            path: path.to_owned(),
            seen: length(path)?,
            expected: KEY_BYTES,
        }),
    }
}

/// Makes `chance` a key of 32 bytes in a new file (mode 0600), durable when this returns.
///
/// # Errors
/// [`KeyFileError`] when there is a file already, or the file system refuses.
pub fn create_key(path: &Path, chance: [u8; 32]) -> Result<SecretKey, KeyFileError> {
    let key = SecretKey::new(chance);
    create(path, key.expose())?;
    Ok(key)
}

/// Reads a key file that holds text, such as PEM.
///
/// # Errors
/// As for [`read_key`], and when it is too long or not UTF-8.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let not_text = || KeyFileError::NotText {
        path: path.to_owned(),
    };
    let mut bytes = read(path, KEY_TEXT_BYTES_MAX as u64)?;
    if bytes.len() > KEY_TEXT_BYTES_MAX {
        return Err(not_text());
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(not_text())
        }
    }
}

/// Writes `text` to a new key file (mode 0600), durable when this returns.
///
/// # Errors
/// [`KeyFileError`] when it is too long, when there is a file already, or the file system refuses.
pub fn create_text(path: &Path, text: &str) -> Result<(), KeyFileError> {
    if text.len() > KEY_TEXT_BYTES_MAX {
        return Err(KeyFileError::NotText {
            path: path.to_owned(),
        });
    }
    create(path, text.as_bytes())
}

/// Replaces the text in the key file at `path`, which must be there and pass every check: afterwards it is the old
/// one whole or the new one whole, durably.
///
/// # Errors
/// [`KeyFileError`] when there is none, it is open to others, or the file system refuses.
pub fn replace_text(path: &Path, text: &str) -> Result<(), KeyFileError> {
    read_text(path)?;
    let next = aside(path, ".next");
    // What an interrupted attempt left is worth nothing: the old file still counts.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(&next, "removed", error));
        }
        Ok(()) | Err(_) => (),
    }
    create_text(&next, text)?;
    fs::rename(&next, path).map_err(|source| io_error(path, "replaced", source))?;
    sync_folder(path).map_err(|source| io_error(path, "made durable", source))
}

/// Reads at most one byte more than `bytes_max`, from a file that passed every check.
fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    // Without NONBLOCK the opening of a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(KeyFileError::Missing { path: path.into() }),
        Err(Errno::LOOP) => return Err(KeyFileError::NotRegular { path: path.into() }),
        Err(errno) => return Err(io_error(path, "opened", errno.into())),
    };
    check(path, &file)?;
    // Room for all at once: growing would leave copies of the key behind.
    let room = usize::try_from(bytes_max).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| io_error(path, "read", source))?;
    Ok(bytes)
}

/// Checks the open file itself, not its path, which could lead elsewhere by now.
fn check(path: &Path, file: &File) -> Result<(), KeyFileError> {
    let found = file
        .metadata()
        .map_err(|source| io_error(path, "examined", source))?;
    if !found.is_file() {
        return Err(KeyFileError::NotRegular { path: path.into() });
    }
    let (seen, expected) = (found.uid(), rustix::process::geteuid().as_raw());
    if seen != expected {
        return Err(KeyFileError::Owner {
            path: path.into(),
            seen,
            expected,
        });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.into();
        return Err(KeyFileError::Mode { path, mode });
    }
    Ok(())
}

fn length(path: &Path) -> Result<u64, KeyFileError> {
    let found = fs::metadata(path).map_err(|source| io_error(path, "examined", source))?;
    Ok(found.len())
}

/// Writes beside `path` and then links: there is never half a key at `path`, and none is replaced.
fn create(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let unfinished = beside(path);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&unfinished, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::EXIST) => return Err(KeyFileError::Exists { path: unfinished }),
        Err(errno) => return Err(io_error(&unfinished, "made", errno.into())),
    };
    let written = fill(&file, bytes)
        .map_err(|source| io_error(path, "written", source))
        .and_then(|()| link(&unfinished, path));
    let removed = fs::remove_file(&unfinished);
    written?;
    removed.map_err(|source| io_error(&unfinished, "removed", source))?;
    sync_folder(path).map_err(|source| io_error(path, "made durable", source))
}

fn fill(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn link(unfinished: &Path, path: &Path) -> Result<(), KeyFileError> {
    match fs::hard_link(unfinished, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeyFileError::Exists { path: path.into() })
        }
        Err(source) => Err(io_error(path, "made", source)),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    aside(path, ".unfinished")
}

fn aside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn io_error(path: &Path, attempt: &'static str, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        attempt,
        source,
    }
}

const KEY_BYTES: u64 = 32;

#[cfg(test)]
mod tests;

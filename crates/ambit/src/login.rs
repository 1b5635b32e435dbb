//! The login of this command line: a key and a text in a file that only its user reads.

mod channel;
mod device;

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ambit_core::{
    LoginId, Timestamp,
    json::{Value, parse_bounded},
};
use ambit_identity::{SvidKey, dpop::ProofMaker};
use zeroize::Zeroizing;

pub(crate) use self::{
    channel::{Channel, ChannelError, Sent},
    device::{Answered, Begun, begin, poll},
};
use crate::problem::Exit;

/// The longest file of a login, in bytes.
const LOGIN_BYTES_MAX: u64 = 16 * 1024;

/// A login at one server.
#[derive(Clone)]
pub(crate) struct Login {
    server: String,
    key: Zeroizing<String>,
    text: Zeroizing<String>,
    expires_at: String,
    roots: Option<PathBuf>,
}

/// Why there is no login to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// Nobody logged in there.
    #[error("this command line has no login at {0}; run `ambit login {0}`")]
    None(String),
    /// The file can't be used.
    #[error("could not {attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others could read the file.
    #[error("{} is open to others (mode {mode:o}); run `ambit logout` and `ambit login`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is not what this program writes.
    #[error("{} is no login of this version; run `ambit login`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The key can't be used.
    #[error("the key of the login can't be used; run `ambit login`")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server can't be reached, or is no Ambit.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The person said no, or nobody answered.
    #[error("{0}")]
    NotLet(&'static str),
}

impl Login {
    /// Makes a login of what a server gave for `key`.
    pub(crate) fn new(
        server: &str,
        key: &SvidKey,
        (text, expires_at): (&str, Timestamp),
        roots: Option<PathBuf>,
    ) -> Self {
        Self {
            server: server.to_owned(),
            key: key.to_pem(),
            text: Zeroizing::new(text.to_owned()),
            expires_at: expires_at.to_string(),
            roots,
        }
    }

    /// Reads the login that `directory` holds, when it holds one.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, LoginError> {
        let path = file(directory);
        let failed = |attempt| {
            let path = path.clone();
            move |source| LoginError::File {
                attempt,
                path,
                source,
            }
        };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open")(error)),
        };
        let mode = file.metadata().map_err(failed("look at"))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(LoginError::Open { path, mode });
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(LOGIN_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed("read"))?;
        let max = usize::try_from(LOGIN_BYTES_MAX).unwrap_or(usize::MAX);
        let found = parse_bounded(&bytes, max).ok();
        let found = found.and_then(|it| Self::of_value(&it));
        found.map(Some).ok_or(LoginError::Form { path })
    }

    /// Writes the login into `directory`, for its user alone.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), LoginError> {
        let path = file(directory);
        let fresh = path.with_extension("new");
        let failed = |source| LoginError::File {
            attempt: "write",
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let text = Zeroizing::new(self.to_value().to_canonical());
        // Made anew and closed to others from its first moment.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }

    /// Removes the login from `directory`.
    pub(crate) fn remove(directory: &Path) -> Result<(), LoginError> {
        let path = file(directory);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LoginError::File {
                attempt: "remove",
                path,
                source: error,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Returns the server's public URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Returns until when it is good.
    pub(crate) fn expires_at(&self) -> &str {
        &self.expires_at
    }

    /// Returns its text, which comes with every request.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns its name, when its text has one.
    pub(crate) fn id(&self) -> Option<LoginId> {
        let (id, _) = self.text.split_once('.')?;
        id.parse().ok()
    }

    /// Returns the file of certificates by which the server is known besides this machine's.
    pub(crate) fn roots(&self) -> Option<&Path> {
        self.roots.as_deref()
    }

    /// Returns what signs its requests.
    pub(crate) fn maker(&self) -> Result<ProofMaker, LoginError> {
        let key = SvidKey::from_pem(&self.key).map_err(|error| LoginError::Key(error.into()))?;
        ProofMaker::new(&key).map_err(|error| LoginError::Key(error.into()))
    }

    fn of_value(value: &Value) -> Option<Self> {
        let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            server: text("server")?,
            key: Zeroizing::new(text("key")?),
            text: Zeroizing::new(text("login")?),
            expires_at: text("expires_at")?,
            roots: text("roots").map(PathBuf::from),
        })
    }

    fn to_value(&self) -> Value {
        let roots = self.roots.as_ref().and_then(|it| it.to_str());
        let roots = roots.map(|it| ("roots", it.into()));
        let members = [
            ("server", Value::from(self.server.as_str())),
            ("key", self.key.as_str().into()),
            ("login", self.text.as_str().into()),
            ("expires_at", self.expires_at.as_str().into()),
        ];
        Value::object(members.into_iter().chain(roots))
    }
}

impl LoginError {
    /// Returns the exit code.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::None(_) => Exit::NotSignedIn,
            Self::Channel(error) => error.exit(),
            Self::Refused(_) | Self::NotLet(_) => Exit::Denied,
            Self::File { .. } | Self::Open { .. } | Self::Form { .. } | Self::Key(_) => {
                Exit::Failure
            }
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login(at {})", self.server)
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("login.json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_login_is_its_users_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("deep/ambit");
        assert!(Login::read(&place).unwrap().is_none());
        let key = SvidKey::generate([3; 32]).unwrap();
        let text = "login_00000000000000000000000001.AAAA";
        let until = Timestamp::from_millis(1_795_305_600_000);
        let roots = Some(PathBuf::from("/etc/roots.pem"));
        let login = Login::new("https://ambit.example.org", &key, (text, until), roots);
        login.write(&place).unwrap();
        login.write(&place).unwrap();
        let found = Login::read(&place).unwrap().unwrap();
        assert_eq!(found.to_value(), login.to_value());
        assert_eq!(found.id().unwrap().bits(), 1);
        let own = ProofMaker::new(&key).unwrap();
        assert_eq!(found.maker().unwrap().thumbprint(), own.thumbprint());
        let path = file(&place);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Login::read(&place).unwrap_err().to_string();
        assert!(error.contains("open to others"), "{error}");
        Login::remove(&place).unwrap();
        Login::remove(&place).unwrap();
        assert!(Login::read(&place).unwrap().is_none());
    }

    #[test]
    fn what_is_no_login_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path());
        for text in ["", "{}", "[]", &"x".repeat(LOGIN_BYTES_MAX as usize + 1)] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = Login::read(directory.path()).unwrap_err().to_string();
            assert!(error.contains("no login of this version"), "{error}");
        }
    }
}

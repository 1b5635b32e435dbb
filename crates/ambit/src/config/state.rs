//! The layout of the state directory.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::ConfigError;

/// A server's state directory: the database, the rollback mark, the keys and the control socket.
#[derive(Clone, Debug)]
pub(crate) struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// Names the state directory at `root`; nothing is touched.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the directory when it has been a server's: it has keys or a log.
    pub(crate) fn of_a_server(self) -> Result<Self, ConfigError> {
        if self.keys().is_dir() || self.database().exists() {
            return Ok(self);
        }
        Err(ConfigError::NoServer { path: self.root })
    }

    /// Creates what is missing, closed to others, and refuses a directory that others can enter.
    pub(crate) fn prepare(&self) -> Result<(), ConfigError> {
        for path in [self.root.clone(), self.keys(), self.federated()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| ConfigError::State {
                    attempt: "create the directory",
                    path: path.clone(),
                    source,
                })?;
            let found = fs::metadata(&path).map_err(|source| ConfigError::State {
                attempt: "look at the directory",
                path: path.clone(),
                source,
            })?;
            let mode = found.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(ConfigError::Open { path, mode });
            }
        }
        Ok(())
    }

    /// Returns the directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db.sqlite")
    }

    /// Returns where the rollback mark is, unless the configuration puts it elsewhere.
    pub(crate) fn mark(&self) -> PathBuf {
        self.root.join("mark")
    }

    /// Returns where the key files are.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Returns where the bundles of foreign trust domains are kept.
    pub(crate) fn federated(&self) -> PathBuf {
        self.root.join("federated")
    }

    /// Returns where the control socket is, unless the configuration puts it elsewhere.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Returns where the socket of the Workload API is, unless the configuration puts it elsewhere.
    pub(crate) fn workload_socket(&self) -> PathBuf {
        self.root.join("workload.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(parent.path().join("deep/state"));
        state.prepare().unwrap();
        state.prepare().unwrap();
        fs::set_permissions(state.root(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = state.prepare().unwrap_err().to_string();
        assert!(
            error.contains("mode 750") && error.contains("chmod 700"),
            "{error}"
        );
    }
}

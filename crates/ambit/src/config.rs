//! Where things are: the state directory, `ambit.toml`, and the few facts of the environment that Ambit reads.

mod file;
mod identity;
mod outbound;
pub(crate) mod places;
mod ports;
mod public;
mod sign_in;
mod state;
mod telemetry;

use std::{env, ffi::OsString, path::PathBuf};

pub(crate) use self::{
    file::{DoorsConfig, ServeConfig},
    identity::IdentityConfig,
    outbound::{Network, OutboundConfig},
    ports::Ports,
    public::{Guests, PublicConfig, PublicUrl, Scheme},
    sign_in::SignInConfig,
    state::StateDirectory,
    telemetry::TelemetryConfig,
};

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No place for the state is known.
    #[error("no state directory is known; set AMBIT_STATE or HOME, or give --state DIR")]
    NoState,
    /// Neither keys nor a log are there.
    #[error("{} is no state directory of a server; name the right one with --state", path.display())]
    NoServer {
        /// Which directory.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("could not read {}; give another with --config FILE", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that Ambit doesn't understand.
    #[error("{}: {message}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// The state directory can't be used.
    #[error("could not {attempt} {}", path.display())]
    State {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Others could read the state.
    #[error("{} is open to others (mode {mode:o}); run `chmod 700 {}`", path.display(), path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// The facts of the environment that Ambit reads, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `AMBIT_STATE`.
    pub(crate) state: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub(crate) state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub(crate) runtime: Option<PathBuf>,
    /// `HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `PATH`.
    pub(crate) path: Option<OsString>,
    /// `NO_COLOR` is set and not empty (<https://no-color.org>).
    pub(crate) no_color: bool,
}

impl Environment {
    /// Reads the environment.
    pub(crate) fn read() -> Self {
        let absolute = |name| {
            variable(name)
                .map(PathBuf::from)
                .filter(|it| it.is_absolute())
        };
        Self {
            state: variable("AMBIT_STATE").map(PathBuf::from),
            state_home: absolute("XDG_STATE_HOME"),
            runtime: absolute("XDG_RUNTIME_DIR"),
            home: absolute("HOME"),
            path: variable("PATH"),
            no_color: variable("NO_COLOR").is_some(),
        }
    }

    /// Returns the state directory: `given`, `AMBIT_STATE`, or a place of the user's own.
    pub(crate) fn state_directory(&self, given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
        match given.or_else(|| self.state.clone()) {
            Some(named) => Ok(named),
            None => self.own_directory(),
        }
    }
}

impl Environment {
    /// Returns where this user's own things are, whatever server is named: a login among them.
    pub(crate) fn own_directory(&self) -> Result<PathBuf, ConfigError> {
        let of_home = || self.home.as_ref().map(|home| home.join(".local/state"));
        let place = self.state_home.clone().or_else(of_home);
        Ok(place.ok_or(ConfigError::NoState)?.join("ambit"))
    }
}

/// Returns the variable `name` of the environment, when it is set and not empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_the_nearest_one_named() {
        let environment =
            |state: Option<&str>, xdg: Option<&str>, home: Option<&str>| Environment {
                state: state.map(PathBuf::from),
                state_home: xdg.map(PathBuf::from),
                home: home.map(PathBuf::from),
                ..Environment::default()
            };
        let check = |environment: Environment, given: Option<&str>, wanted: Option<&str>| {
            let found = environment.state_directory(given.map(PathBuf::from)).ok();
            assert_eq!(found, wanted.map(PathBuf::from));
        };
        check(
            environment(Some("/a"), Some("/b"), Some("/c")),
            Some("/g"),
            Some("/g"),
        );
        check(
            environment(Some("/a"), Some("/b"), Some("/c")),
            None,
            Some("/a"),
        );
        check(
            environment(None, Some("/b"), Some("/c")),
            None,
            Some("/b/ambit"),
        );
        check(
            environment(None, None, Some("/c")),
            None,
            Some("/c/.local/state/ambit"),
        );
        check(environment(None, None, None), None, None);
    }
}

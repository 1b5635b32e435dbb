//! What can go wrong in a command, what it says to its user, and the exit code that scripts see.

use ambit_core::json::Value;

use crate::{
    client::ApiError, clock::NoChance, config::ConfigError, login::LoginError, run::RunError,
    serve::ServeError,
};

/// The exit codes, as `ambit --help` documents them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It failed here.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Ambit refused.
    Denied = 3,
    /// It waits for a person.
    Held = 4,
    /// Ambit does not know who is asking.
    NotSignedIn = 5,
    /// The server does not answer.
    Unreachable = 6,
    /// A check found something.
    CheckFailed = 7,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The command line is wrong in a way that the grammar doesn't catch.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server refused or doesn't answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no login to use.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The runner could not run the command.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The server does not serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// No random bytes.
    #[error(transparent)]
    NoChance(#[from] NoChance),
    /// A check found something; what, has been printed.
    #[error("{0}")]
    CheckFailed(String),
    /// A file or stream failed.
    #[error("could not {attempt}")]
    Io {
        /// What was attempted, such as `read the secret from standard input`.
        attempt: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Something else failed; the cause says what to do.
    #[error("could not {attempt}")]
    Failed {
        /// What was attempted.
        attempt: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Problem {
    /// Returns a failed input or output.
    pub(crate) fn io(attempt: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            attempt: attempt.into(),
            source,
        }
    }

    /// Returns a failure whose cause is `source`.
    pub(crate) fn failed(
        attempt: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            attempt: attempt.into(),
            source: source.into(),
        }
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Api(error) => error.exit(),
            Self::Login(error) => error.exit(),
            Self::Run(error) => error.exit(),
            Self::Serve(ServeError::Estate(_) | ServeError::Person(_)) => Exit::CheckFailed,
            Self::CheckFailed(_) => Exit::CheckFailed,
            Self::NotFound(_)
            | Self::Config(_)
            | Self::Serve(_)
            | Self::NoChance(_)
            | Self::Io { .. }
            | Self::Failed { .. } => Exit::Failure,
        }
    }

    /// Returns the lines for a person: what was attempted, then the causes.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {self}")];
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            lines.push(format!("  because: {error}"));
            cause = error.source();
        }
        lines
    }

    /// Returns the RFC 9457 object for a program.
    pub(crate) fn to_value(&self) -> Value {
        if let Self::Api(ApiError::Refused { problem, .. }) = self {
            return problem.clone();
        }
        let mut detail = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            detail.push_str(": ");
            detail.push_str(&error.to_string());
            cause = error.source();
        }
        Value::object([
            ("title", Value::from("the command failed")),
            ("code", self.code().into()),
            ("detail", detail.into()),
        ])
    }

    fn code(&self) -> &'static str {
        match self.exit() {
            Exit::Ok => "ok",
            Exit::Failure => "failed",
            Exit::Usage => "usage",
            Exit::Denied => "denied",
            Exit::Held => "held",
            Exit::NotSignedIn => "not_signed_in",
            Exit::Unreachable => "unreachable",
            Exit::CheckFailed => "check_failed",
        }
    }
}

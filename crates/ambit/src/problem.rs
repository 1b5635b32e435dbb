//! What can go wrong in a command, what it says to its user, and the exit code that scripts see.

use ambit_core::json::Value;

use crate::{
    client::ApiError, clock::NoChance, config::ConfigError, login::LoginError, run::RunError,
    serve::ServeError,
};

/// The exit codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It failed, here or at a server.
    Failure = 1,
    /// The command line is wrong, or asks for what makes no sense.
    Usage = 2,
    /// Ambit refused.
    Denied = 3,
    /// What was named is not as this needs it: decided, ended or changed already.
    Conflict = 4,
    /// Ambit does not know who is asking.
    NotSignedIn = 5,
    /// The server does not answer, or can't now.
    Unreachable = 6,
    /// A check found something.
    CheckFailed = 7,
}

/// The one table of exit codes: each with its word for programs and what `ambit --help` says of it.
const EXITS: [(Exit, &str, &str); 8] = [
    (Exit::Ok, "ok", "done"),
    (Exit::Failure, "failed", "failed"),
    (
        Exit::Usage,
        "usage",
        "wrong command line, or a request that makes no sense",
    ),
    (Exit::Denied, "denied", "denied by a decision"),
    (
        Exit::Conflict,
        "conflict",
        "not as it stands: decided, ended or changed already",
    ),
    (
        Exit::NotSignedIn,
        "not_signed_in",
        "nobody that the server knows",
    ),
    (
        Exit::Unreachable,
        "unreachable",
        "the server can't be reached, or can't answer now",
    ),
    (Exit::CheckFailed, "check_failed", "a check found something"),
];

impl Exit {
    /// Returns the code of a refusal by the server.
    pub(crate) fn of_refusal(status: u16, code: &str) -> Self {
        match (code, status) {
            ("check_failed", _) => Self::CheckFailed,
            (_, 401) => Self::NotSignedIn,
            (_, 403) => Self::Denied,
            (_, 409) => Self::Conflict,
            (_, 400 | 422) => Self::Usage,
            (_, 503 | 504) => Self::Unreachable,
            _ => Self::Failure,
        }
    }

    /// Returns the table as `ambit --help` shows it.
    pub(crate) fn table() -> String {
        let mut text = "Exit codes:\n".to_owned();
        for (exit, _, meaning) in EXITS {
            text.push_str(&format!("  {}  {meaning}\n", exit as u8));
        }
        text + "`ambit run` gives the command's own exit code (128 + n for signal n)."
    }

    fn word(self) -> &'static str {
        let row = EXITS.iter().find(|it| it.0 == self);
        row.map_or("failed", |it| it.1)
    }
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
        let causes = self.causes();
        let causes = causes.iter().map(|it| format!("  because: {it}"));
        let first = std::iter::once(format!("error: {self}"));
        first.chain(causes).collect()
    }

    /// Returns the causes, each said once: some messages have their cause within them.
    fn causes(&self) -> Vec<String> {
        let mut said = self.to_string();
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                said.push_str(&text);
                causes.push(text);
            }
            cause = error.source();
        }
        causes
    }

    /// Returns the RFC 9457 object for a program.
    pub(crate) fn to_value(&self) -> Value {
        if let Self::Api(ApiError::Refused { problem, .. }) = self {
            return problem.clone();
        }
        let detail = std::iter::once(self.to_string()).chain(self.causes());
        let detail = detail.collect::<Vec<_>>().join(": ");
        Value::object([
            ("title", Value::from("the command failed")),
            ("code", self.exit().word().into()),
            ("detail", detail.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::LoginError;

    fn refused(status: u16, code: &str) -> Problem {
        let problem = Value::object([("code", code.into())]);
        ApiError::Refused { status, problem }.into()
    }

    #[test]
    fn a_cause_is_said_once() {
        let check = |message: &str, wanted: &[&str]| {
            let cause = std::io::Error::other("no space");
            let problem = Problem::io(message, cause);
            assert_eq!(problem.lines(), wanted);
        };
        check(
            "write it",
            &["error: could not write it", "  because: no space"],
        );
        check(
            "write it: no space",
            &["error: could not write it: no space"],
        );
    }

    #[test]
    fn every_exit_code_can_happen_and_says_what_it_is() {
        let problems = [
            refused(500, "failed"),
            refused(404, "not_found"),
            refused(502, "upstream_failed"),
            Problem::Usage(String::new()),
            refused(400, "malformed"),
            refused(422, "invalid"),
            refused(403, "role_missing"),
            refused(409, "conflict"),
            refused(409, "task_ended"),
            refused(409, "no_estate"),
            refused(401, "unauthenticated"),
            LoginError::None(String::new()).into(),
            refused(503, "overloaded"),
            refused(504, "overloaded"),
            refused(422, "check_failed"),
            Problem::CheckFailed(String::new()),
        ];
        let found: Vec<_> = problems.iter().map(|it| it.exit() as u8).collect();
        assert_eq!(found, [1, 1, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5, 6, 6, 7, 7]);
        let help = Exit::table();
        for (place, (exit, word, meaning)) in EXITS.iter().enumerate() {
            assert_eq!(*exit as usize, place);
            assert_eq!(exit.word(), *word);
            assert!(help.contains(&format!("  {place}  {meaning}\n")), "{help}");
        }
    }
}

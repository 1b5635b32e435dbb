//! Why an upstream gave no answer, and what that says about what happened.

use std::io;

use ambit_core::{Reason, record::Status};

/// An upstream gave no answer that can be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The address in the estate can't be used.
    #[error("the server's address can't be used ({0}); correct `url` in its file and apply")]
    Address(String),
    /// There was no connection.
    #[error("the server can't be reached; check that it runs")]
    Unreachable(#[source] io::Error),
    /// The process did not start or did not speak.
    #[error("the server process did not start: {0}")]
    Start(String),
    /// There are too many stdio server processes.
    #[error("too many server processes run; end tasks or raise the cap")]
    TooManyProcesses,
    /// The credential to be injected is missing.
    #[error("the credential `{0}` is not sealed here; set it with `ambit secret set {0} < FILE`")]
    CredentialMissing(String),
    /// The revisions do not meet.
    #[error("the server speaks no MCP revision that Ambit speaks")]
    Incompatible,
    /// The permit ended before the first byte could go out.
    #[error("the permission ended before the request could be sent; call again")]
    Late,
    /// The legacy server no longer knows the session, and says that it did nothing.
    #[error("the server no longer knows the session; call again")]
    SessionLost,
    /// The connection ended before the whole answer came.
    #[error("the server closed the connection before its answer was whole")]
    Closed,
    /// The answer did not come in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// The answer is longer than is read.
    #[error("the server's answer is too long")]
    TooLong,
    /// The server sent more notifications than is read.
    #[error("the server flooded the connection with notifications")]
    Flood,
    /// The answer is not what the protocol says.
    #[error("the server broke the protocol: {0}")]
    Malformed(&'static str),
    /// An HTTP status without an MCP answer.
    #[error("the server answered with HTTP status {0}")]
    Status(u16),
    /// The answer repeats the credential that was injected.
    #[error(
        "the server's answer repeats the credential that Ambit sent; rotate it and mend the server"
    )]
    Leak,
    /// The server wants something from the agent or its user.
    #[error("the server asked for input from the agent, which Ambit does not pass on")]
    InputRequired,
}

impl UpstreamError {
    /// Returns what is known about the act, when the request had been handed to the connection.
    pub(crate) const fn status(&self) -> Status {
        match self {
            Self::Address(_)
            | Self::Unreachable(_)
            | Self::Start(_)
            | Self::TooManyProcesses
            | Self::CredentialMissing(_)
            | Self::Late
            | Self::Incompatible => Status::NotSent,
            Self::Status(status) if *status < 500 => Status::Failed,
            Self::InputRequired | Self::SessionLost => Status::Failed,
            Self::Closed
            | Self::Timeout
            | Self::TooLong
            | Self::Flood
            | Self::Malformed(_)
            | Self::Leak
            | Self::Status(_) => Status::Unknown,
        }
    }

    /// Says that nothing was done, and that the same act may be decided anew.
    pub(crate) const fn leaves_undone(&self) -> bool {
        matches!(self, Self::Late | Self::SessionLost)
    }

    /// Returns the stable code for the agent. Nothing that the upstream wrote is in it.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::Incompatible | Self::CredentialMissing(_) => {
                "server_misconfigured"
            }
            Self::Unreachable(_) => "server_unreachable",
            Self::Start(_) => "server_not_started",
            Self::TooManyProcesses => "overloaded",
            Self::Late => Reason::PermitStale.code(),
            Self::SessionLost => "server_failed",
            Self::Closed => "server_closed",
            Self::Timeout => "server_timeout",
            Self::TooLong => "answer_too_long",
            Self::Flood => "server_flooded",
            Self::Malformed(_) => "answer_malformed",
            Self::Status(_) => "server_failed",
            Self::Leak => "answer_withheld",
            Self::InputRequired => "input_not_offered",
        }
    }

    /// Returns the code and what people need to mend it. Nothing that the upstream wrote is in it.
    pub(crate) fn for_record(&self) -> String {
        // A process says why on its own standard error, which is shown to its owner alone.
        if let Self::Start(_) = self {
            return format!("{}: {}", self.code(), self.for_agent());
        }
        format!("{}: {self}", self.code())
    }

    /// Returns one clause for the agent: no address, no text of the upstream's.
    pub(crate) const fn for_agent(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::Incompatible | Self::CredentialMissing(_) => {
                "the server is not set up rightly; its owner must act"
            }
            Self::Unreachable(_) => "the server can't be reached",
            Self::Start(_) => "the server did not start",
            Self::TooManyProcesses => "too many server processes run already",
            Self::Late => Reason::PermitStale.for_agent(),
            Self::SessionLost => "the server lost its session and did nothing",
            Self::Closed => "the server closed the connection before its answer was whole",
            Self::Timeout => "the server did not answer in time",
            Self::TooLong => "the server's answer is too long",
            Self::Flood => "the server sent too many notifications",
            Self::Malformed(_) => "the server's answer broke the protocol",
            Self::Status(_) => "the server refused the request",
            Self::Leak => "the server's answer held what no agent may see",
            Self::InputRequired => "the server asked for input, which is not passed on",
        }
    }
}

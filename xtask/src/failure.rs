//! Why a chore failed.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a chore failed, and what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A program could not be started.
    #[error("could not start {program}; is it installed and on PATH?")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{command} ended with {status}; its own output says why")]
    Exit {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file or directory could not be read or written.
    #[error("could not {attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something that only a person can install is missing.
    #[error("{0}")]
    Missing(String),
    /// The house rules are broken.
    #[error("{0} house rules are broken; each line above names the place")]
    House(usize),
    /// Some steps failed.
    #[error("failed: {0}")]
    Steps(String),
}

impl Failure {
    /// The exit code: 2 for a wrong command line, else 1.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Start { .. }
            | Self::Exit { .. }
            | Self::File { .. }
            | Self::Missing(_)
            | Self::House(_)
            | Self::Steps(_) => 1,
        }
    }
}

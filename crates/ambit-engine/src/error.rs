//! What goes wrong inside the engine. At a door each of these is a refusal.

use std::sync::Arc;

use ambit_core::{DecisionId, Reason};

use crate::{ArchiveError, CustodyError, FoldError, RowError};

/// The engine could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Too many proposals wait for the log.
    #[error("too many acts wait for the log; try again in a moment")]
    Busy,
    /// The task asks for tokens and identities faster than it may.
    #[error(
        "the task asks for tokens and identities faster than it may; use those that it has, and ask again in \
         {wait_seconds} s"
    )]
    TooFast {
        /// After how long there is one more, in seconds.
        wait_seconds: u64,
    },
    /// The log took no more records. Nothing acts until a person has looked.
    #[error("the log stopped taking records, so nothing acts: {0}; see `ambit status`")]
    Stopped(Arc<str>),
    /// The disk is full. What takes authority away, and how acts ended, is still written.
    #[error(
        "the disk is full, so nothing acts; ending and revoking still work; free some space, and ambit goes on by itself"
    )]
    NoSpace,
    /// No estate is in force.
    #[error("no estate is in force; write one and run `ambit apply DIR`")]
    NoEstate,
    /// The caller has no live task.
    #[error("the caller has no live task; start one")]
    NoTask,
    /// A version of the estate that a live task was started under is gone.
    #[error("the estate {0} of a live task is not in the store")]
    EstateMissing(ambit_core::Digest),
    /// The store could not be read.
    #[error(transparent)]
    Archive(#[from] Arc<ArchiveError>),
    /// A key could not be used.
    #[error(transparent)]
    Custody(#[from] Arc<CustodyError>),
    /// A row of the store can't be read back.
    #[error(transparent)]
    Row(#[from] Arc<RowError>),
    /// A record does not follow from those before it.
    #[error(transparent)]
    Fold(#[from] Arc<FoldError>),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] Arc<ambit_audit::LogError>),
    /// The bounds of a task could not be compiled.
    #[error(transparent)]
    Scope(#[from] Arc<ambit_policy::ScopeError>),
}

/// A decision said no. The decision is recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denied {
    /// The decision's name.
    pub decision: DecisionId,
    /// Why not.
    pub reason: Reason,
}

/// A person's act was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// A decision said no; that is recorded.
    #[error("denied ({}): {explanation}", denied.reason)]
    Denied {
        /// The decision.
        denied: Denied,
        /// For the person: the rule, and what would change it.
        explanation: String,
    },
    /// The thing that the person named is not there; nothing was decided.
    #[error("{0}")]
    NotFound(String),
    /// The request itself makes no sense; nothing was decided.
    #[error("{0}")]
    Invalid(String),
    /// What the person named is not as this needs it: decided, ended or changed already. Nothing was changed.
    #[error("{0}")]
    Conflict(String),
    /// The engine could not answer.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

impl From<ArchiveError> for EngineError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(Arc::new(error))
    }
}
impl From<CustodyError> for EngineError {
    fn from(error: CustodyError) -> Self {
        Self::Custody(Arc::new(error))
    }
}
impl From<RowError> for EngineError {
    fn from(error: RowError) -> Self {
        Self::Row(Arc::new(error))
    }
}
impl From<FoldError> for EngineError {
    fn from(error: FoldError) -> Self {
        Self::Fold(Arc::new(error))
    }
}
impl From<ambit_audit::LogError> for EngineError {
    fn from(error: ambit_audit::LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}
impl From<ambit_policy::ScopeError> for EngineError {
    fn from(error: ambit_policy::ScopeError) -> Self {
        Self::Scope(Arc::new(error))
    }
}

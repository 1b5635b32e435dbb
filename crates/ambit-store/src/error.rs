//! Why a store could not be opened, read or written.

use std::{
    io,
    path::{Path, PathBuf},
};

use ambit_audit::{CheckpointError, ResumeError};
use rusqlite::ErrorCode;

/// Why a store could not be opened, read or written. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the database open for writing.
    #[error("`{}` is in use by another ambit; stop that one first", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A file cannot be made or read.
    #[error(
        "could not {attempted} `{}`: {source}; let ambit write in the directory `{}`",
        path.display(),
        directory(path)
    )]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The thread that moves the write-ahead log cannot be started.
    #[error("could not start a thread: {0}; let ambit have more threads or memory")]
    Thread(#[source] io::Error),
    /// The database was written by another version of Ambit.
    #[error(
        "the database has schema version {found}; this ambit reads version {known}, so run the ambit that wrote it"
    )]
    SchemaVersion {
        /// The version of the database.
        found: i64,
        /// The version that is read.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("the database is not one of ambit's; give another path")]
    NotOurs,
    /// The database's pages are damaged.
    #[error(
        "the database is corrupt, found while {attempted}: {source}; stop, keep a copy, and run `ambit recover`"
    )]
    Corrupt {
        /// What was attempted.
        attempted: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// There is no space left.
    #[error(
        "the disk is full, found while {attempted}: {source}; free some space and restart ambit"
    )]
    Full {
        /// What was attempted.
        attempted: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The database cannot be written.
    #[error(
        "the database is read-only, found while {attempted}: {source}; let ambit write its file and directory"
    )]
    ReadOnly {
        /// What was attempted.
        attempted: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The disk failed.
    #[error(
        "the disk failed, found while {attempted}: {source}; look at the system's log, mend or replace the disk, and restart ambit"
    )]
    Disk {
        /// What was attempted.
        attempted: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// SQLite failed otherwise.
    #[error(
        "the database failed while {attempted}: {source}; restart ambit, and report this if it happens again"
    )]
    Sqlite {
        /// What was attempted.
        attempted: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A folded table was not declared at open.
    #[error("the folded table `{0}` was not declared when the store was opened")]
    UnknownTable(String),
    /// A commit does not follow the one before.
    #[error("the commit begins at record {first_index}, but the store has {size} records")]
    OutOfOrder {
        /// Where the commit begins.
        first_index: u64,
        /// How many records there are.
        size: u64,
    },
    /// The database is older than its mark.
    #[error(
        "the log was rolled back: it has {size} records, and the mark {} knows of {marked}; restore the newest database, or run `ambit recover`",
        path.display()
    )]
    RolledBack {
        /// The mark.
        path: PathBuf,
        /// How many records the database has.
        size: u64,
        /// How many the mark knows of.
        marked: u64,
    },
    /// The mark is gone.
    #[error(
        "the log has {size} records, but its mark {} is missing: a rollback could not be seen; put the mark back, or run `ambit recover`",
        path.display()
    )]
    MarkMissing {
        /// The mark.
        path: PathBuf,
        /// How many records the database has.
        size: u64,
    },
    /// The mark cannot be believed.
    #[error(
        "the mark {} is not a checkpoint of this log: {source}; put the right mark back, or run `ambit recover`",
        path.display()
    )]
    MarkCorrupt {
        /// The mark.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// The log and the mark tell different stories.
    #[error(
        "the log's first {marked} records are not those of its mark {}: its history was rewritten; restore the right database, or run `ambit recover`",
        path.display()
    )]
    MarkDiffers {
        /// The mark.
        path: PathBuf,
        /// How many records the mark knows of.
        marked: u64,
    },
    /// The end of the log cannot be read back.
    #[error(transparent)]
    Resume(#[from] ResumeError),
}

/// Returns the directory of a file, for people.
fn directory(path: &Path) -> std::path::Display<'_> {
    let parent = path.parent().filter(|it| *it != Path::new(""));
    parent.unwrap_or(Path::new(".")).display()
}

impl StoreError {
    /// Says whether nothing more fits on the disk.
    pub(crate) fn is_full(&self) -> bool {
        if let Self::File { source, .. } = self {
            return crate::reserve::is_full(source);
        }
        matches!(self, Self::Full { .. })
    }

    /// Sorts SQLite's error by what the operator must do.
    pub(crate) fn sqlite(attempted: &'static str, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { attempted, source }
            }
            Some(ErrorCode::DiskFull) => Self::Full { attempted, source },
            Some(ErrorCode::SystemIoFailure) => Self::Disk { attempted, source },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { attempted, source },
            _ => Self::Sqlite { attempted, source },
        }
    }
}

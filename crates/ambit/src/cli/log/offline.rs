//! What needs no server: verifying, exporting and replaying a log from files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ambit_audit::{Checkpoint, Directory, TileSource, VerifierKey, export, verify};
use ambit_control::credentials::{Unsealed, unsealed};
use ambit_core::{estate::Estate, json::Value};
use ambit_engine::{RebuildError, TABLES};
use ambit_store::{ArchiveTiles, Mark, SqliteArchive, open_to_read};

use super::{super::tasks::counted, Session};
use crate::{
    config::StateDirectory,
    output::{Tone, cell},
    problem::Problem,
    serve::{engine::compile, keys},
};

/// The file of the verifier key in an exported log.
const KEY_FILE: &str = "log.vkey";
/// The longest known checkpoint that is read, in bytes.
const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;

/// How many acts without a known outcome are named to people; `-o json` names all.
const OPEN_ACTS_SHOWN: usize = 20;

/// What is verified, and against what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// An exported log, instead of the one in the state directory.
    pub(crate) directory: Option<PathBuf>,
    /// The file of the verifier key.
    pub(crate) key: Option<PathBuf>,
    /// The file of a checkpoint known from before.
    pub(crate) checkpoint: Option<PathBuf>,
    /// The rollback mark, when it is not in the state directory.
    pub(crate) mark: Option<PathBuf>,
}

/// What the log is held against.
struct Trusted {
    key: VerifierKey,
    /// Where the key is from, in words.
    key_from: String,
    /// Checkpoints that the log must continue.
    known: Vec<Checkpoint>,
}

/// Verifies an exported log, or the one in the state directory, which must reach its rollback mark.
pub(crate) fn check(session: &Session, asked: Asked) -> Result<(), Problem> {
    let given = |path: &PathBuf| {
        let from = format!("from {}", path.display());
        read_key(path).map(|key| (key, from))
    };
    if let Some(directory) = &asked.directory {
        let (key, key_from) = match &asked.key {
            Some(path) => given(path)?,
            None => (
                read_key(&directory.join(KEY_FILE))?,
                "from the export itself: give --key for a check against a forger".to_owned(),
            ),
        };
        let known = known_checkpoint(&asked, &key)?.into_iter().collect();
        let trusted = Trusted {
            key,
            key_from,
            known,
        };
        return told(session, &Directory::new(directory), &trusted);
    }
    let state = session.state_of_a_server()?;
    let (key, key_from) = match &asked.key {
        Some(path) => given(path)?,
        None => (
            keys::verifier(&state).map_err(|error| Problem::failed("read the log's key", error))?,
            format!("from the keys in {}", state.root().display()),
        ),
    };
    let mut known: Vec<_> = known_checkpoint(&asked, &key)?.into_iter().collect();
    // Read before the database, which a running server writes first: so the mark is never the newer one.
    known.push(marked(&asked.mark.unwrap_or_else(|| state.mark()), &key)?);
    let trusted = Trusted {
        key,
        key_from,
        known,
    };
    told(session, &ArchiveTiles(&database(&state)?), &trusted)
}

pub(super) fn marked(path: &Path, key: &VerifierKey) -> Result<Checkpoint, Problem> {
    let mark = Mark::at(path).read(key);
    let mark = mark.map_err(|error| {
        let attempt = format!("compare the log with its rollback mark {}", path.display());
        Problem::failed(attempt, error)
    })?;
    mark.ok_or_else(|| {
        Problem::CheckFailed(format!(
            "there is no rollback mark at {}, so nobody can tell whether the log was rolled back; name the \
             mark with --mark",
            path.display()
        ))
    })
}

fn known_checkpoint(asked: &Asked, key: &VerifierKey) -> Result<Option<Checkpoint>, Problem> {
    let Some(path) = &asked.checkpoint else {
        return Ok(None);
    };
    let length = fs::metadata(path).map(|it| it.len());
    let read = match length {
        Ok(length) if length > CHECKPOINT_BYTES_MAX => {
            let long = "it is too long to be a checkpoint";
            Err(io::Error::new(io::ErrorKind::InvalidData, long))
        }
        Ok(_) => fs::read_to_string(path),
        Err(error) => Err(error),
    };
    let attempt = format!("read the known checkpoint {}", path.display());
    let note = read.map_err(|error| Problem::io(attempt, error))?;
    let known = key.open(&note).map_err(|error| {
        let path = path.display();
        Problem::CheckFailed(format!(
            "the known checkpoint {path} is not of this log: {error}"
        ))
    })?;
    Ok(Some(known))
}

/// Writes the log in the state directory as files.
pub(crate) fn write(session: &Session, to: &Path) -> Result<(), Problem> {
    let state = session.state_of_a_server()?;
    let verifier =
        keys::verifier(&state).map_err(|error| Problem::failed("read the log's key", error))?;
    // Into a directory of its own, so that no tile of another log remains in it.
    fs::create_dir(to).map_err(|error| {
        Problem::io(
            format!(
                "create {}; name a directory that is not there yet",
                to.display()
            ),
            error,
        )
    })?;
    let checkpoint = export(&ArchiveTiles(&database(&state)?), to)
        .map_err(|error| Problem::failed("export the log", error))?;
    let path = to.join(KEY_FILE);
    fs::write(&path, format!("{verifier}\n"))
        .map_err(|error| Problem::io(format!("write {}", path.display()), error))?;
    let answer = Value::object([
        ("directory", Value::from(to.display().to_string())),
        ("records", checkpoint.size.into()),
        ("key", verifier.to_string().into()),
    ]);
    let text = format!(
        "wrote {} records to {}\nverifier key  {verifier}",
        checkpoint.size,
        to.display()
    );
    session.output.thing(&answer, &text)
}

/// Derives every decision again from the facts in its record and the policies that it names.
pub(crate) fn replay(session: &Session) -> Result<(), Problem> {
    let archive = database(&session.state_of_a_server()?)?;
    let report = ambit_engine::replay_all(&archive, &compile()).map_err(unfounded)?;
    for index in &report.different {
        session.output.line(&format!(
            "record {index}: another answer follows; see `ambit log show {index}`"
        ))?;
    }
    if !report.different.is_empty() {
        let count = report.different.len();
        return Err(Problem::CheckFailed(format!(
            "{count} decisions do not follow from their facts"
        )));
    }
    let answer = Value::object([("decisions", Value::from(report.same))]);
    let ok = session.output.paint(Tone::Good, "ok");
    let text = format!(
        "{ok} {} decisions follow again from their recorded facts",
        report.same
    );
    session.output.thing(&answer, &text)
}

pub(super) fn unfounded(error: RebuildError) -> Problem {
    Problem::failed("derive anything from the log", error)
}

fn told(session: &Session, source: &impl TileSource, trusted: &Trusted) -> Result<(), Problem> {
    let verified_against = |known: Option<&Checkpoint>| {
        let verified = verify(source, &trusted.key, known);
        verified.map_err(|error| Problem::CheckFailed(error.to_string()))
    };
    let (first, others) = match trusted.known.split_first() {
        Some((first, others)) => (Some(first), others),
        None => (None, &[][..]),
    };
    let verified = verified_against(first)?;
    for known in others {
        verified_against(Some(known))?;
    }
    let time =
        |at: Option<ambit_core::Timestamp>| at.map_or(Value::Null, |at| at.to_string().into());
    let answer = Value::object([
        ("origin", Value::from(verified.checkpoint.origin.as_str())),
        ("records", verified.checkpoint.size.into()),
        ("root", verified.checkpoint.root.to_string().into()),
        ("first_at", time(verified.first_at)),
        ("last_at", time(verified.last_at)),
        ("open_acts", (verified.open_acts.len() as u64).into()),
        ("settled_acts", verified.settled_acts.into()),
        (
            "open",
            verified
                .open_acts
                .iter()
                .map(|(it, _)| it.to_string())
                .collect(),
        ),
        ("key", trusted.key.to_string().into()),
        ("key_from", trusted.key_from.as_str().into()),
        (
            "continues",
            trusted.known.iter().map(|it| it.size).collect(),
        ),
    ]);
    let ok = session.output.paint(Tone::Good, "OK");
    let text = format!(
        "{ok} {}: {} records from {} to {}\n   every record, hash and signature holds; {} without \
         a known outcome, {} settled by people\n   key {}",
        cell(&answer, "origin"),
        verified.checkpoint.size,
        cell(&answer, "first_at"),
        cell(&answer, "last_at"),
        counted(verified.open_acts.len(), "act"),
        verified.settled_acts,
        trusted.key_from,
    );
    let text = trusted.known.iter().fold(text, |text, known| {
        format!(
            "{text}\n   continues the known checkpoint of size {}",
            known.size
        )
    });
    let open = verified.open_acts.iter().take(OPEN_ACTS_SHOWN);
    let text = open.fold(text, |text, (decision, task)| {
        format!("{text}\n   unknown: {decision} of {task}; ask its server, see `ambit log why {decision}`, then `ambit log settle` it")
    });
    session.output.thing(&answer, &text)
}

/// Returns the servers of `estate` whose credentials are not sealed in the state directory; nothing where no server has
/// been, or where it can't be read: then only the server knows.
pub(crate) fn unsealed_here(session: &Session, estate: &Estate) -> Vec<Unsealed> {
    let Ok(archive) = session.state_of_a_server().and_then(|it| database(&it)) else {
        return Vec::new();
    };
    unsealed(&archive, estate).unwrap_or_default()
}

pub(super) fn database(state: &StateDirectory) -> Result<SqliteArchive, Problem> {
    if !state.database().exists() {
        return Err(Problem::NotFound(format!(
            "the log in {} is gone; `ambit recover` opens a new one",
            state.root().display()
        )));
    }
    open_to_read(&state.database(), TABLES).map_err(|error| {
        Problem::failed(format!("open the log in {}", state.root().display()), error)
    })
}

fn read_key(path: &Path) -> Result<VerifierKey, Problem> {
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::io(
            format!(
                "read the verifier key {}; give it with --key",
                path.display()
            ),
            error,
        )
    })?;
    let key = text.trim().parse();
    key.map_err(|error: ambit_audit::KeyError| {
        Problem::failed(format!("use the verifier key {}", path.display()), error)
    })
}

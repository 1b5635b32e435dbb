//! What needs no server: verifying, exporting and rebuilding a log from files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use ambit_audit::{Directory, TileSource, VerifierKey, VerifyError, decode, export, verify};
use ambit_core::json::Value;
use ambit_engine::{Archive, State, TABLES};
use ambit_store::{ArchiveTiles, SqliteArchive, open_to_read};

use super::Session;
use crate::{
    config::StateDirectory,
    output::{Tone, cell},
    problem::Problem,
    serve::keys,
};

/// The file of the verifier key in an exported log.
const KEY_FILE: &str = "log.vkey";
/// How many leaves are read at once.
const LEAVES_AT_ONCE: usize = 1024;

/// Verifies the log in `directory`, or the one in the state directory.
pub(crate) fn check(
    session: &Session,
    directory: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<(), Problem> {
    if let Some(directory) = directory {
        let path = key.unwrap_or_else(|| directory.join(KEY_FILE));
        return told(session, &Directory::new(&directory), &read_key(&path)?);
    }
    let state = session.state()?;
    let verifier = match key {
        Some(path) => read_key(&path)?,
        None => {
            keys::verifier(&state).map_err(|error| Problem::failed("read the log's key", error))?
        }
    };
    told(session, &ArchiveTiles(&database(&state)?), &verifier)
}

/// Writes the log in the state directory as files.
pub(crate) fn write(session: &Session, to: &Path) -> Result<(), Problem> {
    let state = session.state()?;
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

/// Folds the whole log again and compares the tables.
pub(crate) fn rebuild(session: &Session) -> Result<(), Problem> {
    let archive = database(&session.state()?)?;
    let failed = |error| Problem::failed("read the log", error);
    let size = archive.size().map_err(failed)?;
    let folded = fold(&archive, size)?;
    let mut differing = Vec::new();
    let mut rows = 0;
    for table in TABLES {
        let kept: BTreeMap<_, _> = archive.rows(table).map_err(failed)?.into_iter().collect();
        rows += kept.len();
        let again = folded.get(*table).cloned().unwrap_or_default();
        let keys = kept
            .keys()
            .chain(again.keys())
            .filter(|key| kept.get(*key) != again.get(*key));
        differing.extend(keys.map(|key| format!("{table}: {key}")));
    }
    differing.sort();
    differing.dedup();
    for line in &differing {
        session.output.line(line)?;
    }
    if !differing.is_empty() {
        let count = differing.len();
        return Err(Problem::CheckFailed(format!(
            "{count} rows do not follow from the log"
        )));
    }
    let answer = Value::object([
        ("records", Value::from(size)),
        ("rows", (rows as u64).into()),
    ]);
    let ok = session.output.paint(Tone::Good, "ok");
    let text = format!("{ok} {size} records give the same {rows} rows, byte for byte");
    session.output.thing(&answer, &text)
}

type Tables = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

fn fold(archive: &dyn Archive, size: u64) -> Result<Tables, Problem> {
    let mut state = State::empty();
    let mut tables = Tables::new();
    let mut index = 0;
    while index < size {
        let leaves = archive
            .leaves(index, LEAVES_AT_ONCE)
            .map_err(|error| Problem::failed("read the log", error))?;
        if leaves.is_empty() {
            return Err(Problem::CheckFailed(format!("record {index} is missing")));
        }
        for leaf in leaves {
            let record = decode(&leaf)
                .map_err(|error| Problem::failed(format!("read record {index}"), error))?;
            state
                .apply(index, &record)
                .map_err(|error| Problem::failed(format!("fold record {index}"), error))?;
            index += 1;
        }
        for change in state.take_rows() {
            let table = tables.entry(change.table).or_default();
            match change.value {
                Some(value) => table.insert(change.key, value),
                None => table.remove(&change.key),
            };
        }
    }
    Ok(tables)
}

fn told(session: &Session, source: &impl TileSource, key: &VerifierKey) -> Result<(), Problem> {
    let verified = verify(source, key, None).map_err(|error| match error {
        VerifyError::Damage(damage) => {
            Problem::CheckFailed(format!("the log is damaged: {damage}"))
        }
        VerifyError::Source(_) | VerifyError::NoCheckpoint | VerifyError::Checkpoint(_) => {
            Problem::CheckFailed(error.to_string())
        }
    })?;
    let time =
        |at: Option<ambit_core::Timestamp>| at.map_or(Value::Null, |at| at.to_string().into());
    let answer = Value::object([
        ("origin", Value::from(verified.checkpoint.origin.as_str())),
        ("records", verified.checkpoint.size.into()),
        ("root", verified.checkpoint.root.to_string().into()),
        ("first_at", time(verified.first_at)),
        ("last_at", time(verified.last_at)),
        ("open_acts", verified.open_acts.into()),
    ]);
    let ok = session.output.paint(Tone::Good, "OK");
    let text = format!(
        "{ok} {}: {} records from {} to {}\n   every record, hash and signature holds; {} acts without \
         a known outcome",
        cell(&answer, "origin"),
        verified.checkpoint.size,
        cell(&answer, "first_at"),
        cell(&answer, "last_at"),
        verified.open_acts,
    );
    session.output.thing(&answer, &text)
}

fn database(state: &StateDirectory) -> Result<SqliteArchive, Problem> {
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

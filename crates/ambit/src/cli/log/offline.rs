//! What needs no server: verifying, exporting and rebuilding a log from files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use ambit_audit::{Directory, TileSource, VerifierKey, VerifyError, export, verify};
use ambit_core::json::Value;
use ambit_engine::{Archive, RebuildError, TABLES};
use ambit_store::{ArchiveTiles, SqliteArchive, open_to_read};

use super::Session;
use crate::{
    config::StateDirectory,
    output::{Tone, cell},
    problem::Problem,
    serve::{engine::compile, keys},
};

/// The file of the verifier key in an exported log.
const KEY_FILE: &str = "log.vkey";

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
    let rebuilt = ambit_engine::rebuild(&archive).map_err(unfounded)?;
    let failed = |error| Problem::failed("read the log", error);
    let mut differing = BTreeSet::new();
    let mut rows = 0;
    for (table, again) in &rebuilt.tables {
        let kept: BTreeMap<_, _> = archive.rows(table).map_err(failed)?.into_iter().collect();
        rows += kept.len();
        let keys = kept.keys().chain(again.keys());
        let keys = keys.filter(|key| kept.get(*key) != again.get(*key));
        differing.extend(keys.map(|key| format!("{table}: {key}")));
    }
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
        ("records", Value::from(rebuilt.records)),
        ("rows", (rows as u64).into()),
        ("digest", rebuilt.digest.to_string().into()),
    ]);
    let ok = session.output.paint(Tone::Good, "ok");
    let text = format!(
        "{ok} {} records give the same {rows} rows, byte for byte",
        rebuilt.records
    );
    session.output.thing(&answer, &text)
}

/// Derives every decision again from the facts in its record and the policies that it names.
pub(crate) fn replay(session: &Session) -> Result<(), Problem> {
    let archive = database(&session.state()?)?;
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

fn unfounded(error: RebuildError) -> Problem {
    Problem::failed("derive anything from the log", error)
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

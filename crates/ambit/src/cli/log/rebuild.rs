//! The folded tables held against the log, and written anew when they do not follow from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use ambit_audit::verify;
use ambit_core::json::Value;
use ambit_engine::{Archive, Rebuilt, TABLES};
use ambit_store::{ArchiveTiles, Keeping, Table, create_or_open};

use super::{
    super::{Session, tasks::counted},
    offline::{database, marked, unfounded},
};
use crate::{config::StateDirectory, output::Tone, problem::Problem, serve::keys};

/// What becomes of tables that do not follow from the log.
#[derive(Clone, Debug)]
pub(crate) enum Tables {
    /// They are told, and stay.
    Compare,
    /// They are written anew from the log, which must reach the rollback mark in this file.
    Write {
        /// Where the mark is, when it is not in the state directory.
        mark: Option<PathBuf>,
    },
}

/// Folds the whole log again and compares the tables.
pub(crate) fn rebuild(session: &Session, tables: &Tables) -> Result<(), Problem> {
    let state = session.state_of_a_server()?;
    let archive = database(&state)?;
    let rebuilt = ambit_engine::rebuild(&archive).map_err(unfounded)?;
    let differing = differing(&archive, &rebuilt)?;
    for line in &differing {
        session.output.line(line)?;
    }
    match tables {
        Tables::Compare if !differing.is_empty() => Err(Problem::CheckFailed(format!(
            "{} not follow from the log; stop the server, run `ambit log verify`, and write the tables anew with \
             `ambit log rebuild --write`",
            did(differing.len())
        ))),
        Tables::Write { mark } if !differing.is_empty() => {
            drop(archive);
            write(&state, mark.clone(), &rebuilt)?;
            told(session, &rebuilt, &differing)
        }
        Tables::Compare | Tables::Write { .. } => told(session, &rebuilt, &differing),
    }
}

fn did(rows: usize) -> String {
    let verb = if rows == 1 { "does" } else { "do" };
    format!("{} {verb}", counted(rows, "row"))
}

/// Returns the rows that are not as the log says, as `TABLE: KEY`.
fn differing(archive: &impl Archive, rebuilt: &Rebuilt) -> Result<BTreeSet<String>, Problem> {
    let mut differing = BTreeSet::new();
    for (table, again) in &rebuilt.tables {
        let kept = archive.rows(table);
        let kept = kept.map_err(|error| Problem::failed("read the tables", error))?;
        let kept: BTreeMap<_, _> = kept.into_iter().collect();
        let keys = kept.keys().chain(again.keys());
        let keys = keys.filter(|key| kept.get(*key) != again.get(*key));
        differing.extend(keys.map(|key| format!("{table}: {key}")));
    }
    Ok(differing)
}

/// Writes the tables, of a log that is whole and reaches its mark. No server may have it open.
fn write(state: &StateDirectory, mark: Option<PathBuf>, rebuilt: &Rebuilt) -> Result<(), Problem> {
    let verifier = keys::verifier(state);
    let verifier = verifier.map_err(|error| Problem::failed("read the log's key", error))?;
    let mark = mark.unwrap_or_else(|| state.mark());
    let known = marked(&mark, &verifier)?;
    verify(&ArchiveTiles(&database(state)?), &verifier, Some(&known))
        .map_err(|error| Problem::CheckFailed(error.to_string()))?;
    let keeping = Keeping {
        path: state.database(),
        mark,
        tables: TABLES,
        verifier,
        vfs: None,
    };
    let failed = |error| Problem::failed("write the tables", error);
    let (mut writer, _) = create_or_open(&keeping).map_err(failed)?;
    let rows = |rows: &BTreeMap<String, Vec<u8>>| {
        let rows = rows.iter();
        rows.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let tables: Vec<_> = rebuilt
        .tables
        .iter()
        .map(|(name, kept)| Table {
            name,
            rows: rows(kept),
        })
        .collect();
    writer.replace_rows(&tables).map_err(failed)
}

fn told(session: &Session, rebuilt: &Rebuilt, written: &BTreeSet<String>) -> Result<(), Problem> {
    let rows: usize = rebuilt.tables.values().map(BTreeMap::len).sum();
    let answer = Value::object([
        ("records", Value::from(rebuilt.records)),
        ("rows", (rows as u64).into()),
        ("written", (written.len() as u64).into()),
        ("digest", rebuilt.digest.to_string().into()),
    ]);
    let ok = session.output.paint(Tone::Good, "ok");
    let text = match written.len() {
        0 => format!(
            "{ok} {} records give the same {rows} rows, byte for byte",
            rebuilt.records
        ),
        count => format!(
            "{ok} {} not follow from the log; the tables are written anew from {} records",
            did(count),
            rebuilt.records
        ),
    };
    session.output.thing(&answer, &text)
}

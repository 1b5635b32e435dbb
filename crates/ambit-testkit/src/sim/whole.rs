//! What must hold of a store as a whole: the log verifies, and the tables are its fold.

use std::collections::BTreeMap;

use ambit_audit::{VerifierKey, decode, verify};
use ambit_core::record::{Body, Record};
use ambit_engine::{Archive, State, TABLES};
use ambit_store::ArchiveTiles;

use super::laws::{Broken, ensure};

/// Returns every record of the log.
///
/// # Errors
/// One can't be read.
pub fn records(archive: &dyn Archive, first: u64) -> Result<Vec<(Vec<u8>, Record)>, Broken> {
    let size = archive.size().map_err(words)?;
    let count = usize::try_from(size.saturating_sub(first)).map_err(words)?;
    let leaves = archive.leaves(first, count).map_err(words)?;
    ensure(leaves.len() == count, || {
        format!("{count} leaves are {}", leaves.len())
    })?;
    let read = |leaf: Vec<u8>| decode(&leaf).map(|it| (leaf, it)).map_err(words);
    leaves.into_iter().map(read).collect()
}

/// Checks that the log verifies, and that its fold is what the tables say, byte for byte.
///
/// # Errors
/// What does not hold.
pub fn check_whole(archive: &dyn Archive, key: &VerifierKey) -> Result<(), Broken> {
    let size = archive.size().map_err(words)?;
    if size == 0 {
        return Ok(());
    }
    let verified = verify(&ArchiveTiles(archive), key, None).map_err(words)?;
    ensure(verified.checkpoint.size == size, || {
        "the checkpoint has another size".to_owned()
    })?;
    let (state, rebuilt) = rebuild(archive)?;
    for table in TABLES {
        let stored = archive.rows(table).map_err(words)?;
        let fold: Vec<_> = rebuilt
            .iter()
            .filter(|((it, _), _)| it == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        ensure(stored == fold, || differing(table, &stored, &fold))?;
    }
    let loaded = State::load(archive).map_err(words)?;
    ensure(loaded.digest() == state.digest(), || {
        "the digests of the tables and of the fold differ".to_owned()
    })
}

type Rows = BTreeMap<(&'static str, String), Vec<u8>>;

fn rebuild(archive: &dyn Archive) -> Result<(State, Rows), Broken> {
    let (mut state, mut rows) = (State::empty(), Rows::new());
    for (index, (_, record)) in (0..).zip(records(archive, 0)?) {
        if let Body::StateDigest { digest } = record.body {
            ensure(digest == state.digest(), || {
                format!("record {index} is not the digest of the state before it")
            })?;
        }
        state.apply(index, &record).map_err(words)?;
        for row in state.take_rows() {
            match row.value {
                Some(value) => rows.insert((row.table, row.key), value),
                None => rows.remove(&(row.table, row.key)),
            };
        }
    }
    Ok((state, rows))
}

fn differing(table: &str, stored: &[(String, Vec<u8>)], fold: &[(String, Vec<u8>)]) -> Broken {
    let text = |rows: &[(String, Vec<u8>)], others: &[(String, Vec<u8>)]| {
        let only = rows.iter().filter(|it| !others.contains(it));
        let only = only.map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value)));
        only.collect::<Vec<_>>().join("; ")
    };
    format!(
        "table {table} is not the fold of the log: stored [{}], fold [{}]",
        text(stored, fold),
        text(fold, stored)
    )
}

/// Returns an error with its causes.
pub(super) fn words(error: impl std::error::Error) -> Broken {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

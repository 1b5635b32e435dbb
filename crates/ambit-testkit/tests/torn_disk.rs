//! The log on a disk that loses power: nothing acknowledged is lost, and what is left verifies.

#![cfg(test)]

use std::path::Path;

use ambit_audit::{Attachment, Log, LogKey, Resume, RowChange, TILE_WIDTH, VerifierKey, verify};
use ambit_core::{Digest, Timestamp, id::Id, record::Body};
use ambit_engine::Archive;
use ambit_store::{ArchiveTiles, Keeping, SqliteArchive, SqliteWriter, create_or_open};
use ambit_testkit::TornDisk;

const ORIGIN: &str = "example.org/log";
/// How many seeds the tests try; `cargo xtask crash` gives more.
const SEEDS: u64 = 50;
/// How many losses of power each seed has.
const LOSSES: u64 = 6;

/// What one run has been promised.
#[derive(Default)]
struct Promised {
    /// The keys of the acknowledged rows, in order: one for each record but the first.
    rows: Vec<String>,
    records: u64,
}

#[test]
fn no_acknowledged_record_is_lost() {
    let seeds = option_env!("AMBIT_CRASH_SEEDS").and_then(|it| it.parse().ok());
    let mut losses = 0;
    for seed in 0..seeds.unwrap_or(SEEDS) {
        losses += run(seed);
    }
    assert!(losses > SEEDS, "hardly any run lost power: {losses}");
}

fn run(seed: u64) -> u64 {
    let disk = TornDisk::new(seed).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut promised = Promised::default();
    let mut losses = 0;
    for life in 0..LOSSES {
        disk.fail_after(disk.below(40 + 60 * life));
        let finished = live(&disk, directory.path(), &mut promised, seed);
        losses += u64::from(finished.is_err());
        disk.restart();
        check(&disk, directory.path(), &promised, seed);
    }
    losses
}

/// Opens the log and appends until the power fails, or to a clean halt.
fn live(
    disk: &TornDisk,
    directory: &Path,
    promised: &mut Promised,
    seed: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let (writer, archive) = open(disk, directory)?;
    let mut log = resume(writer, &archive)?;
    for _ in 0..disk.below(12) + 1 {
        let mut batch = log.begin(Timestamp::from_millis(log.size()))?;
        let mut rows = Vec::new();
        if log.size() == 0 {
            batch.add(Body::LogOpened {
                origin: ORIGIN.to_owned(),
                recovered: None,
            })?;
        }
        for _ in 0..disk.below(90) + 1 {
            let number = log.size() + batch.len() as u64;
            let person = Id::from_bits(u128::from(seed) << 64 | u128::from(number));
            batch.add(Body::PersonKnown { person })?;
            rows.push(RowChange {
                table: "people",
                key: person.to_string(),
                value: Some(number.to_be_bytes().to_vec()),
            });
        }
        let bytes = vec![seed as u8; disk.below(60_000) as usize];
        let blob = Attachment::Blob {
            leaf: log.size(),
            id: Digest::of(&bytes),
            task: None,
            bytes,
        };
        let committed = log.commit(batch, rows.clone(), vec![blob])?;
        promised.rows.extend(rows.into_iter().map(|row| row.key));
        promised.records = committed.size();
    }
    // What was written moves into the database when the log closes; the power may fail then too.
    drop(log);
    drop(archive);
    Ok(())
}

/// Checks the promise after the power is back.
fn check(disk: &TornDisk, directory: &Path, promised: &Promised, seed: u64) {
    let (writer, archive) = open(disk, directory).unwrap_or_else(|error| {
        panic!("seed {seed}: {error}");
    });
    let size = archive.size().unwrap();
    assert!(size >= promised.records, "seed {seed}: {size} records");
    let rows = archive.rows("people").unwrap();
    assert_eq!(
        rows.len() as u64,
        size.saturating_sub(1),
        "seed {seed}: rows are the records' fold"
    );
    for key in &promised.rows {
        assert!(
            archive.row("people", key).unwrap().is_some(),
            "seed {seed}: {key}"
        );
    }
    if size > 0 {
        let verified = verify(&ArchiveTiles(&archive), &verifier(), None);
        let verified = verified.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(verified.checkpoint.size, size);
    }
    resume(writer, &archive).unwrap();
}

fn open(
    disk: &TornDisk,
    directory: &Path,
) -> Result<(SqliteWriter, SqliteArchive), ambit_store::StoreError> {
    create_or_open(&Keeping {
        path: directory.join("ambit.db"),
        mark: directory.join("mark"),
        tables: &["people"],
        verifier: verifier(),
        vfs: Some(disk.vfs().to_owned()),
    })
}

fn resume(
    writer: SqliteWriter,
    archive: &SqliteArchive,
) -> Result<Log<SqliteWriter>, Box<dyn std::error::Error>> {
    let resume = Resume::from_archive(
        archive.size()?,
        archive.checkpoint()?,
        |first, count| archive.leaves(first, count),
        |level, index| archive.tile(level, index, TILE_WIDTH),
    )?;
    Ok(Log::open(writer, key(), ORIGIN.to_owned(), resume)?)
}

fn key() -> LogKey {
    LogKey::from_seed(&[9; 32]).unwrap()
}

fn verifier() -> VerifierKey {
    key().verifier(ORIGIN).unwrap()
}

//! Databases and marks that must not be acted upon, and what is said of each.

#![cfg(test)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ambit_audit::{Log, LogKey, Resume, TILE_WIDTH, VerifierKey, verify};
use ambit_core::{Timestamp, id::Id, record::Body};
use ambit_engine::Archive;
use ambit_store::{
    ArchiveTiles, Keeping, SqliteArchive, SqliteWriter, StoreError, create_or_open, open_to_read,
};

const ORIGIN: &str = "example.org/log";
const TABLES: &[&str] = &["tasks"];

/// A database in a directory of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("ambit.db")
    }

    fn mark(&self) -> PathBuf {
        self.0.path().join("mark")
    }

    fn open(&self) -> Result<(SqliteWriter, SqliteArchive), StoreError> {
        create_or_open(&Keeping {
            path: self.database(),
            mark: self.mark(),
            tables: TABLES,
            verifier: verifier(),
            vfs: None,
        })
    }

    /// Appends records to the log and closes it. Each `flavour` makes other records.
    fn append(&self, count: u64, flavour: u64) {
        let (writer, archive) = self.open().unwrap();
        let mut log = resume(writer, &archive);
        let mut batch = log.begin(Timestamp::from_millis(1)).unwrap();
        for number in 0..count {
            if log.size() + number == 0 {
                let opened = Body::LogOpened {
                    origin: ORIGIN.to_owned(),
                    recovered: None,
                };
                batch.add(opened).unwrap();
                continue;
            }
            let number = log.size() + number;
            let person = Id::from_bits(u128::from(flavour) << 64 | u128::from(number));
            batch.add(Body::PersonKnown { person }).unwrap();
        }
        log.commit(batch, Vec::new(), Vec::new()).unwrap();
    }

    /// Checks that the database is refused with these words, and that they say what to do.
    fn refused(&self, words: &[&str]) {
        let refused = self.open().expect_err("it was opened").to_string();
        for word in words {
            assert!(refused.contains(word), "{word}: {refused}");
        }
    }
}

fn resume(writer: SqliteWriter, archive: &SqliteArchive) -> Log<SqliteWriter> {
    let resume = Resume::from_archive(
        archive.size().unwrap(),
        archive.checkpoint().unwrap(),
        |first, count| archive.leaves(first, count),
        |level, index| archive.tile(level, index, TILE_WIDTH),
    )
    .unwrap();
    Log::open(writer, key(), ORIGIN.to_owned(), resume).unwrap()
}

fn key() -> LogKey {
    LogKey::from_seed(&[9; 32]).unwrap()
}

fn verifier() -> VerifierKey {
    key().verifier(ORIGIN).unwrap()
}

#[test]
fn an_older_database_is_refused() {
    let place = Place::new();
    place.append(5, 0);
    let older = fs::read(place.database()).unwrap();
    place.append(700, 0);
    fs::write(place.database(), older).unwrap();
    place.refused(&["rolled back", "5 records", "705", "ambit recover"]);
    fs::remove_file(place.database()).unwrap();
    place.refused(&["rolled back", "0 records", "ambit recover"]);
}

#[test]
fn a_missing_or_damaged_mark_is_refused() {
    let place = Place::new();
    place.append(5, 0);
    let good = fs::read(place.mark()).unwrap();
    fs::write(place.mark(), "nonsense").unwrap();
    place.refused(&["mark", "not a checkpoint", "ambit recover"]);
    fs::remove_file(place.mark()).unwrap();
    place.refused(&["mark", "missing", "ambit recover"]);
    fs::write(place.mark(), good).unwrap();
    place.open().unwrap();
}

#[test]
fn a_mark_of_another_history_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    place.append(5, 0);
    other.append(7, 1);
    fs::copy(place.mark(), other.mark()).unwrap();
    other.refused(&["first 5 records", "rewritten", "ambit recover"]);
}

#[test]
fn a_mark_that_lags_is_followed() {
    let place = Place::new();
    place.append(300, 0);
    let lagging = fs::read(place.mark()).unwrap();
    place.append(300, 0);
    let newest = fs::read(place.mark()).unwrap();
    assert_ne!(lagging, newest);
    fs::write(place.mark(), lagging).unwrap();
    drop(place.open().unwrap());
    assert_eq!(
        fs::read(place.mark()).unwrap(),
        newest,
        "it caught up at the start"
    );
}

#[test]
fn a_crash_right_after_the_first_commit_leaves_a_log_that_opens() {
    let place = Place::new();
    drop(place.open().unwrap());
    let before = fs::read(place.mark()).unwrap();
    place.append(1, 0);
    fs::write(place.mark(), before).unwrap();
    place.append(1, 0);
}

#[test]
fn a_second_writer_is_refused() {
    let place = Place::new();
    let held = place.open().unwrap();
    place.refused(&["in use by another ambit", "stop that one"]);
    drop(held);
    place.open().unwrap();
}

#[test]
fn others_may_read_while_one_writes() {
    let place = Place::new();
    place.append(5, 0);
    let (writer, archive) = place.open().unwrap();
    let reader = open_to_read(&place.database(), TABLES).unwrap();
    let mut log = resume(writer, &archive);
    let mut batch = log.begin(Timestamp::from_millis(1)).unwrap();
    let person = Id::from_bits(1);
    batch.add(Body::PersonKnown { person }).unwrap();
    log.commit(batch, Vec::new(), Vec::new()).unwrap();
    assert_eq!((reader.size().unwrap(), archive.size().unwrap()), (6, 6));
    verify(&ArchiveTiles(&reader), &verifier(), None).unwrap();
}

#[test]
fn a_database_of_others_is_refused() {
    let place = Place::new();
    let other = rusqlite::Connection::open(place.database()).unwrap();
    other.execute_batch("CREATE TABLE notes (text)").unwrap();
    place.refused(&["not one of ambit's"]);

    for (version, told) in [(1, "schema version 1"), (3, "schema version 3")] {
        let place = Place::new();
        place.append(1, 0);
        let ours = rusqlite::Connection::open(place.database()).unwrap();
        ours.pragma_update(None, "user_version", version).unwrap();
        drop(ours);
        place.refused(&[told, "reads version 2"]);
    }
}

#[test]
fn a_damaged_database_is_refused_or_its_damage_found() {
    let place = Place::new();
    place.append(700, 0);
    let good = fs::read(place.database()).unwrap();
    let damaged = |offset: usize, count: usize| {
        let mut bytes = good.clone();
        bytes[offset..offset + count]
            .iter_mut()
            .for_each(|it| *it ^= 0x55);
        fs::write(place.database(), bytes).unwrap();
    };
    damaged(0, 16);
    place.refused(&["corrupt", "keep a copy"]);
    // Within the text of one record: only its hash shows it.
    let needle = b"person_0000000000000000000000004j";
    let offset = good
        .windows(needle.len())
        .position(|it| it == needle)
        .unwrap();
    damaged(offset + needle.len() - 1, 1);
    let archive = open_to_read(&place.database(), TABLES).unwrap();
    let refused = verify(&ArchiveTiles(&archive), &verifier(), None).unwrap_err();
    let index = 0x4 * 32 + 18;
    assert!(
        refused.to_string().contains(&format!("record {index} ")),
        "{refused}"
    );
    // Every page in turn: an error, or damage found, or nothing lost; never a panic.
    for page in 1..good.len() / 4096 {
        damaged(page * 4096, 64);
        if let Ok(archive) = open_to_read(&place.database(), TABLES) {
            drop(verify(&ArchiveTiles(&archive), &verifier(), None));
        }
        drop(place.open());
    }
}

#[test]
fn a_database_that_cannot_be_made_is_refused() {
    let place = Place::new();
    let opened = create_or_open(&Keeping {
        path: place.0.path().join("no/such/place.db"),
        mark: place.mark(),
        tables: TABLES,
        verifier: verifier(),
        vfs: None,
    });
    let refused = opened.expect_err("it was opened").to_string();
    assert!(refused.contains("no/such/place.db"), "{refused}");
    assert!(open_to_read(&place.database(), TABLES).is_err());
}

#[test]
fn files_are_for_their_owner_alone() {
    let place = Place::new();
    let held = place.open().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for entry in fs::read_dir(place.0.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(held);
    fs::set_permissions(place.database(), fs::Permissions::from_mode(0o644)).unwrap();
    drop(place.open().unwrap());
    assert_eq!(mode(&place.database()), 0o600, "it was tightened");
}

use std::sync::atomic::{AtomicU32, Ordering};

use ambit_audit::LogKey;

use super::{
    transfer::{TRANSFER_PAGES, WAL_PAGES_MAX},
    *,
};

fn open(directory: &Path) -> (SqliteWriter, SqliteArchive) {
    let key = LogKey::from_seed(&[9; 32]).unwrap();
    create_or_open(&Keeping {
        path: directory.join("ambit.db"),
        mark: directory.join("mark"),
        tables: &["tasks"],
        verifier: key.verifier("example.org/log").unwrap(),
        vfs: None,
    })
    .unwrap()
}

fn commit(writer: &mut SqliteWriter, bytes: usize) -> Result<(), StoreError> {
    let leaves = [vec![b'x'; bytes]];
    writer.write(&Commit {
        first_index: writer.size,
        leaves: &leaves,
        tiles: &[],
        rows: &[],
        attachments: &[],
        checkpoint: "note",
    })
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, archive) = open(directory.path());
    commit(&mut writer, 100).unwrap();
    // SQLite's own bound on the file gives the error that a full disk gives.
    let pages: i64 = {
        let connection = held(&writer.connection);
        let count = "page_count";
        connection
            .pragma_query_value(None, count, |row| row.get(0))
            .unwrap()
    };
    let bound = |writer: &SqliteWriter, pages: i64| {
        let set = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let connection = held(&writer.connection);
        connection
            .pragma_update_and_check(None, "max_page_count", pages, set)
            .unwrap();
    };
    bound(&writer, pages);
    let refused = commit(&mut writer, 60_000).unwrap_err();
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("free some space"), "{refused}");
    assert_eq!(archive.size().unwrap(), 1);
    bound(&writer, 1_000_000);
    commit(&mut writer, 60_000).unwrap();
    assert_eq!(archive.size().unwrap(), 2);
}

#[test]
fn a_read_only_database_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, archive) = open(directory.path());
    let read_only = |writer: &SqliteWriter, truth: bool| {
        held(&writer.connection)
            .pragma_update(None, "query_only", truth)
            .unwrap();
    };
    read_only(&writer, true);
    let refused = commit(&mut writer, 100).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    assert!(refused.to_string().contains("let ambit write"), "{refused}");
    assert_eq!(archive.size().unwrap(), 0);
    read_only(&writer, false);
    commit(&mut writer, 100).unwrap();
}

#[test]
fn a_mark_that_cannot_be_written_stops_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, _archive) = open(directory.path());
    writer.mark = Mark::at(directory.path().join("no/such/mark"));
    let refused = commit(&mut writer, 100).unwrap_err();
    assert!(matches!(refused, StoreError::File { .. }), "{refused}");
}

#[test]
fn every_commit_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, _archive) = open(directory.path());
    let connection = held(&writer.connection);
    let text = |name| -> String {
        let value = connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        format!("{:?}", value.unwrap())
    };
    assert_eq!(text("journal_mode"), r#"Text("wal")"#);
    assert_eq!(text("synchronous"), "Integer(2)", "FULL");
}

/// Commits until the write-ahead log has at least `pages` pages, and returns how many it has.
fn fill(writer: &mut SqliteWriter, transfer: &Arc<AtomicU32>, pages: u32) -> u32 {
    loop {
        let found = transfer.load(Ordering::Acquire);
        if found >= pages {
            return found;
        }
        commit(writer, 60_000).unwrap();
    }
}

/// How many pages one commit of [`fill`] writes at most.
const COMMIT_PAGES: u32 = 32;

#[test]
fn the_thread_moves_the_write_ahead_log() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, archive) = open(directory.path());
    let pages = writer.transfer.as_ref().unwrap().pages();
    fill(&mut writer, &pages, TRANSFER_PAGES - COMMIT_PAGES);
    let before = fs::metadata(directory.path().join("ambit.db")).unwrap();
    assert!(before.len() < 100_000, "nothing moves too soon");
    while pages.load(Ordering::Acquire) < TRANSFER_PAGES {
        commit(&mut writer, 60_000).unwrap();
    }
    // Its end waits for what it was asked to do.
    drop(writer.transfer.take());
    assert_eq!(pages.load(Ordering::Acquire), 0);
    let after = fs::metadata(directory.path().join("ambit.db")).unwrap();
    assert!(
        after.len() > u64::from(TRANSFER_PAGES / 2) * 4096,
        "it moved"
    );
    commit(&mut writer, 100).unwrap();
    assert!(pages.load(Ordering::Acquire) < COMMIT_PAGES, "begun anew");
    assert_eq!(archive.size().unwrap(), writer.size);
}

#[test]
fn the_writer_bounds_the_write_ahead_log_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, archive) = open(directory.path());
    let transfer = writer.transfer.as_mut().unwrap();
    transfer.stall();
    let pages = transfer.pages();
    let most = u64::from(WAL_PAGES_MAX + COMMIT_PAGES) * (4096 + 24) + 32;
    let wal = directory.path().join("ambit.db-wal");
    fill(&mut writer, &pages, WAL_PAGES_MAX - COMMIT_PAGES);
    while pages.load(Ordering::Acquire) != 0 {
        commit(&mut writer, 60_000).unwrap();
        assert!(fs::metadata(&wal).unwrap().len() <= most);
    }
    assert!(fs::metadata(&wal).unwrap().len() > u64::from(WAL_PAGES_MAX) * 4096);
    commit(&mut writer, 100).unwrap();
    assert!(pages.load(Ordering::Acquire) < COMMIT_PAGES, "begun anew");
    assert_eq!(archive.size().unwrap(), writer.size);
}

#[test]
fn a_reader_who_holds_on_stops_no_commit() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, archive) = open(directory.path());
    let transfer = writer.transfer.as_mut().unwrap();
    transfer.stall();
    let pages = transfer.pages();
    commit(&mut writer, 100).unwrap();
    let reading = held(&archive.connection);
    reading
        .execute_batch("BEGIN; SELECT count(*) FROM leaves")
        .unwrap();
    let found = fill(&mut writer, &pages, WAL_PAGES_MAX);
    assert!(found >= WAL_PAGES_MAX, "the reader still needs it");
    commit(&mut writer, 100).unwrap();
    reading.execute_batch("COMMIT").unwrap();
    drop(reading);
    commit(&mut writer, 100).unwrap();
    assert_eq!(pages.load(Ordering::Acquire), 0);
    assert_eq!(archive.size().unwrap(), writer.size);
}

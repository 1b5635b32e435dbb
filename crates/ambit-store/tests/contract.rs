//! What every store promises, tried on both.

#![cfg(test)]

use ambit_audit::{
    Attachment, Commit, Directory, Durable, Log, LogKey, Resume, RowChange, TILE_WIDTH,
    VerifierKey, export, verify,
};
use ambit_core::{Digest, Timestamp, id::Id, record::Body};
use ambit_engine::Archive;
use ambit_store::{ArchiveTiles, Keeping, StoreError, Table, create_or_open, memory};

const ORIGIN: &str = "example.org/log";
const TABLES: &[&str] = &["tasks", "usage"];

/// The two ends of a store, and how it replaces folded rows.
struct Store<D, A> {
    writer: D,
    archive: A,
    replace: fn(&mut D, &[Table]) -> Result<(), StoreError>,
}

#[test]
fn memory_keeps_the_contract() {
    contract(|| {
        let (writer, archive) = memory(TABLES);
        Store {
            writer,
            archive,
            replace: |writer, tables| writer.replace_rows(tables),
        }
    });
}

#[test]
fn sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let mut stores = 0;
    contract(|| {
        stores += 1;
        let (writer, archive) = create_or_open(&Keeping {
            path: directory.path().join(format!("{stores}.db")),
            mark: directory.path().join(format!("{stores}.mark")),
            tables: TABLES,
            verifier: verifier(),
            vfs: None,
        })
        .unwrap();
        Store {
            writer,
            archive,
            replace: |writer, tables| writer.replace_rows(tables),
        }
    });
}

fn contract<D: Durable, A: Archive>(mut store: impl FnMut() -> Store<D, A>) {
    an_empty_store_has_nothing(&store());
    what_is_committed_is_read(store());
    the_last_change_of_a_row_counts(store());
    attachments_are_kept(store());
    a_refused_commit_changes_nothing(store());
    rows_are_replaced_as_a_whole(store());
}

fn an_empty_store_has_nothing<D, A: Archive>(store: &Store<D, A>) {
    let archive = &store.archive;
    assert_eq!(archive.size().unwrap(), 0);
    assert!(archive.leaves(0, 10).unwrap().is_empty());
    assert!(archive.tile(0, 0, TILE_WIDTH).unwrap().is_none());
    assert!(archive.tile(0, 0, 1).unwrap().is_none());
    assert!(archive.checkpoint().unwrap().is_none());
    assert!(archive.blob(0, Digest::of(b"")).unwrap().is_none());
    assert!(archive.rows("tasks").unwrap().is_empty());
    assert!(archive.row("tasks", "a").unwrap().is_none());
    assert!(archive.rows_before("tasks", "b", 9).unwrap().is_empty());
    assert!(archive.rows("leaves").is_err(), "not a folded table");
    assert!(archive.directory().unwrap().is_empty());
}

fn what_is_committed_is_read<D: Durable, A: Archive>(store: Store<D, A>) {
    let archive = &store.archive;
    let mut log = begin(store.writer);
    for count in [255, 1, 300, 200, 7] {
        append(&mut log, count, Vec::new(), Vec::new());
    }
    let size = log.size();
    assert_eq!((archive.size().unwrap(), size), (764, 764));
    assert_eq!(archive.leaves(0, 10_000).unwrap().len(), 764);
    assert_eq!(archive.leaves(760, 10).unwrap().len(), 4);
    assert!(archive.leaves(764, 1).unwrap().is_empty());
    assert!(archive.leaves(u64::MAX, 1).unwrap().is_empty());
    assert!(archive.tile(0, 1, TILE_WIDTH).unwrap().is_some());
    assert!(archive.tile(0, 2, TILE_WIDTH).unwrap().is_none());
    assert!(archive.tile(0, 2, 252).unwrap().is_some());
    assert!(archive.tile(0, 2, 253).unwrap().is_none());
    assert!(archive.tile(1, 0, 2).unwrap().is_some());
    assert!(archive.tile(1, 0, 3).unwrap().is_none());
    assert!(archive.tile(0, 0, 0).unwrap().is_none());
    assert!(archive.tile(0, 0, 257).unwrap().is_none());
    assert!(archive.tile(0, u64::MAX, 1).unwrap().is_none());
    let verified = verify(&ArchiveTiles(archive), &verifier(), None).unwrap();
    assert_eq!(verified.checkpoint, log.checkpoint());
    let files = tempfile::tempdir().unwrap();
    export(&ArchiveTiles(archive), files.path()).unwrap();
    let exported = verify(&Directory::new(files.path()), &verifier(), None).unwrap();
    assert_eq!(exported, verified);
}

fn the_last_change_of_a_row_counts<D: Durable, A: Archive>(store: Store<D, A>) {
    let mut log = begin(store.writer);
    let change = |table, key: &str, value: Option<&[u8]>| RowChange {
        table,
        key: key.to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    let rows = vec![
        change("tasks", "b", Some(b"1")),
        change("tasks", "a", Some(b"1")),
        change("tasks", "b", Some(b"2")),
        change("tasks", "c", Some(b"1")),
        change("tasks", "c", None),
        change("tasks", "never", None),
        change("usage", "a", Some(b"")),
    ];
    append(&mut log, 1, rows, Vec::new());
    let pair = |key: &str, value: &[u8]| (key.to_owned(), value.to_vec());
    let tasks = vec![pair("a", b"1"), pair("b", b"2")];
    assert_eq!(store.archive.rows("tasks").unwrap(), tasks);
    assert_eq!(store.archive.rows("usage").unwrap(), [pair("a", b"")]);
    assert_eq!(store.archive.row("tasks", "b").unwrap().unwrap(), b"2");
    let before = |key, count| store.archive.rows_before("tasks", key, count).unwrap();
    assert_eq!(before("~", 9), [pair("b", b"2"), pair("a", b"1")]);
    assert_eq!(before("~", 1), [pair("b", b"2")]);
    assert_eq!(before("b", 9), [pair("a", b"1")]);
    assert_eq!(before("a", 9), []);
    append(&mut log, 1, vec![change("tasks", "a", None)], Vec::new());
    assert_eq!(store.archive.rows("tasks").unwrap(), [pair("b", b"2")]);
}

fn attachments_are_kept<D: Durable, A: Archive>(store: Store<D, A>) {
    let archive = &store.archive;
    let mut log = begin(store.writer);
    let (task, person) = (Id::from_bits(7), Id::from_bits(8));
    let digest = Digest::of(b"bytes");
    let attachments = |generation: u8| {
        let leaf = u64::from(generation) - 1;
        vec![
            Attachment::Blob {
                leaf,
                id: digest,
                task: Some(task),
                bytes: b"bytes".to_vec(),
            },
            Attachment::TaskKey {
                task,
                wrapped: vec![generation],
            },
            Attachment::Directory {
                person,
                alias: format!("alias-{generation}"),
            },
            Attachment::Estate {
                digest,
                bytes: b"bytes".to_vec(),
            },
            Attachment::Secret {
                reference: "key".to_owned(),
                sealed: vec![generation],
            },
        ]
    };
    for generation in [1, 2] {
        append(&mut log, 1, Vec::new(), attachments(generation));
        let leaf = u64::from(generation) - 1;
        assert_eq!(archive.blob(leaf, digest).unwrap().unwrap(), b"bytes");
        assert!(archive.blob(leaf, Digest::of(b"")).unwrap().is_none());
        assert!(archive.blob(leaf + 1, digest).unwrap().is_none());
        assert_eq!(archive.task_key(task).unwrap().unwrap(), [generation]);
        let alias = format!("alias-{generation}");
        assert_eq!(archive.directory().unwrap(), [(person, alias)]);
        assert_eq!(archive.estate(digest).unwrap().unwrap(), b"bytes");
        assert_eq!(archive.secret("key").unwrap().unwrap(), [generation]);
    }
    assert!(archive.task_key(Id::from_bits(9)).unwrap().is_none());
    assert!(archive.secret("other").unwrap().is_none());
}

fn a_refused_commit_changes_nothing<D: Durable, A: Archive>(mut store: Store<D, A>) {
    let row = |table| RowChange {
        table,
        key: "a".to_owned(),
        value: Some(Vec::new()),
    };
    let leaves = [b"leaf".to_vec()];
    let refused = [
        (0, [row("tasks"), row("unknown")]),
        (1, [row("tasks"), row("tasks")]),
    ];
    for (first_index, rows) in refused {
        let commit = Commit {
            first_index,
            leaves: &leaves,
            tiles: &[],
            rows: &rows,
            attachments: &[],
            checkpoint: "note",
        };
        store.writer.commit(&commit).unwrap_err();
    }
    assert_eq!(store.archive.size().unwrap(), 0);
    assert!(store.archive.rows("tasks").unwrap().is_empty());
    assert!(store.archive.checkpoint().unwrap().is_none());
}

fn rows_are_replaced_as_a_whole<D: Durable, A: Archive>(mut store: Store<D, A>) {
    let table = |name, keys: &[&str]| Table {
        name,
        rows: keys
            .iter()
            .map(|key| ((*key).to_owned(), vec![1]))
            .collect(),
    };
    let keys = |name| -> Vec<String> {
        let rows = store.archive.rows(name).unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    };
    let writer = &mut store.writer;
    let both = [table("tasks", &["b", "a"]), table("usage", &["u"])];
    (store.replace)(writer, &both).unwrap();
    assert_eq!(
        (keys("tasks"), keys("usage")),
        (vec!["a".into(), "b".into()], vec!["u".into()])
    );
    (store.replace)(writer, &[table("tasks", &["c"])]).unwrap();
    assert_eq!(
        (keys("tasks"), keys("usage")),
        (vec!["c".into()], vec!["u".into()])
    );
    let unknown = [table("tasks", &[]), table("unknown", &[])];
    (store.replace)(writer, &unknown).unwrap_err();
    assert_eq!(keys("tasks"), ["c"]);
}

fn begin<D: Durable>(writer: D) -> Log<D> {
    let mut log = Log::open(writer, key(), ORIGIN.to_owned(), Resume::empty()).unwrap();
    let mut batch = log.begin(Timestamp::from_millis(1)).unwrap();
    let opened = Body::LogOpened {
        origin: ORIGIN.to_owned(),
        recovered: None,
    };
    batch.add(opened).unwrap();
    log.commit(batch, Vec::new(), Vec::new()).unwrap();
    log
}

fn append<D: Durable>(
    log: &mut Log<D>,
    count: u64,
    rows: Vec<RowChange>,
    attachments: Vec<Attachment>,
) {
    let mut batch = log.begin(Timestamp::from_millis(1)).unwrap();
    for number in 0..count {
        let person = Id::from_bits(number.into());
        batch.add(Body::PersonKnown { person }).unwrap();
    }
    log.commit(batch, rows, attachments).unwrap();
}

fn key() -> LogKey {
    LogKey::from_seed(&[9; 32]).unwrap()
}

fn verifier() -> VerifierKey {
    key().verifier(ORIGIN).unwrap()
}

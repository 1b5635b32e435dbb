//! The store in one SQLite database: write-ahead log, every commit synced, one writer.

mod archive;
mod schema;
mod transfer;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambit_audit::{
    Attachment, Checkpoint, Commit, Durable, DurableError, Edges, Resume, RowChange, Space, Tile,
    VerifierKey,
};
use ambit_engine::{Archive, ArchiveError};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::{
    StoreError,
    mark::Mark,
    reserve::{Released, Reserve},
};
use schema::{Tables, tile_key};
use transfer::Transfer;

/// How a database is kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The database file.
    pub path: PathBuf,
    /// The high-water mark; on another disk or machine it withstands more.
    pub mark: PathBuf,
    /// The folded tables.
    pub tables: &'static [&'static str],
    /// Checks the mark.
    pub verifier: VerifierKey,
    /// The SQLite VFS, when it is not the system's. Writer and archive share one connection then.
    pub vfs: Option<String>,
}

/// All rows of one folded table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its rows: keys and values.
    pub rows: Vec<(String, Vec<u8>)>,
}

/// The writing end of a database. There is one, in one process.
#[derive(Debug)]
pub struct SqliteWriter {
    connection: Arc<Mutex<Connection>>,
    /// None where one connection must do everything; SQLite moves its write-ahead log at commits then.
    transfer: Option<Transfer>,
    tables: Tables,
    size: u64,
    mark: Mark,
    newest: Option<String>,
    /// None on a VFS that is not the system's.
    reserve: Option<Reserve>,
    /// Held as long as the writer lives.
    _lock: File,
}

/// The reading end of a database.
#[derive(Clone, Debug)]
pub struct SqliteArchive {
    connection: Arc<Mutex<Connection>>,
    tables: Tables,
    edges: Arc<Mutex<Edges>>,
}

/// Opens the database, made new when it is not there, and checks it against its mark.
///
/// # Errors
/// Another process has it open, it is not Ambit's or of another version, it cannot be read or written, or it and its mark
/// do not agree.
pub fn create_or_open(keeping: &Keeping) -> Result<(SqliteWriter, SqliteArchive), StoreError> {
    let lock = lock(&keeping.path)?;
    if keeping.vfs.is_none() {
        make_private(&keeping.path)?;
    }
    // Before SQLite takes any room: what is kept from the last time is there already.
    let reserve = match keeping.vfs {
        Some(_) => None,
        None => Some(Reserve::open(&keeping.path)?),
    };
    let tables = Tables::new(keeping.tables)?;
    let writing = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = open(keeping, writing)?;
    schema::prepare(&mut connection, &tables, keeping.vfs.is_some())?;
    let writer = Arc::new(Mutex::new(connection));
    let (reader, transfer) = if keeping.vfs.is_some() {
        (Arc::clone(&writer), None)
    } else {
        let reader = open(keeping, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let moving = open(keeping, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let transfer = Transfer::start(&writer, moving)?;
        (Arc::new(Mutex::new(reader)), Some(transfer))
    };
    let archive = SqliteArchive {
        connection: reader,
        tables: tables.clone(),
        edges: Arc::default(),
    };
    let size = archive.count()?;
    let mut mark = Mark::at(&keeping.mark);
    let known = mark.read(&keeping.verifier)?;
    if size == 0 && known.is_none() {
        mark.write_empty()?;
    }
    check_mark(&archive, size, known, mark.path())?;
    let mut writer = SqliteWriter {
        connection: writer,
        transfer,
        tables,
        size,
        mark,
        newest: archive.newest()?,
        reserve,
        _lock: lock,
    };
    writer.settle_mark()?;
    Ok((writer, archive))
}

/// Opens an existing database to read it, whatever its mark says, such as for `ambit log verify` and `ambit recover`.
///
/// # Errors
/// It is not there, not Ambit's, of another version, or cannot be read.
pub fn open_to_read(
    path: &Path,
    tables: &'static [&'static str],
) -> Result<SqliteArchive, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| StoreError::sqlite("opening the database", error))?;
    schema::check(&connection)?;
    Ok(SqliteArchive {
        connection: Arc::new(Mutex::new(connection)),
        tables: Tables::new(tables)?,
        edges: Arc::default(),
    })
}

impl SqliteWriter {
    /// Replaces all rows of these folded tables in one transaction.
    ///
    /// # Errors
    /// A table was not declared, or the database fails. Nothing is changed then.
    pub fn replace_rows(&mut self, tables: &[Table]) -> Result<(), StoreError> {
        let failed = |error| StoreError::sqlite("replacing the folded tables", error);
        let mut connection = held(&self.connection);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for table in tables {
            let sql = self.tables.statements(table.name)?;
            transaction.execute(&sql.clear, []).map_err(failed)?;
            let mut put = transaction.prepare_cached(&sql.put).map_err(failed)?;
            for (key, value) in &table.rows {
                put.execute(params![key, value]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// Makes the mark durable, such as before a halt.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn settle_mark(&mut self) -> Result<(), StoreError> {
        match &self.newest {
            Some(note) => self.mark.write_durable(note),
            None => Ok(()),
        }
    }

    fn write(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let (size, first_index) = (self.size, commit.first_index);
        if size != first_index {
            return Err(StoreError::OutOfOrder { first_index, size });
        }
        // SQLite takes back what did not fit, so it is known not to be durable, and the same once more is safe.
        match self.put(commit) {
            Err(error) if error.is_full() && self.release()? == Released::Now => {
                self.put(commit)?
            }
            other => other?,
        }
        self.size += commit.leaves.len() as u64;
        self.newest = Some(commit.checkpoint.to_owned());
        // A mark that lags is safe; one that can't be written any more is not: the next rollback would go unseen.
        match self.mark.write(commit.checkpoint) {
            Err(error) if error.is_full() && self.release()? == Released::Now => {
                self.mark.write(commit.checkpoint)
            }
            other => other,
        }
    }

    fn release(&mut self) -> Result<Released, StoreError> {
        match &mut self.reserve {
            Some(reserve) => reserve.release(),
            None => Ok(Released::Before),
        }
    }

    fn put(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let first_index = commit.first_index;
        let failed = |error| StoreError::sqlite("writing records", error);
        let mut connection = held(&self.connection);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        put_leaves(&transaction, first_index, commit.leaves).map_err(failed)?;
        put_tiles(&transaction, commit.tiles).map_err(failed)?;
        put_rows(&transaction, &self.tables, commit.rows)?;
        for attachment in commit.attachments {
            attach(&transaction, attachment).map_err(failed)?;
        }
        put_checkpoint(&transaction, commit.checkpoint).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        if let Some(transfer) = &self.transfer {
            transfer.after_commit();
        }
        Ok(())
    }
}

impl Durable for SqliteWriter {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DurableError> {
        self.write(commit).map_err(DurableError::new)
    }

    fn space(&mut self) -> Space {
        self.reserve.as_mut().map_or(Space::Ample, |it| it.space())
    }
}

/// A clean halt leaves one file: the write-ahead log moves into the database, and the mark is durable. Neither is needed
/// for the next start, so a failure is passed over.
impl Drop for SqliteWriter {
    fn drop(&mut self) {
        let _ = self.settle_mark();
        drop(self.transfer.take());
        let _ = held(&self.connection).pragma_update(None, "wal_checkpoint", "TRUNCATE");
    }
}

fn open(keeping: &Keeping, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match &keeping.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(&keeping.path, flags, vfs.as_str()),
        None => Connection::open_with_flags(&keeping.path, flags),
    };
    let connection = opened.map_err(|error| StoreError::sqlite("opening the database", error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// The most prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 128;

/// Takes the lock that tells every other writer to stay away. It ends with the process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.to_owned().into_os_string();
    name.push(".lock");
    let name = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&name).map_err(|source| StoreError::File {
        attempted: "open the lock",
        path: name.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StoreError::File {
            attempted: "lock",
            path: name,
            source,
        }),
    }
}

/// Makes the file when it is not there, for its owner alone; SQLite gives its companions the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let made = match options.open(path) {
        Ok(file) => file.sync_all().and_then(|()| {
            let parent = path.parent().filter(|it| *it != Path::new(""));
            File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
        }),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => tighten(path),
        Err(error) => Err(error),
    };
    made.map_err(|source| StoreError::File {
        attempted: "make",
        path: path.to_owned(),
        source,
    })
}

fn tighten(path: &Path) -> std::io::Result<()> {
    let found = fs::metadata(path)?.permissions();
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(found.mode() & 0o700))
}

fn check_mark(
    archive: &SqliteArchive,
    size: u64,
    mark: Option<Checkpoint>,
    path: &Path,
) -> Result<(), StoreError> {
    let path = path.to_owned();
    let Some(mark) = mark else {
        return if size == 0 {
            Ok(())
        } else {
            Err(StoreError::MarkMissing { path, size })
        };
    };
    let marked = mark.size;
    if marked > size {
        return Err(StoreError::RolledBack { path, size, marked });
    }
    let past = Resume::from_archive(
        marked,
        Some(String::new()),
        |first, count| archive.leaves(first, count),
        |level, index| archive.tile(level, index, ambit_audit::TILE_WIDTH),
    )?;
    if past.root() == mark.root {
        Ok(())
    } else {
        Err(StoreError::MarkDiffers { path, marked })
    }
}

fn put_leaves(
    transaction: &Transaction<'_>,
    first_index: u64,
    leaves: &[Vec<u8>],
) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached("INSERT INTO leaves (place, leaf) VALUES (?1, ?2)")?;
    for (leaf, index) in leaves.iter().zip(first_index..) {
        put.execute(params![index.cast_signed(), leaf])?;
    }
    Ok(())
}

fn put_tiles(transaction: &Transaction<'_>, tiles: &[Tile]) -> rusqlite::Result<()> {
    for tile in tiles {
        transaction
            .prepare_cached("INSERT INTO tiles (place, hashes) VALUES (?1, ?2)")?
            .execute(params![tile_key(tile.level, tile.index), tile.hashes])?;
    }
    Ok(())
}

/// Only the last change of a row within a commit is written, and rows in the order of their keys: fewer pages change.
fn put_rows(
    transaction: &Transaction<'_>,
    tables: &Tables,
    rows: &[RowChange],
) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite("writing folded rows", error);
    let mut last = BTreeMap::<_, BTreeMap<_, _>>::new();
    for row in rows {
        let table = last.entry(row.table).or_default();
        table.insert(row.key.as_str(), row.value.as_deref());
    }
    for (table, rows) in last {
        let sql = tables.statements(table)?;
        let mut put = transaction.prepare_cached(&sql.put).map_err(failed)?;
        let mut delete = transaction.prepare_cached(&sql.delete).map_err(failed)?;
        for (key, value) in rows {
            match value {
                Some(value) => put.execute(params![key, value]),
                None => delete.execute(params![key]),
            }
            .map_err(failed)?;
        }
    }
    Ok(())
}

fn attach(transaction: &Transaction<'_>, attachment: &Attachment) -> rusqlite::Result<()> {
    match attachment {
        Attachment::Blob {
            leaf,
            id,
            task,
            bytes,
        } => {
            let task = task.map(|it| it.to_string());
            transaction
                .prepare_cached(
                    "INSERT INTO blobs (leaf, id, task, bytes) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![leaf.cast_signed(), id.as_bytes(), task, bytes])
        }
        Attachment::TaskKey { task, wrapped } => transaction
            .prepare_cached("INSERT OR REPLACE INTO task_keys (task, wrapped) VALUES (?1, ?2)")?
            .execute(params![task.to_string(), wrapped]),
        Attachment::Directory { person, alias } => transaction
            .prepare_cached("INSERT OR REPLACE INTO directory (person, alias) VALUES (?1, ?2)")?
            .execute(params![person.to_string(), alias]),
        Attachment::Estate { digest, bytes } => transaction
            .prepare_cached("INSERT OR IGNORE INTO estates (digest, bytes) VALUES (?1, ?2)")?
            .execute(params![digest.as_bytes(), bytes]),
        Attachment::Secret { reference, sealed } => transaction
            .prepare_cached("INSERT OR REPLACE INTO secrets (reference, sealed) VALUES (?1, ?2)")?
            .execute(params![reference, sealed]),
    }
    .map(drop)
}

fn put_checkpoint(transaction: &Transaction<'_>, note: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('checkpoint', ?1)")?
        .execute(params![note])
        .map(drop)
}

/// A panic elsewhere leaves no transaction half done: SQLite rolled it back.
fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        Self::new("reading the database", error)
    }
}

#[cfg(test)]
mod tests;

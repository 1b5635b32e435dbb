//! The tables of the database, and the statements of the folded ones.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, TransactionBehavior, ffi};

use crate::StoreError;

/// The version of the schema, kept in SQLite's `user_version`.
const SCHEMA_VERSION: i64 = 2;
/// Tells Ambit's databases from others, kept in SQLite's `application_id`: `AMBT`.
const APPLICATION_ID: i64 = 0x414d_4254;
/// How many pages the write-ahead log may have before a commit moves them into the database, in pages of 4 KiB, where
/// no thread does it ([`super::transfer`]).
const WAL_PAGES: i64 = 4000;
/// How long the write-ahead log stays on disk when it is empty, in bytes.
const WAL_BYTES: i64 = 32 * 1024 * 1024;
/// How much of the database the writer keeps in memory, in KiB.
const CACHE_KIB: i64 = 8 * 1024;

/// The folded tables by name, with their statements.
#[derive(Clone, Debug)]
pub(super) struct Tables(Arc<BTreeMap<&'static str, Statements>>);

/// The statements of one folded table.
#[derive(Debug)]
pub(super) struct Statements {
    create: String,
    pub(super) put: String,
    pub(super) delete: String,
    pub(super) clear: String,
    pub(super) all: String,
    pub(super) before: String,
    pub(super) one: String,
}

impl Tables {
    /// Returns the tables, or refuses a name that is not lowercase letters and `_`.
    pub(super) fn new(names: &[&'static str]) -> Result<Self, StoreError> {
        let is_bad = |name: &&&str| {
            name.is_empty() || !name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
        };
        if let Some(bad) = names.iter().find(is_bad) {
            return Err(StoreError::UnknownTable((*bad).to_owned()));
        }
        let tables = names.iter().map(|name| (*name, Statements::new(name)));
        Ok(Self(Arc::new(tables.collect())))
    }

    pub(super) fn statements(&self, name: &str) -> Result<&Statements, StoreError> {
        let unknown = || StoreError::UnknownTable(name.to_owned());
        self.0.get(name).ok_or_else(unknown)
    }
}

impl Statements {
    fn new(name: &str) -> Self {
        let table = format!("fold_{name}");
        Self {
            create: format!(
                "CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            ),
            put: format!("INSERT OR REPLACE INTO {table} (key, value) VALUES (?1, ?2)"),
            delete: format!("DELETE FROM {table} WHERE key = ?1"),
            clear: format!("DELETE FROM {table}"),
            all: format!("SELECT key, value FROM {table} ORDER BY key"),
            before: format!(
                "SELECT key, value FROM {table} WHERE key < ?1 ORDER BY key DESC LIMIT ?2"
            ),
            one: format!("SELECT value FROM {table} WHERE key = ?1"),
        }
    }
}

/// Makes the connection durable and the tables present.
pub(super) fn prepare(
    connection: &mut Connection,
    tables: &Tables,
    exclusive: bool,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite("preparing the database", error);
    if exclusive {
        connection
            .pragma_update(None, "locking_mode", "EXCLUSIVE")
            .map_err(failed)?;
    }
    if !is_new(connection).map_err(failed)? {
        check(connection)?;
    }
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        let message = format!("the journal mode is {mode}, not wal");
        let refused = ffi::Error::new(ffi::SQLITE_CANTOPEN);
        return Err(failed(rusqlite::Error::SqliteFailure(
            refused,
            Some(message),
        )));
    }
    for (name, value) in [
        ("wal_autocheckpoint", if exclusive { WAL_PAGES } else { 0 }),
        ("journal_size_limit", WAL_BYTES),
        ("cache_size", -CACHE_KIB),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
    ] {
        connection
            .pragma_update(None, name, value)
            .map_err(failed)?;
    }
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    create(connection, tables).map_err(failed)
}

/// Refuses databases of others and of other versions.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let number = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|error| StoreError::sqlite("reading the database's version", error))
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(StoreError::NotOurs);
    }
    let found = number("user_version")?;
    if found != SCHEMA_VERSION {
        let known = SCHEMA_VERSION;
        return Err(StoreError::SchemaVersion { found, known });
    }
    Ok(())
}

/// Returns the key of a tile: level and place in one number.
pub(super) const fn tile_key(level: u8, index: u64) -> i64 {
    ((level as u64) << 56 | index & ((1 << 56) - 1)).cast_signed()
}

fn is_new(connection: &Connection) -> rusqlite::Result<bool> {
    let count = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(count, [], |row| row.get(0))?;
    Ok(tables == 0)
}

fn create(connection: &mut Connection, tables: &Tables) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_new(&transaction)? {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.execute_batch(SCHEMA)?;
    for statements in tables.0.values() {
        transaction.execute(&statements.create, [])?;
    }
    transaction.commit()
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS leaves (place INTEGER PRIMARY KEY, leaf BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tiles (place INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS blobs (leaf INTEGER PRIMARY KEY, id BLOB NOT NULL, task TEXT, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS task_keys (task TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS directory (person TEXT PRIMARY KEY, alias TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS estates (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (reference TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

//! SQLite alone, as a yardstick for measurements.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::StoreError;

/// A table of rows and nothing else, made durable as the log is: write-ahead log, every commit synced.
#[derive(Debug)]
pub struct BareRows {
    connection: Connection,
}

impl BareRows {
    /// Makes the database at `path`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::sqlite("making the yardstick", error);
        let connection = Connection::open(path).map_err(failed)?;
        for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
            connection
                .pragma_update(None, name, value)
                .map_err(failed)?;
        }
        let table = "CREATE TABLE rows (place INTEGER PRIMARY KEY, row BLOB NOT NULL)";
        connection.execute_batch(table).map_err(failed)?;
        Ok(Self { connection })
    }

    /// Inserts `row` `count` times in one transaction, durable on return.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn insert(&mut self, row: &[u8], count: usize) -> Result<(), StoreError> {
        let failed = |error| StoreError::sqlite("writing the yardstick", error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for _ in 0..count {
            transaction
                .prepare_cached("INSERT INTO rows (row) VALUES (?1)")
                .and_then(|mut insert| insert.execute(params![row]))
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

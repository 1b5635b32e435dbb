//! Reading the database.

use ambit_audit::TILE_WIDTH;
use ambit_core::{Digest, PersonId, TaskId};
use ambit_engine::{Archive, ArchiveError};
use rusqlite::{OptionalExtension, Params, Row, params, types::FromSql};

use super::{SqliteArchive, held, tile_key};
use crate::StoreError;

/// The most leaves that one read gives.
const LEAVES_MAX: usize = 4096;

impl SqliteArchive {
    /// Returns how many records the log has.
    pub(super) fn count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT max(place) + 1 FROM leaves";
        let count: Option<Option<i64>> = self.value(sql, [])?;
        Ok(count.flatten().unwrap_or(0).cast_unsigned())
    }

    /// Returns the newest checkpoint.
    pub(super) fn newest(&self) -> Result<Option<String>, StoreError> {
        self.value("SELECT value FROM meta WHERE name = 'checkpoint'", [])
    }

    fn value<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>, StoreError> {
        let connection = held(&self.connection);
        let mut statement = connection.prepare_cached(sql).map_err(read)?;
        let found = statement.query_row(params, |row| row.get(0)).optional();
        found.map_err(read)
    }

    fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        pick: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let connection = held(&self.connection);
        let mut statement = connection.prepare_cached(sql).map_err(read)?;
        let rows = statement.query_map(params, pick).map_err(read)?;
        rows.collect::<Result<_, _>>().map_err(read)
    }

    fn full_tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT hashes FROM tiles WHERE place = ?1";
        self.value(sql, params![tile_key(level, index)])
    }

    fn some_leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let count = count.min(LEAVES_MAX) as i64;
        let Ok(first) = i64::try_from(first) else {
            return Ok(Vec::new());
        };
        let sql = "SELECT leaf FROM leaves WHERE place >= ?1 AND place < ?2 ORDER BY place";
        let range = params![first, first.saturating_add(count)];
        self.list(sql, range, |row| row.get(0))
    }
}

impl Archive for SqliteArchive {
    fn size(&self) -> Result<u64, ArchiveError> {
        Ok(self.count()?)
    }

    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, ArchiveError> {
        Ok(self.some_leaves(first, count)?)
    }

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, ArchiveError> {
        let full = |level, index| self.full_tile(level, index);
        if width == TILE_WIDTH {
            return Ok(full(level, index)?);
        }
        let leaves = |first, count| self.some_leaves(first, count);
        Ok(held(&self.edges).tile((level, index), width, leaves, full)?)
    }

    fn checkpoint(&self) -> Result<Option<String>, ArchiveError> {
        Ok(self.newest()?)
    }

    fn blob(&self, leaf: u64, id: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        let sql = "SELECT bytes FROM blobs WHERE leaf = ?1 AND id = ?2";
        Ok(self.value(sql, params![leaf.cast_signed(), id.as_bytes()])?)
    }

    fn rows(&self, table: &str) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let statements = self.tables.statements(table)?;
        let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(self.list(&statements.all, [], pair)?)
    }

    fn rows_before(
        &self,
        table: &str,
        before: &str,
        count: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let statements = self.tables.statements(table)?;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(self.list(&statements.before, params![before, count], pair)?)
    }

    fn row(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let statements = self.tables.statements(table)?;
        Ok(self.value(&statements.one, params![key])?)
    }

    fn task_key(&self, task: TaskId) -> Result<Option<Vec<u8>>, ArchiveError> {
        let sql = "SELECT wrapped FROM task_keys WHERE task = ?1";
        Ok(self.value(sql, params![task.to_string()])?)
    }

    fn directory(&self) -> Result<Vec<(PersonId, String)>, ArchiveError> {
        let sql = "SELECT person, alias FROM directory ORDER BY person";
        let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
        let mut people = Vec::new();
        for (person, alias) in self.list(sql, [], pair)? {
            let person = person.parse::<PersonId>();
            let person =
                person.map_err(|error| ArchiveError::new("reading the directory", error))?;
            people.push((person, alias));
        }
        Ok(people)
    }

    fn estate(&self, digest: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        let sql = "SELECT bytes FROM estates WHERE digest = ?1";
        Ok(self.value(sql, params![digest.as_bytes()])?)
    }

    fn secret(&self, reference: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let sql = "SELECT sealed FROM secrets WHERE reference = ?1";
        Ok(self.value(sql, params![reference])?)
    }
}

fn read(error: rusqlite::Error) -> StoreError {
    StoreError::sqlite("reading the database", error)
}

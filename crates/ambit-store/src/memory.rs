//! The store in memory, for tests and for `ambit demo`. It forgets everything when it is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ambit_audit::{Attachment, Commit, Durable, DurableError, RowChange, TILE_WIDTH, partial_tile};
use ambit_core::{Digest, PersonId, TaskId};
use ambit_engine::{Archive, ArchiveError};

use crate::{StoreError, sqlite::Table};

/// Makes an empty store in memory with these folded tables.
pub fn memory(tables: &[&'static str]) -> (MemoryWriter, MemoryArchive) {
    let kept = Kept {
        tables: tables.iter().map(|name| (*name, BTreeMap::new())).collect(),
        ..Kept::default()
    };
    let kept = Arc::new(RwLock::new(kept));
    let archive = MemoryArchive(Arc::clone(&kept));
    (MemoryWriter(kept), archive)
}

/// The writing end of a store in memory.
#[derive(Debug)]
pub struct MemoryWriter(Arc<RwLock<Kept>>);

/// The reading end of a store in memory.
#[derive(Clone, Debug)]
pub struct MemoryArchive(Arc<RwLock<Kept>>);

impl MemoryArchive {
    /// Returns a writing end over what is kept, as a start after a crash would open one. The old one is of no use
    /// any more.
    pub fn writer(&self) -> MemoryWriter {
        MemoryWriter(Arc::clone(&self.0))
    }
}

#[derive(Debug, Default)]
struct Kept {
    leaves: Vec<Vec<u8>>,
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
    checkpoint: Option<String>,
    tables: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    blobs: BTreeMap<u64, (Digest, Vec<u8>)>,
    task_keys: BTreeMap<TaskId, Vec<u8>>,
    directory: BTreeMap<PersonId, String>,
    estates: BTreeMap<Digest, Vec<u8>>,
    secrets: BTreeMap<String, Vec<u8>>,
}

impl Kept {
    fn apply(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let (size, first_index) = (self.leaves.len() as u64, commit.first_index);
        if size != first_index {
            return Err(StoreError::OutOfOrder { first_index, size });
        }
        // Everything that can fail comes before the first change.
        let named: BTreeSet<_> = commit.rows.iter().map(|row| row.table).collect();
        if let Some(name) = named.iter().find(|it| !self.tables.contains_key(*it)) {
            return Err(StoreError::UnknownTable((*name).to_owned()));
        }
        self.leaves.extend_from_slice(commit.leaves);
        for tile in commit.tiles {
            let place = (tile.level, tile.index);
            self.tiles.insert(place, tile.hashes.clone());
        }
        commit.rows.iter().for_each(|row| self.change(row));
        commit.attachments.iter().for_each(|it| self.attach(it));
        self.checkpoint = Some(commit.checkpoint.to_owned());
        Ok(())
    }

    fn change(&mut self, row: &RowChange) {
        let Some(table) = self.tables.get_mut(row.table) else {
            return;
        };
        match &row.value {
            Some(value) => table.insert(row.key.clone(), value.clone()),
            None => table.remove(&row.key),
        };
    }

    fn attach(&mut self, attachment: &Attachment) {
        match attachment.clone() {
            Attachment::Blob {
                leaf, id, bytes, ..
            } => {
                self.blobs.insert(leaf, (id, bytes));
            }
            Attachment::TaskKey { task, wrapped } => {
                self.task_keys.insert(task, wrapped);
            }
            Attachment::Directory { person, alias } => {
                self.directory.insert(person, alias);
            }
            Attachment::Estate { digest, bytes } => {
                self.estates.entry(digest).or_insert(bytes);
            }
            Attachment::Secret { reference, sealed } => {
                self.secrets.insert(reference, sealed);
            }
        }
    }
}

impl MemoryWriter {
    /// Replaces all rows of these folded tables at once.
    ///
    /// # Errors
    /// A table was not declared. Nothing is changed then.
    pub fn replace_rows(&mut self, tables: &[Table]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if let Some(unknown) = tables.iter().find(|it| !kept.tables.contains_key(it.name)) {
            return Err(StoreError::UnknownTable(unknown.name.to_owned()));
        }
        for table in tables {
            let rows = table.rows.iter().cloned().collect();
            kept.tables.insert(table.name, rows);
        }
        Ok(())
    }

    fn kept(&self) -> RwLockWriteGuard<'_, Kept> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Durable for MemoryWriter {
    fn space(&mut self) -> ambit_audit::Space {
        ambit_audit::Space::Ample
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), DurableError> {
        self.kept().apply(commit).map_err(DurableError::new)
    }
}

impl MemoryArchive {
    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table<T>(
        &self,
        name: &str,
        read: impl FnOnce(&BTreeMap<String, Vec<u8>>) -> T,
    ) -> Result<T, ArchiveError> {
        let unknown = || StoreError::UnknownTable(name.to_owned());
        let kept = self.kept();
        let table = kept.tables.get(name).ok_or_else(unknown);
        table
            .map(read)
            .map_err(|error| ArchiveError::new("reading a folded table", error))
    }
}

impl Archive for MemoryArchive {
    fn size(&self) -> Result<u64, ArchiveError> {
        Ok(self.kept().leaves.len() as u64)
    }

    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let kept = self.kept();
        Ok(kept
            .leaves
            .iter()
            .skip(first)
            .take(count)
            .cloned()
            .collect())
    }

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, ArchiveError> {
        let full = |level, index| Ok(self.kept().tiles.get(&(level, index)).cloned());
        if width == TILE_WIDTH {
            return full(level, index);
        }
        let leaves = |first, count| self.leaves(first, count);
        partial_tile(level, index, width, leaves, full)
    }

    fn checkpoint(&self) -> Result<Option<String>, ArchiveError> {
        Ok(self.kept().checkpoint.clone())
    }

    fn blob(&self, leaf: u64, id: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        let kept = self.kept();
        let found = kept.blobs.get(&leaf).filter(|(own, _)| *own == id);
        Ok(found.map(|(_, bytes)| bytes.clone()))
    }

    fn rows(&self, table: &str) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        self.table(table, |rows| {
            let pair = |(key, value): (&String, &Vec<u8>)| (key.clone(), value.clone());
            rows.iter().map(pair).collect()
        })
    }

    fn rows_before(
        &self,
        table: &str,
        before: &str,
        count: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        self.table(table, |rows| {
            let pair = |(key, value): (&String, &Vec<u8>)| (key.clone(), value.clone());
            rows.range(..before.to_owned())
                .rev()
                .take(count)
                .map(pair)
                .collect()
        })
    }

    fn row(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.table(table, |rows| rows.get(key).cloned())
    }

    fn task_key(&self, task: TaskId) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.kept().task_keys.get(&task).cloned())
    }

    fn directory(&self) -> Result<Vec<(PersonId, String)>, ArchiveError> {
        let kept = self.kept();
        let pairs = kept.directory.iter();
        Ok(pairs
            .map(|(person, alias)| (*person, alias.clone()))
            .collect())
    }

    fn estate(&self, digest: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.kept().estates.get(&digest).cloned())
    }

    fn secret(&self, reference: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.kept().secrets.get(reference).cloned())
    }
}

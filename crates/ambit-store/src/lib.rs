//! Where the log, its folded tables and what stands beside them are kept: in memory, or in one SQLite database.
//!
//! A store has two ends. The writer makes commits durable ([`ambit_audit::Durable`]); there is one. The archive reads
//! ([`ambit_engine::Archive`]), at the same time as the writer writes.
//!
//! **Architecture invariant:** nothing outside this crate knows SQL, and nothing here decides anything.

mod bare;
mod error;
mod mark;
mod memory;
mod reserve;
mod sqlite;
mod tiles;

pub use crate::{
    bare::BareRows,
    error::StoreError,
    mark::Mark,
    memory::{MemoryArchive, MemoryWriter, memory},
    reserve::RESERVE_BYTES,
    sqlite::{Keeping, SqliteArchive, SqliteWriter, Table, create_or_open, open_to_read},
    tiles::ArchiveTiles,
};

//! Moving the write-ahead log into the database, which SQLite calls a checkpoint, on a thread of its own.
//!
//! The long part runs beside commits: SQLite copies pages of one connection while another appends. Only the short
//! rest is copied while no commit runs, so that the next commit begins the write-ahead log anew.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, DEFAULT_NAME, hooks::Wal, wal::CheckpointMode};

use super::held;
use crate::StoreError;

/// From how many pages on the write-ahead log moves into the database, in pages of 4 KiB.
pub(super) const TRANSFER_PAGES: u32 = 1000;
/// The most pages of the write-ahead log; with more, the writer waits until they have moved into the database.
pub(super) const WAL_PAGES_MAX: u32 = 8000;
/// How many pages may be left for when no commit runs.
const REST_PAGES: u32 = 64;
/// How often at most pages are moved beside commits before the rest is moved while none runs.
const PASSES_MAX: usize = 4;
/// How long the writer waits for readers who still need the write-ahead log. One who needs it longer, which none of
/// Ambit's does, lets it grow.
const READERS_WAIT: Duration = Duration::from_millis(100);

/// Moves the write-ahead log of one database. Its thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Transfer {
    connection: Arc<Mutex<Connection>>,
    pages: Arc<AtomicU32>,
    wanted: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works on.
struct Work {
    writer: Arc<Mutex<Connection>>,
    connection: Arc<Mutex<Connection>>,
    pages: Arc<AtomicU32>,
}

impl Transfer {
    /// Watches the commits of `writer` and moves what they wrote over `connection`, which serves nothing else.
    pub(super) fn start(
        writer: &Arc<Mutex<Connection>>,
        connection: Connection,
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::sqlite("watching the write-ahead log", error);
        connection.busy_timeout(READERS_WAIT).map_err(failed)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(failed)?;
        let pages = Arc::new(AtomicU32::new(0));
        watch(writer, &pages).map_err(failed)?;
        let connection = Arc::new(Mutex::new(connection));
        let work = Work {
            writer: Arc::clone(writer),
            connection: Arc::clone(&connection),
            pages: Arc::clone(&pages),
        };
        let (wanted, wait) = sync_channel(1);
        let thread = thread::Builder::new().name("transfer".to_owned());
        let thread = thread.spawn(move || work.run(&wait));
        Ok(Self {
            connection,
            pages,
            wanted: Some(wanted),
            thread: Some(thread.map_err(StoreError::Thread)?),
        })
    }

    /// Sees to it that the write-ahead log moves in time. To be called after each commit, while no other begins.
    ///
    /// A failure is passed over, as SQLite does: everything is durable in the write-ahead log, which grows until the
    /// next attempt, and a disk that fails or is full stops the next commit.
    pub(super) fn after_commit(&self) {
        match self.pages.load(Ordering::Acquire) {
            0..TRANSFER_PAGES => {}
            TRANSFER_PAGES..WAL_PAGES_MAX => {
                if let Some(wanted) = &self.wanted {
                    // One that is wanted already comes after this commit.
                    let _ = wanted.try_send(());
                }
            }
            WAL_PAGES_MAX.. => {
                let connection = held(&self.connection);
                let moved = connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::RESTART);
                if moved.is_ok() {
                    self.pages.store(0, Ordering::Release);
                }
            }
        }
    }
}

#[cfg(test)]
impl Transfer {
    /// Returns how many pages the write-ahead log has, as the newest commit left it.
    pub(super) fn pages(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.pages)
    }

    /// Lets the thread do nothing more.
    pub(super) fn stall(&mut self) {
        self.wanted = None;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        drop(self.wanted.take());
        if let Some(thread) = self.thread.take() {
            // It holds nothing that its death could harm.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self, wanted: &Receiver<()>) {
        while wanted.recv().is_ok() {
            // What was wanted may have been done together with what was wanted before.
            if self.pages.load(Ordering::Acquire) >= TRANSFER_PAGES {
                self.transfer();
            }
        }
    }

    fn transfer(&self) {
        for _ in 0..PASSES_MAX {
            let Some(rest) = self.pass() else {
                return;
            };
            if rest <= REST_PAGES {
                break;
            }
        }
        let quiet = held(&self.writer);
        if self.pass() == Some(0) {
            self.pages.store(0, Ordering::Release);
        }
        drop(quiet);
    }

    /// Moves what is there and returns how many pages came meanwhile or are still needed by readers.
    fn pass(&self) -> Option<u32> {
        let connection = held(&self.connection);
        let moved = connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE);
        let (_, moved) = moved.ok()?;
        let moved = u32::try_from(moved).unwrap_or(0);
        Some(self.pages.load(Ordering::Acquire).saturating_sub(moved))
    }
}

fn watch(writer: &Mutex<Connection>, pages: &Arc<AtomicU32>) -> rusqlite::Result<()> {
    let pages = Arc::clone(pages);
    held(writer).wal_hook(Some(move |_: &mut Wal, count: i32| {
        pages.store(count.unsigned_abs(), Ordering::Release);
        Ok(())
    }))
}

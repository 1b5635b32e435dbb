//! A disk that loses power: a SQLite VFS in memory that, when it fails, keeps what was synced, and of what was not
//! synced keeps some writes, drops some, and tears some between sectors, as a seed says.
//!
//! The VFS is written through the crate `sqlite-vfs`, so that no unsafe code is ours. It has no shared memory: databases on
//! it use SQLite's exclusive locking mode, with one connection. Making and deleting files is durable at once.

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlite_vfs::{
    DatabaseHandle, LockKind, OpenAccess, OpenOptions, RegisterError, Vfs, WalDisabled,
};

/// A disk that loses power.
#[derive(Clone, Debug)]
pub struct TornDisk {
    disk: Arc<Mutex<Disk>>,
    vfs: String,
}

/// How a disk fails that keeps its power.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing more fits on it.
    Full,
    /// What was written can't be made durable.
    Sync,
    /// Nothing can be opened to be written.
    ReadOnly,
}

#[derive(Debug)]
struct Disk {
    files: BTreeMap<String, TornFile>,
    chance: Chance,
    /// How many more writes and syncs there are before the power fails.
    fuse: Option<u64>,
    failed: bool,
    fault: Option<Fault>,
}

#[derive(Debug, Default)]
struct TornFile {
    /// What outlives a loss of power.
    durable: Vec<u8>,
    /// What the program sees.
    current: Vec<u8>,
    /// What it did since the last sync.
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

impl TornDisk {
    /// Makes an empty disk whose losses `seed` decides, and registers its VFS with SQLite.
    ///
    /// # Errors
    /// SQLite refuses the VFS.
    pub fn new(seed: u64) -> Result<Self, RegisterError> {
        static DISKS: AtomicU64 = AtomicU64::new(0);
        let vfs = format!("torn-disk-{}", DISKS.fetch_add(1, Ordering::Relaxed));
        let disk = Arc::new(Mutex::new(Disk {
            files: BTreeMap::new(),
            chance: Chance(seed),
            fuse: None,
            failed: false,
            fault: None,
        }));
        sqlite_vfs::register(&vfs, Shared(Arc::clone(&disk)), false)?;
        Ok(Self { disk, vfs })
    }

    /// Returns the name under which SQLite knows it.
    pub fn vfs(&self) -> &str {
        &self.vfs
    }

    /// Lets the power fail after this many more writes and syncs. Everything after that fails.
    pub fn fail_after(&self, steps: u64) {
        held(&self.disk).fuse = Some(steps);
    }

    /// Returns chance from the disk's seed: a number below `bound`, which is at least 1.
    pub fn below(&self, bound: u64) -> u64 {
        held(&self.disk).chance.below(bound)
    }

    /// Lets the power fail now, and brings it back. What was not synced is lost, kept or torn.
    ///
    /// The connections from before must be closed: for them the disk would be back as well.
    pub fn restart(&self) {
        let mut disk = held(&self.disk);
        let Disk { files, chance, .. } = &mut *disk;
        for file in files.values_mut() {
            file.lose(chance);
        }
        disk.fuse = None;
        disk.failed = false;
    }

    /// Cuts the power now, so that what is open cannot write any more.
    pub fn cut(&self) {
        held(&self.disk).failed = true;
    }

    /// Says whether the power is off.
    pub fn is_off(&self) -> bool {
        held(&self.disk).failed
    }

    /// Lets the disk fail in this way from now on, or work again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        held(&self.disk).fault = fault;
    }
}

impl Disk {
    fn step(&mut self) -> Result<(), Error> {
        if let Some(left) = self.fuse.as_mut() {
            self.failed |= *left == 0;
            *left = left.saturating_sub(1);
        }
        self.powered()
    }

    fn powered(&self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::other("the power is off"));
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> Result<&mut TornFile, Error> {
        let gone = || Error::new(ErrorKind::NotFound, name.to_owned());
        self.files.get_mut(name).ok_or_else(gone)
    }
}

impl TornFile {
    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Decides about each change since the last sync: kept, dropped, or torn.
    fn lose(&mut self, chance: &mut Chance) {
        for change in self.unsynced.drain(..) {
            match (chance.below(3), change) {
                (0, change) => apply(&mut self.durable, &change),
                (1, _) | (_, Change::Resize(_)) => {}
                (_, Change::Write { offset, bytes }) => {
                    tear(&mut self.durable, offset, &bytes, chance);
                }
            }
        }
        self.current = self.durable.clone();
    }
}

/// Writes some of the sectors that `bytes` touches at `offset`.
fn tear(file: &mut Vec<u8>, offset: usize, bytes: &[u8], chance: &mut Chance) {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let room = SECTOR_BYTES - at % SECTOR_BYTES;
        let (sector, after) = rest.split_at_checked(room).unwrap_or((rest, &[]));
        if chance.below(2) == 0 {
            let bytes = sector.to_vec();
            apply(file, &Change::Write { offset: at, bytes });
        }
        at += sector.len();
        rest = after;
    }
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Resize(size) => file.resize(*size, 0),
        Change::Write { offset, bytes } => {
            let end = offset.saturating_add(bytes.len());
            if file.len() < end {
                file.resize(end, 0);
            }
            if let Some(place) = file.get_mut(*offset..end) {
                place.copy_from_slice(bytes);
            }
        }
    }
}

/// The disk as SQLite sees it.
struct Shared(Arc<Mutex<Disk>>);

/// A file of the disk as SQLite sees it.
struct Opened {
    disk: Arc<Mutex<Disk>>,
    name: String,
    lock: LockKind,
}

impl Vfs for Shared {
    type Handle = Opened;

    fn open(&self, name: &str, options: OpenOptions) -> Result<Opened, Error> {
        let mut disk = held(&self.0);
        disk.powered()?;
        if disk.fault == Some(Fault::ReadOnly) && options.access != OpenAccess::Read {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let makes = matches!(options.access, OpenAccess::Create | OpenAccess::CreateNew);
        if !disk.files.contains_key(name) {
            if !makes {
                return Err(Error::new(ErrorKind::NotFound, name.to_owned()));
            }
            disk.files.insert(name.to_owned(), TornFile::default());
        }
        Ok(Opened {
            disk: Arc::clone(&self.0),
            name: name.to_owned(),
            lock: LockKind::None,
        })
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        let mut disk = held(&self.0);
        disk.step()?;
        disk.files.remove(name);
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool, Error> {
        let disk = held(&self.0);
        disk.powered()?;
        Ok(disk.files.contains_key(name))
    }

    fn temporary_name(&self) -> String {
        let number = held(&self.0).chance.next();
        format!("temporary-{number:x}")
    }

    fn random(&self, buffer: &mut [i8]) {
        let mut disk = held(&self.0);
        for byte in buffer {
            *byte = (disk.chance.next() as u8).cast_signed();
        }
    }

    fn sleep(&self, duration: Duration) -> Duration {
        duration
    }
}

impl DatabaseHandle for Opened {
    type WalIndex = WalDisabled;

    fn size(&self) -> Result<u64, Error> {
        let mut disk = held(&self.disk);
        disk.powered()?;
        Ok(disk.file(&self.name)?.current.len() as u64)
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        let mut disk = held(&self.disk);
        disk.powered()?;
        let file = &disk.file(&self.name)?.current;
        let from = file.get(offset as usize..).unwrap_or(&[]);
        buffer.fill(0);
        for (to, from) in buffer.iter_mut().zip(from) {
            *to = *from;
        }
        if from.len() < buffer.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let mut disk = held(&self.disk);
        if disk.fault == Some(Fault::Full) {
            return Err(ErrorKind::WriteZero.into());
        }
        let done = disk.step();
        let change = Change::Write {
            offset: offset as usize,
            bytes: bytes.to_vec(),
        };
        // The write under way when the power fails may reach the disk too, whole or in part.
        disk.file(&self.name)?.change(change);
        done
    }

    fn sync(&mut self, _data_only: bool) -> Result<(), Error> {
        let mut disk = held(&self.disk);
        disk.step()?;
        if disk.fault == Some(Fault::Sync) {
            return Err(Error::other("input/output error"));
        }
        disk.file(&self.name)?.sync();
        Ok(())
    }

    fn set_len(&mut self, size: u64) -> Result<(), Error> {
        let mut disk = held(&self.disk);
        disk.step()?;
        let change = Change::Resize(size as usize);
        disk.file(&self.name)?.change(change);
        Ok(())
    }

    fn lock(&mut self, lock: LockKind) -> Result<bool, Error> {
        self.lock = lock;
        Ok(true)
    }

    fn reserved(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    fn current_lock(&self) -> Result<LockKind, Error> {
        Ok(self.lock)
    }

    fn wal_index(&self, _readonly: bool) -> Result<WalDisabled, Error> {
        Ok(WalDisabled)
    }
}

fn held(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chance from a seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

//! The sequencer: one writer that takes everything in one order and makes it durable in batches.

mod setup;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use ambit_audit::{Attachment, Batch, Committed, Durable, Log, Space};
use ambit_core::{
    Timestamp, TrustDomain,
    limits::{BATCH_RECORDS_MAX, CLOCK_JUMP_MAX, RECORDS_ASIDE_MAX},
    record::Body,
};

pub use self::setup::{CompileEstate, Setup, SetupError};
pub(crate) use self::setup::{not_sent, unknown};
use crate::{
    Archive, Clock, Custody, EngineError, Metrics,
    desk::{Desk, Settle, Turn},
    doors::Flights,
    govern::Unserved,
    live::Live,
    queue::{Next, Queue},
    quota::Quotas,
};

/// After how many records the digest of the folded state is written down.
pub const STATE_DIGEST_EVERY_RECORDS: u64 = 4096;

/// The most records that one turn writes; a batch with less room left is closed.
const TURN_RECORDS_MAX: usize = 8;

/// The one writer. It runs on a thread of its own, or step by step in a simulator.
pub struct Sequencer<D> {
    log: Log<D>,
    queue: Queue,
    shared: Arc<Shared>,
    digest_due_at: u64,
    digest_every_records: u64,
    seen_at: Timestamp,
}

/// What the sequencer and all handles share.
pub(crate) struct Shared {
    live: RwLock<Live>,
    stopped: OnceLock<Arc<str>>,
    /// The sequencer ends when nothing waits.
    finishing: AtomicBool,
    /// Why the newest turns could not be taken; gone with the next batch.
    trouble: Mutex<Option<EngineError>>,
    quotas: Mutex<Quotas>,
    space: Mutex<Space>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) unserved: Unserved,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) custody: Arc<dyn Custody>,
    pub(crate) clock: Clock,
    pub(crate) trust_domain: TrustDomain,
    /// When the newest record was written that was there before this start.
    pub(crate) resumed_at: Timestamp,
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A batch was taken.
    Taken,
    /// Nothing waits.
    Idle,
    /// All handles are gone, or the engine is to finish and nothing waits.
    Over,
}

impl<D: Durable> Sequencer<D> {
    /// Returns the sequencer with the digest of the folded state written down after every so many records, in place of
    /// [`STATE_DIGEST_EVERY_RECORDS`]: for simulators, whose logs are short. None is 1.
    #[must_use]
    pub fn with_digest_every(mut self, records: u64) -> Self {
        self.digest_every_records = records.max(1);
        self.digest_due_at = next_digest(self.log.size(), self.digest_every_records);
        self
    }

    /// Takes turns until all handles are gone, or [`crate::Handle::finish`] was called and all that waited is taken. Blocks;
    /// wants a thread of its own.
    pub fn run(mut self) {
        loop {
            match self.queue.wait() {
                Next::Awaited(first) => self.batch(Some(first), BATCH_RECORDS_MAX),
                Next::Aside => self.batch(None, BATCH_RECORDS_MAX),
                Next::Idle => Step::Idle,
                Next::Over => return,
            };
        }
    }

    /// Takes what waits now, without waiting for more: for simulators and tests.
    pub fn step(&mut self) -> Step {
        self.step_of(BATCH_RECORDS_MAX)
    }

    /// Takes at most `turns` of what waits now, as when the others had come a moment later: for simulators. At least one
    /// is taken when one waits.
    pub fn step_of(&mut self, turns: usize) -> Step {
        let first = match self.queue.next() {
            Next::Awaited(first) => Some(first),
            Next::Aside => None,
            Next::Idle => return Step::Idle,
            Next::Over => return Step::Over,
        };
        self.batch(first, turns.min(BATCH_RECORDS_MAX))
    }

    /// Takes `first` and what waits behind it, at most `turns_max` in all, with what nobody waits for, makes it durable,
    /// and tells everybody.
    fn batch(&mut self, first: Option<Turn>, turns_max: usize) -> Step {
        let mut settles = Vec::new();
        let result = match self.begin() {
            Ok(batch) => {
                self.shared.set_trouble(None);
                self.fill(batch, (first, turns_max), &mut settles)
            }
            Err(error) => {
                // Whoever waits for the turn hears that its reply is gone, and finds the trouble.
                self.shared.set_trouble(Some(error));
                let finishing = self.shared.finishing.load(Ordering::Acquire);
                if finishing || self.shared.running().is_err() {
                    // The next start writes down that nobody knows.
                    drop(self.queue.take_aside());
                }
                // What nobody waits for stays aside until the trouble is over.
                let step = match first {
                    Some(_) => Step::Taken,
                    None => Step::Idle,
                };
                self.close_if_finishing();
                return step;
            }
        };
        let outcome = result.as_ref().map(Option::as_ref).map_err(Clone::clone);
        for settle in settles {
            settle(outcome.clone());
        }
        self.close_if_finishing();
        Step::Taken
    }

    /// What waits is taken still; nothing more comes.
    fn close_if_finishing(&mut self) {
        if self.shared.finishing.load(Ordering::Acquire) {
            self.queue.close();
        }
    }

    fn begin(&mut self) -> Result<Batch, EngineError> {
        self.shared.running()?;
        self.shared.set_space(self.log.space());
        let now = (self.shared.clock)().now;
        // Ticks arrive every second, so a gap without records is no jump of the clock.
        if now.since(self.seen_at) <= CLOCK_JUMP_MAX {
            self.log.accept_gap(now);
            self.seen_at = self.seen_at.max(now);
        }
        Ok(self.log.begin(now)?)
    }

    fn fill(
        &mut self,
        mut batch: Batch,
        turns: (Option<Turn>, usize),
        settles: &mut Vec<Settle>,
    ) -> Result<Option<Committed>, EngineError> {
        let (rows, attachments) =
            self.take_turns(&mut batch, turns, settles)
                .inspect_err(|error| {
                    self.shared.stop(error);
                })?;
        if batch.is_empty() {
            return Ok(None);
        }
        let committed = self
            .log
            .commit(batch, rows, attachments)
            .map_err(EngineError::from);
        committed
            .map(Some)
            .inspect_err(|error| self.shared.stop(error))
    }

    fn take_turns(
        &mut self,
        batch: &mut Batch,
        (mut next, turns_max): (Option<Turn>, usize),
        settles: &mut Vec<Settle>,
    ) -> Result<(Vec<ambit_audit::RowChange>, Vec<Attachment>), EngineError> {
        let mut live = self.shared.write()?;
        let mut desk = Desk::new(&mut live, batch, self.shared.space());
        if self.log.size() >= self.digest_due_at {
            let digest = desk.live.state.digest();
            desk.write(Body::StateDigest { digest })?;
            self.digest_due_at = next_digest(self.log.size(), self.digest_every_records);
        }
        let mut taken = 0;
        loop {
            // What nobody waits for stands before every turn that was handed over after it.
            for turn in self.queue.take_aside() {
                settles.push(turn(&mut desk));
            }
            let Some(turn) = next else {
                break;
            };
            settles.push(turn(&mut desk));
            taken += 1;
            let has_room =
                desk.written() + TURN_RECORDS_MAX + RECORDS_ASIDE_MAX <= BATCH_RECORDS_MAX;
            if !has_room || taken >= turns_max {
                break;
            }
            next = self.queue.awaited();
        }
        let attachments = desk.finish()?;
        Ok((live.state.take_rows(), attachments))
    }
}

/// Returns the size of the log at which the next digest is due: a multiple, so that it comes however often the program
/// was started meanwhile.
const fn next_digest(size: u64, every: u64) -> u64 {
    (size / every).saturating_add(1).saturating_mul(every)
}

impl Shared {
    /// Refuses when the log has stopped.
    pub(crate) fn running(&self) -> Result<(), EngineError> {
        self.stopped
            .get()
            .map_or(Ok(()), |why| Err(EngineError::Stopped(why.clone())))
    }

    /// Returns why a turn was not taken.
    pub(crate) fn trouble(&self) -> EngineError {
        let trouble = self
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let stopped = self.running().err();
        stopped
            .or(trouble)
            .unwrap_or_else(|| EngineError::Stopped("the sequencer is gone".into()))
    }

    fn set_trouble(&self, trouble: Option<EngineError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Stops everything for good, and says why.
    pub(crate) fn stop(&self, error: &EngineError) {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            let said = next.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            cause = next.source();
        }
        let _ = self.stopped.set(text.into());
    }

    /// Refuses when the log has stopped, or no further act is to begin.
    pub(crate) fn open(&self) -> Result<(), EngineError> {
        if self.flights.is_closed() {
            let why = "ambit is being stopped; try again when it runs again";
            return Err(EngineError::Stopped(why.into()));
        }
        self.running()
    }

    /// Has the sequencer end after what waits now.
    pub(crate) fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
    }

    pub(crate) fn read(&self) -> Result<RwLockReadGuard<'_, Live>, EngineError> {
        self.live
            .read()
            .map_err(|_| EngineError::Stopped("a thread died while it folded".into()))
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, Live>, EngineError> {
        self.live
            .write()
            .map_err(|_| EngineError::Stopped("a thread died while it folded".into()))
    }

    /// Says for what there is room, as of the newest batch.
    pub(crate) fn space(&self) -> Space {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_space(&self, space: Space) {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = space;
    }

    pub(crate) fn quotas(&self) -> MutexGuard<'_, Quotas> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> fmt::Debug for Sequencer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sequencer")
    }
}

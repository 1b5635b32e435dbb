//! Opening an engine: reading back what is so, and writing down what nobody knows any more.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, OnceLock, RwLock, atomic::AtomicBool},
};

use ambit_audit::{Attachment, Durable, Log, LogError, LogKey, Resume, ResumeError, Space};
use ambit_core::{
    DecisionId, Digest, Labels, Millis, TaskId, Timestamp, TrustDomain,
    act::Target,
    claim::ClaimStanding,
    json,
    limits::{BATCH_RECORDS_MAX, RUNNER_RETURN_MAX},
    record::{Body, KeyStep, Performed, Status},
    task::{Task, TaskState},
};
use ambit_identity::Grounds;
use ambit_policy::{PartAsk, PolicyBook};
use tokio::sync::watch;

use super::{STATE_DIGEST_EVERY_RECORDS, Sequencer, Shared, next_digest};
use crate::{
    Archive, ArchiveError, Clock, Custody, CustodyError, EngineError, Handle, RecordedKeys,
    RowError, State, TaskEntry,
    bans::{Ban, Replaced},
    desk::Desk,
    doors::Flights,
    govern::Unserved,
    live::{Live, TaskRuntime},
    queue::queue,
    quota::Quotas,
};

/// Makes the policies of an estate from its files.
pub type CompileEstate = Arc<dyn Fn(&[u8]) -> Result<Arc<PolicyBook>, String> + Send + Sync>;

/// Everything that an engine is made of.
pub struct Setup<D> {
    /// The side of the store that writes.
    pub durable: D,
    /// The side of the store that reads.
    pub archive: Arc<dyn Archive>,
    /// What seals and opens.
    pub custody: Arc<dyn Custody>,
    /// Where moments come from.
    pub clock: Clock,
    /// The trust domain of the instances.
    pub trust_domain: TrustDomain,
    /// The key that signs checkpoints.
    pub log_key: LogKey,
    /// The log's name in its checkpoints; only a new log takes it.
    pub origin: String,
    /// Makes the policies of an estate from its files.
    pub compile: CompileEstate,
    /// The issuing keys, which a log that knows none yet learns first; none, where nobody issues.
    pub issuing: Option<RecordedKeys>,
}

/// An engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The store could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A row can't be read back.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The end of the log can't be read back.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A key could not be used.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The log and the tables were made by different trust domains or binaries.
    #[error("the store holds the log `{found}`, not `{wanted}`; give the right state directory")]
    OtherLog {
        /// The log's name in the store.
        found: String,
        /// The wanted name.
        wanted: String,
    },
    /// The files of an estate that is needed are gone.
    #[error("the store has lost the files of the estate {0}; run `ambit recover`")]
    EstateMissing(Digest),
    /// The files of an estate that is needed do not compile any more.
    #[error("the estate {digest} in the store does not compile with this binary: {problem}")]
    EstateBroken {
        /// Which version.
        digest: Digest,
        /// Why not.
        problem: String,
    },
    /// The first records could not be written.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl<D: Durable> Setup<D> {
    /// Opens the engine: reads back the fold, and writes down as unknown every act whose end was never written.
    pub fn open(self) -> Result<(Handle, Sequencer<D>), SetupError> {
        self.open_with(None)
    }

    /// Opens a new log in place of one that was lost or rolled back. Nothing of its authority lives on; its bans do.
    ///
    /// # Errors
    /// [`SetupError::OtherLog`] when the store holds a log already.
    pub fn open_in_place_of(self, lost: Replaced) -> Result<(Handle, Sequencer<D>), SetupError> {
        self.open_with(Some(lost))
    }

    fn open_with(self, replaced: Option<Replaced>) -> Result<(Handle, Sequencer<D>), SetupError> {
        let now = (self.clock)().now;
        let live = self.read_back(now)?;
        let resume = self.resume()?;
        if let Some(found) = live
            .state
            .origin
            .as_ref()
            .filter(|it| **it != self.origin || replaced.is_some())
        {
            return Err(SetupError::OtherLog {
                found: found.clone(),
                wanted: self.origin,
            });
        }
        let mut log = Log::open(self.durable, self.log_key, self.origin.clone(), resume)?;
        let beginning = Timestamp::from_millis(0);
        let resumed_at = log.last_at().unwrap_or(beginning);
        // A halt of any length is no jump of the clock: somebody started the program.
        log.accept_gap(now);
        let (turns, queue) = queue();
        let shared = Arc::new(Shared {
            metrics: live.metrics.clone(),
            resumed_at,
            live: RwLock::new(live),
            stopped: OnceLock::new(),
            finishing: AtomicBool::new(false),
            trouble: Mutex::new(None),
            quotas: Mutex::new(Quotas::new()),
            space: Mutex::new(Space::Ample),
            flights: Arc::new(Flights::new()),
            unserved: Unserved::default(),
            archive: self.archive,
            custody: self.custody,
            clock: self.clock,
            trust_domain: self.trust_domain,
        });
        let digest_due_at = next_digest(log.size(), STATE_DIGEST_EVERY_RECORDS);
        let mut sequencer = Sequencer {
            log,
            queue,
            shared: shared.clone(),
            digest_due_at,
            digest_every_records: STATE_DIGEST_EVERY_RECORDS,
            seen_at: now,
        };
        sequencer.write_first(self.origin, self.issuing, replaced)?;
        Ok((Handle::new(shared, turns), sequencer))
    }

    fn resume(&self) -> Result<Resume, SetupError> {
        let archive = &self.archive;
        let size = archive.size()?;
        Ok(Resume::from_archive(
            size,
            archive.checkpoint()?,
            |first, count| archive.leaves(first, count),
            |level, index| archive.tile(level, index, 256),
        )?)
    }

    fn read_back(&self, now: Timestamp) -> Result<Live, SetupError> {
        let state = State::load(self.archive.as_ref())?;
        let mut live = Live {
            state,
            book: None,
            grounds: Grounds::default(),
            books: HashMap::new(),
            runtime: HashMap::new(),
            aliases: self.archive.directory()?.into_iter().collect(),
            loose: HashSet::new(),
            loose_users: HashSet::new(),
            in_force: watch::Sender::new(None),
            former: VecDeque::new(),
            absent: HashMap::new(),
            metrics: Arc::default(),
        };
        if let Some(estate) = live.state.estate {
            let book = self.book(estate)?;
            live.put_in_force(book);
        }
        let acting =
            |it: &&TaskEntry| it.state.standing(it.task.expires_at, now) == TaskState::Active;
        let mut acting: Vec<_> = live.state.tasks().filter(acting).cloned().collect();
        // A parent is there before its children.
        acting.sort_by_key(|it| it.task.lineage.depth());
        for entry in acting {
            live.loosen(&entry);
            if entry.claim == ClaimStanding::Attended {
                let until = now.plus(RUNNER_RETURN_MAX);
                live.absent.insert(entry.task.id, until);
            }
            let version = entry.task.estate;
            let book = match live.books.get(&version) {
                Some(book) => book.clone(),
                None => self.book(version)?,
            };
            live.books.insert(version, book.clone());
            if let Some(runtime) = self.runtime(&live, &entry, &book)? {
                live.runtime.insert(entry.task.id, Arc::new(runtime));
            }
        }
        Ok(live)
    }

    fn book(&self, digest: Digest) -> Result<Arc<PolicyBook>, SetupError> {
        let files = self
            .archive
            .estate(digest)?
            .ok_or(SetupError::EstateMissing(digest))?;
        (self.compile)(&files).map_err(|problem| SetupError::EstateBroken { digest, problem })
    }

    /// Opens the sealed parameters of a task. A task whose key was erased can't act any more.
    fn runtime(
        &self,
        live: &Live,
        entry: &TaskEntry,
        book: &Arc<PolicyBook>,
    ) -> Result<Option<TaskRuntime>, SetupError> {
        let id = entry.task.id;
        let sealed = &entry.parameters;
        let (Some(wrapped), Some(blob)) = (self.archive.task_key(id)?, sealed.blob) else {
            return Ok(None);
        };
        let Some(blob) = self.archive.blob(entry.leaf, blob)? else {
            return Ok(None);
        };
        let plaintext = self.custody.open(&wrapped, id, sealed, &blob)?;
        if let Some(parent) = entry.task.lineage.parent() {
            // A child of a task that can't act can't act either.
            let Some(parent) = live.runtime.get(&parent).cloned() else {
                return Ok(None);
            };
            let part = json::parse(&plaintext).ok();
            let Some(part) = part.and_then(|it| PartAsk::from_details(&it).ok()?.whole()) else {
                return Err(CustodyError::Open { task: id }.into());
            };
            let task = Task {
                parameters: parent.task.parameters.clone(),
                ..entry.task.clone()
            };
            return Ok(Some(TaskRuntime::child(task, wrapped, parent, part)));
        }
        let parameters = json::parse(&plaintext).ok();
        let Some(parameters) = parameters.and_then(|it| it.as_object().cloned()) else {
            return Err(CustodyError::Open { task: id }.into());
        };
        let task = Task {
            parameters,
            ..entry.task.clone()
        };
        Ok(Some(TaskRuntime::new(task, wrapped, book.clone())))
    }
}

impl<D: Durable> Sequencer<D> {
    /// Opens a new log, or closes what a crash left open. Nobody else has a turn yet.
    fn write_first(
        &mut self,
        origin: String,
        issuing: Option<RecordedKeys>,
        replaced: Option<Replaced>,
    ) -> Result<(), EngineError> {
        let recovered = replaced.as_ref().map(|it| (it.origin.clone(), it.size));
        let mut opened = Some((origin, recovered));
        let mut bans = replaced.into_iter().flat_map(|it| it.bans);
        loop {
            let mut batch = self.begin()?;
            let mut live = self.shared.write()?;
            let mut desk = Desk::new(&mut live, &mut batch, self.shared.space());
            if desk.live.state.origin.is_none()
                && let Some((origin, recovered)) = opened.take()
            {
                desk.write(Body::LogOpened { origin, recovered })?;
            }
            if desk.live.state.issuing.is_none()
                && let Some(keys) = issuing
            {
                desk.write(Body::KeysRotated {
                    step: KeyStep::Begin,
                    certificate: keys.certificate,
                    sequence: keys.sequence,
                    warrant: None,
                })?;
            }
            for ban in bans.by_ref().take(desk.room() / 4) {
                carry(&mut desk, ban)?;
            }
            let lost = desk.live.state.open_acts().filter(|it| it.status.is_none());
            let lost: Vec<_> = lost.take(BATCH_RECORDS_MAX / 2).cloned().collect();
            for act in lost {
                desk.write(Body::Performed(Box::new(unknown(&act))))?;
            }
            let attachments = desk.finish()?;
            let rows = live.state.take_rows();
            drop(live);
            if batch.is_empty() {
                return Ok(());
            }
            self.log.commit(batch, rows, attachments)?;
        }
    }
}

/// Writes that a ban stands in this log, too, with who it is when it is a person.
fn carry(desk: &mut Desk<'_>, ban: Ban) -> Result<(), EngineError> {
    if let Target::Person(person) = ban.target {
        desk.write(Body::PersonKnown { person })?;
        if let Some(alias) = ban.alias {
            desk.live.aliases.insert(person, alias.clone());
            desk.attachments
                .push(Attachment::Directory { person, alias });
        }
    }
    desk.write(Body::RevocationCarried {
        revocation: ban.revocation,
        target: ban.target,
        leaf: ban.leaf,
    })?;
    Ok(())
}

/// Returns the record of an act whose end nobody knows.
pub(crate) fn unknown(act: &crate::OpenAct) -> Performed {
    without_answer(act.decision, act.task, Status::Unknown)
}

/// Returns the record of a permit that never passed its door.
pub(crate) fn not_sent(decision: DecisionId, task: TaskId) -> Performed {
    without_answer(decision, task, Status::NotSent)
}

fn without_answer(decision: DecisionId, task: TaskId, status: Status) -> Performed {
    Performed {
        decision,
        task,
        status,
        took: Millis::new(0),
        sent_bytes: 0,
        received_bytes: 0,
        labels: Labels::none(),
        result: None,
        failure: None,
    }
}

impl<D> fmt::Debug for Setup<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setup({})", self.origin)
    }
}

//! Opening the engine over its store, and keeping it going: its own thread, and a tick.

use std::{path::Path, sync::Arc, thread, time::Duration};

use ambit_broker::FileCustody;
use ambit_control::{
    api::{CLOCK_BEHIND_TOLD, KeysInForce},
    estate::{EstateProblem, read_archive},
};
use ambit_core::Timestamp;
use ambit_engine::{
    Archive, CompileEstate, Handle, Moment, Replaced, Setup, SetupError, TABLES, recorded_keys,
};
use ambit_policy::PolicyBook;
use ambit_store::{Keeping, StoreError, create_or_open};
use tokio::{
    sync::{oneshot, watch},
    time::MissedTickBehavior,
};

use super::keys::{Keys, KeysError, standing};
use crate::{
    clock::{Clock, Dice},
    config::StateDirectory,
};

/// How often the engine is told that time passes.
const TICK: Duration = Duration::from_millis(250);

/// An engine that runs, and what its doors need.
#[derive(Clone)]
pub(crate) struct Running {
    /// The engine.
    pub(crate) handle: Handle,
    /// Moments for the doors.
    pub(crate) moments: ambit_engine::Clock,
    /// What seals and opens.
    pub(crate) custody: Arc<FileCustody>,
    /// What signs SVIDs, and is trusted.
    pub(crate) keys: KeysInForce,
    /// The reading end of the store.
    pub(crate) archive: Arc<dyn Archive>,
    /// The log's name in its checkpoints.
    pub(crate) origin: String,
}

/// Why no engine runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineStartError {
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine refused what it found.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No thread for it.
    #[error("could not start the thread of the sequencer")]
    Thread(#[source] std::io::Error),
}

/// Opens the engine in `state`; `instead_of` is the log that a new one replaces. The
/// receiver resolves when the sequencer has ended and the store is closed.
pub(crate) fn open(
    state: &StateDirectory,
    mark: &Path,
    trust_domain: Option<&str>,
    clock: &Clock,
    instead_of: Option<Replaced>,
) -> Result<(Running, oneshot::Receiver<()>), EngineStartError> {
    let Keys {
        log,
        custody,
        issuing,
        origin,
    } = super::keys::open(state, trust_domain, clock.now())?;
    let keeping = Keeping {
        path: state.database(),
        mark: mark.to_owned(),
        tables: TABLES,
        verifier: log.verifier(&origin).map_err(KeysError::from)?,
        vfs: None,
    };
    let (durable, archive) = create_or_open(&keeping)?;
    let archive: Arc<dyn Archive> = Arc::new(archive);
    if let Some(at) = ended_at(archive.as_ref()) {
        clock.not_before(at);
    }
    let recorded = recorded_keys(archive.as_ref()).map_err(KeysError::from)?;
    let issuing = issuing.in_force(recorded)?;
    let custody = Arc::new(custody);
    let moments = moments(clock.clone());
    let setup = Setup {
        durable,
        archive: Arc::clone(&archive),
        custody: custody.clone(),
        clock: Arc::clone(&moments),
        trust_domain: issuing.trust_domain().clone(),
        log_key: log,
        origin: origin.clone(),
        compile: compile(),
        issuing: Some(standing(&issuing)),
    };
    let (handle, sequencer) = match instead_of {
        Some(lost) => setup.open_in_place_of(lost)?,
        None => setup.open()?,
    };
    let (over, ended) = oneshot::channel();
    thread::Builder::new()
        .name("sequencer".to_owned())
        .spawn(move || {
            sequencer.run();
            // Nobody need be waiting for it.
            let _ = over.send(());
        })
        .map_err(EngineStartError::Thread)?;
    let keys = Arc::new(watch::Sender::new(Arc::new(issuing)));
    Ok((
        Running {
            handle,
            moments,
            custody,
            keys,
            archive,
            origin,
        },
        ended,
    ))
}

/// Returns the time of the log's last record. What can't be read here is refused when the engine opens.
fn ended_at(archive: &dyn Archive) -> Option<Timestamp> {
    let last = archive.size().ok()?.checked_sub(1)?;
    let leaves = archive.leaves(last, 1).ok()?;
    Some(ambit_audit::decode(leaves.first()?).ok()?.at)
}

/// Tells the engine that time passes, until dropped.
pub(crate) async fn tick(running: Running) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Behind::Not;
    loop {
        ticks.tick().await;
        let moment = (running.moments)();
        clock = clock.told(&moment);
        if let Err(error) = running.handle.tick(moment).await {
            tracing::error!(%error, "the engine could not go on with time");
        }
    }
}

/// Whether the machine's clock is behind the log's time, as far as the log of the server has told it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Behind {
    Not,
    Behind,
}

impl Behind {
    /// Tells of a change, once.
    fn told(self, moment: &Moment) -> Self {
        let behind = moment.now.since(moment.wall);
        let seconds = behind.as_millis() / 1000;
        match self {
            Self::Not if behind > CLOCK_BEHIND_TOLD => {
                tracing::error!(
                    seconds,
                    "the machine's clock is behind the log's time: it was ahead and was set back; until it has caught up, \
                     tasks, tokens and SVIDs end as much too early; see `ambit status`"
                );
                Self::Behind
            }
            Self::Behind if behind <= CLOCK_BEHIND_TOLD => {
                tracing::info!("the machine's clock has caught up with the log's time");
                Self::Not
            }
            Self::Not | Self::Behind => self,
        }
    }
}

/// Returns the source of moments.
pub(crate) fn moments(clock: Clock) -> ambit_engine::Clock {
    let dice = Dice::new();
    Arc::new(move || {
        let Ok(chance) = dice.chance() else {
            // Without chance every name and nonce could be guessed or used twice. Nothing may go on.
            tracing::error!("the operating system gave no random bytes; ambit halts");
            std::process::abort();
        };
        let (now, wall) = clock.both();
        Moment { now, wall, chance }
    })
}

/// Returns the problems as lines.
pub(crate) fn lines(problems: &[EstateProblem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

pub(crate) fn compile() -> CompileEstate {
    Arc::new(|archive| {
        let loaded = read_archive(archive).map_err(|problems| lines(&problems))?;
        let book = PolicyBook::compile(Arc::new(loaded.estate)).map_err(|problems| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })?;
        Ok(Arc::new(book))
    })
}

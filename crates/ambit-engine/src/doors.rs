//! Acts under way: the leave to pass a door once, and how it is cut.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambit_core::{
    AgentName, DecisionId, Labels, Millis, PersonId, ServerName, TaskId, Timestamp,
    act::{Act, Target},
    limits::PERMIT_ACT_BY,
    record::Status,
    task::Task,
};
use tokio::sync::{Notify, watch};

/// The longest result that is kept sealed beside the log, in bytes. Of longer ones only the commitment is.
pub const RESULT_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Leave to do one recorded act once, now. Made only by [`crate::Handle::admit`].
///
/// ```compile_fail
/// # fn forge(act: ambit_core::act::Act) -> ambit_engine::Passage {
/// ambit_engine::Passage { act, flight: unimplemented!() }
/// # }
/// ```
#[must_use = "a passage that is dropped leaves an act whose end nobody knows"]
pub struct Passage {
    act: Act,
    flight: FlightGuard,
}

/// How an act ended, as the door saw it.
#[derive(Clone, Debug)]
pub struct Effect {
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub took: Millis,
    /// The bytes that went upstream.
    pub sent_bytes: u64,
    /// The bytes that came back.
    pub received_bytes: u64,
    /// Labels found only in the result.
    pub labels: Labels,
    /// The result, to be sealed beside the log.
    pub result: Option<Vec<u8>>,
}

impl Passage {
    /// Returns the act that may be done: exactly this one.
    pub const fn act(&self) -> &Act {
        &self.act
    }

    /// Returns the decision that permitted it.
    pub const fn decision(&self) -> DecisionId {
        self.flight.decision
    }

    /// Returns the task.
    pub const fn task(&self) -> TaskId {
        self.flight.task
    }

    /// Resolves when the authority has ended: the door must stop at once.
    pub async fn cancelled(&self) {
        let mut cut = self.flight.cut.clone();
        // The sender lives as long as the flight is listed; when it is gone, the flight was struck off.
        let _ = cut.wait_for(|cut| *cut).await;
    }
}

/// All acts under way.
pub(crate) struct Flights {
    listed: Mutex<HashMap<DecisionId, Flight>>,
    landed: Notify,
}

struct Flight {
    task: TaskId,
    instance: ambit_core::InstanceId,
    agent: AgentName,
    person: PersonId,
    server: Option<ServerName>,
    cut: watch::Sender<bool>,
    cut_at: Option<Timestamp>,
}

/// Strikes the flight off when it is dropped.
struct FlightGuard {
    decision: DecisionId,
    task: TaskId,
    cut: watch::Receiver<bool>,
    flights: Arc<Flights>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            listed: Mutex::new(HashMap::new()),
            landed: Notify::new(),
        }
    }

    /// Lists an act as under way.
    pub(crate) fn depart(self: &Arc<Self>, decision: DecisionId, task: &Task, act: Act) -> Passage {
        let (cut, receiver) = watch::channel(false);
        let flight = Flight {
            task: task.id,
            instance: task.instance,
            agent: task.agent.clone(),
            person: task.subject,
            server: act.server().cloned(),
            cut,
            cut_at: None,
        };
        self.lock().insert(decision, flight);
        let flight = FlightGuard {
            decision,
            task: task.id,
            cut: receiver,
            flights: self.clone(),
        };
        Passage { act, flight }
    }

    /// Counts the acts of `task` under way.
    pub(crate) fn count(&self, task: TaskId) -> usize {
        self.lock().values().filter(|it| it.task == task).count()
    }

    /// Says whether this act is under way.
    pub(crate) fn is_listed(&self, decision: DecisionId) -> bool {
        self.lock().contains_key(&decision)
    }

    /// Cuts every act that hangs on `target` and returns their decisions in order.
    pub(crate) fn cut(&self, target: &Target, now: Timestamp) -> Vec<DecisionId> {
        let mut crossed = Vec::new();
        for (decision, flight) in self.lock().iter_mut() {
            if flight.hangs_on(target) {
                flight.cut_at.get_or_insert(now);
                flight.cut.send_replace(true);
                crossed.push(*decision);
            }
        }
        crossed.sort_unstable();
        crossed
    }

    /// Resolves when none of `decisions` is under way any more, or its bounded time is over.
    pub(crate) async fn landed(&self, decisions: &[DecisionId]) {
        loop {
            let mut next = std::pin::pin!(self.landed.notified());
            next.as_mut().enable();
            if !decisions.iter().any(|it| self.is_listed(*it)) {
                return;
            }
            next.await;
        }
    }

    /// Strikes off acts that were cut longer ago than a permit lives: their doors do not answer.
    pub(crate) fn strike_off(&self, now: Timestamp) {
        self.lock().retain(|_, flight| {
            flight
                .cut_at
                .is_none_or(|cut_at| now < cut_at.plus(PERMIT_ACT_BY))
        });
        self.landed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DecisionId, Flight>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn hangs_on(&self, target: &Target) -> bool {
        match target {
            Target::Task(id) => self.task == *id,
            Target::Instance(id) => self.instance == *id,
            Target::Agent(name) => self.agent == *name,
            Target::Person(id) => self.person == *id,
            Target::Server(name) => self.server.as_ref() == Some(name),
        }
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.decision);
        self.flights.landed.notify_waiters();
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passage({})", self.flight.decision)
    }
}

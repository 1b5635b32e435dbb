//! Acts under way: the leave to pass a door once, and how it is cut.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::live::TaskRuntime;
use ambit_core::{
    AgentName, DecisionId, Labels, Millis, PersonId, Reason, ServerName, TaskId, Timestamp,
    ToolName,
    act::{Act, Target},
    estate::Endpoint,
    limits::{ACTS_IN_FLIGHT_PER_TASK_MAX, PERMIT_ACT_BY},
    record::Status,
    task::Task,
};
use tokio::sync::{Notify, watch};

/// The longest result that is kept sealed beside the log, in bytes. Of longer ones only the commitment is.
pub const RESULT_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Leave to do one recorded act once, now. Made only by [`crate::Handle::admit`].
///
/// ```compile_fail,E0451
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
    /// Why it did not end well, in Ambit's own words: no secret, and nothing that the upstream wrote.
    pub failure: Option<String>,
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

    /// Resolves when the authority has ended, with the reason: the door must stop at once.
    pub async fn cancelled(&self) -> Reason {
        let mut cut = self.flight.cut.clone();
        // The sender lives as long as the flight is listed; when it is gone, the flight was struck off.
        let _ = cut.wait_for(Option::is_some).await;
        let why = *cut.borrow();
        why.unwrap_or(Reason::TaskEnded)
    }
}

/// All acts under way.
pub(crate) struct Flights {
    listed: Mutex<HashMap<DecisionId, Flight>>,
    /// No further act departs.
    closed: AtomicBool,
    landed: Notify,
}

struct Flight {
    task: TaskId,
    instance: ambit_core::InstanceId,
    agent: AgentName,
    person: PersonId,
    /// Whose yes it spent.
    approver: Option<PersonId>,
    /// The tasks above: what ends one of them ends this.
    above: Vec<(TaskId, ambit_core::InstanceId, AgentName)>,
    server: Option<ServerName>,
    tool: Option<ToolName>,
    endpoint: Option<Endpoint>,
    /// Why it was cut, once it was.
    cut: watch::Sender<Option<Reason>>,
    cut_at: Option<Timestamp>,
}

/// Where an act under way goes.
#[derive(Clone, Copy)]
pub(crate) enum Door<'a> {
    Tool(&'a ServerName, &'a ToolName),
    Server(&'a ServerName),
    Endpoint(&'a Endpoint),
}

/// A task has as many acts under way as it may have, or none is to depart any more.
#[derive(Debug)]
pub(crate) struct Crowded;

/// Strikes the flight off when it is dropped.
struct FlightGuard {
    decision: DecisionId,
    task: TaskId,
    cut: watch::Receiver<Option<Reason>>,
    flights: Arc<Flights>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            listed: Mutex::new(HashMap::new()),
            closed: AtomicBool::new(false),
            landed: Notify::new(),
        }
    }

    /// Lets no further act depart.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Says whether no further act departs.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Lists an act as under way, or refuses when the task has too many under way already, or none is to depart.
    pub(crate) fn depart(
        self: &Arc<Self>,
        decision: DecisionId,
        (runtime, approver): (&TaskRuntime, Option<PersonId>),
        act: Act,
    ) -> Result<Passage, Crowded> {
        let task: &Task = &runtime.task;
        let above = runtime.tasks_above().map(|it| {
            let task = &it.task;
            (task.id, task.instance, task.agent.clone())
        });
        let (cut, receiver) = watch::channel(None);
        let endpoint = match &act {
            Act::Connect { host, port } => Some(Endpoint {
                host: host.clone(),
                port: *port,
            }),
            Act::CallTool { .. }
            | Act::ReadResource { .. }
            | Act::GetPrompt { .. }
            | Act::Complete { .. }
            | Act::List { .. } => None,
        };
        let flight = Flight {
            task: task.id,
            instance: task.instance,
            agent: task.agent.clone(),
            person: task.subject,
            approver,
            above: above.collect(),
            server: act.server().cloned(),
            tool: act.tool().cloned(),
            endpoint,
            cut,
            cut_at: None,
        };
        let mut listed = self.lock();
        // Read under the lock: whoever closes waits for what is listed by then.
        if self.is_closed() {
            return Err(Crowded);
        }
        let crowded = |id: TaskId| {
            let under = listed.values().filter(|it| it.is_under(id)).count();
            under >= ACTS_IN_FLIGHT_PER_TASK_MAX
        };
        if crowded(task.id) || flight.above.iter().any(|(id, ..)| crowded(*id)) {
            return Err(Crowded);
        }
        listed.insert(decision, flight);
        drop(listed);
        let flight = FlightGuard {
            decision,
            task: task.id,
            cut: receiver,
            flights: self.clone(),
        };
        Ok(Passage { act, flight })
    }

    /// Counts the acts of `task`, and of those below it, under way.
    pub(crate) fn count(&self, task: TaskId) -> usize {
        self.lock().values().filter(|it| it.is_under(task)).count()
    }

    /// Says whether this act is under way.
    pub(crate) fn is_listed(&self, decision: DecisionId) -> bool {
        self.lock().contains_key(&decision)
    }

    /// Cuts every act that hangs on `target`, for `reason`, and returns their decisions in order.
    pub(crate) fn cut(
        &self,
        (target, reason): (&Target, Reason),
        now: Timestamp,
    ) -> Vec<DecisionId> {
        let mut crossed = Vec::new();
        for (decision, flight) in self.lock().iter_mut() {
            if flight.hangs_on(target) {
                flight.cut(reason, now);
                crossed.push(*decision);
            }
        }
        crossed.sort_unstable();
        crossed
    }

    /// Cuts every act under any of `tasks`, for `reason`, and returns their decisions in order.
    pub(crate) fn cut_under(
        &self,
        tasks: &[TaskId],
        reason: Reason,
        now: Timestamp,
    ) -> Vec<DecisionId> {
        let cut = |it: &TaskId| self.cut((&Target::Task(*it), reason), now);
        let mut crossed: Vec<_> = tasks.iter().flat_map(cut).collect();
        crossed.sort_unstable();
        crossed.dedup();
        crossed
    }

    /// Cuts the acts that nothing permits any more, for the reason that `offered` says; returns their decisions in order.
    /// It is asked of each by its task and whose yes it spent.
    pub(crate) fn cut_withdrawn(
        &self,
        now: Timestamp,
        offered: impl Fn((TaskId, Option<PersonId>), Door<'_>) -> Result<(), Reason>,
    ) -> Vec<DecisionId> {
        let mut crossed = Vec::new();
        for (decision, flight) in self.lock().iter_mut() {
            let door = match (&flight.server, &flight.tool, &flight.endpoint) {
                (Some(server), Some(tool), _) => Door::Tool(server, tool),
                (Some(server), None, _) => Door::Server(server),
                (None, _, Some(endpoint)) => Door::Endpoint(endpoint),
                (None, _, None) => continue,
            };
            if let Err(reason) = offered((flight.task, flight.approver), door) {
                flight.cut(reason, now);
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

    /// Cuts every tunnel: it has no end of its own.
    pub(crate) fn cut_tunnels(&self, now: Timestamp) {
        for flight in self.lock().values_mut() {
            if flight.endpoint.is_some() {
                flight.cut(Reason::PermitStale, now);
            }
        }
    }

    /// Resolves when no act is under way.
    pub(crate) async fn all_landed(&self) {
        loop {
            let mut next = std::pin::pin!(self.landed.notified());
            next.as_mut().enable();
            if self.lock().is_empty() {
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
    fn is_under(&self, task: TaskId) -> bool {
        self.task == task || self.above.iter().any(|(above, ..)| *above == task)
    }

    /// Cuts it. What cut it first is why.
    fn cut(&mut self, reason: Reason, now: Timestamp) {
        self.cut_at.get_or_insert(now);
        self.cut.send_if_modified(|cut| {
            let first = cut.is_none();
            cut.get_or_insert(reason);
            first
        });
    }

    fn hangs_on(&self, target: &Target) -> bool {
        let mut above = self.above.iter();
        match target {
            Target::Task(id) => self.is_under(*id),
            Target::Instance(id) => self.instance == *id || above.any(|(_, it, _)| it == id),
            Target::Agent(name) => self.agent == *name || above.any(|(.., it)| it == name),
            Target::Person(id) => self.person == *id || self.approver == Some(*id),
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

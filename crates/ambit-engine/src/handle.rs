//! The engine as the doors of agents see it: decide, admit, perform.

mod ask;
mod ending;
mod refuse;
mod waiting;

use std::{fmt, sync::Arc};

use ambit_audit::{Draft, Fits, Recorded, Space};
use ambit_core::{
    ApprovalId, DecisionId, Digest, Reason, ServerName, SpiffeId, TaskId, Timestamp, ToolName,
    act::Act,
    limits::ACTS_IN_FLIGHT_PER_TASK_MAX,
    record::{Body, Performed, Sealed},
    task::{Task, TaskState},
};
use ambit_identity::{InstanceCaller, Validity};
use ambit_policy::{Epochs, Offering, Permit, PolicyBook, Standing};
use tokio::sync::{oneshot, watch};

use self::ask::{Ask, Drafted, approved_form};
pub(crate) use self::waiting::{Reply, Waiting};
use crate::{
    Denied, Effect, EngineError, Moment, Passage, Presented, RESULT_KEPT_BYTES_MAX,
    desk::{Awaits, Desk, Settle, Turn},
    live::TaskRuntime,
    moment::Chance,
    queue::Turns,
    sequencer::{Shared, not_sent},
};

/// The engine, as every door holds it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    turns: Turns,
}

/// The answer to an agent. Whatever it is, it is written down.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is made once per call and spent at once"
)]
pub enum Answer {
    /// It may happen, once, now. The evidence is what [`Handle::admit`] wants.
    Allowed(Recorded<Permit>),
    /// A human must approve this exact act first.
    Held(Held),
    /// It may not happen.
    Denied(Denied),
}

/// A hold: the identical act goes through once after a human's yes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// The decision's name.
    pub decision: DecisionId,
    /// What a human is asked to approve.
    pub approval: ApprovalId,
    /// When the request expires.
    pub expires_at: Timestamp,
    /// Why a human is asked.
    pub reason: Reason,
}

/// A live task and the policies in force.
type Acting = (Arc<TaskRuntime>, Arc<PolicyBook>);

/// What a task could do.
#[derive(Clone, Debug)]
pub struct Offers {
    /// The task, with its parameters.
    pub task: Arc<Task>,
    /// The version of the estate in force, with the registry.
    pub book: Arc<PolicyBook>,
    /// The servers it may touch, by name.
    pub servers: Vec<Offer>,
}

/// What a task could do at one server.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Which server.
    pub server: ServerName,
    /// The tools whose calls could be allowed or held, by name.
    pub tools: Vec<ToolName>,
}

impl Handle {
    pub(crate) const fn new(shared: Arc<Shared>, turns: Turns) -> Self {
        Self { shared, turns }
    }

    /// Decides on `act` and returns when the decision is durable.
    ///
    /// # Errors
    /// No answer could be given or written: at a door that is a refusal.
    pub async fn decide(
        &self,
        caller: &InstanceCaller,
        act: Act,
        moment: Moment,
    ) -> Result<Answer, EngineError> {
        self.shared.open()?;
        let mut chance = Chance::new(moment.chance);
        let decision = chance.id(moment.now);
        if caller.validity(moment.now, moment.wall) == Validity::Over {
            let expired = self.reason_of_expiry(caller, moment.now)?;
            return self
                .refuse_as(caller, (decision, moment.now), (&act).into(), expired)
                .await;
        }
        let Some((runtime, book)) = self.runtime(caller, moment.now)? else {
            let reason = self.reason_without_task(caller, moment.now)?;
            return self
                .refuse_as(caller, (decision, moment.now), (&act).into(), reason)
                .await;
        };
        let flights = &self.shared.flights;
        let crowded = [&runtime]
            .into_iter()
            .chain(runtime.tasks_above())
            .any(|it| flights.count(it.task.id) >= ACTS_IN_FLIGHT_PER_TASK_MAX);
        if crowded {
            return self
                .refuse_as(
                    caller,
                    (decision, moment.now),
                    (&act).into(),
                    Reason::Overloaded,
                )
                .await;
        }
        let mut ask = self.ask(
            caller,
            (runtime, &book),
            &act,
            (decision, moment.now, chance),
        )?;
        let snapshot =
            self.shared
                .read()?
                .snapshot(&ask.runtime, &act, ask.sealed.commitment, moment.now);
        let Some(snapshot) = snapshot else {
            return self
                .refuse_as(
                    caller,
                    (ask.decision, moment.now),
                    (&act).into(),
                    Reason::TaskEnded,
                )
                .await;
        };
        let basis = snapshot.basis();
        let action = act.action();
        let mut answer = ask.judge(&book, &snapshot, act, moment.now)?;
        // Most of the work on a record is done here, beside others, and not in its turn.
        let answer = loop {
            if let Some(denied) = self.counted(caller, &answer, moment.now) {
                return Ok(Answer::Denied(denied));
            }
            let drafted = Drafted::new(ask.kept(answer))?;
            match drafted.fits() {
                Fits::Leaf => break drafted,
                Fits::Nowhere => answer = ask.too_long(&book, action, moment.now),
            }
        };
        self.turn(move |desk| ask.settle(desk, answer, basis))
            .await?
    }

    /// Returns when the newest record was written that was there before this start; the beginning of time when there was
    /// none.
    pub fn resumed_at(&self) -> Timestamp {
        self.shared.resumed_at
    }

    /// Lets a recorded permit through the door, once: checks again that it is still in time and that nothing was
    /// taken away since, right before the first byte goes upstream.
    pub fn admit(&self, permit: Recorded<Permit>, now: Timestamp) -> Result<Passage, Denied> {
        let permit = permit.spend();
        let decision = permit.decision();
        let Some(task) = permit.task() else {
            return Err(Denied {
                decision,
                reason: Reason::PermitStale,
            });
        };
        let departed = self.depart(permit, task, now);
        departed.map_err(|reason| {
            self.write_later(not_sent(decision, task));
            Denied { decision, reason }
        })
    }

    fn depart(&self, permit: Permit, task: TaskId, now: Timestamp) -> Result<Passage, Reason> {
        let stale = Reason::PermitStale;
        let live = self.shared.read().map_err(|_| stale)?;
        let runtime = live.runtime.get(&task).ok_or(stale)?;
        let entry = live.state.task(task).ok_or(stale)?;
        let active = entry.state.standing(entry.task.expires_at, now) == TaskState::Active;
        let epochs = live.epochs(&runtime.task, permit.act().server());
        let narrowed = Epochs {
            task: epochs.task,
            ..permit.epochs()
        } != epochs;
        let approver = live.state.approver(permit.decision());
        let void = approver.is_some_and(|(by, standing)| {
            standing == Standing::Revoked || live.approver_standing(by, task) == Standing::Revoked
        });
        if !active || narrowed || void || permit.act_by() <= now || self.shared.running().is_err() {
            return Err(stale);
        }
        let decision = permit.decision();
        // Under the lock: a revocation that comes later finds this act listed.
        let departed = self.shared.flights.depart(
            decision,
            (runtime, approver.map(|it| it.0)),
            permit.into_act(),
        );
        departed.map_err(|_| Reason::Overloaded)
    }

    /// Writes down how an act ended. Labels found only in the result are durable on return; everything else is
    /// queued.
    pub async fn performed(
        &self,
        passage: Passage,
        effect: Effect,
        moment: Moment,
    ) -> Result<(), EngineError> {
        let (decision, task) = (passage.decision(), passage.task());
        let urgent = effect.labels.count() > 0;
        let (result, bytes) = self.seal_result(
            task,
            effect.result.as_deref(),
            Chance::new(moment.chance).draw(),
        )?;
        let performed = Performed {
            decision,
            task,
            status: effect.status,
            took: effect.took,
            sent_bytes: effect.sent_bytes,
            received_bytes: effect.received_bytes,
            labels: effect.labels,
            result,
            failure: effect.failure,
        };
        let draft = Draft::new(Body::Performed(Box::new(performed)))?;
        let written = self.turn(move |desk| {
            if desk.awaits(decision) == Awaits::Nothing {
                // A person settled it while the door was silent: their word stands.
                return Box::new(|committed| committed.map(|_| ()));
            }
            let pending = desk.write_draft(draft);
            if let (Ok(pending), Some(sealed)) = (&pending, &result) {
                desk.keep_sealed(pending.index(), Some(task), sealed, bytes);
            }
            Box::new(move |committed| committed.and(pending).map(|_| ()))
        });
        if urgent {
            let result = written.await?;
            drop(passage);
            return result;
        }
        // It has landed once its end is in the queue: who waits for that may stop the engine then.
        let queued = written.queued().await;
        drop(passage);
        queued
    }

    /// Returns what the caller's task could do now, for listings and routes.
    pub fn offers(&self, caller: &InstanceCaller, now: Timestamp) -> Result<Offers, EngineError> {
        let Some((runtime, book)) = self.runtime(caller, now)? else {
            return Err(EngineError::NoTask);
        };
        let live = self.shared.read()?;
        let scope = runtime.scope_of(&book, live.carried(caller).as_ref())?;
        let entry = live
            .state
            .task(runtime.task.id)
            .ok_or(EngineError::NoTask)?;
        if entry.state.standing(entry.task.expires_at, now) != TaskState::Active {
            return Err(EngineError::NoTask);
        }
        let mut servers = Vec::new();
        for (name, server) in &book.estate().servers {
            if scope.offers_server(name) == Offering::Withheld {
                continue;
            }
            let unchanged = |it: &&ambit_core::estate::Tool| {
                let seen = live.state.seen.get(&(name.clone(), it.name.clone()));
                seen.is_none_or(|seen| *seen == it.pin)
            };
            let tools = server.tools.values().filter(unchanged);
            let offered = |it: &&ambit_core::estate::Tool| {
                scope.offers(&book, name, &it.name) == Offering::Offered
            };
            let tools = tools.filter(offered).map(|it| it.name.clone()).collect();
            servers.push(Offer {
                server: name.clone(),
                tools,
            });
        }
        drop(live);
        Ok(Offers {
            task: runtime.task.clone(),
            book,
            servers,
        })
    }

    /// Writes down that a server showed `tool` otherwise than pinned, or as pinned again. Once per change.
    pub async fn tool_seen(
        &self,
        server: ServerName,
        tool: ToolName,
        seen: Digest,
    ) -> Result<(), EngineError> {
        let known = {
            let live = self.shared.read()?;
            let before = live
                .state
                .seen
                .get(&(server.clone(), tool.clone()))
                .copied();
            let pin = live.book()?.estate().tool(&server, &tool).map(|it| it.pin);
            before.or(pin) == Some(seen)
        };
        if known {
            return Ok(());
        }
        self.turn(move |desk| {
            let pending = desk.write(Body::ToolSeen { server, tool, seen });
            Box::new(move |committed| committed.and(pending).map(|_| ()))
        })
        .await?
    }

    /// Returns the live task whose instance has this SPIFFE ID.
    ///
    /// # Errors
    /// [`EngineError::NoTask`] when there is none now: the name stands for no authority.
    pub fn task_of(&self, spiffe_id: &SpiffeId, now: Timestamp) -> Result<Arc<Task>, EngineError> {
        let (_, instance) = spiffe_id.as_instance().ok_or(EngineError::NoTask)?;
        let live = self.shared.read()?;
        let task = live.state.instances.get(&instance);
        let entry = task.and_then(|it| live.state.task(*it));
        let entry = entry.ok_or(EngineError::NoTask)?;
        let active = entry.state.standing(entry.task.expires_at, now) == TaskState::Active;
        let runtime = live.runtime.get(&entry.task.id);
        let runtime = runtime.filter(|it| active && it.task.spiffe_id == *spiffe_id);
        runtime.map(|it| it.task.clone()).ok_or(EngineError::NoTask)
    }

    /// Resolves when the task has ended, however. What is returned holds no handle, and is small.
    pub fn task_ended(&self, task: TaskId) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.shared.read().ok().and_then(|live| {
            live.runtime
                .get(&task)
                .map(|runtime| runtime.ended.subscribe())
        });
        async move {
            if let Some(ended) = &mut ended {
                let _ = ended.wait_for(|ended| *ended).await;
            }
        }
    }

    /// Watches which version of the estate is in force.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn estates(&self) -> Result<watch::Receiver<Option<Digest>>, EngineError> {
        Ok(self.shared.read()?.in_force.subscribe())
    }

    /// Says whether acts could be decided now: an estate is in force, the log takes records, and there is room.
    pub fn ready(&self) -> Result<(), EngineError> {
        self.shared.running()?;
        self.book()?;
        match self.shared.space() {
            Space::Ample => Ok(()),
            Space::Reserve => Err(EngineError::NoSpace),
        }
    }

    /// Returns the policies in force; their estate is the registry.
    pub fn book(&self) -> Result<Arc<PolicyBook>, EngineError> {
        self.shared.read()?.book()
    }

    /// Finds the live task of `caller` and the policies in force.
    fn runtime(
        &self,
        caller: &InstanceCaller,
        now: Timestamp,
    ) -> Result<Option<Acting>, EngineError> {
        let live = self.shared.read()?;
        let task = live.state.instances.get(&caller.instance());
        let runtime = task.and_then(|it| live.runtime.get(it));
        // The certificate names the agent too; a task of another agent is none of the caller's.
        let runtime = runtime.filter(|it| it.task.spiffe_id == *caller.spiffe_id());
        // A token is for one task, and an instance that is given another one needs another token.
        let runtime =
            runtime.filter(|it| caller.token().is_none_or(|token| token.task == it.task.id));
        let runtime = runtime.filter(|_| live.presented(caller, now) == Presented::AsItsTask);
        match runtime {
            Some(runtime) => Ok(Some((runtime.clone(), live.book()?))),
            None => Ok(None),
        }
    }

    /// Says whether the time of the task is over, or that of the token alone by which `caller` came.
    fn reason_of_expiry(
        &self,
        caller: &InstanceCaller,
        now: Timestamp,
    ) -> Result<Reason, EngineError> {
        let live = self.shared.read()?;
        let task = caller.token().map(|it| live.acting(it.task, now));
        Ok(match task {
            Some(Ok(_)) => Reason::TokenExpired,
            Some(Err(_)) | None => Reason::TaskExpired,
        })
    }

    fn reason_without_task(
        &self,
        caller: &InstanceCaller,
        now: Timestamp,
    ) -> Result<Reason, EngineError> {
        let live = self.shared.read()?;
        if let Presented::Nothing(reason) = live.presented(caller, now) {
            return Ok(reason);
        }
        Ok(match live.task_of(caller.instance()) {
            Some(_) => Reason::TaskEnded,
            None => Reason::TaskUnknown,
        })
    }

    /// Seals the act: what is decided, shown to a human and digested is the same text.
    fn ask(
        &self,
        caller: &InstanceCaller,
        (runtime, book): (Arc<TaskRuntime>, &PolicyBook),
        act: &Act,
        (decision, now, mut chance): (DecisionId, Timestamp, Chance),
    ) -> Result<Ask, EngineError> {
        let text = approved_form(&runtime.task, book, act).to_canonical();
        let (sealed, bytes) = self.shared.custody.seal(
            &runtime.wrapped_key,
            runtime.task.id,
            text.as_bytes(),
            chance.draw(),
        )?;
        Ok(Ask {
            decision,
            fresh_approval: chance.id(now),
            caller: caller.clone(),
            part: self.shared.read()?.carried(caller),
            runtime,
            sealed,
            bytes,
            asked_at: now,
            shared: self.shared.clone(),
            second_nonce: chance.draw(),
            sealed_under: book.estate().digest,
        })
    }

    fn seal_result(
        &self,
        task: TaskId,
        result: Option<&[u8]>,
        nonce: [u8; 12],
    ) -> Result<(Option<Sealed>, Vec<u8>), EngineError> {
        let runtime = self.shared.read()?.runtime.get(&task).cloned();
        let (Some(result), Some(runtime)) = (result, runtime) else {
            return Ok((None, Vec::new()));
        };
        let custody = &self.shared.custody;
        if result.len() > RESULT_KEPT_BYTES_MAX {
            let commitment = custody.commit(&runtime.wrapped_key, task, result)?;
            return Ok((
                Some(Sealed {
                    commitment,
                    blob: None,
                }),
                Vec::new(),
            ));
        }
        let (sealed, bytes) = custody.seal(&runtime.wrapped_key, task, result, nonce)?;
        Ok((Some(sealed), bytes))
    }

    /// Queues the record of an outcome that nobody waits for.
    fn write_later(&self, performed: Performed) {
        let turn: Turn = Box::new(move |desk| {
            if desk.awaits(performed.decision) == Awaits::Outcome {
                // A record that can't be written leaves the act open: it is shown as unknown.
                let _ = desk.write(Body::Performed(Box::new(performed)));
            }
            Box::new(|_| ())
        });
        self.turns.try_later(turn);
    }

    /// Hands a turn to the sequencer and waits until its batch is durable.
    pub(crate) fn turn<T: Send + 'static>(
        &self,
        take: impl FnOnce(&mut Desk<'_>) -> Reply<T> + Send + 'static,
    ) -> Waiting<T> {
        self.turn_with(take, |it, _| it)
    }

    /// Does the same, and says which acts were cut because of it.
    pub(crate) fn turn_crossing<T: Send + 'static>(
        &self,
        take: impl FnOnce(&mut Desk<'_>) -> Reply<T> + Send + 'static,
    ) -> Waiting<(T, Vec<DecisionId>)> {
        self.turn_with(take, |it, crossed| (it, crossed))
    }

    fn turn_with<T: Send + 'static, A: Send + 'static>(
        &self,
        take: impl FnOnce(&mut Desk<'_>) -> Reply<T> + Send + 'static,
        with: fn(T, Vec<DecisionId>) -> A,
    ) -> Waiting<A> {
        let (sender, answer) = oneshot::channel();
        let shared = self.shared.clone();
        let turn: Turn = Box::new(move |desk| {
            let reply = take(desk);
            let cuts = desk.take_cuts();
            let settle: Settle = Box::new(move |committed| {
                // Here, and not where the answer is waited for: whoever waited may have gone.
                let crossed = committed.as_ref().map(|_| shared.cut(&cuts));
                let crossed = crossed.unwrap_or_default();
                let _ = sender.send(with(reply(committed), crossed));
            });
            settle
        });
        Waiting {
            turns: self.turns.clone(),
            turn: Some(turn),
            answer,
            shared: self.shared.clone(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

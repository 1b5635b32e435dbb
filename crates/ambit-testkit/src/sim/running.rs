//! What was asked of the engine and is not answered yet, and what the answers promise.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use ambit_core::{
    ApprovalId, DecisionId, DelegationId, Digest, InstanceId, TaskId, record::Verdict, task::Task,
};
use ambit_engine::{
    Answer, EffectiveRecord, EngineError, Handle, Passage, Refusal, Reinstatement,
    RevocationReport, Started, Step, TokenGrant, Withdrawal,
};

use crate::world::access_token;

use super::{
    Agent, Asking, Claim, Simulation,
    laws::{Broken, ensure},
    whole::words,
};

/// Something that was asked of the engine.
pub(super) struct Running(Pin<Box<dyn Future<Output = Result<Done, Trouble>>>>);

/// What was done.
pub(super) enum Done {
    Answered(Box<(Asking, Answer)>),
    Started(&'static str, Box<Started>),
    Decided(ApprovalId, Verdict),
    Revoked(RevocationReport),
    Reinstated(Reinstatement),
    Over(TaskId),
    Applied(Digest),
    Certified(Digest),
    Ended(DecisionId),
    Settled(DecisionId),
    Delegated(DelegationId),
    Exchanged(Box<Started>),
    Withdrawn(Withdrawal),
    Token(Box<TokenGrant>),
    ExchangedToken(Box<TokenGrant>),
    Refused(InstanceId, DecisionId),
    Else,
}

/// Why it was not done.
pub(super) enum Trouble {
    Engine(EngineError),
    Denied(DecisionId),
    Invalid,
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(error) => Self::Engine(error),
            Refusal::Denied { denied, .. } => Self::Denied(denied.decision),
            Refusal::NotFound(_) | Refusal::Invalid(_) | Refusal::Conflict(_) => Self::Invalid,
        }
    }
}

/// Says whether the door of `passage` was told to stop.
pub(super) fn is_cut(passage: &Passage) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(passage.cancelled()).poll(&mut context).is_ready()
}

impl Simulation {
    /// Asks something of the engine. What it asks waits until the sequencer works.
    pub(super) fn launch<F>(&mut self, ask: impl FnOnce(Handle) -> F) -> Result<(), Broken>
    where
        F: Future<Output = Result<Done, Trouble>> + 'static,
    {
        let handle = self.machine.engine()?.handle.clone();
        self.running.push(Running(Box::pin(ask(handle))));
        // Some are slow: their thread waits, and others that began later come first.
        if self.chance.below(4) == 0 {
            self.note("dawdle", "");
            return Ok(());
        }
        self.poll()
    }

    /// Lets the sequencer take one batch of what came until now, and hears the answers.
    pub(super) fn work(&mut self) -> Result<Step, Broken> {
        self.shuffle();
        self.poll()?;
        let turns = match self.chance.below(3) {
            0 => self.pick(4) + 1,
            _ => usize::MAX,
        };
        let step = self.machine.engine()?.sequencer.step_of(turns);
        self.poll()?;
        Ok(step)
    }

    /// Puts what runs into any order: it comes to the sequencer's desk in this one (Fisher-Yates).
    fn shuffle(&mut self) {
        for last in (1..self.running.len()).rev() {
            let other = self.pick(last as u64 + 1);
            self.running.swap(last, other);
        }
    }

    /// Lets the sequencer take everything that waits. What then still waits, waits for doors to let go.
    pub(super) fn settle(&mut self) -> Result<(), Broken> {
        while self.work()? == Step::Taken {}
        if self.machine.disk.is_off() {
            return self.crash();
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Broken> {
        let mut context = Context::from_waker(Waker::noop());
        let mut answers = Vec::new();
        self.running
            .retain_mut(|running| match running.0.as_mut().poll(&mut context) {
                Poll::Ready(answer) => {
                    answers.push(answer);
                    false
                }
                Poll::Pending => true,
            });
        if answers.is_empty() {
            return Ok(());
        }
        self.absorb()?;
        for answer in answers {
            match answer {
                Ok(done) => self.done(done)?,
                Err(Trouble::Denied(decision)) => self.denied(decision),
                Err(Trouble::Invalid) => {}
                Err(Trouble::Engine(error)) => self.trouble(&error)?,
            }
        }
        Ok(())
    }

    /// Notes what an answer promises.
    fn done(&mut self, done: Done) -> Result<(), Broken> {
        match done {
            Done::Answered(answered) => {
                let (asking, answer) = *answered;
                self.answered(asking, answer)?;
            }
            Done::Started(alias, started) => {
                self.unproved.push(Claim::TaskStarted(started.task.id));
                self.people.insert(alias, started.task.subject);
                self.add(&started.task);
            }
            Done::Decided(approval, verdict) => {
                self.unproved.push(Claim::Verdict(approval, verdict));
            }
            Done::Revoked(report) => {
                self.unproved.push(Claim::Revoked(report.revocation));
                if report.effective == EffectiveRecord::Written {
                    self.unproved.push(Claim::Effective(report.revocation));
                }
            }
            Done::Reinstated(it) => self.unproved.push(Claim::Reinstated(it.target)),
            Done::Over(task) => self.unproved.push(Claim::TaskOver(task)),
            Done::Applied(estate) => self.unproved.push(Claim::Applied(estate)),
            Done::Certified(certificate) => self.unproved.push(Claim::Certified(certificate)),
            Done::Settled(decision) => self.unproved.push(Claim::Settled(decision)),
            Done::Ended(decision) => self.unproved.push(Claim::Ended(decision)),
            Done::Delegated(delegation) => {
                self.unproved.push(Claim::Delegated(delegation));
                self.delegations.push(delegation);
            }
            Done::Exchanged(started) => {
                self.note("child", started.task.id);
                self.unproved.push(Claim::TaskStarted(started.task.id));
                self.add(&started.task);
            }
            Done::Withdrawn(back) => self.withdrawn(&back)?,
            Done::Token(granted) => self.token_came(&granted),
            Done::ExchangedToken(granted) => {
                self.note("child by token", granted.task().id);
                self.unproved.push(Claim::TaskStarted(granted.task().id));
                self.add(granted.task());
                self.token_came(&granted);
            }
            Done::Refused(instance, decision) => self.refused(instance, decision)?,
            Done::Else => {}
        }
        Ok(())
    }

    /// A person who is refused in a flood is written down by count.
    fn denied(&mut self, decision: DecisionId) {
        self.refused_people += 1;
        let claim = Claim::Denied(decision);
        if self.refused_people > FLOOD_MIN && !self.laws.holds(&claim.to_string()) {
            self.unwritten += 1;
        } else {
            self.unproved.push(claim);
        }
    }

    fn answered(&mut self, asking: Asking, answer: Answer) -> Result<(), Broken> {
        match answer {
            Answer::Allowed(permit) => {
                self.note("allow", permit.value().decision());
                if let Some(approval) = permit.value().spends() {
                    self.note("spend", approval);
                }
                self.unproved
                    .push(Claim::Allowed(permit.value().decision()));
                self.permits.push(permit);
            }
            Answer::Held(held) => {
                self.note("hold", held.approval);
                // After a crash the first one told may be who asks again.
                if !self.held.insert(held.decision) || self.crashes > 0 {
                    self.unwritten += 1;
                }
                self.unproved
                    .push(Claim::Held(held.decision, held.approval));
                self.approvals.push((held.approval, asking));
            }
            Answer::Denied(denied) => {
                self.note("deny", denied.reason);
                self.refused(asking.1, denied.decision)?;
            }
        }
        Ok(())
    }

    /// A refusal of an agent is in the log.
    fn refused(&mut self, instance: InstanceId, decision: DecisionId) -> Result<(), Broken> {
        let claim = Claim::Denied(decision);
        if self.laws.holds(&claim.to_string()) || self.machine.disk.is_off() {
            return Ok(());
        }
        // Only a flood is counted rather than written.
        let asked = self.asked.get(&instance).copied().unwrap_or(0);
        let flood = asked > FLOOD_MIN;
        ensure(flood, || format!("`{claim}` is not in the log"))?;
        self.unwritten += 1;
        Ok(())
    }

    /// Lets the instance of a task act from now on.
    fn add(&mut self, task: &Task) {
        let caller = self.machine.site.instance(task);
        self.agents.push(Agent {
            task: task.clone(),
            caller,
        });
    }

    fn token_came(&mut self, granted: &TokenGrant) {
        self.unproved.push(Claim::Token(granted.access().id));
        self.tokens
            .extend(access_token(granted, self.machine.clock.now()));
    }

    /// What a withdrawal names is over.
    fn withdrawn(&mut self, back: &Withdrawal) -> Result<(), Broken> {
        self.unproved.push(Claim::Withdrawn(back.delegation));
        for task in &back.ended {
            let over = self.machine.disk.is_off() || self.laws.is_over(*task, None);
            ensure(over, || {
                format!("{task} goes on after {} was withdrawn", back.delegation)
            })?;
        }
        Ok(())
    }

    /// Bears what may go wrong: the disk, and a clock that jumped. Nothing else.
    fn trouble(&mut self, error: &EngineError) -> Result<(), Broken> {
        let text = words(error);
        let borne = match error {
            EngineError::Busy | EngineError::TooFast { .. } | EngineError::NoTask => true,
            EngineError::Log(_) => text.contains("the clock reads"),
            EngineError::Stopped(_)
            | EngineError::NoSpace
            | EngineError::NoEstate
            | EngineError::EstateMissing(_)
            | EngineError::Archive(_)
            | EngineError::Custody(_)
            | EngineError::Row(_)
            | EngineError::Fold(_)
            | EngineError::Scope(_) => false,
        };
        self.note("trouble", text.get(..80).unwrap_or(&text));
        ensure(borne || self.machine.disk.is_off(), || {
            format!("the engine fails: {text}")
        })
    }
}

/// How many refusals of one caller are written one by one at least.
const FLOOD_MIN: u64 = 50;

//! One question of an agent, from its preparation to its record.

use std::sync::Arc;

use ambit_audit::{Committed, Draft, Fits, Pending};
use ambit_core::{
    ApprovalId, DecisionId, Digest, Reason, Timestamp,
    act::Act,
    delegation::Part,
    json::Value,
    record::{Actor, Sealed},
    task::{Task, TaskState},
};
use ambit_identity::InstanceCaller;
use ambit_policy::{
    ApprovalState, Decision, Denial, Epochs, Hold, Node, Permit, PolicyBook, Request, TaskScope,
};

use super::{Answer, Held, Reply};
use crate::{
    Denied, EngineError, Presented,
    desk::Desk,
    live::{Keeping, Snapshot, TaskRuntime},
    sequencer::Shared,
};

/// What an agent asks, prepared once: the same bytes are decided, sealed and shown.
pub(super) struct Ask {
    pub(super) decision: DecisionId,
    pub(super) fresh_approval: ApprovalId,
    pub(super) caller: InstanceCaller,
    pub(super) runtime: Arc<TaskRuntime>,
    /// What the caller's token carries of the task, when that is not the whole.
    pub(super) part: Option<Arc<Part>>,
    pub(super) sealed: Sealed,
    pub(super) bytes: Vec<u8>,
    pub(super) asked_at: Timestamp,
    /// Seals the act again when another estate came into force meanwhile, and counts what is asked again.
    pub(super) shared: Arc<Shared>,
    pub(super) second_nonce: [u8; 12],
    /// The estate whose pins and credentials the sealed form names.
    pub(super) sealed_under: Digest,
}

/// What an answer was based upon and may have changed since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Basis {
    pub(super) epochs: Epochs,
    pub(super) approval: ApprovalState,
}

impl Ask {
    /// Decides on the facts of `snapshot`.
    pub(super) fn judge(
        &self,
        book: &PolicyBook,
        snapshot: &Snapshot,
        act: Act,
        at: Timestamp,
    ) -> Result<Decision, EngineError> {
        let scope = self.scope(book)?;
        let mut scopes = Vec::new();
        for above in self.runtime.tasks_above() {
            scopes.push((above.task.clone(), above.scope(book)?));
        }
        let above = scopes.iter().zip(&snapshot.above);
        let above = above.map(|((task, scope), it)| Node {
            task,
            scope,
            state: it.state,
            usage: &it.usage,
            live: it.live,
        });
        let above: Vec<_> = above.collect();
        Ok(ambit_policy::decide(Request {
            decision: self.decision,
            at,
            book,
            task: &self.runtime.task,
            scope: &scope,
            state: snapshot.state,
            usage: &snapshot.usage,
            act,
            sealed: Some(self.sealed),
            live: snapshot.live,
            approval: snapshot.approval,
            fresh_approval: self.fresh_approval,
            binding: self.caller.binding().as_str(),
            epochs: snapshot.epochs,
            above: &above,
        }))
    }

    /// Returns the bounds within which the caller acts.
    fn scope(&self, book: &PolicyBook) -> Result<Arc<TaskScope>, EngineError> {
        self.runtime.scope_of(book, self.part.as_ref())
    }

    /// In its turn: decides again if anything that the answer depends upon changed, then writes it.
    pub(super) fn settle(
        mut self,
        desk: &mut Desk<'_>,
        answer: Drafted,
        basis: Basis,
    ) -> Reply<Result<Answer, EngineError>> {
        let written = self.write(desk, answer, basis);
        if let Ok(pending) = &written
            && let Some(index) = pending.index()
        {
            let bytes = std::mem::take(&mut self.bytes);
            let task = Some(self.runtime.task.id);
            desk.keep_sealed(index, task, &self.sealed, bytes);
        }
        Box::new(move |committed| {
            // What was refused at the desk says why, also when nobody else wrote anything.
            let written = written?;
            match (written, committed?) {
                // What it repeats is durable since this batch at the latest.
                (PendingAnswer::Again(held), _) => Ok(Answer::Held(held)),
                (written, committed) => written.settle(committed.ok_or(EngineError::Busy)?),
            }
        })
    }

    fn write(
        &mut self,
        desk: &mut Desk<'_>,
        answer: Drafted,
        basis: Basis,
    ) -> Result<PendingAnswer, EngineError> {
        let answer = self.once_more(desk, answer, basis)?;
        let answer = match answer {
            Drafted::Hold(hold) => match self.known(desk, hold.value()) {
                Some(held) => return Ok(PendingAnswer::Again(held)),
                None => self.room_to_hold(desk, hold)?,
            },
            Drafted::Allow(_) | Drafted::Deny(_) => answer,
        };
        Ok(match answer {
            Drafted::Allow(permit) => PendingAnswer::Allow(desk.write_draft(permit)?),
            Drafted::Hold(hold) => PendingAnswer::Hold(desk.write_draft(hold)?),
            Drafted::Deny(denial) => PendingAnswer::Deny(desk.write_draft(denial)?),
        })
    }

    /// Returns what was told when the identical act was held: asking again writes nothing but a count.
    fn known(&self, desk: &Desk<'_>, hold: &Hold) -> Option<Held> {
        let pending = desk.live.state.approvals.get(&hold.approval())?;
        let (actor, task) = (
            Actor::Instance(self.caller.instance()),
            self.runtime.task.id,
        );
        let mut quotas = self.shared.quotas();
        quotas.repeated(actor, Some(task), pending.reason, desk.at());
        Some(Held {
            decision: pending.decision,
            approval: pending.id,
            expires_at: hold.expires_at(),
            reason: pending.reason,
        })
    }

    /// A person must see a held act whole. Whoever has had so much kept for people must come with a new task.
    fn room_to_hold(&mut self, desk: &Desk<'_>, hold: Draft<Hold>) -> Result<Drafted, EngineError> {
        match self.runtime.keep_held(self.bytes.len()) {
            Keeping::Kept => Ok(Drafted::Hold(hold)),
            Keeping::Full => {
                self.sealed.blob = None;
                let book = desk.live.book()?;
                let (reason, action) = (Reason::BudgetExhausted, hold.value().act().action());
                Drafted::new(self.deny(&book, action, reason, desk.at()))
            }
        }
    }

    /// Keeps no copy of a refused act once enough of those of its task are kept.
    pub(super) fn kept(&mut self, answer: Decision) -> Decision {
        match answer {
            Decision::Deny(denial) => match self.runtime.keep_refused(self.bytes.len()) {
                Keeping::Kept => Decision::Deny(denial),
                Keeping::Full => {
                    self.sealed.blob = None;
                    Decision::Deny(denial.without_copy(self.bytes.len() as u64))
                }
            },
            Decision::Allow(_) | Decision::Hold(_) => answer,
        }
    }

    fn once_more(
        &mut self,
        desk: &Desk<'_>,
        answer: Drafted,
        basis: Basis,
    ) -> Result<Drafted, EngineError> {
        let (live, at) = (&desk.live, desk.at().max(self.asked_at));
        let act = match &answer {
            Drafted::Allow(permit) => permit.value().act(),
            Drafted::Hold(hold) => hold.value().act(),
            Drafted::Deny(_) => return Ok(answer),
        };
        let book = live.book()?;
        let same_estate = book.estate().digest == self.sealed_under;
        if !same_estate {
            self.seal_again(&book, act)?;
        }
        let task = &self.runtime.task;
        // It may have been given up meanwhile, or the estate gives it no more.
        if let Presented::Nothing(reason) = live.presented(&self.caller, at) {
            return Drafted::new(self.deny(book.as_ref(), act.action(), reason, at));
        }
        let Some(snapshot) = live.snapshot(&self.runtime, act, self.sealed.commitment, at) else {
            return Drafted::new(self.deny(book.as_ref(), act.action(), Reason::TaskEnded, at));
        };
        let charged = match &answer {
            Drafted::Allow(permit) => {
                let scope = self.scope(&book)?;
                let permit = permit.value();
                let mut charged =
                    ambit_policy::charge(task, &snapshot.usage, permit, &scope).is_ok();
                for (above, now) in self.runtime.tasks_above().zip(&snapshot.above) {
                    let scope = above.scope(&book)?;
                    let room = ambit_policy::charge(&above.task, &now.usage, permit, &scope);
                    charged = charged && room.is_ok();
                }
                charged
            }
            Drafted::Hold(_) | Drafted::Deny(_) => true,
        };
        let same = same_estate && snapshot.basis() == basis;
        if charged && same && snapshot.state == TaskState::Active {
            return Ok(answer);
        }
        let act = match answer {
            Drafted::Allow(permit) => permit.into_value().into_act(),
            Drafted::Hold(hold) => hold.value().act().clone(),
            Drafted::Deny(_) => return Ok(answer),
        };
        let action = act.action();
        let answer = self.judge(&book, &snapshot, act, at)?;
        let drafted = Drafted::new(self.kept(answer))?;
        match drafted.fits() {
            Fits::Leaf => Ok(drafted),
            Fits::Nowhere => Drafted::new(self.too_long(&book, action, at)),
        }
    }

    /// Refuses an act whose decision no record could hold: the labels of many tasks above are many.
    pub(super) fn too_long(&mut self, book: &PolicyBook, action: &str, at: Timestamp) -> Decision {
        self.sealed.blob = None;
        self.deny(book, action, Reason::TooLarge, at)
    }

    /// An approval names the pins and credentials of its estate: under another one, the act is another act.
    fn seal_again(&mut self, book: &PolicyBook, act: &Act) -> Result<(), EngineError> {
        let task = &self.runtime.task;
        let text = approved_form(task, book, act).to_canonical();
        let nonce = self.second_nonce;
        let wrapped = &self.runtime.wrapped_key;
        let custody = &self.shared.custody;
        let (sealed, bytes) = custody.seal(wrapped, task.id, text.as_bytes(), nonce)?;
        self.sealed = sealed;
        self.bytes = bytes;
        self.sealed_under = book.estate().digest;
        Ok(())
    }

    fn deny(&self, book: &PolicyBook, action: &str, reason: Reason, at: Timestamp) -> Decision {
        let actor = Actor::Instance(self.caller.instance());
        let task = Some(self.runtime.task.id);
        let estate = book.estate().digest;
        let denial = ambit_policy::refuse(self.decision, at, actor, task, estate, action, reason);
        Decision::Deny(denial.by(self.caller.binding()))
    }
}

impl Snapshot {
    /// Returns what an answer on it is based upon.
    pub(super) const fn basis(&self) -> Basis {
        Basis {
            epochs: self.epochs,
            approval: self.approval,
        }
    }
}

/// An answer whose record is ready for its turn.
pub(super) enum Drafted {
    Allow(Draft<Permit>),
    Hold(Draft<Hold>),
    Deny(Draft<Denial>),
}

impl Drafted {
    /// Says whether the log takes it.
    pub(super) fn fits(&self) -> Fits {
        match self {
            Self::Allow(it) => it.fits(),
            Self::Hold(it) => it.fits(),
            Self::Deny(it) => it.fits(),
        }
    }

    pub(super) fn new(answer: Decision) -> Result<Self, EngineError> {
        Ok(match answer {
            Decision::Allow(permit) => Self::Allow(Draft::new(permit)?),
            Decision::Hold(hold) => Self::Hold(Draft::new(hold)?),
            Decision::Deny(denial) => Self::Deny(Draft::new(denial)?),
        })
    }
}

/// An answer whose record waits for its batch.
enum PendingAnswer {
    Allow(Pending<Permit>),
    Hold(Pending<Hold>),
    Deny(Pending<Denial>),
    /// The identical act is held already: there is no new record.
    Again(Held),
}

impl PendingAnswer {
    const fn index(&self) -> Option<u64> {
        match self {
            Self::Allow(it) => Some(it.index()),
            Self::Hold(it) => Some(it.index()),
            Self::Deny(it) => Some(it.index()),
            Self::Again(_) => None,
        }
    }

    fn settle(self, committed: &Committed) -> Result<Answer, EngineError> {
        Ok(match self {
            Self::Allow(permit) => Answer::Allowed(permit.settle(committed)?),
            Self::Hold(hold) => {
                let hold = hold.settle(committed)?;
                let hold = hold.value();
                Answer::Held(Held {
                    decision: hold.decision(),
                    approval: hold.approval(),
                    expires_at: hold.expires_at(),
                    reason: hold.reason(),
                })
            }
            Self::Deny(denial) => {
                let denial = denial.settle(committed)?;
                let denial = denial.value();
                Answer::Denied(Denied {
                    decision: denial.decision(),
                    reason: denial.reason(),
                })
            }
            Self::Again(held) => Answer::Held(held),
        })
    }
}

/// Returns what a human approves: the act with its task, the pinned digest of its tool, and the credential that it
/// uses. Nothing is cut.
pub(super) fn approved_form(task: &Task, book: &PolicyBook, act: &Act) -> Value {
    let server = act.server().and_then(|it| book.estate().servers.get(it));
    let pin = act
        .server()
        .zip(act.tool())
        .and_then(|(server, tool)| book.estate().tool(server, tool));
    let credential = server.and_then(|it| match &it.transport {
        ambit_core::estate::Transport::Http { credential, .. } => credential.as_ref(),
        ambit_core::estate::Transport::Stdio { .. } => None,
    });
    Value::object([
        ("task", task.id.to_string().into()),
        ("act", act.to_value()),
        (
            "pin",
            pin.map_or(Value::Null, |it| it.pin.to_string().into()),
        ),
        (
            "credential",
            credential.map_or(Value::Null, |it| it.reference.as_str().into()),
        ),
    ])
}

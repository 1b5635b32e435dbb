//! The engine as the doors of people see it. The same path: decide, record, act.

mod approve;
mod attend;
mod bundles;
mod claim;
mod consent;
mod delegations;
mod estates;
mod inspect;
mod keys;
mod logins;
mod open;
mod passkeys;
mod reinstate;
mod revoke;
mod settle;
mod tasks;
mod tick;
mod unserved;
mod withdrawn;

use std::{collections::BTreeSet, sync::Arc};

use ambit_audit::Attachment;
use ambit_core::{
    AgentName, DecisionId, PersonId, Reason, TaskId, TemplateName, Timestamp,
    act::{Governance, Target},
    estate::{PersonRole, Template},
    limits::REASON_BYTES_MAX,
    record::{Actor, Body, Sealed},
};
use ambit_identity::{Carrier, PersonCaller, PersonProof};
use ambit_policy::{PersonDecision, PersonPermit, PersonRequest, PolicyBook, Touched, WeakBinding};

pub(crate) use self::unserved::Unserved;
pub use self::{
    approve::{ApprovalSummary, Counts},
    claim::{Claim, NotInstance, WAITING_PER_AGENT_MAX, Waits},
    delegations::{
        Delegate, DelegateTask, DelegationSummary, Delegator, ExchangeRefusal, Withdrawal,
    },
    estates::Applied,
    inspect::{Inspection, ServerInspection},
    keys::{KeyLeave, KeyRotation},
    logins::{LoginAsk, LoginGrant, NoLogin},
    open::{Found, Opened},
    passkeys::{Enrolled, NewPasskey, NoPasskey, OfferedEnrolment},
    reinstate::Reinstatement,
    revoke::{EffectiveRecord, RevocationReport},
    settle::Settled,
    tasks::{EndedTask, Ender, StartTask, Started, TaskSummary},
};
use crate::{
    Denied, EngineError, Handle, Moment, Refusal, desk::Desk, live::Live, moment::Chance,
    quota::Writing, sequencer::Shared,
};

/// A person's act at the desk: who, when, and with which chance.
pub(crate) struct Asked {
    pub(crate) caller: PersonCaller,
    pub(crate) chance: Chance,
    pub(crate) decision: DecisionId,
    shared: Arc<Shared>,
}

/// A task that a person's act touches, as the decision sees it.
pub(crate) struct TouchedTask {
    subject: PersonId,
    template: Option<Template>,
    of: (AgentName, TemplateName),
}

impl Handle {
    /// Takes a person's act at the desk and waits until it is durable.
    pub(crate) async fn govern<T: Send + 'static>(
        &self,
        caller: &PersonCaller,
        moment: Moment,
        take: impl FnOnce(&mut Desk<'_>, &mut Asked) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = self.govern_crossing(caller, moment, take).await;
        done.map(|(done, _)| done)
    }

    /// Does the same, and returns the decisions whose acts were cut by it.
    pub(crate) async fn govern_crossing<T: Send + 'static>(
        &self,
        caller: &PersonCaller,
        moment: Moment,
        take: impl FnOnce(&mut Desk<'_>, &mut Asked) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, Vec<DecisionId>), Refusal> {
        self.shared.running()?;
        let mut chance = Chance::new(moment.chance);
        let decision = chance.id(moment.now);
        let mut asked = Asked {
            caller: caller.clone(),
            chance,
            decision,
            shared: self.shared.clone(),
        };
        let done = self.turn_crossing(move |desk| {
            let result = take(desk, &mut asked);
            Box::new(move |committed| committed.map_err(Refusal::Failed).and(result))
        });
        let (done, crossed) = done.await?;
        Ok((done?, crossed))
    }
}

/// Returns a person's pseudonym, and makes one at the first sight of the person.
pub(crate) fn pseudonym(
    desk: &mut Desk<'_>,
    chance: &mut Chance,
    alias: &str,
) -> Result<PersonId, Refusal> {
    if let Some(person) = desk.live.person(alias) {
        return Ok(person);
    }
    let person = chance.id(desk.at());
    desk.write(Body::PersonKnown { person })?;
    desk.attachments.push(Attachment::Directory {
        person,
        alias: alias.to_owned(),
    });
    desk.live.aliases.insert(person, alias.to_owned());
    Ok(person)
}

impl Asked {
    /// Returns the person's pseudonym, and makes one at the first sight of the person.
    pub(crate) fn person(&mut self, desk: &mut Desk<'_>) -> Result<PersonId, Refusal> {
        pseudonym(desk, &mut self.chance, self.caller.alias())
    }

    /// Decides on the person's act under the policies in force; a no is written down.
    pub(crate) fn permit(
        &mut self,
        desk: &mut Desk<'_>,
        act: Governance,
        touched: Touched<'_>,
    ) -> Result<PersonPermit, Refusal> {
        let book = desk.live.book()?;
        self.permit_under(desk, &book, act, touched)
    }

    /// Decides on the person's act under `book`.
    pub(crate) fn permit_under(
        &mut self,
        desk: &mut Desk<'_>,
        book: &PolicyBook,
        act: Governance,
        touched: Touched<'_>,
    ) -> Result<PersonPermit, Refusal> {
        let person = self.person(desk)?;
        let at = desk.at();
        let alias = self.caller.alias();
        let none = BTreeSet::<PersonRole>::new();
        let roles = book
            .estate()
            .people
            .get(alias)
            .map_or(&none, |it| &it.roles);
        // What runs as the person's local user can read that user's files, and has no part in the browser.
        let weak_binding = match self.caller.proof() {
            PersonProof::LocalUser { .. }
            | PersonProof::SignIn {
                carrier: Carrier::KeyFile,
            } => desk.live.weak_binding(person),
            PersonProof::SignIn {
                carrier: Carrier::Browser,
            } => WeakBinding::No,
        };
        let decided = ambit_policy::decide_person(PersonRequest {
            decision: self.decision,
            at,
            book,
            person,
            alias,
            roles,
            standing: desk.live.state.standing(&Target::Person(person)),
            act,
            touched,
            weak_binding,
        });
        match decided {
            PersonDecision::Allow(permit) => Ok(permit),
            PersonDecision::Deny(denial) => {
                let denied = Denied {
                    decision: denial.decision(),
                    reason: denial.reason(),
                };
                let explanation = denial.explanation();
                if self.written(Actor::Person(person), denied.reason, at) == Writing::Alone {
                    desk.write(denial)?;
                }
                Err(Refusal::Denied {
                    denied,
                    explanation,
                })
            }
        }
    }
}

impl Asked {
    /// Writes down a refusal that needs no policy, and returns it.
    pub(crate) fn refuse(
        &mut self,
        desk: &mut Desk<'_>,
        action: &str,
        reason: Reason,
        explanation: String,
    ) -> Result<Refusal, Refusal> {
        let person = self.person(desk)?;
        let (estate, actor) = (desk.live.book()?.estate().digest, Actor::Person(person));
        let denied = Denied {
            decision: self.decision,
            reason,
        };
        let at = desk.at();
        if self.written(actor, reason, at) == Writing::Alone {
            desk.write(ambit_policy::refuse(
                self.decision,
                at,
                actor,
                None,
                estate,
                action,
                reason,
            ))?;
        }
        Ok(Refusal::Denied {
            denied,
            explanation,
        })
    }
}

impl Asked {
    /// Counts a refusal and says how it is written: who is refused in a flood is written down by count.
    fn written(&self, actor: Actor, reason: Reason, at: Timestamp) -> Writing {
        self.shared.quotas().refused(actor, None, reason, at)
    }

    /// Seals a person's words under a key of their own: they may name people, and to destroy the key erases them.
    pub(crate) fn seal_reason(&mut self, reason: &str) -> Result<SealedReason, Refusal> {
        let key = reason_key(self.decision);
        let custody = &self.shared.custody;
        let wrapped = custody.new_task_key(key, self.chance.draw())?;
        let (sealed, bytes) = custody.seal(&wrapped, key, reason.as_bytes(), self.chance.draw())?;
        Ok(SealedReason {
            sealed,
            bytes,
            key,
            wrapped,
        })
    }
}

/// A person's words, sealed, to be kept with the record that names them.
pub(crate) struct SealedReason {
    pub(crate) sealed: Sealed,
    bytes: Vec<u8>,
    key: TaskId,
    wrapped: Vec<u8>,
}

impl SealedReason {
    /// Keeps the words and their key beside the record at `leaf`.
    pub(crate) fn keep(self, desk: &mut Desk<'_>, leaf: u64) {
        desk.attachments.push(Attachment::TaskKey {
            task: self.key,
            wrapped: self.wrapped,
        });
        desk.keep_sealed(leaf, Some(self.key), &self.sealed, self.bytes);
    }
}

/// Returns under which name the key of a person's words is kept: that of the decision behind them. Names are drawn by
/// chance, so that no task has it.
pub(crate) const fn reason_key(decision: DecisionId) -> TaskId {
    TaskId::from_bits(decision.bits())
}

impl TouchedTask {
    /// Returns whose the task is, its template as of its start, and what it is of.
    pub(crate) fn new(live: &Live, task: TaskId) -> Option<Self> {
        let touched = live.touched(task)?;
        let (agent, template) = touched.of?;
        Some(Self {
            subject: touched.subject?,
            template: touched.template.cloned(),
            of: (agent.clone(), template.clone()),
        })
    }

    /// Returns all that there is to know.
    pub(crate) fn whole(&self) -> Touched<'_> {
        Touched {
            subject: Some(self.subject),
            template: self.template.as_ref(),
            ..self.owned()
        }
    }

    /// Returns what says whose agent and template it is of.
    pub(crate) fn owned(&self) -> Touched<'_> {
        Touched {
            of: Some((&self.of.0, &self.of.1)),
            ..Touched::NOTHING
        }
    }
}

impl From<ambit_core::json::JsonError> for Refusal {
    fn from(error: ambit_core::json::JsonError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Refuses an act of a person that wants a reason and has none, or too long a one.
fn check_reason(what: &str, reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(Refusal::Invalid(format!(
            "a {what} wants a reason of 1 to {REASON_BYTES_MAX} bytes; give `--reason TEXT`"
        )));
    }
    Ok(())
}

impl Refusal {
    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::NotFound(format!(
            "there is no {what}; see `ambit task list` and `ambit approvals list`"
        ))
    }
}

impl From<crate::CustodyError> for Refusal {
    fn from(error: crate::CustodyError) -> Self {
        Self::Failed(EngineError::from(error))
    }
}

//! Delegations: a task gives a part of itself away, a delegate takes it, somebody takes it back.
//!
//! Each step is decided and written in one turn of the sequencer, so that nothing comes between the look at the
//! parent's authority and the record of what was made of it: after a revocation in the log no child starts.

mod exchange;
mod step;

use std::sync::Arc;

use ambit_core::{
    AgentName, DecisionId, DelegationId, Digest, Millis, SpiffeId, TaskId, Timestamp,
    act::Target,
    delegation::{Delegation, DelegationStep, Part},
    record::Body,
    task::TaskState,
};
use ambit_identity::{Claimant, InstanceCaller, PersonCaller, token::assertion::ProvedWorkload};
use ambit_policy::{DelegationStanding, PartAsk, SubjectToken, part_details};

pub use self::exchange::ExchangeRefusal;
use self::step::{Evidence, Step, What};
use super::Inspection;
use crate::{DelegationEntry, EngineError, Handle, Moment, Refusal, desk::Desk, live::TaskRuntime};

/// Who gives a part of a task away, or takes it back.
#[derive(Clone, Copy, Debug)]
pub enum Delegator<'a> {
    /// The run of the agent that serves the task.
    Instance(&'a InstanceCaller),
    /// The person on whose behalf it runs; an operator may take parts back.
    Person(&'a PersonCaller),
}

/// Who takes a part. Whoever asks is the actor: there is no way to name another one.
#[derive(Clone, Copy, Debug)]
pub enum Delegate<'a> {
    /// A run of the delegate agent, with a live task of its own.
    Instance(&'a InstanceCaller),
    /// The same, by a JWT-SVID for the authorization server alone.
    Workload(&'a ProvedWorkload),
    /// Whoever proved to be a run of the delegate agent by something that is good until then: a client that the estate
    /// declares as one, a workload of a foreign issuer or trust domain. It acts as the instance of the task that it has
    /// claimed; when it has none, the part is what it claims.
    Claimant(&'a Claimant, Timestamp),
    /// The person on whose behalf the parent runs: their runner starts a run of the delegate agent.
    Runner(&'a PersonCaller),
}

/// What is to be given away.
#[derive(Clone, Debug)]
pub struct DelegateTask {
    /// Of which task.
    pub task: TaskId,
    /// To which agent.
    pub to: AgentName,
    /// To which run of it, when only one may take it.
    pub spiffe_id: Option<SpiffeId>,
    /// Which part.
    pub part: PartAsk,
    /// For how long; as long as the task lives when none is given.
    pub ttl: Option<Millis>,
    /// How many hops may follow below the child.
    pub depth_left: u8,
}

/// A delegation, as people see it.
#[derive(Clone, Debug)]
pub struct DelegationSummary {
    /// The delegation, without its constraints.
    pub delegation: Delegation,
    /// Where it stands.
    pub standing: DelegationStanding,
    /// The child for which it was spent.
    pub child: Option<TaskId>,
}

/// What taking a delegation back did.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// Which delegation.
    pub delegation: DelegationId,
    /// The tasks that ended with it.
    pub ended: Vec<TaskId>,
    /// The decisions whose acts were under way: each was cut.
    pub crossed: Vec<DecisionId>,
}

impl Handle {
    /// Gives a part of a task to a named agent, once.
    ///
    /// # Errors
    /// A denial says which dimension of the part goes beyond the task.
    pub async fn delegate(
        &self,
        by: Delegator<'_>,
        ask: DelegateTask,
        moment: Moment,
    ) -> Result<Delegation, Refusal> {
        let custody = self.shared.custody.clone();
        self.step(by.into(), moment, move |desk, step| {
            let (runtime, part, expires_at) = asked(desk, &ask)?;
            let what = &What {
                to: ask.to.clone(),
                to_instance: ask.spiffe_id.clone(),
                part: Some(part.clone()),
                depth_left: ask.depth_left,
                expires_at,
                standing: DelegationStanding::None,
                subject_token: SubjectToken::None,
                since: None,
                contained: None,
                bound: None,
            };
            let permit = step.permit(desk, (DelegationStep::Delegate, &runtime), what)?;
            let at = desk.at();
            let text = part_details(&part).to_canonical();
            let delegation = Delegation {
                id: step.chance.id(at),
                parent: ask.task,
                to: ask.to,
                spiffe_id: ask.spiffe_id,
                part,
                depth_left: ask.depth_left,
                authority: Digest::of(text.as_bytes()),
                made_at: at,
                expires_at,
            };
            let wrapped = &runtime.wrapped_key;
            let nonce = step.chance.draw();
            let (sealed, bytes) = custody.seal(wrapped, ask.task, text.as_bytes(), nonce)?;
            let bare = Delegation {
                part: delegation.part.without_constraints(),
                ..delegation.clone()
            };
            let written = desk.write(Body::DelegationMade {
                delegation: Box::new(bare),
                part: sealed,
                mandate: permit.into_mandate(),
            })?;
            desk.keep_sealed(written.index(), Some(ask.task), &sealed, bytes);
            Ok(delegation)
        })
        .await
    }

    /// Takes a delegation back, and ends the child and everything below it. Returns when every door has let go.
    pub async fn withdraw(
        &self,
        by: Delegator<'_>,
        delegation: DelegationId,
        moment: Moment,
    ) -> Result<Withdrawal, Refusal> {
        let (ended, crossed) = self
            .step_crossing(by.into(), moment, move |desk, step| {
                let (runtime, entry) = of_delegation(desk, delegation)?;
                let child = entry.child;
                let what = &What::of(&entry);
                let permit = step.permit(desk, (DelegationStep::Withdraw, &runtime), what)?;
                let under = child.map(|it| desk.live.state.tasks_under(&Target::Task(it)));
                desk.write(Body::DelegationWithdrawn {
                    delegation,
                    parent: entry.delegation.parent,
                    mandate: permit.into_mandate(),
                })?;
                Ok(under.unwrap_or_default())
            })
            .await?;
        self.shared.flights.landed(&crossed).await;
        Ok(Withdrawal {
            delegation,
            ended,
            crossed,
        })
    }

    /// Returns the delegations of live tasks, oldest first.
    pub fn delegations(&self, _: &Inspection) -> Result<Vec<DelegationSummary>, EngineError> {
        let live = self.shared.read()?;
        let summary = |it: &DelegationEntry| DelegationSummary {
            delegation: it.delegation.clone(),
            standing: it.standing,
            child: it.child,
        };
        Ok(live.state.delegations().map(summary).collect())
    }

    async fn step<T: Send + 'static>(
        &self,
        by: Evidence,
        moment: Moment,
        take: impl FnOnce(&mut Desk<'_>, &mut Step) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = self.step_crossing(by, moment, take).await;
        done.map(|(done, _)| done)
    }

    /// Does the same, and returns the decisions whose acts were cut by it.
    async fn step_crossing<T: Send + 'static>(
        &self,
        by: Evidence,
        moment: Moment,
        take: impl FnOnce(&mut Desk<'_>, &mut Step) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, Vec<DecisionId>), Refusal> {
        self.shared.running()?;
        let mut step = Step::new(by, &moment, self.shared.clone());
        let done = self.turn_crossing(move |desk| {
            let result = take(desk, &mut step);
            Box::new(move |committed| committed.map_err(Refusal::Failed).and(result))
        });
        let (done, crossed) = done.await?;
        Ok((done?, crossed))
    }
}

/// Returns what the delegating task needs to act, and what is asked for with the task's own bounds filled in.
fn asked(
    desk: &Desk<'_>,
    ask: &DelegateTask,
) -> Result<(Arc<TaskRuntime>, Part, Timestamp), Refusal> {
    let not_found = || Refusal::not_found(ask.task);
    let live = &desk.live;
    let runtime = live.runtime.get(&ask.task).ok_or_else(not_found)?;
    let entry = live.state.task(ask.task).ok_or_else(not_found)?;
    let scope = runtime.scope(&*live.book()?)?;
    let part = ask.part.clone().of(&scope, &entry.usage);
    let expires_at = ask
        .ttl
        .map_or(entry.task.expires_at, |ttl| desk.at().plus(ttl));
    Ok((runtime.clone(), part, expires_at))
}

/// Returns the delegation and what the task that made it needs to act.
fn of_delegation(
    desk: &Desk<'_>,
    id: DelegationId,
) -> Result<(Arc<TaskRuntime>, DelegationEntry), Refusal> {
    let entry = desk.live.state.delegation(id).cloned();
    let entry = entry.ok_or_else(|| unknown(id))?;
    let runtime = desk.live.runtime.get(&entry.delegation.parent);
    Ok((runtime.ok_or_else(|| unknown(id))?.clone(), entry))
}

fn unknown(id: DelegationId) -> Refusal {
    Refusal::NotFound(format!(
        "there is no {id} of a live task; see `ambit task tree`"
    ))
}

/// Says whether a task may act as of the log's time.
fn standing(desk: &Desk<'_>, task: TaskId) -> Option<TaskState> {
    let entry = desk.live.state.task(task)?;
    Some(entry.state.standing(entry.task.expires_at, desk.at()))
}

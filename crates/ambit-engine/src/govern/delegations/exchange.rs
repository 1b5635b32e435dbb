//! A delegation is spent for a child task (RFC 8693), and where tokens carry it, for the child's first token as well.

use std::{collections::BTreeMap, sync::Arc};

use ambit_audit::Attachment;
use ambit_core::{
    DelegationId, TaskId, TokenId,
    delegation::{DelegationStep, Lineage, Part},
    json,
    limits::SVID_TTL_MAX,
    record::{Actor, Body},
    task::{Contained, End, Task},
    token::{Grant, KeyBinding, TokenKind},
};
use ambit_identity::token::access::AccessToken;
use ambit_policy::{PartAsk, SubjectToken, part_details};

use super::{
    Delegate, of_delegation,
    step::{Evidence, Step, What},
    unknown,
};
use crate::{
    CustodyError, Handle, Moment, Refusal, TokenAsk, TokenGrant, TokenRefusal,
    desk::Desk,
    govern::{Started, tasks::finish},
    live::TaskRuntime,
    sequencer::Shared,
    tokens,
};

/// No token is given for a delegation.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeRefusal {
    /// The delegation is not spent.
    #[error(transparent)]
    Step(#[from] Refusal),
    /// No token is issued.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
}

/// Which delegation is spent, for a child that runs how, and what was shown as the delegator's token.
struct Spending {
    delegation: DelegationId,
    part: Part,
    contained: Option<Contained>,
    subject: Option<Option<TokenId>>,
    /// What the child's token will be bound to, when one is asked for.
    bound: Option<KeyBinding>,
}

impl Handle {
    /// Spends a delegation for a child task (RFC 8693). The caller itself becomes the actor; the subject stays.
    /// A child that an instance takes is as contained as the instance is, whatever it says.
    ///
    /// # Errors
    /// A denial: the delegation is another's, was spent, was taken back or has expired, or authority above it ended.
    pub async fn exchange(
        &self,
        by: Delegate<'_>,
        delegation: DelegationId,
        contained: Contained,
        moment: Moment,
    ) -> Result<Started, Refusal> {
        let by = Evidence::of_delegate(by)?;
        let spending = Spending {
            delegation,
            part: self.part_of(delegation)?,
            contained: Some(contained),
            subject: None,
            bound: None,
        };
        let shared = self.shared.clone();
        self.step(by, moment, move |desk, step| {
            let child = spend(desk, step, &shared, spending)?;
            let certificate_expires_at = child.task.expires_at.min(desk.at().plus(SVID_TTL_MAX));
            Ok(Started {
                authorization_details: child.details()?.as_ref().clone(),
                task: child.task.clone(),
                certificate_expires_at,
            })
        })
        .await
    }

    /// Spends a delegation for a child task and issues the child's first tokens, in one turn: after a revocation in
    /// the log there is neither. `subject` is the delegator's token, still live as of this turn; the tokens are
    /// bound to the key of `ask`.
    ///
    /// # Errors
    /// A denial as of [`Handle::exchange`], also for a token of another task than the one that delegated; or the
    /// key is missing.
    pub async fn exchange_token(
        &self,
        by: Delegate<'_>,
        (delegation, subject): (DelegationId, &AccessToken),
        ask: TokenAsk,
        moment: Moment,
    ) -> Result<TokenGrant, ExchangeRefusal> {
        if ask.binding == KeyBinding::Bearer {
            return Err(TokenRefusal::NoBearer.into());
        }
        // A name that was never in the log stands for nothing.
        let shown = subject.grant().token_id.parse::<TokenId>().ok();
        let ask = TokenAsk {
            grant: Grant::TokenExchange,
            parent: shown,
            ..ask
        };
        let by = Evidence::of_delegate(by)?;
        let spending = Spending {
            delegation,
            part: self.part_of(delegation)?,
            contained: None,
            subject: Some(shown),
            bound: Some(ask.binding),
        };
        let shared = self.shared.clone();
        let issued = self.step(by, moment, move |desk, step| {
            // A child without a token would be nobody's.
            if let Err(refusal) = given(desk, delegation, &ask) {
                return Ok(Err(refusal));
            }
            let child = spend(desk, step, &shared, spending)?;
            let drawing = (&mut step.chance, shared.as_ref());
            let given = tokens::first(desk, child.task.id, ask, drawing);
            if given.is_err() {
                // Nobody could come by it: it ends in the turn in which it began.
                finish(desk, child.task.id, End::Cancelled, Actor::Ambit)?;
            }
            Ok(given)
        });
        Ok(issued.await??)
    }

    /// Opens the sealed part of a delegation. It never changes, so this is no part of the turn.
    fn part_of(&self, id: DelegationId) -> Result<Part, Refusal> {
        let found = self.shared.read()?.state.delegation(id).cloned();
        let entry = found.ok_or_else(|| unknown(id))?;
        let task = entry.delegation.parent;
        let text = self.open((entry.leaf, task), &entry.part)?;
        let details = text.and_then(|it| json::parse(&it).ok());
        let part = details.and_then(|it| PartAsk::from_details(&it).ok()?.whole());
        part.ok_or_else(|| CustodyError::Open { task }.into())
    }
}

/// Refuses what the estate in force gives no delegate a token for.
fn given(desk: &Desk<'_>, delegation: DelegationId, ask: &TokenAsk) -> Result<(), TokenRefusal> {
    let Some(entry) = desk.live.state.delegation(delegation) else {
        return Ok(());
    };
    let delegation = &entry.delegation;
    let Some(parent) = desk.live.runtime.get(&delegation.parent) else {
        return Ok(());
    };
    let child = Task {
        agent: delegation.to.clone(),
        ..parent.task.as_ref().clone()
    };
    tokens::gives(desk, &child, ask)
}

/// Decides, writes the child down, and keeps what it needs to act.
fn spend(
    desk: &mut Desk<'_>,
    step: &mut Step,
    shared: &Shared,
    spending: Spending,
) -> Result<Arc<TaskRuntime>, Refusal> {
    let Spending {
        delegation, part, ..
    } = spending;
    let (runtime, entry) = of_delegation(desk, delegation)?;
    step.serve(desk)?;
    let contained = step.contained(desk, spending.contained);
    let until = step.own_expires_at(desk).unwrap_or(runtime.task.expires_at);
    let what = What {
        contained: Some(contained),
        subject_token: spending.subject.map_or(SubjectToken::None, |it| {
            of_subject(desk, it, runtime.task.id)
        }),
        bound: spending.bound,
        ..What::of(&entry)
    };
    let permit = step.permit(desk, (DelegationStep::Exchange, &runtime), &what)?;
    let at = desk.at();
    let (id, instance) = (step.chance.id(at), step.chance.id(at));
    let given = entry.delegation;
    let task = Task {
        id,
        instance,
        spiffe_id: shared.trust_domain.instance(&given.to, instance),
        agent: given.to,
        parameters: BTreeMap::new(),
        authority: given.authority,
        started_at: at,
        // A part that a run takes beside its own task ends with that.
        expires_at: given.expires_at.min(runtime.task.expires_at).min(until),
        contained,
        lineage: Lineage::Child {
            parent: given.parent,
            delegation,
            depth: runtime.task.lineage.depth().saturating_add(1),
            depth_left: given.depth_left,
        },
        ..runtime.task.as_ref().clone()
    };
    let text = part_details(&part).to_canonical();
    let wrapped = shared.custody.new_task_key(id, step.chance.draw())?;
    let nonce = step.chance.draw();
    let (sealed, bytes) = shared.custody.seal(&wrapped, id, text.as_bytes(), nonce)?;
    let whole = Task {
        parameters: runtime.task.parameters.clone(),
        ..task.clone()
    };
    let child = Arc::new(TaskRuntime::child(whole, wrapped.clone(), runtime, part));
    // Bounds that can't be compiled are found before anything is written.
    child.scope(&*desk.live.book()?)?;
    let written = desk.write(Body::DelegationSpent {
        task: Box::new(task),
        part: sealed,
        mandate: permit.into_mandate(),
    })?;
    desk.attachments
        .push(Attachment::TaskKey { task: id, wrapped });
    desk.keep_sealed(written.index(), Some(id), &sealed, bytes);
    desk.live.runtime.insert(id, child.clone());
    if let Some((proof, claimant)) = step.newcomer() {
        desk.write(Body::TaskWaits {
            task: id,
            join_token: None,
        })?;
        desk.write(Body::TaskClaimed {
            task: id,
            proof,
            workload: claimant.workload(),
            footing: claimant.footing(),
        })?;
    }
    desk.loosen(id);
    Ok(child)
}

/// Says what the token is that was shown as one of `parent`, as of this turn.
fn of_subject(desk: &Desk<'_>, shown: Option<TokenId>, parent: TaskId) -> SubjectToken {
    let entry = shown.and_then(|it| desk.live.state.token(it));
    let live = entry.filter(|it| {
        it.token.kind == TokenKind::Access
            && desk.live.stands(it).is_ok()
            && it.token.expires_at > desk.at()
    });
    match live {
        None => SubjectToken::Over,
        Some(entry) if entry.token.task != parent => SubjectToken::OfAnother,
        // Whoever holds a token of less can't vouch for more.
        Some(entry) if entry.token.part.is_some() => SubjectToken::Narrowed,
        Some(entry) if entry.token.binding == KeyBinding::Bearer => SubjectToken::Unbound,
        Some(_) => SubjectToken::OfParent,
    }
}

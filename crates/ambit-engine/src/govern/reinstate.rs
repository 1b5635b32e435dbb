//! Lifting a ban: for what begins from then on.

use ambit_core::{
    act::{Governance, Target},
    record::Body,
};
use ambit_identity::PersonCaller;
use ambit_policy::{Standing, Touched};

use super::{Asked, check_reason};
use crate::{Handle, Moment, Refusal, desk::Desk};

/// What was reinstated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reinstatement {
    /// An agent, a person or a server.
    pub target: Target,
}

impl Handle {
    /// Lifts the ban of an agent, a person or a server for tasks that start from then on. What a revocation ended stays
    /// ended, and a task that began before it was lifted stays without: after a revocation there is no later permit
    /// under the authority that it hit.
    ///
    /// # Errors
    /// The caller may not, or `target` is not revoked.
    pub async fn reinstate(
        &self,
        caller: &PersonCaller,
        target: Target,
        reason: String,
        moment: Moment,
    ) -> Result<Reinstatement, Refusal> {
        check_reason("reinstatement", &reason)?;
        let take =
            move |desk: &mut Desk<'_>, asked: &mut Asked| write(desk, asked, target, &reason);
        self.govern(caller, moment, take).await
    }
}

fn write(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    target: Target,
    reason: &str,
) -> Result<Reinstatement, Refusal> {
    let subject = match target {
        Target::Person(person) => Some(person),
        Target::Agent(_) | Target::Server(_) => None,
        Target::Task(_) | Target::Instance(_) => {
            return Err(Refusal::Conflict(format!(
                "{target} stays ended; start a new task"
            )));
        }
    };
    let act = Governance::Reinstate {
        target: target.clone(),
    };
    let touched = Touched {
        subject,
        ..Touched::NOTHING
    };
    let permit = asked.permit(desk, act, touched)?;
    if desk.live.state.standing(&target) != Standing::Revoked {
        return Err(Refusal::Conflict(format!(
            "{target} is not revoked; there is nothing to lift"
        )));
    }
    let reason = asked.seal_reason(reason)?;
    let written = desk.write(Body::Reinstated {
        target: target.clone(),
        reason: reason.sealed,
        warrant: permit.warrant(),
    })?;
    reason.keep(desk, written.index());
    Ok(Reinstatement { target })
}

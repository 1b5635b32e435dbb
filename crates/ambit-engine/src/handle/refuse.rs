//! Refusals without a decision on facts, and how many of them are written one by one.

use ambit_core::{DecisionId, Reason, ServerName, Timestamp, ToolName, act::Act, record::Actor};
use ambit_identity::InstanceCaller;
use ambit_policy::Decision;

use super::{Answer, Handle};
use crate::{Denied, EngineError, Moment, moment::Chance, quota::Writing};

/// What is refused without a decision on it.
#[derive(Clone, Copy)]
pub(super) struct Refused<'a> {
    action: &'a str,
    server: Option<&'a ServerName>,
    tool: Option<&'a ToolName>,
}

impl<'a> From<&'a Act> for Refused<'a> {
    fn from(act: &'a Act) -> Self {
        Self {
            action: act.action(),
            server: act.server(),
            tool: act.tool(),
        }
    }
}

impl<'a> From<&'a str> for Refused<'a> {
    fn from(action: &'a str) -> Self {
        Self {
            action,
            server: None,
            tool: None,
        }
    }
}

impl Handle {
    /// Refuses what never becomes an act, such as an unknown method, and writes that down.
    pub async fn refuse(
        &self,
        caller: &InstanceCaller,
        action: &str,
        reason: Reason,
        moment: Moment,
    ) -> Result<Denied, EngineError> {
        let decision = Chance::new(moment.chance).id(moment.now);
        match self
            .refuse_as(caller, (decision, moment.now), action.into(), reason)
            .await?
        {
            Answer::Denied(denied) => Ok(denied),
            Answer::Allowed(_) | Answer::Held(_) => Ok(Denied { decision, reason }),
        }
    }

    /// Counts a refusal; when its caller is refused in a flood, it is not written one by one.
    pub(super) fn counted(
        &self,
        caller: &InstanceCaller,
        answer: &Decision,
        now: Timestamp,
    ) -> Option<Denied> {
        let Decision::Deny(denial) = answer else {
            return None;
        };
        let denied = Denied {
            decision: denial.decision(),
            reason: denial.reason(),
        };
        let task = denial.task();
        let writing = self.shared.quotas().refused(
            Actor::Instance(caller.instance()),
            task,
            denied.reason,
            now,
        );
        (writing == Writing::Counted).then_some(denied)
    }

    pub(super) async fn refuse_as(
        &self,
        caller: &InstanceCaller,
        (decision, now): (DecisionId, Timestamp),
        asked: Refused<'_>,
        reason: Reason,
    ) -> Result<Answer, EngineError> {
        self.shared.running()?;
        let (estate, task) = {
            let live = self.shared.read()?;
            let task = live.task_of(caller.instance());
            (live.book()?.estate().digest, task)
        };
        let actor = Actor::Instance(caller.instance());
        let action = asked.action;
        let denial = ambit_policy::refuse(decision, now, actor, task, estate, action, reason);
        let denial = denial.at(asked.server, asked.tool).by(caller.binding());
        let denied = Denied { decision, reason };
        let writing = self.shared.quotas().refused(actor, task, reason, now);
        if writing == Writing::Counted {
            return Ok(Answer::Denied(denied));
        }
        self.turn(move |desk| {
            let pending = desk.write(denial);
            Box::new(move |committed| committed.and(pending).map(|_| Answer::Denied(denied)))
        })
        .await?
    }
}

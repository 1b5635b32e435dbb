//! Taking authority away, and knowing when it is gone.

use ambit_core::{
    DecisionId, Digest, Millis, RevocationId, TaskId,
    act::{Governance, Target},
    limits::REASON_BYTES_MAX,
    record::{Body, Sealed},
};
use ambit_identity::PersonCaller;

use super::{Asked, Touched};
use crate::{Handle, Moment, Refusal, desk::Desk};

/// What a revocation did.
#[derive(Clone, Debug)]
pub struct RevocationReport {
    /// Names the revocation.
    pub revocation: RevocationId,
    /// From what authority was taken.
    pub target: Target,
    /// The tasks that it ended.
    pub ended: Vec<TaskId>,
    /// The decisions whose acts were under way when it took effect: each was cut.
    pub crossed: Vec<DecisionId>,
    /// From the request to the last door's acknowledgement.
    pub took: Millis,
}

impl Handle {
    /// Takes authority away from `target`. Returns when every door has let go, or its bounded time is over.
    pub async fn revoke(
        &self,
        caller: &PersonCaller,
        target: Target,
        reason: String,
        moment: Moment,
    ) -> Result<RevocationReport, Refusal> {
        if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
            return Err(Refusal::Invalid(format!(
                "a revocation wants a reason of 1 to {REASON_BYTES_MAX} bytes; give `--reason TEXT`"
            )));
        }
        let asked_at = moment.now;
        let wanted = target.clone();
        let take =
            move |desk: &mut Desk<'_>, asked: &mut Asked| write(desk, asked, target, &reason);
        let (revocation, ended) = self.govern(caller, moment, take).await?;
        let crossed = self.shared.flights.cut(&wanted, (self.shared.clock)().now);
        self.shared.flights.landed(&crossed).await;
        let took = (self.shared.clock)().now.since(asked_at);
        let report = RevocationReport {
            revocation,
            target: wanted,
            ended,
            crossed,
            took,
        };
        let effective = Body::RevocationEffective {
            revocation,
            crossed: report.crossed.clone(),
            took,
        };
        self.turn(move |desk| {
            let written = desk.write(effective).map(|_| ());
            Box::new(move |committed| committed.and(written))
        })
        .await??;
        Ok(report)
    }
}

fn write(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    target: Target,
    reason: &str,
) -> Result<(RevocationId, Vec<TaskId>), Refusal> {
    check(desk, &target)?;
    let act = Governance::Revoke {
        target: target.clone(),
    };
    let permit = asked.permit(desk, act, Touched::NOTHING)?;
    let revocation = asked.chance.id(desk.at());
    let ended = desk.live.state.tasks_under(&target);
    // The reason may name people; the log holds only a salted commitment, and the text stands beside it.
    let salt: [u8; 32] = asked.chance.draw();
    let text = [salt.as_slice(), reason.as_bytes()].concat();
    let blob = Digest::of(&text);
    let reason = Sealed {
        commitment: blob,
        blob: Some(blob),
    };
    desk.write(Body::Revoked {
        revocation,
        target,
        reason,
        warrant: permit.warrant(),
    })?;
    desk.attachments.push(ambit_audit::Attachment::Blob {
        id: blob,
        task: None,
        bytes: text,
    });
    Ok((revocation, ended))
}

fn check(desk: &Desk<'_>, target: &Target) -> Result<(), Refusal> {
    let estate = desk.live.book()?;
    let estate = estate.estate();
    let there = match target {
        Target::Task(_) | Target::Instance(_) => !desk.live.state.tasks_under(target).is_empty(),
        Target::Agent(name) => estate.agents.contains_key(name),
        Target::Person(id) => desk.live.state.people.contains(id),
        Target::Server(name) => estate.servers.contains_key(name),
    };
    if there {
        Ok(())
    } else {
        Err(Refusal::NotFound(format!("there is no live {target}")))
    }
}

//! Applying the estate: what it takes away is gone with it.

use std::sync::Arc;

use ambit_audit::Attachment;
use ambit_core::{
    Digest, TaskId,
    act::Governance,
    limits::TASKS_LIVE_MAX,
    record::{Actor, Body},
    task::{End, TaskState},
};
use ambit_identity::{Grounds, PersonCaller};
use ambit_policy::{PolicyBook, Touched};

use super::Asked;
use crate::{Handle, Moment, Refusal, desk::Desk};

/// A version of the estate that came into force.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Which version.
    pub estate: Digest,
    /// The version before, when there was one.
    pub before: Option<Digest>,
    /// What was in force until then, compiled; none when nothing was, or it could not be compiled.
    pub replaced: Option<Arc<PolicyBook>>,
    /// The tasks that ended, since it does not register any more what their instances claimed them by.
    pub ended: Vec<TaskId>,
}

impl Handle {
    /// Puts a version of the estate in force, and ends the tasks that were claimed by what it does not register any more.
    /// The first one is judged by its own roles: there are no others yet.
    ///
    /// # Errors
    /// A denial, or nothing could be written. Where there are so many tasks to end that they take several turns, those of
    /// the turns before stay ended.
    pub async fn apply(
        &self,
        caller: &PersonCaller,
        book: Arc<PolicyBook>,
        files: Vec<u8>,
        moment: Moment,
    ) -> Result<Applied, Refusal> {
        let (grounds, files) = (Arc::new(Grounds::of(book.estate())), Arc::new(files));
        let (mut ended, mut next) = (Vec::new(), Some(moment));
        // Each round ends one task at least.
        for _ in 0..=TASKS_LIVE_MAX {
            let moment = next.take().unwrap_or_else(|| (self.shared.clock)());
            let (book, grounds, files) = (book.clone(), grounds.clone(), files.clone());
            let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
                put_in_force(desk, asked, (book, &grounds), &files)
            };
            let (round, crossed) = self.govern_crossing(caller, moment, take).await?;
            ended.extend(round.ended);
            if let Some((estate, before, replaced)) = round.applied {
                self.shared.flights.landed(&crossed).await;
                return Ok(Applied {
                    estate,
                    before,
                    replaced,
                    ended,
                });
            }
        }
        Err(Refusal::Conflict(
            "tasks are claimed by what this estate does not register faster than they end; apply it again".to_owned(),
        ))
    }
}

/// What one turn of an apply did.
struct Round {
    /// The version that came into force, and the one before, by name and compiled; none when there are more tasks to end first.
    applied: Option<(Digest, Option<Digest>, Option<Arc<PolicyBook>>)>,
    ended: Vec<TaskId>,
}

/// Ends what was claimed by what `grounds` does not hold, and puts `book` in force when that is all in this turn.
fn put_in_force(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    (book, grounds): (Arc<PolicyBook>, &Grounds),
    files: &[u8],
) -> Result<Round, Refusal> {
    let estate = book.estate().digest;
    let replaced = desk.live.book.clone();
    let judge = replaced.clone().unwrap_or_else(|| book.clone());
    let act = Governance::ApplyEstate { estate };
    let permit = asked.permit_under(desk, &judge, act, Touched::NOTHING)?;
    let before = desk.live.state.estate();
    if before == Some(estate) {
        let applied = Some((estate, before, replaced));
        let ended = Vec::new();
        return Ok(Round { applied, ended });
    }
    let warrant = permit.warrant();
    let by = Actor::Person(warrant.by);
    let gone = desk.live.unregistered(grounds);
    let most = desk.room() / 2;
    if gone.len() > most {
        let now = gone.into_iter().take(most.max(1)).collect();
        let ended = end_unregistered(desk, now, by)?;
        return Ok(Round {
            applied: None,
            ended,
        });
    }
    desk.write(Body::EstateApplied { estate, warrant })?;
    desk.attachments.push(Attachment::Estate {
        digest: estate,
        bytes: files.to_vec(),
    });
    desk.live.put_in_force(book);
    let ended = end_unregistered(desk, gone, by)?;
    Ok(Round {
        applied: Some((estate, before, replaced)),
        ended,
    })
}

/// Ends the tasks, and returns those that did not end with another of them.
fn end_unregistered(
    desk: &mut Desk<'_>,
    tasks: Vec<TaskId>,
    by: Actor,
) -> Result<Vec<TaskId>, Refusal> {
    let mut ended = Vec::new();
    for task in tasks {
        let state = desk.live.state.task(task).map(|it| it.state);
        if state != Some(TaskState::Active) {
            continue;
        }
        let end = End::Unregistered;
        desk.write(Body::TaskEnded { task, end, by })?;
        ended.push(task);
    }
    Ok(ended)
}

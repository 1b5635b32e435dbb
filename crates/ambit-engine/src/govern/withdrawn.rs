//! What an estate that came into force takes away from acts under way.

use std::sync::Arc;

use ambit_core::{DecisionId, PersonId, Reason, TaskId, Timestamp};
use ambit_policy::{Offering, PolicyBook, Standing};

use crate::{doors::Door, live::TaskRuntime, sequencer::Shared};

impl Shared {
    /// Cuts every act under way that the estate in force would not let begin, and returns their decisions in order.
    pub(crate) fn cut_withdrawn(&self, now: Timestamp) -> Vec<DecisionId> {
        // Where nothing can be read the engine has stopped, and where no estate is in force nothing acts.
        let Ok(live) = self.read() else {
            return Vec::new();
        };
        let Ok(book) = live.book() else {
            return Vec::new();
        };
        let offered = |(task, approver): (TaskId, Option<PersonId>), door: Door<'_>| {
            let runtime = live.runtime.get(&task).ok_or(Reason::TaskEnded)?;
            live.subject(task)?;
            match approver.map(|it| live.approver_standing(it, task)) {
                Some(Standing::Revoked) => return Err(Reason::ApprovalRequired),
                Some(Standing::Live) | None => {}
            }
            offered(runtime, &book, door)
        };
        self.flights.cut_withdrawn(now, offered)
    }
}

/// Says whether `book` would let anything begin for a task at a door, or why not.
fn offered(runtime: &Arc<TaskRuntime>, book: &PolicyBook, door: Door<'_>) -> Result<(), Reason> {
    let withheld = match door {
        Door::Tool(..) => Reason::ToolNotGranted,
        Door::Server(_) => Reason::ServerNotGranted,
        Door::Endpoint(_) => Reason::EndpointNotListed,
    };
    let scope = runtime.scope(book).map_err(|_| withheld)?;
    let offering = match door {
        Door::Tool(server, tool) => scope.offers(book, server, tool),
        Door::Server(server) => scope.offers_server(server),
        Door::Endpoint(endpoint) => {
            let listed = |it: &Arc<TaskRuntime>| {
                let agent = book.estate().agents.get(&it.task.agent);
                agent.is_some_and(|it| it.model_endpoints.contains(endpoint))
            };
            if listed(runtime) && runtime.tasks_above().all(listed) {
                Offering::Offered
            } else {
                Offering::Withheld
            }
        }
    };
    match offering {
        Offering::Offered => Ok(()),
        Offering::Withheld => Err(withheld),
    }
}

//! Tasks that nobody serves: their run is gone, or whoever was to have them never got what it takes.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Mutex, PoisonError},
};

use ambit_core::{
    TaskId,
    record::Actor,
    task::{End, TaskState},
};

use super::tasks::finish;
use crate::{EngineError, Handle, Refusal, desk::Desk, sequencer::Shared};

/// The live tasks that nobody serves and whose end is not on the record yet: as many as are live at most.
#[derive(Debug, Default)]
pub(crate) struct Unserved(Mutex<BTreeSet<TaskId>>);

impl Handle {
    /// Ends a live task that nobody serves, as cancelled by Ambit. One that is not live, or not any more, is left as it is.
    ///
    /// From the call on it is kept in mind until its end is on the record: when there is no room for it now, the next
    /// [`Handle::tick`] with room writes it. What is returned resolves when it was tried once, and when the acts that were
    /// cut are over; nobody need wait for that.
    ///
    /// While Ambit is being stopped nothing is ended: its runs lose it, and not the other way round, and may come back.
    ///
    /// # Errors
    /// Its end is not on the record yet.
    pub fn end_unserved(
        &self,
        task: TaskId,
    ) -> impl Future<Output = Result<(), EngineError>> + Send + use<> {
        let shared = self.shared.clone();
        let open = self.shared.open();
        let tried = (open.is_ok() && self.shared.is_live(task)).then(|| {
            self.shared.unserved.insert(task);
            let end = self.turn_crossing(move |desk| {
                let ended = end(desk, &shared, task);
                Box::new(move |committed| committed.and(ended))
            });
            end.aside()
        });
        let shared = self.shared.clone();
        async move {
            open?;
            let Some(tried) = tried else {
                return Ok(());
            };
            let (ended, crossed) = tried.await.map_err(|_| shared.trouble())?;
            ended?;
            shared.flights.landed(&crossed).await;
            Ok(())
        }
    }
}

/// Ends those that could not be ended when they should have been, as far as there is room.
pub(super) fn end_unserved(desk: &mut Desk<'_>, shared: &Shared) -> Result<(), EngineError> {
    for task in shared.unserved.first(desk.room() / 4) {
        end(desk, shared, task)?;
    }
    Ok(())
}

fn end(desk: &mut Desk<'_>, shared: &Shared, task: TaskId) -> Result<(), EngineError> {
    let ended = match finish(desk, task, End::Cancelled, Actor::Ambit) {
        // It stays in mind.
        Err(Refusal::Failed(error)) => return Err(error),
        // It has ended otherwise.
        Ok(_) | Err(_) => Ok(()),
    };
    shared.unserved.remove(task);
    ended
}

impl Shared {
    fn is_live(&self, task: TaskId) -> bool {
        let live = self.read();
        let state = live.map(|it| it.state.task(task).map(|it| it.state));
        state.is_ok_and(|it| it == Some(TaskState::Active))
    }
}

impl Unserved {
    fn insert(&self, task: TaskId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(task);
    }

    fn remove(&self, task: TaskId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&task);
    }

    fn first(&self, count: usize) -> Vec<TaskId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().take(count).copied().collect()
    }
}

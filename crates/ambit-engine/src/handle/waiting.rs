//! Waiting for the sequencer.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
};

use ambit_audit::Committed;
use tokio::sync::{mpsc, oneshot};

use crate::{EngineError, desk::Turn, queue::Turns, sequencer::Shared};

/// What a turn says once its batch is durable, or known to have failed.
pub(crate) type Reply<T> = Box<dyn FnOnce(Result<Option<&Committed>, EngineError>) -> T + Send>;

/// A turn that has not been handed over yet. Awaiting it hands it over and waits for the answer.
#[must_use = "a turn that is not awaited is never taken"]
pub(crate) struct Waiting<T> {
    pub(super) turns: Turns,
    pub(super) turn: Option<Turn>,
    pub(super) answer: oneshot::Receiver<T>,
    pub(super) shared: Arc<Shared>,
}

impl<T: Send + 'static> Waiting<T> {
    /// Hands the turn over, which writes one record, and does not wait for its answer. Waits while there is no room:
    /// outcomes are not lost.
    pub(crate) async fn queued(mut self) -> Result<(), EngineError> {
        let Some(turn) = self.turn.take() else {
            return Ok(());
        };
        self.turns
            .later(turn)
            .await
            .map_err(|_| self.shared.trouble())
    }
}

impl<T: Send + 'static> Waiting<T> {
    /// Hands the turn over, which writes one record, as far as there is room, and returns where its answer will be. Nobody
    /// need look there.
    pub(crate) fn aside(mut self) -> oneshot::Receiver<T> {
        if let Some(turn) = self.turn.take() {
            self.turns.try_later(turn);
        }
        self.answer
    }
}

impl<T: Send + 'static> IntoFuture for Waiting<T> {
    type Output = Result<T, EngineError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(turn) = self.turn.take() else {
                return Err(EngineError::Busy);
            };
            self.turns.try_send(turn).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EngineError::Busy,
                mpsc::error::TrySendError::Closed(_) => self.shared.trouble(),
            })?;
            match (&mut self.answer).await {
                Ok(answer) => Ok(answer),
                Err(_) => Err(self.shared.trouble()),
            }
        })
    }
}

impl<T> fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

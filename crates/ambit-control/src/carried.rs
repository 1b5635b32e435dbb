//! What begins is carried to its end, whoever asked for it and left.
//!
//! A server drops what it does for a connection when that ends, in the middle: a turn of the engine would be durable and
//! what follows it, such as the certificate or the code, would never be. So every request that may begin something runs in
//! a task of its own, at the one place that all of them pass, and its asker only waits for it.
//!
//! An answer that alone lets somebody act ([`OnlyAnswer`]) is taken back when its asker left before it could go out.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ambit_core::TaskId;
use ambit_engine::Handle;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::api::Problem;

/// How many requests of one door are carried at once. One more waits for its turn, and begins nothing when it leaves
/// before.
pub(crate) const CARRIED_MAX: usize = 1024;

/// Where requests are carried.
#[derive(Clone)]
pub(crate) struct Carrying(Arc<Semaphore>);

/// It broke off, and nobody knows how far it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BrokeOff;

impl Carrying {
    /// Returns `work`'s answer. Once it has begun it goes on to its end, whoever waits.
    ///
    /// # Errors
    /// [`BrokeOff`] when it did not come to its end.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BrokeOff> {
        let place = Arc::clone(&self.0).acquire_owned().await;
        let place = place.map_err(|_| BrokeOff)?;
        let carried = async move {
            let done = work.await;
            drop(place);
            done
        };
        let carried = tokio::spawn(carried.in_current_span());
        carried.await.map_err(|_| BrokeOff)
    }
}

impl Default for Carrying {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CARRIED_MAX)))
    }
}

/// Carries a request to its end.
pub(crate) async fn carried(
    State(carrying): State<Carrying>,
    request: Request,
    next: Next,
) -> Response {
    match carrying.to_its_end(next.run(request)).await {
        Ok(mut response) => {
            if let Some(only) = response.extensions_mut().remove::<OnlyAnswer>() {
                only.goes_out();
            }
            response
        }
        Err(BrokeOff) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "broke_off",
            "the request broke off, and may have been done",
        )
        .because("look at what happened (`ambit log tail`) before you send it again")
        .into_response(),
    }
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It goes out to whoever asked.
    GoesOut,
    /// Whoever asked has gone.
    Unheard,
}

/// Goes with the one answer to something, and is told what became of it.
#[derive(Clone)]
pub(crate) struct OnlyAnswer(Arc<Settling>);

struct Settling {
    goes_out: AtomicBool,
    settle: Box<dyn Fn(Fate) + Send + Sync>,
}

impl OnlyAnswer {
    /// Has `settle` called once it is known what became of the answer that this goes with.
    pub(crate) fn settled_by(settle: impl Fn(Fate) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Settling {
            goes_out: AtomicBool::new(false),
            settle: Box::new(settle),
        }))
    }

    /// Ends the task within which this answer alone lets somebody act.
    pub(crate) fn of_task(handle: &Handle, task: TaskId) -> Self {
        let handle = handle.clone();
        Self::settled_by(move |fate| {
            if fate == Fate::Unheard {
                tracing::warn!(%task, "whoever was to serve a task left before the answer; the task ends");
                drop(handle.end_unserved(task));
            }
        })
    }

    fn goes_out(self) {
        self.0.goes_out.store(true, Ordering::Relaxed);
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        (self.settle)(match self.goes_out.load(Ordering::Relaxed) {
            true => Fate::GoesOut,
            false => Fate::Unheard,
        });
    }
}

impl fmt::Debug for OnlyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnlyAnswer")
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use tokio::sync::Notify;

    use super::*;

    async fn once<F: Future + Unpin>(future: &mut F) -> bool {
        poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready()))
            .await
    }

    #[tokio::test]
    async fn what_began_goes_on_and_what_waits_begins_nothing() {
        let (carrying, go_on) = (Carrying::default(), Arc::new(Notify::new()));
        let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let work = || {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            Box::pin(carrying.to_its_end(async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go_on.notified().await;
            }))
        };
        let mut all: Vec<_> = (0..CARRIED_MAX).map(|_| work()).collect();
        while begun.load(Ordering::Relaxed) < CARRIED_MAX {
            for one in &mut all {
                assert!(!once(one).await);
            }
            tokio::task::yield_now().await;
        }
        let mut beyond = work();
        assert!(!once(&mut beyond).await);
        // The askers leave, and those that had begun are not less under way.
        drop((all, beyond));
        let mut last = work();
        assert!(!once(&mut last).await);
        assert_eq!(begun.load(Ordering::Relaxed), CARRIED_MAX);
        go_on.notify_waiters();
        while begun.load(Ordering::Relaxed) <= CARRIED_MAX {
            let _ = once(&mut last).await;
            tokio::task::yield_now().await;
        }
        go_on.notify_waiters();
        assert_eq!(last.await, Ok(()));
    }

    #[tokio::test]
    async fn what_breaks_off_says_so() {
        let carrying = Carrying::default();
        let broken = carrying.to_its_end(async { panic!("for a test") });
        assert_eq!(pin!(broken).await, Err::<(), _>(BrokeOff));
    }
}

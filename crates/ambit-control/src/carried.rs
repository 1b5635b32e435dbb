//! What begins is carried to its end, whoever asked for it and left.
//!
//! A server drops what it does for a connection when that ends, in the middle: a turn of the engine would be durable and
//! what follows it, such as the certificate or the code, would never be. So every request that may begin something runs in
//! a task of its own, at the one place that all of them pass, and its asker only waits for it.
//!
//! A place is taken once the whole request is there, and nobody who asks has more than a share of the places: whoever sends
//! half of many requests keeps no other waiting.
//!
//! An answer that alone lets somebody act ([`OnlyAnswer`]) is taken back when its asker left before it could go out.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use ambit_core::{SpiffeId, TaskId, origin::Origin};
use ambit_engine::Handle;
use ambit_identity::{InstanceCaller, PeerCredentials};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Extensions, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::api::Problem;

/// How many requests of one door are carried at once. One more waits for its turn, and begins nothing when it leaves
/// before.
pub(crate) const CARRIED_MAX: usize = 1024;
/// How many of them one asker has: an instance, a local user, an address elsewhere. One more waits for the asker's own.
pub(crate) const CARRIED_PER_ASKER_MAX: usize = 128;

/// Where requests are carried.
#[derive(Clone)]
pub(crate) struct Carrying(Arc<Places>);

struct Places {
    all: Arc<Semaphore>,
    /// Of those without a share.
    unshared: Arc<Semaphore>,
    /// The shares of those who have a request here.
    shares: Mutex<HashMap<Asker, Weak<Semaphore>>>,
}

/// Whose request it is, as far as places are shared out by it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Asker {
    /// An instance.
    Instance(SpiffeId),
    /// A local user.
    User(u32),
    /// Somebody elsewhere.
    From(Origin),
    /// Somebody of whom nothing is known that places could be shared out by.
    Anybody,
}

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
        asker: Asker,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BrokeOff> {
        let own = self.share(asker).acquire_owned().await;
        let all = Arc::clone(&self.0.all).acquire_owned().await;
        let place = (own.map_err(|_| BrokeOff)?, all.map_err(|_| BrokeOff)?);
        let carried = async move {
            let done = work.await;
            drop(place);
            done
        };
        let carried = tokio::spawn(carried.in_current_span());
        carried.await.map_err(|_| BrokeOff)
    }

    /// Returns the share of an asker. It is forgotten when nothing of the asker's is here.
    fn share(&self, asker: Asker) -> Arc<Semaphore> {
        let most = match asker {
            // Who knows who it is shares out itself, and all who come through a proxy here are one origin.
            Asker::Anybody | Asker::From(Origin::Here) => return Arc::clone(&self.0.unshared),
            Asker::Instance(_) | Asker::User(_) | Asker::From(_) => CARRIED_PER_ASKER_MAX,
        };
        let shares = self.0.shares.lock();
        let mut shares = shares.unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&asker).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= SHARES_KEPT_MAX {
            shares.retain(|_, it| it.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(most));
        shares.insert(asker, Arc::downgrade(&share));
        share
    }
}

impl Asker {
    /// Returns whose request it is that carries what doors wrote upon it.
    fn of(written: &Extensions) -> Self {
        if let Some(caller) = written.get::<InstanceCaller>() {
            return Self::Instance(caller.spiffe_id().clone());
        }
        if let Some(peer) = written.get::<PeerCredentials>() {
            return Self::User(peer.uid);
        }
        written.get().copied().map_or(Self::Anybody, Self::From)
    }
}

/// Beyond so many, shares of those who have nothing here are forgotten.
const SHARES_KEPT_MAX: usize = 2 * CARRIED_MAX;

impl Default for Carrying {
    fn default() -> Self {
        Self(Arc::new(Places {
            all: Arc::new(Semaphore::new(CARRIED_MAX)),
            unshared: Arc::new(Semaphore::new(CARRIED_MAX)),
            shares: Mutex::default(),
        }))
    }
}

/// Carries a request to its end, once all of it is there. A body beyond so many bytes, or one that breaks off, is one that
/// breaks off for whatever reads it.
pub(crate) async fn carried(
    State((carrying, bytes_max)): State<(Carrying, usize)>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let body = match to_bytes(body, bytes_max).await {
        Ok(bytes) => Body::from(bytes),
        Err(error) => Body::from_stream(tokio_stream::once(Err::<axum::body::Bytes, _>(error))),
    };
    let asker = Asker::of(&head.extensions);
    let work = next.run(Request::from_parts(head, body));
    match carrying.to_its_end(asker, work).await {
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
            Box::pin(carrying.to_its_end(Asker::Anybody, async move {
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
    async fn asi08_one_asker_s_requests_keep_no_other_waiting() {
        let (carrying, go_on) = (Carrying::default(), Arc::new(Notify::new()));
        let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let work = |asker: Asker| {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            Box::pin(carrying.to_its_end(asker, async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go_on.notified().await;
            }))
        };
        let instance =
            |name| Asker::Instance(format!("spiffe://a.example/agent/{name}").parse().unwrap());
        let mut all: Vec<_> = (0..=CARRIED_PER_ASKER_MAX)
            .map(|_| work(instance("a")))
            .collect();
        while begun.load(Ordering::Relaxed) < CARRIED_PER_ASKER_MAX {
            for one in &mut all {
                assert!(!once(one).await);
            }
            tokio::task::yield_now().await;
        }
        // One beyond the share waits; others do not.
        let mut others = [
            work(instance("b")),
            work(Asker::User(1)),
            work(Asker::Anybody),
        ];
        while begun.load(Ordering::Relaxed) < CARRIED_PER_ASKER_MAX + others.len() {
            for other in &mut others {
                assert!(!once(other).await);
            }
            tokio::task::yield_now().await;
        }
        assert!(!once(all.last_mut().unwrap()).await);
        assert_eq!(
            begun.load(Ordering::Relaxed),
            CARRIED_PER_ASKER_MAX + others.len()
        );
    }

    /// A request of which half is there holds no place.
    #[tokio::test]
    async fn asi08_a_half_sent_request_holds_no_place() {
        use axum::{Router, middleware::from_fn_with_state, routing::post};
        use tower::ServiceExt;

        let carrying = Carrying::default();
        let layer = from_fn_with_state((carrying.clone(), 8), carried);
        let read = async |body: String| body;
        let router = Router::new().route("/", post(read).layer(layer));
        let ask = |body: Body| {
            let request = axum::http::Request::post("/").body(body).unwrap();
            Box::pin(router.clone().oneshot(request))
        };
        let half = || Body::from_stream(tokio_stream::pending::<Result<&[u8], BrokenPipe>>());
        let mut halves: Vec<_> = (0..=CARRIED_MAX).map(|_| ask(half())).collect();
        for one in &mut halves {
            assert!(!once(one).await);
        }
        assert_eq!(carrying.0.all.available_permits(), CARRIED_MAX);
        let answer = ask(Body::from("12345678")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer = ask(Body::from("123456789")).await.unwrap();
        assert!(answer.status().is_client_error(), "{}", answer.status());
    }

    type BrokenPipe = std::io::Error;

    #[tokio::test]
    async fn what_breaks_off_says_so() {
        let carrying = Carrying::default();
        let broken = carrying.to_its_end(Asker::Anybody, async { panic!("for a test") });
        assert_eq!(pin!(broken).await, Err::<(), _>(BrokeOff));
    }
}

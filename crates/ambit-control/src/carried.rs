//! What begins is carried to its end, whoever asked for it and left.
//!
//! A server drops what it does for a connection when that ends, in the middle: a turn of the engine would be durable and
//! what follows it, such as the certificate or the code, would never be. So every request that may begin something passes
//! one place, where it goes on in a task of its own as soon as its asker has left.
//!
//! A place is taken once the whole request is there, and nobody who asks has more than a share of the places: whoever sends
//! half of many requests keeps no other waiting. A quarter of them no stranger gets, and who waits for what others publish
//! waits [`aside`], without a place.
//!
//! An answer that alone lets somebody act ([`OnlyAnswer`]) is taken back when its asker left before it could go out.

mod place;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use ambit_core::{LoginId, SpiffeId, TaskId, origin::Origin};
use ambit_engine::Handle;
use ambit_identity::{InstanceCaller, PeerCredentials, login::ProvedLogin};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{Extensions, HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::runtime::Handle as Runtime;
use tracing::Instrument;

#[cfg(test)]
pub(crate) use self::place::CARRIED_PER_ASKER_MAX;
pub(crate) use self::place::aside;
use self::place::{PLACE, Placement, Places, Standing};
use crate::api::{Problem, read_whole};

/// Where requests are carried.
#[derive(Clone, Default)]
pub(crate) struct Carrying(Arc<Places>);

/// Whose request it is, as far as places are shared out by it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Asker {
    /// An instance.
    Instance(SpiffeId),
    /// A local user.
    User(u32),
    /// A command line with a login.
    Login(LoginId),
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
        let place = Arc::new(self.0.place(asker));
        place.take().await;
        let work = PLACE.scope(Arc::clone(&place), work).in_current_span();
        let work: Work<T> = Box::pin(work);
        Carried(Some((work, place))).await
    }
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work that goes on in a task of its own when this is dropped before its end. Until then it runs where its asker does:
/// nearly every asker stays, and a task for each would wake another core.
struct Carried<T: Send + 'static>(Option<(Work<T>, Arc<Placement>)>);

impl<T: Send + 'static> Future for Carried<T> {
    type Output = Result<T, BrokeOff>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((work, _)) = &mut self.0 else {
            return Poll::Ready(Err(BrokeOff));
        };
        // What panicked is never asked again: it is let go of below.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let told = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(done)) => Ok(done),
            Err(_) => Err(BrokeOff),
        };
        let over = self.0.take();
        // Nor is it the asker's end that something panics as it is let go of.
        match catch_unwind(AssertUnwindSafe(|| drop(over))) {
            Ok(()) => Poll::Ready(told),
            Err(_) => Poll::Ready(Err(BrokeOff)),
        }
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        let Some((work, place)) = self.0.take() else {
            return;
        };
        // What is aside has begun nothing, and without a runtime everything ends.
        if let (Standing::Placed, Ok(runtime)) = (place.standing(), Runtime::try_current()) {
            runtime.spawn(Alone(work, place));
        }
    }
}

/// Work whose asker has left. It ends where it would go aside: nobody waits for it, and it has begun nothing.
struct Alone<T>(Work<T>, Arc<Placement>);

impl<T> Future for Alone<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match (self.0.as_mut().poll(context), self.1.standing()) {
            (Poll::Ready(_), _) | (Poll::Pending, Standing::Aside) => Poll::Ready(()),
            (Poll::Pending, Standing::Placed) => Poll::Pending,
        }
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
        if let Some(proved) = written.get::<ProvedLogin>() {
            return Self::Login(proved.login().id);
        }
        written.get().copied().map_or(Self::Anybody, Self::From)
    }
}

/// Nobody keeps an answer to a request that was not read.
const NOT_STORED: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Carries a request to its end, once all of it is there. One whose body is longer than so many bytes, or does not arrive,
/// is answered here.
pub(crate) async fn carried(
    State((carrying, bytes_max)): State<(Carrying, usize)>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let body = match read_whole(body, bytes_max).await {
        Ok(bytes) => Body::from(bytes),
        Err(why) => return (NOT_STORED, Problem::from(why)).into_response(),
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

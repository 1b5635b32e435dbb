//! Bodies that must have arrived in time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// A body of a request, which breaks off when it has not arrived whole in time: whoever sends a byte now and then holds no
/// place.
#[derive(Debug)]
pub(super) struct Punctual {
    body: Incoming,
    end: Pin<Box<Sleep>>,
}

impl Punctual {
    /// Gives `body` so long from now on.
    pub(super) fn new(body: Incoming, patience: Duration) -> Self {
        Self {
            body,
            end: Box::pin(sleep(patience)),
        }
    }
}

impl Body for Punctual {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.end.as_mut().poll(context).is_ready() {
            let late = io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time");
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        }
        let frame = Pin::new(&mut this.body).poll_frame(context);
        frame.map(|it| it.map(|it| it.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

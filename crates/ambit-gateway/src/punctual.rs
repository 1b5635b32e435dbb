//! Bodies that must have arrived in time, at every door of the API.

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
pub struct Punctual {
    body: Incoming,
    end: Pin<Box<Sleep>>,
}

/// A body did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum NotArrived {
    /// Not in time: its cause is of the kind [`io::ErrorKind::TimedOut`], by which whoever reads the body knows it.
    #[error("the body did not arrive in time")]
    Late(#[source] io::Error),
    /// It broke off.
    #[error("the body broke off")]
    BrokeOff(#[from] hyper::Error),
}

impl Punctual {
    /// Gives `body` so long from now on.
    pub fn new(body: Incoming, patience: Duration) -> Self {
        Self {
            body,
            end: Box::pin(sleep(patience)),
        }
    }
}

impl Body for Punctual {
    type Data = Bytes;
    type Error = NotArrived;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotArrived>>> {
        let this = self.get_mut();
        if this.end.as_mut().poll(context).is_ready() {
            let late = io::ErrorKind::TimedOut.into();
            return Poll::Ready(Some(Err(NotArrived::Late(late))));
        }
        let frame = Pin::new(&mut this.body).poll_frame(context);
        frame.map(|it| it.map(|it| it.map_err(NotArrived::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

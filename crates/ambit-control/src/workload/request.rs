//! The request of a call, which must be whole in time: one that never ends holds a place of its connection.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

/// A body that must have ended by a certain time.
struct InTime {
    inside: Body,
    late: Pin<Box<Sleep>>,
}

/// Returns the request, whose body breaks off when it has not ended within `patience`.
pub(super) fn in_time(request: http::Request<Body>, patience: Duration) -> http::Request<Body> {
    request.map(|inside| {
        Body::new(InTime {
            inside,
            late: Box::pin(sleep(patience)),
        })
    })
}

impl http_body::Body for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.late.as_mut().poll(context).is_ready() {
            let late = "the request was not whole in time; send it at once";
            return Poll::Ready(Some(Err(Status::deadline_exceeded(late))));
        }
        Pin::new(&mut self.inside).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inside.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inside.size_hint()
    }
}

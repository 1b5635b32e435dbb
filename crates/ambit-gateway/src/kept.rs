//! Answers that go on at length, and keep the seats of their connections meanwhile.

use std::{
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Response;
use hyper::body::{Body, Frame, SizeHint};

use crate::seats::{Held, Seat};

/// The body of an answer. When it is a stream, its connection keeps its seat as long as others sit idle.
#[derive(Debug)]
pub struct Kept<B, H: Clone + Eq + Hash> {
    inside: B,
    _held: Option<Held<H>>,
}

impl<H: Clone + Eq + Hash> Seat<H> {
    /// Lets an answer of no known length keep the seat until its end, as long as others sit idle.
    pub fn goes_out<B: Body>(self: &Arc<Self>, response: Response<B>) -> Response<Kept<B, H>> {
        let is_stream = response.body().size_hint().exact().is_none();
        let held = is_stream.then(|| self.hold());
        response.map(|inside| Kept {
            inside,
            _held: held,
        })
    }
}

impl<B: Body + Unpin, H: Clone + Eq + Hash> Body for Kept<B, H> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().inside).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inside.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inside.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        body::EventStream,
        seats::{Notice, Seats},
    };

    #[test]
    fn an_answer_of_no_known_length_keeps_its_seat() {
        let seats = Seats::new(1, u32::clone);
        let seat = Arc::new(seats.take(1, 1, &Notice::default()));
        let whole = seat.goes_out(Response::new(Full::new(Bytes::from("a"))));
        assert!(whole.body()._held.is_none());
        let (_sender, rest) = mpsc::channel::<Bytes>(1);
        let stream = EventStream::new(None, rest, |it| it, None);
        let stream = seat.goes_out(Response::new(stream));
        assert!(stream.body()._held.is_some());
    }
}

//! Bodies of answers: a whole text, or a stream of events.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::{mpsc, oneshot};

/// The body of an answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// Returns an answer with a JSON text.
pub(crate) fn json(status: StatusCode, text: String) -> Response<Body> {
    with(
        status,
        "application/json",
        Full::new(Bytes::from(text)).boxed(),
    )
}

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = status;
    response
}

/// Returns an RFC 9457 problem.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response<Body> {
    use ambit_core::json::Value;
    let text = Value::object([
        ("type", "about:blank".into()),
        (
            "title",
            status.canonical_reason().unwrap_or("Refused").into(),
        ),
        ("status", u64::from(status.as_u16()).into()),
        ("code", code.into()),
        ("detail", detail.into()),
    ]);
    let body = Full::new(Bytes::from(text.to_canonical())).boxed();
    with(status, "application/problem+json", body)
}

/// Returns a stream of events.
pub(crate) fn events<T: Send + 'static>(stream: EventStream<T>) -> Response<Body> {
    let mut response = with(StatusCode::OK, "text/event-stream", stream.boxed());
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Returns `text` as one event.
pub(crate) fn event(text: &str) -> Bytes {
    // Canonical JSON has no line breaks, so that one `data` line holds it.
    Bytes::from(format!("event: message\ndata: {text}\n\n"))
}

/// A sign of life without meaning.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b": alive\n\n");

/// Events until the last one.
pub(crate) struct EventStream<T> {
    first: Option<Bytes>,
    rest: mpsc::Receiver<T>,
    render: Box<dyn Fn(T) -> Bytes + Send + Sync>,
    last: Option<oneshot::Receiver<(StatusCode, String)>>,
}

impl<T> EventStream<T> {
    /// Returns a stream of `first`, then what comes from `rest`, then `last` when there is one.
    pub(crate) fn new(
        first: Option<Bytes>,
        rest: mpsc::Receiver<T>,
        render: impl Fn(T) -> Bytes + Send + Sync + 'static,
        last: Option<oneshot::Receiver<(StatusCode, String)>>,
    ) -> Self {
        Self {
            first,
            rest,
            render: Box::new(render),
            last,
        }
    }
}

impl<T> HttpBody for EventStream<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        // The rest ends when its senders do, which is before the last one is sent.
        if let Some(item) = ready!(self.rest.poll_recv(context)) {
            let bytes = (self.render)(item);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(last) = self.last.as_mut() else {
            return Poll::Ready(None);
        };
        let text = ready!(Pin::new(last).poll(context));
        self.last = None;
        Poll::Ready(text.ok().map(|(_, it)| Ok(Frame::data(event(&it)))))
    }
}

fn with(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_its_last_event() {
        let (sender, rest) = mpsc::channel(1);
        let (end, last) = oneshot::channel();
        sender.send(event("1")).await.unwrap();
        drop(sender);
        end.send((StatusCode::OK, "2".to_owned())).unwrap();
        let stream = EventStream::new(Some(event("0")), rest, |it| it, Some(last));
        let text = stream.collect().await.unwrap().to_bytes();
        let expected: Vec<_> = ["0", "1", "2"].iter().map(|it| event(it)).collect();
        assert_eq!(text, expected.concat());
    }
}

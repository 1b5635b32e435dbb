//! A command's body on its way to the gateway, which may answer before it has come to its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ambit_gateway::limits::REQUEST_BODY_BYTES_MAX;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::run::uplink::Body;

/// How much of a body that is too long is read and thrown away, in bytes, so that its sender lives to read the answer.
const DISCARDED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many pieces of a body wait for the gateway.
const PIECES_WAITING_MAX: usize = 4;

/// Returns `body` as it is passed on. Of one that is too long only what shows this is sent: the rest
/// would break the connection before the gateway's answer was read.
pub(super) fn passed_on(body: Incoming) -> Body {
    let hint = body.size_hint();
    if hint.upper().is_some_and(|it| it <= BYTES_MAX) {
        return body.boxed();
    }
    let (sender, receiver) = channel(PIECES_WAITING_MAX);
    let left = if hint.lower() > BYTES_MAX {
        // The declared length says it already.
        0
    } else {
        BYTES_MAX + 1
    };
    tokio::spawn(pump(body, sender, left));
    Piped(receiver).boxed()
}

/// The longest body that the gateway takes.
const BYTES_MAX: u64 = REQUEST_BODY_BYTES_MAX as u64;

type Piece = Result<Frame<Bytes>, hyper::Error>;

/// Sends at most `left` bytes of `body`. When there are more, the body never ends: the gateway's answer ends it.
async fn pump(mut body: Incoming, sender: Sender<Piece>, mut left: u64) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX {
        let Some(piece) = body.frame().await else {
            break;
        };
        let piece = match piece.map(Frame::into_data) {
            Ok(Ok(mut data)) => {
                let length = data.len() as u64;
                data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= data.len() as u64;
                discarded += length - data.len() as u64;
                if data.is_empty() {
                    continue;
                }
                Ok(Frame::data(data))
            }
            Ok(Err(other)) => Ok(other),
            Err(error) => Err(error),
        };
        // Once the gateway has answered, nobody waits; what is still to come is read all the same.
        let _ = sender.send(piece).await;
    }
    if left == 0 {
        sender.closed().await;
    }
}

/// A body whose pieces another task reads.
struct Piped(Receiver<Piece>);

impl HttpBody for Piped {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(context)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

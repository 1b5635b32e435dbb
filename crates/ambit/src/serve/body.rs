//! Joins two kinds of bodies: the control API's, which may break off, and the gateway's, which may not.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// A body that ends where the one inside breaks off.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Only ever reached through `&mut`: the lock makes it shareable, as the gateway wants it.
    inside: Mutex<Body>,
}

impl Ending {
    /// Wraps `body`.
    pub(crate) fn new(body: Body) -> Self {
        Self {
            inside: Mutex::new(body),
        }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let inside = self
            .get_mut()
            .inside
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        Pin::new(inside)
            .poll_frame(context)
            .map(|frame| match frame? {
                Ok(frame) => Some(Ok(frame)),
                Err(error) => {
                    tracing::debug!(%error, "an answer broke off");
                    None
                }
            })
    }

    fn size_hint(&self) -> SizeHint {
        self.inside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .size_hint()
    }
}

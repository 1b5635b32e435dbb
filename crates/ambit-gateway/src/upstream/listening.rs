//! Hearing what a legacy server says outside of any request, so that none waits in vain for an answer.
//!
//! MCP 2025-11-25, "Listening for Messages from the Server". Requests of servers are refused here as on every other way;
//! of notifications, only the news of changed tools counts.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::{
    UpstreamError, collector,
    http::{Head, HttpChannel},
    sse::EventReader,
};
use crate::{
    limits::{LISTENINGS_MAX, UPSTREAM_STRAY_MESSAGES_MAX},
    mcp::wire::{self, Message},
};

/// One conversation's ear. It is deaf when dropped.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    hearing: Mutex<Option<JoinHandle<Hearing>>>,
    begun: AtomicUsize,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hearing {
    /// As streams do: another may be opened.
    Ended,
    /// The server offers none, or abused it.
    Useless,
}

impl Listening {
    /// Opens a stream when there is none, and waits a moment for the server to agree. A server that refuses or abuses
    /// it is not asked again, nor one whose streams ended [`LISTENINGS_MAX`] times.
    pub(crate) async fn ensure(&self, channel: &Arc<HttpChannel>, head: Head<'_>) {
        let before = self.hearing().take();
        if let Some(hearing) = before {
            if !hearing.is_finished() {
                // Somebody else may have begun meanwhile: then there are two, and the newer one is kept.
                return self.keep(hearing);
            }
            if !matches!(hearing.await, Ok(Hearing::Ended)) {
                self.begun.store(LISTENINGS_MAX, Ordering::Relaxed);
            }
        }
        if self.begun.fetch_add(1, Ordering::Relaxed) >= LISTENINGS_MAX {
            self.begun.store(LISTENINGS_MAX, Ordering::Relaxed);
            return;
        }
        let (agree, agreed) = oneshot::channel();
        let (channel, version) = (Arc::clone(channel), head.version.to_owned());
        let era = head.era;
        self.keep(tokio::spawn(async move {
            let (version, method) = (version.as_str(), "");
            let head = Head {
                era,
                version,
                method,
            };
            let Ok((body, _connection)) = channel.listen(head).await else {
                return Hearing::Useless;
            };
            let _gone = agree.send(());
            match hear(&channel, head, body).await {
                Ok(()) => Hearing::Ended,
                Err(error) => {
                    tracing::debug!(%error, "a server's own stream is not heard any more");
                    Hearing::Useless
                }
            }
        }));
        let _late = timeout(AGREEMENT_TIMEOUT, agreed).await;
    }

    fn keep(&self, hearing: JoinHandle<Hearing>) {
        if let Some(other) = self.hearing().replace(hearing) {
            other.abort();
        }
    }

    fn hearing(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<Hearing>>> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(hearing) = self.hearing().take() {
            hearing.abort();
        }
    }
}

/// Answers what is asked until the stream ends.
///
/// # Errors
/// [`UpstreamError::Flood`] beyond [`UPSTREAM_STRAY_MESSAGES_MAX`] messages, [`UpstreamError::TooLong`] or
/// [`UpstreamError::Malformed`].
async fn hear(
    channel: &HttpChannel,
    head: Head<'_>,
    mut body: Incoming,
) -> Result<(), UpstreamError> {
    let (mut reader, mut heard) = (EventReader::default(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        for event in reader.push(data)? {
            heard += 1;
            if heard > UPSTREAM_STRAY_MESSAGES_MAX {
                return Err(UpstreamError::Flood);
            }
            let message = wire::read(&event)
                .map_err(|_| UpstreamError::Malformed("an event is no message"))?;
            match message {
                Message::Request(request) => {
                    let reply = collector::reply_to(&request.id, &request.method);
                    let _ignored = timeout(REPLY_TIMEOUT, channel.tell(head, reply)).await;
                }
                Message::Notification { method, .. } if method == collector::TOOLS_CHANGED => {
                    channel.tools_changed();
                }
                Message::Notification { .. } | Message::Response(_) => {}
            }
        }
    }
    Ok(())
}

/// How long a server may take to agree, before its conversation goes on without.
const AGREEMENT_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a server may take to receive an answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

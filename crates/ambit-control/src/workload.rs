//! The SPIFFE Workload API: processes of this machine get the identity of the instance that they are.
//!
//! Nobody shows a secret here. The listener holds the process at the other end of each connection and looks at it
//! ([`Peer`]); the estate says whose run it is; and a task that waits for the next run of that agent gives it its
//! one SPIFFE ID, until the task or the process ends. Streams say at once what changed.
//!
//! Wire: `SpiffeWorkloadAPI` over a Unix socket (SPIFFE Workload API §3, Workload Endpoint §3 to §7). The
//! incubating WIT-SVID profile is answered `Unimplemented`.

mod answer;
mod api;
mod descriptor;
mod given;
mod instances;
mod jwt;
mod mend;
mod messages;
mod request;
mod serving;
mod streams;
mod turns;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ambit_core::{AgentName, Digest, estate::Agent};
use ambit_identity::{PeerCredentials, ProcessAttributes};
use tokio::{
    net::UnixStream,
    time::{Sleep, sleep},
};

pub(crate) use self::instances::Workloads;
use self::mend::Mend;
pub use self::{
    instances::{REFUSALS_PER_USER_MAX, SVID_TTL},
    jwt::{AUDIENCE_BYTES_MAX, JWT_SVID_TTL},
    messages::REQUEST_BYTES_MAX,
    serving::serve,
    turns::{CALLS_LOOKED_AT_PER_USER_MAX, LOOKS_PER_USER_MAX},
};

/// How many calls one connection may have open.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// The most bytes of a call's headers.
pub const HEADER_BYTES_MAX: u32 = 8 * 1024;
/// How many bytes of one call may be under way that were not read yet.
pub const CALL_WINDOW_BYTES: u32 = 64 * 1024;
/// How many bytes of all calls of one connection may be under way that were not read yet.
pub const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// How long a client may take to send the whole message of a request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to say that it speaks HTTP/2. Who connects and says nothing holds a place of others.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to make room for what is said to it. What is not read is not kept for longer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Names a process among all of this machine: which run of the kernel it belongs to, its number, and when it began (in
/// the kernel's ticks), since numbers are used again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProcessKey {
    /// Names the run of the kernel.
    pub boot: Digest,
    /// Its number.
    pub pid: u32,
    /// When it began.
    pub began: u64,
}

impl ProcessKey {
    /// Returns the name as bytes, always as many.
    fn to_bytes(self) -> Vec<u8> {
        let (pid, began) = (self.pid.to_be_bytes(), self.began.to_be_bytes());
        [self.boot.as_bytes().as_slice(), &pid, &began].concat()
    }
}

/// Looks at the process; the registrations say whether its executable need be read.
pub type Look = Arc<dyn Fn(Arc<BTreeMap<AgentName, Agent>>) -> Looking + Send + Sync>;

/// What was seen of the process, or why it can't be looked at.
pub type Looking = Pin<Box<dyn Future<Output = Result<ProcessAttributes, String>> + Send>>;

/// Resolves when the process has ended.
pub type ProcessEnd = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The process at the other end of a connection, held by the listener so that no other can become it.
#[derive(Clone)]
pub struct Peer {
    /// The kernel's word on the connection.
    pub credentials: PeerCredentials,
    /// Which process it is.
    pub process: ProcessKey,
    /// Looks at it.
    pub look: Look,
    /// Says when it ends.
    pub ended: ProcessEnd,
}

/// A connection and the process at its other end. It counts in the listener's limits until it is dropped.
#[derive(Debug)]
pub struct Connection<P> {
    stream: UnixStream,
    peer: Arc<Peer>,
    mend: Mend,
    /// When the client must have begun; none once it has.
    begins_within: Option<Pin<Box<Sleep>>>,
    /// When the client must have read some of what was said; none while there is room for more.
    reads_within: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// Held, never read.
    _place: P,
}

impl<P> Connection<P> {
    /// Returns the connection `stream` of the process `peer`, which has `place` in the listener's limits. From now on the
    /// client has [`PREFACE_TIMEOUT`] to begin.
    ///
    /// Called within a tokio runtime.
    pub fn new(stream: UnixStream, peer: impl Into<Arc<Peer>>, place: P) -> Self {
        Self::within((PREFACE_TIMEOUT, READ_TIMEOUT), stream, peer, place)
    }

    fn within(
        (preface, patience): (Duration, Duration),
        stream: UnixStream,
        peer: impl Into<Arc<Peer>>,
        place: P,
    ) -> Self {
        Self {
            stream,
            peer: peer.into(),
            mend: Mend::new(),
            begins_within: Some(Box::pin(sleep(preface))),
            reads_within: None,
            patience,
            _place: place,
        }
    }
}

impl<P> Connection<P> {
    /// Resolves when the client has read nothing for too long.
    fn unread(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.patience;
        let end = self
            .reads_within
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        end.as_mut().poll(context).map(|()| {
            let late = "the client does not read what is said to it";
            io::Error::new(io::ErrorKind::TimedOut, late)
        })
    }
}

impl<P: Unpin> tokio::io::AsyncRead for Connection<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.begins_within
            && end.as_mut().poll(context).is_ready()
        {
            let late = "the client did not say that it speaks HTTP/2";
            let late = io::Error::new(io::ErrorKind::TimedOut, late);
            return Poll::Ready(Err(late));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(fresh) = buffer.filled_mut().get_mut(before..) {
            self.mend.bytes(fresh);
        }
        if self.mend.is_past_preface() {
            self.begins_within = None;
        }
        read
    }
}

impl<P: Unpin> tokio::io::AsyncWrite for Connection<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                self.reads_within = None;
                Poll::Ready(written)
            }
            Poll::Pending => self.unread(context).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("credentials", &self.credentials)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

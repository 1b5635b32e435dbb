//! The SPIFFE Workload API: processes of this machine get the identity of the instance that they are.
//!
//! Nobody shows a secret here. The listener holds the process at the other end of each connection and looks at it
//! ([`Peer`]); the estate says whose run it is; and a task that waits for the next run of that agent gives it its
//! one SPIFFE ID, until the task or the process ends. Streams say at once what changed.
//!
//! Wire: `SpiffeWorkloadAPI` over a Unix socket (SPIFFE Workload API §3, Workload Endpoint §3 to §7). The
//! incubating WIT-SVID profile is answered `Unimplemented`.

mod api;
mod descriptor;
mod instances;
mod jwt;
mod mend;
mod messages;
mod streams;

use std::{collections::BTreeMap, fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use ambit_core::{AgentName, Digest, estate::Agent};
use ambit_identity::{PeerCredentials, ProcessAttributes};
use tokio::{
    net::UnixStream,
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tonic::transport::{Server, server::Connected};

pub(crate) use self::instances::Workloads;
use self::mend::Mend;
pub use self::{
    instances::{REFUSALS_PER_USER_MAX, SVID_TTL},
    jwt::{AUDIENCE_BYTES_MAX, JWT_SVID_TTL},
    messages::REQUEST_BYTES_MAX,
};
use crate::api::Doors;

/// How many calls one connection may have open.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// The most bytes of a call's headers.
pub const HEADER_BYTES_MAX: u32 = 8 * 1024;
/// How often an idle connection is asked whether it is still there, so that half-open ones end.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client may take to say that it speaks HTTP/2. Who connects and says nothing holds a place of others.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

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
    peer: Peer,
    mend: Mend,
    /// When the client must have begun; none once it has.
    begins_within: Option<Pin<Box<Sleep>>>,
    /// Held, never read.
    _place: P,
}

impl<P> Connection<P> {
    /// Returns the connection `stream` of the process `peer`, which has `place` in the listener's limits. From now on the
    /// client has [`PREFACE_TIMEOUT`] to begin.
    ///
    /// Called within a tokio runtime.
    pub fn new(stream: UnixStream, peer: Peer, place: P) -> Self {
        Self::within(PREFACE_TIMEOUT, stream, peer, place)
    }

    fn within(patience: Duration, stream: UnixStream, peer: Peer, place: P) -> Self {
        Self {
            stream,
            peer,
            mend: Mend::new(),
            begins_within: Some(Box::pin(sleep(patience))),
            _place: place,
        }
    }
}

/// Serves the Workload API on `connections` until they end.
///
/// # Errors
/// What the transport says; a connection that breaks is not an error.
pub async fn serve<S, P>(doors: &Doors, connections: S) -> Result<(), tonic::transport::Error>
where
    S: Stream<Item = io::Result<Connection<P>>> + Send + 'static,
    P: Send + Unpin + 'static,
{
    let files = descriptor::files();
    let reflection =
        |files| tonic_reflection::server::Builder::configure().register_file_descriptor_set(files);
    let mut router = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(api::WorkloadApi::new(doors.clone()));
    // Both versions of the protocol: tools of today speak the one or the other.
    match (
        reflection(files.clone()).build_v1(),
        reflection(files).build_v1alpha(),
    ) {
        (Ok(v1), Ok(v1alpha)) => router = router.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the Workload API is served without reflection");
        }
    }
    router.serve_with_incoming(connections).await
}

impl<P> Connected for Connection<P> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<P: Unpin> tokio::io::AsyncRead for Connection<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        if let Some(end) = &mut self.begins_within
            && end.as_mut().poll(context).is_ready()
        {
            let late = "the client did not say that it speaks HTTP/2";
            let late = io::Error::new(io::ErrorKind::TimedOut, late);
            return std::task::Poll::Ready(Err(late));
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
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
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

//! Connections, and the calls on them. They are served by the HTTP/2 library itself: what gRPC's own server wraps around a
//! connection nothing here uses, and every idle one would keep it.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_stream::{Stream, StreamExt};
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::Service;

use super::{
    CALL_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, Connection, HEADER_BYTES_MAX, REQUEST_TIMEOUT,
    STREAMS_PER_CONNECTION_MAX,
    api::{Answering, WorkloadApi},
    descriptor,
};
use crate::api::Doors;

/// How often an idle connection is asked whether it is still there, so that half-open ones end.
pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
/// How long it may take to answer that.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) keepalive_every: Duration,
    pub(super) keepalive_timeout: Duration,
    pub(super) request_within: Duration,
}

pub(super) const PACE: Pace = Pace {
    keepalive_every: KEEPALIVE_EVERY,
    keepalive_timeout: KEEPALIVE_TIMEOUT,
    request_within: REQUEST_TIMEOUT,
};

/// Serves the Workload API on `connections` until they end. A connection that breaks ends alone.
pub async fn serve<S, P>(doors: &Doors, connections: S)
where
    S: Stream<Item = io::Result<Connection<P>>> + Send + 'static,
    P: Send + Unpin + 'static,
{
    serve_at(PACE, doors, connections).await;
}

pub(super) async fn serve_at<S, P>(pace: Pace, doors: &Doors, connections: S)
where
    S: Stream<Item = io::Result<Connection<P>>> + Send + 'static,
    P: Send + Unpin + 'static,
{
    let (http, services) = (http(pace), Arc::new(Services::new(pace, doors)));
    let mut connections = pin!(connections);
    while let Some(accepted) = connections.next().await {
        match accepted {
            Ok(connection) => drop(tokio::spawn(conversation(
                &http,
                Arc::clone(&services),
                connection,
            ))),
            Err(error) => tracing::debug!(%error, "a connection could not be accepted"),
        }
    }
}

/// What calls are made to.
struct Services {
    workload: WorkloadApi,
    /// What tells of the calls, to tools that ask.
    reflection: Routes,
}

impl Services {
    fn new(pace: Pace, doors: &Doors) -> Self {
        let files = descriptor::files();
        let reflection = |files| {
            tonic_reflection::server::Builder::configure().register_file_descriptor_set(files)
        };
        let mut routes = Routes::default();
        // Both versions of the protocol: tools of today speak the one or the other.
        match (
            reflection(files.clone()).build_v1(),
            reflection(files).build_v1alpha(),
        ) {
            (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the Workload API is served without reflection");
            }
        }
        Self {
            workload: WorkloadApi::new(doors.clone(), pace.request_within),
            reflection: routes.prepare(),
        }
    }

    fn answer(&self, request: http::Request<Body>) -> Answering {
        let mut path = request.uri().path().split('/').skip(1);
        if path.next() == Some(WorkloadApi::NAME) {
            return self.workload.clone().call(request);
        }
        Box::pin(self.reflection.clone().call(request))
    }
}

fn http(pace: Pace) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(pace.keepalive_every)
        .keep_alive_timeout(pace.keepalive_timeout)
        // Calls are few and long: a table of their headers would be kept for nothing.
        .header_table_size(0)
        .auto_date_header(false);
    http
}

/// Speaks on a connection until it ends. What is returned is as large as the library's state of the connection and no
/// larger: an `async` block would hold that twice.
fn conversation<P>(
    http: &Builder<TokioExecutor>,
    services: Arc<Services>,
    connection: Connection<P>,
) -> impl Future<Output = ()> + Send + use<P>
where
    P: Send + Unpin + 'static,
{
    let peer = Arc::clone(&connection.peer);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&peer));
        services.answer(request.map(Body::new))
    });
    http.serve_connection(TokioIo::new(connection), service)
        .map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the Workload API broke");
            }
        })
}

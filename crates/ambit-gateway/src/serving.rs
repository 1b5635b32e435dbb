//! The one way in which connections carry HTTP/1.1, at every door: requests in, answers out, and an end that is heard.

use std::{convert::Infallible, error::Error, future::Future, pin::pin, sync::Arc};

use http::{HeaderValue, Method, Request, Response, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1::Builder,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    framing::{Arrival, Framing, Heard, Watched},
    limits::PARTING_TIMEOUT,
};

/// Serves `io` as `http` says until either side ends it, or `over` resolves: then what is under way has
/// [`PARTING_TIMEOUT`], and nothing else is answered. `answer` is told whether the body of a request has two lengths.
///
/// An answer to what has not arrived whole is the last one, and says so. Dropped, the connection ends at once.
///
/// # Errors
/// The connection broke, or carried no HTTP.
pub async fn serve_http<T, F, B>(
    http: &Builder,
    io: T,
    answer: impl Fn(Request<Incoming>, Framing) -> F,
    over: impl Future<Output = ()>,
) -> hyper::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<B>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let heard = Arc::<Heard>::default();
    let io = Watched::new(io, Arc::clone(&heard));
    let service = service_fn(|request: Request<Incoming>| {
        let may_tunnel = request.method() == Method::CONNECT;
        let (answering, heard) = (answer(request, heard.framing()), Arc::clone(&heard));
        async move {
            let mut response = answering.await;
            let tunnels = may_tunnel && response.status().is_success();
            if heard.arrival() == Arrival::Awaited && !tunnels {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut served = pin!(
        http.serve_connection(TokioIo::new(io), service)
            .with_upgrades()
    );
    tokio::select! {
        served = &mut served => return served,
        () = over => served.as_mut().graceful_shutdown(),
    }
    timeout(PARTING_TIMEOUT, served).await.unwrap_or(Ok(()))
}

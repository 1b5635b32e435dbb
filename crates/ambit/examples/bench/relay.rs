//! Relays that forward bytes: a plain one, and one that identifies the caller and decides nothing.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use ambit_core::Timestamp;
use ambit_identity::{InstanceCaller, TrustBundle, identify_instance};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming, client::conn::http1::SendRequest, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Failure,
    http::{connect, exchange, speak, until_parent_ends},
    options::{number, value},
    role::{Served, clients},
    whole::{self, Kept, Whole},
};

/// Serves until the parent ends. With `--clients DIR` connections are mutual TLS and each peer is identified.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let upstream: u16 = number(arguments, "--upstream")?;
    let directory = value(arguments, "--clients").map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let face = match directory {
            None => None,
            Some(directory) => {
                let whole = Whole::open(&Kept::Memory, whole::estate(10, upstream)?).await?;
                let tasks = whole.start(number(arguments, "--tasks")?).await?;
                Some(clients(&whole, &tasks, &directory)?)
            }
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(accept(listener, face.map(Arc::new), upstream));
        until_parent_ends(port).await
    })
}

async fn accept(listener: TcpListener, face: Option<Arc<Served>>, upstream: u16) {
    while let Ok((stream, _)) = listener.accept().await {
        let face = face.clone();
        tokio::spawn(async move {
            let served = match face {
                None => relay(stream, upstream).await,
                Some(face) => identified(stream, &face, upstream).await,
            };
            if let Err(error) = served {
                eprintln!("relay: {error}");
            }
        });
    }
}

async fn identified(stream: TcpStream, face: &Served, upstream: u16) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(face.tls.clone()).accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let _caller = identify(chain, &face.bundle, (face.clock)().now)?;
    relay(stream, upstream).await
}

fn identify(
    chain: &[rustls::pki_types::CertificateDer<'_>],
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<InstanceCaller, Failure> {
    Ok(identify_instance(chain, bundle, now)?)
}

async fn relay<T>(stream: T, upstream: u16) -> Result<(), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let sender = Arc::new(Mutex::new(speak(connect(upstream).await?).await?));
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move { Ok::<_, Infallible>(forward(request, &sender).await) }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn forward(
    request: Request<Incoming>,
    sender: &Mutex<SendRequest<Full<Bytes>>>,
) -> Response<Full<Bytes>> {
    let forwarded = async {
        let body = request.into_body().collect().await?.to_bytes();
        exchange(&mut *sender.lock().await, &body).await
    };
    match forwarded.await {
        Ok(bytes) => Response::new(Full::new(bytes)),
        Err(error) => {
            let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

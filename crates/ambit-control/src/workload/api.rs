//! The service itself: which call it is, what every call must carry, and what goes wrong in whose words.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::{
    Peer,
    answer::{AnswerBody, Messages},
    descriptor::SERVICE,
    messages::{
        JwtBundlesRequest, JwtSvidRequest, JwtSvidResponse, REQUEST_BYTES_MAX,
        ValidateJwtSvidRequest, ValidateJwtSvidResponse, X509BundlesRequest, X509SvidRequest,
    },
    request::in_time,
    streams,
};
use crate::{api::Doors, locked::locked};

/// What every call carries, so that no web page and no proxy makes one by accident (Workload Endpoint §3).
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// The Workload API of one server.
#[derive(Clone)]
pub(super) struct WorkloadApi {
    doors: Doors,
    request_within: Duration,
}

/// An answer under way. On the heap, so that a stream does not keep the room that it took to begin.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl WorkloadApi {
    /// Returns the service; a request must be whole within `request_within`.
    pub(super) const fn new(doors: Doors, request_within: Duration) -> Self {
        Self {
            doors,
            request_within,
        }
    }
}

impl NamedService for WorkloadApi {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for WorkloadApi {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let doors = self.doors.clone();
        let request = in_time(request, self.request_within);
        Box::pin(async move { Ok(answer(doors, request).await) })
    }
}

async fn answer(doors: Doors, request: http::Request<Body>) -> http::Response<Body> {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default();
    match call {
        "FetchX509SVID" => {
            streaming(request, |peer, _: X509SvidRequest| {
                streams::x509_svids(doors.clone(), peer)
            })
            .await
        }
        "FetchX509Bundles" => {
            streaming(request, |peer, _: X509BundlesRequest| {
                streams::x509_bundles(doors.clone(), peer)
            })
            .await
        }
        "FetchJWTBundles" => {
            streaming(request, |peer, _: JwtBundlesRequest| {
                streams::jwt_bundles(doors.clone(), peer)
            })
            .await
        }
        "FetchJWTSVID" => {
            let fetch = service_fn(move |it: Request<JwtSvidRequest>| {
                let doors = doors.clone();
                async move {
                    let peer = peer(&it)?;
                    let answer = streams::jwt_svid(&doors, &peer, it.into_inner()).await?;
                    Ok::<_, Status>(Response::<JwtSvidResponse>::new(answer))
                }
            });
            grpc().unary(fetch, request).await
        }
        "ValidateJWTSVID" => {
            let validate = service_fn(move |it: Request<ValidateJwtSvidRequest>| {
                let doors = doors.clone();
                async move {
                    let peer = peer(&it)?;
                    let answer = streams::validate(&doors, &peer, &it.into_inner()).await?;
                    Ok::<_, Status>(Response::<ValidateJwtSvidResponse>::new(answer))
                }
            });
            grpc().unary(validate, request).await
        }
        _ => {
            let status = Status::unimplemented("the Workload API has no such call here");
            refused(request, status).await
        }
    }
}

/// Answers with the stream that `open` begins. The library reads the request and says what is wrong with it; the stream goes
/// in the place of the message that it would send.
async fn streaming<Takes, Gives, Opening>(
    request: http::Request<Body>,
    open: impl Fn(Arc<Peer>, Takes) -> Opening,
) -> http::Response<Body>
where
    Takes: Message + Default + Send + 'static,
    Gives: Message + 'static,
    Opening: Future<Output = Result<Messages<Gives>, Status>> + Send,
{
    let (opened, open) = (Mutex::new(None), &open);
    let place = &opened;
    let fetch = service_fn(move |it: Request<Takes>| async move {
        let stream = open(peer(&it)?, it.into_inner()).await?;
        *locked(place) = Some(stream);
        Ok::<_, Status>(Response::new(()))
    });
    let mut answer = grpc::<Takes, ()>().unary(fetch, request).await;
    // The library keeps no table of headers that are said to be in none (RFC 7541 §7.1).
    for value in answer.headers_mut().values_mut() {
        value.set_sensitive(true);
    }
    match opened.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(stream) => answer.map(|_| Body::new(AnswerBody::of(stream))),
        None => answer,
    }
}

/// Answers with a status once the request has come. Where an answer overtakes its request, some clients see a reset and
/// no status.
async fn refused(request: http::Request<Body>, status: Status) -> http::Response<Body> {
    let body = axum::body::Body::new(request.into_body());
    drop(axum::body::to_bytes(body, REQUEST_BYTES_MAX).await);
    status.into_http()
}

fn grpc<Takes, Gives>() -> Grpc<ProstCodec<Gives, Takes>>
where
    Takes: Message + Default + Send + 'static,
    Gives: Message + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// Returns the process that calls, after the header that every call must carry.
fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let header = request.metadata().get(SECURITY_HEADER);
    if header.is_none_or(|it| it.as_bytes() != b"true") {
        return Err(Status::invalid_argument(
            "the metadata `workload.spiffe.io: true` is missing; use a client of the SPIFFE Workload API",
        ));
    }
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    peer.ok_or_else(|| Status::unavailable("the kernel did not say who is calling; connect again"))
}

//! The service itself: which call it is, what every call must carry, and what goes wrong in whose words.

use std::{
    convert::Infallible,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{BufferSettings, Codec},
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::{
    Peer,
    descriptor::SERVICE,
    messages::{
        JwtBundlesRequest, JwtSvidRequest, JwtSvidResponse, REQUEST_BYTES_MAX,
        ValidateJwtSvidRequest, ValidateJwtSvidResponse, X509BundlesRequest, X509SvidRequest,
    },
    request::in_time,
    streams,
};
use crate::api::Doors;

/// What every call carries, so that no web page and no proxy makes one by accident (Workload Endpoint §3).
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// The Workload API of one server.
#[derive(Clone)]
pub(super) struct WorkloadApi {
    doors: Doors,
    request_within: Duration,
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

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
            let fetch = service_fn(move |it: Request<X509SvidRequest>| {
                let doors = doors.clone();
                async move { Ok(Response::new(streams::x509_svids(doors, peer(&it)?).await?)) }
            });
            grpc().server_streaming(fetch, request).await
        }
        "FetchX509Bundles" => {
            let fetch = service_fn(move |it: Request<X509BundlesRequest>| {
                let doors = doors.clone();
                async move {
                    Ok(Response::new(
                        streams::x509_bundles(doors, peer(&it)?).await?,
                    ))
                }
            });
            grpc().server_streaming(fetch, request).await
        }
        "FetchJWTBundles" => {
            let fetch = service_fn(move |it: Request<JwtBundlesRequest>| {
                let doors = doors.clone();
                async move {
                    Ok(Response::new(
                        streams::jwt_bundles(doors, peer(&it)?).await?,
                    ))
                }
            });
            grpc().server_streaming(fetch, request).await
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

/// Answers with a status once the request has come. Where an answer overtakes its request, some clients see a reset and
/// no status.
async fn refused(request: http::Request<Body>, status: Status) -> http::Response<Body> {
    let body = axum::body::Body::new(request.into_body());
    drop(axum::body::to_bytes(body, REQUEST_BYTES_MAX).await);
    status.into_http()
}

fn grpc<Takes, Gives>() -> Grpc<Sparing<Takes, Gives>>
where
    Takes: Message + Default + Send + 'static,
    Gives: Message + Send + 'static,
{
    Grpc::new(Sparing(PhantomData)).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// Reads and writes messages with buffers that begin small. The library's own begin at 8 KiB, and a stream that says
/// nothing for hours keeps its buffer: of ten thousand streams that is most of what they weigh.
struct Sparing<Takes, Gives>(PhantomData<fn(Takes) -> Gives>);

impl<Takes, Gives> Codec for Sparing<Takes, Gives>
where
    Takes: Message + Default + Send + 'static,
    Gives: Message + Send + 'static,
{
    type Encode = Gives;
    type Decode = Takes;
    type Encoder = <ProstCodec<Gives, Takes> as Codec>::Encoder;
    type Decoder = <ProstCodec<Gives, Takes> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<Gives, Takes>::raw_encoder(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<Gives, Takes>::raw_decoder(buffers())
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}

/// How large a buffer is at first: an X509-SVID with its key and bundle takes some 1.5 KB.
const BUFFER_BYTES: usize = 2048;
/// How many bytes wait at most before they are sent, as the library has it.
const YIELD_BYTES: usize = 32 * 1024;

/// Returns the process that calls, after the header that every call must carry.
fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let header = request.metadata().get(SECURITY_HEADER);
    if header.is_none_or(|it| it.as_bytes() != b"true") {
        return Err(Status::invalid_argument(
            "the metadata `workload.spiffe.io: true` is missing; use a client of the SPIFFE Workload API",
        ));
    }
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::unavailable("the kernel did not say who is calling; connect again"))
}

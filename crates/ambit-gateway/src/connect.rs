//! The CONNECT door: an agent's way to its declared model endpoints, decided and counted, never looked into.

use std::{io, sync::Arc};

use ambit_core::{Labels, Reason, Timestamp, act::Act, record::Status};
use ambit_engine::{Answer, Denied, Effect, Passage};
use ambit_identity::InstanceCaller;
use http::{Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{
    body::{self, Body},
    doors::Doors,
    limits::UPSTREAM_CONNECT_TIMEOUT,
    mcp::refusal::Refusal,
    seating::Chair,
    visitor::Unproved,
};

/// Answers one CONNECT. The tunnel ends when its opener is proved no longer.
pub(crate) async fn answer<B>(
    doors: &Arc<Doors>,
    caller: &InstanceCaller,
    (mut request, unproved): (Request<B>, Unproved),
) -> Response<Body> {
    let Some((host, port)) = target(&request) else {
        let refused = doors
            .handle
            .refuse(caller, "connect", Reason::Malformed, (doors.clock)())
            .await;
        let refusal = refused.map_or_else(|error| Refusal::engine(&error), Refusal::denied);
        return refuse(doors, StatusCode::BAD_REQUEST, &refusal);
    };
    let act = Act::Connect {
        host: host.clone(),
        port,
    };
    let permit = match doors.handle.decide(caller, act, (doors.clock)()).await {
        Ok(Answer::Allowed(permit)) => permit,
        Ok(Answer::Held(held)) => {
            return refuse(doors, StatusCode::FORBIDDEN, &Refusal::held(held));
        }
        Ok(Answer::Denied(denied)) => {
            return refuse(doors, StatusCode::FORBIDDEN, &Refusal::denied(denied));
        }
        Err(error) => {
            return refuse(
                doors,
                StatusCode::SERVICE_UNAVAILABLE,
                &Refusal::engine(&error),
            );
        }
    };
    let (decision, act_by) = (permit.value().decision(), permit.value().act_by());
    let began = doors.now();
    let passage = match doors.handle.admit(permit, began) {
        Ok(passage) => passage,
        Err(denied) => return refuse(doors, StatusCode::FORBIDDEN, &Refusal::denied(denied)),
    };
    let opened = tokio::select! {
        biased;
        _ = passage.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
        opened = timeout(UPSTREAM_CONNECT_TIMEOUT, open(doors, (&host, port), act_by)) => {
            opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    };
    let upstream = match opened {
        Ok(Opened::InTime(upstream)) => upstream,
        Ok(Opened::Late) => {
            record(doors, passage, began, Status::NotSent, Counted::default()).await;
            let reason = Reason::PermitStale;
            return refuse(
                doors,
                StatusCode::FORBIDDEN,
                &Refusal::denied(Denied { decision, reason }),
            );
        }
        Err(error) => {
            tracing::debug!(%error, "a model endpoint can't be reached");
            record(doors, passage, began, Status::NotSent, Counted::default()).await;
            return body::problem(
                StatusCode::BAD_GATEWAY,
                "server_unreachable",
                "the endpoint can't be reached",
            );
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let until = until_it_ends(unproved, request.extensions_mut().remove());
    let doors = Arc::clone(doors);
    tokio::spawn(tunnel(doors, (passage, until), began, upgrade, upstream));
    body::empty(StatusCode::OK)
}

/// Waits for what ends a tunnel from this side. It has its connection's seat.
fn until_it_ends(unproved: Unproved, chair: Option<Arc<Chair>>) -> Unproved {
    Box::pin(async move {
        tokio::select! {
            () = unproved => {}
            () = leaves(chair) => {}
        }
    })
}

/// Whether a tunnel could be opened within its permit.
enum Opened {
    InTime(TcpStream),
    Late,
}

/// Opens the connection, which is the act itself: looking the name up takes time, so the end of the permit is checked
/// after it.
async fn open(doors: &Doors, target: (&str, u16), act_by: Timestamp) -> io::Result<Opened> {
    let addresses: Vec<_> = lookup_host(target).await?.collect();
    if doors.now() >= act_by {
        return Ok(Opened::Late);
    }
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    Ok(Opened::InTime(stream))
}

#[derive(Debug, Default)]
struct Counted {
    sent: u64,
    received: u64,
}

async fn tunnel(
    doors: Arc<Doors>,
    (passage, unproved): (Passage, Unproved),
    began: Timestamp,
    upgrade: OnUpgrade,
    upstream: TcpStream,
) {
    let mut counted = Counted::default();
    let status = {
        let copying = async {
            let Ok(agent) = upgrade.await else {
                return Status::NotSent;
            };
            let (mut from_agent, mut to_agent) = tokio::io::split(TokioIo::new(agent));
            let (mut from_upstream, mut to_upstream) = upstream.into_split();
            let out = copy(&mut from_agent, &mut to_upstream, &mut counted.sent);
            let back = copy(&mut from_upstream, &mut to_agent, &mut counted.received);
            match tokio::join!(out, back) {
                (Ok(()), Ok(())) => Status::Done,
                _ => Status::Unknown,
            }
        };
        tokio::select! {
            biased;
            _ = passage.cancelled() => Status::Unknown,
            () = unproved => Status::Unknown,
            status = copying => status,
        }
    };
    record(&doors, passage, began, status, counted).await;
}

async fn leaves(chair: Option<Arc<Chair>>) {
    match chair {
        Some(chair) => chair.holds(chair.leaves()).await,
        None => std::future::pending().await,
    }
}

/// Copies until the end and closes the other half; the count is right even when it is cut.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    counted: &mut u64,
) -> io::Result<()> {
    let mut piece = vec![0; TUNNEL_BUFFER_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece.get(..length).unwrap_or_default())
            .await?;
        *counted += length as u64;
    }
}

async fn record(
    doors: &Doors,
    passage: Passage,
    began: Timestamp,
    status: Status,
    counted: Counted,
) {
    let moment = (doors.clock)();
    let effect = Effect {
        status,
        took: moment.now.since(began),
        sent_bytes: counted.sent,
        received_bytes: counted.received,
        labels: Labels::none(),
        result: None,
        failure: None,
    };
    if let Err(error) = doors.handle.performed(passage, effect, moment).await {
        tracing::error!(%error, "the end of a tunnel could not be recorded");
    }
}

/// Reads the target: a host and a port, and nothing else.
pub(crate) fn target<B>(request: &Request<B>) -> Option<(String, u16)> {
    let uri = request.uri();
    let authority = uri.authority()?;
    if uri.scheme().is_some() || uri.path_and_query().is_some() || authority.as_str().contains('@')
    {
        return None;
    }
    let host = authority
        .host()
        .trim_matches(['[', ']'])
        .to_ascii_lowercase();
    (!host.is_empty()).then_some((host, authority.port_u16()?))
}

fn refuse(doors: &Doors, status: StatusCode, refusal: &Refusal) -> Response<Body> {
    let error = refusal.to_error(&doors.links);
    body::problem(status, refusal.code(), &error.message)
}

/// How much a tunnel carries at once, in bytes.
const TUNNEL_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port() {
        let check = |text: &str| {
            let request = Request::builder().method("CONNECT").uri(text).body(());
            request.ok().and_then(|it| target(&it))
        };
        assert_eq!(
            check("API.example.com:443"),
            Some(("api.example.com".into(), 443))
        );
        assert_eq!(check("[::1]:443"), Some(("::1".into(), 443)));
        for text in [
            "api.example.com",
            "http://api.example.com:443/",
            "u@h:443",
            "/x",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
    }
}

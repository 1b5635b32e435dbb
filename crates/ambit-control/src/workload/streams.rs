//! The five calls. A stream says everything at once, and everything again when something of it changes.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use ambit_core::Digest;
use ambit_identity::IssuingKeys;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::Status;

use super::{
    Peer,
    instances::{Bound, Held, attest, instance, not_ready},
    messages::{
        JwtBundlesResponse, JwtSvidRequest, JwtSvidResponse, ValidateJwtSvidRequest,
        ValidateJwtSvidResponse, X509BundlesResponse, X509Svid, X509SvidResponse,
    },
};
use crate::api::Doors;

/// An X509-SVID stream: what it waits for.
struct Svids {
    doors: Doors,
    peer: Peer,
    keys: watch::Receiver<Arc<IssuingKeys>>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    renew_in: Duration,
    next: Next,
}

/// A stream of bundles: what it waits for.
struct Bundles<T> {
    doors: Doors,
    peer: Peer,
    keys: watch::Receiver<Arc<IssuingKeys>>,
    estates: watch::Receiver<Option<Digest>>,
    say: fn(&IssuingKeys) -> T,
    next: Saying,
}

/// Whether a stream of bundles goes on.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Saying {
    On,
    Over,
}

/// What a stream does next.
enum Next {
    Say(X509SvidResponse),
    Wait,
    Stop,
}

/// `FetchX509SVID`.
pub(super) async fn x509_svids(
    doors: Doors,
    peer: Peer,
) -> Result<impl Stream<Item = Result<X509SvidResponse, Status>> + Send + 'static, Status> {
    // Subscribed first: what changes from here on is seen.
    let mut keys = doors.control().keys.subscribe();
    keys.borrow_and_update();
    let (bound, held) = instance(&doors, &peer).await?;
    let (handle, task) = (doors.control().handle.clone(), bound.task.id);
    let state = Svids {
        next: Next::Say(svids(&doors, &bound, &held)),
        renew_in: renew_in(&doors, &held),
        ended: Box::pin(async move { handle.task_ended(task).await }),
        keys,
        doors,
        peer,
    };
    Ok(unfold(state, Svids::step))
}

impl Svids {
    async fn step(mut self) -> Option<(Result<X509SvidResponse, Status>, Self)> {
        match std::mem::replace(&mut self.next, Next::Wait) {
            Next::Say(response) => return Some((Ok(response), self)),
            Next::Stop => return None,
            Next::Wait => (),
        }
        tokio::select! {
            biased;
            () = &mut self.ended => {
                self.next = Next::Stop;
                return Some((Err(over()), self));
            }
            changed = self.keys.changed() => {
                if changed.is_err() {
                    return None;
                }
            }
            () = tokio::time::sleep(self.renew_in) => (),
        }
        // Looked at anew: what the estate no longer registers is not renewed. Boxed, so that a stream that waits for hours
        // holds no room for it.
        match Box::pin(instance(&self.doors, &self.peer)).await {
            Ok((bound, held)) => {
                self.renew_in = renew_in(&self.doors, &held);
                Some((Ok(svids(&self.doors, &bound, &held)), self))
            }
            Err(status) => {
                self.next = Next::Stop;
                Some((Err(status), self))
            }
        }
    }
}

/// `FetchX509Bundles`.
pub(super) async fn x509_bundles(
    doors: Doors,
    peer: Peer,
) -> Result<impl Stream<Item = Result<X509BundlesResponse, Status>> + Send + 'static, Status> {
    bundles(doors, peer, |keys| X509BundlesResponse {
        crl: Vec::new(),
        bundles: BTreeMap::from([(domain(keys), roots(keys))]),
    })
    .await
}

/// `FetchJWTBundles`.
pub(super) async fn jwt_bundles(
    doors: Doors,
    peer: Peer,
) -> Result<impl Stream<Item = Result<JwtBundlesResponse, Status>> + Send + 'static, Status> {
    bundles(doors, peer, |keys| JwtBundlesResponse {
        bundles: BTreeMap::from([(domain(keys), keys.bundle().jwt_document().into_bytes())]),
    })
    .await
}

/// Says the bundles now and whenever they change, to a process of any agent. It needs no task, so that it is looked at anew
/// under every estate that comes into force.
async fn bundles<T: Send + 'static>(
    doors: Doors,
    peer: Peer,
    say: fn(&IssuingKeys) -> T,
) -> Result<impl Stream<Item = Result<T, Status>> + Send + 'static, Status> {
    // Subscribed first: what changes from here on is seen.
    let estates = doors.control().handle.estates();
    let mut estates = estates.map_err(|error| not_ready(&error))?;
    estates.borrow_and_update();
    attest(&doors, &peer).await?;
    let mut keys = doors.control().keys.subscribe();
    keys.mark_changed();
    let state = Bundles {
        doors,
        peer,
        keys,
        estates,
        say,
        next: Saying::On,
    };
    Ok(unfold(state, Bundles::step))
}

impl<T> Bundles<T> {
    async fn step(mut self) -> Option<(Result<T, Status>, Self)> {
        loop {
            if self.next == Saying::Over {
                return None;
            }
            tokio::select! {
                biased;
                changed = self.estates.changed() => {
                    changed.ok()?;
                    if let Err(status) = Box::pin(attest(&self.doors, &self.peer)).await {
                        self.next = Saying::Over;
                        return Some((Err(status), self));
                    }
                }
                changed = self.keys.changed() => {
                    changed.ok()?;
                    let said = (self.say)(&self.keys.borrow_and_update());
                    return Some((Ok(said), self));
                }
            }
        }
    }
}

/// `FetchJWTSVID`.
pub(super) async fn jwt_svid(
    doors: &Doors,
    peer: &Peer,
    request: JwtSvidRequest,
) -> Result<JwtSvidResponse, Status> {
    super::jwt::issue(doors, peer, request).await
}

/// `ValidateJWTSVID`.
pub(super) async fn validate(
    doors: &Doors,
    peer: &Peer,
    request: &ValidateJwtSvidRequest,
) -> Result<ValidateJwtSvidResponse, Status> {
    attest(doors, peer).await?;
    super::jwt::validate(doors, request)
}

fn svids(doors: &Doors, bound: &Bound, held: &Held) -> X509SvidResponse {
    let keys = doors.control().keys_in_force();
    let chain = held.svid.chain().iter().flat_map(|it| it.iter().copied());
    let svid = X509Svid {
        spiffe_id: bound.task.spiffe_id.to_string(),
        x509_svid: chain.collect(),
        x509_svid_key: held.key.pkcs8().to_vec(),
        bundle: roots(&keys),
        hint: String::new(),
    };
    X509SvidResponse {
        svids: vec![svid],
        crl: Vec::new(),
        federated_bundles: BTreeMap::new(),
    }
}

/// Returns the roots as the messages carry them: DER, one after the other.
fn roots(keys: &IssuingKeys) -> Vec<u8> {
    let roots = keys.bundle().roots().iter();
    roots.flat_map(|it| it.iter().copied()).collect()
}

fn domain(keys: &IssuingKeys) -> String {
    keys.trust_domain().authority().to_string()
}

fn renew_in(doors: &Doors, held: &Held) -> Duration {
    let now = (doors.control().clock)().now;
    // A clock that stands still must not make this a loop.
    Duration::from_millis(held.renew_in(now).as_millis()).max(Duration::from_secs(1))
}

pub(super) fn over() -> Status {
    Status::permission_denied("the task of this instance has ended, and its identity with it")
}

//! The five calls. A stream says everything at once, and everything again when something of it changes.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use ambit_identity::IssuingKeys;
use futures_util::stream::unfold;
use tonic::Status;

use super::{
    Peer,
    answer::Messages,
    given::{Given, Watching, name, roots},
    instances::{Bound, Held, attest, instance},
    messages::{
        JwtBundlesResponse, JwtSvidRequest, JwtSvidResponse, ValidateJwtSvidRequest,
        ValidateJwtSvidResponse, X509BundlesResponse, X509Svid, X509SvidResponse,
    },
    turns::Asks,
};
use crate::api::Doors;

/// An X509-SVID stream: what it waits for, and what it said.
struct Svids {
    doors: Doors,
    peer: Arc<Peer>,
    watching: Watching,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    held: Arc<Held>,
    /// The bundle's sequence.
    sequence: u64,
    next: Next,
}

/// What a stream does next.
enum Next {
    Say(Box<X509SvidResponse>),
    Wait,
    Stop,
}

/// `FetchX509SVID`.
pub(super) async fn x509_svids(
    doors: Doors,
    peer: Arc<Peer>,
) -> Result<Messages<X509SvidResponse>, Status> {
    // Subscribed first: what changes from here on is seen.
    let mut watching = Watching::new(doors.control())?;
    let (bound, held) = instance(&doors, &peer, Asks::Anew).await?;
    let ended = doors.control().handle.task_ended(bound.task.id);
    let keys = doors.control().keys_in_force();
    let given = watching.attested(&bound.task.agent);
    let state = Box::new(Svids {
        next: Next::Say(Box::new(svids(&keys, &bound, &held, given))),
        ended: Box::pin(ended),
        sequence: keys.bundle().sequence(),
        watching,
        held,
        doors,
        peer,
    });
    Ok(Box::pin(unfold(state, Svids::step)))
}

impl Svids {
    async fn step(mut self: Box<Self>) -> Option<(Result<X509SvidResponse, Status>, Box<Self>)> {
        match std::mem::replace(&mut self.next, Next::Wait) {
            Next::Say(response) => return Some((Ok(*response), self)),
            Next::Stop => return None,
            Next::Wait => (),
        }
        loop {
            let renew_in = renew_in(&self.doors, &self.held);
            tokio::select! {
                biased;
                () = &mut self.ended => {
                    self.next = Next::Stop;
                    return Some((Err(over()), self));
                }
                changed = self.watching.changed(self.doors.control()) => changed.ok()?,
                () = tokio::time::sleep(renew_in) => (),
            }
            // Boxed, so that a stream that waits for hours holds no room for it.
            match Box::pin(self.look()).await {
                Ok(Some(response)) => return Some((Ok(response), self)),
                Ok(None) => (),
                Err(status) => {
                    self.next = Next::Stop;
                    return Some((Err(status), self));
                }
            }
        }
    }

    /// Looks at the process anew, since what the estate no longer registers has no identity; and says what it is given, when
    /// that is not what it was.
    async fn look(&mut self) -> Result<Option<X509SvidResponse>, Status> {
        let (bound, held) = instance(&self.doors, &self.peer, Asks::Again).await?;
        let keys = self.doors.control().keys_in_force();
        let sequence = keys.bundle().sequence();
        let before = self.watching.given().clone();
        let given = self.watching.attested(&bound.task.agent);
        let same =
            sequence == self.sequence && Arc::ptr_eq(&held, &self.held) && given.is_same(&before);
        let response = (!same).then(|| svids(&keys, &bound, &held, given));
        (self.held, self.sequence) = (held, sequence);
        Ok(response)
    }
}

/// `FetchX509Bundles`.
pub(super) async fn x509_bundles(
    doors: Doors,
    peer: Arc<Peer>,
) -> Result<Messages<X509BundlesResponse>, Status> {
    bundles(doors, peer, |keys, given| {
        let mut bundles = given.roots();
        let own = keys.bundle();
        bundles.insert(name(own.trust_domain()), roots(own));
        X509BundlesResponse {
            crl: Vec::new(),
            bundles,
        }
    })
    .await
}

/// `FetchJWTBundles`.
pub(super) async fn jwt_bundles(
    doors: Doors,
    peer: Arc<Peer>,
) -> Result<Messages<JwtBundlesResponse>, Status> {
    bundles(doors, peer, |keys, given| {
        let mut bundles = given.jwt_keys();
        let own = keys.bundle();
        bundles.insert(name(own.trust_domain()), own.jwt_document().into_bytes());
        JwtBundlesResponse { bundles }
    })
    .await
}

/// A stream of bundles: what it waits for, and what it said.
struct Bundles<T> {
    doors: Doors,
    peer: Arc<Peer>,
    watching: Watching,
    say: fn(&IssuingKeys, &Given) -> T,
    /// The own bundle's sequence, once something was said; none once there is nothing more to say.
    said: Said,
}

enum Said {
    Nothing,
    Sequence(u64),
    Last,
}

/// Says the bundles now and whenever they change, to a process of any agent. It needs no task: bundles are public. Those of
/// foreign trust domains are for whom the estate names them.
async fn bundles<T: Send + 'static>(
    doors: Doors,
    peer: Arc<Peer>,
    say: fn(&IssuingKeys, &Given) -> T,
) -> Result<Messages<T>, Status> {
    let mut watching = Watching::new(doors.control())?;
    let attested = attest(&doors, &peer, Asks::Anew).await?;
    watching.attested(attested.agent());
    let state = Box::new(Bundles {
        doors,
        peer,
        watching,
        say,
        said: Said::Nothing,
    });
    Ok(Box::pin(unfold(state, Bundles::step)))
}

impl<T> Bundles<T> {
    async fn step(mut self: Box<Self>) -> Option<(Result<T, Status>, Box<Self>)> {
        let mut said = match self.said {
            Said::Nothing => {
                let keys = self.doors.control().keys_in_force();
                self.said = Said::Sequence(keys.bundle().sequence());
                let response = (self.say)(&keys, self.watching.given());
                return Some((Ok(response), self));
            }
            Said::Sequence(sequence) => sequence,
            Said::Last => return None,
        };
        loop {
            self.watching.changed(self.doors.control()).await.ok()?;
            let before = self.watching.given().clone();
            match Box::pin(attest(&self.doors, &self.peer, Asks::Again)).await {
                Ok(attested) => self.watching.attested(attested.agent()),
                Err(status) => {
                    self.said = Said::Last;
                    return Some((Err(status), self));
                }
            };
            let keys = self.doors.control().keys_in_force();
            let sequence = keys.bundle().sequence();
            if sequence == said && self.watching.given().is_same(&before) {
                continue;
            }
            said = sequence;
            self.said = Said::Sequence(said);
            let response = (self.say)(&keys, self.watching.given());
            return Some((Ok(response), self));
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
    let attested = attest(doors, peer, Asks::Anew).await?;
    super::jwt::validate(doors, attested.agent(), request)
}

fn svids(keys: &IssuingKeys, bound: &Bound, held: &Held, given: &Given) -> X509SvidResponse {
    let chain = held.svid.chain().iter().flat_map(|it| it.iter().copied());
    let svid = X509Svid {
        spiffe_id: bound.task.spiffe_id.to_string(),
        x509_svid: chain.collect(),
        x509_svid_key: held.key.pkcs8().to_vec(),
        bundle: roots(keys.bundle()),
        hint: String::new(),
    };
    X509SvidResponse {
        svids: vec![svid],
        crl: Vec::new(),
        federated_bundles: given.roots(),
    }
}

fn renew_in(doors: &Doors, held: &Held) -> Duration {
    let now = (doors.control().clock)().now;
    // A clock that stands still must not make this a loop.
    Duration::from_millis(held.renew_in(now).as_millis()).max(Duration::from_secs(1))
}

pub(super) fn over() -> Status {
    Status::permission_denied("the task of this instance has ended, and its identity with it")
}

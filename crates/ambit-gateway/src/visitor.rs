//! Who proved, in a handshake, to hold the key of a certificate: one of our instances, or a workload of a foreign trust
//! domain. A connection outlives what proved its peer, so each is proved again when the roots are others than they were:
//! before each request, and while an answer or a tunnel is under way.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use ambit_core::{SpiffeId, Timestamp};
use ambit_engine::NotInstance;
use ambit_identity::{
    FederatedBundles, ForeignSvid, IdentityError, InstanceCaller, TrustBundle, Trusted,
    identify_instance,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustls::pki_types::CertificateDer;
use tokio::{sync::oneshot, time::sleep};

use crate::{
    body::{self, Body},
    gateway::Gateway,
    limits::PROVED_AGAIN_EVERY,
};

/// Whom the gateway believes, now and later.
#[derive(Clone)]
pub struct Trusting {
    /// Gives the roots of now: the very same ones until they change.
    pub now: Arc<dyn Fn() -> Trusted + Send + Sync>,
    /// Resolves when they have changed since it was called.
    pub changed: Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>,
}

/// Who proved, in the handshake, to hold the key of a certificate.
pub struct Visitor {
    chain: Vec<CertificateDer<'static>>,
    proved: Mutex<Proved>,
}

/// Who it is, and by which roots it was last found to be.
enum Proved {
    Own(Arc<TrustBundle>, InstanceCaller),
    Foreign(Arc<FederatedBundles>, ForeignSvid),
}

/// Who is proved now.
enum Proof {
    Own(InstanceCaller),
    Foreign(ForeignSvid),
}

/// Why a visitor is proved no longer.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error("no root of now proves the peer of the connection")]
    Identity(#[from] IdentityError),
    #[error("the workload is not registered as it was")]
    Registration(#[from] NotInstance),
    #[error("the SVID has expired")]
    Expired,
}

/// Resolves when the visitor is proved no longer.
pub(crate) type Unproved = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Gateway {
    /// Identifies the peer of a connection, which sent `chain`.
    ///
    /// # Errors
    /// [`IdentityError`] when the bundle of its trust domain does not prove it, or it is neither an instance nor of a
    /// foreign trust domain.
    pub(crate) fn visitor(
        &self,
        chain: &[CertificateDer<'static>],
    ) -> Result<Visitor, IdentityError> {
        let trusting = self.trusting.as_ref();
        let trusted = (trusting.ok_or(IdentityError::NoCertificate)?.now)();
        let moment = self.doors.moment();
        // The clocks of others made their dates.
        let proved = match trusted.federated.identify(chain, moment.wall)? {
            Some(svid) => Proved::Foreign(trusted.federated, svid),
            None => {
                let caller = identify_instance(chain, &trusted.bundle, moment.now)?;
                Proved::Own(trusted.bundle, caller)
            }
        };
        Ok(Visitor {
            chain: chain.to_vec(),
            proved: Mutex::new(proved),
        })
    }

    /// Returns the instance that the visitor is. A foreign workload is that of the task that it has claimed, or claims by
    /// this.
    ///
    /// # Errors
    /// The answer that says what is missing.
    pub(crate) async fn instance_of(
        &self,
        visitor: &Visitor,
    ) -> Result<InstanceCaller, Response<Body>> {
        let svid = match self.proof(visitor) {
            Ok(Proof::Own(caller)) => return Ok(caller),
            Ok(Proof::Foreign(svid)) => svid,
            Err(why) => {
                tracing::info!(error = %crate::causes(&why), "the peer of a connection is proved no longer");
                return Err(refused(
                    "the bundle of your trust domain does not prove your SVID any more; fetch another SVID and connect again",
                ));
            }
        };
        let claimed = self.doors.handle.foreign_instance(&svid).await;
        claimed.map_err(|error| {
            tracing::warn!(error = %crate::causes(&error), "a foreign workload is no instance");
            let seen = svid.spiffe_id();
            match &error {
                // Whoever asks hears only what it knows of itself; registrations are for those who operate Ambit.
                NotInstance::Unknown(_) => refused(&format!(
                    "no agent is registered for {seen}; ask who runs Ambit, whose log names the nearest registration"
                )),
                NotInstance::OtherAgent
                | NotInstance::NothingWaits(_)
                | NotInstance::NoCertificate => {
                    refused(&format!("{seen}: {error}"))
                }
                NotInstance::Failed(_) => {
                    let detail = "nothing can be decided now; try again";
                    body::problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                }
            }
        })
    }

    /// Returns what resolves when the visitor is proved no longer: no root leads to its certificate, it has expired, or the
    /// estate registers the foreign workload no more.
    pub(crate) fn unproved(&self, visitor: &Arc<Visitor>) -> Unproved {
        let visitor = Arc::clone(visitor);
        self.until(move |gateway| gateway.stands(&visitor))
    }

    /// Returns what resolves when nobody vouches any more for the client by whose token `caller` came.
    pub(crate) fn unvouched(&self, caller: &InstanceCaller) -> Unproved {
        let caller = caller.clone();
        self.until(move |gateway| gateway.vouched(&caller).map_err(Gone::from))
    }

    fn until(&self, stands: impl Fn(&Self) -> Result<(), Gone> + Send + 'static) -> Unproved {
        let gateway = self.clone();
        Box::pin(async move {
            let Some(trusting) = gateway.trusting.clone() else {
                return;
            };
            loop {
                // Before the look: what changes after it is heard.
                let changed = (trusting.changed)();
                if let Err(why) = stands(&gateway) {
                    tracing::info!(error = %crate::causes(&why), "what is under way ends: its peer is proved no longer");
                    return;
                }
                tokio::select! {
                    () = changed => {}
                    () = sleep(PROVED_AGAIN_EVERY) => {}
                }
            }
        })
    }

    /// Says that the foreign trust domain still vouches, by whose word the client of the caller's token got it. A token of
    /// another client rests on no such word.
    ///
    /// # Errors
    /// [`NotInstance`] when it does not, or the workload is a run of another agent now.
    pub(crate) fn vouched(&self, caller: &InstanceCaller) -> Result<(), NotInstance> {
        let Some((client, since)) = foreign_client(caller) else {
            return Ok(());
        };
        let book = self.doors.handle.book()?;
        let trusting = self.trusting.as_ref();
        let federated = trusting.map_or_else(Arc::default, |it| (it.now)().federated);
        let agent = federated.vouches(&client, since, book.estate())?;
        if agent == *caller.agent() {
            return Ok(());
        }
        Err(NotInstance::OtherAgent)
    }

    /// Lets an answer that is a stream end with `unproved`.
    pub(crate) fn cut(unproved: Unproved, response: Response<Body>) -> Response<Body> {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        let (mut body_left, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            tokio::select! {
                () = unproved => {}
                () = body_left.closed() => {}
            }
        });
        response.map(|inside| Bounded { inside, ended }.boxed())
    }

    fn stands(&self, visitor: &Visitor) -> Result<(), Gone> {
        let svid = match self.proof(visitor)? {
            // When an instance's own certificate is over is told at each act.
            Proof::Own(_) => return Ok(()),
            Proof::Foreign(svid) => svid,
        };
        if svid.expires_at() <= self.doors.moment().wall {
            return Err(Gone::Expired);
        }
        let book = self.doors.handle.book().map_err(NotInstance::from)?;
        svid.claimant(book.estate()).map_err(NotInstance::from)?;
        Ok(())
    }

    /// Says who the visitor is, looking again when the roots are others than they were.
    fn proof(&self, visitor: &Visitor) -> Result<Proof, IdentityError> {
        let trusting = self.trusting.as_ref();
        let trusted = (trusting.ok_or(IdentityError::NoCertificate)?.now)();
        let moment = self.doors.moment();
        let mut proved = visitor.proved();
        match &mut *proved {
            Proved::Own(bundle, caller) => {
                if !Arc::ptr_eq(bundle, &trusted.bundle) {
                    // Whether a root leads to it: that its time is over is told at each act, as before.
                    let last = caller.expires_at().as_millis().saturating_sub(1000);
                    let at = moment.now.min(Timestamp::from_millis(last));
                    *caller = identify_instance(&visitor.chain, &trusted.bundle, at)?;
                    *bundle = trusted.bundle;
                }
                Ok(Proof::Own(caller.clone()))
            }
            Proved::Foreign(bundles, svid) => {
                if !Arc::ptr_eq(bundles, &trusted.federated) {
                    let found = trusted.federated.identify(&visitor.chain, moment.wall)?;
                    let gone = || IdentityError::UnknownIssuer {
                        trust_domain: svid.spiffe_id().trust_domain().clone(),
                    };
                    *svid = found.ok_or_else(gone)?;
                    *bundles = trusted.federated;
                }
                Ok(Proof::Foreign(svid.clone()))
            }
        }
    }
}

impl Visitor {
    fn proved(&self) -> MutexGuard<'_, Proved> {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the instance of ours that it was last found to be; none when it is of a foreign trust domain, and may claim
    /// a task by what it asks.
    pub(crate) fn own(&self) -> Option<InstanceCaller> {
        match &*self.proved() {
            Proved::Own(_, caller) => Some(caller.clone()),
            Proved::Foreign(..) => None,
        }
    }
}

/// A body that is cut when somebody says so.
struct Bounded {
    inside: Body,
    /// Resolves, without a value, when whoever holds the other end lets go.
    ended: oneshot::Receiver<()>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if Pin::new(&mut self.ended).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inside).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inside.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inside.size_hint()
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proved = self.proved();
        let id = match &*proved {
            Proved::Own(_, caller) => caller.spiffe_id(),
            Proved::Foreign(_, svid) => svid.spiffe_id(),
        };
        f.debug_tuple("Visitor").field(id).finish()
    }
}

impl fmt::Debug for Trusting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trusting")
    }
}

/// Returns the workload of a foreign trust domain that got the caller's token, when one did, and when that was.
pub(crate) fn foreign_client(caller: &InstanceCaller) -> Option<(SpiffeId, Timestamp)> {
    let claim = caller.token()?;
    let client: SpiffeId = claim.client.parse().ok()?;
    let is_ours = client.trust_domain() == caller.spiffe_id().trust_domain();
    (!is_ours).then_some((client, claim.issued_at))
}

fn refused(detail: &str) -> Response<Body> {
    body::problem(StatusCode::FORBIDDEN, "no_instance", detail)
}

//! Workloads of foreign trust domains on a connection: proved by the bundles of now, at each request.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use ambit_engine::NotInstance;
use ambit_identity::{FederatedBundles, ForeignSvid, IdentityError, InstanceCaller};
use http::{Response, StatusCode};
use rustls::pki_types::CertificateDer;

use crate::{
    body::{self, Body},
    gateway::Gateway,
};

/// Gives the bundles of foreign trust domains that are believed now: the same ones until they change.
pub type Federated = Arc<dyn Fn() -> Arc<FederatedBundles> + Send + Sync>;

/// A workload of a foreign trust domain that proved, in the handshake, to hold the key of its certificate.
pub struct Visitor {
    chain: Vec<CertificateDer<'static>>,
    /// By which bundles it was last found to be who it says.
    proved: Mutex<(Arc<FederatedBundles>, ForeignSvid)>,
}

impl Gateway {
    /// Identifies the visitor of a connection whose peer sent `chain`; none when it is of no foreign trust domain.
    ///
    /// # Errors
    /// [`IdentityError`] when the bundle of its trust domain does not prove it.
    pub(crate) fn visitor(
        &self,
        chain: &[CertificateDer<'static>],
    ) -> Result<Option<Visitor>, IdentityError> {
        let bundles = (self.federated)();
        let found = bundles.identify(chain, self.doors.now())?;
        Ok(found.map(|svid| Visitor {
            chain: chain.to_vec(),
            proved: Mutex::new((bundles, svid)),
        }))
    }

    /// Returns the instance that the visitor is: of the task that it has claimed, or claims by this.
    ///
    /// # Errors
    /// The answer that says what is missing.
    pub(crate) async fn instance_of(
        &self,
        visitor: &Visitor,
    ) -> Result<InstanceCaller, Response<Body>> {
        let svid = self.still(visitor).map_err(|why| {
            tracing::info!(error = %crate::causes(&why), "a foreign workload is proved no longer");
            refused("the bundle of your trust domain does not prove your SVID any more; fetch another SVID and connect again")
        })?;
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

    /// Looks at the visitor again when the bundles are others than they were.
    fn still(&self, visitor: &Visitor) -> Result<ForeignSvid, IdentityError> {
        let bundles = (self.federated)();
        let mut proved = visitor
            .proved
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&proved.0, &bundles) {
            let found = bundles.identify(&visitor.chain, self.doors.now())?;
            let gone = || IdentityError::UnknownIssuer {
                trust_domain: proved.1.spiffe_id().trust_domain().clone(),
            };
            let found = found.ok_or_else(gone)?;
            *proved = (bundles, found);
        }
        Ok(proved.1.clone())
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Visitor")
            .field(&proved.1.spiffe_id())
            .finish()
    }
}

fn refused(detail: &str) -> Response<Body> {
    body::problem(StatusCode::FORBIDDEN, "no_instance", detail)
}

//! The gateway at its second address, known by an identity that somebody else's Workload API gives to Ambit as to any
//! workload. What the issuer takes back is shown no more; what it renews is shown from the next connection on.

use std::{sync::Arc, time::Duration};

use ambit_control::{api::KeysInForce, federation::FederatedInForce};
use ambit_gateway::Face;
use ambit_identity::{OuterSvid, Trusted, tls::outer_config};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Svid};
use tokio::sync::watch;
use tokio_stream::StreamExt;

use super::face::{Faces, tls_clock};
use crate::clock::Clock;

/// How long to wait before a Workload API that failed is asked again.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the gateway shows at its second address.
pub(crate) struct OuterFace {
    /// What is shown now.
    pub(crate) faces: Faces,
    identity: watch::Sender<Option<Arc<OuterSvid>>>,
    socket: String,
}

impl OuterFace {
    /// Returns the face whose identity comes from the Workload API at `socket`. It shows nothing yet.
    pub(super) fn new(
        socket: &str,
        (keys, federated): (&KeysInForce, FederatedInForce),
        clock: &Clock,
    ) -> Self {
        let identity = watch::Sender::<Option<Arc<OuterSvid>>>::default();
        let held = identity.subscribe();
        let (keys, clock) = (Arc::clone(keys), clock.clone());
        let faces: Faces = Arc::new(move || {
            let svid = held.borrow().clone();
            let svid = svid.filter(|it| it.expires_at() > clock.now())?;
            let trusted = Trusted {
                bundle: Arc::clone(keys.borrow().bundle()),
                federated: federated.borrow().clone(),
            };
            let tls = outer_config(&svid, trusted, tls_clock(&clock));
            let tls = tls.inspect_err(|error| tracing::error!(%error, "no face can be made"));
            Some(Face {
                tls: Arc::new(tls.ok()?),
            })
        });
        Self {
            faces,
            identity,
            socket: socket.to_owned(),
        }
    }

    /// Follows the Workload API, until dropped.
    pub(crate) async fn follow(self) {
        loop {
            if let Err(error) = self.follow_once().await {
                // Who is no workload of the issuer any more has no identity of it; who can't ask keeps it to its end.
                if is_taken_back(&error) {
                    self.identity.send_replace(None);
                }
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    socket = self.socket,
                    "no identity from the Workload API"
                );
            }
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        }
    }

    async fn follow_once(&self) -> Result<(), WorkloadApiError> {
        let client = WorkloadApiClient::connect_to(&self.socket).await?;
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, client.stream_x509_svids()).await;
        let Ok(stream) = asked else {
            return Err(WorkloadApiError::EmptyResponse);
        };
        let mut stream = stream?;
        while let Some(svid) = stream.next().await {
            self.take(&svid?);
        }
        Ok(())
    }

    fn take(&self, svid: &X509Svid) {
        let chain = svid.cert_chain().iter().map(|it| it.as_bytes().to_vec());
        match OuterSvid::new(chain.collect(), svid.private_key().as_bytes()) {
            Ok(svid) => {
                tracing::info!(spiffe_id = %svid.spiffe_id(), "the gateway has another identity");
                self.identity.send_replace(Some(Arc::new(svid)));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "an SVID from the Workload API can't be used");
            }
        }
    }
}

const fn is_taken_back(error: &WorkloadApiError) -> bool {
    matches!(
        error,
        WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_)
    )
}

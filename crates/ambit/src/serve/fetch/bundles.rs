//! Bundles of foreign trust domains, from endpoints that are known by their host or by their SPIFFE ID.

use std::sync::Arc;

use ambit_control::federation::{BundleAsk, EndpointProof, FetchBundle};
use ambit_identity::{BUNDLE_BYTES_MAX, TlsClock, tls::bundle_client_config};
use http::StatusCode;

use super::{FetchError, Fetcher, Reach, Wanted, told};
use crate::clock::Clock;

impl Fetcher {
    /// Returns what asks bundle endpoints.
    pub(crate) fn bundles(&self, clock: &Clock) -> FetchBundle {
        let (fetcher, clock) = (self.clone(), clock.clone());
        Arc::new(move |ask| {
            let (fetcher, clock) = (fetcher.clone(), clock.clone());
            Box::pin(async move {
                let fetched = fetcher.bundle(ask, clock).await;
                fetched.map_err(|error| told(&error))
            })
        })
    }

    async fn bundle(&self, ask: BundleAsk, clock: Clock) -> Result<Vec<u8>, FetchError> {
        let wanted = Wanted {
            url: ask.url,
            reach: Reach::Estate,
            bytes_max: BUNDLE_BYTES_MAX,
            form: None,
        };
        let answer = match ask.proof {
            EndpointProof::Host => self.fetch(wanted).await?,
            EndpointProof::SpiffeId { endpoint, bundle } => {
                let clock = TlsClock::new(move || clock.now());
                let tls = bundle_client_config(endpoint, bundle, clock);
                let tls = tls.map_err(|error| FetchError::Tls(Box::new(error)))?;
                self.fetch_by(Some(Arc::new(tls)), wanted).await?
            }
        };
        match answer.status {
            StatusCode::OK => Ok(answer.body.to_vec()),
            other => Err(FetchError::Status(other)),
        }
    }
}

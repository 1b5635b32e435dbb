//! Documents that others publish, at addresses that others wrote.

use std::sync::Arc;

use ambit_control::{
    foreign::Fetch,
    oauth::{FetchDocument, FetchedDocument},
};
use ambit_identity::jose::JWK_SET_BYTES_MAX;
use http::StatusCode;

use super::{Answer, FetchError, Fetcher, Reach, Wanted, told};

impl Fetcher {
    /// Returns what fetches the keys of issuers, and where they say that these are.
    pub(crate) fn documents(&self) -> Fetch {
        let fetcher = self.clone();
        Arc::new(move |url| {
            let fetcher = fetcher.clone();
            Box::pin(async move {
                let whence = (url, Reach::Estate);
                let fetched = fetcher.document(whence, JWK_SET_BYTES_MAX).await;
                let fetched = fetched.map(|answer| answer.body.to_vec());
                fetched.map_err(|error| told(&error))
            })
        })
    }

    /// Returns what fetches the documents by which clients describe themselves, and the keys that these name.
    pub(crate) fn client_documents(&self) -> FetchDocument {
        let fetcher = self.clone();
        Arc::new(move |url, bytes_max| {
            let fetcher = fetcher.clone();
            Box::pin(async move {
                let fetched = fetcher.document((url, Reach::Stranger), bytes_max).await;
                let fetched = fetched.map(|answer| FetchedDocument {
                    bytes: answer.body.to_vec(),
                    cache_control: answer.cache_control,
                });
                fetched.map_err(|error| told(&error))
            })
        })
    }

    /// Fetches the document at an address that comes from others, with at most `bytes_max` bytes. Only status 200 is one.
    pub(crate) async fn document(
        &self,
        (url, reach): (String, Reach),
        bytes_max: usize,
    ) -> Result<Answer, FetchError> {
        let wanted = Wanted {
            url,
            reach,
            bytes_max,
            form: None,
        };
        let answer = self.fetch(wanted).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            other => Err(FetchError::Status(other)),
        }
    }
}

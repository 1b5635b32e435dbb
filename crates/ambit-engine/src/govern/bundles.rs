//! Bundles of foreign trust domains: what becomes of them is on the record.

use ambit_core::{bundle::BundleFact, record::Body};

use crate::{EngineError, Handle};

impl Handle {
    /// Writes down what became of the bundle of a foreign trust domain. Durable on return: only then is anybody proved by
    /// it.
    ///
    /// # Errors
    /// Nothing could be written.
    pub async fn bundle_changed(&self, fact: BundleFact) -> Result<(), EngineError> {
        self.turn(move |desk| {
            let written = desk.write(Body::Bundle(Box::new(fact)));
            Box::new(move |committed| committed.and(written).map(|_| ()))
        })
        .await?
    }
}

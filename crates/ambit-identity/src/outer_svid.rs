//! An X509-SVID that somebody else's Workload API gave to Ambit itself, with its key.

use std::{fmt, sync::Arc};

use ambit_core::{SpiffeId, Timestamp};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroize;

use crate::{
    IdentityError, TlsError, x509,
    x509_svid::{CHAIN_CERTIFICATES_MAX, spiffe_id},
};

/// An SVID of another authority, ready to be shown.
pub struct OuterSvid {
    certified: Arc<CertifiedKey>,
    spiffe_id: SpiffeId,
    expires_at: Timestamp,
}

/// What a Workload API gave can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum OuterSvidError {
    /// Its certificates are not those of an SVID.
    #[error("its certificates are refused")]
    Certificate(#[from] IdentityError),
    /// Its key can't sign for it.
    #[error("its key is refused")]
    Key(#[from] TlsError),
}

impl OuterSvid {
    /// Takes the certificates (DER, leaf first) and their key (PKCS #8, DER).
    ///
    /// # Errors
    /// [`OuterSvidError`] when they are no SVID, or do not belong together.
    pub fn new(chain: Vec<Vec<u8>>, key: &[u8]) -> Result<Self, OuterSvidError> {
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(IdentityError::ChainTooLong { seen: chain.len() }.into());
        }
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let unreadable = |source| IdentityError::Unreadable { source };
        let leaf = x509::read(leaf).map_err(unreadable)?;
        let (spiffe_id, expires_at) = (spiffe_id(&leaf)?, x509::expires_at(&leaf));
        let refused = |source| TlsError::Key {
            spiffe_id: spiffe_id.to_string(),
            source,
        };
        let mut key = PrivateKeyDer::Pkcs8(key.to_vec().into());
        let signing = aws_lc_rs::sign::any_supported_type(&key);
        key.zeroize();
        let certified = CertifiedKey::new(chain.clone(), signing.map_err(refused)?);
        certified.keys_match().map_err(refused)?;
        Ok(Self {
            certified: Arc::new(certified),
            spiffe_id,
            expires_at,
        })
    }

    /// Returns the name.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Returns the first instant at which it is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for OuterSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OuterSvid")
            .field("spiffe_id", &self.spiffe_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

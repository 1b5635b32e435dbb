//! The face of a web server: for clients that know hosts and not SPIFFE IDs.

use std::{fmt, net::IpAddr, sync::Arc};

use ambit_core::{Timestamp, limits::SVID_TTL_MAX};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::NoServerSessionStorage,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{
    Authority, AuthorityError, PEM_BYTES_MAX, before, last_second, read_chain, set_validity,
    sign_error,
};
use crate::{IdentityError, KeyError, SvidKey, TlsClock, TlsError, tls::ALPN_HTTP_1_1, x509};

/// A web server's certificates, leaf first, and their key. It proves a host and nothing else: it has no SPIFFE ID.
pub struct WebIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    expires_at: Timestamp,
}

/// What a web server's certificate is to say.
#[derive(Clone, Copy, Debug)]
pub struct WebIssuance<'a> {
    /// The server's key.
    pub key: &'a SvidKey,
    /// The host, as URLs name it: a DNS name or an IP address.
    pub host: &'a str,
    /// When it is made.
    pub now: Timestamp,
    /// When it must have ended.
    pub expires_at: Timestamp,
    /// Fresh random bytes, for the serial number.
    pub chance: [u8; 16],
}

impl Authority {
    /// Signs a certificate by which clients who trust this authority know a host.
    ///
    /// # Errors
    /// [`AuthorityError`] when the host cannot stand in a certificate, when it would live longer than [`SVID_TTL_MAX`] or
    /// than the authority, or when it would be over at once.
    pub fn web_identity(&self, ask: &WebIssuance<'_>) -> Result<WebIdentity, AuthorityError> {
        let (now, expires_at) = (ask.now, ask.expires_at);
        if last_second(expires_at) <= now || expires_at.since(now) > SVID_TTL_MAX {
            return Err(AuthorityError::Lifetime { now, expires_at });
        }
        if expires_at > self.expires_at {
            let ends_at = self.expires_at;
            return Err(AuthorityError::AuthorityEnds { ends_at });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![match ask.host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(ask.host.try_into().map_err(sign_error)?),
        }];
        // Positive and never zero, with 126 bits of chance (RFC 5280 §4.1.2.2 allows 159).
        let serial = u128::from_be_bytes(ask.chance) & (u128::MAX >> 1) | (1 << 126);
        params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
        let not_before = before(now).max(self.not_before);
        set_validity(&mut params, not_before, last_second(expires_at))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate, self.key.pair()).map_err(sign_error)?;
        let leaf = params.signed_by(&ask.key.proved()?.spki, &issuer);
        let leaf = leaf.map_err(sign_error)?.into();
        WebIdentity::assemble(
            vec![leaf],
            PrivateKeyDer::Pkcs8(ask.key.pkcs8().to_vec().into()),
        )
    }
}

impl WebIdentity {
    /// Reads certificates, leaf first, and their unencrypted key from PEM texts that somebody else made.
    ///
    /// # Errors
    /// [`AuthorityError`] when a text is too long or has not what it should.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, AuthorityError> {
        if key.len() > PEM_BYTES_MAX {
            let (certificates, bytes) = (0, key.len());
            return Err(AuthorityError::TooLarge {
                certificates,
                bytes,
            });
        }
        let chain = read_chain(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|source| KeyError::Pem { source })?;
        Self::assemble(chain, key)
    }

    /// Returns the certificates in DER form, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Returns the first instant at which the leaf is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the configuration of a server that shows these certificates and asks its clients for none.
    ///
    /// # Errors
    /// [`TlsError`] when the key is not that of the leaf, or of a kind that can't be used.
    pub fn config(&self, clock: TlsClock) -> Result<ServerConfig, TlsError> {
        let refused = |source| TlsError::Configuration { source };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(refused)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(refused)?;
        config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Returns the certificates with their key, ready to sign.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let refused = |source| TlsError::Configuration { source };
        let key = aws_lc_rs::sign::any_supported_type(&self.key).map_err(refused)?;
        let certified = CertifiedKey::new(self.chain.clone(), key);
        certified.keys_match().map_err(refused)?;
        Ok(certified)
    }

    fn assemble(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, AuthorityError> {
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let read = x509::read(leaf).map_err(|source| IdentityError::Unreadable { source })?;
        let expires_at = x509::expires_at(&read);
        Ok(Self {
            chain,
            key,
            expires_at,
        })
    }
}

impl Drop for WebIdentity {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl fmt::Debug for WebIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebIdentity(until {})", self.expires_at)
    }
}

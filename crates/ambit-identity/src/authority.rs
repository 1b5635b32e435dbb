//! The embedded authority: signs X509-SVIDs for one trust domain.
//!
//! One authority is one signing key. [`IssuingKeys`] holds several of them (prepared, active, retired) and
//! publishes all their roots in one [`TrustBundle`].

mod error;
mod issuing_keys;
mod keys_text;
mod web;

use std::time::Duration;

use ambit_core::{Digest, Millis, SpiffeId, Timestamp, TrustDomain, limits::SVID_TTL_MAX};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

pub use self::{
    error::AuthorityError,
    issuing_keys::{
        Due, IssuingKeys, KeyReport, KeyState, PREPARE_BEFORE_END, PREPARED_TTL_MIN, PairChance,
        REFRESH_HINT, RETIRED_KEYS_MAX, RotationError,
    },
    keys_text::is_issuing_keys,
    web::{WebIdentity, WebIssuance},
};

use crate::{IdentityError, ProvedKey, SvidKey, TrustBundle, pem, x509, x509_svid};

/// How long an authority may sign, from its creation.
pub const AUTHORITY_TTL: Millis = Millis::from_seconds(365 * 24 * 3600);
/// How long before its making a certificate is valid, for clocks that are slow.
pub const BACKDATE: Millis = Millis::from_seconds(30);
/// The longest text of an authority, SVID or chain that is read, in bytes.
pub const PEM_BYTES_MAX: usize = 128 * 1024;

/// The embedded authority of a trust domain: its signing key and certificate.
#[derive(Debug)]
pub struct Authority {
    bundle: TrustBundle,
    certificate: CertificateDer<'static>,
    key: SvidKey,
    not_before: Timestamp,
    expires_at: Timestamp,
}

/// What an SVID is to say.
#[derive(Clone, Copy, Debug)]
pub struct Issuance<'a> {
    /// The key, whose holder proved to have it.
    pub key: &'a ProvedKey,
    /// The name: an instance of an agent, or the gateway, of this trust domain.
    pub spiffe_id: &'a SpiffeId,
    /// When it is made.
    pub now: Timestamp,
    /// When it must have ended: it ends at this instant or up to a second before.
    pub expires_at: Timestamp,
    /// Fresh random bytes, for the serial number.
    pub chance: [u8; 16],
}

/// An X509-SVID: a chain of certificates, leaf first. The private key is its holder's.
#[derive(Clone, Debug)]
pub struct Svid {
    chain: Vec<CertificateDer<'static>>,
    spiffe_id: SpiffeId,
    certificate: Digest,
    expires_at: Timestamp,
}

impl Authority {
    /// Makes a new authority for `trust_domain` that signs until `now` + [`AUTHORITY_TTL`].
    ///
    /// `chance` becomes the signing key: fresh, secret random bytes.
    ///
    /// # Errors
    /// [`AuthorityError`] when `chance` is no key (draw again) or the library cannot sign.
    pub fn create(
        trust_domain: TrustDomain,
        chance: [u8; 32],
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let key = SvidKey::generate(chance)?;
        let public_key = Digest::of(&key.public_key_der());
        let serial = public_key.as_bytes().first_chunk().unwrap_or(&[0; 16]);
        let mut params = params(&trust_domain.authority(), *serial)?;
        set_validity(&mut params, before(now), now.plus(AUTHORITY_TTL))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Each key has a subject of its own, so that two roots of one domain are told apart.
        params.distinguished_name = subject(public_key);
        let certificate = params.self_signed(key.pair()).map_err(sign_error)?;
        Self::assemble(trust_domain, certificate.into(), key)
    }

    /// Reads an authority from the text that [`Authority::to_pem`] wrote.
    ///
    /// # Errors
    /// [`AuthorityError`] when a part is missing, of another trust domain, or of another key.
    pub fn from_pem(trust_domain: TrustDomain, text: &str) -> Result<Self, AuthorityError> {
        let mut chain = read_chain(text)?;
        let key = SvidKey::from_pem(text)?;
        match (chain.pop(), chain.len()) {
            (Some(certificate), 0) => Self::assemble(trust_domain, certificate, key),
            (None, seen) => Err(AuthorityError::Certificates { seen }),
            (Some(_), others) => Err(AuthorityError::Certificates { seen: others + 1 }),
        }
    }

    /// Returns the private key and the certificate as PEM, for a file that only its owner reads.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let (key, certificate) = (self.key.to_pem(), pem::certificate(&self.certificate));
        let mut text = String::with_capacity(key.len() + certificate.len());
        text.push_str(&key);
        text.push_str(&certificate);
        Zeroizing::new(text)
    }

    /// Returns the bundle by which SVIDs of this authority are verified; its sequence is 0.
    pub const fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Returns the trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        self.bundle.trust_domain()
    }

    /// Returns the first instant at which the authority may no longer sign.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Signs the SVID that `ask` describes.
    ///
    /// # Errors
    /// [`AuthorityError`] when the name is not of this trust domain's instances or gateway, when it
    /// would live longer than [`SVID_TTL_MAX`] or than the authority, or when it would be over at once.
    pub fn issue(&self, ask: &Issuance<'_>) -> Result<Svid, AuthorityError> {
        self.check_name(ask.spiffe_id)?;
        self.check_lifetime(ask)?;
        let mut params = params(ask.spiffe_id, ask.chance)?;
        let not_before = before(ask.now).max(self.not_before);
        set_validity(&mut params, not_before, last_second(ask.expires_at))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate, self.key.pair()).map_err(sign_error)?;
        let leaf = params.signed_by(&ask.key.spki, &issuer);
        Ok(Svid::assemble(vec![leaf.map_err(sign_error)?.into()])?)
    }

    /// Signs the SVID of this trust domain's gateway for `key`.
    ///
    /// # Errors
    /// As for [`Authority::issue`].
    pub fn gateway_svid(
        &self,
        key: &SvidKey,
        now: Timestamp,
        expires_at: Timestamp,
        chance: [u8; 16],
    ) -> Result<Svid, AuthorityError> {
        self.issue(&Issuance {
            key: &key.proved()?,
            spiffe_id: &self.trust_domain().gateway(),
            now,
            expires_at,
            chance,
        })
    }

    fn assemble(
        trust_domain: TrustDomain,
        certificate: CertificateDer<'static>,
        key: SvidKey,
    ) -> Result<Self, AuthorityError> {
        let bundle = TrustBundle::new(trust_domain, vec![certificate.clone()], 0)?;
        let read =
            x509::read(&certificate).map_err(|source| IdentityError::Unreadable { source })?;
        if read.public_key().raw != key.public_key_der() {
            return Err(AuthorityError::OtherKey);
        }
        let not_before = read.validity().not_before.timestamp();
        let expires_at = x509::expires_at(&read);
        Ok(Self {
            bundle,
            not_before: x509::from_seconds(u64::try_from(not_before).unwrap_or(0)),
            expires_at,
            certificate,
            key,
        })
    }

    fn check_name(&self, id: &SpiffeId) -> Result<(), AuthorityError> {
        let is_ours = id.trust_domain() == self.trust_domain();
        if is_ours && (id.as_instance().is_some() || *id == self.trust_domain().gateway()) {
            return Ok(());
        }
        Err(AuthorityError::Name {
            seen: id.clone(),
            trust_domain: self.trust_domain().clone(),
        })
    }

    fn check_lifetime(&self, ask: &Issuance<'_>) -> Result<(), AuthorityError> {
        let (now, expires_at) = (ask.now, ask.expires_at);
        let lives = last_second(expires_at) > now && expires_at.since(now) <= SVID_TTL_MAX;
        if !lives {
            return Err(AuthorityError::Lifetime { now, expires_at });
        }
        if expires_at > self.expires_at {
            let ends_at = self.expires_at;
            return Err(AuthorityError::AuthorityEnds { ends_at });
        }
        Ok(())
    }
}

impl Svid {
    /// Reads the chain from the text that [`Svid::to_pem`] wrote. Nothing is verified: this is for
    /// the SVID's holder.
    ///
    /// # Errors
    /// [`AuthorityError`] when the text is too long or its first certificate has no SPIFFE ID.
    pub fn from_pem(text: &str) -> Result<Self, AuthorityError> {
        Ok(Self::assemble(read_chain(text)?)?)
    }

    /// Returns the chain as PEM text, leaf first.
    pub fn to_pem(&self) -> String {
        self.chain.iter().map(|it| pem::certificate(it)).collect()
    }

    /// Returns the certificates in DER form, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Returns the name.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Returns the digest of the leaf, as [`KeyBinding::Mtls`](crate::KeyBinding) has it.
    pub const fn certificate(&self) -> Digest {
        self.certificate
    }

    /// Returns the first instant at which it is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    fn assemble(chain: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let read = x509::read(leaf).map_err(|source| IdentityError::Unreadable { source })?;
        Ok(Self {
            spiffe_id: x509_svid::spiffe_id(&read)?,
            certificate: Digest::of(leaf),
            expires_at: x509::expires_at(&read),
            chain,
        })
    }
}

fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let too_large = |certificates| AuthorityError::TooLarge {
        certificates,
        bytes: text.len(),
    };
    if text.len() > PEM_BYTES_MAX {
        return Err(too_large(0));
    }
    let chain = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| AuthorityError::Pem { source })?;
    if chain.len() > x509_svid::CHAIN_CERTIFICATES_MAX {
        return Err(too_large(chain.len()));
    }
    Ok(chain)
}

/// Returns parameters with the name, a serial number and nothing that the library would add.
fn params(id: &SpiffeId, chance: [u8; 16]) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = id.to_string().try_into().map_err(sign_error)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    // Positive and never zero, with 126 bits of chance (RFC 5280 §4.1.2.2 allows 159).
    let serial = u128::from_be_bytes(chance) & (u128::MAX >> 1) | (1 << 126);
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    Ok(params)
}

fn subject(public_key: Digest) -> DistinguishedName {
    let hex: String = public_key.to_string().chars().skip(7).take(16).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Ambit");
    name.push(DnType::CommonName, format!("authority {hex}"));
    name
}

const fn before(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(BACKDATE.as_millis()))
}

/// Returns the last second that lies before `expires_at` whole: `notAfter` counts as valid.
const fn last_second(expires_at: Timestamp) -> Timestamp {
    x509::from_seconds(x509::to_seconds(expires_at).saturating_sub(1))
}

fn set_validity(
    params: &mut CertificateParams,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<(), AuthorityError> {
    if x509::to_seconds(not_after) > CERTIFICATE_SECONDS_MAX {
        return Err(AuthorityError::Time { at: not_after });
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(x509::to_seconds(not_before));
    params.not_after = epoch + Duration::from_secs(x509::to_seconds(not_after));
    Ok(())
}

const fn sign_error(source: rcgen::Error) -> AuthorityError {
    AuthorityError::Sign { source }
}

/// The last second of the year 9999, the latest that a certificate can name (RFC 5280 §4.1.2.5).
const CERTIFICATE_SECONDS_MAX: u64 = 253_402_300_799;

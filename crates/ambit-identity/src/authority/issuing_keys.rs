//! Rotation: the keys of one trust domain, prepared, active and retired.
//!
//! A key is *prepared* first: it stands in the bundle, so that everybody has it before it signs. One key is
//! *active* and signs. A *retired* key has lost its private half and stays in the bundle until everything
//! that it signed has ended. Time comes as an argument; what is due is asked, never timed here.
//!
//! ```text
//! prepare ──> prepared ──activate──> active ──activate──> retired ──tidy──> gone
//!                                      └────────replace (compromise)──────> gone
//! ```

use std::sync::Arc;

use ambit_core::{Digest, Millis, Timestamp, TrustDomain, limits::SVID_TTL_MAX};
use rustls_pki_types::CertificateDer;

use super::{Authority, AuthorityError, Issuance, Svid, WebIdentity, WebIssuance};
use crate::{
    SvidKey, TrustBundle,
    bundle::JwtAuthority,
    jose::{Algorithm, JoseError, Jwk, JwkError, JwkSet, KeyUse, VerifyingKeys},
    token::{
        access::{AccessIssuer, AccessVerifier},
        jwt_svid::{JwtSvidIssuance, JwtSvidKeys},
    },
};

/// How often others should ask for the bundle again (`spiffe_refresh_hint`).
pub const REFRESH_HINT: Millis = Millis::from_seconds(5 * 60);
/// How long a key is published before it signs: five refresh hints (SPIFFE Federation §4.1 wants three to five).
pub const PREPARED_TTL_MIN: Millis = Millis::from_seconds(5 * 5 * 60);
/// How long before the active key's end another is prepared.
pub const PREPARE_BEFORE_END: Millis = Millis::from_seconds(30 * 24 * 3600);
/// The most retired keys whose SVIDs may still live. Each lives a day longer at most.
pub const RETIRED_KEYS_MAX: usize = 8;

/// The algorithms of access tokens.
const ACCESS_ALGORITHMS: [Algorithm; 1] = [Algorithm::Es256];

/// The keys by which one trust domain vouches for its workloads, and their bundle.
#[derive(Clone, Debug)]
pub struct IssuingKeys {
    active: Standing,
    prepared: Option<Standing>,
    retired: Vec<Retired>,
    bundle: Arc<TrustBundle>,
    /// The bundle's keys for JWT-SVIDs, parsed.
    jwt_svid_keys: JwtSvidKeys,
}

/// One pair of keys that are rotated together: for X509-SVIDs and for JWT-SVIDs.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) authority: Authority,
    pub(crate) jwt: JwtAuthority,
}

/// A pair that signs or will sign, and since when it stands where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) pair: Arc<Pair>,
    pub(crate) since: Timestamp,
}

/// A pair of keys that signs no more. Its private halves are gone.
#[derive(Clone, Debug)]
pub(crate) struct Retired {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) jwt: Jwk,
    pub(crate) since: Timestamp,
    /// When the last SVID that it signed has ended.
    pub(crate) until: Timestamp,
}

/// Fresh, secret random bytes for a new pair of keys.
#[derive(Clone, Copy)]
pub struct PairChance {
    /// Becomes the key of X509-SVIDs.
    pub x509: [u8; 32],
    /// Becomes the key of JWT-SVIDs.
    pub jwt: [u8; 32],
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyState {
    /// Published; it does not sign yet.
    Prepared,
    /// It signs.
    Active,
    /// It signs no more; what it signed may still live.
    Retired,
}

/// One pair of keys, as people and records see it.
#[derive(Clone, Debug)]
pub struct KeyReport {
    /// Where it stands.
    pub state: KeyState,
    /// SHA-256 over the certificate's DER form: names the pair.
    pub certificate: Digest,
    /// The name of its JWT key in the bundle (`kid`).
    pub kid: String,
    /// Since when it stands there.
    pub since: Timestamp,
    /// When it ends: the certificate's end, or the end of the last SVID of a retired key.
    pub until: Timestamp,
}

/// What time asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A key to follow the active one, which ends soon.
    Prepare,
    /// The prepared key is known to everybody and the active one ends soon.
    Activate,
    /// A retired key has nothing left alive.
    Tidy,
}

/// A step of the rotation that cannot be taken now.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// There is a prepared key already.
    #[error("a key is prepared already, since {since}; activate it before preparing another")]
    AlreadyPrepared {
        /// Since when.
        since: Timestamp,
    },
    /// There is no prepared key.
    #[error("no key is prepared; prepare one first, so that everybody has it before it signs")]
    NothingPrepared,
    /// The prepared key is too young.
    #[error(
        "the prepared key is not known to everybody before {ready_at}; activate it then, or \
         replace the keys at once when the active one is compromised"
    )]
    TooYoung {
        /// When it may be activated.
        ready_at: Timestamp,
    },
    /// Too many keys are retired.
    #[error(
        "{RETIRED_KEYS_MAX} keys are retired and their SVIDs may still live; wait until {until}"
    )]
    TooManyRetired {
        /// When the first of them is gone.
        until: Timestamp,
    },
    /// A key can't be made or used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl IssuingKeys {
    /// Makes the first keys of `trust_domain`; they are active at once.
    ///
    /// # Errors
    /// [`AuthorityError`] when the chance is no key (draw again) or the library cannot sign.
    pub fn create(
        trust_domain: TrustDomain,
        chance: PairChance,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        Self::create_after(0, trust_domain, chance, now)
    }

    /// Makes keys in the place of lost ones whose bundle had come as far as `sequence`, or may have: whoever believed
    /// that one believes this one instead (SPIFFE Trust Domain and Bundle §4.1.1).
    ///
    /// # Errors
    /// As for [`IssuingKeys::create`].
    pub fn create_after(
        sequence: u64,
        trust_domain: TrustDomain,
        chance: PairChance,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let first = Standing::create(trust_domain, chance, now)?;
        Self::assemble(first, None, Vec::new(), sequence.saturating_add(1))
    }

    /// Takes over an authority that has no JWT key yet.
    ///
    /// # Errors
    /// [`AuthorityError`] when the chance is no key: draw again.
    pub fn adopt(
        authority: Authority,
        jwt_chance: [u8; 32],
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let jwt = JwtAuthority::new(SvidKey::generate(jwt_chance)?)?;
        let pair = Arc::new(Pair { authority, jwt });
        Self::assemble(Standing { pair, since: now }, None, Vec::new(), 1)
    }

    /// Publishes a new pair of keys that will sign later.
    ///
    /// # Errors
    /// [`RotationError`] when one is prepared already, or when it can't be made.
    pub fn prepare(&self, chance: PairChance, now: Timestamp) -> Result<Self, RotationError> {
        if let Some(prepared) = &self.prepared {
            let since = prepared.since;
            return Err(RotationError::AlreadyPrepared { since });
        }
        let next = Standing::create(self.trust_domain().clone(), chance, now)?;
        self.with(self.active.clone(), Some(next), self.retired.clone())
    }

    /// Lets the prepared keys sign and retires the active ones.
    ///
    /// # Errors
    /// [`RotationError`] when nothing is prepared, when it was published less than [`PREPARED_TTL_MIN`] ago, or
    /// when [`RETIRED_KEYS_MAX`] keys are retired.
    pub fn activate(&self, now: Timestamp) -> Result<Self, RotationError> {
        let prepared = self.prepared.as_ref();
        let prepared = prepared.ok_or(RotationError::NothingPrepared)?;
        let ready_at = prepared.since.plus(PREPARED_TTL_MIN);
        if now < ready_at {
            return Err(RotationError::TooYoung { ready_at });
        }
        if self.retired.len() >= RETIRED_KEYS_MAX {
            let until = self.retired.iter().map(|it| it.until).min().unwrap_or(now);
            return Err(RotationError::TooManyRetired { until });
        }
        let mut retired = self.retired.clone();
        retired.push(Retired {
            certificate: self.active.pair.authority.certificate.clone(),
            jwt: self.active.pair.jwt.public().clone(),
            since: now,
            until: now.plus(SVID_TTL_MAX),
        });
        let pair = prepared.pair.clone();
        self.with(Standing { pair, since: now }, None, retired)
    }

    /// Puts a new pair of keys in the place of all others at once: whatever those signed is worth nothing from
    /// now on. For a compromise, not for a rotation.
    ///
    /// # Errors
    /// [`RotationError::Authority`] when the keys can't be made.
    pub fn replace(&self, chance: PairChance, now: Timestamp) -> Result<Self, RotationError> {
        let next = Standing::create(self.trust_domain().clone(), chance, now)?;
        self.with(next, None, Vec::new())
    }

    /// Forgets retired keys of which nothing lives any more.
    ///
    /// # Errors
    /// [`RotationError::Authority`] when the bundle can't be made.
    pub fn tidy(&self, now: Timestamp) -> Result<Self, RotationError> {
        let alive = self.retired.iter().filter(|it| it.until > now).cloned();
        let alive: Vec<_> = alive.collect();
        if alive.len() == self.retired.len() {
            return Ok(self.clone());
        }
        self.with(self.active.clone(), self.prepared.clone(), alive)
    }

    /// Returns what time asks for.
    pub fn due(&self, now: Timestamp) -> Due {
        if self.retired.iter().any(|it| it.until <= now) {
            return Due::Tidy;
        }
        let ends_soon = self.expires_at() <= now.plus(PREPARE_BEFORE_END);
        match &self.prepared {
            None if ends_soon => Due::Prepare,
            Some(prepared)
                if ends_soon
                    && now >= prepared.since.plus(PREPARED_TTL_MIN)
                    && self.retired.len() < RETIRED_KEYS_MAX =>
            {
                Due::Activate
            }
            None | Some(_) => Due::Nothing,
        }
    }

    /// Signs an X509-SVID with the active key.
    ///
    /// # Errors
    /// As for [`Authority::issue`].
    pub fn issue(&self, ask: &Issuance<'_>) -> Result<Svid, AuthorityError> {
        self.active.pair.authority.issue(ask)
    }

    /// Signs a JWT-SVID with the active key.
    ///
    /// # Errors
    /// As for [`JwtSvidIssuer::issue`](crate::token::jwt_svid::JwtSvidIssuer::issue), and when the name is not of
    /// this trust domain.
    pub fn issue_jwt(&self, ask: &JwtSvidIssuance<'_>) -> Result<String, JoseError> {
        if ask.spiffe_id.trust_domain() != self.trust_domain() {
            let rule = "of the trust domain whose key signs";
            return Err(JoseError::Claim { name: "sub", rule });
        }
        self.active.pair.jwt.issuer().issue(ask)
    }

    /// Returns the issuer of access tokens of this name (`iss`), which signs with the active JWT key.
    pub fn access_issuer(&self, issuer: String) -> AccessIssuer {
        AccessIssuer::new(issuer, Arc::clone(self.active.pair.jwt.signing()))
    }

    /// Returns who takes access tokens of the issuer of this name: signed by a prepared, active or retired JWT key.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses a key.
    pub fn access_verifier(&self, issuer: String) -> Result<AccessVerifier, JwkError> {
        let keys = VerifyingKeys::new(
            self.bundle.jwt_keys(),
            &[KeyUse::JwtSvid],
            &ACCESS_ALGORITHMS,
        )?;
        Ok(AccessVerifier::new(issuer, keys))
    }

    /// Signs a certificate by which clients who trust the active key know a host.
    ///
    /// # Errors
    /// As for [`Authority::web_identity`].
    pub fn web_identity(&self, ask: &WebIssuance<'_>) -> Result<WebIdentity, AuthorityError> {
        self.active.pair.authority.web_identity(ask)
    }

    /// Returns the public keys of access tokens: of prepared, active and retired keys, with the use `sig`.
    ///
    /// # Errors
    /// [`JwkError`] when there are too many.
    pub fn access_keys(&self) -> Result<JwkSet, JwkError> {
        let keys = self.bundle.jwt_keys().keys().iter();
        JwkSet::new(keys.map(|it| it.used_for(KeyUse::Signature)).collect())
    }

    /// Signs the gateway's X509-SVID with the active key.
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
        self.active
            .pair
            .authority
            .gateway_svid(key, now, expires_at, chance)
    }

    /// Returns the bundle: the roots and JWT keys of prepared, active and retired keys.
    pub const fn bundle(&self) -> &Arc<TrustBundle> {
        &self.bundle
    }

    /// Returns the bundle's keys for JWT-SVIDs, parsed once.
    pub const fn jwt_svid_keys(&self) -> &JwtSvidKeys {
        &self.jwt_svid_keys
    }

    /// Returns the trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        self.active.pair.authority.trust_domain()
    }

    /// Returns the digest over the certificate of the keys that sign: names them in the log.
    pub fn active_certificate(&self) -> Digest {
        Digest::of(&self.active.pair.authority.certificate)
    }

    /// Returns the first instant at which the active key may no longer sign.
    pub fn expires_at(&self) -> Timestamp {
        self.active.pair.authority.expires_at()
    }

    /// Returns every key, the next one first.
    pub fn report(&self) -> Vec<KeyReport> {
        let live = |state, it: &Standing| KeyReport {
            state,
            certificate: Digest::of(&it.pair.authority.certificate),
            kid: it.pair.jwt.public().key_id().unwrap_or_default().to_owned(),
            since: it.since,
            until: it.pair.authority.expires_at(),
        };
        let prepared = self.prepared.iter().map(|it| live(KeyState::Prepared, it));
        let active = live(KeyState::Active, &self.active);
        let retired = self.retired.iter().rev().map(|it| KeyReport {
            state: KeyState::Retired,
            certificate: Digest::of(&it.certificate),
            kid: it.jwt.key_id().unwrap_or_default().to_owned(),
            since: it.since,
            until: it.until,
        });
        prepared.chain([active]).chain(retired).collect()
    }

    pub(super) const fn parts(&self) -> (&Standing, Option<&Standing>, &Vec<Retired>) {
        (&self.active, self.prepared.as_ref(), &self.retired)
    }

    /// Joins the parts; the bundle is made of all of them.
    pub(super) fn assemble(
        active: Standing,
        prepared: Option<Standing>,
        retired: Vec<Retired>,
        sequence: u64,
    ) -> Result<Self, AuthorityError> {
        let trust_domain = active.pair.authority.trust_domain().clone();
        let live = || prepared.iter().chain([&active]);
        let roots = live().map(|it| it.pair.authority.certificate.clone());
        let roots = roots.chain(retired.iter().map(|it| it.certificate.clone()));
        let jwt = live().map(|it| it.pair.jwt.public().clone());
        let jwt = jwt.chain(retired.iter().map(|it| it.jwt.clone()));
        let bundle = TrustBundle::new(trust_domain.clone(), roots.collect(), sequence)?
            .with_jwt_keys(jwt.collect(), Some(REFRESH_HINT))?;
        let jwt_svid_keys = JwtSvidKeys::new(trust_domain, bundle.jwt_keys())?;
        Ok(Self {
            active,
            prepared,
            retired,
            bundle: Arc::new(bundle),
            jwt_svid_keys,
        })
    }

    fn with(
        &self,
        active: Standing,
        prepared: Option<Standing>,
        retired: Vec<Retired>,
    ) -> Result<Self, RotationError> {
        let sequence = self.bundle.sequence().saturating_add(1);
        Ok(Self::assemble(active, prepared, retired, sequence)?)
    }
}

impl Standing {
    /// Chance is spent: nobody makes a second pair of it.
    fn create(
        trust_domain: TrustDomain,
        PairChance { x509, jwt }: PairChance,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let pair = Pair {
            authority: Authority::create(trust_domain, x509, now)?,
            jwt: JwtAuthority::new(SvidKey::generate(jwt)?)?,
        };
        Ok(Self {
            pair: Arc::new(pair),
            since: now,
        })
    }
}

impl KeyState {
    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl std::fmt::Debug for PairChance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairChance(..)")
    }
}

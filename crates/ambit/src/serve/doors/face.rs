//! What the gateway shows in handshakes: its SVID, and to those who know hosts a certificate for its name. Made anew in
//! time, and when the keys or the foreign trust domains change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use ambit_control::{api::KeysInForce, federation::FederatedInForce};
use ambit_core::{Millis, Timestamp, limits::SVID_TTL_MAX};
use ambit_gateway::Face;
use ambit_identity::{
    Clients, FederatedBundles, IssuingKeys, Svid, SvidKey, TlsClock, Trusted, WebIdentity,
    WebIssuance, tls::gateway_config,
};

use super::super::{
    public::{FILES_READ_EVERY, read_identity},
    server::ServeError,
};
use crate::{
    clock::{Clock, chance},
    config::{DoorsConfig, PublicUrl},
};

/// What gives the face of now; none when there is nothing to show.
pub(crate) type Faces = Arc<dyn Fn() -> Option<Face> + Send + Sync>;

/// What a gateway shows besides its SVID, and to whom it shows it.
pub(super) struct Shown {
    /// The foreign trust domains whose workloads it takes.
    pub(super) federated: FederatedInForce,
    /// What it shows to those who know hosts.
    pub(super) web: Web,
}

/// What a gateway shows to those who know hosts and no SPIFFE IDs.
#[derive(Clone, Debug)]
pub(super) enum Web {
    /// Nothing: none are taken.
    Nothing,
    /// A certificate by the trust domain's authority.
    Own { host: String },
    /// A certificate that somebody else made, with its key (PEM).
    Files { certificate: PathBuf, key: PathBuf },
}

impl Web {
    /// Returns what is shown at the gateway that is named `url`, when it has a name.
    pub(super) fn of(url: Option<&PublicUrl>, doors: &DoorsConfig) -> Self {
        match (url, &doors.gateway_certificate, &doors.gateway_key) {
            (None, ..) => Self::Nothing,
            (Some(_), Some(certificate), Some(key)) => Self::Files {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            (Some(url), ..) => Self::Own {
                host: url.host().to_owned(),
            },
        }
    }

    fn identity(
        &self,
        keys: &IssuingKeys,
        clock: &Clock,
    ) -> Result<Option<WebIdentity>, ServeError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Own { host } => web_identity(keys, host, clock).map(Some),
            Self::Files { certificate, key } => {
                let read = read_identity(certificate, key, clock.now());
                read.map(Some).map_err(ServeError::GatewayFace)
            }
        }
    }
}

/// The gateway's face, and when another one is made.
struct Current {
    face: Face,
    renew_at: Timestamp,
    /// Of the issuing keys under which it was made.
    sequence: u64,
    /// The foreign trust domains whose workloads it takes.
    federated: Arc<FederatedBundles>,
}

/// Returns what gives the gateway's face: made now, and again when half its life is over.
pub(super) fn face(keys: &KeysInForce, shown: Shown, clock: &Clock) -> Result<Faces, ServeError> {
    let (keys, clock) = (Arc::clone(keys), clock.clone());
    let Shown { federated, web } = shown;
    let trusted = federated.borrow().clone();
    let current = Mutex::new(make_face(&keys.borrow().clone(), trusted, &web, &clock)?);
    Ok(Arc::new(move || {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.borrow().clone();
        let sequence = keys.bundle().sequence();
        let trusted = federated.borrow().clone();
        if clock.now() >= current.renew_at
            || current.sequence != sequence
            || !Arc::ptr_eq(&current.federated, &trusted)
        {
            match make_face(&keys, trusted, &web, &clock) {
                Ok(fresh) => *current = fresh,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "what the gateway shows could not be renewed");
                    // The old one goes on until clients refuse it; another try follows.
                    current.renew_at = clock.now().plus(FILES_READ_EVERY);
                }
            }
        }
        Some(current.face.clone())
    }))
}

fn make_face(
    keys: &IssuingKeys,
    federated: Arc<FederatedBundles>,
    web: &Web,
    clock: &Clock,
) -> Result<Current, ServeError> {
    let (key, svid) = gateway_svid(keys, clock)?;
    let identity = web.identity(keys, clock)?;
    let clients = match &identity {
        Some(web) => Clients::AlsoWithout { web },
        None => Clients::WithSvid,
    };
    let trusted = Trusted {
        bundle: Arc::clone(keys.bundle()),
        federated: Arc::clone(&federated),
    };
    let tls = gateway_config((&svid, &key), trusted, clients, tls_clock(clock))
        .map_err(|error| ServeError::Svid(error.into()))?;
    let now = clock.now();
    let half = now.plus(Millis::new(svid.expires_at().since(now).as_millis() / 2));
    let renew_at = match web {
        Web::Files { .. } => half.min(now.plus(FILES_READ_EVERY)),
        Web::Nothing | Web::Own { .. } => half,
    };
    let face = Face { tls: Arc::new(tls) };
    Ok(Current {
        face,
        renew_at,
        sequence: keys.bundle().sequence(),
        federated,
    })
}

pub(super) fn tls_clock(clock: &Clock) -> TlsClock {
    let (clock, others) = (clock.clone(), clock.clone());
    TlsClock::new(move || clock.now()).with_wall(move || others.both().1)
}

/// Returns the certificate by which clients with access tokens know the gateway. It lives as long as its SVID.
fn web_identity(keys: &IssuingKeys, host: &str, clock: &Clock) -> Result<WebIdentity, ServeError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| ServeError::Svid(error);
    let now = clock.now();
    let ask = WebIssuance {
        key: &draw_key().map_err(failed)?,
        host,
        now,
        expires_at: keys.expires_at().min(now.plus(SVID_TTL_MAX)),
        chance: chance().map_err(|error| failed(error.into()))?,
    };
    keys.web_identity(&ask)
        .map_err(|error| failed(error.into()))
}

fn gateway_svid(keys: &IssuingKeys, clock: &Clock) -> Result<(SvidKey, Svid), ServeError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| ServeError::Svid(error);
    let key = draw_key().map_err(failed)?;
    let serial = chance().map_err(|error| failed(error.into()))?;
    let now = clock.now();
    let until = keys.expires_at().min(now.plus(SVID_TTL_MAX));
    let svid = keys.gateway_svid(&key, now, until, serial);
    Ok((key, svid.map_err(|error| failed(error.into()))?))
}

/// Draws a key. One draw in 2^32 is none, so a second one is enough.
pub(crate) fn draw_key() -> Result<SvidKey, Box<dyn std::error::Error + Send + Sync>> {
    match SvidKey::generate(chance()?) {
        Ok(key) => Ok(key),
        Err(_) => Ok(SvidKey::generate(chance()?)?),
    }
}

#[cfg(test)]
mod tests {
    use ambit_identity::authority::AUTHORITY_TTL;

    use super::*;
    use crate::serve::public::issuing_keys;

    /// What the gateway shows is another face once half of its life is over, and not before; and with other keys at once.
    #[test]
    fn the_face_is_another_one_once_half_its_life_is_over() {
        for web in [
            Web::Nothing,
            Web::Own {
                host: "agents.example.org".to_owned(),
            },
        ] {
            let clock = Clock::new();
            let begun = clock.now();
            let keys = issuing_keys(begun);
            let shown = Shown {
                federated: FederatedInForce::default(),
                web,
            };
            let faces = face(&keys, shown, &clock).unwrap();
            let now = || faces().unwrap().tls;
            let first = now();
            let half = Millis::new(SVID_TTL_MAX.as_millis() / 2);
            let minute = Millis::from_seconds(60);
            clock.not_before(Timestamp::from_millis(
                begun.plus(half).as_millis() - minute.as_millis(),
            ));
            assert!(Arc::ptr_eq(&now(), &first));
            clock.not_before(begun.plus(half).plus(minute));
            let second = now();
            assert!(!Arc::ptr_eq(&second, &first));
            assert!(Arc::ptr_eq(&now(), &second));
            let others = issuing_keys(clock.now()).borrow().replace(
                ambit_identity::PairChance {
                    x509: [9; 32],
                    jwt: [10; 32],
                },
                clock.now(),
            );
            keys.send_replace(Arc::new(others.unwrap()));
            assert!(!Arc::ptr_eq(&now(), &second));
        }
    }

    /// When no other one can be signed the old one goes on.
    #[test]
    fn a_face_that_cannot_be_renewed_stays() {
        let clock = Clock::new();
        let keys = issuing_keys(clock.now());
        let shown = Shown {
            federated: FederatedInForce::default(),
            web: Web::Nothing,
        };
        let faces = face(&keys, shown, &clock).unwrap();
        let first = faces().unwrap().tls;
        // The issuing keys are over.
        clock.not_before(clock.now().plus(AUTHORITY_TTL));
        assert!(Arc::ptr_eq(&faces().unwrap().tls, &first));
        let others = issuing_keys(clock.now()).borrow().clone();
        keys.send_replace(others);
        clock.not_before(clock.now().plus(FILES_READ_EVERY));
        assert!(
            !Arc::ptr_eq(&faces().unwrap().tls, &first),
            "it is tried again"
        );
    }
}

//! What the public port shows in TLS handshakes: a certificate of ours, renewed in time, or one from files, read again
//! when somebody may have renewed it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ambit_control::api::KeysInForce;
use ambit_core::{Millis, Timestamp, limits::SVID_TTL_MAX};
use ambit_identity::{
    AuthorityError, IssuingKeys, TlsClock, TlsError, WebIdentity, WebIssuance,
    authority::PEM_BYTES_MAX, tls::bundle_server_config,
};
use rustls::ServerConfig;

use super::super::{doors::draw_key, engine::Running};
use crate::{
    clock::{Clock, NoChance, chance},
    config::{PublicConfig, PublicUrl, Scheme},
};

/// How often files are read again, and an SVID is made anew.
pub(crate) const FILES_READ_EVERY: Millis = Millis::from_seconds(60);

/// Why the public port has no face.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaceError {
    /// A file can't be read.
    #[error("could not read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate can't be signed, or what was read is none.
    #[error(transparent)]
    Certificate(#[from] AuthorityError),
    /// The certificate and its key can't serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate is over.
    #[error("the certificate ended at {at}; renew it")]
    Over {
        /// When it ended.
        at: Timestamp,
    },
    /// No key could be drawn.
    #[error("no key could be made for the public port")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No random bytes.
    #[error(transparent)]
    Chance(#[from] NoChance),
}

/// The face of now, and where the next one comes from.
pub(crate) struct Faces {
    source: Source,
    clock: Clock,
    current: Mutex<Current>,
}

enum Source {
    Own { keys: KeysInForce, host: String },
    Files { certificate: PathBuf, key: PathBuf },
    SpiffeId { keys: KeysInForce },
}

struct Current {
    tls: Arc<ServerConfig>,
    renew_at: Timestamp,
}

impl Faces {
    /// Makes the first face; none where the port speaks no TLS.
    pub(super) fn new(
        config: &PublicConfig,
        url: &PublicUrl,
        running: &Running,
        clock: &Clock,
    ) -> Result<Option<Self>, FaceError> {
        let source = match (url.scheme(), &config.certificate, &config.key) {
            (Scheme::Http, ..) => return Ok(None),
            (Scheme::Https, Some(certificate), Some(key)) => Source::Files {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            (Scheme::Https, ..) => Source::Own {
                keys: Arc::clone(&running.keys),
                host: url.host().to_owned(),
            },
        };
        let current = Mutex::new(source.make(clock)?);
        Ok(Some(Self {
            source,
            clock: clock.clone(),
            current,
        }))
    }

    /// Makes the first face of a port that is known by the server's SPIFFE ID.
    pub(super) fn by_spiffe_id(running: &Running, clock: &Clock) -> Result<Self, FaceError> {
        let keys = Arc::clone(&running.keys);
        let source = Source::SpiffeId { keys };
        let current = Mutex::new(source.make(clock)?);
        Ok(Self {
            source,
            clock: clock.clone(),
            current,
        })
    }

    /// Returns the face of now.
    pub(super) fn now(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now >= current.renew_at {
            match self.source.make(&self.clock) {
                Ok(fresh) => *current = fresh,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the public port's certificate could not be renewed");
                    // The old one goes on until clients refuse it; another try follows.
                    current.renew_at = now.plus(FILES_READ_EVERY);
                }
            }
        }
        Arc::clone(&current.tls)
    }
}

impl Source {
    fn make(&self, clock: &Clock) -> Result<Current, FaceError> {
        let now = clock.now();
        let time = clock.clone();
        let time = TlsClock::new(move || time.now());
        let (identity, renew_at) = match self {
            Self::SpiffeId { keys } => return svid(&keys.borrow().clone(), now, time),
            Self::Own { keys, host } => own(&keys.borrow().clone(), host, now)?,
            Self::Files { certificate, key } => {
                let identity = read_identity(certificate, key, now)?;
                (identity, now.plus(FILES_READ_EVERY))
            }
        };
        let tls = Arc::new(identity.config(time)?);
        Ok(Current { tls, renew_at })
    }
}

/// Reads a certificate that somebody else made, with its key.
pub(crate) fn read_identity(
    certificate: &Path,
    key: &Path,
    now: Timestamp,
) -> Result<WebIdentity, FaceError> {
    let identity = WebIdentity::from_pem(&text(certificate)?, &text(key)?)?;
    let at = identity.expires_at();
    if at <= now {
        return Err(FaceError::Over { at });
    }
    Ok(identity)
}

/// Has the trust domain's authority sign; half of the certificate's life later it is time for another.
fn own(
    keys: &IssuingKeys,
    host: &str,
    now: Timestamp,
) -> Result<(WebIdentity, Timestamp), FaceError> {
    let expires_at = keys.expires_at().min(now.plus(SVID_TTL_MAX));
    let identity = keys.web_identity(&WebIssuance {
        key: &draw_key().map_err(FaceError::Key)?,
        host,
        now,
        expires_at,
        chance: chance()?,
    })?;
    let half = Millis::new(expires_at.since(now).as_millis() / 2);
    Ok((identity, now.plus(half)))
}

/// Has the trust domain's authority certify the server by its SPIFFE ID. Another key may sign by the next look.
fn svid(keys: &IssuingKeys, now: Timestamp, time: TlsClock) -> Result<Current, FaceError> {
    let key = draw_key().map_err(FaceError::Key)?;
    let expires_at = keys.expires_at().min(now.plus(SVID_TTL_MAX));
    let svid = keys.gateway_svid(&key, now, expires_at, chance()?)?;
    let tls = Arc::new(bundle_server_config((&svid, &key), time)?);
    let renew_at = now.plus(FILES_READ_EVERY);
    Ok(Current { tls, renew_at })
}

fn text(path: &Path) -> Result<String, FaceError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        // One more than is believed, so that a longer file is refused.
        file.take(PEM_BYTES_MAX as u64 + 1)
            .read_to_string(&mut text)
    });
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(FaceError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

impl std::fmt::Debug for Faces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faces")
    }
}

/// Returns issuing keys that were made at `now`.
#[cfg(test)]
pub(crate) fn issuing_keys(now: Timestamp) -> KeysInForce {
    let chance = ambit_identity::PairChance {
        x509: [7; 32],
        jwt: [8; 32],
    };
    let keys = IssuingKeys::create("example.org".parse().unwrap(), chance, now);
    Arc::new(tokio::sync::watch::Sender::new(Arc::new(keys.unwrap())))
}

#[cfg(test)]
mod tests {
    use ambit_identity::authority::AUTHORITY_TTL;

    use super::*;

    impl Faces {
        /// Returns what shows a certificate for a host, by these keys.
        fn own(keys: &KeysInForce, clock: &Clock) -> Self {
            let source = Source::Own {
                keys: Arc::clone(keys),
                host: "ambit.example.org".to_owned(),
            };
            let current = Mutex::new(source.make(clock).unwrap());
            Self {
                source,
                clock: clock.clone(),
                current,
            }
        }
    }

    /// The public port's certificate is another one once half of its life is over, and not before.
    #[test]
    fn the_certificate_is_another_one_once_half_its_life_is_over() {
        let clock = Clock::new();
        let begun = clock.now();
        let faces = Faces::own(&issuing_keys(begun), &clock);
        let first = faces.now();
        let half = begun.plus(Millis::new(SVID_TTL_MAX.as_millis() / 2));
        let minute = Millis::from_seconds(60);
        clock.not_before(Timestamp::from_millis(
            half.as_millis() - minute.as_millis(),
        ));
        assert!(Arc::ptr_eq(&faces.now(), &first));
        clock.not_before(half.plus(minute));
        let second = faces.now();
        assert!(!Arc::ptr_eq(&second, &first));
        assert!(Arc::ptr_eq(&faces.now(), &second));
    }

    /// When no other one can be signed the old one goes on, and another try follows.
    #[test]
    fn a_certificate_that_cannot_be_renewed_stays() {
        let clock = Clock::new();
        let keys = issuing_keys(clock.now());
        let faces = Faces::own(&keys, &clock);
        let first = faces.now();
        clock.not_before(clock.now().plus(AUTHORITY_TTL));
        assert!(Arc::ptr_eq(&faces.now(), &first));
        let others = issuing_keys(clock.now()).borrow().clone();
        keys.send_replace(others);
        assert!(
            Arc::ptr_eq(&faces.now(), &first),
            "it is not tried in a loop"
        );
        clock.not_before(clock.now().plus(FILES_READ_EVERY));
        assert!(!Arc::ptr_eq(&faces.now(), &first));
    }
}

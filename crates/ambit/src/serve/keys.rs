//! A server's keys: made together at the first start, never again.

use std::{fs, path::Path};

use ambit_audit::{LogKey, VerifierKey};
use ambit_broker::{FileCustody, KeyFileError, keyfiles};
use ambit_core::{Timestamp, TrustDomain};
use ambit_identity::{Authority, AuthorityError};

use crate::{
    clock::{NoChance, chance},
    config::StateDirectory,
};

const LOG_KEY: &str = "log";
const SEALING_KEY: &str = "sealing";
const AUTHORITY: &str = "authority.pem";
const DOMAIN: &str = "trust-domain";

/// All keys of one server.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Signs checkpoints.
    pub(crate) log: LogKey,
    /// Seals arguments, results and credentials.
    pub(crate) custody: FileCustody,
    /// Signs SVIDs.
    pub(crate) authority: Authority,
    /// The log's name in its checkpoints.
    pub(crate) origin: String,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// A key file can't be read or made.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The log's key is refused.
    #[error("the key of the log is refused; restore it from a backup")]
    Log(#[from] ambit_audit::KeyError),
    /// The authority is refused.
    #[error("the key of the trust domain is refused; restore it from a backup")]
    Authority(#[from] AuthorityError),
    /// No random bytes.
    #[error(transparent)]
    Chance(#[from] NoChance),
    /// The domain's name is no name.
    #[error("the trust domain `{name}` is no name of one")]
    Domain {
        /// As it was given.
        name: String,
        /// Why not.
        #[source]
        source: ambit_core::spiffe::InvalidSpiffeId,
    },
    /// The state is of another trust domain.
    #[error(
        "the state is of the trust domain `{found}`, not `{wanted}`; write `trust_domain = \"{found}\"` \
         or give another state directory"
    )]
    OtherDomain {
        /// What the state has.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
}

/// Opens the keys in `state`; makes them when there is no database yet. A database whose keys are gone is
/// refused: new keys could not read it.
pub(crate) fn open(
    state: &StateDirectory,
    wanted: Option<&str>,
    now: Timestamp,
) -> Result<Keys, KeysError> {
    let directory = state.keys();
    let is_new = !state.database().exists() && !directory.join(DOMAIN).exists();
    if is_new {
        create(&directory, wanted.unwrap_or(EMBEDDED_DOMAIN), now)?;
    }
    let found = read_domain(&directory)?;
    match wanted {
        Some(wanted) if wanted != found => {
            return Err(KeysError::OtherDomain {
                found,
                wanted: wanted.to_owned(),
            });
        }
        _ => (),
    }
    let domain = domain(&found)?;
    let seed = keyfiles::read_key(&directory.join(LOG_KEY))?;
    let text = keyfiles::read_text(&directory.join(AUTHORITY))?;
    Ok(Keys {
        log: LogKey::from_seed(seed.expose())?,
        custody: FileCustody::open_file(&directory.join(SEALING_KEY))?,
        authority: Authority::from_pem(domain, &text)?,
        origin: origin_of(&found),
    })
}

/// Opens the verifier key of the log in `state`, for reading it beside a running server.
pub(crate) fn verifier(state: &StateDirectory) -> Result<VerifierKey, KeysError> {
    let directory = state.keys();
    let origin = origin_of(&read_domain(&directory)?);
    let seed = keyfiles::read_key(&directory.join(LOG_KEY))?;
    Ok(LogKey::from_seed(seed.expose())?.verifier(&origin)?)
}

/// The trust domain of embedded servers.
const EMBEDDED_DOMAIN: &str = "ambit.internal";

fn origin_of(domain: &str) -> String {
    format!("{domain}/log")
}

fn domain(name: &str) -> Result<TrustDomain, KeysError> {
    name.parse().map_err(|source| KeysError::Domain {
        name: name.to_owned(),
        source,
    })
}

fn read_domain(directory: &Path) -> Result<String, KeysError> {
    Ok(keyfiles::read_text(&directory.join(DOMAIN))?
        .trim_end()
        .to_owned())
}

fn create(directory: &Path, name: &str, now: Timestamp) -> Result<(), KeysError> {
    let domain = domain(name)?;
    // The domain is written last: until then nothing of the keys counts, and a start that was
    // interrupted begins anew.
    for half_made in [LOG_KEY, SEALING_KEY, AUTHORITY] {
        // What is not there need not be removed.
        let _ = fs::remove_file(directory.join(half_made));
    }
    keyfiles::create_key(&directory.join(LOG_KEY), chance()?)?;
    FileCustody::create_file(&directory.join(SEALING_KEY), chance()?)?;
    let authority = match Authority::create(domain.clone(), chance()?, now) {
        Ok(authority) => authority,
        // One draw in 2^32 is no key; a second one is enough.
        Err(_) => Authority::create(domain, chance()?, now)?,
    };
    keyfiles::create_text(&directory.join(AUTHORITY), &authority.to_pem())?;
    Ok(keyfiles::create_text(
        &directory.join(DOMAIN),
        &format!("{name}\n"),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_stay() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(parent.path().join("state"));
        state.prepare().unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let first = open(&state, None, now).unwrap();
        let again = open(&state, Some(EMBEDDED_DOMAIN), now).unwrap();
        assert_eq!(
            first.authority.bundle().to_pem(),
            again.authority.bundle().to_pem()
        );
        let error = open(&state, Some("example.org"), now)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ambit.internal") && error.contains("example.org"),
            "{error}"
        );
        fs::write(state.database(), "").unwrap();
        fs::remove_file(state.keys().join(SEALING_KEY)).unwrap();
        let error = open(&state, None, now).unwrap_err().to_string();
        assert!(error.contains("no key file"), "{error}");
        fs::remove_dir_all(state.keys()).unwrap();
        state.prepare().unwrap();
        assert!(open(&state, None, now).is_err(), "a database without keys");
    }
}

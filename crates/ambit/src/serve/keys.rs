//! A server's keys: made together at the first start, never again.

use std::{fs, path::Path};

use ambit_audit::{LogKey, VerifierKey};
use ambit_broker::{FileCustody, KeyFileError, keyfiles};
use ambit_core::{Timestamp, TrustDomain};
use ambit_identity::{
    Authority, AuthorityError, IssuingKeys, PairChance, authority::is_issuing_keys,
};

use crate::{
    clock::{NoChance, chance},
    config::StateDirectory,
};

const LOG_KEY: &str = "log";
const SEALING_KEY: &str = "sealing";
const AUTHORITY: &str = "authority.pem";
const DOMAIN: &str = "trust-domain";
/// Only there once a log was replaced by another.
const ORIGIN: &str = "origin";

/// All keys of one server.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Signs checkpoints.
    pub(crate) log: LogKey,
    /// Seals arguments, results and credentials.
    pub(crate) custody: FileCustody,
    /// Sign SVIDs.
    pub(crate) issuing: IssuingKeys,
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
    Ok(Keys {
        log: LogKey::from_seed(seed.expose())?,
        custody: FileCustody::open_file(&directory.join(SEALING_KEY))?,
        issuing: read_issuing(&directory.join(AUTHORITY), domain, now)?,
        origin: read_origin(&directory, &found)?,
    })
}

/// Opens the verifier key of the log in `state`, for reading it beside a running server.
pub(crate) fn verifier(state: &StateDirectory) -> Result<VerifierKey, KeysError> {
    let directory = state.keys();
    let origin = read_origin(&directory, &read_domain(&directory)?)?;
    let seed = keyfiles::read_key(&directory.join(LOG_KEY))?;
    Ok(LogKey::from_seed(seed.expose())?.verifier(&origin)?)
}

/// The trust domain of embedded servers.
const EMBEDDED_DOMAIN: &str = "ambit.internal";

/// What a recovery takes away, so that nothing signed or certified before it counts afterwards.
pub(crate) const ROTATED: [&str; 3] = [LOG_KEY, AUTHORITY, ORIGIN];

/// Makes another log key, authority and origin, after the old ones were taken away. What is sealed stays readable.
pub(crate) fn rotate(
    state: &StateDirectory,
    old_origin: &str,
    now: Timestamp,
) -> Result<(), KeysError> {
    let directory = state.keys();
    let domain = domain(&read_domain(&directory)?)?;
    keyfiles::create_key(&directory.join(LOG_KEY), chance()?)?;
    keyfiles::create_text(
        &directory.join(AUTHORITY),
        &new_issuing(domain, now)?.to_text(),
    )?;
    Ok(keyfiles::create_text(
        &directory.join(ORIGIN),
        &format!("{}\n", next_origin(old_origin)),
    )?)
}

/// Returns the name of the log in `state`.
pub(crate) fn origin(state: &StateDirectory) -> Result<String, KeysError> {
    let directory = state.keys();
    read_origin(&directory, &read_domain(&directory)?)
}

fn read_origin(directory: &Path, domain: &str) -> Result<String, KeysError> {
    let path = directory.join(ORIGIN);
    if path.exists() {
        return Ok(keyfiles::read_text(&path)?.trim_end().to_owned());
    }
    Ok(format!("{domain}/log"))
}

/// `example.org/log` is followed by `example.org/log/2`, and so on.
fn next_origin(old: &str) -> String {
    let numbered = old
        .rsplit_once("/log/")
        .and_then(|(domain, number)| Some((domain, number.parse::<u64>().ok()?)));
    match numbered {
        Some((domain, number)) => format!("{domain}/log/{}", number.saturating_add(1)),
        None => format!("{old}/2"),
    }
}

/// Keeps other issuing keys than before.
pub(crate) fn keep(state: &StateDirectory, issuing: &IssuingKeys) -> Result<(), KeyFileError> {
    keyfiles::replace_text(&state.keys().join(AUTHORITY), &issuing.to_text())
}

/// Draws a pair of issuing keys.
fn pair() -> Result<PairChance, NoChance> {
    Ok(PairChance {
        x509: chance()?,
        jwt: chance()?,
    })
}

fn read_issuing(
    path: &Path,
    domain: TrustDomain,
    now: Timestamp,
) -> Result<IssuingKeys, KeysError> {
    let text = keyfiles::read_text(path)?;
    if is_issuing_keys(&text) {
        return Ok(IssuingKeys::from_text(&domain, &text)?);
    }
    // An authority from before there were keys for JWT-SVIDs.
    let authority = Authority::from_pem(domain, &text)?;
    let issuing = IssuingKeys::adopt(authority, chance()?, now)?;
    keyfiles::replace_text(path, &issuing.to_text())?;
    Ok(issuing)
}

fn new_issuing(domain: TrustDomain, now: Timestamp) -> Result<IssuingKeys, KeysError> {
    // One draw in 2^32 is no key; a second one is enough.
    if let Ok(issuing) = IssuingKeys::create(domain.clone(), pair()?, now) {
        return Ok(issuing);
    }
    Ok(IssuingKeys::create(domain, pair()?, now)?)
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
    let issuing = new_issuing(domain, now)?;
    keyfiles::create_text(&directory.join(AUTHORITY), &issuing.to_text())?;
    Ok(keyfiles::create_text(
        &directory.join(DOMAIN),
        &format!("{name}\n"),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_numbered() {
        let check = |old, new: &str| assert_eq!(next_origin(old), new);
        check("a/log", "a/log/2");
        check("a/log/2", "a/log/3");
        check("a.log/log", "a.log/log/2");
    }

    #[test]
    fn keys_are_made_once_and_stay() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(parent.path().join("state"));
        state.prepare().unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let first = open(&state, None, now).unwrap();
        let again = open(&state, Some(EMBEDDED_DOMAIN), now).unwrap();
        assert_eq!(
            first.issuing.bundle().to_document(),
            again.issuing.bundle().to_document()
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

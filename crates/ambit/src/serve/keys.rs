//! A server's keys: made together at the first start, never again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ambit_audit::{LogKey, VerifierKey};
use ambit_broker::{FileCustody, KeyFileError, keyfiles};
use ambit_control::api::Keep;
use ambit_core::{Timestamp, TrustDomain};
use ambit_engine::{RecordedKeys, RowError};
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
/// The keys of a step of the rotation, from before it is written until they are in `authority.pem`.
const AUTHORITY_BESIDE: &str = "authority.beside.pem";
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
    /// Sign SVIDs, when the log knows them.
    pub(crate) issuing: KeptKeys,
    /// The log's name in its checkpoints.
    pub(crate) origin: String,
}

/// The issuing keys as the files have them. Which of them count, the log says.
#[derive(Debug)]
pub(crate) struct KeptKeys {
    directory: PathBuf,
    kept: IssuingKeys,
    form: Form,
    beside: Option<IssuingKeys>,
}

/// In which form the issuing keys were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// As they are written.
    Usual,
    /// As an authority from before there were keys for JWT-SVIDs.
    AuthorityAlone,
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
    #[error(
        "the keys of the trust domain are refused; restore the newest `{AUTHORITY}`, made after the last rotation, or \
         make new keys and a new log by `ambit recover --replace-healthy-log`"
    )]
    Authority(#[from] AuthorityError),
    /// The keys are from before the last rotation that the log knows.
    #[error(
        "the issuing keys in `{AUTHORITY}` (bundle {found}) are older than the log says (bundle {recorded}), and could \
         bring back keys that were replaced; restore the file as it was after the last rotation, or make new keys and a \
         new log by `ambit recover --replace-healthy-log`"
    )]
    Older {
        /// The sequence of the file.
        found: u64,
        /// The sequence that the log knows.
        recorded: u64,
    },
    /// The keys are other ones than the log knows.
    #[error(
        "the issuing keys in `{AUTHORITY}` (bundle {found}) are not those of the log (bundle {recorded}); restore the \
         file that belongs to this log, or make new keys and a new log by `ambit recover --replace-healthy-log`"
    )]
    Other {
        /// The sequence of the file.
        found: u64,
        /// The sequence that the log knows.
        recorded: u64,
    },
    /// What the log knows of the keys can't be read.
    #[error(transparent)]
    Row(#[from] RowError),
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
        issuing: KeptKeys::read(&directory, domain, now)?,
        origin: read_origin(&directory, &found)?,
    })
}

impl KeptKeys {
    fn read(directory: &Path, domain: TrustDomain, now: Timestamp) -> Result<Self, KeysError> {
        // Whoever keeps keys replaces this file as a whole; one that can't be read was never the one that counts.
        let beside = keyfiles::read_text(&directory.join(AUTHORITY_BESIDE)).ok();
        let beside = beside.and_then(|it| IssuingKeys::from_text(&domain, &it).ok());
        let text = keyfiles::read_text(&directory.join(AUTHORITY))?;
        let (kept, form) = if is_issuing_keys(&text) {
            (IssuingKeys::from_text(&domain, &text)?, Form::Usual)
        } else {
            let authority = Authority::from_pem(domain, &text)?;
            let adopted = IssuingKeys::adopt(authority, chance()?, now)?;
            (adopted, Form::AuthorityAlone)
        };
        Ok(Self {
            directory: directory.to_owned(),
            kept,
            form,
            beside,
        })
    }

    /// Returns the keys that count, by what the log knows of them. A step that was written and not taken to its end by a
    /// crash is taken now; one that was never written is forgotten.
    ///
    /// # Errors
    /// [`KeysError::Older`] and [`KeysError::Other`] when the log knows neither those that are kept nor those beside them.
    pub(crate) fn in_force(self, recorded: Option<RecordedKeys>) -> Result<IssuingKeys, KeysError> {
        let path = self.directory.join(AUTHORITY);
        let keys = match (recorded, self.beside) {
            (None, _) => self.kept,
            (Some(recorded), _) if standing(&self.kept) == recorded => self.kept,
            (Some(recorded), Some(beside)) if standing(&beside) == recorded => {
                keyfiles::replace_text(&path, &beside.to_text())?;
                beside
            }
            (Some(recorded), _) => {
                let (found, recorded) = (self.kept.bundle().sequence(), recorded.sequence);
                return Err(if found < recorded {
                    KeysError::Older { found, recorded }
                } else {
                    KeysError::Other { found, recorded }
                });
            }
        };
        if self.form == Form::AuthorityAlone {
            keyfiles::replace_text(&path, &keys.to_text())?;
        }
        forget_beside(&self.directory);
        Ok(keys)
    }
}

/// Returns what the log knows of keys that count.
pub(crate) fn standing(keys: &IssuingKeys) -> RecordedKeys {
    RecordedKeys {
        certificate: keys.active_certificate(),
        sequence: keys.bundle().sequence(),
    }
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
pub(crate) const ROTATED: [&str; 4] = [LOG_KEY, AUTHORITY, AUTHORITY_BESIDE, ORIGIN];

/// Makes another log key, authority and origin, after the old ones were moved to `lost`. What is sealed stays readable.
///
/// The bundle's sequence goes on after the old keys' and after `recorded`, which the old log knew. It goes on after the
/// seconds since 1970 as well: what can be read of a state that is recovered may be older than what partners have seen.
pub(crate) fn rotate(
    state: &StateDirectory,
    lost: &StateDirectory,
    (old_origin, recorded): (&str, Option<u64>),
    now: Timestamp,
) -> Result<(), KeysError> {
    let directory = state.keys();
    let domain = domain(&read_domain(&directory)?)?;
    keyfiles::create_key(&directory.join(LOG_KEY), chance()?)?;
    let kept = KeptKeys::read(&lost.keys(), domain.clone(), now).ok();
    let kept = kept.map(|it| {
        let beside = it.beside.map_or(0, |it| it.bundle().sequence());
        it.kept.bundle().sequence().max(beside)
    });
    let after = kept.max(recorded).unwrap_or(0).max(now.as_millis() / 1000);
    keyfiles::create_text(
        &directory.join(AUTHORITY),
        &new_issuing(after, domain, now)?.to_text(),
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

/// Keeps issuing keys: beside those in force, until their step is written, then in their place.
pub(crate) fn keep(state: &StateDirectory, keep: Keep<'_>) -> Result<(), KeyFileError> {
    let directory = state.keys();
    let path = directory.join(AUTHORITY);
    match keep {
        Keep::Beside { in_force, next } => {
            // After a step that was written and could not be kept here, those in force are beside alone.
            let text = in_force.to_text();
            if *keyfiles::read_text(&path)? != *text {
                keyfiles::replace_text(&path, &text)?;
            }
            let beside = directory.join(AUTHORITY_BESIDE);
            remove(&beside)?;
            keyfiles::create_text(&beside, &next.to_text())
        }
        Keep::InForce(issuing) => {
            keyfiles::replace_text(&path, &issuing.to_text())?;
            forget_beside(&directory);
            Ok(())
        }
        Keep::NotTaken => remove(&directory.join(AUTHORITY_BESIDE)),
    }
}

/// Removes the keys of a step that is over. When they can't be removed they are in nobody's way: the log does not know
/// them, or knows them as those in force.
fn forget_beside(directory: &Path) {
    if let Err(error) = remove(&directory.join(AUTHORITY_BESIDE)) {
        tracing::warn!(%error, "the issuing keys of a step that is over can't be removed");
    }
}

fn remove(path: &Path) -> Result<(), KeyFileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(KeyFileError::Io {
            path: path.to_owned(),
            attempt: "removed",
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Draws a pair of issuing keys.
fn pair() -> Result<PairChance, NoChance> {
    Ok(PairChance {
        x509: chance()?,
        jwt: chance()?,
    })
}

/// Makes keys whose bundle follows the one of the sequence `after`.
fn new_issuing(after: u64, domain: TrustDomain, now: Timestamp) -> Result<IssuingKeys, KeysError> {
    // One draw in 2^32 is no key; a second one is enough.
    if let Ok(issuing) = IssuingKeys::create_after(after, domain.clone(), pair()?, now) {
        return Ok(issuing);
    }
    Ok(IssuingKeys::create_after(after, domain, pair()?, now)?)
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
    for half_made in [LOG_KEY, SEALING_KEY, AUTHORITY, AUTHORITY_BESIDE] {
        // What is not there need not be removed.
        let _ = fs::remove_file(directory.join(half_made));
    }
    keyfiles::create_key(&directory.join(LOG_KEY), chance()?)?;
    FileCustody::create_file(&directory.join(SEALING_KEY), chance()?)?;
    let issuing = new_issuing(0, domain, now)?;
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

    /// A crash can come before a step is kept beside, before it is written, before it is kept in force, or before what
    /// stands beside is removed. A file from before the step looks like none of them.
    #[test]
    fn a_crash_at_any_moment_of_a_step_heals() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let parent = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(parent.path().join("state"));
        state.prepare().unwrap();
        let reopen = |recorded| {
            let issuing = open(&state, None, now).unwrap().issuing;
            issuing.in_force(Some(recorded))
        };
        let first = open(&state, None, now).unwrap().issuing;
        let first = first.in_force(None).unwrap();
        let next = first.replace(pair().unwrap(), now).unwrap();
        let (old, new) = (standing(&first), standing(&next));
        let beside = Keep::Beside {
            in_force: &first,
            next: &next,
        };
        let is_beside = || state.keys().join(AUTHORITY_BESIDE).exists();
        assert_eq!(standing(&reopen(old).unwrap()), old);
        let refused = reopen(new).unwrap_err().to_string();
        assert!(refused.contains("older than the log says"), "{refused}");
        keep(&state, beside).unwrap();
        assert!(is_beside());
        assert_eq!(standing(&reopen(old).unwrap()), old, "it was never written");
        assert!(!is_beside());
        assert!(reopen(new).is_err(), "it is forgotten");
        keep(&state, beside).unwrap();
        assert_eq!(standing(&reopen(new).unwrap()), new, "it was written");
        assert!(!is_beside());
        assert_eq!(standing(&reopen(new).unwrap()), new);
        let refused = reopen(old).unwrap_err().to_string();
        assert!(refused.contains("not those of the log"), "{refused}");
        // Refused: as if it had never been asked for.
        keep(&state, beside).unwrap();
        keep(&state, Keep::NotTaken).unwrap();
        assert!(!is_beside());
        keep(&state, Keep::NotTaken).unwrap();
        assert_eq!(standing(&reopen(old).unwrap()), old);
        assert!(reopen(new).is_err(), "it is forgotten");
        // Whoever could not put the first step in force loses nothing by the second.
        keep(&state, Keep::InForce(&first)).unwrap();
        keep(&state, beside).unwrap();
        let third = next.prepare(pair().unwrap(), now).unwrap();
        let beside = Keep::Beside {
            in_force: &next,
            next: &third,
        };
        keep(&state, beside).unwrap();
        assert_eq!(standing(&reopen(new).unwrap()), new);
        keep(&state, beside).unwrap();
        keep(&state, Keep::InForce(&third)).unwrap();
        assert!(!is_beside());
        assert_eq!(standing(&reopen(standing(&third)).unwrap()).sequence, 3);
    }

    #[test]
    fn the_sequence_of_a_recovery_follows_whatever_is_known() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let seconds = 1_800_000_000;
        let check = |kept: Option<u64>, recorded: Option<u64>, wanted: u64| {
            let parent = tempfile::tempdir().unwrap();
            let [state, lost] = ["state", "lost"].map(|it| {
                let state = StateDirectory::at(parent.path().join(it));
                state.prepare().unwrap();
                state
            });
            drop(open(&state, None, now).unwrap());
            let domain = domain(EMBEDDED_DOMAIN).unwrap();
            if let Some(sequence) = kept {
                let old = new_issuing(sequence - 1, domain.clone(), now).unwrap();
                keyfiles::create_text(&lost.keys().join(AUTHORITY), &old.to_text()).unwrap();
            }
            for name in [LOG_KEY, AUTHORITY] {
                fs::remove_file(state.keys().join(name)).unwrap();
            }
            rotate(&state, &lost, ("a/log", recorded), now).unwrap();
            let text = keyfiles::read_text(&state.keys().join(AUTHORITY)).unwrap();
            let keys = IssuingKeys::from_text(&domain, &text).unwrap();
            assert_eq!(keys.bundle().sequence(), wanted, "{kept:?} {recorded:?}");
        };
        check(None, None, seconds + 1);
        check(Some(3), Some(4), seconds + 1);
        check(Some(seconds + 7), Some(4), seconds + 8);
        check(Some(3), Some(seconds + 9), seconds + 10);
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
            first.issuing.kept.bundle().to_document(),
            again.issuing.kept.bundle().to_document()
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

//! Sessions of browsers: a random cookie, of which only a digest is kept, in memory and for a short while.

use std::{collections::BTreeMap, sync::Mutex};

use ambit_core::{Digest, Millis, Timestamp};
use ambit_identity::{SignedIn, jose::base64url};

use crate::locked::locked;

/// How long a session lasts, whatever is done in it.
pub const SESSION_TTL: Millis = Millis::from_seconds(3600);
/// How many sessions there are at once.
pub const SESSIONS_MAX: usize = 1024;
/// How many sessions one person has at once; one more ends the oldest.
pub const SESSIONS_PER_PERSON_MAX: usize = 8;

/// Everybody who is signed in. A restart forgets it all.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<BTreeMap<Digest, Session>>);

/// Somebody signed in, in one browser.
#[derive(Clone, Debug)]
pub struct Session {
    sign_in: SignedIn,
    person: String,
    csrf: Digest,
    expires_at: Timestamp,
}

/// There is no such session, or no longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("nobody is signed in here, or no longer; sign in")]
pub struct NoSession;

/// No more sessions can be held.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{SESSIONS_MAX} sessions are open, and more are not held; try again later")]
pub struct SessionsFull;

impl Sessions {
    /// Opens a session of `person`, by alias, with fresh random bytes and returns its secret, 43 characters.
    ///
    /// # Errors
    /// [`SessionsFull`].
    pub fn open(
        &self,
        (sign_in, person): (SignedIn, &str),
        chance: [u8; 32],
        now: Timestamp,
    ) -> Result<String, SessionsFull> {
        let secret = base64url::encode(chance);
        let mut all = locked(&self.0);
        all.retain(|_, it| now < it.expires_at);
        let own = all.iter().filter(|(_, it)| it.person == person);
        let own: Vec<_> = own.map(|(key, it)| (it.expires_at, *key)).collect();
        if own.len() >= SESSIONS_PER_PERSON_MAX
            && let Some((_, oldest)) = own.iter().min()
        {
            all.remove(oldest);
        }
        if all.len() >= SESSIONS_MAX {
            return Err(SessionsFull);
        }
        let session = Session {
            sign_in,
            person: person.to_owned(),
            csrf: Digest::of_parts(&[b"ambit csrf v1\0", secret.as_bytes()]),
            expires_at: now.plus(SESSION_TTL),
        };
        all.insert(key(&secret), session);
        Ok(secret)
    }

    /// Returns the session of a secret.
    ///
    /// # Errors
    /// [`NoSession`] when there is none or its time is over.
    pub fn find(&self, secret: &str, now: Timestamp) -> Result<Session, NoSession> {
        let all = locked(&self.0);
        let found = all.get(&key(secret)).filter(|it| now < it.expires_at);
        found.cloned().ok_or(NoSession)
    }

    /// Ends a session.
    pub fn close(&self, secret: &str) {
        let mut all = locked(&self.0);
        all.remove(&key(secret));
    }
}

impl Sessions {
    /// Ends every session of `person`, by alias.
    pub fn close_all_of(&self, person: &str) {
        let mut all = locked(&self.0);
        all.retain(|_, it| it.person != person);
    }
}

impl Session {
    /// Returns how somebody signed in.
    pub const fn sign_in(&self) -> &SignedIn {
        &self.sign_in
    }

    /// Returns what every form of this session carries: 43 characters.
    pub fn csrf(&self) -> String {
        base64url::encode(self.csrf.as_bytes())
    }

    /// Says whether a form is one that this session was shown.
    ///
    /// # Errors
    /// [`NoSession`] when it is not.
    pub fn check_csrf(&self, sent: &str) -> Result<(), NoSession> {
        // Digests are compared, so that time tells nothing of the text.
        if Digest::of(sent.as_bytes()) == Digest::of(self.csrf().as_bytes()) {
            return Ok(());
        }
        Err(NoSession)
    }

    /// Returns the first instant at which it is over.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

fn key(secret: &str) -> Digest {
    Digest::of_parts(&[b"ambit session v1\0", secret.as_bytes()])
}

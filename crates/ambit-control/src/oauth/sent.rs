//! Assertions that their issuers hand out again: each stays with the key of whoever got something for it first.

use ambit_core::{Digest, Timestamp};
use ambit_identity::{
    senders::{Given, SenderError, assertion_name},
    token::CLOCK_LEEWAY,
};

use super::{OAuth, locked};

/// An assertion as it is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assertion {
    name: Digest,
    until: Timestamp,
    /// How often it can be shown.
    pub(super) good: Good,
}

/// How often an assertion can be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Good {
    /// Once: it says so, by its identifier.
    Once,
    /// Again, by whoever showed it first.
    Again,
}

/// An assertion whose sender is known now. Until something was given for it nobody is held to it.
#[must_use]
pub(crate) struct Sent<'a> {
    oauth: &'a OAuth,
    name: Digest,
    given: Given,
}

impl Assertion {
    /// Names an assertion that is good until `expires_at`.
    pub(crate) fn new(token: &str, expires_at: Timestamp, good: Good) -> Self {
        Self {
            name: assertion_name(token),
            until: expires_at.plus(CLOCK_LEEWAY),
            good,
        }
    }
}

impl OAuth {
    /// Admits an assertion by a sender who proved `key`, or none.
    ///
    /// # Errors
    /// [`SenderError`] when another sender showed it before, or it can't be remembered.
    pub(crate) fn sent(
        &self,
        assertion: &Assertion,
        key: Option<Digest>,
        now: Timestamp,
    ) -> Result<Sent<'_>, SenderError> {
        let Assertion { name, until, .. } = *assertion;
        let admitted = locked(&self.senders).admit(name, key, until, now);
        if let Err(error) = &admitted {
            tracing::warn!(%error, "an assertion of a workload was refused");
        }
        admitted.map(|()| Sent {
            oauth: self,
            name,
            given: Given::Nothing,
        })
    }
}

impl Sent<'_> {
    /// Says that something was given for it.
    pub(crate) fn gave(mut self) {
        self.given = Given::Something;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        locked(&self.oauth.senders).settle(self.name, self.given);
    }
}

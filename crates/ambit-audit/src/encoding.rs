//! Records as leaves: canonical JSON (RFC 8785) with fixed keys. Version 1 is frozen: it never changes its meaning.
//!
//! A leaf is one object: `v` (1), `kind`, `at` (milliseconds since the Unix epoch), and the members of its kind.
//! A member that a record has not is left out. A task's parameters are the owner's words and are never written.

mod bundle;
mod claim;
mod content;
mod delegation;
mod proof;
mod read;
mod token;
mod write;

use ambit_core::{
    Timestamp,
    json::JsonError,
    record::{Body, Record},
};

/// The version of the encoding.
const VERSION: u64 = 1;

/// A leaf is not a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON with one reading.
    #[error("the record is not JSON: {0}")]
    Json(#[from] JsonError),
    /// It is not an object.
    #[error("{0} is not an object")]
    NotObject(&'static str),
    /// A member is missing.
    #[error("the record has no `{0}`")]
    Missing(&'static str),
    /// A member is of another type, or its value is not one of those known.
    #[error("the record's `{0}` has no meaning to this version of ambit")]
    Invalid(&'static str),
    /// There is a member that this version does not know.
    #[error("the record has the unknown member `{0}`; a newer ambit may read it")]
    Unknown(String),
    /// The version is another.
    #[error("the record is of a version that this ambit does not know; a newer one may read it")]
    Version,
    /// The kind is another.
    #[error("the record is of the unknown kind `{0}`; a newer ambit may read it")]
    Kind(String),
    /// It could be written otherwise.
    #[error("the record is not in its canonical form")]
    NotCanonical,
}

/// Returns the leaf of `record`.
pub fn encode(record: &Record) -> Vec<u8> {
    Undated::new(&record.body).dated(record.at)
}

/// A leaf without its time.
#[derive(Debug)]
pub(crate) struct Undated {
    before: String,
    after: String,
}

impl Undated {
    /// Returns the leaf of `body`, but for the time.
    pub(crate) fn new(body: &Body) -> Self {
        let (before, after) = write::around_time(body);
        Self { before, after }
    }

    /// Returns how long the leaf is at most, whatever its time, in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.before.len() + TIME_BYTES_MAX + self.after.len()
    }

    /// Returns the leaf of the time `at`.
    pub(crate) fn dated(self, at: Timestamp) -> Vec<u8> {
        let mut text = self.before;
        write::time(at).write_canonical(&mut text);
        text.push_str(&self.after);
        text.into_bytes()
    }
}

/// A time is written in milliseconds.
const TIME_BYTES_MAX: usize = 20;

/// Returns the record of `leaf`. `encode` gives exactly `leaf` again.
///
/// # Errors
/// It is not canonical JSON, or has a version, kind, member or value that this version does not know.
pub fn decode(leaf: &[u8]) -> Result<Record, DecodeError> {
    let record = read::record(ambit_core::json::parse(leaf)?)?;
    if encode(&record) == leaf {
        Ok(record)
    } else {
        Err(DecodeError::NotCanonical)
    }
}

/// The words of `kind`, one for each variant of [`ambit_core::record::Body`].
mod kind {
    pub(super) const LOG_OPENED: &str = "log.opened";
    pub(super) const PERSON_KNOWN: &str = "person.known";
    pub(super) const ESTATE_APPLIED: &str = "estate.applied";
    pub(super) const TASK_STARTED: &str = "task.started";
    pub(super) const INSTANCE_CERTIFIED: &str = "instance.certified";
    pub(super) const TASK_WAITS: &str = "task.waits";
    pub(super) const TASK_CLAIMED: &str = "task.claimed";
    pub(super) const TASK_ATTENDED: &str = "task.attended";
    pub(super) const TASK_ENDED: &str = "task.ended";
    pub(super) const DECIDED: &str = "decision";
    pub(super) const PERFORMED: &str = "outcome";
    pub(super) const ACT_SETTLED: &str = "act.settled";
    pub(super) const SEALED_OPENED: &str = "sealed.opened";
    pub(super) const APPROVAL_DECIDED: &str = "approval.decided";
    pub(super) const REVOKED: &str = "revocation";
    pub(super) const REINSTATED: &str = "reinstatement";
    pub(super) const REVOCATION_CARRIED: &str = "revocation.carried";
    pub(super) const REVOCATION_EFFECTIVE: &str = "revocation.effective";
    pub(super) const TOOL_SEEN: &str = "tool.seen";
    pub(super) const SERVER_INSPECTED: &str = "server.inspected";
    pub(super) const KEYS_ROTATED: &str = "keys.rotated";
    pub(super) const BUNDLE_BELIEVED: &str = "bundle.believed";
    pub(super) const BUNDLE_REFUSED: &str = "bundle.refused";
    pub(super) const BUNDLE_LAPSED: &str = "bundle.lapsed";
    pub(super) const CREDENTIAL_SEALED: &str = "credential.sealed";
    pub(super) const TOKEN_ISSUED: &str = "token.issued";
    pub(super) const TOKEN_REVOKED: &str = "token.revoked";
    pub(super) const LOGIN_OPENED: &str = "login.opened";
    pub(super) const LOGIN_ENDED: &str = "login.ended";
    pub(super) const ENROLMENT_OFFERED: &str = "enrolment.offered";
    pub(super) const PASSKEY_REGISTERED: &str = "passkey.registered";
    pub(super) const PASSKEY_USED: &str = "passkey.used";
    pub(super) const PASSKEY_REMOVED: &str = "passkey.removed";
    pub(super) const REFUSALS_COALESCED: &str = "refusals.coalesced";
    pub(super) const STATE_DIGEST: &str = "state.digest";
    pub(super) const DELEGATION_MADE: &str = "delegation.made";
    pub(super) const DELEGATION_SPENT: &str = "delegation.spent";
    pub(super) const DELEGATION_WITHDRAWN: &str = "delegation.withdrawn";
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;

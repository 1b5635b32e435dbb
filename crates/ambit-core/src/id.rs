//! Typed identifiers. Each prints with a prefix that says what it names: `task_…`, `dec_…`.

use std::{cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use crate::Timestamp;

/// Names one thing of kind `K`: 48 bits of time and 80 bits of chance, both given by the caller.
///
/// The text form is the kind's prefix, `_`, and 26 digits of lowercase Crockford base 32, so that
/// texts sort as the things were made.
pub struct Id<K> {
    bits: u128,
    kind: PhantomData<fn() -> K>,
}

/// A kind of thing that has identifiers.
pub trait Kind {
    /// What stands before the `_` in the text form.
    const PREFIX: &'static str;
}

/// The text is not an identifier of the wanted kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not an identifier of the form `{prefix}_` and 26 letters or digits")]
pub struct InvalidId {
    text: String,
    prefix: &'static str,
}

/// Names one task.
pub type TaskId = Id<kind::Task>;
/// Names one run of an agent.
pub type InstanceId = Id<kind::Instance>;
/// Names one decision.
pub type DecisionId = Id<kind::Decision>;
/// Names one request for a human's yes.
pub type ApprovalId = Id<kind::Approval>;
/// Names one person, without saying who: the name stands in the erasable directory.
pub type PersonId = Id<kind::Person>;
/// Names one revocation.
pub type RevocationId = Id<kind::Revocation>;
/// Names one delegation.
pub type DelegationId = Id<kind::Delegation>;
/// Names one token that was issued under a task.
pub type TokenId = Id<kind::Token>;
/// Names one login of a command line.
pub type LoginId = Id<kind::Login>;
/// Names one passkey of a person.
pub type PasskeyId = Id<kind::Passkey>;

/// The kinds of things that have identifiers.
pub mod kind {
    use super::Kind;

    /// A task.
    #[derive(Debug)]
    pub enum Task {}
    /// A run of an agent.
    #[derive(Debug)]
    pub enum Instance {}
    /// A decision.
    #[derive(Debug)]
    pub enum Decision {}
    /// An approval.
    #[derive(Debug)]
    pub enum Approval {}
    /// A person.
    #[derive(Debug)]
    pub enum Person {}
    /// A revocation.
    #[derive(Debug)]
    pub enum Revocation {}
    /// A delegation.
    #[derive(Debug)]
    pub enum Delegation {}
    /// A token.
    #[derive(Debug)]
    pub enum Token {}
    /// A login.
    #[derive(Debug)]
    pub enum Login {}
    /// A passkey.
    #[derive(Debug)]
    pub enum Passkey {}

    impl Kind for Task {
        const PREFIX: &'static str = "task";
    }
    impl Kind for Instance {
        const PREFIX: &'static str = "inst";
    }
    impl Kind for Decision {
        const PREFIX: &'static str = "dec";
    }
    impl Kind for Approval {
        const PREFIX: &'static str = "apr";
    }
    impl Kind for Person {
        const PREFIX: &'static str = "person";
    }
    impl Kind for Revocation {
        const PREFIX: &'static str = "rev";
    }
    impl Kind for Delegation {
        const PREFIX: &'static str = "dlg";
    }

    impl Kind for Token {
        const PREFIX: &'static str = "tok";
    }
    impl Kind for Login {
        const PREFIX: &'static str = "login";
    }
    impl Kind for Passkey {
        const PREFIX: &'static str = "pk";
    }
}

impl<K> Id<K> {
    /// Returns the identifier made of the time `at` and 80 bits of `chance`.
    pub fn new(at: Timestamp, chance: [u8; 10]) -> Self {
        let chance = chance
            .iter()
            .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        let time = u128::from(at.as_millis()) & ((1 << 48) - 1);
        Self::from_bits(time << 80 | chance)
    }

    /// Returns the identifier whose 128 bits are `bits`.
    pub const fn from_bits(bits: u128) -> Self {
        Self {
            bits,
            kind: PhantomData,
        }
    }

    /// Returns the 128 bits.
    pub const fn bits(self) -> u128 {
        self.bits
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; DIGITS as usize];
        let mut bits = self.bits;
        for digit in digits.iter_mut().rev() {
            let value = (bits & 31) as usize;
            *digit = ALPHABET.get(value).copied().unwrap_or(b'0');
            bits >>= 5;
        }
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            text: text.chars().take(64).collect(),
            prefix: K::PREFIX,
        };
        let digits = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .ok_or_else(invalid)?;
        // 26 digits hold 130 bits, so the first may not exceed 7.
        if digits.len() != DIGITS as usize || digits.bytes().next().is_some_and(|it| it > b'7') {
            return Err(invalid());
        }
        let mut bits = 0;
        for digit in digits.bytes() {
            let value = ALPHABET
                .iter()
                .position(|it| *it == digit)
                .ok_or_else(invalid)?;
            bits = bits << 5 | value as u128;
        }
        Ok(Self::from_bits(bits))
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// Derives would ask the same of `K`, which is never there as a value.
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: u32 = 26;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_identifier_reads_back_what_it_printed(bits: u128) {
            let id = TaskId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn another_kind_is_refused() {
        let task = TaskId::new(Timestamp::from_millis(1), [7; 10]).to_string();
        assert!(task.parse::<DecisionId>().is_err());
        assert!(task.to_uppercase().parse::<TaskId>().is_err());
        assert!(
            "task_80000000000000000000000000".parse::<TaskId>().is_err(),
            "131 bits"
        );
    }

    #[test]
    fn later_identifiers_sort_later() {
        let early = TaskId::new(Timestamp::from_millis(1), [255; 10]).to_string();
        let late = TaskId::new(Timestamp::from_millis(2), [0; 10]).to_string();
        assert!(early < late);
    }
}

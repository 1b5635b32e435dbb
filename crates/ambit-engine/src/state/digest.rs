//! A digest over a set of rows that can be kept up to date row by row.

use ambit_core::Digest;

/// The sum, modulo 2^256, of the SHA-256 digests of the rows in the set.
///
/// It finds a fold that went another way; it is no proof against somebody who chooses rows to collide
/// (Wagner's attack on additive hashes). The proof is the log itself, from which the rows can be made again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SetDigest([u64; 4]);

impl SetDigest {
    /// Returns the digest of the empty set.
    pub(crate) const fn empty() -> Self {
        Self([0; 4])
    }

    /// Returns the set's digest with a row of this digest added.
    #[must_use]
    pub(crate) fn with(self, row: Digest) -> Self {
        self.combine(row, u64::overflowing_add)
    }

    /// Returns the set's digest with a row of this digest taken out.
    #[must_use]
    pub(crate) fn without(self, row: Digest) -> Self {
        self.combine(row, u64::overflowing_sub)
    }

    /// Returns the digest as 32 bytes, least significant first.
    pub(crate) fn to_digest(self) -> Digest {
        let mut bytes = [0; 32];
        for (to, from) in bytes
            .iter_mut()
            .zip(self.0.iter().flat_map(|it| it.to_le_bytes()))
        {
            *to = from;
        }
        Digest::from_bytes(bytes)
    }

    /// Reads back what [`SetDigest::to_digest`] gave.
    pub(crate) fn from_digest(digest: Digest) -> Self {
        Self(words(digest))
    }

    fn combine(self, row: Digest, step: fn(u64, u64) -> (u64, bool)) -> Self {
        let mut carry = false;
        let mut sum = [0; 4];
        for (to, (left, right)) in sum.iter_mut().zip(self.0.into_iter().zip(words(row))) {
            let (partial, first) = step(left, right);
            let (whole, second) = step(partial, u64::from(carry));
            (*to, carry) = (whole, first || second);
        }
        Self(sum)
    }
}

fn words(digest: Digest) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.as_bytes().chunks_exact(8)) {
        *word = bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn order_does_not_matter_and_taking_out_undoes(rows: Vec<[u8; 32]>, extra: [u8; 32]) {
            let rows: Vec<_> = rows.into_iter().map(Digest::from_bytes).collect();
            let forward = rows.iter().fold(SetDigest::empty(), |set, row| set.with(*row));
            let backward = rows.iter().rev().fold(SetDigest::empty(), |set, row| set.with(*row));
            prop_assert_eq!(forward, backward);
            let extra = Digest::from_bytes(extra);
            prop_assert_eq!(forward.with(extra).without(extra), forward);
            prop_assert_eq!(SetDigest::from_digest(forward.to_digest()), forward);
        }
    }
}

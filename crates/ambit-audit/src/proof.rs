//! Inclusion and consistency proofs (RFC 6962 §2.1.1, §2.1.2), made from tiles and checked without them.

use ambit_core::Digest;

use crate::{
    tile::{HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, hashes_of},
    tree::{node_hash, root_of},
};

/// A path of hashes that proves something of a tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The hashes, in the order of RFC 6962.
    pub path: Vec<Digest>,
}

/// A proof cannot be made, or proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The index or size lies outside the tree.
    #[error("the tree has {size} leaves; there is nothing to prove of {asked}")]
    OutOfRange {
        /// How many leaves it has.
        size: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A tile is missing or of another length.
    #[error("tile {index} of level {level} is missing or damaged; run `ambit log verify`")]
    Tile {
        /// Its level.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// Reading a tile failed.
    #[error("a tile cannot be read: {0}")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The proof does not lead to the root.
    #[error("the proof does not lead to the root of the tree")]
    Refuted,
}

/// Proves that the tree of `size` leaves has its leaf `index`. `tile(level, index, width)` gives hash tiles.
///
/// # Errors
/// The index lies outside the tree, or a tile cannot be had.
pub fn prove_inclusion<E: std::error::Error + Send + Sync + 'static>(
    index: u64,
    size: u64,
    mut tile: impl FnMut(u8, u64, u16) -> Result<Option<Vec<u8>>, E>,
) -> Result<Proof, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { size, asked: index });
    }
    let mut node = |range| subtree(range, size, &mut tile);
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(node((middle, high))?);
            high = middle;
        } else {
            path.push(node((low, middle))?);
            low = middle;
        }
    }
    path.reverse();
    Ok(Proof { path })
}

/// Proves that the tree of `old_size` leaves is the beginning of the tree of `size` leaves. `tile(level, index, width)`
/// gives hash tiles.
///
/// # Errors
/// `old_size` is zero or beyond `size`, or a tile cannot be had.
pub fn prove_consistency<E: std::error::Error + Send + Sync + 'static>(
    old_size: u64,
    size: u64,
    mut tile: impl FnMut(u8, u64, u16) -> Result<Option<Vec<u8>>, E>,
) -> Result<Proof, ProofError> {
    if old_size == 0 || old_size > size {
        return Err(ProofError::OutOfRange {
            size,
            asked: old_size,
        });
    }
    let mut node = |range| subtree(range, size, &mut tile);
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    // RFC 6962 §2.1.2, SUBPROOF: walk to the right edge of the old tree.
    while high != old_size {
        let middle = low + split(high - low);
        if old_size <= middle {
            path.push(node((middle, high))?);
            high = middle;
        } else {
            path.push(node((low, middle))?);
            low = middle;
        }
    }
    if low > 0 {
        path.push(node((low, high))?);
    }
    path.reverse();
    Ok(Proof { path })
}

impl Proof {
    /// Checks that the tree of `size` leaves under `root` has `leaf_hash` at `index` (RFC 9162 §2.1.3.2).
    ///
    /// # Errors
    /// It has not, or the proof does not show it.
    pub fn check_inclusion(
        &self,
        leaf_hash: &Digest,
        index: u64,
        size: u64,
        root: &Digest,
    ) -> Result<(), ProofError> {
        if index >= size {
            return Err(ProofError::OutOfRange { size, asked: index });
        }
        let (mut place, mut last) = (index, size - 1);
        let mut hash = *leaf_hash;
        for step in &self.path {
            if last == 0 {
                return Err(ProofError::Refuted);
            }
            if place % 2 == 1 || place == last {
                hash = node_hash(step, &hash);
                while place % 2 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, step);
            }
            place >>= 1;
            last >>= 1;
        }
        settle(last == 0 && hash == *root)
    }

    /// Checks that the tree of `old_size` leaves under `old_root` is the beginning of the tree of `size` leaves under
    /// `root` (RFC 9162 §2.1.4.2).
    ///
    /// # Errors
    /// It is not, or the proof does not show it.
    pub fn check_consistency(
        &self,
        old_size: u64,
        old_root: &Digest,
        size: u64,
        root: &Digest,
    ) -> Result<(), ProofError> {
        if old_size == 0 || old_size > size {
            return Err(ProofError::OutOfRange {
                size,
                asked: old_size,
            });
        }
        if old_size == size {
            return settle(self.path.is_empty() && old_root == root);
        }
        let mut steps = self.path.iter();
        let first = if old_size.is_power_of_two() {
            Some(old_root)
        } else {
            steps.next()
        };
        let first = *first.ok_or(ProofError::Refuted)?;
        let trailing = (old_size - 1).trailing_ones();
        let (mut place, mut last) = ((old_size - 1) >> trailing, (size - 1) >> trailing);
        let (mut old_hash, mut hash) = (first, first);
        for step in steps {
            if last == 0 {
                return Err(ProofError::Refuted);
            }
            if place % 2 == 1 || place == last {
                old_hash = node_hash(step, &old_hash);
                hash = node_hash(step, &hash);
                while place % 2 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, step);
            }
            place >>= 1;
            last >>= 1;
        }
        settle(last == 0 && old_hash == *old_root && hash == *root)
    }
}

fn settle(proved: bool) -> Result<(), ProofError> {
    if proved {
        Ok(())
    } else {
        Err(ProofError::Refuted)
    }
}

/// The largest power of two below `size`, which is at least 2 (RFC 6962 §2.1).
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The hash over the leaves `low..high` of a tree of `size` leaves, where `low` is a multiple of the power of two that
/// covers the range.
fn subtree<E: std::error::Error + Send + Sync + 'static>(
    (low, high): (u64, u64),
    size: u64,
    tile: &mut impl FnMut(u8, u64, u16) -> Result<Option<Vec<u8>>, E>,
) -> Result<Digest, ProofError> {
    let count = high - low;
    if !count.is_power_of_two() {
        let middle = low + split(count);
        let left = subtree((low, middle), size, tile)?;
        let right = subtree((middle, high), size, tile)?;
        return Ok(node_hash(&left, &right));
    }
    // The nodes 2^(8·level) leaves wide stand in the tiles of that level; up to 128 of them make the subtree.
    let binary_level = count.trailing_zeros();
    let level = binary_level / TILE_HEIGHT;
    let below = level * TILE_HEIGHT;
    let (first, nodes) = (low >> below, count >> below);
    let index = first / u64::from(TILE_WIDTH);
    let level = level as u8;
    let level_size = size >> below;
    let width = (level_size - index * u64::from(TILE_WIDTH)).min(u64::from(TILE_WIDTH)) as u16;
    let bytes = tile(level, index, width)
        .map_err(|error| ProofError::Read(Box::new(error)))?
        .filter(|bytes| bytes.len() == usize::from(width) * HASH_BYTES)
        .ok_or(ProofError::Tile { level, index })?;
    let place = (first % u64::from(TILE_WIDTH)) as usize;
    Ok(root_of(hashes_of(&bytes).skip(place).take(nodes as usize)))
}

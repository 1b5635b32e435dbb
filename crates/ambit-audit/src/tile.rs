//! Tiles and entry bundles, as C2SP tlog-tiles lays them out.

use ambit_core::{Digest, limits::LEAF_BYTES_MAX};

use crate::tree::{leaf_hash, root_of};

/// How many hashes a full tile has, and how many leaves a full entry bundle.
pub const TILE_WIDTH: u16 = 256;

/// How many levels of the binary tree a tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;
pub(crate) const HASH_BYTES: usize = 32;
pub(crate) const TILE_BYTES: usize = TILE_WIDTH as usize * HASH_BYTES;
/// The longest entry bundle, in bytes.
pub(crate) const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + LEAF_BYTES_MAX);

/// A full hash tile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tile {
    /// The tile level: 0 holds leaf hashes.
    pub level: u8,
    /// The place in its level.
    pub index: u64,
    /// 256 hashes of 32 bytes.
    pub hashes: Vec<u8>,
}

/// Names a tile or an entry bundle within a log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TilePath {
    /// A hash tile.
    Hashes {
        /// The tile level.
        level: u8,
        /// The place in its level.
        index: u64,
        /// How many hashes it has: 1 to 256.
        width: u16,
    },
    /// An entry bundle.
    Entries {
        /// The place among the bundles.
        index: u64,
        /// How many leaves it has: 1 to 256.
        width: u16,
    },
}

/// Writes the path relative to the log's prefix: `tile/0/x001/234.p/17`, `tile/entries/000`.
impl std::fmt::Display for TilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (index, width) = match self {
            Self::Hashes {
                level,
                index,
                width,
            } => {
                write!(f, "tile/{level}/")?;
                (*index, *width)
            }
            Self::Entries { index, width } => {
                f.write_str("tile/entries/")?;
                (*index, *width)
            }
        };
        // 64 bits have at most seven groups of three digits.
        let mut group = 1000u64.pow(6);
        while group > 1 {
            if index >= group {
                write!(f, "x{:03}/", index / group % 1000)?;
            }
            group /= 1000;
        }
        write!(f, "{:03}", index % 1000)?;
        if width < TILE_WIDTH {
            write!(f, ".p/{width}")?;
        }
        Ok(())
    }
}

/// An entry bundle cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// A leaf is cut off.
    #[error("the entry bundle ends within leaf {place}")]
    Cut {
        /// The place of the leaf in the bundle.
        place: usize,
    },
    /// There are more leaves than a bundle may have.
    #[error("the entry bundle has more than {TILE_WIDTH} leaves")]
    TooMany,
    /// A leaf is longer than [`LEAF_BYTES_MAX`].
    #[error("leaf {place} has {bytes} bytes; at most {LEAF_BYTES_MAX} are accepted")]
    LeafTooLong {
        /// The place of the leaf in the bundle.
        place: usize,
        /// How long it is.
        bytes: usize,
    },
}

/// Returns the entry bundle of `leaves`: each with its length before it, 16 bits, big-endian.
///
/// # Errors
/// More than [`TILE_WIDTH`] leaves, or a leaf longer than [`LEAF_BYTES_MAX`].
pub fn encode_bundle(leaves: &[Vec<u8>]) -> Result<Vec<u8>, BundleError> {
    if leaves.len() > usize::from(TILE_WIDTH) {
        return Err(BundleError::TooMany);
    }
    let mut bundle = Vec::with_capacity(leaves.iter().map(|leaf| leaf.len() + 2).sum());
    for (place, leaf) in leaves.iter().enumerate() {
        let bytes = leaf.len();
        let length = u16::try_from(bytes).map_err(|_| BundleError::LeafTooLong { place, bytes })?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(leaf);
    }
    Ok(bundle)
}

/// Returns the leaves of an entry bundle.
///
/// # Errors
/// A leaf is cut off, or there are more than [`TILE_WIDTH`].
pub fn decode_bundle(bundle: &[u8]) -> Result<Vec<Vec<u8>>, BundleError> {
    let leaves = decode_with_surplus(bundle)?;
    if leaves.len() > usize::from(TILE_WIDTH) {
        return Err(BundleError::TooMany);
    }
    Ok(leaves)
}

/// Returns the leaves of an entry bundle, and of those that are too many the first: a verifier tells by the hashes
/// which one does not belong.
///
/// # Errors
/// A leaf is cut off.
pub(crate) fn decode_with_surplus(bundle: &[u8]) -> Result<Vec<Vec<u8>>, BundleError> {
    let mut leaves = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() && leaves.len() <= usize::from(TILE_WIDTH) {
        let place = leaves.len();
        let cut = BundleError::Cut { place };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (leaf, after) = after.split_at_checked(length).ok_or(cut)?;
        leaves.push(leaf.to_vec());
        rest = after;
    }
    Ok(leaves)
}

/// Returns the first `width` hashes of the tile `index` at `level`, made from what lies below it.
///
/// `leaves(first, count)` gives leaves, `tile(level, index)` the bytes of a full tile. `None` when something of it is
/// not there, or `width` is not 1 to [`TILE_WIDTH`].
///
/// # Errors
/// Whatever the two give.
pub fn partial_tile<E>(
    level: u8,
    index: u64,
    width: u16,
    leaves: impl FnMut(u64, usize) -> Result<Vec<Vec<u8>>, E>,
    tile: impl FnMut(u8, u64) -> Result<Option<Vec<u8>>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut hashes = Vec::new();
    if !(1..=TILE_WIDTH).contains(&width) {
        return Ok(None);
    }
    extend(&mut hashes, (level, index), width, leaves, tile)?;
    Ok((hashes.len() == usize::from(width) * HASH_BYTES).then_some(hashes))
}

/// Adds to `hashes`, the first ones of the tile `index` at `level`, those that follow up to `width`, as far as what
/// lies below them is there.
pub(crate) fn extend<E>(
    hashes: &mut Vec<u8>,
    (level, index): (u8, u64),
    width: u16,
    mut leaves: impl FnMut(u64, usize) -> Result<Vec<Vec<u8>>, E>,
    mut tile: impl FnMut(u8, u64) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), E> {
    let known = hashes.len() / HASH_BYTES;
    let missing = usize::from(width).saturating_sub(known);
    let first = index.checked_mul(u64::from(TILE_WIDTH));
    let first = first.and_then(|it| it.checked_add(known as u64));
    let (Some(first), 1..) = (first, missing) else {
        return Ok(());
    };
    let Some(below) = level.checked_sub(1) else {
        for leaf in leaves(first, missing)? {
            hashes.extend_from_slice(leaf_hash(&leaf).as_bytes());
        }
        return Ok(());
    };
    for place in 0..missing as u64 {
        let whole = tile(below, first.saturating_add(place))?;
        let Some(bytes) = whole.filter(|it| it.len() == TILE_BYTES) else {
            return Ok(());
        };
        hashes.extend_from_slice(root_of(hashes_of(&bytes)).as_bytes());
    }
    Ok(())
}

/// Iterates over the hashes of a tile; bytes beyond the last whole hash are left out.
pub(crate) fn hashes_of(tile: &[u8]) -> impl Iterator<Item = Digest> {
    let (hashes, _) = tile.as_chunks::<HASH_BYTES>();
    hashes.iter().map(|hash| Digest::from_bytes(*hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let check = |level, index, width, path: &str| {
            let found = TilePath::Hashes {
                level,
                index,
                width,
            };
            assert_eq!(found.to_string(), path);
        };
        check(0, 0, 256, "tile/0/000");
        check(0, 999, 256, "tile/0/999");
        check(1, 1000, 256, "tile/1/x001/000");
        check(0, 1_234_067, 256, "tile/0/x001/x234/067");
        check(2, 1_234_067, 9, "tile/2/x001/x234/067.p/9");
        let index = u64::MAX;
        let largest = TilePath::Entries { index, width: 1 }.to_string();
        assert_eq!(
            largest,
            "tile/entries/x018/x446/x744/x073/x709/x551/615.p/1"
        );
    }

    #[test]
    fn bundles_keep_their_bounds() {
        let full = vec![vec![7u8; 3]; usize::from(TILE_WIDTH)];
        let bundle = encode_bundle(&full).unwrap();
        assert_eq!(decode_bundle(&bundle).unwrap(), full);
        let beyond = vec![Vec::new(); usize::from(TILE_WIDTH) + 1];
        assert_eq!(encode_bundle(&beyond), Err(BundleError::TooMany));
        let too_many = vec![0u8; 2 * (usize::from(TILE_WIDTH) + 1)];
        assert_eq!(decode_bundle(&too_many), Err(BundleError::TooMany));
        assert!(encode_bundle(&[vec![0; LEAF_BYTES_MAX]]).is_ok());
        assert!(encode_bundle(&[vec![0; LEAF_BYTES_MAX + 1]]).is_err());
        for cut in [1, 2, 4] {
            let found = decode_bundle(bundle.get(..cut).unwrap());
            assert_eq!(found, Err(BundleError::Cut { place: 0 }));
        }
        assert_eq!(decode_bundle(b""), Ok(Vec::new()));
    }
}

//! The incomplete tiles at the right edge of a growing log, remembered so that nobody can make them costly.

use crate::tile::{HASH_BYTES, TILE_WIDTH, extend};

/// How many levels of tiles a log of 2^64 leaves has.
const LEVELS_MAX: usize = 8;

/// Remembers the hashes of the one incomplete tile of each level.
///
/// A hash of a log never changes, so what was computed once stays right: a partial tile costs the hashes that came to
/// it since it was last asked for, whatever widths are asked for. The archive of another log needs another `Edges`.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    levels: [Edge; LEVELS_MAX],
}

#[derive(Clone, Debug, Default)]
struct Edge {
    index: u64,
    hashes: Vec<u8>,
}

impl Edges {
    /// Returns the first `width` hashes of the tile `index` at `level`.
    ///
    /// `leaves(first, count)` gives leaves, `tile(level, index)` the bytes of a full tile. `None` when something of it is
    /// not there, or `width` is not 1 to [`TILE_WIDTH`].
    ///
    /// # Errors
    /// Whatever the two give.
    pub fn tile<E>(
        &mut self,
        (level, index): (u8, u64),
        width: u16,
        leaves: impl FnMut(u64, usize) -> Result<Vec<Vec<u8>>, E>,
        mut tile: impl FnMut(u8, u64) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let bytes = usize::from(width) * HASH_BYTES;
        let edge = self.levels.get_mut(usize::from(level));
        let Some(edge) = edge.filter(|_| (1..=TILE_WIDTH).contains(&width)) else {
            return Ok(None);
        };
        if edge.index == index
            && let Some(known) = edge.hashes.get(..bytes)
        {
            return Ok(Some(known.to_vec()));
        }
        if let Some(full) = tile(level, index)? {
            return Ok(full.get(..bytes).map(<[u8]>::to_vec));
        }
        // Only what is stored is a full tile: one whose last hash is there and which is not, is not yet written.
        let width = width.min(TILE_WIDTH - 1);
        let mut fresh = Edge::default();
        let grown = if edge.index == index {
            &mut *edge
        } else {
            &mut fresh
        };
        grown.index = index;
        extend(&mut grown.hashes, (level, index), width, leaves, tile)?;
        let found = grown.hashes.get(..bytes).map(<[u8]>::to_vec);
        // A tile beyond the end must not drive out the one at the edge.
        if !fresh.hashes.is_empty() {
            *edge = fresh;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::{Frontier, Tile, leaf_hash, partial_tile};

    /// A log of `size` leaves, its full tiles, and how often leaves and tiles were read.
    struct Kept {
        size: u64,
        tiles: Vec<Tile>,
        reads: Cell<usize>,
    }

    impl Kept {
        fn of(size: u64) -> Self {
            let (mut frontier, mut tiles) = (Frontier::new(), Vec::new());
            for index in 0..size {
                frontier.push(leaf_hash(&index.to_be_bytes()), &mut tiles);
            }
            Self {
                size,
                tiles,
                reads: Cell::new(0),
            }
        }

        fn leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, ()> {
            let last = self.size.min(first.saturating_add(count as u64));
            let leaves: Vec<_> = (first..last).map(|it| it.to_be_bytes().to_vec()).collect();
            self.reads.set(self.reads.get() + leaves.len().max(1));
            Ok(leaves)
        }

        fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, ()> {
            self.reads.set(self.reads.get() + 1);
            let found = self
                .tiles
                .iter()
                .find(|it| it.level == level && it.index == index);
            Ok(found.map(|it| it.hashes.clone()))
        }

        fn ask(&self, edges: &mut Edges, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
            let leaves = |first, count| self.leaves(first, count);
            edges
                .tile((level, index), width, leaves, |level, index| {
                    self.tile(level, index)
                })
                .unwrap()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever was asked before, and however the log grew meanwhile, the answer is what the tiles below give.
        #[test]
        fn an_edge_is_what_lies_below_it(
            sizes in prop::collection::vec(0u64..1400, 1..4),
            asked in prop::collection::vec((0u8..3, 0u64..6, 0u16..258), 1..24),
        ) {
            let mut sizes = sizes;
            sizes.sort_unstable();
            let mut edges = Edges::default();
            for size in sizes {
                let kept = Kept::of(size);
                for (level, index, width) in &asked {
                    let (level, index, width) = (*level, *index, *width);
                    let full = |level, index| kept.tile(level, index);
                    let leaves = |first, count| kept.leaves(first, count);
                    let mut plain = partial_tile(level, index, width, leaves, full).unwrap();
                    if width == TILE_WIDTH {
                        plain = full(level, index).unwrap();
                    }
                    prop_assert_eq!(kept.ask(&mut edges, level, index, width), plain);
                }
            }
        }
    }

    #[test]
    fn asking_again_reads_nothing_below() {
        let kept = Kept::of(200 * 256 + 100);
        let mut edges = Edges::default();
        assert!(kept.ask(&mut edges, 1, 0, 199).is_some());
        kept.reads.set(0);
        for width in 1..=199 {
            assert!(kept.ask(&mut edges, 1, 0, width).is_some());
        }
        assert_eq!(kept.reads.get(), 0, "what is known is cut from memory");
        // The 200th is there; beyond it one look tells that nothing came.
        assert!(kept.ask(&mut edges, 1, 0, 200).is_some());
        kept.reads.set(0);
        for width in 201..=255 {
            assert!(kept.ask(&mut edges, 1, 0, width).is_none());
        }
        assert!(kept.reads.get() <= 2 * 55, "{}", kept.reads.get());
        // Tiles beyond the end are nothing, and do not drive out the edge.
        kept.reads.set(0);
        assert!(kept.ask(&mut edges, 1, 9, 200).is_none());
        assert!(kept.ask(&mut edges, 1, 0, 200).is_some());
        assert_eq!(kept.reads.get(), 2);
        assert!(
            kept.ask(&mut edges, 8, 0, 1).is_none(),
            "no log has nine levels"
        );
    }
}

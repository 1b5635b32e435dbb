//! The Merkle tree of RFC 6962 §2.1, as it grows at its right edge.

use ambit_core::Digest;

use crate::tile::{HASH_BYTES, TILE_BYTES, TILE_HEIGHT, Tile};

/// Returns the hash of one leaf: SHA-256 over `0x00` and the leaf (RFC 6962 §2.1).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], leaf])
}

/// Returns the hash of an inner node: SHA-256 over `0x01`, `left` and `right` (RFC 6962 §2.1).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// Returns the root over `hashes`, which are neighbours on one level, in order. The root of none is SHA-256 over
/// nothing.
pub(crate) fn root_of(hashes: impl IntoIterator<Item = Digest>) -> Digest {
    let mut frontier = Frontier::new();
    let mut tiles = Vec::new();
    for hash in hashes {
        frontier.push(hash, &mut tiles);
    }
    frontier.root()
}

/// The right edge of a growing tree: all that is needed to append, to complete tiles and to know the root.
///
/// Its size is logarithmic in the size of the tree, times the width of a tile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees of which the tree consists; the place is the level in the binary tree.
    subtrees: Vec<Option<Digest>>,
    /// The hashes of the incomplete tile of each tile level.
    edges: Vec<Vec<u8>>,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// Returns the right edge of the empty tree.
    pub const fn new() -> Self {
        Self {
            size: 0,
            subtrees: Vec::new(),
            edges: Vec::new(),
        }
    }

    /// Returns the right edge of a tree of `size` leaves, whose incomplete tile of each level has the hashes that
    /// `edge(level, width)` gives.
    ///
    /// The caller gives `width` hashes, or an error; the root tells whether they were the right ones.
    pub(crate) fn restore<E>(
        size: u64,
        mut edge: impl FnMut(u8, u16) -> Result<Vec<Digest>, E>,
    ) -> Result<Self, E> {
        let mut frontier = Self::new();
        let mut rest = size;
        let mut level = 0;
        while rest > 0 {
            let width = (rest & 0xff) as u16;
            if width > 0 {
                for hash in edge(level, width)? {
                    frontier.carry(level, hash, &mut Vec::new());
                }
            }
            rest >>= TILE_HEIGHT;
            level += 1;
        }
        frontier.size = size;
        Ok(frontier)
    }

    /// Returns how many leaves the tree has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf by its hash, and adds to `tiles` the tiles that became complete, lowest level first.
    pub fn push(&mut self, leaf_hash: Digest, tiles: &mut Vec<Tile>) {
        self.size += 1;
        self.carry(0, leaf_hash, tiles);
    }

    /// Returns the root of the tree (RFC 6962 §2.1). The root of the empty tree is SHA-256 over nothing.
    pub fn root(&self) -> Digest {
        let mut subtrees = self.subtrees.iter().flatten();
        let Some(smallest) = subtrees.next() else {
            return Digest::of(b"");
        };
        subtrees.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// Returns the hashes of the incomplete tile at `level`, 32 bytes each; nothing when there is none.
    pub fn edge(&self, level: u8) -> &[u8] {
        self.edges
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// Adds `hash` as the next node of tile level `tile_level` and carries complete pairs upward.
    fn carry(&mut self, tile_level: u8, hash: Digest, tiles: &mut Vec<Tile>) {
        let mut level = usize::from(tile_level) * TILE_HEIGHT as usize;
        let mut node = hash;
        loop {
            if level.is_multiple_of(TILE_HEIGHT as usize) {
                self.add_to_edge(level / TILE_HEIGHT as usize, &node, tiles);
            }
            if self.subtrees.len() <= level {
                self.subtrees.resize(level + 1, None);
            }
            let Some(place) = self.subtrees.get_mut(level) else {
                return;
            };
            let Some(left) = place.take() else {
                *place = Some(node);
                return;
            };
            node = node_hash(&left, &node);
            level += 1;
        }
    }

    fn add_to_edge(&mut self, tile_level: usize, node: &Digest, tiles: &mut Vec<Tile>) {
        if self.edges.len() <= tile_level {
            self.edges.resize(tile_level + 1, Vec::new());
        }
        let Some(edge) = self.edges.get_mut(tile_level) else {
            return;
        };
        edge.extend_from_slice(node.as_bytes());
        if edge.len() < TILE_BYTES {
            return;
        }
        let below = TILE_HEIGHT * (tile_level as u32 + 1);
        tiles.push(Tile {
            level: tile_level as u8,
            // A level so high that the shift overflows needs more leaves than can be counted.
            index: (self.size.checked_shr(below).unwrap_or(0)).saturating_sub(1),
            hashes: std::mem::replace(edge, Vec::with_capacity(HASH_BYTES)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_of_rfc_6962_come_out() {
        // The leaves and roots of the reference test vectors (RFC 6962 reference implementation).
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, root) in roots.into_iter().enumerate() {
            let found = root_of(leaves.iter().take(size).map(|leaf| leaf_hash(leaf)));
            assert_eq!(found.to_string(), format!("sha256:{root}"), "{size} leaves");
        }
    }
}

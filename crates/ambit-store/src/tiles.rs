//! An archive as a source of tiles, for proofs, export and the verifier.

use std::fmt;

use ambit_audit::{SourceError, TileSource};
use ambit_engine::{Archive, ArchiveError};

/// Shows an archive as tiles and entry bundles.
#[derive(Clone, Copy)]
pub struct ArchiveTiles<'a>(pub &'a dyn Archive);

impl fmt::Debug for ArchiveTiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArchiveTiles(..)")
    }
}

impl TileSource for ArchiveTiles<'_> {
    fn checkpoint(&self) -> Result<Option<String>, SourceError> {
        self.0.checkpoint().map_err(source_error("checkpoint"))
    }

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, SourceError> {
        let tile = self.0.tile(level, index, width);
        tile.map_err(source_error("hash tile"))
    }

    fn entries(&self, index: u64, width: u16) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
        let first = index.saturating_mul(u64::from(ambit_audit::TILE_WIDTH));
        let leaves = self.0.leaves(first, usize::from(width));
        leaves.map(Some).map_err(source_error("records"))
    }
}

fn source_error(what: &'static str) -> impl Fn(ArchiveError) -> SourceError {
    move |error| SourceError::read(what, error)
}

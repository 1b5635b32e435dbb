//! A log as files, as C2SP tlog-tiles lays them out: what `export` writes and `Directory` reads.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointError},
    tile::{
        BUNDLE_BYTES_MAX, BundleError, TILE_BYTES, TILE_WIDTH, TilePath, decode_with_surplus,
        encode_bundle,
    },
    verify::{SourceError, TileSource},
};

/// A log that lies as files under a directory.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// A log cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no checkpoint, so nothing to export.
    #[error("the log has no checkpoint yet; nothing can be exported")]
    NoCheckpoint,
    /// The checkpoint is malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Something of the log is missing.
    #[error("the log lacks {0}; run `ambit log verify`")]
    Missing(TilePath),
    /// A bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file cannot be written.
    #[error("could not write `{}`: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes the whole log to `to`: checkpoint, hash tiles and entry bundles, partial ones included. The checkpoint is
/// written last.
///
/// # Errors
/// The log cannot be read whole, or a file cannot be written.
pub fn export(source: &impl TileSource, to: &Path) -> Result<Checkpoint, ExportError> {
    let note = source.checkpoint()?.ok_or(ExportError::NoCheckpoint)?;
    let checkpoint = Checkpoint::parse_unverified(&note)?;
    for path in paths(checkpoint.size) {
        let bytes = match path {
            TilePath::Hashes {
                level,
                index,
                width,
            } => source.tile(level, index, width)?,
            TilePath::Entries { index, width } => match source.entries(index, width)? {
                Some(leaves) => Some(encode_bundle(&leaves)?),
                None => None,
            },
        };
        let bytes = bytes.ok_or(ExportError::Missing(path))?;
        write(&to.join(path.to_string()), &bytes)?;
    }
    write(&to.join("checkpoint"), note.as_bytes())?;
    Ok(checkpoint)
}

/// Iterates over the paths of all tiles and entry bundles of a log of `size` leaves.
pub(crate) fn paths(size: u64) -> impl Iterator<Item = TilePath> {
    let entries = widths(size).map(|(index, width)| TilePath::Entries { index, width });
    let levels = (0u8..8).flat_map(move |level| {
        let nodes = size >> (8 * u32::from(level));
        widths(nodes).map(move |(index, width)| TilePath::Hashes {
            level,
            index,
            width,
        })
    });
    entries.chain(levels)
}

fn widths(count: u64) -> impl Iterator<Item = (u64, u16)> {
    let full = count / u64::from(TILE_WIDTH);
    let rest = (count % u64::from(TILE_WIDTH)) as u16;
    let last = (rest > 0).then_some((full, rest));
    (0..full).map(|index| (index, TILE_WIDTH)).chain(last)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|source| ExportError::Write {
            path: path.to_owned(),
            source,
        })
}

impl Directory {
    /// Returns the log under `path`. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads a file of at most `bytes_max` bytes; one more is read of a longer one, so that it is refused as malformed.
    fn read(&self, relative: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.path.join(relative);
        let read = File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            let limit = bytes_max as u64 + 1;
            file.take(limit).read_to_end(&mut bytes).map(|_| bytes)
        });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SourceError::read(path.display().to_string(), error)),
        }
    }
}

impl TileSource for Directory {
    fn checkpoint(&self) -> Result<Option<String>, SourceError> {
        let bytes = self.read("checkpoint", CHECKPOINT_BYTES_MAX)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|error| SourceError::read("checkpoint", error))
    }

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, SourceError> {
        let path = TilePath::Hashes {
            level,
            index,
            width,
        };
        self.read(&path.to_string(), TILE_BYTES)
    }

    fn entries(&self, index: u64, width: u16) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
        let path = TilePath::Entries { index, width };
        let bundle = self.read(&path.to_string(), BUNDLE_BYTES_MAX)?;
        let leaves = bundle.map(|it| decode_with_surplus(&it)).transpose();
        leaves.map_err(|source| SourceError::Bundle { index, source })
    }
}

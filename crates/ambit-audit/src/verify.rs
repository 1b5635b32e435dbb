//! The offline verifier: believes nobody but the log's verifier key, and says where damage is.

use std::collections::{HashMap, HashSet};

use ambit_core::{
    DecisionId, Digest, TaskId, Timestamp,
    record::{Answer, Body, Status},
};

use crate::{
    checkpoint::{Checkpoint, CheckpointError, VerifierKey},
    encoding::{DecodeError, decode},
    tile::{BundleError, TILE_WIDTH, Tile, hashes_of},
    tree::{Frontier, leaf_hash},
};

/// Where a log can be read from: files, or a store.
pub trait TileSource {
    /// Returns the signed checkpoint.
    ///
    /// # Errors
    /// Reading failed.
    fn checkpoint(&self) -> Result<Option<String>, SourceError>;

    /// Returns the hash tile with exactly `width` hashes.
    ///
    /// # Errors
    /// Reading failed.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, SourceError>;

    /// Returns the leaves of the entry bundle with `width` leaves.
    ///
    /// # Errors
    /// Reading failed, or the bundle cannot be read.
    fn entries(&self, index: u64, width: u16) -> Result<Option<Vec<Vec<u8>>>, SourceError>;
}

/// A log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Reading failed.
    #[error("could not read `{what}` of the log: {source}")]
    Read {
        /// What was read.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An entry bundle is malformed.
    #[error("entry bundle {index} is malformed: {source}")]
    Bundle {
        /// Its place among the bundles.
        index: u64,
        /// Why.
        source: BundleError,
    },
}

impl SourceError {
    /// Returns the error of reading `what`, with its cause.
    pub fn read(
        what: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Read {
            what: what.into(),
            source: cause.into(),
        }
    }
}

/// A log that was found whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// What the signed checkpoint says, and what was found.
    pub checkpoint: Checkpoint,
    /// The time of the first record.
    pub first_at: Option<Timestamp>,
    /// The time of the last record.
    pub last_at: Option<Timestamp>,
    /// The permits whose acts have no known outcome, oldest first, with their tasks.
    pub open_acts: Vec<(DecisionId, TaskId)>,
    /// How many unknown outcomes people settled.
    pub settled_acts: u64,
}

/// A log was not found whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// There is no checkpoint.
    #[error(
        "the log has no checkpoint, and without one nothing can be verified; put back the one that belongs to it"
    )]
    NoCheckpoint,
    /// The checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log is damaged.
    #[error(
        "the log is damaged: {0}; put a whole copy in its place, or, when none is left, open a new log with `ambit recover`"
    )]
    Damage(#[from] Damage),
}

/// What is damaged, and where.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Leaves are missing.
    #[error("record {index} is missing, though the checkpoint signs {size} records")]
    Missing {
        /// The first index that is missing.
        index: u64,
        /// How many records the checkpoint signs.
        size: u64,
    },
    /// There are leaves that no checkpoint signs.
    #[error("record {index} stands in a bundle that ends before it")]
    Surplus {
        /// The first index too many.
        index: u64,
    },
    /// An entry bundle cannot be read.
    #[error("record {index} cannot be cut out of its entry bundle: {source}")]
    Bundle {
        /// The first index that cannot be read.
        index: u64,
        /// Why.
        source: BundleError,
    },
    /// A leaf is not the one that its tile vouches for.
    #[error(
        "record {index} is not the one that was written: hash tile {tile} of level 0 has another hash of it"
    )]
    Leaf {
        /// The record.
        index: u64,
        /// The tile that has another hash.
        tile: u64,
    },
    /// A tile has another hash than its leaf, though the leaves are those that the tree above vouches for.
    #[error(
        "hash tile {tile} of level 0 is not the one that was written: record {index} itself is as it was written"
    )]
    LeafHash {
        /// The tile.
        tile: u64,
        /// The record whose hash differs.
        index: u64,
    },
    /// A tile is missing or has another length.
    #[error("hash tile {index} of level {level} is missing or has a wrong length")]
    TileMissing {
        /// Its level.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// A tile is not the one that the entries give.
    #[error(
        "hash tile {index} of level {level} does not follow from the records: look at records {first_index} to {last_index}"
    )]
    Tile {
        /// Its level.
        level: u8,
        /// Its place in the level.
        index: u64,
        /// The first record below the hash that differs.
        first_index: u64,
        /// The last record below it.
        last_index: u64,
    },
    /// The root is not the signed one.
    #[error(
        "the records do not lead to the root that the checkpoint signs; full tiles agree with the records before {first_index}, so look first at those from there on"
    )]
    Root {
        /// The first record that stands in no full tile.
        first_index: u64,
    },
    /// The log is not a continuation of what was known of it.
    #[error(
        "the log's first {size} records are not those of the checkpoint known before: its history was rewritten"
    )]
    Forked {
        /// The size of the known checkpoint.
        size: u64,
    },
    /// The log is shorter than what was known of it.
    #[error("the log has {size} records, fewer than the {known} known before: it was rolled back")]
    RolledBack {
        /// How many it has.
        size: u64,
        /// How many it had.
        known: u64,
    },
    /// A record cannot be read.
    #[error("record {index} cannot be read: {source}")]
    Record {
        /// The record.
        index: u64,
        /// Why.
        source: DecodeError,
    },
    /// A record is earlier than the one before.
    #[error("record {index} is of {at}, earlier than the record before it")]
    TimeDecreases {
        /// The record.
        index: u64,
        /// Its time.
        at: Timestamp,
    },
    /// The log does not begin with its opening, or opens twice, or under another name.
    #[error("record {index} breaks the rule that a log opens once, first, under its own name")]
    Opening {
        /// The record.
        index: u64,
    },
    /// An outcome has no open permit.
    #[error(
        "record {index} is the outcome of {decision}, which permitted nothing that is still open"
    )]
    OutcomeWithoutPermit {
        /// The record.
        index: u64,
        /// The decision that it names.
        decision: DecisionId,
    },
    /// A person settled an act whose outcome was not unknown.
    #[error(
        "record {index} settles {decision}, whose outcome is not written as unknown, or was settled before"
    )]
    SettledWithoutUnknown {
        /// The record.
        index: u64,
        /// The decision that it names.
        decision: DecisionId,
    },
}

/// Verifies the whole log in `source`: its checkpoint's signature, every leaf, every tile, the root, every record, and
/// the order of records. When an earlier checkpoint is `known`, the log must continue it.
///
/// # Errors
/// The log cannot be read, or is not whole: the first damage found is named.
pub fn verify(
    source: &impl TileSource,
    key: &VerifierKey,
    known: Option<&Checkpoint>,
) -> Result<Verified, VerifyError> {
    let note = source.checkpoint().map_err(VerifyError::Source)?;
    let checkpoint = key.open(&note.ok_or(VerifyError::NoCheckpoint)?)?;
    let mut walk = Walk::new(source, &checkpoint, known)?;
    let width = u64::from(TILE_WIDTH);
    for bundle in 0..checkpoint.size.div_ceil(width) {
        let rest = checkpoint.size - bundle * width;
        walk.bundle(bundle, rest.min(width) as u16)?;
    }
    walk.edges()?;
    walk.root()?;
    let mut open_acts: Vec<_> = walk.story.open.into_iter().collect();
    open_acts.sort_unstable();
    Ok(Verified {
        open_acts,
        settled_acts: walk.story.settled,
        first_at: walk.story.first_at,
        last_at: walk.story.last_at,
        checkpoint,
    })
}

/// The way through a log from its first leaf to its last.
struct Walk<'a, S> {
    source: &'a S,
    checkpoint: &'a Checkpoint,
    known: Option<&'a Checkpoint>,
    frontier: Frontier,
    story: Story,
}

impl<'a, S: TileSource> Walk<'a, S> {
    fn new(
        source: &'a S,
        checkpoint: &'a Checkpoint,
        known: Option<&'a Checkpoint>,
    ) -> Result<Self, VerifyError> {
        let size = checkpoint.size;
        if let Some(known) = known.map(|it| it.size).filter(|known| *known > size) {
            return Err(Damage::RolledBack { size, known }.into());
        }
        let walk = Self {
            source,
            checkpoint,
            known,
            frontier: Frontier::new(),
            story: Story::new(&checkpoint.origin),
        };
        walk.compare_known()?;
        Ok(walk)
    }

    fn bundle(&mut self, bundle: u64, width: u16) -> Result<(), VerifyError> {
        let first = bundle * u64::from(TILE_WIDTH);
        let size = self.checkpoint.size;
        let leaves = match self.source.entries(bundle, width) {
            Ok(Some(leaves)) => leaves,
            Ok(None) => return Err(Damage::Missing { index: first, size }.into()),
            Err(SourceError::Bundle { source, .. }) => {
                let index = first + place_of(&source);
                return Err(Damage::Bundle { index, source }.into());
            }
            Err(error) => return Err(VerifyError::Source(error)),
        };
        let stored = self.stored(0, bundle, width)?;
        let mut tiles = Vec::new();
        for ((leaf, stored), index) in leaves.iter().zip(hashes_of(&stored)).zip(first..) {
            let hash = leaf_hash(leaf);
            if hash != stored {
                let tile = bundle;
                return Err(match self.leaves_follow(bundle, width, &leaves) {
                    Follow::Yes => Damage::LeafHash { tile, index }.into(),
                    Follow::No => Damage::Leaf { index, tile }.into(),
                });
            }
            self.story.record(index, leaf)?;
            self.frontier.push(hash, &mut tiles);
            self.compare_known()?;
        }
        let found = leaves.len() as u64;
        let index = first + found.min(u64::from(width));
        if found < u64::from(width) {
            return Err(Damage::Missing { index, size }.into());
        }
        if found > u64::from(width) {
            return Err(Damage::Surplus { index }.into());
        }
        tiles.iter().try_for_each(|tile| self.full_tile(tile))
    }

    /// Says whether the leaves of a bundle lead to what stands above it: the hash in the tile of level 1, or the signed root
    /// when the bundle is the incomplete one at the end.
    fn leaves_follow(&self, bundle: u64, width: u16, leaves: &[Vec<u8>]) -> Follow {
        if leaves.len() != usize::from(width) {
            return Follow::No;
        }
        let first = bundle * u64::from(TILE_WIDTH);
        let above = if width < TILE_WIDTH {
            let mut whole = self.frontier.clone();
            let known = whole.size().saturating_sub(first);
            let rest = leaves
                .iter()
                .skip(usize::try_from(known).unwrap_or(usize::MAX));
            rest.for_each(|leaf| whole.push(leaf_hash(leaf), &mut Vec::new()));
            whole.root() == self.checkpoint.root
        } else {
            let mut own = Frontier::new();
            let hashes = leaves.iter().map(|leaf| leaf_hash(leaf));
            hashes.for_each(|hash| own.push(hash, &mut Vec::new()));
            let per_tile = u64::from(TILE_WIDTH);
            let (tile, place) = (bundle / per_tile, (bundle % per_tile) as usize);
            let full = self.checkpoint.size / per_tile - tile * per_tile;
            let stored = self.stored(1, tile, full.min(per_tile) as u16);
            // Without the tile above, nothing vouches for the leaves.
            let above = stored.ok().and_then(|it| hashes_of(&it).nth(place));
            above == Some(own.root())
        };
        if above { Follow::Yes } else { Follow::No }
    }

    /// Compares a tile that the leaves complete with the stored one. Level 0 was compared leaf by leaf.
    fn full_tile(&self, tile: &Tile) -> Result<(), VerifyError> {
        if tile.level == 0 {
            return Ok(());
        }
        let stored = self.stored(tile.level, tile.index, TILE_WIDTH)?;
        compare(tile.level, tile.index, &tile.hashes, &stored)
    }

    /// Compares the incomplete tiles at the right edge.
    fn edges(&self) -> Result<(), VerifyError> {
        for level in 1u8..8 {
            let edge = self.frontier.edge(level);
            let width = (edge.len() / 32) as u16;
            if width == 0 {
                continue;
            }
            let index = self.checkpoint.size >> (8 * (u32::from(level) + 1)).min(63);
            let stored = self.stored(level, index, width)?;
            compare(level, index, edge, &stored)?;
        }
        Ok(())
    }

    fn root(&self) -> Result<(), VerifyError> {
        if self.frontier.root() == self.checkpoint.root {
            return Ok(());
        }
        let size = self.checkpoint.size;
        let first_index = size - size % u64::from(TILE_WIDTH);
        Err(Damage::Root { first_index }.into())
    }

    fn stored(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, VerifyError> {
        let stored = self.source.tile(level, index, width);
        let stored = stored.map_err(VerifyError::Source)?;
        stored
            .filter(|bytes| bytes.len() == usize::from(width) * 32)
            .ok_or_else(|| Damage::TileMissing { level, index }.into())
    }

    fn compare_known(&self) -> Result<(), VerifyError> {
        let known = self.known.filter(|it| it.size == self.frontier.size());
        if known.is_some_and(|it| it.root != self.frontier.root()) {
            let size = self.frontier.size();
            return Err(Damage::Forked { size }.into());
        }
        Ok(())
    }
}

fn compare(level: u8, index: u64, found: &[u8], stored: &[u8]) -> Result<(), VerifyError> {
    let differs = |(left, right): (Digest, Digest)| left != right;
    let Some(place) = hashes_of(found).zip(hashes_of(stored)).position(differs) else {
        return Ok(());
    };
    let leaves = 1u64 << (8 * u32::from(level)).min(63);
    let node = index * u64::from(TILE_WIDTH) + place as u64;
    let first_index = node.saturating_mul(leaves);
    Err(Damage::Tile {
        level,
        index,
        first_index,
        last_index: first_index.saturating_add(leaves - 1),
    }
    .into())
}

const fn place_of(error: &BundleError) -> u64 {
    match error {
        BundleError::Cut { place } | BundleError::LeafTooLong { place, .. } => *place as u64,
        BundleError::TooMany => TILE_WIDTH as u64,
    }
}

/// Whether leaves lead to what stands above them.
enum Follow {
    Yes,
    No,
}

/// What the records say, as far as their order goes.
struct Story {
    origin: String,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    /// The permits whose acts have no known outcome yet.
    open: HashMap<DecisionId, TaskId>,
    /// Those of which it is certain that nobody knows.
    unknown: HashSet<DecisionId>,
    /// How many of those people settled.
    settled: u64,
}

impl Story {
    fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            first_at: None,
            last_at: None,
            open: HashMap::new(),
            unknown: HashSet::new(),
            settled: 0,
        }
    }

    fn settle(&mut self, index: u64, decision: DecisionId, task: TaskId) -> Result<(), Damage> {
        let unknown = self.unknown.remove(&decision);
        if !unknown || self.open.remove(&decision) != Some(task) {
            return Err(Damage::SettledWithoutUnknown { index, decision });
        }
        self.settled += 1;
        Ok(())
    }

    fn record(&mut self, index: u64, leaf: &[u8]) -> Result<(), Damage> {
        let record = decode(leaf).map_err(|source| Damage::Record { index, source })?;
        let at = record.at;
        if self.last_at.is_some_and(|last| at < last) {
            return Err(Damage::TimeDecreases { index, at });
        }
        self.first_at = self.first_at.or(Some(at));
        self.last_at = Some(at);
        let opens =
            matches!(&record.body, Body::LogOpened { origin, .. } if *origin == self.origin);
        let is_opening = matches!(&record.body, Body::LogOpened { .. });
        if (index == 0) != is_opening || is_opening != opens {
            return Err(Damage::Opening { index });
        }
        match record.body {
            Body::Decided(decided) => {
                let task = decided.task;
                if let (Answer::Allow { .. }, Some(task)) = (decided.answer, task) {
                    self.open.insert(decided.decision, task);
                }
                Ok(())
            }
            Body::Performed(performed) => {
                let decision = performed.decision;
                if self.open.get(&decision) != Some(&performed.task) {
                    return Err(Damage::OutcomeWithoutPermit { index, decision });
                }
                // An unknown outcome may become known later.
                if performed.status == Status::Unknown {
                    self.unknown.insert(decision);
                } else {
                    self.open.remove(&decision);
                    self.unknown.remove(&decision);
                }
                Ok(())
            }
            Body::ActSettled { decision, task, .. } => self.settle(index, decision, task),
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::EstateApplied { .. }
            | Body::TaskStarted { .. }
            | Body::InstanceCertified { .. }
            | Body::TaskWaits { .. }
            | Body::TaskClaimed { .. }
            | Body::TaskAttended { .. }
            | Body::TaskEnded { .. }
            | Body::DelegationMade { .. }
            | Body::DelegationSpent { .. }
            | Body::DelegationWithdrawn { .. }
            | Body::ApprovalDecided { .. }
            | Body::Revoked { .. }
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::RevocationEffective { .. }
            | Body::ToolSeen { .. }
            | Body::ServerInspected { .. }
            | Body::KeysRotated { .. }
            | Body::Bundle(_)
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::TokenIssued(_)
            | Body::TokenRevoked { .. }
            | Body::RefusalsCoalesced { .. }
            | Body::StateDigest { .. } => Ok(()),
        }
    }
}

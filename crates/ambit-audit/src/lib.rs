//! What happened: the record encoding, the Merkle tree over the records, signed checkpoints, proofs, and the offline
//! verifier.
//!
//! A [`Log`] turns values into [`Recorded`] evidence: whoever holds one holds the proof that its record is durable.
//! The tree, its tiles and its checkpoints follow RFC 6962 and the C2SP specifications tlog-tiles, tlog-checkpoint and
//! signed-note, so that tools of others can check the log without Ambit.
//!
//! **Architecture invariant:** no SQL, no async, no clock, no policy. [`Recorded`] is made in one place, in
//! [`Pending::settle`].

mod checkpoint;
mod draft;
mod durable;
mod edges;
mod encoding;
mod export;
mod log;
mod proof;
mod resume;
mod tile;
mod tree;
mod verify;

pub use crate::{
    checkpoint::{Checkpoint, CheckpointError, KeyError, LogKey, VerifierKey},
    draft::{Draft, Fits},
    durable::{Attachment, Commit, Durable, DurableError, RowChange, Space},
    edges::Edges,
    encoding::{DecodeError, decode, encode},
    export::{Directory, ExportError, export},
    log::{Batch, Committed, Log, LogError, Pending, Recorded},
    proof::{Proof, ProofError, prove_consistency, prove_inclusion},
    resume::{Resume, ResumeError},
    tile::{BundleError, TILE_WIDTH, Tile, TilePath, decode_bundle, encode_bundle, partial_tile},
    tree::{Frontier, leaf_hash, node_hash},
    verify::{Damage, SourceError, TileSource, Verified, VerifyError, verify},
};

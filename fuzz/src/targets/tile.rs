//! Entry bundles and hash tiles: a log of any bytes is verified or refused, and never found whole unless its leaves are
//! records.

use ambit_audit::{
    Checkpoint, Frontier, LogKey, SourceError, TileSource, decode, decode_bundle, encode_bundle,
    leaf_hash, verify,
};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "tile",
    run,
    seeds,
    words: &["\"v\":1", "\"kind\":\""],
};

const NAME: &str = "example.org/log";

fn run(bytes: &[u8]) {
    let Ok(leaves) = decode_bundle(bytes) else {
        return;
    };
    let again = encode_bundle(&leaves).expect("what was read can be written");
    assert_eq!(again, bytes, "two spellings of one bundle");
    if leaves.is_empty() {
        return;
    }
    let key = LogKey::from_seed(&[7; 32]).expect("a key");
    let served = Served::of(&leaves, &key);
    let verified = verify(&served, &key.verifier(NAME).expect("a name"), None);
    let are_records = leaves.iter().all(|it| decode(it).is_ok());
    assert!(
        are_records || verified.is_err(),
        "what is no record is found whole"
    );
}

/// A log of up to 256 leaves, rightly hashed and signed.
struct Served {
    leaves: Vec<Vec<u8>>,
    hashes: Vec<u8>,
    checkpoint: String,
}

impl Served {
    fn of(leaves: &[Vec<u8>], key: &LogKey) -> Self {
        let mut frontier = Frontier::new();
        let mut hashes = Vec::new();
        for leaf in leaves {
            let hash = leaf_hash(leaf);
            hashes.extend_from_slice(hash.as_bytes());
            frontier.push(hash, &mut Vec::new());
        }
        let checkpoint = key.sign(&Checkpoint {
            origin: NAME.to_owned(),
            size: frontier.size(),
            root: frontier.root(),
        });
        Self {
            leaves: leaves.to_vec(),
            hashes,
            checkpoint,
        }
    }
}

impl TileSource for Served {
    fn checkpoint(&self) -> Result<Option<String>, SourceError> {
        Ok(Some(self.checkpoint.clone()))
    }

    fn tile(&self, level: u8, _: u64, width: u16) -> Result<Option<Vec<u8>>, SourceError> {
        let whole = usize::from(width) * 32 == self.hashes.len();
        let mut frontier = Frontier::new();
        let mut tiles = Vec::new();
        for leaf in &self.leaves {
            frontier.push(leaf_hash(leaf), &mut tiles);
        }
        Ok(match level {
            0 => whole.then(|| self.hashes.clone()),
            level => Some(frontier.edge(level).to_vec()),
        })
    }

    fn entries(&self, _: u64, _: u16) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
        Ok(Some(self.leaves.clone()))
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let golden = include_str!("../../../crates/ambit-audit/tests/golden/v1.jsonl");
    let leaves: Vec<Vec<u8>> = golden.lines().map(|it| it.as_bytes().to_vec()).collect();
    let first: Vec<Vec<u8>> = leaves.iter().take(1).cloned().collect();
    let full = vec![vec![0]; 256];
    let bundle = |leaves: &[Vec<u8>]| encode_bundle(leaves).expect("a bundle");
    vec![bundle(&leaves), bundle(&first), bundle(&full), bundle(&[])]
}

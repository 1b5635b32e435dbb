//! Checkpoints: none but the log's own text opens.

use ambit_audit::{Checkpoint, LogKey};
use ambit_core::Digest;

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "checkpoint",
    run,
    seeds,
    words: &[
        "\n\n\u{2014} ",
        "example.org/log",
        "\u{2014} example.org/log ",
    ],
};

const NAME: &str = "example.org/log";

fn run(bytes: &[u8]) {
    let Ok(note) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(believed) = Checkpoint::parse_unverified(note) {
        assert!(
            note.starts_with(&believed.text()),
            "two texts of one checkpoint"
        );
    }
    let key = key().verifier(NAME).expect("a name");
    if let Ok(opened) = key.open(note) {
        assert!(
            signed().contains(&opened),
            "a forged checkpoint opens: {opened:?}"
        );
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let witnessed = |it: &Checkpoint| key().sign(it) + "\u{2014} witness.example AAAAAAAA\n";
    signed()
        .iter()
        .map(|it| witnessed(it).into_bytes())
        .collect()
}

/// All that the key ever signed.
fn signed() -> [Checkpoint; 2] {
    [(0, Digest::of(b"")), (42, Digest::of(b"root"))].map(|(size, root)| Checkpoint {
        origin: NAME.to_owned(),
        size,
        root,
    })
}

fn key() -> LogKey {
    LogKey::from_seed(&[7; 32]).expect("a key")
}

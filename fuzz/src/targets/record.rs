//! Leaves of the log: a record has one spelling.

use ambit_audit::{decode, encode};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "record",
    run,
    seeds,
    words: &[
        "\"v\":1",
        "\"kind\":\"",
        "\"warrant\":{",
        "\"facts\":{",
        "sha256:",
        "task_",
        "dec_",
        "person_",
        "decision",
        "outcome",
        "revocation",
        "state.digest",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(record) = decode(bytes) else { return };
    assert_eq!(encode(&record), bytes, "two spellings of {record:?}");
}

/// Every kind of record, as the frozen golden log has it.
fn seeds() -> Vec<Vec<u8>> {
    let golden = include_str!("../../../crates/ambit-audit/tests/golden/v1.jsonl");
    golden.lines().map(|it| it.as_bytes().to_vec()).collect()
}

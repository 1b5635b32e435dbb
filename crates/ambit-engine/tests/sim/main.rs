//! The engine in the simulator: crashes, lost power, clocks that jump, revocations that race; every promise checked
//! from the log alone.
//!
//! `SEED=n cargo test -p ambit-engine --test sim` plays one seed again; `cargo xtask crash` plays many.

#![expect(
    clippy::panic,
    reason = "a test that finds something else than it expects must stop"
)]

mod found;

use std::collections::BTreeMap;

use ambit_testkit::sim::simulate;

/// How many seeds the tests play; `cargo xtask crash` gives more.
const SEEDS: u64 = 50;

/// Seeds that once found a mistake.
const FOUND: &[u64] = &[63, 68, 117, 190];

#[test]
fn no_seed_breaks_a_promise() {
    let number = |text: Option<&str>| text.and_then(|it| it.parse::<u64>().ok());
    if let Some(seed) = number(option_env!("SEED")) {
        check(&[seed]);
        return;
    }
    let seeds = number(option_env!("AMBIT_CRASH_SEEDS")).unwrap_or(SEEDS);
    let seeds: Vec<u64> = (0..seeds).chain(FOUND.iter().copied()).collect();
    let counts = check(&seeds);
    // A simulation in which nothing happens proves nothing.
    for what in HAPPENS {
        let count = counts.get(what).copied().unwrap_or(0);
        assert!(
            count >= SEEDS / 4,
            "`{what}` happened {count} times: {counts:?}"
        );
    }
}

#[test]
fn a_seed_plays_alike_again() {
    assert_eq!(check(&[7]), check(&[7]));
}

/// What must happen often enough.
const HAPPENS: &[&str] = &[
    "admit",
    "allow",
    "apply",
    "back",
    "certify",
    "child",
    "child by token",
    "dawdle",
    "delegate",
    "deny",
    "digest",
    "end",
    "exchange",
    "exchange token",
    "flood",
    "halt",
    "hold",
    "lose power",
    "perform",
    "revoke",
    "see",
    "spend",
    "tick",
    "token",
    "turn away",
    "verdict",
    "withdraw",
];

/// Plays the seeds, which must keep every promise, and returns how often each thing happened.
#[track_caller]
fn check(seeds: &[u64]) -> BTreeMap<&'static str, u64> {
    let play = |seeds: &[u64]| seeds.iter().map(|it| simulate(*it)).collect::<Vec<_>>();
    let (some, others) = seeds.split_at(seeds.len() / 2);
    let mut played = Vec::new();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| play(others));
        played.extend(play(some));
        let others = other.join();
        played.extend(others.unwrap_or_else(|_| panic!("a simulation died, see above")));
    });
    let (mut counts, mut failures) = (BTreeMap::new(), Vec::new());
    for result in played {
        match result {
            Ok(tally) => {
                for (what, count) in tally.counts {
                    *counts.entry(what).or_insert(0) += count;
                }
            }
            Err(failed) => failures.push(failed),
        }
    }
    if let Some(first) = failures.first() {
        let all: Vec<_> = failures
            .iter()
            .map(|it| format!("\nseed {}: {}", it.seed, it.broken))
            .collect();
        panic!("{first}\n{} seeds fail:{}", failures.len(), all.concat());
    }
    counts
}

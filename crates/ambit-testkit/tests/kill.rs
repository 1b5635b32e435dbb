//! SIGKILL under load: what a killed engine acknowledged is in its log, and the next one goes on.

#![cfg(test)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use ambit_engine::Archive;
use ambit_testkit::{
    TestClock,
    sim::{Laws, Site, check_whole, records},
};

/// How often the tests kill; `cargo xtask crash` kills more often.
const KILLS: u64 = 50;
/// How often one directory is lived in.
const LIVES: u64 = 4;

#[test]
fn a_killed_engine_lost_nothing() {
    let kills = option_env!("AMBIT_CRASH_KILLS").and_then(|it| it.parse().ok());
    let mut acknowledged = 0;
    for place in 0..kills.unwrap_or(KILLS).div_ceil(LIVES) {
        let directory = tempfile::tempdir().unwrap();
        let mut known = Vec::new();
        for life in 0..LIVES {
            let said = live(directory.path(), life, place);
            acknowledged += said.len();
            known = check(directory.path(), life, &known, &said);
        }
    }
    assert!(acknowledged > 100, "hardly anything was acknowledged");
}

/// Lets an engine live until it has said so much, kills it, and returns all that it said.
fn live(directory: &Path, life: u64, place: u64) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kill_target"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{life} {}", directory.display()).unwrap();
    drop(input);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    // When it is killed is drawn from how far it came; where that is inside the engine, nobody knows.
    let enough = (place * 131 + life * 71) % 300;
    while said.len() < enough as usize {
        match line(&mut output) {
            Some(line) => said.push(line),
            None => died(&mut child, &said),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(line) = line(&mut output) {
        said.push(line);
    }
    said
}

/// Reads a whole line; one that was cut off by the kill was not said.
fn line(output: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.strip_suffix('\n').map(str::to_owned)
}

fn died(child: &mut Child, said: &[String]) -> ! {
    let status = child.wait().unwrap();
    panic!("it died by itself ({status}) after {:?}", said.last());
}

/// Opens the engine again and checks what it promised. Returns the log.
fn check(directory: &Path, life: u64, known: &[Vec<u8>], said: &[String]) -> Vec<Vec<u8>> {
    let clock = TestClock::new(1000 + life);
    clock.advance(ambit_core::Millis::from_seconds(life * 600 + 300));
    let site = Site::new(directory, None, clock);
    let engine = site.open().unwrap();
    let archive: &dyn Archive = engine.archive.as_ref();
    let mut laws: Laws = site.laws();
    let mut leaves = Vec::new();
    for (leaf, record) in records(archive, 0).unwrap() {
        laws.take(&record).unwrap();
        leaves.push(leaf);
    }
    assert_eq!(leaves.get(..known.len()), Some(known), "a record was lost");
    for claim in said {
        assert!(
            laws.holds(claim),
            "`{claim}` was said, and is not in the log"
        );
    }
    assert!(laws.unaccounted().is_empty(), "{:?}", laws.unaccounted());
    check_whole(archive, &site.verifier()).unwrap();
    leaves
}

//! Drives one target of `ambit-fuzz` with libFuzzer. `cargo xtask fuzz` builds and starts it.
//!
//! libFuzzer owns the arguments, so what is ours comes by the environment: `AMBIT_FUZZ_TARGET` names the target, and
//! `AMBIT_FUZZ_SEEDS` the directory into which its seeds and its dictionary are written first. Without a target, the
//! names of all targets are printed.

#![no_main]

use std::{path::Path, process::exit, sync::OnceLock};

use ambit_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: start(),
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(bytes);
        }
    }
);

/// Finds the target and lays its seeds down; libFuzzer reads them after this.
fn start() {
    let Some(name) = std::env::var_os("AMBIT_FUZZ_TARGET") else {
        for target in TARGETS {
            println!("{}", target.name);
        }
        exit(0);
    };
    let Some(target) = TARGETS.iter().find(|it| name == it.name) else {
        eprintln!("there is no such target");
        exit(2);
    };
    if let Some(place) = std::env::var_os("AMBIT_FUZZ_SEEDS") {
        if let Err(error) = lay(target, Path::new(&place)) {
            eprintln!("could not write the seeds to {}: {error}", place.display());
            exit(2);
        }
    }
    let _first = TARGET.set(target);
}

fn lay(target: &Target, place: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(place)?;
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        std::fs::write(place.join(format!("seed-{number:03}")), seed)?;
    }
    let words: String = target.words.iter().map(|it| entry(it)).collect();
    std::fs::write(place.with_extension("dict"), words)
}

/// Writes a word as a line of a libFuzzer dictionary.
fn entry(word: &str) -> String {
    let mut line = String::from("\"");
    for byte in word.bytes() {
        line.push_str(&format!("\\x{byte:02x}"));
    }
    line.push_str("\"\n");
    line
}

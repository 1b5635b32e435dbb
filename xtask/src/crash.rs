//! `cargo xtask crash`: many seeds of the simulator, many losses of power, many kills.

use std::process::Command;
use std::time::Instant;

use crate::failure::Failure;
use crate::root;
use crate::step::{self, Step};

/// How many seeds the simulator plays when no number is given.
const SEEDS: u64 = 1000;

/// Plays the simulator, the torn disk and the kills, fast and with every check that can fail.
///
/// # Errors
/// When a promise was broken: the output names the seed.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    let seeds = parse(options)?;
    let start = Instant::now();
    let steps = [
        Step::take("simulator", || test("ambit-engine", "sim", seeds)),
        Step::take("torn disk", || test("ambit-testkit", "torn_disk", seeds)),
        Step::take("disk faults", || test("ambit-testkit", "faults", seeds)),
        Step::take("kills", || test("ambit-testkit", "kill", seeds)),
    ];
    let failed = steps.iter().filter(|it| it.failure.is_some());
    let failed: Vec<_> = failed.map(|it| it.name).collect();
    if !failed.is_empty() {
        return Err(Failure::Steps(failed.join(", ")));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("xtask crash: ok, {seeds} seeds and as many kills in {seconds:.1} s");
    Ok(())
}

fn parse(options: &[String]) -> Result<u64, Failure> {
    let usage = || Failure::Usage("usage: cargo xtask crash [SEEDS]".to_owned());
    match options {
        [] => Ok(SEEDS),
        [seeds] => seeds.parse().map_err(|_| usage()),
        _ => Err(usage()),
    }
}

/// Runs one test binary with this many rounds. The number goes into the binary, which reads no environment.
fn test(package: &str, binary: &str, rounds: u64) -> Result<(), Failure> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    let rounds = rounds.to_string();
    command
        .current_dir(root())
        .args(["test", "--profile", "hunt", "-p", package])
        .args(["--test", binary])
        .env("AMBIT_CRASH_SEEDS", &rounds)
        .env("AMBIT_CRASH_KILLS", &rounds);
    step::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::{SEEDS, parse};

    fn check(options: &[&str], expected: Option<u64>) {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        assert_eq!(parse(&options).ok(), expected, "{options:?}");
    }

    #[test]
    fn the_one_option_is_how_many_seeds() {
        check(&[], Some(SEEDS));
        check(&["10"], Some(10));
        check(&["--many"], None);
        check(&["1", "2"], None);
    }
}

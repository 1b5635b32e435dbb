//! `cargo xtask fuzz`: libFuzzer on every reader of others' bytes, with the one stable toolchain.
//!
//! The pass that counts which code an input reaches is LLVM's and reached through flags that are stable
//! (<https://clang.llvm.org/docs/SanitizerCoverage.html>). What stays on nightly is AddressSanitizer; here no code of ours
//! is unsafe, and what is looked for are panics, overflows, broken laws, hangs and hunger.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::root;
use crate::step::{self, Step};

/// How long each target is fuzzed when nobody says.
const SECONDS: u64 = 60;

/// The longest input, in bytes. Limits beyond it have tests of their own.
const INPUT_BYTES_MAX: u32 = 8192;

/// An input that takes longer is a finding, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;

/// A process that grows beyond it is a finding, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;

/// Counts edges, with a counter for each, the table of their places, and the values that are compared.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

const USAGE: &str = "usage: cargo xtask fuzz [TARGET...] [--seconds N] [--input FILE]

  TARGET        the names in fuzz/src/targets; all of them when none is named
  --seconds N   how long each target is fuzzed [60]
  --input FILE  feed this one file to the one TARGET, and say what happens

What is found stays in target/fuzz: corpus/TARGET grows from run to run, found/TARGET holds inputs that broke a law,
logs/TARGET.log is libFuzzer's own word. A C++ compiler is needed.";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Ask {
    targets: Vec<String>,
    seconds: u64,
    input: Option<PathBuf>,
}

/// Fuzzes the targets one after another.
///
/// # Errors
/// When the driver can't be built, a target is unknown, or a law was broken.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    let ask = parse(options)?;
    let place = root().join("target/fuzz");
    let driver = build(&place)?;
    let all = names(&driver)?;
    if let Some(unknown) = ask.targets.iter().find(|it| !all.contains(it)) {
        let all = all.join(", ");
        let text = format!("no target is called {unknown}; there are: {all}");
        return Err(Failure::Usage(text));
    }
    if let (Some(input), [target]) = (&ask.input, ask.targets.as_slice()) {
        let mut command = Command::new(&driver);
        return step::run(command.env("AMBIT_FUZZ_TARGET", target).arg(input));
    }
    let chosen = if ask.targets.is_empty() {
        &all
    } else {
        &ask.targets
    };
    let mut failed = Vec::new();
    for target in chosen {
        let step = Step::take("fuzz", || fuzz(&driver, &place, target, ask.seconds));
        if step.failure.is_some() {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Steps(failed.join(", ")))
}

fn parse(options: &[String]) -> Result<Ask, Failure> {
    let usage = || Failure::Usage(USAGE.to_owned());
    let mut ask = Ask {
        targets: Vec::new(),
        seconds: SECONDS,
        input: None,
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.as_str() {
            "--seconds" => {
                let number = options.next().and_then(|it| it.parse().ok());
                ask.seconds = number.filter(|it| *it > 0).ok_or_else(usage)?;
            }
            "--input" => ask.input = Some(options.next().ok_or_else(usage)?.into()),
            flag if flag.starts_with('-') => return Err(usage()),
            target => ask.targets.push(target.to_owned()),
        }
    }
    if ask.input.is_some() && ask.targets.len() != 1 {
        return Err(usage());
    }
    Ok(ask)
}

/// Builds the driver with counters in everything, away from other builds, and returns where it is.
fn build(place: &Path) -> Result<PathBuf, Failure> {
    let host = host()?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    // With a target, the flags leave build scripts alone: these have no runtime that the counters could report to.
    command
        .current_dir(root())
        .args(["build", "-p", "ambit-fuzz-driver", "--features"])
        .args(["libfuzzer", "--profile", "hunt", "--target", &host])
        .arg("--target-dir")
        .arg(place)
        .env("RUSTFLAGS", COVERAGE.join(" "));
    step::run(&mut command)?;
    Ok(place.join(host).join("fuzz/ambit-fuzz-driver"))
}

/// The triple of this machine, as the compiler calls it.
fn host() -> Result<String, Failure> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|it| it.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failure::Missing("`rustc -vV` names no host".to_owned()))
}

fn names(driver: &Path) -> Result<Vec<String>, Failure> {
    let text = output(Command::new(driver).env_remove("AMBIT_FUZZ_TARGET"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn output(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Failure::Start { program, source })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fuzzes one target and tells what it reached.
fn fuzz(driver: &Path, place: &Path, target: &str, seconds: u64) -> Result<(), Failure> {
    let below = |name: &str| place.join(name).join(target);
    let (corpus, seeds, found) = (below("corpus"), below("seeds"), below("found"));
    let log = place.join("logs").join(format!("{target}.log"));
    for folder in [&corpus, &seeds, &found, &place.join("logs")] {
        std::fs::create_dir_all(folder).map_err(|source| file("create", folder, source))?;
    }
    let words = std::fs::File::create(&log).map_err(|source| file("write", &log, source))?;
    let mut command = Command::new(driver);
    command
        .env("AMBIT_FUZZ_TARGET", target)
        .env("AMBIT_FUZZ_SEEDS", &seeds)
        .args([&corpus, &seeds])
        .arg(format!("-dict={}.dict", seeds.display()))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .args(["-use_value_profile=1", "-print_final_stats=1"])
        .stderr(words);
    let result = step::run(&mut command);
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    println!("    {target}: {}", reached(&text));
    if result.is_err() {
        println!("    the law and the input: {}", log.display());
        println!("    again: cargo xtask fuzz {target} --input FILE, with a file of");
        println!("    {}", found.display());
    }
    result
}

fn file(attempt: &'static str, path: &Path, source: std::io::Error) -> Failure {
    Failure::File {
        attempt,
        path: path.to_owned(),
        source,
    }
}

/// What libFuzzer says of a run: how much was tried, and the edges at its beginning and end.
fn reached(log: &str) -> String {
    let after = |line: &str, mark: &str| {
        let rest = line.split_once(mark)?.1;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let mut edges = log.lines().filter_map(|it| after(it, " cov: "));
    let first = edges.next().unwrap_or_else(|| "?".to_owned());
    let last = edges.next_back().unwrap_or_else(|| first.clone());
    let total = |name: &str| {
        let found = log.lines().find_map(|it| after(it, name));
        found.unwrap_or_else(|| "?".to_owned())
    };
    let executed = total("stat::number_of_executed_units:");
    let rate = total("stat::average_exec_per_sec:");
    format!("{executed} inputs, {rate} a second, edges {first} -> {last}")
}

#[cfg(test)]
mod tests {
    use super::{Ask, SECONDS, parse, reached};

    fn check(options: &[&str], expected: Option<(&[&str], u64, Option<&str>)>) {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let expected = expected.map(|(targets, seconds, input)| Ask {
            targets: targets.iter().map(|&it| it.to_owned()).collect(),
            seconds,
            input: input.map(Into::into),
        });
        assert_eq!(parse(&options).ok(), expected, "{options:?}");
    }

    #[test]
    fn targets_seconds_and_one_input_are_options() {
        check(&[], Some((&[], SECONDS, None)));
        check(&["json", "tile"], Some((&["json", "tile"], SECONDS, None)));
        check(&["--seconds", "5", "json"], Some((&["json"], 5, None)));
        let one = Some((&["json"] as &[&str], SECONDS, Some("a")));
        check(&["json", "--input", "a"], one);
        check(&["--input", "a"], None);
        check(&["--seconds"], None);
        check(&["--seconds", "0"], None);
        check(&["--fast"], None);
    }

    #[test]
    fn a_run_is_told_by_its_own_log() {
        let log = "#2\tINITED cov: 8 ft: 9 corp: 1/1b\n#9\tDONE   cov: 10 ft: 10 corp: 3/9b\n\
            stat::number_of_executed_units: 9\nstat::average_exec_per_sec:     3\n";
        assert_eq!(reached(log), "9 inputs, 3 a second, edges 8 -> 10");
        assert_eq!(reached(""), "? inputs, ? a second, edges ? -> ?");
    }
}

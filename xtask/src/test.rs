//! `cargo xtask test`: the one command that checks, lints and tests everything.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::failure::Failure;
use crate::step::{self, Step};
use crate::{house, root, tools};

/// Whether the judges (the programs of others) take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judges {
    Run,
    Leave,
}

/// Runs every check and test; a failed step does not stop the later ones.
///
/// # Errors
/// When any step failed, naming all that did.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    let judges = parse(options)?;
    let start = Instant::now();
    let root = root();
    let mut steps = checks(&root);
    summarise_checks(&steps);
    let mut tools = None;
    if judges == Judges::Run {
        steps.push(Step::take("tools", || {
            tools = Some(tools::install(&root)?);
            Ok(())
        }));
    }
    if let Some(tools) = &tools {
        steps.push(Step::take("judge the judges", || tools.check()));
    }
    let place = tools.as_ref().map(tools::Tools::place);
    steps.extend(tests(&root, place));
    finish(&steps, start.elapsed().as_secs_f64())
}

fn parse(options: &[String]) -> Result<Judges, Failure> {
    let mut judges = Judges::Run;
    for option in options {
        match option.as_str() {
            "--fast" => judges = Judges::Leave,
            other => {
                let text = format!("unknown option {other}; usage: cargo xtask test [--fast]");
                return Err(Failure::Usage(text));
            }
        }
    }
    Ok(judges)
}

fn checks(root: &Path) -> Vec<Step> {
    let mut steps = vec![
        Step::take("fmt", || {
            step::run(cargo(root).args(["fmt", "--all", "--check"]))
        }),
        Step::take("clippy", || {
            let scope = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--features",
                JUDGES,
            ];
            step::run(cargo(root).args(scope).args(["--", "-D", "warnings"]))
        }),
        Step::take("house", || house::run(&[])),
    ];
    if step::succeeds(cargo(root).args(["deny", "--version"])) {
        steps.push(Step::take("deny", || {
            step::run(cargo(root).args(["deny", "check"]))
        }));
    } else {
        println!("==> deny: advisories are left out, for cargo-deny is not installed");
    }
    steps
}

/// The cargo features that turn the judges' tests on.
const JUDGES: &str = "ambit/judges,ambit-identity/judges";

fn tests(root: &Path, tools: Option<&Path>) -> Vec<Step> {
    let with_judges = |command: &mut Command| {
        if let Some(place) = tools {
            command
                .args(["--features", JUDGES])
                .env("AMBIT_TOOLS", place);
        }
        step::run(command)
    };
    if !step::succeeds(cargo(root).args(["nextest", "--version"])) {
        let scope = ["test", "--workspace", "--no-fail-fast"];
        return vec![Step::take("tests", || {
            with_judges(strict_doctests(cargo(root).args(scope), root))
        })];
    }
    vec![
        Step::take("doctests", || {
            let scope = ["test", "--doc", "--workspace"];
            step::run(strict_doctests(cargo(root).args(scope), root))
        }),
        Step::take("tests", || {
            let scope = ["nextest", "run", "--workspace", "--no-fail-fast"];
            with_judges(cargo(root).args(scope))
        }),
    ]
}

/// Holds the compile-fail tests to the error that they name: forging evidence must fail for the reason that it is private.
fn strict_doctests<'a>(command: &'a mut Command, root: &Path) -> &'a mut Command {
    command.env("RUSTDOC", root.join("xtask/rustdoc"))
}

/// Tells of the checks in the words of libtest, so that its readers count them too.
fn summarise_checks(steps: &[Step]) {
    println!("\nrunning {} checks", steps.len());
    for step in steps {
        println!("test check::{} ... {}", step.name, step.word());
    }
    let failed = steps.iter().filter(|step| step.failure.is_some()).count();
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let passed = steps.len().saturating_sub(failed);
    let seconds: f64 = steps.iter().map(|step| step.seconds).sum();
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         0 filtered out; finished in {seconds:.2}s\n"
    );
}

fn finish(steps: &[Step], seconds: f64) -> Result<(), Failure> {
    println!();
    for step in steps {
        println!("{:>8.1} s  {:<6}  {}", step.seconds, step.word(), step.name);
    }
    let failed: Vec<&str> = steps
        .iter()
        .filter(|step| step.failure.is_some())
        .map(|step| step.name)
        .collect();
    if failed.is_empty() {
        println!("xtask test: ok, {} steps in {seconds:.1} s", steps.len());
        return Ok(());
    }
    Err(Failure::Steps(failed.join(", ")))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.current_dir(root);
    command
}

#[cfg(test)]
mod tests {
    use super::{Judges, parse};

    fn check(options: &[&str], expected: Option<Judges>) {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        assert_eq!(parse(&options).ok(), expected, "{options:?}");
    }

    #[test]
    fn only_fast_leaves_the_judges_out() {
        check(&[], Some(Judges::Run));
        check(&["--fast"], Some(Judges::Leave));
        check(&["--slow"], None);
    }
}

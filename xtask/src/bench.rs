//! `cargo xtask bench`: builds the measurements as for service and runs them.

use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::{root, step};

/// Builds and runs the measurements; the options are theirs.
///
/// # Errors
/// When they can't be built, or one of them could not be taken. A missed bar is printed, not an error.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    if options
        .iter()
        .any(|it| matches!(it.as_str(), "-h" | "--help"))
    {
        println!("{USAGE}");
        return Ok(());
    }
    let root = root();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let scope = [
        "build",
        "--profile",
        "dist",
        "--package",
        "ambit",
        "--example",
        "bench",
        "--bin",
        "ambit",
    ];
    step::run(Command::new(cargo).current_dir(&root).args(scope))?;
    step::run(
        Command::new(program(&root))
            .current_dir(&root)
            .args(options),
    )
}

fn program(root: &Path) -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root.join("target"), std::path::PathBuf::from);
    root.join(target).join("dist/examples/bench")
}

const USAGE: &str = "\
usage: cargo xtask bench [--quick] [--only PARTS] [--dir DIRECTORY]

Measures Ambit on this machine and holds the figures against their bars.
  --quick           fewer rounds, a shorter log, fewer tasks: under two minutes
  --only PARTS      some of decision,append,engine,start,ladder,revoke,svid,token
  --dir DIRECTORY   where files are made, on the disk to be measured [target/bench]

What each figure means: docs/reference/performance.md. Run it on a quiet machine.";

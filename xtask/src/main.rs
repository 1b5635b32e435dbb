//! The chores of the house: `cargo xtask CHORE`. One file for each chore.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "chores talk to their terminal"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "chores read the clock and the environment"
)]

mod bench;
mod crash;
mod failure;
mod fuzz;
mod house;
mod openapi;
mod step;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use failure::Failure;

/// A chore: its name, what it does, and the function that does it.
struct Chore {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

/// All chores, in the order that `--help` lists them.
const CHORES: &[Chore] = &[
    Chore {
        name: "test",
        about: "check, lint and test everything, with the judges [--fast: without them]",
        run: test::run,
    },
    Chore {
        name: "house",
        about: "check the floor plan and the house rules",
        run: house::run,
    },
    Chore {
        name: "bench",
        about: "measure Ambit on this machine [--quick: in under two minutes]",
        run: bench::run,
    },
    Chore {
        name: "crash",
        about: "play the simulator, lose power and kill, often [SEEDS: 1000]",
        run: crash::run,
    },
    Chore {
        name: "fuzz",
        about: "feed bred bytes to every reader of others' bytes [TARGET...] [--seconds 60]",
        run: fuzz::run,
    },
    Chore {
        name: "openapi",
        about: "write the OpenAPI document of the control API",
        run: openapi::run,
    },
    Chore {
        name: "tools",
        about: "install what the judges need, pinned",
        run: tools::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            let mut cause = std::error::Error::source(&failure);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(Failure::Usage(usage()));
    };
    if matches!(name.as_str(), "-h" | "--help" | "help") {
        println!("{}", usage());
        return Ok(());
    }
    match CHORES.iter().find(|chore| chore.name == name) {
        Some(chore) => (chore.run)(rest),
        None => Err(Failure::Usage(format!(
            "no chore is called {name}\n{}",
            usage()
        ))),
    }
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask CHORE [OPTIONS]\n\nchores:");
    for chore in CHORES {
        text.push_str(&format!("\n  {:<8} {}", chore.name, chore.about));
    }
    text
}

/// The root of the workspace: the directory above this crate.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

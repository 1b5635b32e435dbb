//! Measures Ambit, each figure as a ratio within one run. `cargo xtask bench` builds and runs it.
//!
//! The program starts itself again in other roles (upstream, relay, gateway, load), so that the processor time of
//! each is its own. A role ends when its standard input does.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program's purpose is to print"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and its arguments"
)]

mod append;
mod cached;
mod caller;
mod cut;
mod decision;
mod engine;
mod es256;
mod http;
mod ladder;
mod load;
mod machine;
mod options;
mod pushed;
mod relay;
mod role;
mod serve;
mod spread;
mod start;
mod svid;
mod token;
mod upstream;
mod whole;

use std::{process::ExitCode, time::Instant};

use options::Options;

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever stops a measurement.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A part of the report: measures and prints.
type Part = fn(&Options, &machine::Sync) -> Result<(), Failure>;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = match arguments.first() {
        Some(first) if !first.starts_with("--") => Some(arguments.remove(0)),
        _ => None,
    };
    let done = match role.as_deref() {
        None => report(&arguments),
        Some("upstream") => upstream::run(),
        Some("relay") => relay::run(&arguments),
        Some("gateway") => role::gateway(&arguments),
        Some("load") => load::run(&arguments),
        Some("once") => engine::once(&arguments),
        Some(other) => Err(format!("there is no role `{other}`").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            let mut cause = failure.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn report(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::read(arguments)?;
    let begun = Instant::now();
    std::fs::create_dir_all(&options.directory)?;
    machine::describe(&options)?;
    let sync = machine::measure_sync(&options)?;
    println!("\nF, one fdatasync after an append of 512 B: {sync} µs");
    let parts: [(&str, Part); 8] = [
        ("decision", decision::report),
        ("append", append::report),
        ("engine", engine::report),
        ("start", start::report),
        ("ladder", ladder::report),
        ("revoke", cut::report),
        ("svid", svid::report),
        ("token", token::report),
    ];
    for (name, part) in parts {
        if options.wants(name) {
            part(&options, &sync)?;
        }
    }
    let load = machine::load()?;
    println!(
        "\n{:.0} s in all; load average at the end: {load}",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

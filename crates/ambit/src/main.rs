//! The program: command line, configuration, wiring. The only reader of arguments, environment and clock.

mod cli;
mod client;
mod clock;
mod config;
mod demo;
mod output;
mod problem;
mod run;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

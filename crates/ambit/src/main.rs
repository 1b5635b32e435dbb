//! The program: command line, configuration, wiring. The only reader of arguments, environment and clock.

mod cli;
mod client;
mod clock;
mod config;
mod demo;
mod login;
mod output;
mod problem;
mod run;
mod serve;

use std::process::ExitCode;

/// An act makes hundreds of small values on one thread that die on another, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

//! Steps: named, timed, and listed at the end.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::failure::Failure;

/// How one step went.
#[derive(Debug)]
pub(crate) struct Step {
    /// What the step is called.
    pub(crate) name: &'static str,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// What went wrong, when something did.
    pub(crate) failure: Option<Failure>,
}

impl Step {
    /// Does one step and says on the terminal how it went.
    pub(crate) fn take(name: &'static str, work: impl FnOnce() -> Result<(), Failure>) -> Self {
        println!("==> {name}");
        let start = Instant::now();
        let failure = work().err();
        let seconds = start.elapsed().as_secs_f64();
        match &failure {
            None => println!("    {name}: ok in {seconds:.1} s"),
            Some(failure) => println!("    {name}: FAILED in {seconds:.1} s: {failure}"),
        }
        Self {
            name,
            seconds,
            failure,
        }
    }

    /// `ok` or `FAILED`.
    pub(crate) const fn word(&self) -> &'static str {
        if self.failure.is_none() {
            "ok"
        } else {
            "FAILED"
        }
    }
}

/// Runs a command with the terminal as its output.
///
/// # Errors
/// When it can't be started or ends with a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Failure::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Exit {
        command: line(command),
        status,
    })
}

/// Whether a command can be started and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

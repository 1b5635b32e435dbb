//! What is to be measured, and for how long.

use std::{path::PathBuf, time::Duration};

use crate::Failure;

/// The options of one run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where files are made: on the disk that is measured.
    pub(crate) directory: PathBuf,
    /// How often each figure is taken.
    pub(crate) rounds: usize,
    /// How long one round under load lasts.
    pub(crate) span: Duration,
    /// How many records the log of the start has.
    pub(crate) records: u64,
    /// How many calls one round of the engine makes.
    pub(crate) calls: usize,
    /// How many tasks are live.
    pub(crate) tasks: usize,
    /// How many revocations are timed.
    pub(crate) revocations: usize,
    only: Vec<String>,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn read(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            directory: PathBuf::from("target/bench"),
            rounds: 5,
            span: Duration::from_millis(1500),
            records: 1_000_000,
            calls: 16_384,
            tasks: 10_000,
            revocations: 60,
            only: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--quick" => {
                    options.rounds = 3;
                    options.span = Duration::from_millis(300);
                    options.records = 100_000;
                    options.calls = 4096;
                    options.tasks = 1000;
                    options.revocations = 12;
                }
                "--dir" => {
                    options.directory = rest.next().ok_or("--dir wants a directory")?.into();
                }
                "--only" => {
                    let parts = rest
                        .next()
                        .ok_or("--only wants parts, such as decision,append")?;
                    options.only = parts.split(',').map(str::to_owned).collect();
                }
                other => return Err(format!("unknown option {other}; {USAGE}").into()),
            }
        }
        Ok(options)
    }

    /// Says whether the part called `name` is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it == name)
    }
}

/// Returns what follows `name` among the arguments of a role.
pub(crate) fn value<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|it| it == name)?;
    arguments.get(place + 1).map(String::as_str)
}

/// Returns the number that follows `name` among the arguments of a role.
pub(crate) fn number<T: std::str::FromStr>(arguments: &[String], name: &str) -> Result<T, Failure> {
    let text = value(arguments, name).ok_or_else(|| format!("{name} is missing"))?;
    text.parse()
        .map_err(|_| format!("{name} {text} is no number").into())
}

const USAGE: &str = "options: --quick, --dir DIRECTORY, --only decision,append,engine,start,ladder,revoke,svid,token";

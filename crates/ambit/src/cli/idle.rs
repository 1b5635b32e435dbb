//! The options of every command, where they would do nothing: said, and not passed over.

use clap::{ArgMatches, parser::ValueSource};

use crate::problem::Problem;

/// Which of the options of every command do nothing for a command. A variable of the environment that names one is no
/// mistake: it is meant for other commands.
const IDLE: [(&[&str], &[&str]); 11] = [
    (&["demo"], &["state", "control", "server", "output"]),
    (&["completions"], &["state", "control", "server", "output"]),
    (&["check"], &["state", "control", "server"]),
    (&["dev"], &["control", "server"]),
    (&["serve"], &["control", "server"]),
    (&["recover"], &["control", "server"]),
    (&["log", "verify"], &["control", "server"]),
    (&["log", "rebuild"], &["control", "server"]),
    (&["log", "replay"], &["control", "server"]),
    (&["log", "export"], &["control", "server"]),
    (&["logout"], &["state", "control", "server"]),
];

/// Refuses an option on the command line that does nothing for the command.
pub(super) fn refuse(matches: &ArgMatches) -> Result<(), Problem> {
    let mut words = Vec::new();
    let mut inner = matches;
    while let Some((word, next)) = inner.subcommand() {
        words.push(word);
        inner = next;
    }
    let idle = IDLE.iter().find(|(command, _)| words.starts_with(command));
    let mut idle = idle.map_or(&[][..], |(_, options)| options).iter();
    let given = |it: &&&str| inner.value_source(it) == Some(ValueSource::CommandLine);
    match idle.find(given) {
        None => Ok(()),
        Some(option) => Err(Problem::Usage(format!(
            "`ambit {}` does nothing with --{option}; leave it out",
            words.join(" ")
        ))),
    }
}

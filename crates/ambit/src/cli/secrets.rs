//! `ambit secret …`.

use std::io::{self, IsTerminal, Read};

use ambit_broker::SECRET_BYTES_MAX;
use ambit_core::json::Value;
use clap::Subcommand;

use super::{Session, tasks::segment};
use crate::problem::Problem;

/// The end of a line, which files have and secrets don't, in bytes.
const LINE_END_BYTES: u64 = 2;

/// What to do with credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Seals a credential that is read from standard input; nobody can read it back
    #[command(after_help = "Example:\n  ambit secret set tickets-token < token.txt")]
    Set {
        /// The name by which servers/*.toml refer to it
        name: String,
    },
}

/// Does what the command says.
pub(crate) async fn secret(session: &Session, command: &SecretCommand) -> Result<(), Problem> {
    let SecretCommand::Set { name } = command;
    if io::stdin().is_terminal() {
        let example = format!("ambit secret set {name} < FILE");
        return Err(Problem::Usage(format!(
            "the secret is read from standard input, never typed where others look on: `{example}`"
        )));
    }
    let mut secret = String::new();
    io::stdin()
        .take(SECRET_BYTES_MAX as u64 + LINE_END_BYTES + 1)
        .read_to_string(&mut secret)
        .map_err(|error| Problem::io("read the secret from standard input", error))?;
    let trimmed = secret.trim_end_matches(['\n', '\r']);
    if trimmed.is_empty() || trimmed.len() > SECRET_BYTES_MAX {
        let had = if trimmed.is_empty() { "none" } else { "more" };
        return Err(Problem::Usage(format!(
            "a secret has 1 to {SECRET_BYTES_MAX} bytes, and standard input had {had}; give the right file with `<`"
        )));
    }
    let body = Value::object([("secret", Value::from(trimmed))]);
    let answer = session
        .client()?
        .post(&format!("/v1/secrets/{}", segment(name)), &body)
        .await?;
    session.output.thing(&answer, &format!("sealed {name}"))
}

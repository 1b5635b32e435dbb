//! `ambit authority …`: the issuing keys of the trust domain.

use ambit_core::json::Value;
use clap::{Subcommand, ValueEnum};

use super::Session;
use crate::{output::Column, problem::Problem};

const COLUMNS: [Column; 5] = [
    Column {
        heading: "STATE",
        member: "state",
    },
    Column {
        heading: "SINCE",
        member: "since",
    },
    Column {
        heading: "UNTIL",
        member: "until",
    },
    Column {
        heading: "JWT KEY",
        member: "kid",
    },
    Column {
        heading: "CERTIFICATE",
        member: "certificate",
    },
];

/// What to do with the issuing keys.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Shows the keys: prepared, active, retired
    #[command(after_help = "Example:\n  ambit authority show")]
    Show,
    /// Prints the certificates by which programs know this server, where none from files are shown
    #[command(after_help = "Examples:
  ambit authority roots > roots.pem
  NODE_EXTRA_CA_CERTS=roots.pem node client.js      a client that reaches the gateway by its URL
  ambit login --roots roots.pem https://localhost:7422")]
    Roots,
    /// Takes a step in their rotation; in time, Ambit takes the steps itself
    #[command(after_help = "Examples:
  ambit authority rotate prepare     publishes keys that will sign later
  ambit authority rotate activate    lets them sign, 25 minutes later or more
  ambit authority rotate replace     after a compromise: all that was signed before counts no more")]
    Rotate {
        /// Which step
        #[arg(value_enum)]
        step: StepWord,
    },
}

/// A step in the rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum StepWord {
    /// Publish keys that will sign later
    Prepare,
    /// Let the published keys sign
    Activate,
    /// Replace all keys at once
    Replace,
}

/// Does what the command says.
pub(crate) async fn authority(
    session: &Session,
    command: &AuthorityCommand,
) -> Result<(), Problem> {
    let client = session.client()?;
    let answer = match command {
        AuthorityCommand::Show => client.get("/v1/authority").await?,
        AuthorityCommand::Roots => {
            let answer = client.get("/v1/authority").await?;
            let roots = answer.get("roots").and_then(Value::as_str);
            let roots = roots.unwrap_or_default().trim_end();
            let told = Value::object([("roots", Value::from(roots))]);
            return session.output.thing(&told, roots);
        }
        AuthorityCommand::Rotate { step } => {
            let step = match step {
                StepWord::Prepare => "prepare",
                StepWord::Activate => "activate",
                StepWord::Replace => "replace",
            };
            let body = Value::object([("step", Value::from(step))]);
            client.post("/v1/authority/rotate", &body).await?
        }
    };
    let keys = answer
        .get("keys")
        .and_then(Value::as_array)
        .unwrap_or_default();
    session.output.rows(&COLUMNS, keys, "There is no key.")
}

//! `ambit people ...`: who may register passkeys, and which there are.

use ambit_core::json::Value;
use clap::Subcommand;

use super::{Session, tasks::segment};
use crate::{output::Column, problem::Problem};

const COLUMNS: [Column; 5] = [
    Column {
        heading: "PASSKEY",
        member: "passkey",
    },
    Column {
        heading: "PERSON",
        member: "person",
    },
    Column {
        heading: "KEPT",
        member: "kept",
    },
    Column {
        heading: "ALGORITHM",
        member: "algorithm",
    },
    Column {
        heading: "USES",
        member: "sign_count",
    },
];

/// What to do with people's proofs.
#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    /// Prints a link with which a person of the estate registers a passkey: good once, for 15 minutes
    #[command(after_help = "Example:\n  ambit people enroll ada")]
    Enroll {
        /// The alias that the estate uses for the person
        person: String,
    },
    /// Lists and removes passkeys
    #[command(subcommand)]
    Passkeys(PasskeysCommand),
}

/// What to do with passkeys.
#[derive(Debug, Subcommand)]
pub(crate) enum PasskeysCommand {
    /// Lists every passkey and whose it is
    #[command(after_help = "Example:\n  ambit people passkeys list")]
    List,
    /// Removes a passkey, and ends the logins that it opened
    #[command(after_help = "Example:\n  ambit people passkeys remove pk_01...")]
    Remove {
        /// Which
        passkey: String,
    },
}

/// Does what the command says.
pub(crate) async fn people(session: &Session, command: &PeopleCommand) -> Result<(), Problem> {
    let client = session.client()?;
    let nothing = Value::object([]);
    match command {
        PeopleCommand::Enroll { person } => {
            let path = format!("/v1/people/{}/enrolment", segment(person));
            let answer = client.post(&path, &nothing).await?;
            let text = |name| answer.get(name).and_then(Value::as_str).unwrap_or_default();
            let words = format!(
                "{}\n\nGive this link to {person} alone: whoever opens it first can sign in as {person}. It is good once, until {}.",
                text("link"),
                text("expires_at")
            );
            session.output.thing(&answer, &words)
        }
        PeopleCommand::Passkeys(PasskeysCommand::List) => {
            let answer = client.get("/v1/passkeys").await?;
            let passkeys = answer.get("passkeys").and_then(Value::as_array);
            let passkeys = passkeys.unwrap_or_default();
            session
                .output
                .rows(&COLUMNS, passkeys, "There is no passkey.")
        }
        PeopleCommand::Passkeys(PasskeysCommand::Remove { passkey }) => {
            let path = format!("/v1/passkeys/{}/remove", segment(passkey));
            let answer = client.post(&path, &nothing).await?;
            session.output.thing(&answer, &format!("removed {passkey}"))
        }
    }
}

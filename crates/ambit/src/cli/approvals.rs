//! `ambit approvals …`.

use ambit_core::json::Value;
use clap::Subcommand;

use super::{Session, tasks::segment};
use crate::{
    output::{Column, Tone, cell, pretty},
    problem::Problem,
};

const COLUMNS: [Column; 6] = [
    Column {
        heading: "APPROVAL",
        member: "approval",
    },
    Column {
        heading: "STATE",
        member: "state",
    },
    Column {
        heading: "AGENT",
        member: "agent",
    },
    Column {
        heading: "TOOL",
        member: "tool",
    },
    Column {
        heading: "TASK",
        member: "task",
    },
    Column {
        heading: "EXPIRES",
        member: "expires_at",
    },
];

/// What to do with approvals.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// Lists what waits for a person
    #[command(after_help = "Example:\n  ambit approvals list")]
    List,
    /// Shows the exact action, whole; hidden characters are made visible
    #[command(after_help = "Example:\n  ambit approvals show apr_01…")]
    Show {
        /// Which
        approval: String,
    },
    /// Says yes, once, to exactly this action
    #[command(after_help = "Example:\n  ambit approvals approve apr_01…")]
    Approve {
        /// Which
        approval: String,
    },
    /// Says no to this action
    #[command(after_help = "Example:\n  ambit approvals deny apr_01…")]
    Deny {
        /// Which
        approval: String,
    },
}

/// Does what the command says.
pub(crate) async fn approvals(session: &Session, command: ApprovalsCommand) -> Result<(), Problem> {
    let client = session.client()?;
    match command {
        ApprovalsCommand::List => {
            let answer = client.get("/v1/approvals").await?;
            let found = answer
                .get("approvals")
                .unwrap_or(&answer)
                .as_array()
                .unwrap_or_default();
            session
                .output
                .rows(&COLUMNS, found, "Nothing waits for a person.")
        }
        ApprovalsCommand::Show { approval } => {
            let path = format!("/v1/approvals/{}", segment(&approval));
            let answer = client.get(&path).await?;
            session.output.thing(&answer, &shown(&answer))
        }
        ApprovalsCommand::Approve { approval } => decide(session, &approval, "approved").await,
        ApprovalsCommand::Deny { approval } => decide(session, &approval, "refused").await,
    }
}

async fn decide(session: &Session, approval: &str, verdict: &str) -> Result<(), Problem> {
    let path = format!("/v1/approvals/{}/decide", segment(approval));
    let body = Value::object([("verdict", Value::from(verdict))]);
    let answer = session.client()?.post(&path, &body).await?;
    let tone = if verdict == "approved" {
        Tone::Good
    } else {
        Tone::Bad
    };
    let text = format!(
        "{} {}",
        session.output.paint(tone, verdict),
        cell(&answer, "approval")
    );
    session.output.thing(&answer, &text)
}

/// Returns the approval for a person: its facts, then the action whole.
fn shown(answer: &Value) -> String {
    let mut text = String::new();
    for (label, member) in [
        ("approval", "approval"),
        ("state", "state"),
        ("task", "task"),
        ("template", "template"),
        ("agent", "agent"),
        ("for", "subject"),
        ("expires", "expires_at"),
    ] {
        text.push_str(&format!("{label:9} {}\n", cell(answer, member)));
    }
    match answer.get("act") {
        Some(act) => text.push_str(&format!("\nThe exact action:\n{}\n", pretty(act))),
        None => text.push_str("\nThe action can't be shown: its key was destroyed.\n"),
    }
    text
}

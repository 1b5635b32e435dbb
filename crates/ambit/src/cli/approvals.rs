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
        heading: "WHAT",
        member: "what",
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

/// How much of the arguments a list shows.
const GIST_CHARACTERS_MAX: usize = 60;

/// What to do with approvals.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// Lists what waits for a person
    #[command(after_help = "Examples:\n  ambit approvals list\n  ambit approvals list --all")]
    List {
        /// Those that wait no longer, too, also of tasks that have ended
        #[arg(long)]
        all: bool,
    },
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
    #[command(
        after_help = "Examples:\n  ambit approvals deny apr_01…\n  ambit approvals deny apr_01… --reason \"wrong customer\""
    )]
    Deny {
        /// Which
        approval: String,
        /// Why; kept encrypted beside the record, for people
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Does what the command says.
pub(crate) async fn approvals(session: &Session, command: ApprovalsCommand) -> Result<(), Problem> {
    let client = session.client()?;
    match command {
        ApprovalsCommand::List { all } => {
            let path = if all {
                "/v1/approvals?ended=true"
            } else {
                "/v1/approvals"
            };
            let answer = client.get(path).await?;
            let found = answer
                .get("approvals")
                .unwrap_or(&answer)
                .as_array()
                .unwrap_or_default();
            let waits =
                |it: &&Value| all || it.get("state").and_then(Value::as_str) == Some("pending");
            let found: Vec<_> = found.iter().filter(waits).map(with_gist).collect();
            session
                .output
                .rows(&COLUMNS, &found, "Nothing waits for a person.")
        }
        ApprovalsCommand::Show { approval } => {
            let path = format!("/v1/approvals/{}", segment(&approval));
            let answer = client.get(&path).await?;
            session.output.thing(&answer, &shown(&answer))
        }
        ApprovalsCommand::Approve { approval } => {
            decide(session, &approval, ("approved", None)).await
        }
        ApprovalsCommand::Deny { approval, reason } => {
            decide(session, &approval, ("refused", reason)).await
        }
    }
}

/// Adds what is asked for, in short: server, tool, and the beginning of the arguments.
fn with_gist(approval: &Value) -> Value {
    let text = |name| approval.get(name).and_then(Value::as_str);
    let name = match (text("server"), text("tool")) {
        (Some(server), Some(tool)) => format!("{server}.{tool}"),
        (Some(server), None) => format!("{} {server}", text("action").unwrap_or_default()),
        (None, _) => text("action").unwrap_or_default().to_owned(),
    };
    let arguments = approval.get("act").and_then(|it| it.get("act"));
    let arguments = arguments.and_then(|it| it.get("arguments"));
    let whole = arguments.map(Value::to_canonical).unwrap_or_default();
    let mut gist: String = whole.chars().take(GIST_CHARACTERS_MAX).collect();
    if gist.len() < whole.len() {
        gist.push('…');
    }
    let what = format!("{name} {gist}");
    let mut members = approval.as_object().cloned().unwrap_or_default();
    members.insert("what".to_owned(), what.trim_end().into());
    Value::Object(members)
}

async fn decide(
    session: &Session,
    approval: &str,
    (verdict, reason): (&str, Option<String>),
) -> Result<(), Problem> {
    let path = format!("/v1/approvals/{}/decide", segment(approval));
    let reason = reason.map(|it| ("reason", it.into()));
    let verdict_word = [("verdict", Value::from(verdict))];
    let body = Value::object(verdict_word.into_iter().chain(reason));
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
        ("why", "why"),
        ("code", "reason"),
        ("decision", "decision"),
        ("asked", "requested_at"),
        ("expires", "expires_at"),
        ("decided by", "by"),
        ("spent by", "spent_by"),
        ("server", "server"),
        ("tool", "tool"),
        ("says of itself", "description"),
        ("digest", "digest"),
    ] {
        if answer.get(member).is_some() {
            text.push_str(&format!("{label:14} {}\n", cell(answer, member)));
        }
    }
    match answer.get("act") {
        Some(act) => text.push_str(&format!("\nThe exact action:\n{}\n", pretty(act))),
        None => text.push_str("\nThe action can't be shown: its key was destroyed.\n"),
    }
    text
}

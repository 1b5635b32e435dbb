//! `ambit task …`, `ambit revoke …` and `ambit reinstate …`.

use std::{fs, path::PathBuf};

use ambit_core::json::Value;
use clap::{Subcommand, ValueEnum};

use super::{Session, parameter};
use crate::{
    output::{Column, Format, Tone, cell},
    problem::Problem,
    run::{Wanted, start, start_attested},
};

const COLUMNS: [Column; 6] = [
    Column {
        heading: "TASK",
        member: "task",
    },
    Column {
        heading: "STATE",
        member: "state",
    },
    Column {
        heading: "TEMPLATE",
        member: "template",
    },
    Column {
        heading: "AGENT",
        member: "agent",
    },
    Column {
        heading: "FOR",
        member: "subject",
    },
    Column {
        heading: "EXPIRES",
        member: "expires_at",
    },
];

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Starts a task for a workload that you run yourself
    #[command(after_help = "Example:
  ambit task start answer-ticket --for support-bot --param ticket=T-42 --svid ./svid

The directory gets key.pem, svid.pem and bundle.pem: what the workload needs to speak to the gateway
with mutual TLS. Whoever can read them acts in the task. `ambit run` needs no such files.")]
    Start {
        /// The template
        template: String,
        /// The agent that acts
        #[arg(long = "for", value_name = "AGENT")]
        agent: String,
        /// A parameter, as the template declares it
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
        parameters: Vec<(String, Value)>,
        /// Where to write the instance's key and certificates; without it nobody can act in the task
        #[arg(long, value_name = "DIR")]
        svid: Option<PathBuf>,
        /// Let the next process that the estate registers as this agent be the instance (SPIFFE Workload API)
        #[arg(long, conflicts_with = "svid")]
        attested: bool,
    },
    /// Lists tasks
    #[command(after_help = "Example:\n  ambit task list -o jsonl")]
    List,
    /// Shows one task
    #[command(after_help = "Example:\n  ambit task show task_01…")]
    Show {
        /// Which
        task: String,
    },
    /// Ends a task, and everything issued under it
    #[command(after_help = "Example:\n  ambit task end task_01… --as cancelled")]
    End {
        /// Which
        task: String,
        /// As what
        #[arg(long = "as", value_enum, default_value_t)]
        end: EndAs,
    },
}

/// How a person ends a task.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum EndAs {
    /// Its work is done
    Completed,
    /// It is given up
    #[default]
    Cancelled,
}

/// Options of `ambit revoke`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ambit revoke task task_01… --reason 'wrong customer'
  ambit revoke agent support-bot --reason INC-7")]
pub(crate) struct RevokeArguments {
    /// What loses its authority
    #[arg(value_enum)]
    kind: Revocable,
    /// Which: its identifier or name
    id: String,
    /// Why; kept with the record
    #[arg(long)]
    reason: String,
}

/// What can lose its authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Revocable {
    /// One task
    Task,
    /// One run of an agent
    Instance,
    /// An agent, all its runs
    Agent,
    /// A person: every task on their behalf
    Person,
    /// A server: every act upon it
    Server,
}

/// Options of `ambit reinstate`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  ambit reinstate agent support-bot --reason 'INC-7 is mended'

What the revocation ended stays ended, and a task that began before stays without: start a new one.")]
pub(crate) struct ReinstateArguments {
    /// What was revoked
    #[arg(value_enum)]
    kind: Reinstatable,
    /// Which: its identifier or name
    id: String,
    /// Why; kept with the record
    #[arg(long)]
    reason: String,
}

/// What can get authority again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Reinstatable {
    /// An agent
    Agent,
    /// A person
    Person,
    /// A server
    Server,
}

/// Does what the command says.
pub(crate) async fn task(session: &Session, command: TaskCommand) -> Result<(), Problem> {
    let client = session.client()?;
    match command {
        TaskCommand::Start {
            template,
            agent,
            parameters,
            svid,
            attested,
        } => {
            let parameters = parameters.into_iter().collect();
            let wanted = Wanted {
                template,
                agent: Some(agent),
                parameters,
            };
            if attested {
                return begin_attested(session, &wanted).await;
            }
            begin(session, &wanted, svid).await
        }
        TaskCommand::List => {
            let answer = client.get("/v1/tasks").await?;
            let tasks = answer
                .get("tasks")
                .unwrap_or(&answer)
                .as_array()
                .unwrap_or_default();
            session
                .output
                .rows(&COLUMNS, tasks, "No task has been started yet.")
        }
        TaskCommand::Show { task } => session
            .output
            .object(&client.get(&format!("/v1/tasks/{}", segment(&task))).await?),
        TaskCommand::End { task, end } => {
            let end = match end {
                EndAs::Completed => "completed",
                EndAs::Cancelled => "cancelled",
            };
            let body = Value::object([("end", Value::from(end))]);
            let path = format!("/v1/tasks/{}/end", segment(&task));
            let answer = client.post(&path, &body).await?;
            let text = format!("{} is {}", cell(&answer, "task"), cell(&answer, "state"));
            session.output.thing(&answer, &text)
        }
    }
}

/// Takes authority away.
pub(crate) async fn revoke(session: &Session, arguments: &RevokeArguments) -> Result<(), Problem> {
    let kind = match arguments.kind {
        Revocable::Task => "task",
        Revocable::Instance => "instance",
        Revocable::Agent => "agent",
        Revocable::Person => "person",
        Revocable::Server => "server",
    };
    let target = [
        ("kind", Value::from(kind)),
        ("id", arguments.id.as_str().into()),
    ];
    let body = Value::object([
        ("target", Value::object(target)),
        ("reason", arguments.reason.as_str().into()),
    ]);
    let answer = session.client()?.post("/v1/revocations", &body).await?;
    let count = |member| {
        answer
            .get(member)
            .and_then(Value::as_array)
            .map_or(0, <[Value]>::len)
    };
    let mut text = format!(
        "{} {}: {} ended, {} under way crossed it, in effect after {} ms\n",
        session.output.paint(Tone::Bad, "revoked"),
        arguments.id,
        counted(count("ended"), "task"),
        counted(count("crossed"), "call"),
        cell(&answer, "took_ms"),
    );
    for (member, word) in [("ended", "ended"), ("crossed", "crossed")] {
        for id in answer
            .get(member)
            .and_then(Value::as_array)
            .unwrap_or_default()
        {
            text.push_str(&format!("  {word:7}  {}\n", id.as_str().unwrap_or("?")));
        }
    }
    session.output.thing(&answer, &text)
}

/// Gives authority back to what begins from now on.
pub(crate) async fn reinstate(
    session: &Session,
    arguments: &ReinstateArguments,
) -> Result<(), Problem> {
    let kind = match arguments.kind {
        Reinstatable::Agent => "agent",
        Reinstatable::Person => "person",
        Reinstatable::Server => "server",
    };
    let target = [
        ("kind", Value::from(kind)),
        ("id", arguments.id.as_str().into()),
    ];
    let body = Value::object([
        ("target", Value::object(target)),
        ("reason", arguments.reason.as_str().into()),
    ]);
    let answer = session.client()?.post("/v1/reinstatements", &body).await?;
    let text = format!(
        "{} {}: tasks that start from now on may have it; what ended stays ended",
        session.output.paint(Tone::Good, "reinstated"),
        arguments.id,
    );
    session.output.thing(&answer, &text)
}

/// Returns `text` fit to stand in a path as one segment.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Returns `1 task` or `2 tasks`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

async fn begin(session: &Session, wanted: &Wanted, svid: Option<PathBuf>) -> Result<(), Problem> {
    let client = session.client()?;
    if let Some(directory) = &svid {
        fs::create_dir_all(directory)
            .map_err(|error| Problem::io(format!("create {}", directory.display()), error))?;
    }
    let started = start(&client, &session.clock, wanted, false).await?;
    if let Some(directory) = &svid {
        started.write(directory)?;
    }
    let mut text = format!(
        "{} began; it ends at {}\ngateway   https://{}",
        started.task, started.expires_at, started.gateway
    );
    match &svid {
        Some(directory) => text.push_str(&format!(
            "\nidentity  {}/{{key,svid,bundle}}.pem: whoever can read them acts in the task",
            directory.display()
        )),
        None if session.output.format() == Format::Table => text.push_str(
            "\nidentity  not kept: nobody can act in this task; give --svid DIR, or use `ambit run`",
        ),
        None => (),
    }
    session.output.thing(&started.answer, &text)
}

/// Starts a task whose instance is the next process that attests as its agent.
async fn begin_attested(session: &Session, wanted: &Wanted) -> Result<(), Problem> {
    let answer = start_attested(&session.client()?, wanted).await?;
    let text = format!(
        "{} began; it ends at {}\ngateway   {}\nidentity  {} for the next process that is registered as its agent \
         and asks the Workload API; the task ends with that process",
        cell(&answer, "task"),
        cell(&answer, "expires_at"),
        cell(&answer, "gateway"),
        cell(&answer, "spiffe_id"),
    );
    session.output.thing(&answer, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_leave_its_segment() {
        assert_eq!(segment("task_01ab"), "task_01ab");
        assert_eq!(segment("../x?y"), "..%2Fx%3Fy");
    }
}

//! `ambit task …`, `ambit revoke …` and `ambit reinstate …`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ambit_control::api::TASKS_PER_ANSWER_MAX;
use ambit_core::json::Value;
use clap::{Subcommand, ValueEnum};

use super::{
    Session,
    delegations::{self, DelegateArguments},
    parameter,
};
use crate::{
    client::Client,
    output::{Column, Tone, cell, complain},
    problem::Problem,
    run::{Awaited, SVID_FILES, Wanted, start, start_awaiting},
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
    #[command(group = clap::ArgGroup::new("instance").required(false))]
    Start {
        /// The template
        template: String,
        /// The agent that acts
        #[arg(long = "for", value_name = "AGENT")]
        agent: String,
        /// A parameter, as the template declares it
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
        parameters: Vec<(String, Value)>,
        /// A new directory for the instance's key and certificates
        #[arg(long, value_name = "DIR", group = "instance")]
        svid: Option<PathBuf>,
        /// Let whoever first proves to be this agent be the instance: a process that the estate registers (SPIFFE
        /// Workload API), or a workload with a token that it trusts. So it is when none of the three is given
        #[arg(long, group = "instance")]
        attested: bool,
        /// Print a secret, once, with which whoever shows it at the public port becomes the instance
        #[arg(long, group = "instance")]
        join_token: bool,
    },
    /// Lists the live tasks
    #[command(
        after_help = "Examples:\n  ambit task list -o jsonl\n  ambit task list --all --limit 1000"
    )]
    List {
        /// List those that have ended as well, newest first
        #[arg(long)]
        all: bool,
        /// How many of those that have ended
        #[arg(long, value_name = "COUNT", default_value_t = 100, requires = "all")]
        limit: usize,
    },
    /// Shows one task
    #[command(after_help = "Example:\n  ambit task show task_01…")]
    Show {
        /// Which
        task: String,
    },
    /// Gives a part of a task to an agent, once
    Delegate(DelegateArguments),
    /// Takes a delegated part for a workload that you run yourself
    #[command(after_help = "Example:\n  ambit task take dlg_01… --svid ./svid")]
    Take {
        /// Which delegation
        delegation: String,
        /// A new directory for the instance's key and certificates
        #[arg(long, value_name = "DIR")]
        svid: PathBuf,
    },
    /// Takes a delegation back, and ends the child with everything below it
    #[command(after_help = "Example:\n  ambit task withdraw dlg_01…")]
    Withdraw {
        /// Which
        delegation: String,
    },
    /// Shows live tasks under those that delegated to them
    #[command(after_help = "Examples:\n  ambit task tree\n  ambit task tree --all task_01…")]
    Tree {
        /// As well those that have ended, each with how
        #[arg(long)]
        all: bool,
        /// Only this one and what is below it
        task: Option<String>,
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
            attested: _,
            join_token,
        } => {
            let parameters = super::parameters(parameters)?;
            let wanted = Wanted {
                template,
                agent: Some(agent),
                parameters,
                delegation: None,
            };
            match svid {
                Some(directory) => begin(session, &wanted, &directory).await,
                None if join_token => begin_joined(session, &wanted).await,
                None => begin_attested(session, &wanted).await,
            }
        }
        TaskCommand::List { all, limit } => list(session, all.then_some(limit)).await,
        TaskCommand::Show { task } => session
            .output
            .object(&client.get(&format!("/v1/tasks/{}", segment(&task))).await?),
        TaskCommand::Delegate(arguments) => delegations::delegate(session, &arguments).await,
        TaskCommand::Take { delegation, svid } => {
            let wanted = Wanted {
                template: String::new(),
                agent: None,
                parameters: std::collections::BTreeMap::new(),
                delegation: Some(delegation),
            };
            begin(session, &wanted, &svid).await
        }
        TaskCommand::Withdraw { delegation } => delegations::withdraw(session, &delegation).await,
        TaskCommand::Tree { task, all } => delegations::tree(session, task.as_deref(), all).await,
        TaskCommand::End { task, end } => {
            let end = match end {
                EndAs::Completed => "completed",
                EndAs::Cancelled => "cancelled",
            };
            let body = Value::object([("end", Value::from(end))]);
            let path = format!("/v1/tasks/{}/end", segment(&task));
            let answer = client.post(&path, &body).await?;
            let mut text = format!("{} is {}", cell(&answer, "task"), cell(&answer, "state"));
            let below = answer.get("below").and_then(Value::as_array);
            for task in below.into_iter().flatten().filter_map(Value::as_str) {
                text.push_str("\nended with it: ");
                text.push_str(task);
            }
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

/// Returns the live tasks, and up to so many that `ended`, the last ones; and whether there may be more of these.
pub(super) async fn tasks_up_to(
    client: &Client,
    ended: Option<usize>,
) -> Result<(Vec<Value>, bool), Problem> {
    let tasks_of = |answer: &Value| {
        let tasks = answer.get("tasks").and_then(Value::as_array);
        tasks.unwrap_or_default().to_vec()
    };
    let mut tasks = tasks_of(&client.get("/v1/tasks").await?);
    let mut left = ended.unwrap_or_default();
    let mut before = String::new();
    let mut more = false;
    while left > 0 {
        let count = left.min(TASKS_PER_ANSWER_MAX);
        let path = format!("/v1/tasks?ended=true&count={count}{before}");
        let answer = client.get(&path).await?;
        let found = tasks_of(&answer);
        left = left.saturating_sub(found.len());
        tasks.extend(found);
        let next = answer.get("next").and_then(Value::as_str);
        more = next.is_some();
        let Some(next) = next else {
            break;
        };
        before = format!("&before={}", segment(next));
    }
    Ok((tasks, more))
}

/// Lists the live tasks, and as many ended ones as are wanted.
async fn list(session: &Session, ended: Option<usize>) -> Result<(), Problem> {
    let (tasks, more) = tasks_up_to(&session.client()?, ended).await?;
    let none = match ended {
        None => "No task is live. Those that have ended: ambit task list --all",
        Some(_) => "No task has been started yet.",
    };
    session.output.rows(&COLUMNS, &tasks, none)?;
    if more {
        complain("ambit: there may be older ones; give a greater --limit");
    }
    Ok(())
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

async fn begin(session: &Session, wanted: &Wanted, directory: &Path) -> Result<(), Problem> {
    let client = session.client()?;
    prepare(directory)?;
    let started = start(&client, &session.clock, wanted, false).await?;
    if let Err(problem) = started.write(directory) {
        // Nobody could act in it: it should not stand there until it expires.
        let body = Value::object([("end", Value::from("cancelled"))]);
        let path = format!("/v1/tasks/{}/end", segment(&started.task));
        client.post(&path, &body).await?;
        return Err(problem);
    }
    let text = format!(
        "{} began; it ends at {}\ngateway   https://{}\nidentity  {}/{{key,svid,bundle}}.pem: whoever can read them acts \
         in the task",
        started.task,
        started.expires_at,
        started.gateway,
        directory.display()
    );
    session.output.thing(&started.answer, &text)
}

/// Starts a task whose instance is the next process that attests as its agent.
async fn begin_attested(session: &Session, wanted: &Wanted) -> Result<(), Problem> {
    let answer = start_awaiting(&session.client()?, wanted, Awaited::Process).await?;
    let text = format!(
        "{} began; it ends at {}\ngateway   {}\nidentity  {}, for whoever first proves to be a run of its agent: a \
         registered process at the Workload API, with whose end the task ends, or the holder of a token, an SVID or a key",
        cell(&answer, "task"),
        cell(&answer, "expires_at"),
        cell(&answer, "gateway"),
        cell(&answer, "spiffe_id"),
    );
    session.output.thing(&answer, &text)
}

/// Starts a task whose instance is whoever shows its join token.
async fn begin_joined(session: &Session, wanted: &Wanted) -> Result<(), Problem> {
    let answer = start_awaiting(&session.client()?, wanted, Awaited::JoinToken).await?;
    let text = format!(
        "{} began; it ends at {}\nidentity  {} for whoever posts this token and a signing request to /v1/join at the \
         public port, once\ntoken     {}",
        cell(&answer, "task"),
        cell(&answer, "expires_at"),
        cell(&answer, "spiffe_id"),
        cell(&answer, "join_token"),
    );
    session.output.thing(&answer, &text)
}

/// Makes the directory, before anything starts: a mistake in its name should leave no trace.
fn prepare(directory: &Path) -> Result<(), Problem> {
    let failed = |error| Problem::io(format!("create {}", directory.display()), error);
    fs::create_dir_all(directory).map_err(failed)?;
    for name in SVID_FILES {
        let path = directory.join(name);
        if path.exists() {
            return Err(Problem::Usage(format!(
                "{} is there already: it belongs to another task; name a new directory with --svid",
                path.display()
            )));
        }
    }
    Ok(())
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

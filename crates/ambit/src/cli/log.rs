//! `ambit log …`.

mod content;
mod offline;
mod rebuild;

use std::path::PathBuf;

use ambit_core::json::Value;
use clap::Subcommand;

use self::{content::SettleArguments, offline::Asked, rebuild::Tables};
use super::{Session, tasks::segment};
use crate::{
    output::{Column, Format, cell},
    problem::Problem,
};

/// How often `--follow` asks for new records.
const FOLLOW_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// The most records asked for at once.
const RECORDS_MAX: u64 = 1000;

const COLUMNS: [Column; 4] = [
    Column {
        heading: "INDEX",
        member: "index",
    },
    Column {
        heading: "AT",
        member: "at",
    },
    Column {
        heading: "KIND",
        member: "kind",
    },
    Column {
        heading: "WHAT",
        member: "summary",
    },
];

/// What to do with the record.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Prints the newest records
    #[command(after_help = "Examples:\n  ambit log tail -n 50\n  ambit log tail --follow -o jsonl")]
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT",
              value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX))]
        lines: u64,
        /// Go on with what is new
        #[arg(short, long)]
        follow: bool,
    },
    /// Shows one record whole
    #[command(after_help = "Examples:\n  ambit log show 42\n  ambit log show 42 --open")]
    Show {
        /// Its index
        index: u64,
        /// What stands sealed beside it, too: arguments, parameters, a result; that you opened it is on the record
        #[arg(long)]
        open: bool,
    },
    /// Tells the story of a task in words
    #[command(after_help = "Example:\n  ambit log trace task_01…")]
    Trace {
        /// Which task
        task: String,
    },
    /// Says why a decision was made, and what would change it
    #[command(after_help = "Examples:\n  ambit log why dec_01…\n  ambit log why dec_01… --open")]
    Why {
        /// Which decision
        decision: String,
        /// The sealed act and its result, too; that you opened them is on the record
        #[arg(long)]
        open: bool,
    },
    /// Says of an act whose outcome nobody knows whether it happened
    #[command(
        after_help = "Examples:\n  ambit log settle dec_01… --happened --reason \"the ticket is closed\"\n  ambit log settle dec_01… --did-not-happen --reason \"the server has no trace of it\""
    )]
    Settle(SettleArguments),
    /// Verifies a log from files alone: every record, hash and signature
    #[command(after_help = "Examples:
  ambit log verify                            the log in the state directory
  ambit log verify ./exported --key log.vkey  an exported log, on any machine
  ambit log verify ./exported --key log.vkey --checkpoint ./seen-last-week")]
    Verify {
        /// An exported log [default: the log in the state directory]
        dir: Option<PathBuf>,
        /// The verifier key that the operator published, in a file [default: DIR/log.vkey]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A checkpoint known from before, which the log must continue
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The rollback mark, when the server keeps it elsewhere [default: mark in the state directory]
        #[arg(long, value_name = "FILE", conflicts_with = "dir")]
        mark: Option<PathBuf>,
    },
    /// Folds the whole log again and compares the tables, byte for byte
    #[command(after_help = "Example:\n  ambit log rebuild")]
    Rebuild {
        /// Write the tables anew where they do not follow from the log; the server must be stopped
        #[arg(long)]
        write: bool,
        /// The rollback mark, when the server keeps it elsewhere [default: mark in the state directory]
        #[arg(long, value_name = "FILE", requires = "write")]
        mark: Option<PathBuf>,
    },
    /// Derives every decision again from its recorded facts and policies
    #[command(after_help = "Example:\n  ambit log replay")]
    Replay,
    /// Writes the log as files (C2SP tlog-tiles), with its verifier key
    #[command(
        after_help = "Example:\n  ambit log export ./exported && ambit log verify ./exported"
    )]
    Export {
        /// A new directory
        dir: PathBuf,
    },
}

/// Verifies the log in the state directory.
pub(crate) fn check_state(session: &Session) -> Result<(), Problem> {
    offline::check(session, Asked::default())
}

pub(crate) use self::offline::unsealed_here;

/// Does what the command says.
pub(crate) async fn log(session: &Session, command: LogCommand) -> Result<(), Problem> {
    match command {
        LogCommand::Tail { lines, follow } => tail(session, lines, follow).await,
        LogCommand::Show { index, open } => {
            let record = records(session, index, 1).await?;
            let record = record.first().ok_or_else(|| {
                Problem::NotFound(format!(
                    "the log has no record {index}; see `ambit log tail`"
                ))
            })?;
            let text = crate::output::pretty(record);
            if open {
                return content::open(session, (record, &text), &[index]).await;
            }
            session.output.thing(record, &text)
        }
        LogCommand::Trace { task } => {
            told(session, &format!("/v1/log/trace/{}", segment(&task))).await
        }
        LogCommand::Why { decision, open } => {
            let path = format!("/v1/log/why/{}", segment(&decision));
            if open {
                return content::why(session, &path).await;
            }
            told(session, &path).await
        }
        LogCommand::Settle(arguments) => content::settle(session, &arguments).await,
        LogCommand::Verify {
            dir: directory,
            key,
            checkpoint,
            mark,
        } => {
            let asked = Asked {
                directory,
                key,
                checkpoint,
                mark,
            };
            offline::check(session, asked)
        }
        LogCommand::Rebuild { write, mark } => {
            let tables = match write {
                true => Tables::Write { mark },
                false => Tables::Compare,
            };
            rebuild::rebuild(session, &tables)
        }
        LogCommand::Replay => offline::replay(session),
        LogCommand::Export { dir } => offline::write(session, &dir),
    }
}

/// Prints a story: its text for people, its data for programs.
async fn told(session: &Session, path: &str) -> Result<(), Problem> {
    let answer = session.client()?.get(path).await?;
    let text = answer
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    session.output.thing(&answer, text)
}

async fn tail(session: &Session, lines: u64, follow: bool) -> Result<(), Problem> {
    let mut next = size(session).await?.saturating_sub(lines);
    let mut found = records(session, next, lines).await?;
    next += found.len() as u64;
    session.output.rows(&COLUMNS, &found, "The log is empty.")?;
    if !follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(FOLLOW_PAUSE).await;
        found = records(session, next, RECORDS_MAX).await?;
        next += found.len() as u64;
        for record in &found {
            let text = COLUMNS.map(|column| cell(record, column.member)).join("  ");
            let line = if session.output.format() == Format::Table {
                text
            } else {
                record.to_canonical()
            };
            session.output.line(&line)?;
        }
    }
}

async fn size(session: &Session) -> Result<u64, Problem> {
    let note = session.client()?.get_bytes("/v1/log/checkpoint").await?;
    // C2SP tlog-checkpoint: the second line is the size.
    let text = String::from_utf8_lossy(&note);
    let size = text.lines().nth(1).and_then(|line| line.parse().ok());
    size.ok_or_else(|| Problem::CheckFailed("the server's checkpoint can't be read".to_owned()))
}

async fn records(session: &Session, from: u64, count: u64) -> Result<Vec<Value>, Problem> {
    let path = format!("/v1/log/records?from={from}&count={count}");
    let answer = session.client()?.get(&path).await?;
    let records = answer.get("records").unwrap_or(&answer).as_array();
    Ok(records.unwrap_or_default().to_vec())
}

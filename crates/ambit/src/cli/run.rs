//! `ambit run`.

use std::{ffi::OsString, path::PathBuf};

use super::{Session, parameter};
use crate::{
    problem::Problem,
    run::{Access, Containment, Hidden, Run, Runner, Voice, Wanted},
};

const EXAMPLES: &str = "\
Examples:
  ambit run --task answer-ticket --for support-bot --param ticket=T-42 -- python3 agent.py
  ambit run --task tidy --for coder --mcp-config /tmp/mcp.json -- client --mcp-config /tmp/mcp.json

The command finds Ambit at $AMBIT_MCP_URL, and its model through $HTTPS_PROXY. It sees /usr, its working
directory, a home of its own and a /tmp of its own, and nothing else of this machine.";

/// Options of `ambit run`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArguments {
    /// The template of the task
    #[arg(long, value_name = "TEMPLATE", required_unless_present = "delegation")]
    task: Option<String>,
    /// Take this delegated part instead of starting a task
    #[arg(long, value_name = "DELEGATION", conflicts_with_all = ["task", "agent", "parameters"])]
    delegation: Option<String>,
    /// The agent that the command is [default: the only one that may have this task]
    #[arg(long = "for", value_name = "AGENT")]
    agent: Option<String>,
    /// A parameter of the task, as the template declares it
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, ambit_core::json::Value)>,
    /// Write an MCP client configuration to this new file, which is gone at the end
    #[arg(long, value_name = "FILE")]
    mcp_config: Option<PathBuf>,
    /// Whether the command is contained
    #[arg(long, value_enum, default_value_t)]
    containment: Containment,
    /// Where the command works [default: this directory]
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// What it may do there
    #[arg(long, value_enum, default_value_t)]
    workdir_access: Access,
    /// Another path that the command may read
    #[arg(long, value_name = "PATH")]
    readable: Vec<PathBuf>,
    /// Another path that the command may read and write
    #[arg(long, value_name = "PATH")]
    writable: Vec<PathBuf>,
    /// A variable of the environment that the command gets; mind what it opens
    #[arg(long = "env", value_name = "NAME")]
    variables: Vec<String>,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// The command
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command and returns its exit code.
pub(crate) async fn run(session: &Session, arguments: RunArguments) -> Result<u8, Problem> {
    let state = session.state()?;
    let client = session.client()?;
    let places = client.places()?;
    let own = [
        Some(state.root().to_owned()),
        session.environment.runtime.clone(),
        session.control.clone(),
        // A login there would let the command act as the person.
        session.environment.own_directory().ok(),
    ];
    let runner = Runner {
        client: &client,
        clock: &session.clock,
        environment: &session.environment,
        hidden: Hidden {
            of_ambit: own.into_iter().flatten().chain(places.of_ambit).collect(),
            of_authority: places.of_authority,
            home: session.environment.home.clone(),
        },
    };
    let run = Run {
        wanted: Wanted {
            template: arguments.task.unwrap_or_default(),
            delegation: arguments.delegation,
            agent: arguments.agent,
            parameters: super::parameters(arguments.parameters)?,
        },
        containment: arguments.containment,
        mcp_config: arguments.mcp_config,
        working_directory: arguments.workdir,
        access: arguments.workdir_access,
        readable: arguments.readable,
        writable: arguments.writable,
        variables: arguments.variables,
        command: arguments.command,
        voice: if arguments.quiet {
            Voice::Quiet
        } else {
            Voice::Spoken
        },
    };
    Ok(runner.run(&run).await?)
}

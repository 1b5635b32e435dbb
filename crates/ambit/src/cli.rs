//! The command line: its grammar, its help, and where each command goes.

mod approvals;
mod authority;
mod delegations;
pub(crate) mod estate;
mod idle;
mod log;
mod login;
mod people;
mod run;
mod secrets;
mod status;
mod tasks;

pub(crate) use self::tasks::segment;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    client::Client,
    clock::Clock,
    config::{Environment, StateDirectory},
    login::{Login, LoginError},
    output::{Format, Output, complain},
    problem::{Exit, Problem},
    run::{InnerArguments, RunError},
};

/// Gives every AI agent an identity, an authority that lasts as long as one task, and a record
#[derive(Debug, Parser)]
#[command(name = "ambit", version, max_term_width = 100, after_help = Exit::table())]
#[command(infer_long_args = false)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Over the options of every command, which come after its own.
const COMMON: &str = "Options of every command";

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The state directory of the server to talk to [default: ~/.local/state/ambit]
    #[arg(
        long,
        global = true,
        help_heading = COMMON,
        value_name = "DIR",
        env = "AMBIT_STATE",
        hide_env_values = true
    )]
    state: Option<PathBuf>,
    /// The server's control socket [default: control.sock in the state directory]
    #[arg(
        long,
        global = true,
        help_heading = COMMON,
        value_name = "SOCKET",
        env = "AMBIT_CONTROL",
        hide_env_values = true
    )]
    control: Option<PathBuf>,
    /// The public URL of a server elsewhere, at which `ambit login` was run [default: that of the login]
    #[arg(
        long,
        global = true,
        help_heading = COMMON,
        value_name = "URL",
        env = "AMBIT_SERVER",
        hide_env_values = true
    )]
    server: Option<String>,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        help_heading = COMMON,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    output: Format,
}

/// What can be asked for: what is done at once, and work that waits for others.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Work(Work),
    /// Checks an estate directory and runs its decision tables
    #[command(
        after_help = "Example:\n  ambit check ./estate\n  ambit check --governed ./estate   # in CI, before `ambit apply`"
    )]
    Check(estate::CheckArguments),
    /// Prints completions for a shell
    #[command(
        after_help = "Example:\n  ambit completions bash > ~/.local/share/bash-completion/completions/ambit"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// The first process inside a container
    #[command(hide = true)]
    Inner(InnerArguments),
}

/// What waits for servers, processes or people.
#[derive(Debug, Subcommand)]
enum Work {
    /// Shows all of Ambit in seconds: offline, without root, in an empty directory
    #[command(after_help = "Example:\n  ambit demo")]
    Demo(crate::demo::DemoArguments),
    /// Serves an estate directory on this machine, for its only user
    #[command(
        after_help = "Example:\n  ambit dev ./estate\n\nIn another terminal:\n  ambit status\n  ambit people enroll NAME    # a link, with which you register a passkey"
    )]
    Dev(crate::serve::DevArguments),
    /// Serves as `ambit.toml` says
    #[command(after_help = "Example:\n  ambit serve --config /etc/ambit/ambit.toml")]
    Serve(crate::serve::ServeArguments),
    /// Runs a command inside one task, contained, without any key
    Run(run::RunArguments),
    /// Starts, lists, shows and ends tasks
    #[command(subcommand)]
    Task(tasks::TaskCommand),
    /// Takes authority away, at once
    Revoke(tasks::RevokeArguments),
    /// Gives authority back to what begins from now on
    Reinstate(tasks::ReinstateArguments),
    /// Lists, shows and decides what waits for a person
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// Says in words what applying an estate directory would change
    #[command(after_help = "Example:\n  ambit plan ./estate")]
    Plan(estate::EstateArguments),
    /// Puts an estate directory in force
    #[command(after_help = "Example:\n  ambit plan ./estate && ambit apply ./estate")]
    Apply(estate::EstateArguments),
    /// Asks a server for its tools
    #[command(subcommand)]
    Server(estate::ServerCommand),
    /// Seals credentials for the gateway to use
    #[command(subcommand)]
    Secret(secrets::SecretCommand),
    /// Shows and rotates the keys that vouch for workloads
    #[command(subcommand)]
    Authority(authority::AuthorityCommand),
    /// Reads, explains and verifies the record
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Opens a new log after a rollback or a loss, and ends all authority of the old one
    #[command(after_help = "Example:\n  ambit recover --reason 'restored from backup of 3 May'")]
    Recover(crate::serve::RecoverArguments),
    /// Lets this command line act as you at a server elsewhere: you say yes in a browser, on any device
    Login(login::LoginArguments),
    /// Lets people register passkeys, and takes them away
    #[command(subcommand)]
    People(people::PeopleCommand),
    /// Ends the login of this command line
    #[command(after_help = "Example:\n  ambit logout")]
    Logout,
    /// Says how the server is; acts whose outcome nobody knows come first
    #[command(after_help = "Example:\n  ambit status -o json")]
    Status,
    /// The scripted agent of the demo
    #[command(hide = true)]
    DemoAgent(crate::demo::AgentArguments),
}

pub(crate) use log::check_state as log_check;
pub(crate) use tasks::counted;

/// What every command works with.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Where to print.
    pub(crate) output: Output,
    /// The clock.
    pub(crate) clock: Clock,
    /// The environment.
    pub(crate) environment: Environment,
    /// The state directory that was named, if any.
    pub(crate) state: Option<PathBuf>,
    /// The control socket that was named, if any.
    pub(crate) control: Option<PathBuf>,
    /// The public URL of a server elsewhere, if one was named.
    pub(crate) server: Option<String>,
}

impl Session {
    /// Returns the server's state directory.
    pub(crate) fn state(&self) -> Result<StateDirectory, Problem> {
        Ok(StateDirectory::at(
            self.environment.state_directory(self.state.clone())?,
        ))
    }

    /// Returns the server's state directory, in which a server has been.
    pub(crate) fn state_of_a_server(&self) -> Result<StateDirectory, Problem> {
        Ok(self.state()?.of_a_server()?)
    }

    /// Returns a client of the server: of the one that was named, else of the one at which this user logged in, else of
    /// the one on this machine.
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        let local_is_named = self.control.is_some() || self.state.is_some();
        if self.server.is_some() || !local_is_named {
            let stored = Login::read(&self.environment.own_directory()?)?;
            let stored =
                stored.filter(|it| self.server.as_ref().is_none_or(|url| url == it.server()));
            match (stored, &self.server) {
                (Some(login), _) => return Ok(Client::by_login(login, self.clock.clone())?),
                (None, Some(url)) => return Err(LoginError::None(url.clone()).into()),
                (None, None) => {}
            }
        }
        match &self.control {
            Some(socket) => Ok(Client::new(socket.clone())),
            None => Ok(Client::new(self.state()?.control_socket())),
        }
    }
}

/// Reads the command line, does what it says, and returns the exit code.
pub(crate) fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        complain(Cli::command().render_help().to_string().trim_end());
        return ExitCode::from(Exit::Usage as u8);
    }
    let matches = Cli::command().get_matches();
    let Cli { common, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|it| it.exit());
    let environment = Environment::read();
    let output = Output::new(common.output, environment.no_color);
    let session = Session {
        output,
        clock: Clock::new(),
        environment,
        state: common.state,
        control: common.control,
        server: common.server,
    };
    match idle::refuse(&matches).and_then(|()| dispatch(&session, command)) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            if session.output.format() == Format::Table {
                problem.lines().iter().for_each(|line| complain(line));
            } else {
                complain(&problem.to_value().to_canonical());
            }
            ExitCode::from(problem.exit() as u8)
        }
    }
}

fn dispatch(session: &Session, command: Command) -> Result<u8, Problem> {
    let work = match command {
        Command::Inner(arguments) => {
            return Ok(crate::run::inner(&arguments).map_err(RunError::from)?);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ambit", &mut script);
            let script = String::from_utf8_lossy(&script);
            return done(session.output.line(script.trim_end()));
        }
        Command::Check(arguments) => return done(estate::check(session, &arguments)),
        Command::Work(work) => work,
    };
    block_on(session.do_work(work))
}

impl Session {
    async fn do_work(&self, work: Work) -> Result<u8, Problem> {
        match work {
            Work::Run(arguments) => run::run(self, arguments).await,
            Work::Demo(arguments) => crate::demo::demo(self, &arguments).await,
            Work::DemoAgent(arguments) => crate::demo::agent(&arguments).await,
            Work::Dev(arguments) => done(crate::serve::dev(self, &arguments).await),
            Work::Serve(arguments) => done(crate::serve::serve(self, &arguments).await),
            Work::Task(command) => done(tasks::task(self, command).await),
            Work::Revoke(arguments) => done(tasks::revoke(self, &arguments).await),
            Work::Reinstate(arguments) => done(tasks::reinstate(self, &arguments).await),
            Work::Approvals(command) => done(approvals::approvals(self, command).await),
            Work::Plan(arguments) => done(estate::plan(self, &arguments).await),
            Work::Apply(arguments) => done(estate::apply(self, &arguments).await),
            Work::Server(command) => done(estate::server(self, &command).await),
            Work::Secret(command) => done(secrets::secret(self, &command).await),
            Work::Authority(command) => done(authority::authority(self, &command).await),
            Work::Log(command) => done(log::log(self, command).await),
            Work::Recover(arguments) => done(crate::serve::recover(self, &arguments).await),
            Work::Login(arguments) => done(login::login(self, &arguments).await),
            Work::People(command) => done(people::people(self, &command).await),
            Work::Logout => done(login::logout(self).await),
            Work::Status => done(status::status(self).await),
        }
    }
}

fn done(result: Result<(), Problem>) -> Result<u8, Problem> {
    result.map(|()| Exit::Ok as u8)
}

/// Runs `future` on this thread: bubblewrap dies with the thread that started it, so it must be this one.
fn block_on<T>(future: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|source| Problem::io("start the asynchronous runtime", source))?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Reads `name=value`: a value that reads as JSON is taken as that, all else as text.
pub(crate) fn parameter(text: &str) -> Result<(String, ambit_core::json::Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("write NAME=VALUE instead of `{text}`"))?;
    let value = match ambit_core::json::parse(value.as_bytes()) {
        Ok(value) => value,
        Err(_) => value.into(),
    };
    Ok((name.to_owned(), value))
}

/// Returns the parameters by name.
///
/// # Errors
/// One is given twice: which of the two was meant, nobody can tell.
pub(crate) fn parameters(
    given: Vec<(String, ambit_core::json::Value)>,
) -> Result<BTreeMap<String, ambit_core::json::Value>, Problem> {
    let mut parameters = BTreeMap::new();
    for (name, value) in given {
        let twice = Problem::Usage(format!("--param {name} is given twice; give it once"));
        if parameters.insert(name, value).is_some() {
            return Err(twice);
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_parameter_is_json_or_text() {
        use ambit_core::json::Value;
        let check = |text, value: Value| assert_eq!(parameter(text).unwrap().1, value, "{text}");
        check("a=42", Value::Integer(42));
        check("a=true", Value::Bool(true));
        check("a=T-42", Value::from("T-42"));
        check("a=\"42\"", Value::from("42"));
        check("a=b=c", Value::from("b=c"));
        check("a=", Value::from(""));
        assert!(parameter("a").is_err());
    }
}

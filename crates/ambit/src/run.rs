//! `ambit run`: a command that works inside one task, and holds no key.
//!
//! The runner starts the task, keeps the instance's key and connection, and shows the command one door on
//! its own loopback. When the runner's connection ends, the server ends the task.

mod contained;
mod door;
mod handover;
mod harden;
mod inner;
mod presence;
mod signals;
mod start;
mod surroundings;
mod uncontained;
mod uplink;
mod view;

use std::{
    ffi::OsString,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::net::TcpListener;

pub(crate) use self::{
    contained::{Bubblewrap, find_bubblewrap},
    harden::harden,
    inner::{InnerArguments, InnerError, inner},
    start::{Awaited, SVID_FILES, Started, StartedError, Wanted, start, start_awaiting},
    view::{Access, Hidden},
};
use self::{
    contained::{Container, Inside},
    door::Door,
    handover::Report,
    presence::Watched,
    signals::Signals,
    surroundings::Surroundings,
    uncontained::Uncontained,
    uplink::{Uplink, UplinkError},
    view::{View, ViewError, Wish},
};
use crate::{
    client::{ApiError, Client},
    clock::{Clock, NoChance, chance},
    config::Environment,
    output::complain,
    problem::Exit,
};

/// Whether the command is contained.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Containment {
    /// Contained where the machine can; otherwise not, which is said and recorded
    #[default]
    Auto,
    /// Contained, or not at all run
    Namespaces,
    /// Not contained: a convenience, not a boundary
    None,
}

/// What is run, for which task.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The task that is started for it.
    pub(crate) wanted: Wanted,
    /// Whether it is contained.
    pub(crate) containment: Containment,
    /// Where to write a client configuration.
    pub(crate) mcp_config: Option<PathBuf>,
    /// The working directory; where the runner itself is, when not given.
    pub(crate) working_directory: Option<PathBuf>,
    /// What may be done there.
    pub(crate) access: Access,
    /// More paths to read.
    pub(crate) readable: Vec<PathBuf>,
    /// More paths to read and write.
    pub(crate) writable: Vec<PathBuf>,
    /// Variables that are passed on.
    pub(crate) variables: Vec<String>,
    /// The command.
    pub(crate) command: Vec<OsString>,
    /// Whether the runner says what it does.
    pub(crate) voice: Voice,
}

/// Whether the runner says what it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Voice {
    /// On standard error.
    Spoken,
    /// Errors only.
    Quiet,
}

/// What the runner needs of its surroundings.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    /// The control API.
    pub(crate) client: &'a Client,
    /// The clock.
    pub(crate) clock: &'a Clock,
    /// The environment.
    pub(crate) environment: &'a Environment,
    /// What must stay out of the command's sight.
    pub(crate) hidden: Hidden,
}

/// Why a command was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// No command was given.
    #[error("no command to run; write it after `--`")]
    NoCommand,
    /// A path can't be shown to the command.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Containment was wanted and can't be had.
    #[error(
        "bubblewrap is missing or can't make namespaces here; install the package `bubblewrap` and \
         allow unprivileged user namespaces, or run with --containment none"
    )]
    NoNamespaces,
    /// The container could not be made.
    #[error(
        "the container could not be made; bubblewrap's own message stands above, if it wrote one"
    )]
    NotContained(#[source] io::Error),
    /// The server did not start the task.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The server's answer can't be used.
    #[error(transparent)]
    Started(#[from] StartedError),
    /// The gateway can't be reached or refuses.
    #[error("the gateway did not accept the runner")]
    Uplink(#[from] UplinkError),
    /// No random bytes.
    #[error(transparent)]
    NoChance(#[from] NoChance),
    /// The client configuration can't be written.
    #[error(transparent)]
    Inner(#[from] InnerError),
    /// Something on this machine failed.
    #[error("could not {attempt}")]
    Local {
        /// What was attempted.
        attempt: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl RunError {
    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Api(error) => error.exit(),
            Self::NoCommand | Self::View(_) => Exit::Usage,
            Self::Uplink(_) => Exit::Unreachable,
            Self::NoNamespaces
            | Self::NotContained(_)
            | Self::Started(_)
            | Self::NoChance(_)
            | Self::Inner(_)
            | Self::Local { .. } => Exit::Failure,
        }
    }

    fn local(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Local { attempt, source }
    }
}

impl Runner<'_> {
    /// Runs the command and returns its exit code.
    pub(crate) async fn run(&self, run: &Run) -> Result<u8, RunError> {
        harden();
        let bubblewrap = match run.containment {
            Containment::None => None,
            Containment::Auto | Containment::Namespaces => {
                find_bubblewrap(self.environment.path.as_ref()).await
            }
        };
        if bubblewrap.is_none() && run.containment == Containment::Namespaces {
            return Err(RunError::NoNamespaces);
        }
        let directory = self.working_directory(run)?;
        let wish = Wish {
            working_directory: directory.clone(),
            access: run.access,
            readable: run.readable.clone(),
            writable: run.writable.clone(),
        };
        // Checked before the task starts: a mistake here should leave no trace.
        let view = match bubblewrap {
            Some(_) => Some(View::new(&wish, &self.hidden)?),
            None => {
                View::check_uncontained(&wish, &self.hidden)?;
                None
            }
        };
        let started = start(self.client, self.clock, &run.wanted, view.is_some()).await?;
        let uplink = Uplink::new(started.gateway, Arc::clone(&started.tls));
        let presence = uplink.ask(http::Method::GET, "/v1/presence").await?;
        let over = Arc::new(AtomicBool::new(false));
        let watched = Watched {
            uplink: uplink.clone(),
            client: self.client.clone(),
            voice: run.voice,
            over: Arc::clone(&over),
        };
        let watching = tokio::spawn(watched.watch(presence.into_body()));
        self.announce(run, &started, view.is_some());
        let report = match (&bubblewrap, &view) {
            (Some(bubblewrap), Some(view)) => {
                self.run_contained(run, view, bubblewrap, uplink.clone())
                    .await
            }
            _ => run_uncontained(run, &directory, uplink.clone()).await,
        };
        // From here on the task's end is no news. The presence stays: its end would cancel the task.
        over.store(true, Ordering::Relaxed);
        if matches!(report, Ok(Report::Ended(0))) {
            // A task that ended meanwhile is refused here, and that is as good.
            let _ = uplink.ask(http::Method::POST, "/v1/task/complete").await;
        }
        watching.abort();
        Ok(explain(report?, run, view.is_some()))
    }

    async fn run_contained(
        &self,
        run: &Run,
        view: &View,
        bubblewrap: &Bubblewrap,
        uplink: Uplink,
    ) -> Result<Report, RunError> {
        let program =
            std::env::current_exe().map_err(RunError::local("find the `ambit` program itself"))?;
        let mut signals = Signals::catch().map_err(RunError::local("catch signals"))?;
        let inside = Inside {
            bubblewrap,
            program: &program,
            view,
            mcp_config: run.mcp_config.as_deref(),
            variables: &run.variables,
            command: &run.command,
        };
        let (mut container, listener) = Container::open(inside).await?;
        let port = port_of(&listener)?;
        let serving = tokio::spawn(Door::new(uplink, port, None).serve(listener));
        container.begin().await?;
        let report = loop {
            tokio::select! {
                report = container.ended() => break report,
                number = signals.next() => container.signal(number).await,
            }
        };
        serving.abort();
        report
    }

    fn working_directory(&self, run: &Run) -> Result<PathBuf, RunError> {
        match &run.working_directory {
            Some(path) => Ok(path.clone()),
            None => std::env::current_dir().map_err(RunError::local("find the working directory")),
        }
    }

    fn announce(&self, run: &Run, started: &Started, contained: bool) {
        let containment = if contained {
            "contained, as this runner claims on record: no key, no other process, no network but Ambit's doors"
        } else {
            "containment=none: it shares this machine with everything else, which is recorded"
        };
        if run.voice == Voice::Spoken || !contained {
            complain(&format!(
                "ambit: {} until {}, {containment}",
                started.task, started.expires_at
            ));
        }
    }
}

async fn run_uncontained(run: &Run, directory: &Path, uplink: Uplink) -> Result<Report, RunError> {
    let mut signals = Signals::catch().map_err(RunError::local("catch signals"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(RunError::local("listen on the loopback"))?;
    let port = port_of(&listener)?;
    let secret = hex(&chance::<{ door::SECRET_BYTES }>()?);
    let surroundings = Surroundings::uncontained(port, &secret);
    let serving = tokio::spawn(Door::new(uplink, port, Some(secret)).serve(listener));
    let config = run.mcp_config.as_deref();
    let mut child = Uncontained::start(&run.command, directory, &surroundings, config)?;
    let report = loop {
        tokio::select! {
            report = child.ended() => break report,
            number = signals.next() => child.signal(number),
        }
    };
    serving.abort();
    report
}

fn port_of(listener: &TcpListener) -> Result<u16, RunError> {
    let address = listener
        .local_addr()
        .map_err(RunError::local("read the door's port"))?;
    Ok(address.port())
}

/// Returns the exit code, after saying why there was no command to give one.
fn explain(report: Report, run: &Run, contained: bool) -> u8 {
    let name = run
        .command
        .first()
        .map(|it| it.display().to_string())
        .unwrap_or_default();
    let inside = if contained {
        "; inside are only /usr, the working directory and what --readable shows"
    } else {
        ""
    };
    match report {
        Report::Ended(_) => (),
        Report::NotFound => complain(&format!(
            "ambit: no program `{name}` is there to run{inside}"
        )),
        Report::NotStarted => complain(&format!("ambit: `{name}` could not be started{inside}")),
    }
    let [_, code] = report.to_bytes();
    code
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

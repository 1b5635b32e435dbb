//! The first process inside: opens the door, hands it out, runs the command, passes signals on.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener},
    os::unix::{
        fs::OpenOptionsExt,
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};

use super::{
    handover::{Report, await_go, send_listener},
    surroundings::Surroundings,
};

/// The runner's socket, as the first process sees it.
pub(crate) const SOCKET: &str = "/run/ambit/runner.sock";

/// What the first process is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InnerArguments {
    /// Where to write a client configuration
    #[arg(long)]
    mcp_config: Option<PathBuf>,
    /// The command
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Why the command could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("inside the container: could not {attempt}")]
pub(crate) struct InnerError {
    attempt: String,
    #[source]
    source: io::Error,
}

/// Runs the command and returns its exit code.
pub(crate) fn inner(arguments: &InnerArguments) -> Result<u8, InnerError> {
    super::harden::harden();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(failed("listen on its own loopback"))?;
    let port = listener
        .local_addr()
        .map_err(failed("read its own port"))?
        .port();
    let mut stream = UnixStream::connect(SOCKET)
        .map_err(failed("reach the runner; start it with `ambit run`"))?;
    send_listener(&stream, &listener).map_err(failed("hand the listener out"))?;
    drop(listener);
    await_go(&stream).map_err(failed("wait for the runner"))?;

    let surroundings = Surroundings::contained(port);
    let written = match &arguments.mcp_config {
        Some(path) => Some(write_config(path, &surroundings.mcp_config())?),
        None => None,
    };
    let report = supervise(arguments, &surroundings, &stream)?;
    drop(written);
    // The runner may be gone already; the exit code says the same.
    let _ = stream.write_all(&report.to_bytes());
    let _ = stream.shutdown(Shutdown::Both);
    let [_, code] = report.to_bytes();
    Ok(code)
}

/// A file that is removed at the end.
#[derive(Debug)]
pub(crate) struct Written(PathBuf);

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a new file at `path`; one that is there already is left alone.
pub(crate) fn write_config(path: &Path, text: &str) -> Result<Written, InnerError> {
    let attempt = format!(
        "write the client configuration {}; name a file that is not there yet, such as /tmp/mcp.json",
        path.display()
    );
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed(attempt.clone()))?;
    file.write_all(text.as_bytes()).map_err(failed(attempt))?;
    Ok(Written(path.to_owned()))
}

/// Returns the exit code that a shell would give: the command's, or 128 + n for signal n.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn supervise(
    arguments: &InnerArguments,
    surroundings: &Surroundings,
    stream: &UnixStream,
) -> Result<Report, InnerError> {
    let Some((program, rest)) = arguments.command.split_first() else {
        return Ok(Report::NotFound);
    };
    let spawned = Command::new(program)
        .args(rest)
        .envs(surroundings.variables())
        .process_group(0)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Report::NotFound),
        Err(_) => return Ok(Report::NotStarted),
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let signals = stream
        .try_clone()
        .map_err(failed("share the runner's socket"))?;
    thread::spawn(move || pass_signals(signals, group));
    let code = await_end(group).map_err(failed("wait for the command"))?;
    Ok(Report::Ended(code))
}

/// Waits for the end of `command` and returns its exit code. As the first process inside, it also buries whatever else
/// ends and has no parent any more.
fn await_end(command: Option<Pid>) -> io::Result<u8> {
    loop {
        let ended = match wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if let Some((process, status)) = ended
            && Some(process) == command
        {
            return Ok(exit_code(ExitStatus::from_raw(status.as_raw())));
        }
    }
}

/// Passes on each signal that the runner names, until the runner is gone.
fn pass_signals(mut stream: UnixStream, group: Option<Pid>) {
    let mut byte = [0];
    while let (Ok(()), Some(group)) = (stream.read_exact(&mut byte), group) {
        let [number] = byte;
        if let Some(signal) = Signal::from_named_raw(i32::from(number)) {
            // The command may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }
}

fn failed(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> InnerError {
    let attempt = attempt.into();
    move |source| InnerError { attempt, source }
}

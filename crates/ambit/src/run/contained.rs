//! A command in namespaces of its own, through bubblewrap.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use ambit_gateway::hand_nothing_over;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, UnixListener, UnixStream},
    process::{Child, Command},
    time::timeout,
};

use super::{
    RunError,
    handover::{GO, Report, receive_listener},
    inner::exit_code,
    surroundings::contained_environment,
    view::View,
};

/// How long the first process inside may take to open its door.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the probe for namespaces may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is run inside, and how.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    /// What makes the namespaces.
    pub(crate) bubblewrap: &'a Bubblewrap,
    /// The `ambit` program, which is the first process inside.
    pub(crate) program: &'a Path,
    /// What the command sees.
    pub(crate) view: &'a View,
    /// Where to write a client configuration, as seen inside.
    pub(crate) mcp_config: Option<&'a Path>,
    /// Variables that the user wants passed on.
    pub(crate) variables: &'a [String],
    /// The command.
    pub(crate) command: &'a [OsString],
}

/// bubblewrap, as this machine has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bubblewrap {
    /// Where it is.
    pub(crate) program: PathBuf,
    inner_namespaces: InnerNamespaces,
}

/// Whether a command inside can make user namespaces of its own. They lead nowhere, but they reach more of the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum InnerNamespaces {
    /// It can't.
    None,
    /// It can: bubblewrap is older than 0.8, or set up to be run as another user.
    Possible,
}

/// A container whose door is open and whose command waits for the word to begin.
#[derive(Debug)]
pub(crate) struct Container {
    child: Child,
    stream: UnixStream,
    /// Removed when dropped.
    _directory: TempDir,
}

/// Returns bubblewrap when it is there and can make namespaces.
pub(crate) async fn find_bubblewrap(path: Option<&OsString>) -> Option<Bubblewrap> {
    let places = path.map(std::env::split_paths).into_iter().flatten();
    let program = places.map(|it| it.join("bwrap")).find(|it| it.is_file())?;
    for inner_namespaces in [InnerNamespaces::None, InnerNamespaces::Possible] {
        let found = Bubblewrap {
            program: program.clone(),
            inner_namespaces,
        };
        if found.works().await {
            return Some(found);
        }
    }
    None
}

impl Bubblewrap {
    /// Returns the arguments that come before those of the view.
    fn arguments(&self) -> &'static [&'static str] {
        match self.inner_namespaces {
            InnerNamespaces::None => &["--disable-userns"],
            InnerNamespaces::Possible => &[],
        }
    }

    async fn works(&self) -> bool {
        let mut probe = Command::new(&self.program);
        probe.args(self.arguments());
        probe.args([
            "--unshare-user",
            "--unshare-pid",
            "--unshare-net",
            "--ro-bind",
            "/usr",
            "/usr",
        ]);
        for directory in ["/bin", "/lib", "/lib64"] {
            probe.args(["--ro-bind-try", directory, directory]);
        }
        probe.args(["--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/true"]);
        probe
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.kill_on_drop(true);
        let status = timeout(PROBE_TIMEOUT, probe.status()).await;
        matches!(status, Ok(Ok(status)) if status.success())
    }
}

impl Container {
    /// Makes the container. Returns it with the listener inside its network namespace.
    pub(crate) async fn open(inside: Inside<'_>) -> Result<(Self, TcpListener), RunError> {
        let (directory, door) =
            prepare_directory().map_err(RunError::local("prepare a directory for the runner"))?;
        let mut child =
            start(&inside, directory.path()).map_err(RunError::local("start bubblewrap"))?;
        let handing = timeout(READY_TIMEOUT, accept(&door));
        let (stream, listener) = tokio::select! {
            status = child.wait() => return Err(RunError::NotContained(ended_early(status))),
            handed = handing => match handed {
                Ok(Ok(handed)) => handed,
                Ok(Err(error)) => return Err(RunError::NotContained(error)),
                Err(_) => return Err(RunError::NotContained(io::ErrorKind::TimedOut.into())),
            },
        };
        // Only the first process gets to speak to the runner, and it has.
        drop(door);
        fs::remove_file(directory.path().join("inside/runner.sock"))
            .map_err(RunError::local("close the runner's socket"))?;
        Ok((
            Self {
                child,
                stream,
                _directory: directory,
            },
            listener,
        ))
    }

    /// Lets the command begin.
    pub(crate) async fn begin(&mut self) -> Result<(), RunError> {
        self.stream
            .write_all(&[GO])
            .await
            .map_err(RunError::NotContained)
    }

    /// Passes a signal on to the command.
    pub(crate) async fn signal(&mut self, number: u8) {
        // The command may have ended meanwhile; then there is nobody to tell.
        let _ = self.stream.write_all(&[number]).await;
    }

    /// Waits for the end and says how the command ended. May be dropped and asked again.
    pub(crate) async fn ended(&mut self) -> Result<Report, RunError> {
        let status = self
            .child
            .wait()
            .await
            .map_err(RunError::local("wait for bubblewrap"))?;
        let mut bytes = [0; 2];
        let told = timeout(Duration::from_secs(1), self.stream.read_exact(&mut bytes)).await;
        let report = told
            .ok()
            .and_then(Result::ok)
            .and_then(|_| Report::from_bytes(bytes));
        Ok(report.unwrap_or_else(|| Report::Ended(exit_code(status))))
    }
}

async fn accept(door: &UnixListener) -> io::Result<(UnixStream, TcpListener)> {
    let (stream, _) = door.accept().await?;
    let listener = loop {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || receive_listener(&stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            other => break other?,
        }
    };
    listener.set_nonblocking(true)?;
    Ok((stream, TcpListener::from_std(listener)?))
}

/// Returns the runner's own directory with what becomes visible inside, and the runner's socket.
fn prepare_directory() -> io::Result<(TempDir, UnixListener)> {
    let directory = tempfile::Builder::new().prefix("ambit-run-").tempdir()?;
    let path = directory.path();
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let home = super::view::INNER_HOME;
    let texts = [
        (
            "passwd",
            format!("agent:x:{uid}:{gid}:agent:{home}:/bin/sh\n"),
        ),
        ("group", format!("agent:x:{gid}:\n")),
        ("hosts", "127.0.0.1 localhost\n".to_owned()),
        (
            "resolv.conf",
            "# no name is resolved in here: CONNECT through HTTPS_PROXY\n".to_owned(),
        ),
    ];
    for (name, text) in texts {
        fs::write(path.join(name), text)?;
    }
    let inside = path.join("inside");
    fs::DirBuilder::new().mode(0o700).create(&inside)?;
    // The program is mounted over this file.
    fs::write(inside.join("ambit"), "")?;
    let door = UnixListener::bind(inside.join("runner.sock"))?;
    Ok((directory, door))
}

fn start(inside: &Inside<'_>, directory: &Path) -> io::Result<Child> {
    let mut command = Command::new(&inside.bubblewrap.program);
    command.args(inside.bubblewrap.arguments());
    command.args(inside.view.arguments(directory, inside.program));
    command.args(["--", "/run/ambit/ambit", "inner"]);
    if let Some(path) = inside.mcp_config {
        command.arg("--mcp-config").arg(path);
    }
    command.arg("--").args(inside.command);
    // bubblewrap itself becomes process 1 inside, and anybody there can read its environment.
    command
        .env_clear()
        .envs(contained_environment(inside.variables));
    // A terminal's interrupt reaches the runner only, which passes it on; it would kill bubblewrap.
    command.process_group(0).kill_on_drop(true);
    hand_nothing_over(command.as_std_mut())?;
    command.spawn()
}

fn ended_early(status: io::Result<ExitStatus>) -> io::Error {
    match status {
        Ok(status) => io::Error::other(format!("bubblewrap ended first, with {status}")),
        Err(error) => error,
    }
}

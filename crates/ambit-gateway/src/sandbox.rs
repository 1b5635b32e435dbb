//! Stdio servers start here and nowhere else: in namespaces of their own, through bubblewrap.
//!
//! A server sees the system's programs and libraries read-only, what its file in the estate mounts, an
//! empty home, and no network unless declared. Its environment holds what the estate declares and
//! nothing else. It ends with the gateway. The command line comes from the estate only.

mod mounts;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Seek, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ambit_core::estate::{MountAccess, StdioLimits, StdioNetwork, Transport};
use command_fds::FdMapping;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::process::Child;

use self::mounts::Opened;
use crate::{open_files::hand_over, upstream::UpstreamError};

/// How stdio servers are confined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SandboxPolicy {
    /// By bubblewrap at this path.
    Bubblewrap {
        /// The program, such as `/usr/bin/bwrap`.
        program: PathBuf,
        /// The estate's folder: relative mounts begin here and stay below.
        estate: PathBuf,
        /// What no server may see: Ambit's state, mark, configuration and socket.
        protected: Vec<PathBuf>,
    },
    /// Not at all: the operator wrote `danger_unsandboxed`.
    DangerUnsandboxed {
        /// The estate's folder: the servers' working directory.
        estate: PathBuf,
        /// What no server may declare as a mount; without a sandbox, nothing keeps it from looking.
        protected: Vec<PathBuf>,
    },
    /// There is no bubblewrap and no word of the operator: no stdio server starts.
    Refused,
}

/// Starts the process that `transport` declares, with pipes for its three streams.
///
/// # Errors
/// [`UpstreamError::Start`] that says what is missing.
pub(crate) fn start(transport: &Transport, policy: &SandboxPolicy) -> Result<Child, UpstreamError> {
    let Transport::Stdio {
        command,
        environment,
        mounts,
        limits,
        ..
    } = transport
    else {
        return Err(UpstreamError::Start("it is no stdio server".into()));
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(UpstreamError::Start("its `command` is empty".into()));
    };
    let mut started = match policy {
        SandboxPolicy::Refused => {
            let why = "there is no sandbox; install bubblewrap, or set `danger_unsandboxed` and accept the risk";
            return Err(UpstreamError::Start(why.into()));
        }
        SandboxPolicy::DangerUnsandboxed { estate, protected } => {
            mounts::open(mounts, estate, protected)?;
            let mut started = Command::new("/bin/sh");
            started
                .args(["-c", FEW_FILES, "ambit-stdio"])
                .arg(limits.open_files.to_string())
                .arg(program)
                .args(arguments);
            started.current_dir(estate).env_clear();
            started.envs(variables(environment));
            started
        }
        SandboxPolicy::Bubblewrap {
            program,
            estate,
            protected,
        } => confined(program, transport, mounts::open(mounts, estate, protected)?)?,
    };
    started
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut started = tokio::process::Command::from(started);
    let spawned = started.kill_on_drop(true).spawn();
    spawned.map_err(|error| UpstreamError::Start(format!("{program}: {error}")))
}

/// Returns the command that starts what `transport` declares inside of bubblewrap, which finds its arguments and the
/// sources of `mounts` under numbers: what is on a command line, every user of the machine can read.
fn confined(
    bubblewrap: &Path,
    transport: &Transport,
    mounts: Vec<Opened<'_>>,
) -> Result<Command, UpstreamError> {
    let Transport::Stdio {
        command,
        environment,
        network,
        limits,
        ..
    } = transport
    else {
        return Err(UpstreamError::Start("it is no stdio server".into()));
    };
    let arguments = confinement(environment, &mounts, *network, *limits);
    let unready = |error: io::Error| UpstreamError::Start(format!("its sandbox: {error}"));
    let mut handed = vec![FdMapping {
        parent_fd: in_memory(&arguments).map_err(unready)?,
        child_fd: ARGUMENTS_FD,
    }];
    handed.extend(
        mounts
            .into_iter()
            .zip(MOUNT_FDS)
            .map(|(it, number)| FdMapping {
                parent_fd: it.object,
                child_fd: number,
            }),
    );
    let mut started = Command::new("/bin/sh");
    started
        .args(["-c", FIRST_TO_GO, "ambit-stdio"])
        .arg(bubblewrap)
        .arg("--args")
        .arg(ARGUMENTS_FD.to_string())
        .args(["--", "/bin/sh", "-c", LIMITED, "ambit-stdio"])
        .arg(limits.open_files.to_string())
        .arg(kibibytes(*limits).to_string())
        // bubblewrap's own process inside counts too.
        .arg(limits.processes.saturating_add(1).to_string())
        .args(command)
        .env_clear();
    hand_over(&mut started, handed).map_err(unready)?;
    Ok(started)
}

/// Returns a file in memory with `arguments`, each ended by a zero byte, to be read from its beginning.
fn in_memory(arguments: &[OsString]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("ambit-stdio", MemfdFlags::CLOEXEC)?);
    for argument in arguments {
        file.write_all(argument.as_bytes())?;
        file.write_all(&[0])?;
    }
    file.rewind()?;
    Ok(file.into())
}

const fn kibibytes(limits: StdioLimits) -> u64 {
    limits.memory_mib as u64 * 1024
}

/// Returns bubblewrap's arguments, in its order: later ones cover earlier ones.
fn confinement(
    environment: &BTreeMap<String, String>,
    mounts: &[Opened<'_>],
    network: StdioNetwork,
    limits: StdioLimits,
) -> Vec<OsString> {
    let mut arguments = words(&[
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        // Run by root, bubblewrap would otherwise keep every capability.
        "--cap-drop",
        "ALL",
    ]);
    if network == StdioNetwork::Host {
        arguments.extend(words(&["--share-net"]));
    }
    for folder in SYSTEM_FOLDERS {
        arguments.extend(words(&["--ro-bind-try", folder, folder]));
    }
    for file in SYSTEM_FILES {
        arguments.extend(words(&["--ro-bind-try", file, file]));
    }
    if network == StdioNetwork::Host {
        for file in NETWORK_FILES {
            arguments.extend(words(&["--ro-bind-try", file, file]));
        }
    }
    let temporary_bytes = (kibibytes(limits) * 1024).to_string();
    let size = ["--size", temporary_bytes.as_str(), "--tmpfs"];
    arguments.extend(words(&["--proc", "/proc", "--dev", "/dev"]));
    arguments.extend(words(&size).into_iter().chain(words(&["/dev/shm"])));
    arguments.extend(words(&size).into_iter().chain(words(&["/tmp"])));
    arguments.extend(words(&["--dir", HOME, "--chdir", HOME]));
    // The files of /proc/sys check the user and no capability: root inside could write them.
    arguments.extend(words(&["--remount-ro", "/proc"]));
    for (Opened { mount, .. }, number) in mounts.iter().zip(MOUNT_FDS) {
        // bubblewrap refuses when something else than the open object came to be mounted.
        let option = match mount.access {
            MountAccess::ReadOnly => "--ro-bind-fd",
            MountAccess::ReadWrite => "--bind-fd",
        };
        arguments.extend(words(&[option, &number.to_string(), &mount.target]));
    }
    // These are held in memory without a limit of their own.
    arguments.extend(words(&["--remount-ro", "/dev", "--remount-ro", "/"]));
    for (name, value) in variables(environment) {
        arguments.extend(words(&["--setenv", &name, &value]));
    }
    arguments
}

/// Returns the whole environment: what a program can't do without, and what the estate declares.
fn variables(declared: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOME".to_owned(), HOME.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    all.extend(
        declared
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    all
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Volunteers for the kernel's choice when the machine's memory runs out, then becomes bubblewrap. Nothing that the
/// gateway is made of goes first.
const FIRST_TO_GO: &str = "echo 1000 > /proc/self/oom_score_adj; exec \"$@\"";
/// Sets the limits of a server, then becomes it: no core files (they would hold what it read), no file beyond 4 GiB (the
/// unit is 512 bytes), and its file's limits on open files, on memory that it writes to (KiB) and on processes. Shells
/// disagree on how the last is called; one that has no name for it starts nothing.
const LIMITED: &str = "ulimit -c 0 && ulimit -f 8388608 && ulimit -n \"$1\" && ulimit -d \"$2\" && \
    { if (ulimit -u \"$3\") 2>/dev/null; then ulimit -u \"$3\"; else ulimit -p \"$3\"; fi; } && \
    shift 3 && exec \"$@\"";
/// Sets how many files a server may open that nothing else confines, then becomes it: what Ambit itself may open is more
/// than programs of old can do with.
const FEW_FILES: &str = "ulimit -n \"$1\" && shift && exec \"$@\"";
/// The number under which bubblewrap finds its arguments; the sources of mounts follow.
const ARGUMENTS_FD: RawFd = 3;
/// The numbers of the sources of mounts.
const MOUNT_FDS: std::ops::RangeFrom<RawFd> = ARGUMENTS_FD + 1..;
/// The home of a server: empty, gone with it.
const HOME: &str = "/tmp/home";
/// Programs and libraries, read-only.
const SYSTEM_FOLDERS: [&str; 6] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/alternatives",
];
/// What the loader and the C library read, read-only.
const SYSTEM_FILES: [&str; 3] = ["/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf"];
/// What a program with a network reads, read-only.
const NETWORK_FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl",
    "/etc/ca-certificates",
];

//! One process, held by a pidfd and looked at through `/proc`.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::{Arc, Mutex, PoisonError},
};

use ambit_control::workload::ProcessKey;
use ambit_core::{AgentName, Digest, estate::Agent};
use ambit_identity::{DigestWanted, PeerCredentials, ProcessAttributes, digest_wanted};
use aws_lc_rs::digest::{Context, SHA256};
use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{io::unix::AsyncFd, net::UnixStream};

/// The largest executable whose digest is taken, in bytes.
pub(super) const EXECUTABLE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How many digests of executables are remembered.
const DIGESTS_KEPT_MAX: usize = 256;

/// A process that is held: as long as this lives, its number means this process or none.
#[derive(Debug)]
pub(super) struct Process {
    held: Arc<OwnedFd>,
    credentials: PeerCredentials,
    pid: u32,
    began: u64,
    boot: Digest,
}

/// What was found out about executables, by which file in which state it was.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<FileState, Digest>>);

/// A file in one state: its device, number, size, and when it was written and changed, in nanoseconds.
type FileState = (u64, u64, u64, (i64, i64), (i64, i64));

impl Process {
    /// Holds the process that connected `stream`.
    ///
    /// Since Linux 6.5 the kernel gives the pidfd of the very process. Before, it is opened by number, and the
    /// number must still be of the same user: a process that was replaced in between must be of that user, too.
    pub(super) fn hold(stream: &UnixStream, credentials: PeerCredentials) -> io::Result<Self> {
        let nobody = || io::Error::other("the kernel does not say which process it is");
        let pid = credentials.pid.filter(|it| *it > 0).ok_or_else(nobody)?;
        let held = match getsockopt(stream, PeerPidfd) {
            Ok(held) => held,
            Err(nix::errno::Errno::ENOPROTOOPT) => by_number(pid)?,
            Err(errno) => return Err(errno.into()),
        };
        let began = began(pid)?;
        let owner = fs::metadata(format!("/proc/{pid}"))?.uid();
        // A process that may not be looked at belongs to root here, and none of its own is read then.
        if owner != credentials.uid && owner != 0 {
            return Err(io::Error::other("it is another user's by now"));
        }
        let process = Self {
            held: Arc::new(held),
            credentials,
            pid,
            began,
            boot: boot()?,
        };
        process.alive()?;
        Ok(process)
    }

    /// Returns which process it is.
    pub(super) const fn key(&self) -> ProcessKey {
        ProcessKey {
            boot: self.boot,
            pid: self.pid,
            began: self.began,
        }
    }

    /// Looks at it. What can't be read is left out, and then fits no registration that names it.
    pub(super) fn look(
        &self,
        agents: &BTreeMap<AgentName, Agent>,
        looks: &Looks,
    ) -> io::Result<ProcessAttributes> {
        // Opened once: path and digest are of the same file, whatever the process becomes meanwhile.
        let executable = File::open(format!("/proc/{}/exe", self.pid)).ok();
        let mut seen = ProcessAttributes {
            uid: self.credentials.uid,
            gid: self.credentials.gid,
            pid: self.pid,
            path: executable.as_ref().and_then(path_of),
            sha256: None,
            unit: unit_of(self.pid),
        };
        if let Some(executable) = executable
            && digest_wanted(&seen, agents) == DigestWanted::Yes
        {
            seen.sha256 = looks.digest(&executable)?;
        }
        // All of it was this process only if it still is.
        self.alive()?;
        Ok(seen)
    }

    /// Resolves when it has ended.
    pub(super) async fn ended(&self) {
        #[expect(
            deprecated,
            reason = "its successor is unsafe to call; this descriptor is owned here and never replaced"
        )]
        let watched = AsyncFd::new(HeldFd(Arc::clone(&self.held)));
        let Ok(held) = watched else {
            // Without a way to wait it counts as gone: an instance that nobody watches would outlive its process.
            tracing::error!(pid = self.pid, "a process can't be watched");
            return;
        };
        // An error is an end, too.
        let _ = held.readable().await;
    }

    fn alive(&self) -> io::Result<()> {
        let mut asked = [PollFd::new(self.held.as_ref(), PollFlags::IN)];
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut asked, Some(&none))? == 0 {
            return Ok(());
        }
        Err(io::Error::other("the process has ended"))
    }
}

/// Holds whichever process has the number now.
fn by_number(pid: u32) -> io::Result<OwnedFd> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or_else(|| io::Error::other("it is no number of a process"))?;
    Ok(pidfd_open(number, PidfdFlags::empty())?)
}

struct HeldFd(Arc<OwnedFd>);

impl AsRawFd for HeldFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Looks {
    /// Returns the digest over the file, when it is not too large.
    fn digest(&self, file: &File) -> io::Result<Option<Digest>> {
        let state = state(file)?;
        let known = self.known().get(&state).copied();
        if known.is_some() || state.2 > EXECUTABLE_BYTES_MAX {
            return Ok(known);
        }
        let digest = digest(file, EXECUTABLE_BYTES_MAX)?;
        // A file that was written meanwhile has no digest.
        if state != self::state(file)? {
            return Ok(None);
        }
        let mut known = self.known();
        if known.len() >= DIGESTS_KEPT_MAX {
            known.clear();
        }
        known.insert(state, digest);
        Ok(Some(digest))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<FileState, Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(file: &File) -> io::Result<FileState> {
    let found = file.metadata()?;
    Ok((
        found.dev(),
        found.ino(),
        found.len(),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    ))
}

fn digest(file: &File, bytes_max: u64) -> io::Result<Digest> {
    let (mut context, mut chunk) = (Context::new(&SHA256), vec![0; 64 * 1024]);
    let mut rest = file.take(bytes_max);
    loop {
        let count = rest.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        context.update(chunk.get(..count).unwrap_or_default());
    }
    let digest = context.finish();
    let bytes = digest.as_ref().first_chunk::<32>().copied();
    bytes
        .map(Digest::from_bytes)
        .ok_or_else(|| io::Error::other("SHA-256 has 32 bytes"))
}

/// Returns the path of an open file, when Ambit sees the same file there: a process in a file system of its own
/// could have any file at any path.
fn path_of(file: &File) -> Option<String> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let (open, here) = (file.metadata().ok()?, fs::metadata(&path).ok()?);
    let same = (open.dev(), open.ino()) == (here.dev(), here.ino());
    same.then(|| path.to_str().map(str::to_owned)).flatten()
}

/// Returns the systemd unit in whose control group the process is.
fn unit_of(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    unit(&groups).map(str::to_owned)
}

/// Reads the unit out of `/proc/PID/cgroup` (cgroups(7)): the first one on the way down. Below it, its own user may
/// name groups as they like; above it, only the system does.
fn unit(groups: &str) -> Option<&str> {
    let of = |prefix: &str| groups.lines().find_map(|it| it.strip_prefix(prefix));
    let by_name = || {
        groups
            .lines()
            .find_map(|it| it.split_once(":name=systemd:").map(|it| it.1))
    };
    let path = of("0::").filter(|it| *it != "/").or_else(by_name)?;
    path.split('/')
        .find(|it| it.ends_with(".service") || it.ends_with(".scope"))
}

/// Names this run of the kernel (random(4)): processes of the next one are others.
fn boot() -> io::Result<Digest> {
    let name = fs::read("/proc/sys/kernel/random/boot_id")?;
    Ok(Digest::of(&name))
}

/// Returns when the process began, in the kernel's ticks since the machine did (proc_pid_stat(5), field 22).
fn began(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may hold spaces and parentheses.
    let field = text
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19));
    let ticks = field.and_then(|it| it.parse().ok());
    ticks.ok_or_else(|| io::Error::other("its time of beginning can't be read"))
}

#[cfg(test)]
mod tests;

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
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::CommandExt,
        process::{Child, Command, Stdio},
    };

    use super::*;

    async fn own() -> (UnixStream, Process) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let credentials = super::super::credentials(&ours).unwrap();
        let process = Process::hold(&ours, credentials).unwrap();
        (theirs, process)
    }

    #[tokio::test]
    async fn this_process_is_seen_as_it_is() {
        let (_end, process) = own().await;
        let seen = process.look(&BTreeMap::new(), &Looks::default()).unwrap();
        assert_eq!(seen.pid, std::process::id());
        assert_eq!(seen.uid, rustix::process::geteuid().as_raw());
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        assert_eq!(seen.path.as_deref(), own.to_str());
        assert_eq!(seen.sha256, None, "no registration asks for it");
        assert_eq!(process.key(), self::own().await.1.key());
    }

    #[test]
    fn an_executable_is_digested_once_per_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        fs::write(&path, "one").unwrap();
        let looks = Looks::default();
        let look = || looks.digest(&File::open(&path).unwrap()).unwrap();
        assert_eq!(look(), Some(Digest::of(b"one")));
        assert_eq!((look(), looks.known().len()), (Some(Digest::of(b"one")), 1));
        fs::write(&path, "other").unwrap();
        assert_eq!(look(), Some(Digest::of(b"other")));
        let too_large = File::options().write(true).open(&path).unwrap();
        too_large.set_len(EXECUTABLE_BYTES_MAX + 1).unwrap();
        assert_eq!(look(), None);
    }

    #[test]
    fn so_many_digests_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let looks = Looks::default();
        let look = |number: usize| {
            let path = directory.path().join(number.to_string());
            fs::write(&path, number.to_string()).unwrap();
            let digest = looks.digest(&File::open(&path).unwrap()).unwrap();
            assert_eq!(digest, Some(Digest::of(number.to_string().as_bytes())));
        };
        (0..DIGESTS_KEPT_MAX).for_each(look);
        assert_eq!(looks.known().len(), DIGESTS_KEPT_MAX);
        look(DIGESTS_KEPT_MAX);
        assert_eq!(looks.known().len(), 1, "it begins anew");
    }

    #[test]
    fn a_file_that_is_not_at_its_path_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&path, "a").unwrap();
        let open = File::open(&path).unwrap();
        assert_eq!(
            path_of(&open).as_deref(),
            path.canonicalize().unwrap().to_str()
        );
        fs::write(&other, "b").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(path_of(&open), None);
    }

    #[test]
    fn the_unit_is_the_first_on_the_way_down() {
        let check =
            |groups: &str, wanted: Option<&str>| assert_eq!(unit(groups), wanted, "{groups}");
        check("0::/system.slice/bot.service\n", Some("bot.service"));
        check(
            "0::/system.slice/bot.service/sub/evil.service\n",
            Some("bot.service"),
        );
        check(
            "0::/system.slice/system-bot.slice/bot@7.service\n",
            Some("bot@7.service"),
        );
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/bot.service\n",
            Some("user@1000.service"),
        );
        check(
            "0::/user.slice/user-0.slice/session-3.scope\n",
            Some("session-3.scope"),
        );
        check(
            "0::/\n1:name=systemd:/system.slice/bot.service\n",
            Some("bot.service"),
        );
        check("0::/\n", None);
        check("", None);
        check("7:cpu:/system.slice/bot.service\n", None);
    }

    /// Tells the other half of these tests where to connect, and what to do then.
    const PEER: &str = "AMBIT_TEST_PEER";

    /// The other half of these tests, in a process of its own: it connects, and does what it was told.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "the environment and its output are how this process and the one that started it speak"
    )]
    fn peer() {
        let Ok(told) = std::env::var(PEER) else {
            return;
        };
        let (role, path) = told.split_once(' ').unwrap();
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        match role {
            "ends" => {}
            "becomes-another" => {
                // It is known before it changes.
                stream.read_exact(&mut [0]).unwrap();
                let failed = Command::new("/bin/sleep").arg("60").exec();
                panic!("{failed}");
            }
            "leaves-a-child" => {
                let inherited = Stdio::from(OwnedFd::from(stream.try_clone().unwrap()));
                let child = Command::new("/bin/sleep")
                    .arg("60")
                    .stdin(inherited)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                println!("child {}", child.unwrap().id());
                stream.read_exact(&mut [0]).unwrap();
            }
            _ => {
                let _ = stream.read(&mut [0]);
            }
        }
    }

    /// A peer, and our end of its connection.
    struct Met {
        child: Child,
        stream: UnixStream,
        credentials: PeerCredentials,
    }

    async fn meet(role: &str) -> Met {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let name = "serve::workload::process::tests::peer";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(PEER, format!("{role} {}", path.display()))
            .stdout(Stdio::piped())
            .spawn();
        let (stream, _) = listener.accept().await.unwrap();
        let credentials = super::super::credentials(&stream).unwrap();
        Met {
            child: child.unwrap(),
            stream,
            credentials,
        }
    }

    impl Met {
        fn hold(&self) -> io::Result<Process> {
            Process::hold(&self.stream, self.credentials)
        }

        fn tell(&self) {
            self.stream.try_write(b"!").unwrap();
        }
    }

    fn look(process: &Process) -> io::Result<ProcessAttributes> {
        process.look(&BTreeMap::new(), &Looks::default())
    }

    #[tokio::test]
    async fn an_end_is_noticed() {
        let mut met = meet("waits").await;
        let process = met.hold().unwrap();
        assert_eq!(process.key().pid, met.child.id());
        assert_eq!(look(&process).unwrap().pid, met.child.id());
        met.child.kill().unwrap();
        process.ended().await;
        // Not waited for yet, it still has its number.
        assert!(look(&process).is_err());
        met.child.wait().unwrap();
        assert!(look(&process).is_err());
    }

    #[tokio::test]
    async fn who_ended_before_it_was_held_is_nobody() {
        let mut met = meet("ends").await;
        // Wait for the end without taking the number away: the process is there still, and dead.
        let number = Pid::from_raw(i32::try_from(met.child.id()).unwrap()).unwrap();
        let how = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(number), how).unwrap();
        assert!(met.hold().is_err(), "dead");
        met.child.wait().unwrap();
        assert!(met.hold().is_err(), "gone");
        assert!(by_number(met.child.id()).is_err(), "gone, by number");
        assert!(by_number(0).is_err() && by_number(u32::MAX).is_err());
    }

    /// ASI03: the end of a process is that of its instance, also when a child of it keeps the connection.
    #[tokio::test]
    async fn asi03_a_child_that_keeps_the_connection_is_not_the_process() {
        let mut met = meet("leaves-a-child").await;
        let process = met.hold().unwrap();
        let mut said = BufReader::new(met.child.stdout.take().unwrap()).lines();
        let child = said.find_map(|it| Some(it.unwrap().split_once("child ")?.1.to_owned()));
        let child: i32 = child.unwrap().trim().parse().unwrap();
        met.tell();
        process.ended().await;
        assert!(look(&process).is_err());
        let still_open = met.stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(still_open.kind(), io::ErrorKind::WouldBlock);
        met.child.wait().unwrap();
        let child = Pid::from_raw(child).unwrap();
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    }

    /// ASI03: what a process becomes is seen at the next look; its name among processes stays.
    #[tokio::test]
    async fn asi03_another_program_in_the_same_process_is_seen() {
        let mut met = meet("becomes-another").await;
        let process = met.hold().unwrap();
        let before = look(&process).unwrap().path;
        met.tell();
        // Its end of the connection closes as it becomes another.
        loop {
            met.stream.readable().await.unwrap();
            match met.stream.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => break assert_eq!(ended.unwrap(), 0),
            }
        }
        let after = look(&process).unwrap().path;
        assert_ne!(before, after);
        let sleep = fs::canonicalize("/bin/sleep").unwrap();
        assert_eq!(after.as_deref(), sleep.to_str());
        assert_eq!(met.hold().unwrap().key(), process.key());
        met.child.kill().unwrap();
        met.child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_number_that_is_another_users_by_now_is_nobody() {
        let own = rustix::process::geteuid().as_raw();
        let mut command = Command::new("/bin/sleep");
        command.arg("60");
        if own == 0 {
            // What is root's may be what can't be looked at.
            command.uid(65534);
        }
        let mut child = command.spawn().unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let with = |uid: u32| {
            let credentials = PeerCredentials {
                uid,
                gid: 0,
                pid: Some(child.id()),
            };
            Process::hold(&ours, credentials).map(drop)
        };
        let of_child = if own == 0 { 65534 } else { own };
        with(of_child).unwrap();
        let refused = with(of_child - 1).unwrap_err();
        assert!(refused.to_string().contains("another user's"), "{refused}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

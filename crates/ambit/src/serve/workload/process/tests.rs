use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
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
    assert_eq!(seen.gid, rustix::process::getegid().as_raw());
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
    let check = |groups: &str, wanted: Option<&str>| assert_eq!(unit(groups), wanted, "{groups}");
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
    meet_with(role, |_| ()).await
}

async fn meet_with(role: &str, change: impl FnOnce(&mut Command)) -> Met {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let name = "serve::workload::process::tests::peer";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture"])
        .env(PEER, format!("{role} {}", path.display()))
        .stdout(Stdio::piped());
    change(&mut command);
    let child = command.spawn().unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let credentials = super::super::credentials(&stream).unwrap();
    Met {
        child,
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

/// A process of another group than this one, where this one may start such.
#[tokio::test]
async fn the_group_of_a_process_is_its_own() {
    let is_root = rustix::process::geteuid().is_root();
    let wanted = if is_root {
        65_534
    } else {
        rustix::process::getegid().as_raw()
    };
    let as_another = |it: &mut Command| {
        if is_root {
            it.gid(wanted);
        }
    };
    let mut met = meet_with("waits", as_another).await;
    let seen = look(&met.hold().unwrap()).unwrap();
    assert_eq!(seen.gid, wanted);
    assert_eq!(seen.uid, rustix::process::geteuid().as_raw());
    met.child.kill().unwrap();
    met.child.wait().unwrap();
}

/// Where systemd's groups are, by the version of the kernel's interface (cgroups(7)).
const GROUPS: [&str; 3] = [
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/systemd",
];

/// Makes a control group as systemd does for a unit and puts a process into it, where this process may.
fn unit_with(pid: u32) -> Option<(PathBuf, String)> {
    let unit = format!("ambit-test-{pid}.service");
    let put = |root: &&str| {
        let group = Path::new(root).join(&unit);
        fs::create_dir(&group).ok()?;
        let members = File::options().write(true).open(group.join("cgroup.procs"));
        let put = members.and_then(|mut it| it.write_all(pid.to_string().as_bytes()));
        if put.is_err() {
            fs::remove_dir(&group).unwrap();
        }
        put.ok().map(|()| group)
    };
    let group = GROUPS.iter().find_map(put)?;
    Some((group, unit))
}

/// A process that is put into a unit is seen in it at the next look. Where nobody may make groups, it is seen where
/// the kernel says that it is.
#[tokio::test]
async fn the_unit_of_a_process_is_where_it_was_put() {
    let mut met = meet("waits").await;
    let process = met.hold().unwrap();
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", met.child.id())).unwrap();
    assert_eq!(look(&process).unwrap().unit.as_deref(), unit(&groups));
    let put = unit_with(met.child.id());
    let seen = look(&process).unwrap().unit;
    met.child.kill().unwrap();
    met.child.wait().unwrap();
    if let Some((group, name)) = put {
        fs::remove_dir(group).unwrap();
        assert_eq!(seen, Some(name));
    }
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

//! Sandboxes, tried with the real bubblewrap.

use std::fs::{self, File};

use ambit_core::estate::Mount;

use super::*;

fn check(command: &[&str], mounts: Vec<Mount>, network: StdioNetwork) -> Transport {
    Transport::Stdio {
        command: command.iter().map(|it| (*it).to_owned()).collect(),
        environment: BTreeMap::from([("GREETING".to_owned(), "hi".to_owned())]),
        mounts,
        network,
        limits: StdioLimits::USUAL,
    }
}

/// Returns `transport` with other limits.
fn with_limits(mut transport: Transport, wanted: StdioLimits) -> Transport {
    if let Transport::Stdio { limits, .. } = &mut transport {
        *limits = wanted;
    }
    transport
}

fn policy(estate: &Path) -> SandboxPolicy {
    SandboxPolicy::Bubblewrap {
        program: "/usr/bin/bwrap".into(),
        estate: estate.into(),
        protected: Vec::new(),
    }
}

async fn output(transport: &Transport, estate: &Path) -> String {
    let child = start(transport, &policy(estate)).unwrap();
    let output = child.wait_with_output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_server_sees_what_was_declared_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/seen"), "yes").unwrap();
    std::fs::write(folder.path().join("hidden"), "no").unwrap();
    let mount = |access| Mount {
        source: "data".into(),
        target: "/data".into(),
        access,
    };
    let hidden = folder.path().join("hidden");
    let script = format!(
        "cat /data/seen; cat {}; env | sort; ls -A ~; touch /data/new",
        hidden.display()
    );
    let transport = check(
        &["/bin/sh", "-c", &script],
        vec![mount(MountAccess::ReadOnly)],
        StdioNetwork::None,
    );
    let seen = output(&transport, folder.path()).await;
    assert!(seen.starts_with("yes"), "{seen}");
    assert!(
        seen.contains("GREETING=hi") && !seen.contains("CARGO"),
        "{seen}"
    );
    assert!(
        seen.contains("No such file") && seen.contains("Read-only"),
        "{seen}"
    );
    let transport = check(
        &["/bin/sh", "-c", "touch /data/new"],
        vec![mount(MountAccess::ReadWrite)],
        StdioNetwork::None,
    );
    output(&transport, folder.path()).await;
    assert!(folder.path().join("data/new").exists());
}

#[tokio::test]
async fn without_a_declaration_there_is_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script =
        format!("(echo > /dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached || echo alone");
    let run = async |network| {
        let transport = check(&["/bin/bash", "-c", &script], Vec::new(), network);
        output(&transport, Path::new("/")).await
    };
    assert_eq!(run(StdioNetwork::None).await, "alone\n");
    assert_eq!(run(StdioNetwork::Host).await, "reached\n");
}

/// Root inside must not write the kernel's settings: those files check the user and no capability.
#[tokio::test]
async fn a_server_has_limits_and_no_power_over_the_machine() {
    let script = "ulimit -c; ulimit -n; ulimit -f; ulimit -d; cat /proc/self/oom_score_adj; \
        grep CapEff /proc/self/status; ls -l /proc/self/fd /proc/1/fd | grep -c -e memfd -e '-> /data' -e '-> /[a-ce-oq-z]'; \
        test -w /proc/sys/kernel/core_pattern && echo writable; exit 0";
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount {
        source: folder.path().to_str().unwrap().into(),
        target: "/data".into(),
        access: MountAccess::ReadWrite,
    };
    let transport = check(&["/bin/sh", "-c", script], vec![mount], StdioNetwork::None);
    let limits = StdioLimits {
        memory_mib: 512,
        processes: 100,
        open_files: 99,
    };
    let seen = output(&with_limits(transport, limits), Path::new("/")).await;
    // Neither the arguments nor the source of the mount is still open.
    let expected = "0\n99\n8388608\n524288\n1000\nCapEff:\t0000000000000000\n0\n";
    assert_eq!(seen, expected);
}

/// Ambit itself may open as many files as it is let; programs that count on few of them get no more than they are given,
/// confined or not.
#[tokio::test]
async fn a_server_may_open_as_many_files_as_it_is_given() {
    let shown = ["/bin/sh", "-c", "grep 'open files' /proc/self/limits"];
    let limits = StdioLimits {
        open_files: 98,
        ..StdioLimits::USUAL
    };
    let transport = with_limits(check(&shown, Vec::new(), StdioNetwork::None), limits);
    let bare = SandboxPolicy::DangerUnsandboxed {
        estate: "/".into(),
        protected: Vec::new(),
    };
    for policy in [policy(Path::new("/")), bare] {
        let child = start(&transport, &policy).unwrap();
        let said = child.wait_with_output().await.unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let numbers: Vec<_> = said.split_whitespace().skip(3).take(2).collect();
        assert_eq!(numbers, ["98", "98"], "{policy:?}");
    }
}

/// Whoever starts Ambit may leave files open for it without knowing; a folder among them would lead out of the sandbox.
#[test]
fn nothing_that_was_left_open_is_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let left = File::open(folder.path()).unwrap();
    rustix::io::fcntl_setfd(&left, rustix::io::FdFlags::empty()).unwrap();
    let transport = check(
        &["/bin/sh", "-c", "ls -l /proc/self/fd /proc/1/fd; true"],
        Vec::new(),
        StdioNetwork::None,
    );
    let bubblewrap = Path::new("/usr/bin/bwrap");
    let mut command = confined(bubblewrap, &transport, Vec::new()).unwrap();
    let seen = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let name = folder.path().display().to_string();
    assert!(
        seen.contains("/dev/null") && !seen.contains(&name),
        "{seen}"
    );
}

/// What is tried inside ends with how far it came; the sandbox gives a quarter of what is asked for.
#[tokio::test]
async fn memory_ends_at_its_limit_however_it_is_asked_for() {
    let limits = StdioLimits {
        memory_mib: 128,
        ..StdioLimits::USUAL
    };
    let python = |script: &str| {
        let transport = check(
            &["/usr/bin/python3", "-c", script],
            Vec::new(),
            StdioNetwork::None,
        );
        with_limits(transport, limits)
    };
    for (script, ended_with) in [
        ("x = bytearray(100 << 20); print('fits')", "fits"),
        ("x = bytearray(128 << 20); print('fits')", "MemoryError"),
        (
            "x = open('/tmp/x', 'wb'); x.write(bytes(64 << 20)); x.write(bytes(64 << 20)); print('fits')",
            "fits",
        ),
        (
            "x = open('/tmp/x', 'wb', 0)\nfor _ in range(3): assert x.write(bytes(64 << 20)) == 64 << 20",
            "No space left on device",
        ),
        (
            "x = open('/dev/shm/x', 'wb', 0)\nfor _ in range(3): assert x.write(bytes(64 << 20)) == 64 << 20",
            "No space left on device",
        ),
        ("open('/x', 'wb')", "Read-only file system"),
        ("open('/dev/x', 'wb')", "Read-only file system"),
    ] {
        let seen = output(&python(script), Path::new("/")).await;
        assert!(seen.contains(ended_with), "{script}: {seen}");
    }
}

/// The kernel does not limit root's processes (`user_namespaces(7)`, `setrlimit(2)`): root tries as an ordinary user.
#[test]
fn processes_end_at_their_limit() {
    use std::os::unix::process::CommandExt;
    let script = "import os, signal\ncount = 0\ntry:\n  while count < 100:\n    if os.fork() == 0: signal.pause()\n    \
        count += 1\nexcept OSError: print('refused')\nprint(count)";
    let python = ["/usr/bin/python3", "-c", script];
    let transport = check(&python, Vec::new(), StdioNetwork::None);
    for processes in [16, 17] {
        let limits = StdioLimits {
            processes,
            ..StdioLimits::USUAL
        };
        let transport = with_limits(transport.clone(), limits);
        let bubblewrap = Path::new("/usr/bin/bwrap");
        let mut command = confined(bubblewrap, &transport, Vec::new()).unwrap();
        if rustix::process::getuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let seen = command.output().unwrap();
        // The first process is one of them.
        let expected = format!("refused\n{}\n", processes - 1);
        assert_eq!(String::from_utf8_lossy(&seen.stdout), expected, "{seen:?}");
    }
}

#[tokio::test]
async fn ordinary_servers_live_within_the_usual_limits() {
    for (command, expected) in [
        (
            &[
                "/usr/bin/node",
                "-e",
                "console.log('node', Buffer.alloc(1 << 28).length)",
            ][..],
            "node 268435456",
        ),
        (
            &[
                "/usr/bin/python3",
                "-c",
                "import ssl, json, asyncio; print('python')",
            ],
            "python",
        ),
        (&["/usr/bin/git", "--version"], "git version"),
    ] {
        if !Path::new(command[0]).exists() {
            continue;
        }
        let transport = check(command, Vec::new(), StdioNetwork::None);
        let seen = output(&transport, Path::new("/")).await;
        assert!(seen.contains(expected), "{command:?}: {seen}");
    }
}

/// Every user of the machine can read command lines.
#[tokio::test]
async fn the_host_s_command_lines_tell_no_environment() {
    let mut transport = check(&["/bin/cat"], Vec::new(), StdioNetwork::None);
    if let Transport::Stdio { environment, .. } = &mut transport {
        environment.insert("TOKEN".into(), "canary-of-the-estate".into());
    }
    let mut child = start(&transport, &policy(Path::new("/"))).unwrap();
    // The server runs once it has answered.
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"x")
        .await
        .unwrap();
    tokio::io::AsyncReadExt::read(&mut stdout, &mut [0])
        .await
        .unwrap();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut seen = 0;
    for line in processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok()) {
        let line = String::from_utf8_lossy(&line).into_owned();
        seen += usize::from(line.contains("/usr/bin/bwrap"));
        assert!(!line.contains("canary-of-the"), "{line}");
    }
    assert!(seen > 0);
}

fn exchange(one: &Path, other: &Path) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags).unwrap();
}

/// An agent that may write beside a mount's source puts a link in its place after it was checked.
#[tokio::test]
async fn what_was_checked_is_what_is_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for (path, text) in [("estate/data", "declared"), ("secret", "canary")] {
        fs::create_dir_all(at(path)).unwrap();
        fs::write(at(path).join("text"), text).unwrap();
    }
    std::os::unix::fs::symlink(at("secret"), at("estate/link")).unwrap();
    let mount = Mount {
        source: "data".into(),
        target: "/data".into(),
        access: MountAccess::ReadWrite,
    };
    let script = ["/bin/cat", "/data/text"];
    let transport = check(&script, vec![mount.clone()], StdioNetwork::None);
    let declared = [mount];
    let opened = mounts::open(&declared, &at("estate"), &[]).unwrap();
    exchange(&at("estate/data"), &at("estate/link"));
    let mut command = confined(Path::new("/usr/bin/bwrap"), &transport, opened).unwrap();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let seen = command.output().unwrap();
    assert_eq!(seen.stdout, b"declared", "{seen:?}");
    // The same by chance: whoever looks at the wrong moment mounts nothing.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let racing = std::sync::atomic::Ordering::Relaxed;
    let (one, other) = (at("estate/data"), at("estate/link"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(racing) {
                exchange(&one, &other);
            }
        });
        let opened = || mounts::open(&declared, &at("estate"), &[]).ok();
        for opened in std::iter::repeat_with(opened).flatten().take(20) {
            let mut command = confined(Path::new("/usr/bin/bwrap"), &transport, opened).unwrap();
            let seen = command.output().unwrap();
            assert!(!String::from_utf8_lossy(&seen.stdout).contains("canary"));
        }
        stop.store(true, racing);
    });
}

#[test]
fn no_mount_shows_what_is_ambits_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for path in [
        "estate/files/data",
        "estate/servers",
        "state/keys",
        "beside",
    ] {
        fs::create_dir_all(at(path)).unwrap();
    }
    std::os::unix::fs::symlink(at("state"), at("beside/link")).unwrap();
    std::os::unix::fs::symlink(at("beside"), at("estate/files/out")).unwrap();
    std::os::unix::fs::symlink(at("state"), at("state-link")).unwrap();
    // The mark is not written yet, and the state is named through a link.
    let protected = vec![at("state-link"), at("beside/marks/mark")];
    let mount = |source: &str| Mount {
        source: source.into(),
        target: "/data".into(),
        access: MountAccess::ReadOnly,
    };
    let refused = |source: &str, expected: &str| {
        let mount = mount(source);
        let transport = check(&["/bin/true"], vec![mount], StdioNetwork::None);
        for policy in [
            SandboxPolicy::Bubblewrap {
                program: "/nowhere/bwrap".into(),
                estate: at("estate"),
                protected: protected.clone(),
            },
            SandboxPolicy::DangerUnsandboxed {
                estate: at("estate"),
                protected: protected.clone(),
            },
        ] {
            let found = start(&transport, &policy).err().map(|it| it.to_string());
            let found = found.unwrap_or_default();
            assert!(found.contains(expected), "{source}: {found}");
        }
    };
    let absolute = |path: &str| at(path).to_str().unwrap().to_owned();
    for path in [
        "",
        "state",
        "state/keys",
        "beside/link",
        "beside/link/keys",
        "beside",
    ] {
        refused(&absolute(path), "Ambit's own");
    }
    for path in [".", "servers", "./files/../servers"] {
        refused(path, "Ambit's own");
    }
    refused("files/out", "leads out of the estate's folder");
    refused("files/nowhere", "can't be resolved");
    for path in ["files/data", "files"] {
        let fits = [mount(path)];
        assert_eq!(
            mounts::open(&fits, &at("estate"), &protected)
                .unwrap()
                .len(),
            1
        );
    }
}

#[test]
fn without_a_sandbox_nothing_starts() {
    let transport = check(&["/bin/true"], Vec::new(), StdioNetwork::None);
    let error = start(&transport, &SandboxPolicy::Refused).unwrap_err();
    assert!(error.to_string().contains("bubblewrap"), "{error}");
    let empty = check(&[], Vec::new(), StdioNetwork::None);
    assert!(
        start(&empty, &SandboxPolicy::Refused)
            .unwrap_err()
            .to_string()
            .contains("`command` is empty")
    );
}

#[test]
fn a_mount_lies_only_so_deep() {
    let folder = tempfile::tempdir().unwrap();
    let around = folder.path().canonicalize().unwrap().components().count() - 1;
    let check = |folders: usize| {
        let source = vec!["a"; folders - around].join("/");
        fs::create_dir_all(folder.path().join(&source)).unwrap();
        let mount = Mount {
            source,
            target: "/data".into(),
            access: MountAccess::ReadOnly,
        };
        let mounts = [mount];
        let opened = mounts::open(&mounts, folder.path(), &["/nowhere".into()]);
        opened.err().map(|it| it.to_string().contains("too deep"))
    };
    assert_eq!(check(mounts::FOLDERS_DEEP_MAX), None);
    assert_eq!(check(mounts::FOLDERS_DEEP_MAX + 1), Some(true));
}

/// A folder may have several names: what is bound elsewhere is the same folder.
#[test]
fn what_is_ambit_s_own_is_known_by_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("state/keys")).unwrap();
    fs::write(at("state/keys/log"), "key").unwrap();
    fs::create_dir_all(at("other")).unwrap();
    fs::hard_link(at("state/keys/log"), at("other/log")).unwrap();
    let check = |source: &str, protected: &str| {
        let mount = Mount {
            source: at(source).to_str().unwrap().into(),
            target: "/data".into(),
            access: MountAccess::ReadOnly,
        };
        mounts::open(&[mount], Path::new("/"), &[at(protected)]).is_ok()
    };
    assert!(!check("other/log", "state/keys/log"));
    assert!(!check("state/keys/log", "state"));
    assert!(check("other/log", "state/keys"));
    assert!(check("other", "state"));
}

//! Stdio servers start here and nowhere else: in namespaces of their own, through bubblewrap.
//!
//! A server sees the system's programs and libraries read-only, what its file in the estate mounts, an
//! empty home, and no network unless declared. Its environment holds what the estate declares and
//! nothing else. It ends with the gateway. The command line comes from the estate only.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use ambit_core::estate::{Mount, MountAccess, StdioNetwork, Transport};
use tokio::process::{Child, Command};

use crate::upstream::UpstreamError;

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
        network,
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
            resolved(mounts, estate, protected)?;
            let mut started = Command::new(program);
            started.args(arguments).current_dir(estate).env_clear();
            started.envs(variables(environment));
            started
        }
        SandboxPolicy::Bubblewrap {
            program,
            estate,
            protected,
        } => {
            let mounts = resolved(mounts, estate, protected)?;
            let mut started = Command::new(program);
            started
                .args(confinement(environment, &mounts, *network))
                .args(["--", "/bin/sh", "-c", LIMITED, "ambit-stdio"])
                .args(command);
            started.env_clear();
            started
        }
    };
    started
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    started
        .spawn()
        .map_err(|error| UpstreamError::Start(format!("{}: {error}", shown(policy, program))))
}

/// Returns which of `protected` a mount of `source` would show, or would be a part of, when there is one.
///
/// Symbolic links are resolved on both sides. A protected path that does not exist yet counts by the part of it
/// that does.
///
/// # Errors
/// What the system says when `source` can't be resolved, or when it can't be known where a protected path leads.
pub fn mount_overlaps<'a>(source: &Path, protected: &'a [PathBuf]) -> io::Result<Option<&'a Path>> {
    let source = fs::canonicalize(source)?;
    for path in protected {
        let whole = resolved_as_far_as_there(path)?;
        if whole.starts_with(&source) || source.starts_with(&whole) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Resolves the links of what exists of `path`, and keeps the rest as it is.
fn resolved_as_far_as_there(path: &Path) -> io::Result<PathBuf> {
    // A relative path has an empty ancestor, which can't be resolved.
    let path = std::path::absolute(path)?;
    for there in path.ancestors() {
        match fs::canonicalize(there) {
            Ok(found) => {
                let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                return Ok(found.join(rest).components().collect());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

/// A mount whose source has no links any more, so that what was checked is what is mounted.
struct Resolved<'a> {
    source: PathBuf,
    mount: &'a Mount,
}

/// Resolves the mounts and refuses those that lead out of the estate, or to what is Ambit's own.
fn resolved<'a>(
    mounts: &'a [Mount],
    estate: &Path,
    protected: &[PathBuf],
) -> Result<Vec<Resolved<'a>>, UpstreamError> {
    let rules = ESTATE_FILES.iter().map(|it| estate.join(it));
    let protected: Vec<PathBuf> = protected.iter().cloned().chain(rules).collect();
    let one = |mount: &'a Mount| {
        let declared = &mount.source;
        let refused = |why: String| UpstreamError::Start(format!("its mount `{declared}` {why}"));
        let unresolved = |error: io::Error| refused(format!("can't be resolved: {error}"));
        let source = fs::canonicalize(estate.join(declared)).map_err(unresolved)?;
        let below = fs::canonicalize(estate).map_err(unresolved)?;
        if Path::new(declared).is_relative() && !source.starts_with(below) {
            let why = "leads out of the estate's folder; write where it leads as an absolute path";
            return Err(refused(why.to_owned()));
        }
        match mount_overlaps(&source, &protected).map_err(unresolved)? {
            Some(own) => Err(refused(format!(
                "overlaps {}, which is Ambit's own; mount another folder",
                own.display()
            ))),
            None => Ok(Resolved { source, mount }),
        }
    };
    mounts.iter().map(one).collect()
}

/// Returns bubblewrap's arguments, in its order: later ones cover earlier ones.
fn confinement(
    environment: &BTreeMap<String, String>,
    mounts: &[Resolved<'_>],
    network: StdioNetwork,
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
    arguments.extend(words(&[
        "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", HOME, "--chdir", HOME,
    ]));
    // The files of /proc/sys check the user and no capability: root inside could write them.
    arguments.extend(words(&["--remount-ro", "/proc"]));
    for Resolved { source, mount } in mounts {
        let option = match mount.access {
            MountAccess::ReadOnly => "--ro-bind",
            MountAccess::ReadWrite => "--bind",
        };
        arguments.push(option.into());
        arguments.push(source.into());
        arguments.push((&mount.target).into());
    }
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

fn shown(policy: &SandboxPolicy, program: &str) -> String {
    match policy {
        SandboxPolicy::Bubblewrap { program, .. } => program.display().to_string(),
        SandboxPolicy::DangerUnsandboxed { .. } | SandboxPolicy::Refused => program.to_owned(),
    }
}

/// Sets the limits of a server, then becomes it: no core files (they would hold what it read), 1,024 open files, and
/// no file beyond 4 GiB (the unit is 512 bytes).
const LIMITED: &str = "ulimit -c 0 && ulimit -n 1024 && ulimit -f 8388608 && exec \"$@\"";
/// What makes up an estate's rules, inside its folder.
const ESTATE_FILES: [&str; 6] = [
    "estate.toml",
    "agents",
    "servers",
    "templates",
    "policies",
    "tests",
];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &[&str], mounts: Vec<Mount>, network: StdioNetwork) -> Transport {
        Transport::Stdio {
            command: command.iter().map(|it| (*it).to_owned()).collect(),
            environment: BTreeMap::from([("GREETING".to_owned(), "hi".to_owned())]),
            mounts,
            network,
        }
    }

    async fn output(transport: &Transport, estate: &Path) -> String {
        let policy = SandboxPolicy::Bubblewrap {
            program: "/usr/bin/bwrap".into(),
            estate: estate.into(),
            protected: Vec::new(),
        };
        let child = start(transport, &policy).unwrap();
        let output = child.wait_with_output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
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
        let script = "ulimit -c; ulimit -n; ulimit -f; grep CapEff /proc/self/status; \
            test -w /proc/sys/kernel/core_pattern && echo writable; exit 0";
        let transport = check(&["/bin/sh", "-c", script], Vec::new(), StdioNetwork::None);
        let seen = output(&transport, Path::new("/")).await;
        assert_eq!(seen, "0\n1024\n8388608\nCapEff:\t0000000000000000\n");
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
        let refused = |source: &str, expected: &str| {
            let mount = Mount {
                source: source.into(),
                target: "/data".into(),
                access: MountAccess::ReadOnly,
            };
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
        let fits = resolved(&[], &at("estate"), &protected).unwrap();
        assert!(fits.is_empty());
        for path in ["estate/files/data", "estate/files"] {
            assert_eq!(mount_overlaps(&at(path), &protected).unwrap(), None);
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
}

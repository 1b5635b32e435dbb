//! What a contained command sees of the machine, as arguments for bubblewrap.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Where the runner's own directory appears inside. The command finds only the `ambit` program,
/// and files that say who it is, there.
pub(crate) const INNER_DIRECTORY: &str = "/run/ambit";
/// The home directory inside: private, empty, gone at the end.
pub(crate) const INNER_HOME: &str = "/home/agent";

/// What of `/etc` a command sees: how programs are found, loaded and spoken to, and whom they trust.
/// No accounts, no keys, no host names.
const ETC_SEEN: [&str; 25] = [
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/profile",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
];
/// Where programs and their libraries are.
const PROGRAMS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Places that speak to the machine itself; no part of them is ever shown.
const NEVER_SEEN: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/boot"];

/// What the command sees besides programs: checked, so that nothing of Ambit's is among it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct View {
    working_directory: PathBuf,
    access: Access,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
}

/// What the command may do in its working directory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Access {
    /// Read and write.
    #[default]
    Write,
    /// Read only.
    Read,
}

/// What a user asks to be shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The working directory.
    pub(crate) working_directory: PathBuf,
    /// What may be done there.
    pub(crate) access: Access,
    /// More paths to read.
    pub(crate) readable: Vec<PathBuf>,
    /// More paths to read and write.
    pub(crate) writable: Vec<PathBuf>,
}

/// What must stay out of sight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hidden {
    /// Ambit's own directories: state, keys, sockets.
    pub(crate) of_ambit: Vec<PathBuf>,
    /// What the server's authority comes from: its estate and its configuration.
    pub(crate) of_authority: Vec<PathBuf>,
    /// The user's home: parts of it may be shown, the whole may not.
    pub(crate) home: Option<PathBuf>,
}

/// Why a path is not shown to the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// It isn't there.
    #[error("could not show {} to the command", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It would show Ambit's own state.
    #[error(
        "{} can't be shown to the command: Ambit keeps its state in {}; work in another directory \
         or give another --state", path.display(), hidden.display()
    )]
    OfAmbit {
        /// Which.
        path: PathBuf,
        /// What it would show.
        hidden: PathBuf,
    },
    /// It would let the command change its own rules.
    #[error(
        "{} can't be shown to the command: it would reach its own rules in {}; work in a directory \
         outside of it, or name one with --workdir", path.display(), rules.display()
    )]
    OfAuthority {
        /// Which.
        path: PathBuf,
        /// The rules that it would reach.
        rules: PathBuf,
    },
    /// It would show a whole home, with every key in it.
    #[error(
        "{} can't be shown to the command: it holds the whole of {}; work in a directory of its \
         own, or name one with --workdir", path.display(), home.display()
    )]
    WholeHome {
        /// Which.
        path: PathBuf,
        /// The home.
        home: PathBuf,
    },
    /// It is the machine's.
    #[error("{} can't be shown to the command: it belongs to the machine", path.display())]
    OfMachine {
        /// Which.
        path: PathBuf,
    },
}

impl Hidden {
    fn canonical(&self) -> Self {
        let all = |paths: &[PathBuf]| paths.iter().map(|it| canonical_or_same(it)).collect();
        Self {
            of_ambit: all(&self.of_ambit),
            of_authority: all(&self.of_authority),
            home: self.home.as_deref().map(canonical_or_same),
        }
    }
}

impl View {
    /// Checks `wish` against what must stay hidden. All paths are made canonical first, so that a
    /// symbolic link shows what it points to and nothing else.
    pub(crate) fn new(wish: &Wish, hidden: &Hidden) -> Result<Self, ViewError> {
        let hidden = hidden.canonical();
        let check_all = |paths: &[PathBuf]| -> Result<Vec<PathBuf>, ViewError> {
            paths.iter().map(|path| checked(path, &hidden)).collect()
        };
        for shown in PROGRAMS.iter().chain(&["/usr"]).chain(&ETC_SEEN) {
            refuse_ambit(&canonical_or_same(Path::new(shown)), &hidden)?;
        }
        Ok(Self {
            working_directory: checked(&wish.working_directory, &hidden)?,
            access: wish.access,
            readable: check_all(&wish.readable)?,
            writable: check_all(&wish.writable)?,
        })
    }

    /// Checks `wish` of a command that no view confines: it is not led to its own rules or to Ambit's state, though
    /// nothing keeps it from looking for them.
    pub(crate) fn check_uncontained(wish: &Wish, hidden: &Hidden) -> Result<(), ViewError> {
        let hidden = hidden.canonical();
        let named = wish.readable.iter().chain(&wish.writable);
        for path in named.chain([&wish.working_directory]) {
            refuse_rules(&there(path)?, &hidden)?;
        }
        Ok(())
    }

    /// Returns the arguments for bubblewrap, up to the command: namespaces of its own, programs
    /// read-only, an empty home, `runner` as [`INNER_DIRECTORY`] and `program` in it.
    pub(crate) fn arguments(&self, runner: &Path, program: &Path) -> Vec<OsString> {
        let mut arguments = Arguments(Vec::new());
        arguments.words(&[
            "--unshare-user",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
            "--hostname",
            "agent",
            "--die-with-parent",
            "--new-session",
            // bubblewrap's own first process could be traced from inside; ours can't.
            "--as-pid-1",
            "--cap-drop",
            "ALL",
            "--proc",
            "/proc",
            // Without this, root inside could write /proc/sys, whose files check the user and no
            // capability: bubblewrap covers that directory only when it is itself writable.
            "--remount-ro",
            "/proc",
            "--dev",
            "/dev",
            "--tmpfs",
            "/tmp",
            "--dir",
            "/var/tmp",
            "--dir",
            INNER_HOME,
            "--chmod",
            "0700",
            INNER_HOME,
        ]);
        arguments.pair("--ro-bind", Path::new("/usr"), Path::new("/usr"));
        for directory in PROGRAMS.map(Path::new) {
            match std::fs::read_link(directory) {
                Ok(target) => arguments.pair("--symlink", &target, directory),
                Err(_) => arguments.pair("--ro-bind-try", directory, directory),
            }
        }
        for path in ETC_SEEN.map(Path::new) {
            arguments.pair("--ro-bind-try", path, path);
        }
        for name in ["passwd", "group", "hosts", "resolv.conf"] {
            arguments.pair(
                "--ro-bind",
                &runner.join(name),
                &Path::new("/etc").join(name),
            );
        }
        for path in &self.readable {
            arguments.pair("--ro-bind", path, path);
        }
        for path in &self.writable {
            arguments.pair("--bind", path, path);
        }
        let bind = match self.access {
            Access::Write => "--bind",
            Access::Read => "--ro-bind",
        };
        arguments.pair(bind, &self.working_directory, &self.working_directory);
        let inner = Path::new(INNER_DIRECTORY);
        arguments.pair("--ro-bind", &runner.join("inside"), inner);
        arguments.pair("--ro-bind", program, &inner.join("ambit"));
        arguments
            .0
            .extend(["--chdir".into(), self.working_directory.clone().into()]);
        arguments.0
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, option: &str, from: &Path, to: &Path) {
        self.0.extend([option.into(), from.into(), to.into()]);
    }
}

fn checked(path: &Path, hidden: &Hidden) -> Result<PathBuf, ViewError> {
    let path = there(path)?;
    if path.parent().is_none() || NEVER_SEEN.iter().any(|it| path.starts_with(it)) {
        return Err(ViewError::OfMachine { path });
    }
    refuse_rules(&path, hidden)?;
    match &hidden.home {
        Some(home) if home.starts_with(&path) => Err(ViewError::WholeHome {
            path,
            home: home.clone(),
        }),
        _ => Ok(path),
    }
}

/// Returns the path with every symbolic link followed.
fn there(path: &Path) -> Result<PathBuf, ViewError> {
    path.canonicalize().map_err(|source| ViewError::Missing {
        path: path.to_owned(),
        source,
    })
}

/// Refuses a path that reaches Ambit's directories or what its authority comes from.
fn refuse_rules(path: &Path, hidden: &Hidden) -> Result<(), ViewError> {
    refuse_ambit(path, hidden)?;
    match overlapping(path, &hidden.of_authority) {
        Some(rules) => Err(ViewError::OfAuthority {
            path: path.to_owned(),
            rules: rules.clone(),
        }),
        None => Ok(()),
    }
}

/// Refuses a path that lies within Ambit's directories or around them.
fn refuse_ambit(path: &Path, hidden: &Hidden) -> Result<(), ViewError> {
    match overlapping(path, &hidden.of_ambit) {
        Some(found) => Err(ViewError::OfAmbit {
            path: path.to_owned(),
            hidden: found.clone(),
        }),
        None => Ok(()),
    }
}

/// Returns the first of `places` that lies within `path` or around it.
fn overlapping<'a>(path: &Path, places: &'a [PathBuf]) -> Option<&'a PathBuf> {
    places
        .iter()
        .find(|it| it.starts_with(path) || path.starts_with(it))
}

fn canonical_or_same(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with a home, Ambit's state in it, and rules beside it.
    fn machine() -> (tempfile::TempDir, Hidden) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for directory in [
            "home/work",
            "home/.local/state/ambit/keys",
            "other",
            "rules/estate/agents",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("home/.local/state"), root.join("other/link"))
            .unwrap();
        std::os::unix::fs::symlink(root.join("rules/estate"), root.join("other-link")).unwrap();
        fs::write(root.join("rules/ambit.toml"), "").unwrap();
        let hidden = Hidden {
            of_ambit: vec![root.join("home/.local/state/ambit")],
            of_authority: vec![root.join("other-link"), root.join("rules/ambit.toml")],
            home: Some(root.join("home")),
        };
        (directory, hidden)
    }

    #[test]
    fn nothing_of_ambit_and_no_whole_home_is_shown() {
        let (directory, hidden) = machine();
        let root = directory.path().canonicalize().unwrap();
        let check = |path: &str, wanted: Result<(), &str>| {
            let wish = Wish {
                working_directory: root.join(path),
                ..Wish::default()
            };
            match (View::new(&wish, &hidden), wanted) {
                (Ok(_), Ok(())) => (),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{path}: {error}");
                }
                (found, _) => panic!("{path}: {found:?}"),
            }
        };
        check("home/work", Ok(()));
        check("other", Ok(()));
        check("home", Err("Ambit keeps its state"));
        check("home/.local", Err("Ambit keeps its state"));
        check("home/.local/state/ambit/keys", Err("Ambit keeps its state"));
        check("other/link", Err("Ambit keeps its state"));
        check("rules", Err("its own rules"));
        check("rules/estate", Err("its own rules"));
        check("rules/estate/agents", Err("its own rules"));
        check("other-link/agents", Err("its own rules"));
        check("rules/ambit.toml", Err("its own rules"));
        check("nowhere", Err("could not show"));
        check("/", Err("belongs to the machine"));
        check("/proc/self", Err("belongs to the machine"));
        let hidden = Hidden {
            of_ambit: vec![],
            of_authority: vec![],
            ..hidden
        };
        let wish = Wish {
            working_directory: root.clone(),
            ..Wish::default()
        };
        let error = View::new(&wish, &hidden).unwrap_err().to_string();
        assert!(error.contains("the whole of"), "{error}");
    }

    /// Without containment the rules are kept out of the way as well; a home is the user's own affair.
    #[test]
    fn rules_are_kept_out_of_the_way_without_containment() {
        let (directory, hidden) = machine();
        let root = directory.path().canonicalize().unwrap();
        let check = |path: &str, wanted: Result<(), &str>| {
            let wish = Wish {
                working_directory: root.join(path),
                ..Wish::default()
            };
            match (View::check_uncontained(&wish, &hidden), wanted) {
                (Ok(()), Ok(())) => (),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{path}: {error}");
                }
                (found, _) => panic!("{path}: {found:?}"),
            }
        };
        check("home/work", Ok(()));
        check("home", Err("Ambit keeps its state"));
        check("other/link", Err("Ambit keeps its state"));
        check("rules", Err("its own rules"));
        check("other-link/agents", Err("its own rules"));
        check("nowhere", Err("could not show"));
    }

    #[test]
    fn the_command_gets_namespaces_of_its_own_and_no_other_place() {
        let view = View {
            working_directory: "/srv/work".into(),
            access: Access::Read,
            readable: vec!["/opt/tools".into()],
            writable: vec![],
        };
        let arguments = view.arguments(Path::new("/tmp/r"), Path::new("/x/ambit"));
        let text: Vec<_> = arguments.iter().map(|it| it.to_str().unwrap()).collect();
        let text = text.join(" ");
        for wanted in [
            "--unshare-user",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--cap-drop ALL",
            "--new-session",
            "--die-with-parent",
            "--tmpfs /tmp",
            "--ro-bind /opt/tools /opt/tools",
            "--ro-bind /srv/work /srv/work",
            "--ro-bind /x/ambit /run/ambit/ambit",
            "--proc /proc --remount-ro /proc",
            "--chdir /srv/work",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        for unwanted in [
            "/root",
            "/var/lib",
            "--bind /",
            "/etc/shadow",
            "--share-net",
        ] {
            assert!(!text.contains(unwanted), "{unwanted}: {text}");
        }
    }
}

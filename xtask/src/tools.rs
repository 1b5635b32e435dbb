//! `cargo xtask tools`: installs what the judges need, pinned, into `target/tools`.

mod debian;
mod python;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::{root, step};

/// The judges, installed.
///
/// Under its place: `bin/` (what tests start), `npm/` and `python/` (what `bin/` needs).
#[derive(Debug)]
pub(crate) struct Tools {
    place: PathBuf,
    judges: PathBuf,
}

/// Installs the judges and says where they are.
///
/// # Errors
/// When one can't be installed, with what to do by hand.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    if !options.is_empty() {
        return Err(Failure::Usage(
            "usage: cargo xtask tools (it takes no options)".to_owned(),
        ));
    }
    let tools = install(&root())?;
    println!("export AMBIT_TOOLS={}", tools.place().display());
    Ok(())
}

/// Installs whatever is missing or was pinned anew since; does nothing when all is there.
///
/// # Errors
/// When one can't be installed, with what to do by hand.
pub(crate) fn install(root: &Path) -> Result<Tools, Failure> {
    let judges = root.join("judges");
    let place = root.join("target").join("tools");
    create(&place.join("bin"))?;
    debian::install()?;
    install_npm(&judges.join("npm"), &place)?;
    python::install(&judges, &place)?;
    build_log_verifier(&judges.join("log"), &place)?;
    build_rust_clients(&judges.join("rust"), &place)?;
    Ok(Tools { place, judges })
}

impl Tools {
    /// The directory that tests find in `AMBIT_TOOLS`.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Judges the judges: our own drivers against reference programs.
    ///
    /// # Errors
    /// When a driver does not do what it should.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let log = self.judges.join("log");
        let sources = ["test", "verify_log.go", "verify_log_test.go"];
        step::run(go(&self.place).current_dir(log).args(sources))?;
        let clients = self.judges.join("clients").join("check_clients.py");
        step::run(
            Command::new(self.place.join("bin").join("python"))
                .arg(clients)
                .arg(&self.place),
        )
    }
}

/// The programs that npm gives.
const NPM_PROGRAMS: &[&str] = &[
    "conformance",
    "mcp-server-everything",
    "mcp-server-filesystem",
    "mcp-server-memory",
];

fn install_npm(manifests: &Path, place: &Path) -> Result<(), Failure> {
    let directory = place.join("npm");
    let manifest = read(&manifests.join("package.json"))?;
    let lock = read(&manifests.join("package-lock.json"))?;
    let stamp = Stamp::new(&directory, &format!("{manifest}{lock}"));
    if !stamp.holds() {
        println!("    npm: installing {}", NPM_PROGRAMS.join(", "));
        stamp.begin()?;
        write(&directory.join("package.json"), &manifest)?;
        write(&directory.join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&directory)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        // The machine's own Node may be old; the judges run on the one installed here.
        step::run(npm.args(["--loglevel", "error"]))?;
        stamp.finish()?;
    }
    let programs = directory.join("node_modules").join(".bin");
    let node = node(&programs)?;
    wrap(place, "node", &[&node])?;
    for program in NPM_PROGRAMS {
        wrap(place, program, &[&node, &programs.join(program)])?;
    }
    Ok(())
}

/// The pinned Node, or on other processors the machine's own when it is new enough.
fn node(programs: &Path) -> Result<PathBuf, Failure> {
    let pinned = programs.join("node");
    if pinned.is_file() {
        return Ok(pinned);
    }
    let modern = "process.exit(Number(process.versions.node.split('.')[0]) >= 22 ? 0 : 1)";
    if step::succeeds(Command::new("node").args(["-e", modern])) {
        return Ok(PathBuf::from("node"));
    }
    let text = "the judges need Node 22 or newer, and npm has none for this processor; install it";
    Err(Failure::Missing(text.to_owned()))
}

fn build_log_verifier(source: &Path, place: &Path) -> Result<(), Failure> {
    let mut build = go(place);
    build
        .current_dir(source)
        .arg("build")
        .arg("-o")
        .arg(place.join("bin").join("verify-log"));
    step::run(build.arg("verify_log.go"))
}

/// The clients in Rust have a lock file of their own: Ambit's build knows nothing of what they need.
fn build_rust_clients(source: &Path, place: &Path) -> Result<(), Failure> {
    let target = place.join("rust");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build
        .current_dir(source)
        .args(["build", "--locked", "--quiet", "--target-dir"])
        .arg(&target);
    step::run(&mut build)?;
    let program = target.join("debug").join("rust-clients");
    wrap(place, "rust-clients", &[&program])
}

/// Go as Debian packages it: libraries under one tree, no modules, no network.
fn go(place: &Path) -> Command {
    let mut go = Command::new("go");
    go.env("GO111MODULE", "off")
        .env("GOPATH", debian::GO_PATH)
        .env("GOFLAGS", "");
    go.env("GOCACHE", place.join("go-cache"));
    go
}

/// Writes `bin/NAME`, which starts the command with whatever arguments it is given.
fn wrap(place: &Path, name: &str, command: &[&Path]) -> Result<(), Failure> {
    let words: Vec<String> = command
        .iter()
        .map(|word| quote(&word.to_string_lossy()))
        .collect();
    let path = place.join("bin").join(name);
    write(
        &path,
        &format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|source| Failure::File {
        attempt: "make executable",
        path,
        source,
    })
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Tells whether a directory was installed whole from the same manifests, at the same place.
struct Stamp<'a> {
    directory: &'a Path,
    text: String,
}

impl<'a> Stamp<'a> {
    fn new(directory: &'a Path, manifests: &str) -> Self {
        Self {
            directory,
            text: format!("{}\n{manifests}", directory.display()),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("installed")
    }

    fn holds(&self) -> bool {
        fs::read_to_string(self.path()).is_ok_and(|text| text == self.text)
    }

    /// Empties the directory: what is there is old or was left half done.
    fn begin(&self) -> Result<(), Failure> {
        if self.directory.exists() {
            fs::remove_dir_all(self.directory).map_err(|source| Failure::File {
                attempt: "remove",
                path: self.directory.to_owned(),
                source,
            })?;
        }
        create(self.directory)
    }

    fn finish(&self) -> Result<(), Failure> {
        write(&self.path(), &self.text)
    }
}

fn create(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|source| Failure::File {
        attempt: "create",
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|source| Failure::File {
        attempt: "read",
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::File {
        attempt: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::quote;

    fn check(word: &str, expected: &str) {
        assert_eq!(quote(word), expected);
    }

    #[test]
    fn words_stay_one_word() {
        check("/a b/c", "'/a b/c'");
        check("it's", r"'it'\''s'");
    }
}

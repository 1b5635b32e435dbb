//! What comes from Debian packages: the sandbox, a browser, Go, and what npm and Python need to install.

use std::path::Path;
use std::process::Command;

use super::python;
use crate::failure::Failure;
use crate::step;

/// Where Debian puts Go libraries.
pub(super) const GO_PATH: &str = "/usr/share/gocode";

/// A package and how to see that it is there.
struct Package {
    name: &'static str,
    is_there: fn() -> bool,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "bubblewrap",
        is_there: || starts("bwrap", "--version"),
    },
    Package {
        name: "chromium",
        is_there: || starts("chromium", "--version"),
    },
    Package {
        name: "golang-go",
        is_there: || starts("go", "version"),
    },
    Package {
        name: "golang-golang-x-mod-dev",
        is_there: || {
            Path::new(GO_PATH)
                .join("src/golang.org/x/mod/sumdb/tlog")
                .is_dir()
        },
    },
    Package {
        name: "openssl",
        is_there: || starts("openssl", "version"),
    },
    Package {
        name: "npm",
        is_there: || starts("npm", "--version"),
    },
    Package {
        name: "python3-venv",
        is_there: || python::find().is_some(),
    },
];

/// Installs what is missing when this is root.
///
/// # Errors
/// When something is missing and this is not root: the command for the administrator.
pub(super) fn install() -> Result<(), Failure> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root() {
        let text = format!("missing; ask the administrator for: apt-get install {names}");
        return Err(Failure::Missing(text));
    }
    println!("    apt-get: installing {names}");
    if apt(&missing).is_err() {
        step::run(Command::new("apt-get").args(["update", "-qq"]))?;
        apt(&missing)?;
    }
    let still = self::missing();
    if still.is_empty() {
        return Ok(());
    }
    let text = format!(
        "installed, yet not found on PATH or too old: {}",
        still.join(" ")
    );
    Err(Failure::Missing(text))
}

fn missing() -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|package| !(package.is_there)())
        .map(|package| package.name)
        .collect()
}

fn apt(names: &[&str]) -> Result<(), Failure> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "-qq", "-y", "--no-install-recommends"])
        .args(names);
    step::run(&mut apt)
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn starts(program: &str, option: &str) -> bool {
    step::succeeds(Command::new(program).arg(option))
}

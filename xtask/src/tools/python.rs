//! The Python environments of the judges.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Stamp, read, wrap};
use crate::failure::Failure;
use crate::step;

/// Installs the environments and wraps their programs.
pub(super) fn install(judges: &Path, place: &Path) -> Result<(), Failure> {
    let what = "real clients, the git server and schemathesis";
    let programs = environment(&judges.join("python"), &place.join("python"), what)?;
    // -B: what runs from the repository leaves no bytecode in it.
    wrap(
        place,
        "python",
        &[&programs.join("python"), Path::new("-B")],
    )?;
    for program in ["mcp-server-git", "schemathesis"] {
        wrap(place, program, &[&programs.join(program)])?;
    }
    // What it needs and what the others need do not go together.
    let programs = environment(&judges.join("tls"), &place.join("tls"), "sslyze")?;
    wrap(place, "sslyze", &[&programs.join("sslyze")])
}

/// Installs what `manifests` list into `directory`, and returns where the programs are.
fn environment(manifests: &Path, directory: &Path, what: &str) -> Result<PathBuf, Failure> {
    let requirements = manifests.join("requirements.txt");
    let constraints = manifests.join("constraints.txt");
    let text = format!("{}{}", read(&requirements)?, read(&constraints)?);
    let stamp = Stamp::new(directory, &text);
    let programs = directory.join("bin");
    if !stamp.holds() {
        let python = find().ok_or_else(|| {
            Failure::Missing(
                "the judges need Python 3.10 or newer with venv; install it".to_owned(),
            )
        })?;
        println!("    pip: installing {what}");
        stamp.begin()?;
        step::run(Command::new(python).args(["-m", "venv"]).arg(directory))?;
        let mut pip = Command::new(programs.join("python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        pip.arg("--requirement")
            .arg(&requirements)
            .arg("--constraint")
            .arg(&constraints);
        step::run(&mut pip)?;
        stamp.finish()?;
    }
    Ok(programs)
}

/// The first Python that is new enough and can make environments.
pub(super) fn find() -> Option<PathBuf> {
    let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    let on_path = [
        "python3",
        "python3.13",
        "python3.12",
        "python3.11",
        "python3.10",
    ];
    let candidates = on_path.iter().map(PathBuf::from).chain(pyenv());
    candidates
        .into_iter()
        .find(|candidate| step::succeeds(Command::new(candidate).args(["-c", probe])))
}

/// Every Python that pyenv keeps, on PATH or not.
fn pyenv() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let Some(root) = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or(home) else {
        return Vec::new();
    };
    let Ok(versions) = fs::read_dir(root.join("versions")) else {
        return Vec::new();
    };
    versions
        .flatten()
        .map(|version| version.path().join("bin").join("python3"))
        .collect()
}

//! `cargo xtask openapi`: writes the OpenAPI document of the control API, made from its list of routes.

use std::fs;
use std::process::Command;

use crate::failure::Failure;
use crate::root;

/// Where the document is checked in. A test of ambit-control fails when it is not what the routes say.
const PATH: &str = "docs/reference/openapi.json";

/// Writes the document.
///
/// # Errors
/// When it can't be made or written.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    if !options.is_empty() {
        return Err(Failure::Usage("usage: cargo xtask openapi".to_owned()));
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&cargo);
    command.current_dir(root()).args([
        "run",
        "--quiet",
        "-p",
        "ambit-control",
        "--example",
        "openapi",
    ]);
    let output = command.output().map_err(|source| Failure::Start {
        program: cargo,
        source,
    })?;
    if !output.status.success() {
        let command = format!("{command:?}");
        return Err(Failure::Exit {
            command,
            status: output.status,
        });
    }
    let path = root().join(PATH);
    let attempt = "write";
    fs::write(&path, output.stdout).map_err(|source| Failure::File {
        attempt,
        path,
        source,
    })?;
    println!("xtask openapi: wrote {PATH}");
    Ok(())
}

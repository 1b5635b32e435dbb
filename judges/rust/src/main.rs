//! Clients of others in Rust: the MCP SDK `rmcp`, and `openidconnect`.
//!
//! Arguments: `rmcp` or `openidconnect`, then ISSUER RESOURCE DOCUMENT REDIRECT TOOL ARGUMENTS: a client with a person in
//! front of a browser. It prints `GO URL` for the browser and reads the address at which the browser arrived; it prints
//! `TOKEN kind` and `CALLED text`, waits for a line, and prints `LATE text`.
//!
//! Or `credentials` RESOURCE CLIENT PEM TOOL ARGUMENTS: `rmcp` proves itself by its key, with no person. It prints `TOKEN
//! kind` and `CALLED text`.

mod login;
mod sdk;

use std::process::ExitCode;

use tokio::io::{AsyncBufReadExt, BufReader};

/// Whatever went wrong.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a client with a person must know.
pub struct Asked {
    issuer: String,
    resource: String,
    document: String,
    redirect: String,
    tool: String,
    arguments: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((library, rest)) => run(library, rest).await,
        None => Err("name a client".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", chain(&*failure));
            ExitCode::FAILURE
        }
    }
}

async fn run(library: &str, words: &[String]) -> Result<(), Failure> {
    if library == "credentials" {
        let [resource, client, pem, tool, arguments] = words else {
            return Err("credentials wants RESOURCE CLIENT PEM TOOL ARGUMENTS".into());
        };
        return sdk::credentials(resource, (client, pem), (tool, arguments)).await;
    }
    let [issuer, resource, document, redirect, tool, arguments] = words
        .to_vec()
        .try_into()
        .map_err(|_| "a client wants ISSUER RESOURCE DOCUMENT REDIRECT TOOL ARGUMENTS")?;
    let asked = Asked {
        issuer,
        resource,
        document,
        redirect,
        tool,
        arguments,
    };
    match library {
        "rmcp" => sdk::person(&asked).await,
        "openidconnect" => login::person(&asked).await,
        other => Err(format!("there is no client `{other}`").into()),
    }
}

/// Reads a line from whoever runs this.
async fn line() -> Result<String, Failure> {
    let mut text = String::new();
    BufReader::new(tokio::io::stdin())
        .read_line(&mut text)
        .await?;
    Ok(text.trim().to_owned())
}

/// Returns an error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace('\n', " ")
}

//! `ambit login` and `ambit logout`.

use std::{path::PathBuf, time::Duration};

use ambit_core::{Millis, json::Value};
use ambit_identity::{SvidKey, dpop::ProofMaker};
use clap::Args;

use super::{Session, tasks::segment};
use crate::{
    client::ApiError,
    clock::chance,
    config::Scheme,
    login::{Answered, Begun, Channel, Login, LoginError, begin, poll},
    output::complain,
    problem::{Exit, Problem},
};

/// Where to log in.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambit login https://ambit.example.org
  ambit status                            # of that server, until `ambit logout`
  ambit --state DIR status                # of a server on this machine

The login is a key and a text in a file that only you can read. It is good for eight hours. Your
account's page lists it and ends it, and so does `ambit logout`.")]
pub(crate) struct LoginArguments {
    /// The server's public URL [default: --server, or that of the last login]
    url: Option<String>,
    /// Certificates (PEM) by which the server is known, besides this machine's
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// What this command line calls itself on the page where you say yes [default: user and host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Logs in: shows a code, and waits for a person.
pub(crate) async fn login(session: &Session, arguments: &LoginArguments) -> Result<(), Problem> {
    let directory = session.environment.own_directory()?;
    let last = Login::read(&directory).ok().flatten();
    let named = arguments.url.clone().or_else(|| session.server.clone());
    let url = named.or_else(|| last.as_ref().map(|it| it.server().to_owned()));
    let url = url.ok_or_else(|| {
        Problem::Usage("name the server: `ambit login https://ambit.example.org`".to_owned())
    })?;
    let url = url.trim_end_matches('/');
    let of_last = last.filter(|it| it.server() == url);
    let roots = arguments.roots.clone();
    let roots = roots.or_else(|| of_last.and_then(|it| it.roots().map(PathBuf::from)));
    let roots = roots.map(|it| it.canonicalize().unwrap_or(it));
    // One draw in 2^32 is no key; a second run draws again.
    let key = SvidKey::generate(chance()?).map_err(|error| Problem::failed("make a key", error))?;
    let maker = ProofMaker::new(&key).map_err(|error| Problem::failed("use the key", error))?;
    let channel = Channel::new(url, maker, roots.as_deref(), session.clock.clone())
        .map_err(LoginError::from)?;
    let name = arguments.name.clone().unwrap_or_else(own_name);
    let begun = begin(&channel, &name).await?;
    tell(&begun, channel.scheme());
    let (text, lives) = wait(&channel, &begun).await?;
    let until = session.clock.now().plus(Millis::from_seconds(lives));
    let login = Login::new(url, &key, (&text, until), roots);
    login.write(&directory)?;
    let answer = Value::object([
        ("server", Value::from(url)),
        (
            "login",
            login.id().map_or(Value::Null, |it| it.to_string().into()),
        ),
        ("expires_at", login.expires_at().into()),
    ]);
    let words = format!("logged in at {url} until {}", login.expires_at());
    session.output.thing(&answer, &words)
}

/// Logs out: ends the login at its server, and removes it here.
pub(crate) async fn logout(session: &Session) -> Result<(), Problem> {
    let directory = session.environment.own_directory()?;
    let login = match Login::read(&directory) {
        Ok(Some(login)) => login,
        Ok(None) => return told(session, "nobody is logged in here"),
        Err(LoginError::Open { .. } | LoginError::Form { .. }) => {
            Login::remove(&directory)?;
            return told(session, "removed what was no login");
        }
        Err(error) => return Err(error.into()),
    };
    let until = login.expires_at().to_owned();
    let ended = end(session, login).await;
    Login::remove(&directory)?;
    match ended {
        Ok(()) => told(session, "logged out"),
        // Whoever had copied the file could use it until then.
        Err(error) if error.exit() == Exit::Unreachable => {
            let words = format!(
                "ambit: the login is removed here, but its server was not reached: it is good until {until}, or until you \
                 end it on your account's page"
            );
            complain(&words);
            Err(error)
        }
        Err(_) => told(session, "logged out; the server knew the login no more"),
    }
}

async fn end(session: &Session, login: Login) -> Result<(), Problem> {
    let Some(id) = login.id() else {
        return Ok(());
    };
    let path = format!("/v1/logins/{}/end", segment(&id.to_string()));
    let client = crate::client::Client::by_login(login, session.clock.clone())?;
    match client.post(&path, &Value::object([])).await {
        Ok(_) => Ok(()),
        Err(ApiError::Refused { status: 401, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn told(session: &Session, words: &str) -> Result<(), Problem> {
    let answer = Value::object([("state", Value::from("logged_out"))]);
    session.output.thing(&answer, words)
}

fn tell(begun: &Begun, scheme: Scheme) {
    let minutes = begun.lives_seconds / 60;
    let place = match scheme {
        Scheme::Https => "on any device",
        // Nobody else reaches it.
        Scheme::Http => "on this machine",
    };
    complain(&format!(
        "To log in, open this address in a browser, {place}:"
    ));
    complain(&format!("\n  {}\n", begun.whole_address));
    complain(&format!(
        "It shows the code {}; if it shows another one, say no. (Or type the code at {}.)",
        begun.user_code, begun.address
    ));
    complain(&format!(
        "Waiting for your answer, {minutes} minutes at most ..."
    ));
}

async fn wait(channel: &Channel, begun: &Begun) -> Result<(String, u64), Problem> {
    let mut every = begun.every;
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(every).await;
        waited += every;
        match poll(channel, begun, every).await {
            Ok(Answered::Yes(text, lives)) => return Ok((text, lives)),
            Ok(Answered::NotYet(next)) => every = next,
            // Networks come and go while a person looks for a browser.
            Err(LoginError::Channel(error)) if waited.as_secs() < begun.lives_seconds => {
                complain(&format!("ambit: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns what this command line calls itself: only words for the person who says yes.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let uid = rustix::process::getuid().as_raw();
    format!("ambit of local user {uid} at {host}")
}

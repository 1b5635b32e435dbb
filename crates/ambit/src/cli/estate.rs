//! `ambit check`, `plan`, `apply` and `server …`.

use std::path::PathBuf;

use ambit_control::{
    check::{Checked, KnownBy, check as check_directory},
    credentials::Unsealed,
    estate::EstateProblem,
};
use ambit_core::json::Value;
use clap::Subcommand;

use super::{
    Session,
    tasks::{counted, segment},
};
use crate::{
    config::Ports,
    output::{Format, Tone, cell, complain},
    problem::Problem,
    serve::checked_for_this_user,
};

/// Options of commands on an estate directory.
#[derive(clap::Args, Debug)]
pub(crate) struct EstateArguments {
    /// The estate directory
    dir: PathBuf,
}

/// Options of `ambit check`.
#[derive(clap::Args, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    estate: EstateArguments,
    /// Fail as well where `ambit apply` would: when no administrator could apply the next version
    #[arg(long)]
    governed: bool,
}

/// What to do with servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Asks a running server for its tools and proposes its registry files
    #[command(after_help = "Example:
  ambit server inspect tickets --out ./estate

The modes are guesses from names and annotations: the owner of the server reviews each one.")]
    Inspect {
        /// The server, as the estate in force names it
        name: String,
        /// The estate directory to write servers/NAME.toml.proposed and NAME.tools.json.proposed into
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Checks an estate directory.
pub(crate) fn check(session: &Session, arguments: &CheckArguments) -> Result<(), Problem> {
    let CheckArguments { estate, governed } = arguments;
    let checked = checked(session, estate)?;
    let ungoverned = checked.is_governed(KnownBy::Files).err();
    if let Some(problem) = ungoverned.as_ref().filter(|_| *governed) {
        return Err(refused(session, estate, std::slice::from_ref(problem)));
    }
    let note = ungoverned.as_ref().map(|problem| {
        format!(
            "{}/{problem}; `ambit apply` refuses it as it is, `ambit dev` adds whoever runs it",
            estate.dir.display()
        )
    });
    let mut members = vec![
        ("digest", Value::from(checked.digest().to_string())),
        ("cases", (checked.cases() as u64).into()),
    ];
    members.extend(note.as_deref().map(|it| ("note", it.into())));
    let missing = match *governed {
        true => super::log::unsealed_here(session, checked.estate()),
        false => Vec::new(),
    };
    let missing: Vec<Value> = missing.iter().map(Unsealed::to_value).collect();
    let warned = checked.warnings();
    if !warned.is_empty() {
        let warned = warned.iter().map(|it| Value::from(it.as_str()));
        members.push(("warnings", warned.collect()));
    }
    warn(session, &checked);
    let mut text = format!(
        "{} {}: {} hold\n{}",
        session.output.paint(Tone::Good, "ok"),
        estate.dir.display(),
        counted(checked.cases(), "decision case"),
        checked.digest(),
    );
    if let Some(note) = note {
        let word = session.output.paint(Tone::Waiting, "note");
        text.push_str(&format!("\n{word} {note}"));
    }
    if !missing.is_empty() {
        members.push(("unsealed", Value::Array(missing)));
    }
    let answer = Value::object(members);
    session.output.thing(&answer, &text)?;
    warn_of_unsealed(session, &answer);
    Ok(())
}

/// Says what applying would change.
pub(crate) async fn plan(session: &Session, arguments: &EstateArguments) -> Result<(), Problem> {
    let checked = checked_to_send(session, arguments)?;
    let body = archive(&checked)?;
    let answer = session.client()?.post("/v1/estate/plan", &body).await?;
    session.output.thing(&answer, &planned(session, &answer))?;
    warn(session, &checked);
    warn_of_unsealed(session, &answer);
    Ok(())
}

/// Puts an estate directory in force.
pub(crate) async fn apply(session: &Session, arguments: &EstateArguments) -> Result<(), Problem> {
    let checked = checked_to_send(session, arguments)?;
    let body = archive(&checked)?;
    let answer = session.client()?.post("/v1/estate/apply", &body).await?;
    let applied = session.output.paint(Tone::Good, "in force");
    let mut text = format!("{applied} {}", cell(&answer, "estate"));
    if answer.get("before") == answer.get("estate") {
        text.push_str("\nit was in force already, so nothing changed and nothing was written down");
    }
    let ended = answer.get("ended").and_then(Value::as_array);
    let ended = ended.unwrap_or_default().iter().filter_map(Value::as_str);
    for task in ended {
        text.push_str(&format!(
            "\n{task} ended: what its instance claimed it by is registered no more"
        ));
    }
    let stopped = answer.get("stopped").and_then(Value::as_array);
    let stopped: Vec<&str> = stopped
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let count = answer.get("stopped_count").and_then(Value::as_integer);
    if let Some(count) = count.filter(|it| *it > 0) {
        let named = stopped.join(", ");
        text.push_str(&format!(
            "\nnothing can be done any more in {}, which end when somebody ends them: {named}",
            counted(usize::try_from(count).unwrap_or(usize::MAX), "live task")
        ));
    }
    if count.is_none() {
        text.push_str("\nnobody looked at which live tasks it stops: under it, whoever applied it may not look");
    }
    session.output.thing(&answer, &text)?;
    warn(session, &checked);
    warn_of_unsealed(session, &answer);
    Ok(())
}

/// Warns of what the estate lets happen and its owners may not want, beside what is printed.
fn warn(session: &Session, checked: &Checked) {
    if session.output.format() != Format::Table {
        return;
    }
    for it in checked.warnings() {
        complain(&format!("warning: {it}"));
    }
}

/// Warns of the servers whose credentials are not sealed, beside what is printed; programs find them in the answer.
fn warn_of_unsealed(session: &Session, answer: &Value) {
    if session.output.format() != Format::Table {
        return;
    }
    let missing = answer.get("unsealed").and_then(Value::as_array);
    for it in missing.unwrap_or_default() {
        complain(&format!("warning: {}", cell(it, "text")));
    }
}

/// Does what the command says.
pub(crate) async fn server(session: &Session, command: &ServerCommand) -> Result<(), Problem> {
    let ServerCommand::Inspect { name, out } = command;
    if let Some(out) = out {
        // Said before anybody is asked: an inspection is on the record.
        let servers = out.join("servers");
        std::fs::create_dir_all(&servers).map_err(|error| {
            let attempt = format!(
                "create {}; name the estate's directory with --out",
                servers.display()
            );
            Problem::io(attempt, error)
        })?;
    }
    let path = format!("/v1/servers/{}/inspect", segment(name));
    let answer = session.client()?.post(&path, &Value::object([])).await?;
    let file = |member| {
        answer
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let files = [("toml", file("toml")), ("tools.json", file("tools_json"))];
    let Some(out) = out else {
        let text: Vec<_> = files
            .iter()
            .map(|(ending, text)| format!("# servers/{name}.{ending}\n{text}"))
            .collect();
        return session.output.thing(&answer, &text.join("\n"));
    };
    let mut written = Vec::new();
    for (ending, text) in files {
        // Never over what the owner has reviewed.
        let path = out
            .join("servers")
            .join(format!("{name}.{ending}.proposed"));
        std::fs::write(&path, text)
            .map_err(|error| Problem::io(format!("write {}", path.display()), error))?;
        written.push(format!("wrote {}", path.display()));
    }
    session.output.thing(&answer, &written.join("\n"))
}

fn checked(session: &Session, arguments: &EstateArguments) -> Result<Checked, Problem> {
    check_directory(&arguments.dir).map_err(|problems| refused(session, arguments, &problems))
}

/// Checks the estate as the server would have it: for `ambit dev`, which adds whoever runs it, with that person.
fn checked_to_send(session: &Session, arguments: &EstateArguments) -> Result<Checked, Problem> {
    let checked = checked(session, arguments)?;
    let is_embedded = session.control.is_none()
        && session.client()?.is_local()
        && Ports::are_kept(&session.state()?);
    if !is_embedded {
        return Ok(checked);
    }
    let (with_person, alias) = checked_for_this_user(&arguments.dir)?;
    if with_person.digest() != checked.digest() && session.output.format() == Format::Table {
        complain(&format!(
            "note: the estate names nobody with your user's number; `{alias}` is added with every role, as `ambit dev` does"
        ));
    }
    Ok(with_person)
}

/// Prints the problems, one per line, in the form that editors jump to.
fn refused(session: &Session, arguments: &EstateArguments, problems: &[EstateProblem]) -> Problem {
    let line = |problem: &EstateProblem| {
        if session.output.format() == Format::Table {
            return format!("{}/{problem}", arguments.dir.display());
        }
        Value::object([
            ("path", Value::from(problem.path.as_str())),
            ("line", u64::from(problem.line).into()),
            ("column", u64::from(problem.column).into()),
            ("message", problem.message.as_str().into()),
        ])
        .to_canonical()
    };
    for problem in problems {
        if let Err(error) = session.output.line(&line(problem)) {
            return error;
        }
    }
    Problem::CheckFailed(format!(
        "{} in {}",
        counted(problems.len(), "problem"),
        arguments.dir.display()
    ))
}

fn archive(checked: &Checked) -> Result<Value, Problem> {
    let text = std::str::from_utf8(checked.archive())
        .map_err(|error| Problem::failed("read the estate's archive", error))?;
    Ok(Value::object([("archive", Value::from(text))]))
}

fn planned(session: &Session, answer: &Value) -> String {
    let list = |value: &Value, member| {
        value
            .get(member)
            .and_then(Value::as_array)
            .unwrap_or_default()
            .to_vec()
    };
    let mut text = String::new();
    for subject in list(answer, "subjects") {
        let name = cell(&subject, "subject");
        text.push_str(&format!("{}\n", session.output.paint(Tone::Heading, &name)));
        for change in list(&subject, "changes") {
            let (sign, tone) = match cell(&change, "direction").as_str() {
                "widens" => ("+", Tone::Waiting),
                "narrows" => ("-", Tone::Good),
                _ => ("~", Tone::Waiting),
            };
            let words = change
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or_default();
            text.push_str(&format!("  {} {words}\n", session.output.paint(tone, sign)));
        }
    }
    if text.is_empty() {
        return "Nothing changes.".to_owned();
    }
    let count = |member| cell(answer, member);
    let (widens, narrows, alters) = (count("widens"), count("narrows"), count("alters"));
    text + &format!("\n{widens} widen (+), {narrows} narrow (-), {alters} alter (~)")
}

//! `ambit task delegate`, `ambit task withdraw` and `ambit task tree`.

use std::collections::BTreeMap;

use ambit_core::{Millis, json::Value};

use super::{
    Session,
    tasks::{counted, segment},
};
use crate::{
    client::Client,
    output::{cell, visible},
    problem::Problem,
};

/// Options of `ambit task delegate`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ambit task delegate task_01… --to helper --tool tickets/close_ticket --calls 3 --for 10m
  ambit task delegate task_01… --to helper --read tickets --depth 1
  ambit task delegate task_01… --to helper --tool mail/send \\
    --constraint 'mail/send:to={\"one_of\":[\"kim@example.org\"]}'

What is not named is not given. The delegate takes the part once:
  ambit run --delegation dlg_01… -- COMMAND")]
pub(crate) struct DelegateArguments {
    /// The task of which a part is given away
    task: String,
    /// The agent that may take the part
    #[arg(long, value_name = "AGENT")]
    to: String,
    /// Only this run of the agent may take it
    #[arg(long, value_name = "SPIFFE_ID")]
    spiffe_id: Option<String>,
    /// A tool that the child may use
    #[arg(long = "tool", value_name = "SERVER/TOOL")]
    tools: Vec<String>,
    /// A server whose reading tools, resources and prompts are free for the child
    #[arg(long = "read", value_name = "SERVER")]
    reads: Vec<String>,
    /// What an argument must keep, beside the task's own bounds
    #[arg(long = "constraint", value_name = "SERVER/TOOL:ARGUMENT=JSON", value_parser = constraint)]
    constraints: Vec<Constraint>,
    /// The most calls in all [default: what the task has left]
    #[arg(long, value_name = "COUNT")]
    calls: Option<u32>,
    /// A label of data that may leave with the child [default: the task's own]
    #[arg(long = "emit", value_name = "LABEL")]
    labels: Vec<String>,
    /// For how long, such as `10m` [default: as long as the task]
    #[arg(long = "for", value_name = "DURATION")]
    ttl: Option<Millis>,
    /// How many more hops may follow below the child
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    depth: u8,
}

/// A constraint on one argument of one tool.
#[derive(Clone, Debug)]
pub(crate) struct Constraint {
    tool: String,
    argument: String,
    bound: Value,
}

/// Gives a part of a task away.
pub(crate) async fn delegate(
    session: &Session,
    arguments: &DelegateArguments,
) -> Result<(), Problem> {
    let mut members = vec![
        ("to", Value::from(arguments.to.as_str())),
        ("authorization_details", details(arguments)?),
        ("depth_left", u64::from(arguments.depth).into()),
    ];
    if let Some(spiffe_id) = &arguments.spiffe_id {
        members.push(("spiffe_id", spiffe_id.as_str().into()));
    }
    if let Some(ttl) = arguments.ttl {
        members.push(("ttl_seconds", (ttl.as_millis() / 1000).into()));
    }
    let path = format!("/v1/tasks/{}/delegations", segment(&arguments.task));
    let answer = session
        .client()?
        .post(&path, &Value::object(members))
        .await?;
    let text = format!(
        "{} lets {} take a part of {} once, until {}",
        cell(&answer, "delegation"),
        cell(&answer, "to"),
        cell(&answer, "parent"),
        cell(&answer, "expires_at")
    );
    session.output.thing(&answer, &text)
}

/// Takes a delegation back.
pub(crate) async fn withdraw(session: &Session, delegation: &str) -> Result<(), Problem> {
    let path = format!("/v1/delegations/{}/withdraw", segment(delegation));
    let answer = session.client()?.post(&path, &Value::object([])).await?;
    let ids = |member| {
        let list = answer.get(member).and_then(Value::as_array);
        list.unwrap_or_default().iter().filter_map(Value::as_str)
    };
    let mut text = format!(
        "{} taken back: {} ended, {} under way crossed it\n",
        cell(&answer, "delegation"),
        counted(ids("ended").count(), "task"),
        counted(ids("crossed").count(), "call"),
    );
    for task in ids("ended") {
        text.push_str(&format!("  ended  {}\n", visible(task)));
    }
    session.output.thing(&answer, &text)
}

/// Shows live tasks under those that delegated to them, with the delegations that nobody took yet.
pub(crate) async fn tree(session: &Session, task: Option<&str>) -> Result<(), Problem> {
    let client = session.client()?;
    let (tasks, given) = (
        client.get("/v1/tasks").await?,
        client.get("/v1/delegations").await?,
    );
    let list = |value: &Value, member: &str| {
        let list = value.get(member).and_then(Value::as_array);
        list.unwrap_or_default().to_vec()
    };
    let mut below: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let all = list(&tasks, "tasks");
    let known: Vec<String> = all.iter().map(|it| cell(it, "task")).collect();
    for item in &all {
        let parent = cell(item, "parent");
        let parent = if known.contains(&parent) {
            parent
        } else {
            String::new()
        };
        below.entry(parent).or_default().push(item.clone());
    }
    let mut open: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for item in list(&given, "delegations") {
        if cell(&item, "standing") == "open" {
            open.entry(cell(&item, "parent")).or_default().push(item);
        }
    }
    let tops: Vec<Value> = match task {
        None => below.get("").cloned().unwrap_or_default(),
        Some(wanted) => all
            .iter()
            .filter(|it| cell(it, "task") == wanted)
            .cloned()
            .collect(),
    };
    let mut text = String::new();
    let mut rows: Vec<(usize, Value)> = tops.into_iter().rev().map(|it| (0, it)).collect();
    let mut shown = Vec::new();
    while let Some((depth, item)) = rows.pop() {
        let id = cell(&item, "task");
        text.push_str(&task_line(depth, &item));
        for given in open.get(&id).into_iter().flatten() {
            text.push_str(&open_line(depth + 1, given));
        }
        let children = below.get(&id).into_iter().flatten().rev();
        rows.extend(children.map(|it| (depth + 1, it.clone())));
        shown.push(item);
    }
    if text.is_empty() {
        text = match task {
            None => "No task is live.".to_owned(),
            Some(task) => over(&client, task).await?,
        };
    }
    let members = [
        ("tasks", Value::Array(shown)),
        (
            "delegations",
            Value::Array(open.into_values().flatten().collect()),
        ),
    ];
    session
        .output
        .thing(&Value::object(members), text.trim_end())
}

/// Says how a task ended that is not live, or that there is none.
async fn over(client: &Client, task: &str) -> Result<String, Problem> {
    let answer = client.get(&format!("/v1/tasks/{}", segment(task))).await?;
    let (task, state) = (cell(&answer, "task"), cell(&answer, "state"));
    Ok(format!(
        "{task} is {state}: nothing is below it any more; `ambit log trace {task}` tells what was"
    ))
}

fn task_line(depth: usize, task: &Value) -> String {
    format!(
        "{}{}  {} by {} for {}: {}, {} calls, until {}\n",
        "  ".repeat(depth),
        cell(task, "task"),
        cell(task, "template"),
        cell(task, "agent"),
        cell(task, "subject"),
        cell(task, "state"),
        cell(task, "calls"),
        cell(task, "expires_at"),
    )
}

fn open_line(depth: usize, given: &Value) -> String {
    format!(
        "{}{}  open to {}, until {}\n",
        "  ".repeat(depth),
        cell(given, "delegation"),
        cell(given, "to"),
        cell(given, "expires_at"),
    )
}

/// Returns the part as authorization details (RFC 9396).
fn details(arguments: &DelegateArguments) -> Result<Value, Problem> {
    let kind = || ("type", Value::from(ambit_policy::AUTHORIZATION_DETAIL_TYPE));
    let mut whole = vec![kind()];
    if let Some(calls) = arguments.calls {
        whole.push(("calls_max", u64::from(calls).into()));
    }
    if !arguments.labels.is_empty() {
        let labels = arguments.labels.iter().map(String::as_str).collect();
        whole.push(("may_emit", labels));
    }
    let mut details = vec![Value::object(whole)];
    for server in &arguments.reads {
        let datatypes = ["tools", "resources", "prompts"].into_iter().collect();
        let members = [
            kind(),
            ("server", server.as_str().into()),
            ("datatypes", datatypes),
        ];
        details.push(Value::object(members));
    }
    for named in &arguments.tools {
        let Some((server, tool)) = named.split_once('/') else {
            return Err(Problem::Usage(format!(
                "`{named}` is no tool; write `--tool SERVER/TOOL`"
            )));
        };
        let own = arguments.constraints.iter().filter(|it| it.tool == *named);
        let own: BTreeMap<String, Value> = own
            .map(|it| (it.argument.clone(), it.bound.clone()))
            .collect();
        let members = [
            kind(),
            ("server", server.into()),
            ("actions", [tool].into_iter().collect()),
            ("constraints", Value::Object(own)),
        ];
        details.push(Value::object(members));
    }
    let mut all = arguments.constraints.iter();
    if let Some(unused) = all.find(|it| !arguments.tools.contains(&it.tool)) {
        return Err(Problem::Usage(format!(
            "a constraint names `{}`, which is not given; add `--tool {}`",
            unused.tool, unused.tool
        )));
    }
    Ok(Value::Array(details))
}

/// Reads `SERVER/TOOL:ARGUMENT=JSON`.
fn constraint(text: &str) -> Result<Constraint, String> {
    let usage = "write `SERVER/TOOL:ARGUMENT={\"one_of\":[…]}`";
    let (tool, rest) = text.split_once(':').ok_or(usage)?;
    let (argument, bound) = rest.split_once('=').ok_or(usage)?;
    let bound = ambit_core::json::parse(bound.as_bytes());
    Ok(Constraint {
        tool: tool.to_owned(),
        argument: argument.to_owned(),
        bound: bound.map_err(|error| format!("{error}; {usage}"))?,
    })
}

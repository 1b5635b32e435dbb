//! `ambit task delegate`, `ambit task withdraw` and `ambit task tree`.

use std::collections::BTreeMap;

use ambit_core::{Millis, json::Value};

use super::{
    Session,
    tasks::{counted, segment, tasks_up_to},
};
use crate::{
    client::Client,
    output::{cell, complain, visible},
    problem::Problem,
};

/// The most tasks that have ended in one tree, the last ones.
const ENDED_IN_TREE_MAX: usize = 1_000;

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

/// Shows tasks under those that delegated to them, with the delegations that nobody took yet: the live ones, or with `all`
/// the last ones that ended as well.
pub(crate) async fn tree(session: &Session, task: Option<&str>, all: bool) -> Result<(), Problem> {
    let client = session.client()?;
    let ended = all.then_some(ENDED_IN_TREE_MAX);
    let (tasks, more) = tasks_up_to(&client, ended).await?;
    let given = client.get("/v1/delegations").await?;
    let given = given.get("delegations").and_then(Value::as_array);
    let forest = Forest::new(tasks, given.unwrap_or_default());
    let (mut text, shown) = forest.draw(task);
    if text.is_empty() {
        text = match task {
            None => "No task is live. Those that have ended: ambit task tree --all".to_owned(),
            Some(task) => over(&client, task).await?,
        };
    }
    let open = forest.given.iter().filter(|it| is_open(it)).cloned();
    let members = [
        ("tasks", Value::Array(shown)),
        ("delegations", Value::Array(open.collect())),
    ];
    session
        .output
        .thing(&Value::object(members), text.trim_end())?;
    if more {
        complain("ambit: there are older tasks, which are not shown");
    }
    Ok(())
}

/// Tasks with what was given away of them.
struct Forest {
    /// The oldest first.
    tasks: Vec<Value>,
    given: Vec<Value>,
}

impl Forest {
    fn new(mut tasks: Vec<Value>, given: &[Value]) -> Self {
        // Names of tasks sort by the time of their start.
        tasks.sort_by_key(|it| cell(it, "task"));
        let given = given.to_vec();
        Self { tasks, given }
    }

    /// Draws each task one step further in than the one above it, and returns the tasks that are drawn: `top` and what is
    /// below it, or all.
    fn draw(&self, top: Option<&str>) -> (String, Vec<Value>) {
        let mut tops = Vec::new();
        let mut below: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for task in &self.tasks {
            let parent = cell(task, "parent");
            if top.map_or_else(|| !self.has(&parent), |it| cell(task, "task") == it) {
                tops.push(task);
            }
            below.entry(parent).or_default().push(task);
        }
        let (mut text, mut shown) = (String::new(), Vec::new());
        let mut rows: Vec<(usize, &Value)> = tops.into_iter().rev().map(|it| (0, it)).collect();
        while let Some((depth, task)) = rows.pop() {
            let id = cell(task, "task");
            text.push_str(&task_line(depth, task, self.part(&id)));
            for given in self.given.iter().filter(|it| cell(it, "parent") == id) {
                text.push_str(&self.given_line(depth + 1, given));
            }
            let children = below.get(&id).into_iter().flatten().rev();
            rows.extend(children.map(|it| (depth + 1, *it)));
            shown.push(task.clone());
        }
        (text, shown)
    }

    fn has(&self, task: &str) -> bool {
        self.tasks.iter().any(|it| cell(it, "task") == task)
    }

    /// Returns what was given to the child `task`.
    fn part(&self, task: &str) -> Option<&Value> {
        let given = self.given.iter().find(|it| cell(it, "child") == task);
        given.and_then(|it| it.get("authorization_details"))
    }

    /// Tells of a delegation that nobody took, and of one whose task is not shown: it is over.
    fn given_line(&self, depth: usize, given: &Value) -> String {
        let indent = "  ".repeat(depth);
        let (id, to) = (cell(given, "delegation"), cell(given, "to"));
        if is_open(given) {
            let until = cell(given, "expires_at");
            return format!("{indent}{id}  open to {to}, until {until}\n");
        }
        let child = given.get("child").and_then(Value::as_str);
        match child.map(visible).filter(|it| !self.has(it)) {
            Some(child) => format!("{indent}{child}  by {to}: over (see it with --all)\n"),
            None => String::new(),
        }
    }
}

fn is_open(given: &Value) -> bool {
    cell(given, "standing") == "open"
}

/// Says how a task ended that is not live, or that there is none.
async fn over(client: &Client, task: &str) -> Result<String, Problem> {
    let answer = client.get(&format!("/v1/tasks/{}", segment(task))).await?;
    let (task, state) = (cell(&answer, "task"), cell(&answer, "state"));
    Ok(format!(
        "{task} is {state}: nothing is below it any more; `ambit log trace {task}` tells what was"
    ))
}

fn task_line(depth: usize, task: &Value, part: Option<&Value>) -> String {
    format!(
        "{}{}  {} by {} for {}: {}, {} calls, until {}{}\n",
        "  ".repeat(depth),
        cell(task, "task"),
        cell(task, "template"),
        cell(task, "agent"),
        cell(task, "subject"),
        cell(task, "state"),
        cell(task, "calls"),
        cell(task, "expires_at"),
        part.map(has).unwrap_or_default(),
    )
}

/// Says how much of its parent a child has.
fn has(part: &Value) -> String {
    let details = part.as_array().unwrap_or_default();
    let actions = details
        .iter()
        .filter_map(|it| it.get("actions")?.as_array());
    let tools: usize = actions.map(<[Value]>::len).sum();
    let read = details.iter().filter(|it| it.get("datatypes").is_some());
    let read: Vec<String> = read.map(|it| cell(it, "server")).collect();
    match read.is_empty() {
        true => format!("; {}", counted(tools, "tool")),
        false => format!("; {}, reads {}", counted(tools, "tool"), read.join(" and ")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, parent: &str, state: &str) -> Value {
        Value::object([
            ("task", name.into()),
            ("parent", parent.into()),
            ("template", "t".into()),
            ("agent", "a".into()),
            ("subject", "p".into()),
            ("state", state.into()),
            ("calls", 0_u64.into()),
            ("expires_at", "then".into()),
        ])
    }

    fn given(name: &str, parent: &str, child: Option<&str>) -> Value {
        let tools = ["x", "y"].into_iter().collect();
        let detail = Value::object([("server", "s".into()), ("actions", tools)]);
        let standing = child.map_or("open", |_| "exchanged");
        let mut members = vec![
            ("delegation", Value::from(name)),
            ("parent", parent.into()),
            ("to", "b".into()),
            ("standing", standing.into()),
            ("authorization_details", Value::Array(vec![detail])),
            ("expires_at", "then".into()),
        ];
        members.extend(child.map(|it| ("child", it.into())));
        Value::object(members)
    }

    #[track_caller]
    fn check(top: Option<&str>, wanted: &[&str]) {
        let tasks = vec![
            task("t5", "", "active"),
            task("t3", "t2", "revoked"),
            task("t2", "t1", "active"),
            task("t4", "t1", "completed"),
            task("t1", "", "active"),
        ];
        let given = [
            given("d2", "t1", Some("t2")),
            given("d6", "t2", Some("t0")),
            given("d7", "t5", None),
        ];
        let (text, shown) = Forest::new(tasks, &given).draw(top);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, wanted);
        assert!(shown.len() <= wanted.len());
    }

    #[test]
    fn a_tree_shows_the_chain_by_its_indentation() {
        let first = [
            "t1  t by a for p: active, 0 calls, until then",
            "  t2  t by a for p: active, 0 calls, until then; 2 tools",
            "    t0  by b: over (see it with --all)",
            "    t3  t by a for p: revoked, 0 calls, until then",
            "  t4  t by a for p: completed, 0 calls, until then",
        ];
        let last = [
            "t5  t by a for p: active, 0 calls, until then",
            "  d7  open to b, until then",
        ];
        check(None, &[&first[..], &last].concat());
        check(Some("t1"), &first);
        check(Some("t5"), &last);
        check(Some("t9"), &[]);
    }
}

//! A run gives a part of its task away by its own door; another run takes it, and ends with it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::atomic::Ordering,
};

use ambit_core::json::{self, Value};

use crate::{
    life::{check, with_free_template},
    world::World,
};

const HELPER: &str = "owner = \"ada\"\npurpose = \"Helps\"\nrisk = \"low\"\nenvironment = \"test\"\n\
    review_by = \"2030-01-01\"\ntemplates = []\nparts_of = [\"free\"]\n";
const DELEGATION: &str = "\n[delegation]\nto = [\"helper\"]\ndepth_max = 1\n";
/// Posts each line that it reads, a path and a body, to the door, and answers with one line.
const POSTS: &str = "while read -r path body; do curl -s -m 10 -H 'content-type: application/json' \
    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
    -d \"$body\" \"${AMBIT_MCP_URL%/mcp}$path\" | tr -d '\\n'; echo; done";
const CALL: &str = r#"/s/notes/mcp {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;
const PART: &str = r#"{"to":"helper","authorization_details":[{"type":"ambit_task","server":"notes","datatypes":["tools"]}],"depth_left":0}"#;

/// A contained command that does what it is told, line by line.
struct Agent {
    runner: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Agent {
    fn run(world: &World, options: &[&str]) -> Self {
        let contained = ["run", "--quiet", "--containment", "namespaces"];
        let script = ["--", "sh", "-c", POSTS];
        let mut runner = world
            .command(&[&contained[..], options, &script].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            told: runner.stdin.take().unwrap(),
            says: BufReader::new(runner.stdout.take().unwrap()),
            runner,
        }
    }

    /// Tells it to post this; returns the answer, which is empty when the agent is there no more.
    fn post(&mut self, line: &str) -> String {
        // It may have been ended already.
        let _ = writeln!(self.told, "{line}");
        let mut answer = String::new();
        self.says.read_line(&mut answer).unwrap();
        answer
    }

    /// Lets it end, and returns its exit code.
    fn end(self) -> Option<i32> {
        let Self {
            mut runner, told, ..
        } = self;
        drop(told);
        runner.wait().unwrap().code()
    }
}

fn delegating() -> World {
    let world = World::start(None);
    let estate = with_free_template(&world);
    fs::write(format!("{estate}/agents/helper.toml"), HELPER).unwrap();
    let template = format!("{estate}/templates/free.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(&template, text + DELEGATION).unwrap();
    check(&world, &["apply", &estate], 0, &[]);
    world.seal("notes-token", "of-the-server");
    world
}

fn member(answer: &str, name: &str) -> String {
    let value = json::parse(answer.trim().as_bytes()).unwrap();
    let text = value.get(name).and_then(Value::as_str);
    assert!(text.is_some(), "no {name} in {answer}");
    text.unwrap().to_owned()
}

/// ASI10: what the delegator takes back ends the delegate's run at once; its own goes on.
#[test]
fn asi10_a_delegate_run_ends_with_the_part_that_it_took() {
    let world = delegating();
    let reader = ["--task", "free", "--for", "reader"];
    let mut reader = Agent::run(&world, &reader);
    let given = reader.post(&format!("/v1/task/delegations {PART}"));
    let (delegation, parent) = (member(&given, "delegation"), member(&given, "parent"));
    let take = ["--delegation", delegation.as_str()];
    let mut helper = Agent::run(&world, &take);
    let answer = helper.post(CALL);
    assert!(answer.contains("the note itself"), "{answer}");
    // It can take nothing by its door, nor give on what it may not.
    let again = helper.post(&format!("/v1/task/delegations/{delegation}/exchange {{}}"));
    assert!(again.contains("/v1/task/delegations"), "{again}");
    let on = helper.post(&format!("/v1/task/delegations {PART}"));
    assert!(on.contains("delegation_too_deep"), "{on}");
    let tree = check(&world, &["task", "tree"], 0, &[&parent, "helper"]);
    assert!(tree.contains("reader"), "{tree}");

    let withdraw = format!("/v1/task/delegations/{delegation}/withdraw {{}}");
    let back = reader.post(&withdraw);
    assert!(back.contains("\"ended\":[\"task_"), "{back}");
    let before = world.upstream.calls.load(Ordering::SeqCst);
    for _ in 0..3 {
        let late = helper.post(CALL);
        assert!(!late.contains("the note itself"), "{late}");
    }
    assert_eq!(world.upstream.calls.load(Ordering::SeqCst), before);
    helper.end();
    let mut second = world.command(&["run", "--delegation", &delegation, "--", "true"]);
    let second = second.output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && told.contains("delegation"),
        "{told}"
    );
    // The delegator lost nothing, and the log tells it all.
    let own = reader.post(CALL);
    assert!(own.contains("the note itself"), "{own}");
    assert_eq!(reader.end(), Some(0));
    check(
        &world,
        &["log", "trace", &parent],
        0,
        &["delegated", "helper"],
    );
    check(&world, &["log", "verify"], 0, &[]);
}

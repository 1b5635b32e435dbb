//! Real clients with scripted models: each answer reaches the model, and none of them ends the run.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Stdio},
};

use ambit_core::json::{self, Value};

use crate::world::{Upstream, World, judge, tool};

/// What a client says at its end.
#[derive(Debug)]
pub(crate) struct Report {
    /// The texts that reached the model, one for each call.
    pub(crate) texts: Vec<String>,
    /// Why the run did not end as its scenario wants.
    pub(crate) error: Option<String>,
}

impl Report {
    /// Reads the line of JSON.
    pub(crate) fn read(line: &str) -> Self {
        let value = json::parse(line.as_bytes()).unwrap();
        let texts = value.get("tool_texts").and_then(Value::as_array).unwrap();
        Self {
            texts: texts
                .iter()
                .map(|it| it.as_str().unwrap().to_owned())
                .collect(),
            error: value
                .get("error")
                .and_then(Value::as_str)
                .map(str::to_owned),
        }
    }

    /// Checks that the client finished, and that each text has its `parts`.
    pub(crate) fn check(&self, parts: &[&[&str]]) {
        assert_eq!(self.error, None, "{self:?}");
        assert_eq!(self.texts.len(), parts.len(), "{self:?}");
        for (text, parts) in self.texts.iter().zip(parts) {
            let missing: Vec<_> = parts.iter().filter(|it| !text.contains(**it)).collect();
            assert!(missing.is_empty(), "the model misses {missing:?} in {text}");
        }
    }
}

/// A scenario: the call, what is done between its two calls, and what the model must be told each time.
struct Scenario {
    name: &'static str,
    tool: &'static str,
    arguments: &'static str,
    between: fn(&World),
    texts: &'static [&'static [&'static str]],
}

/// A door of the gateway, and what stands before the names of the server's tools there.
struct Door {
    path: &'static str,
    prefix: &'static str,
}

const OWN_DOOR: Door = Door {
    path: "/s/everything/mcp",
    prefix: "",
};
const SHARED_DOOR: Door = Door {
    path: "/mcp",
    prefix: "everything__",
};

const GRANTS: &str = "\
[tools.everything.echo]
arguments = { message = { one_of = [\"hello\"] } }
[tools.everything.get-sum]
approval = \"held\"
";

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "allow",
        tool: "echo",
        arguments: r#"{"message":"hello"}"#,
        between: |_| (),
        texts: &[&["Echo: hello"]],
    },
    Scenario {
        name: "deny",
        tool: "echo",
        arguments: r#"{"message":"goodbye"}"#,
        between: |_| (),
        texts: &[&["Refused", "argument_out_of_bounds", "dec_", "Do not retry"]],
    },
    Scenario {
        name: "pending",
        tool: "get-sum",
        arguments: r#"{"a":1,"b":2}"#,
        between: approve,
        texts: &[
            &[
                "Pending approval",
                "approval_required",
                "apr_",
                "dec_",
                "Do not retry",
            ],
            &["The sum of 1 and 2 is 3."],
        ],
    },
    Scenario {
        name: "refused",
        tool: "get-sum",
        arguments: r#"{"a":2,"b":3}"#,
        between: refuse,
        texts: &[
            &["Pending approval", "approval_required", "apr_"],
            &[
                "Refused",
                "approval_refused",
                "a person refused this exact call",
                "dec_",
                "Do not retry",
            ],
        ],
    },
    Scenario {
        name: "ended",
        tool: "echo",
        arguments: r#"{"message":"hello"}"#,
        between: revoke,
        texts: &[
            &["Echo: hello"],
            &["Refused", "task_ended", "dec_", "Do not retry"],
        ],
    },
];

#[test]
fn the_python_sdk_goes_on() {
    check("mcp_client.py", "auto", &OWN_DOOR);
}

#[test]
fn the_python_sdk_of_the_legacy_era_goes_on() {
    check("mcp_client.py", "legacy", &SHARED_DOOR);
}

#[test]
fn pydantic_ai_goes_on() {
    check("pydantic_ai_client.py", "auto", &OWN_DOOR);
}

#[test]
fn openai_agents_goes_on() {
    check("openai_agents_client.py", "auto", &SHARED_DOOR);
}

/// Runs `client` through every scenario, each in a task of its own.
fn check(client: &str, era: &str, door: &Door) {
    let upstream = Upstream::stdio("everything", &["stdio"], "");
    let world = World::start(&[upstream], GRANTS);
    for scenario in &SCENARIOS {
        let mut run = start(&world, (client, era), door, scenario);
        let report = converse(&world, &mut run, scenario);
        let mut errors = String::new();
        run.stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        let status = run.wait().unwrap();
        assert!(
            report.error.is_none(),
            "{client} {}: {report:?}\n{errors}",
            scenario.name
        );
        report.check(scenario.texts);
        assert_eq!(
            status.code(),
            Some(0),
            "{client} {}: {errors}",
            scenario.name
        );
        report.texts.iter().for_each(|it| explain(&world, it));
        let told = report.texts.iter().any(|it| it.contains(WHY_NOT));
        assert!(!told, "a person's words are for people: {report:?}");
        if scenario.name == "refused" {
            let last = world.done(&["log", "tail", "-n", "20"]);
            assert!(last.contains(WHY_NOT), "people read why not: {last}");
        }
    }
}

fn start(world: &World, (client, era): (&str, &str), door: &Door, scenario: &Scenario) -> Child {
    let (python, client) = (tool("python"), judge("clients").join(client));
    let tool = format!("{}{}", door.prefix, scenario.tool);
    let arguments = [
        python.to_str().unwrap(),
        client.to_str().unwrap(),
        door.path,
        scenario.name,
        "--tool",
        &tool,
        "--arguments",
        scenario.arguments,
        "--era",
        era,
    ];
    let mut command = world.run(CALL, &arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

const CALL: &str = "python=$1; client=$2; url=${AMBIT_MCP_URL%/mcp}$3; shift 3; \
    exec \"$python\" \"$client\" \"$url\" \"$@\"";

/// Reads what the client prints; at its pause, does what the scenario wants done.
fn converse(world: &World, run: &mut Child, scenario: &Scenario) -> Report {
    let mut input = run.stdin.take().unwrap();
    for line in BufReader::new(run.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with('{') {
            return Report::read(&line);
        }
        assert!(["PENDING", "BETWEEN"].contains(&line.as_str()), "{line}");
        (scenario.between)(world);
        input.write_all(b"\n").unwrap();
    }
    panic!("the client of {} ended without a report", scenario.name)
}

/// Approves the one action that waits, after having looked at it.
fn approve(world: &World) {
    world.approve(&waiting(world, "\"b\": 2"));
}

/// Refuses the one action that waits, after having looked at it, and says why.
fn refuse(world: &World) {
    world.refuse(&waiting(world, "\"b\": 3"), WHY_NOT);
}

/// What the person says to people. The model hears that a person refused, and the words stay with the record.
const WHY_NOT: &str = "the sum of another customer";

/// Returns the approval of the one action that waits, whose arguments have `part`.
fn waiting(world: &World, part: &str) -> String {
    let waiting = json::parse(world.done(&["approvals", "list", "-o", "json"]).as_bytes()).unwrap();
    let [waiting] = waiting.as_array().unwrap() else {
        panic!("one action waits: {waiting:?}")
    };
    let approval = waiting.get("approval").and_then(Value::as_str).unwrap();
    let shown = world.done(&["approvals", "show", approval]);
    assert!(shown.contains("get-sum") && shown.contains(part), "{shown}");
    approval.to_owned()
}

fn revoke(world: &World) {
    world.done(&["revoke", "task", &world.active_task(), "--reason", "judged"]);
}

/// A decision that a model was told of can be looked up by people.
fn explain(world: &World, text: &str) {
    let Some((_, rest)) = text.split_once("dec_") else {
        return;
    };
    let rest: String = rest
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let told = world.done(&["log", "why", &format!("dec_{rest}")]);
    assert!(!told.trim().is_empty());
}

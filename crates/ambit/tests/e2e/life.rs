//! A day with Ambit at the command line: check, plan, apply, start, look, end, revoke, explain, verify.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

use ambit_core::json::{self, Value};

use crate::world::World;

/// Runs `ambit ARGUMENTS`, which must end with `code` and print all of `parts`; returns what it printed.
pub(crate) fn check(world: &World, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = world.ambit(arguments);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no `{part}` in: {text}");
    }
    text
}

fn value(world: &World, arguments: &[&str]) -> Value {
    let output = world.ambit(&[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}");
    json::parse(&output.stdout).unwrap()
}

fn member<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap()
}

/// A template that needs no containment, so that tasks can be started without a runner.
const FREE: &str = "version = 1\nowner = \"ada\"\npurpose = \"Look freely\"\nreads = [\"notes\"]\n\
    calls_max = 20\nttl = \"10m\"\nstarters = \"any_starter\"\napprover = \"anyone\"\n\
    containment = \"optional\"\n";

/// Adds a template that wants no containment, and whoever runs the tests as ada; returns the estate's folder.
pub(crate) fn with_free_template(world: &World) -> String {
    let estate = world.directory.path().join("estate");
    fs::write(estate.join("templates/free.toml"), FREE).unwrap();
    let agent = estate.join("agents/reader.toml");
    let text = fs::read_to_string(&agent).unwrap();
    fs::write(&agent, text.replace("[\"look\"]", "[\"look\", \"free\"]")).unwrap();
    // Whoever applies must stay named, or nobody may afterwards.
    let uid = rustix::process::getuid().as_raw();
    let people = format!(
        "[people.ada]\nunix_uid = {uid}\nroles = [\"starter\", \"approver\", \"operator\", \
         \"auditor\", \"administrator\"]\n"
    );
    fs::write(estate.join("estate.toml"), people).unwrap();
    estate.display().to_string()
}

/// Puts an estate with the template `free` in force.
pub(crate) fn apply_free_template(world: &World) {
    check(world, &["apply", &with_free_template(world)], 0, &[]);
}

#[test]
fn an_estate_is_checked_planned_and_applied() {
    let world = World::start(None);
    let estate = with_free_template(&world);
    check(&world, &["check", &estate], 0, &["ok", "sha256:"]);
    check(
        &world,
        &["plan", &estate],
        0,
        &["agent reader", "free", "+", "widen"],
    );
    let applied = check(&world, &["apply", &estate], 0, &["in force"]);
    check(&world, &["plan", &estate], 0, &["Nothing changes."]);
    let mut words = applied.split_whitespace();
    let digest = words.find(|it| it.starts_with("sha256:")).unwrap();
    check(&world, &["status"], 0, &[digest, "gateway"]);
    fs::write(format!("{estate}/templates/free.toml"), "version = \"one\"").unwrap();
    check(
        &world,
        &["apply", &estate],
        7,
        &["templates/free.toml:1:", "problems in"],
    );
    check(&world, &["status"], 0, &[digest]);
}

#[test]
fn a_task_is_started_looked_at_ended_and_explained() {
    let world = World::start(None);
    check(&world, &["apply", &with_free_template(&world)], 0, &[]);
    let start = ["task", "start", "free", "--for", "reader"];
    let kept = value(&world, &[&start[..], &["--svid", "svid"]].concat());
    let task = member(&kept, "task");
    for file in ["key.pem", "svid.pem", "bundle.pem"] {
        let path = world.directory.path().join("work/svid").join(file);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let taken = check(&world, &[&start[..], &["--svid", "svid"]].concat(), 2, &[]);
    assert!(taken.contains("name a new directory"), "{taken}");
    check(&world, &start, 2, &["nobody can prove", "`--svid DIR`"]);
    check(
        &world,
        &["task", "list"],
        0,
        &["TASK", "STATE", task, "active"],
    );
    check(
        &world,
        &["task", "show", task],
        0,
        &["spiffe://ambit.internal/agent/reader/", "none"],
    );
    check(
        &world,
        &["task", "end", task, "--as", "completed"],
        0,
        &["is completed"],
    );
    check(&world, &["task", "list"], 0, &["No task is live", "--all"]);
    let all = check(&world, &["task", "list", "--all"], 0, &[task, "completed"]);
    assert_eq!(all.lines().count(), 2, "a mistake started nothing: {all}");
    check(&world, &["log", "trace", task], 0, &["completed by"]);
    let tree = ["task", "tree", task];
    check(&world, &tree, 0, &["is completed", "nothing is below it"]);
    let nowhere = ["task", "tree", "task_00000000000000000000000000"];
    check(&world, &nowhere, 1, &["there is no"]);
    check(
        &world,
        &["task", "show", "task_00000000000000000000000000"],
        1,
        &["there is no"],
    );
    check(&world, &["task", "show", "x"], 2, &["`task_`"]);
    check(
        &world,
        &[
            "task", "start", "nope", "--for", "reader", "--svid", "other",
        ],
        2,
        &["nope"],
    );
    check(
        &world,
        &["approvals", "list"],
        0,
        &["Nothing waits for a person."],
    );
}

#[test]
fn a_revocation_says_what_it_ended() {
    let mut world = World::start(None);
    check(&world, &["apply", &with_free_template(&world)], 0, &[]);
    let started = value(
        &world,
        &["task", "start", "free", "--for", "reader", "--svid", "one"],
    );
    let task = member(&started, "task");
    let revoke = ["revoke", "agent", "reader", "--reason", "odd calls"];
    check(
        &world,
        &revoke,
        0,
        &["1 task ended", "in effect after", task],
    );
    let again = ["task", "start", "free", "--for", "reader", "--svid", "two"];
    let denied = check(&world, &again, 3, &["denied", "agent `reader`"]);
    assert!(denied.contains("revoked"), "{denied}");
    let lift = ["reinstate", "agent", "reader", "--reason", "a false alarm"];
    // An agent that nothing contained runs as the same user: until Ambit starts again, it could be the one who asks.
    check(&world, &lift, 3, &["too weak"]);
    world.stop();
    world.start_again().unwrap();
    check(&world, &lift, 0, &["reinstated reader"]);
    check(&world, &lift, 4, &["not revoked", "nothing to lift"]);
    check(&world, &again, 0, &["began"]);
    check(
        &world,
        &["log", "tail", "-n", "9"],
        0,
        &["INDEX", "revoked"],
    );
    check(
        &world,
        &["log", "show", "0"],
        0,
        &["log.opened", "ambit.internal/log"],
    );
    check(&world, &["log", "show", "9999"], 1, &["no record 9999"]);
}

#[test]
fn a_refused_call_is_explained_to_people() {
    let world = World::start(None);
    let call = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\
         \"params\":{\"name\":\"burn\",\"arguments\":{}}}";
    fs::write(world.directory.path().join("work/call.json"), call).unwrap();
    let (text, _) = world.inside(
        "curl -s -m 10 -H 'content-type: application/json' \
         -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
         --data-binary @call.json ${AMBIT_MCP_URL%/mcp}/s/notes/mcp",
    );
    let at = text.find("dec_").unwrap();
    let decision: String = text.chars().skip(at).take(30).collect();
    check(
        &world,
        &["log", "why", &decision],
        0,
        &["burn", "tool_unknown"],
    );
    check(&world, &["log", "verify"], 0, &["OK ambit.internal/log"]);
    check(&world, &["log", "rebuild"], 0, &["byte for byte"]);
    check(&world, &["log", "replay"], 0, &["follow again"]);
    let exported = world.directory.path().join("exported");
    let exported = exported.to_str().unwrap();
    check(&world, &["log", "export", exported], 0, &["verifier key"]);
    check(
        &world,
        &["log", "verify", exported],
        0,
        &["OK ambit.internal/log"],
    );
    let bundle = fs::read_dir(format!("{exported}/tile/entries"))
        .unwrap()
        .next()
        .unwrap();
    let mut path = bundle.unwrap().path();
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    check(
        &world,
        &["log", "verify", exported],
        7,
        &["damaged", "record"],
    );
}

#[test]
fn a_server_is_asked_for_its_tools() {
    let world = World::start(None);
    check(
        &world,
        &["server", "inspect", "notes"],
        4,
        &[
            "`notes-token` is not sealed",
            "ambit secret set notes-token",
        ],
    );
    world.seal("notes-token", "a-token");
    check(
        &world,
        &["server", "inspect", "notes"],
        0,
        &["[tools.note]", "inputSchema"],
    );
    let estate = world.directory.path().join("estate");
    let out = [
        "server",
        "inspect",
        "notes",
        "--out",
        estate.to_str().unwrap(),
    ];
    check(&world, &out, 0, &["notes.toml.proposed"]);
    // What waits for its owner is no part of the estate, and no mistake in it either.
    check(&world, &["check", estate.to_str().unwrap()], 0, &[]);
    check(
        &world,
        &["server", "inspect", "nope"],
        1,
        &["there is no server `nope`"],
    );
}

/// Somebody's laptop is stolen before they ever used Ambit.
#[test]
fn a_person_is_revoked_before_their_first_act() {
    let world = World::start(None);
    let revoke = |person| ["revoke", "person", person, "--reason", "laptop stolen"];
    check(
        &world,
        &revoke("nobody"),
        1,
        &["there is no person `nobody` in the estate"],
    );
    check(&world, &revoke("ada"), 0, &["revoked"]);
    let reinstate = ["reinstate", "person", "ada", "--reason", "it was found"];
    check(&world, &reinstate, 0, &[]);
}

#[test]
fn a_task_waits_for_its_agent_unless_told_otherwise() {
    let world = World::start(None);
    let start = ["task", "start", "look", "--for", "reader"];
    let twice = ["--param", "a=1", "--param", "a=2"];
    let more = [&start[..], &twice].concat();
    check(&world, &more, 2, &["--param a is given twice"]);
    let estate = with_free_template(&world);
    let agent = world.directory.path().join("estate/agents/reader.toml");
    let text = fs::read_to_string(&agent).unwrap();
    let digest = ambit_core::Digest::of(b"a program");
    let registered = format!(
        "{text}\n[[workload]]\nuid = 4711\npath = \"/usr/bin/reader\"\nsha256 = \"{digest}\"\n"
    );
    fs::write(&agent, registered).unwrap();
    check(&world, &["apply", &estate], 0, &[]);
    let start = ["task", "start", "free", "--for", "reader"];
    check(
        &world,
        &start,
        0,
        &["for whoever first proves to be a run of its agent"],
    );
}

#[test]
fn an_empty_directory_becomes_an_estate() {
    let directory = tempfile::tempdir().unwrap();
    let (estate, state) = (
        directory.path().join("estate"),
        directory.path().join("state"),
    );
    fs::create_dir(&estate).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_ambit"))
        .arg("--state")
        .arg(&state)
        .arg("dev")
        .arg(&estate)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(!line.is_empty(), "it serves");
    let output = Command::new(env!("CARGO_BIN_EXE_ambit"))
        .arg("check")
        .arg(&estate)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Whoever runs `ambit dev` and edits the estate is not shut out by what is still under way.
#[test]
fn an_edited_estate_waits_for_a_task_without_containment() {
    let mut world = World::start(None);
    apply_free_template(&world);
    let svid = world.directory.path().join("svid").display().to_string();
    let start = ["task", "start", "free", "--for", "reader", "--svid", &svid];
    let said = check(&world, &start, 0, &["began"]);
    let task = said.split(' ').next().unwrap();
    let template = world.directory.path().join("estate/templates/free.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(&template, text.replace("version = 1", "version = 2")).unwrap();
    world.stop();
    world.start_again().unwrap();
    let complaints = world.complaints();
    let advice = format!("ambit task end {task}");
    for part in ["the estate in force stays in force", &advice] {
        assert!(complaints.contains(part), "no `{part}` in: {complaints}");
    }
    check(&world, &["task", "end", task], 0, &[]);
    world.stop();
    world.start_again().unwrap();
    let complaints = world.complaints();
    assert!(!complaints.contains("stays in force"), "{complaints}");
    let estate = world.directory.path().join("estate").display().to_string();
    check(&world, &["apply", &estate], 0, &["it was in force already"]);
}

/// What `ambit dev` adds to an estate, `plan` and `apply` keep.
#[test]
fn an_estate_that_names_nobody_is_applied_by_whoever_runs_it() {
    let world = World::start(None);
    let estate = world.directory.path().join("estate").display().to_string();
    check(&world, &["apply", &estate], 0, &["it was in force already"]);
    let template = world.directory.path().join("estate/templates/look.toml");
    let text = fs::read_to_string(&template).unwrap();
    let text = text.replace("version = 1", "version = 2");
    fs::write(&template, text.replace("ttl = \"10m\"", "ttl = \"5m\"")).unwrap();
    let plan = check(&world, &["plan", &estate], 0, &["look"]);
    assert!(!plan.contains("no longer"), "{plan}");
    check(&world, &["apply", &estate], 0, &["in force sha256:"]);
}

#[test]
fn a_second_server_on_one_state_is_refused() {
    let world = World::start(None);
    let estate = world.directory.path().join("estate");
    check(
        &world,
        &["dev", estate.to_str().unwrap()],
        1,
        &["in use by another ambit"],
    );
    check(&world, &["status"], 0, &["gateway"]);
}

#[test]
fn health_is_told_on_the_loopback() {
    let world = World::start(None);
    for (path, part) in [
        ("/healthz", "200 OK"),
        ("/readyz", "200 OK"),
        ("/metrics", "# TYPE"),
    ] {
        let mut stream = TcpStream::connect(world.health).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            world.health
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(part), "{path}: {answer}");
    }
}

#[test]
fn a_secret_has_bounds_and_a_place_of_its_own() {
    let world = World::start(None);
    let set = |bytes: usize| {
        let mut command = world.command(&["secret", "set", "notes-token"]);
        let path = world.directory.path().join("secret");
        fs::write(&path, "x".repeat(bytes)).unwrap();
        let output = command
            .stdin(fs::File::open(path).unwrap())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let most = ambit_broker::SECRET_BYTES_MAX;
    assert_eq!(set(most).0, Some(0));
    for beyond in [most + 1, 20 * most] {
        let (code, text) = set(beyond);
        assert!(code == Some(2) && !text.contains("xxx"), "{text}");
        assert!(text.contains("standard input had more"), "{text}");
    }
    let (code, text) = set(0);
    assert!(
        code == Some(2) && text.contains("standard input had none"),
        "{text}"
    );
}

#[test]
fn the_control_socket_can_be_named() {
    let world = World::start(None);
    let socket = world.state().join("control.sock");
    let elsewhere = world.directory.path().join("nowhere");
    let named = [
        "--control",
        socket.to_str().unwrap(),
        "--state",
        elsewhere.to_str().unwrap(),
    ];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ambit"));
    assert!(
        command
            .args(named)
            .arg("status")
            .output()
            .unwrap()
            .status
            .success()
    );
}

#[test]
fn a_first_estate_that_names_nobody_can_be_mended() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let path = |name: &str| root.join(name).display().to_string();
    fs::create_dir(path("estate")).unwrap();
    let config = format!(
        "trust_domain = \"example.org\"\nstate = \"{}\"\nestate = \"{}\"\n[doors]\n\
         gateway = \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n",
        path("state"),
        path("estate")
    );
    fs::write(path("ambit.toml"), config).unwrap();
    let serve = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ambit"));
        command
            .args(["serve", "--config", &path("ambit.toml")])
            .env_remove("AMBIT_STATE");
        command
    };
    fs::write(
        path("estate/estate.toml"),
        "[people.ada]\nroles = [\"administrator\"]\n",
    )
    .unwrap();
    let output = serve().output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(7) && text.contains("write `unix_uid"),
        "{text}"
    );

    let uid = rustix::process::getuid().as_raw();
    let people =
        format!("[people.ada]\nunix_uid = {uid}\nroles = [\"administrator\", \"auditor\"]\n");
    fs::write(path("estate/estate.toml"), people).unwrap();
    let mut server = serve()
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().contains("Ambit serves"));
    let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_ambit"));
    let output = status
        .args(["--state", &path("state"), "status"])
        .output()
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("example.org")
    );
}

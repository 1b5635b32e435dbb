//! The server is killed while agents act: what was answered is in the log, and the next server goes on.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use ambit_core::json::{self, Value};

use crate::world::World;

/// How often the server is killed.
const KILLS: usize = 3;
/// How many agents act at once.
const AGENTS: usize = 3;

/// Calls the tool without an end: within the task's budget it is answered, then it is denied.
const LOAD: &str = "while true; do curl -s -m 10 -H 'content-type: application/json' \
    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
    --data-binary @call.json ${AMBIT_MCP_URL%/mcp}/s/notes/mcp || exit; echo; done";

#[test]
fn a_killed_server_lost_no_answer() {
    let mut world = World::start(None);
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;
    fs::write(world.directory.path().join("work/call.json"), call).unwrap();
    world.seal("notes-token", "a-token");
    let mut answers = Vec::new();
    for kill in 0..KILLS {
        answers.extend(answered_until_killed(&mut world, 20 + 17 * kill));
        world.start_again().unwrap();
        check(&world, &answers);
    }
    let (said, code) = world.inside("echo works");
    assert_eq!((said.trim(), code), ("works", 0));
    world.stop();
    let output = world.ambit(&["log", "rebuild"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn asi10_a_task_ends_with_its_runner_also_while_the_server_is_away() {
    let mut world = World::start(None);
    let complaints = world.directory.path().join("runner.err");
    let run = ["run", "--task", "look", "--for", "reader"];
    let mut runner = world
        .command(&[&run[..], &["--", "sleep", "1000"]].concat())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&complaints).unwrap())
        .spawn()
        .unwrap();
    let says = |part: &str| fs::read_to_string(&complaints).unwrap().contains(part);
    let lists = |world: &World, part: &str| {
        let output = world.ambit(&["task", "list", "--all"]);
        String::from_utf8(output.stdout).unwrap().contains(part)
    };
    until("the task is there", || lists(&world, "active"));
    until("the runner is there", || says("contained"));
    world.kill();
    until("the runner knows", || says("the server is away"));
    world.start_again().unwrap();
    until("the runner is back", || says("the task goes on"));
    assert!(lists(&world, "active") && !says("has ended"));
    world.kill();
    runner.kill().unwrap();
    runner.wait().unwrap();
    world.start_again().unwrap();
    assert!(lists(&world, "active"), "the runner might come back");
    until("the task ended", || lists(&world, "cancelled"));
}

/// Waits until `so`, for longer than a server waits for a runner.
fn until(what: &str, so: impl Fn() -> bool) {
    let came = (0..300).any(|_| {
        thread::park_timeout(Duration::from_millis(100));
        so()
    });
    assert!(came, "in vain until {what}");
}

/// Lets agents act until so many answers came, and kills the server. Returns the answers.
fn answered_until_killed(world: &mut World, enough: usize) -> Vec<Value> {
    let (sender, answers) = mpsc::channel();
    let mut agents: Vec<_> = (0..AGENTS).map(|_| agent(world, &sender)).collect();
    drop(sender);
    let mut heard: Vec<String> = answers.iter().take(enough).collect();
    assert_eq!(heard.len(), enough, "the agents were answered: {heard:?}");
    world.kill();
    for agent in &mut agents {
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    heard.extend(answers);
    let whole = heard.iter().map(|it| json::parse(it.as_bytes()));
    // The last answer of each agent may have been cut off.
    whole.filter_map(Result::ok).collect()
}

fn agent(world: &World, sender: &mpsc::Sender<String>) -> Child {
    let mut agent = world
        .run(&[], &["sh", "-c", LOAD])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(agent.stdout.take().unwrap());
    let sender = sender.clone();
    thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    agent
}

/// Checks what was answered, and what reached the upstream, against the log.
fn check(world: &World, answers: &[Value]) {
    let output = world.ambit(&["log", "verify"]);
    assert!(output.status.success(), "{output:?}");
    let output = world.ambit(&["log", "tail", "-n", "1000", "-o", "jsonl"]);
    let log = String::from_utf8(output.stdout).unwrap();
    let (mut done, mut refused) = (0, 0);
    for answer in answers {
        let text = answer.to_canonical();
        if text.contains("the note itself") {
            done += 1;
            continue;
        }
        // A refusal names its decision: `dec_` and 26 digits. What names none tells that the server is gone.
        let Some((_, digits)) = text.split_once("dec_") else {
            assert!(text.contains("not_passed_on"), "{text}");
            continue;
        };
        let decision: String = digits.chars().take(26).collect();
        assert!(log.contains(&decision), "{text} is not in the log: {log}");
        refused += 1;
    }
    let permits = log.lines().filter(|it| it.contains("allow")).count() as u64;
    let calls = world.upstream.calls.load(Ordering::SeqCst);
    assert!(
        done > 0 && done <= calls && calls <= permits,
        "{done} answers, {refused} refusals, {calls} calls, {permits} permits: {log}"
    );
}

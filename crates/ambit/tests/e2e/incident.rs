//! What an incident responder does: find what nobody knows, look at the arguments, settle it.

use std::{fs, sync::atomic::Ordering};

use crate::{life::check, world::World};

/// Calls the one tool from inside a task and returns what came back, and the decision in the newest record of one.
fn call(world: &World) -> (String, String) {
    let call = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\
         \"params\":{\"name\":\"note\",\"arguments\":{}}}";
    fs::write(world.directory.path().join("work/call.json"), call).unwrap();
    let (text, _) = world.inside(
        "curl -s -m 20 -H 'content-type: application/json' \
         -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
         --data-binary @call.json ${AMBIT_MCP_URL%/mcp}/s/notes/mcp",
    );
    let log = check(
        world,
        &["log", "tail", "-n", "20"],
        0,
        &["allowed notes.note"],
    );
    let (_, rest) = log.rsplit_once("allowed notes.note (").unwrap();
    (text, rest.split(')').next().unwrap().to_owned())
}

#[test]
fn what_nobody_knows_is_found_first_looked_at_and_settled() {
    let world = World::start(None);
    world.seal("notes-token", "a-token");
    let (text, known) = call(&world);
    assert!(text.contains("the note itself"), "{text}");
    let plain = check(&world, &["log", "why", &known], 0, &["done in"]);
    assert!(!plain.contains("the note itself"), "{plain}");
    let opened = [
        "\"arguments\": {}",
        "the note itself",
        "The act beside record",
    ];
    check(&world, &["log", "why", &known, "--open"], 0, &opened);
    check(
        &world,
        &["log", "tail"],
        0,
        &["opened what is sealed beside records"],
    );
    check(
        &world,
        &["log", "show", "0", "--open"],
        2,
        &["nothing is sealed there"],
    );

    world.upstream.silent.store(true, Ordering::SeqCst);
    let (text, unknown) = call(&world);
    assert!(text.contains("Outcome unknown"), "{text}");
    let status = check(&world, &["status"], 0, &["notes.note", "trust_domain"]);
    let next = format!("ambit log settle {unknown} --happened");
    assert!(
        status.starts_with("1 act with an unknown outcome:"),
        "{status}"
    );
    assert!(status.contains(&next), "{status}");
    check(
        &world,
        &["log", "why", &unknown],
        0,
        &["outcome UNKNOWN", &next],
    );
    check(&world, &["log", "verify"], 0, &["1 act without", &unknown]);
    let settle = ["log", "settle", &unknown];
    check(&world, &settle, 2, &["--happened|--did-not-happen"]);
    let both = ["--happened", "--did-not-happen", "--reason", "x"];
    check(
        &world,
        &[&settle[..], &both].concat(),
        2,
        &["cannot be used with"],
    );
    let found = ["--did-not-happen", "--reason", "its log has no such call"];
    let settle = [&settle[..], &found].concat();
    check(&world, &settle, 0, &["settled", "it did not happen"]);
    check(&world, &settle, 4, &["has no unknown outcome"]);
    let status = check(&world, &["status"], 0, &[]);
    assert!(!status.contains("unknown outcome"), "{status}");
    check(
        &world,
        &["log", "why", &unknown],
        0,
        &["its log has no such call"],
    );
    check(
        &world,
        &["log", "verify"],
        0,
        &["0 acts without a known outcome, 1 settled by people"],
    );
    check(&world, &["log", "rebuild"], 0, &["byte for byte"]);
    check(&world, &["log", "replay"], 0, &["follow again"]);
}

#[test]
fn an_unsealed_credential_is_warned_of_before_a_call_fails() {
    let world = World::start(None);
    let estate = world.directory.path().join("estate");
    let estate = estate.to_str().unwrap();
    let warning = [
        "server `notes` wants",
        "`ambit secret set notes-token < FILE`",
    ];
    let complaints = world.complaints();
    assert!(
        warning.iter().all(|it| complaints.contains(it)),
        "{complaints}"
    );
    check(&world, &["plan", estate], 0, &warning);
    let people = world.directory.path().join("estate/estate.toml");
    let uid = rustix::process::getuid().as_raw();
    let text =
        format!("[people.ada]\nunix_uid = {uid}\nroles = [\"starter\", \"administrator\"]\n");
    fs::write(people, text).unwrap();
    check(&world, &["check", "--governed", estate], 0, &warning);
    check(&world, &["apply", estate], 0, &warning);
    world.seal("notes-token", "a-token");
    for command in [
        &["plan", estate][..],
        &["check", "--governed", estate],
        &["apply", estate],
    ] {
        let text = check(&world, command, 0, &[]);
        assert!(!text.contains("warning"), "{command:?}: {text}");
    }
}

//! Two people on one control socket: whoever started a task says no yes to it.
//!
//! Only root can be two local users. Run by anybody else, the test says so and tries one person alone.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::Ordering,
};

use ambit_core::json::{self, Value};

use crate::world::World;

/// The group that the control socket is open to.
const GROUP: u32 = 100;
/// The local user who starts tasks.
const STARTER: u32 = 41_001;
/// The local user who approves.
const APPROVER: u32 = 41_002;

/// Calls the tool, waits for a line, and makes the identical call again.
const TWICE: &str = "call() { curl -s -m 20 -H 'content-type: application/json' \
    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
    --data-binary @call.json ${AMBIT_MCP_URL%/mcp}/s/notes/mcp; echo; }; call; read line; call";

/// Runs `ambit ARGUMENTS` as the local user `user`, when there are several.
fn command(world: &World, user: Option<u32>, arguments: &[&str]) -> Command {
    let root = world.directory.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    if let Some(user) = user {
        command.uid(user).gid(GROUP).env("HOME", "/nonexistent");
    }
    command.arg("--state").arg(root.join("people"));
    command.args(arguments).current_dir(root.join("work"));
    command.env("TMPDIR", root.join("work"));
    command
}

fn check(output: Output, code: i32, part: &str) {
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part), "no `{part}` in: {text}");
}

fn prepare(root: &Path, several: bool) {
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;
    fs::write(root.join("work/call.json"), call).unwrap();
    let uid = rustix::process::getuid().as_raw();
    let me = "\"administrator\", \"operator\"";
    let starts = "\"starter\", \"approver\"";
    let people = if several {
        // The others reach the socket's folder, and nothing of the server's.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(root.join("people"), fs::Permissions::from_mode(0o750)).unwrap();
        chown(root.join("people"), None, Some(GROUP)).unwrap();
        chown(root.join("work"), Some(STARTER), Some(GROUP)).unwrap();
        format!(
            "[people.ada]\nunix_uid = {uid}\nroles = [{me}]\n\
             [people.sam]\nunix_uid = {STARTER}\nroles = [{starts}]\n\
             [people.ben]\nunix_uid = {APPROVER}\nroles = [\"approver\"]\n"
        )
    } else {
        format!("[people.ada]\nunix_uid = {uid}\nroles = [{me}, {starts}]\n")
    };
    fs::write(root.join("estate/estate.toml"), people).unwrap();
    let template = root.join("estate/templates/look.toml");
    let text = fs::read_to_string(&template).unwrap();
    let text = text.replace("approver = \"anyone\"", "approver = \"another_person\"");
    let held = text + "\n[tools.notes.note]\napproval = \"held\"\n";
    fs::write(template, held).unwrap();
}

#[test]
#[expect(clippy::print_stderr, reason = "what is not tried must be said")]
fn whoever_started_a_task_can_not_say_yes_to_it() {
    let several = rustix::process::getuid().is_root();
    if !several {
        eprintln!("not run by root: one person is tried, the second local user is not");
    }
    let world = World::start_shared(several.then_some(GROUP), |root| prepare(root, several));
    world.seal("notes-token", "a-token");
    let (starter, approver) = (several.then_some(STARTER), several.then_some(APPROVER));
    let run = ["run", "--quiet", "--task", "look", "--for", "reader"];
    let inside = ["--containment", "namespaces", "--", "sh", "-c", TWICE];
    let mut running = command(&world, starter, &[&run[..], &inside].concat());
    let running = running.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = running.spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let pending = lines.next().unwrap().unwrap();
    assert!(pending.contains("\"isError\":true"), "{pending}");
    let at = pending.find("apr_").unwrap();
    let approval: String = pending.chars().skip(at).take(30).collect();

    let approve = ["approvals", "approve", approval.as_str()];
    check(
        command(&world, starter, &approve).output().unwrap(),
        3,
        "denied",
    );
    // The owner of the server is no approver, and may not be one by being root.
    if several {
        check(world.ambit(&approve), 3, "denied");
        check(
            command(&world, Some(APPROVER + 1), &["approvals", "list"])
                .output()
                .unwrap(),
            5,
            "",
        );
        check(
            command(&world, approver, &approve).output().unwrap(),
            0,
            "approved",
        );
    }
    running.stdin.take().unwrap().write_all(b"\n").unwrap();
    let second = lines.next().unwrap().unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(second.contains("the note itself"), several, "{second}");
    let reached = world.upstream.calls.load(Ordering::SeqCst);
    assert_eq!(reached, u64::from(several));
}

/// ASI03: cookies of `localhost` reach every port of the machine, so nobody else may have a use for them.
#[test]
#[expect(clippy::print_stderr, reason = "what is not tried must be said")]
fn asi03_no_other_local_user_comes_to_a_server_of_one_user() {
    let world = World::start(None);
    let status = world.ambit(&["status", "-o", "json"]);
    let status = json::parse(&status.stdout).unwrap();
    let public = status.get("public").and_then(Value::as_str).unwrap();
    assert!(public.starts_with("http://localhost:"), "{public}");
    let account = format!("{public}/account");
    let fetch = |user: Option<u32>| {
        let mut curl = Command::new("curl");
        if let Some(user) = user {
            curl.uid(user).gid(GROUP).env("HOME", "/nonexistent");
        }
        curl.args(["-s", "-m", "20", account.as_str()])
            .output()
            .unwrap()
    };
    check(fetch(None), 0, "Nobody is signed in here");
    if !rustix::process::getuid().is_root() {
        eprintln!("not run by root: the second local user is not tried");
        return;
    }
    let theirs = fetch(Some(STARTER));
    assert!(
        !theirs.status.success() && theirs.stdout.is_empty(),
        "{theirs:?}"
    );
}

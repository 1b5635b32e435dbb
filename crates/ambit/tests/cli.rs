//! The command line as its user meets it: every help text, and the errors that are met first.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects must stop"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const COMMANDS: [&str; 34] = [
    "",
    "demo",
    "dev",
    "serve",
    "run",
    "task",
    "task start",
    "task list",
    "task show",
    "task end",
    "revoke",
    "reinstate",
    "approvals",
    "approvals list",
    "approvals show",
    "approvals approve",
    "approvals deny",
    "check",
    "plan",
    "apply",
    "server inspect",
    "secret set",
    "log tail",
    "log show",
    "log trace",
    "log why",
    "log settle",
    "log verify",
    "log rebuild",
    "log replay",
    "log export",
    "recover",
    "status",
    "completions",
];

fn ambit(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ambit"))
        .args(arguments)
        .env("AMBIT_STATE", state)
        .env("COLUMNS", "100")
        .env_remove("AMBIT_CONFIG")
        .output()
        .unwrap()
}

#[test]
fn every_command_of_one_s_own_shows_an_example() {
    let directory = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let text = String::from_utf8(ambit(directory.path(), &arguments).stdout).unwrap();
        let has_no_commands = !text.contains("Commands:");
        let plain = ["status"];
        if has_no_commands && !plain.contains(&command) {
            assert!(
                text.contains("Example"),
                "`ambit {command} --help` shows no example"
            );
        }
    }
}

#[test]
fn an_error_says_what_to_do_and_scripts_can_tell_it_apart() {
    let directory = tempfile::tempdir().unwrap();
    let estate = directory.path().join("estate");
    fs::create_dir_all(estate.join("agents")).unwrap();
    fs::write(estate.join("estate.toml"), "[peeple.ada]\n").unwrap();
    let estate = estate.to_str().unwrap();
    let check = |arguments: &[&str], code: i32, parts: &[&str]| {
        let output = ambit(directory.path(), arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no `{part}` in: {text}");
        }
    };
    check(&["staus"], 2, &["unrecognized subcommand", "status"]);
    check(&["task", "start", "t"], 2, &["--for <AGENT>"]);
    let both = ["--attested", "--join-token"];
    check(
        &[&["task", "start", "t", "--for", "a"][..], &both].concat(),
        2,
        &["cannot be used with"],
    );
    check(
        &["task", "start", "t", "--for", "a", "--param", "x"],
        2,
        &["NAME=VALUE"],
    );
    check(&["revoke", "task", "x"], 2, &["--reason <REASON>"]);
    check(
        &["status"],
        6,
        &["no Ambit server answers", "ambit dev", "because:"],
    );
    check(&["status", "-o", "json"], 6, &["\"code\":\"unreachable\""]);
    check(
        &["check", estate],
        7,
        &["estate.toml:1:", "peeple", "1 problem in"],
    );
    check(
        &["check", estate, "-o", "jsonl"],
        7,
        &["\"line\":1", "\"code\":\"check_failed\""],
    );
    check(&["log", "verify", estate], 1, &["log.vkey", "--key"]);
    for offline in [
        &["log", "verify"][..],
        &["log", "rebuild"],
        &["log", "replay"],
        &["log", "export", "exported"],
        &["recover", "--reason", "x"],
    ] {
        let parts = ["is no state directory of a server", "--state"];
        check(offline, 1, &parts);
    }
    check(&[], 2, &["Commands:", "Exit codes:"]);
    check(
        &["dev", "/nowhere/at/all"],
        1,
        &["could not find the estate directory"],
    );
    check(
        &["serve", "--config", "/nowhere.toml"],
        1,
        &["/nowhere.toml", "--config"],
    );
    check(&["run", "--task", "t", "--for", "a"], 2, &["<COMMAND>"]);
}

#[test]
fn completions_are_printed_for_every_shell() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = ambit(directory.path(), &["completions", shell]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains("approvals"),
            "{shell}"
        );
        assert!(!text.contains("DemoArguments"));
    }
}

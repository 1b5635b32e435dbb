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

fn ambit(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ambit"))
        .args(arguments)
        .env("AMBIT_STATE", state)
        .env("COLUMNS", "100")
        .env_remove("AMBIT_CONFIG")
        .output()
        .unwrap()
}

/// Returns the help of `command` and of all commands below it, as the program itself lists them.
fn help(state: &Path, command: &[&str]) -> Vec<(String, String)> {
    let text = ambit(state, &[command, &["--help"]].concat());
    assert!(text.status.success(), "{command:?}");
    let text = String::from_utf8(text.stdout).unwrap();
    let listed = text.lines().skip_while(|it| *it != "Commands:").skip(1);
    let listed = listed.take_while(|it| !it.is_empty());
    // What a long description continues with is further in.
    let names = listed.filter_map(|it| it.strip_prefix("  ").filter(|it| !it.starts_with(' ')));
    let names = names.filter_map(|it| it.split(' ').next());
    let below: Vec<_> = names
        .filter(|it| *it != "help")
        .flat_map(|it| help(state, &[command, &[it]].concat()))
        .collect();
    let mut all = vec![(command.join(" "), text)];
    all.extend(below);
    all
}

#[test]
fn every_command_of_one_s_own_shows_an_example() {
    let directory = tempfile::tempdir().unwrap();
    let all = help(directory.path(), &[]);
    for deep in ["task start", "log why", "authority rotate"] {
        assert!(
            all.iter().any(|(it, _)| it == deep),
            "{deep} is not walked to"
        );
    }
    for (command, text) in all {
        assert!(
            text.contains("Commands:") || text.contains("Example"),
            "`ambit {command} --help` shows no example"
        );
    }
}

/// Returns the commands that the sources name: the words after a quoted `ambit`.
fn named(folder: &Path, found: &mut Vec<(String, Vec<String>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for rest in text.split("`ambit ").skip(1) {
            let words = rest.split('`').next().unwrap().split(' ');
            let is_word =
                |it: &&str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_lowercase());
            let words = words.take_while(is_word).map(str::to_owned).collect();
            found.push((path.display().to_string(), words));
        }
    }
}

#[test]
fn every_command_that_a_message_names_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let all = help(directory.path(), &[]);
    let mut found = Vec::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for entry in fs::read_dir(crates).unwrap() {
        named(&entry.unwrap().path().join("src"), &mut found);
    }
    assert!(found.len() > 100, "the sources are read");
    for (path, words) in found {
        // `ambit inner` is the program's own; a bare option is of every command.
        if words.is_empty() || words[0] == "inner" {
            continue;
        }
        let is_there = |words: &[String]| all.iter().any(|(it, _)| *it == words.join(" "));
        let command = words.get(..1).unwrap();
        let has_commands =
            |(it, text): &&(String, String)| *it == command.join(" ") && text.contains("Commands:");
        let is_group = words.len() > 1 && all.iter().any(|it| has_commands(&it));
        let named = if is_group {
            words.get(..2).unwrap()
        } else {
            command
        };
        assert!(is_there(named), "{path} names `ambit {}`", words.join(" "));
    }
}

#[test]
fn an_option_that_does_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], option: &str| {
        let output = ambit(directory.path(), arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        let part = format!("does nothing with --{option}; leave it out");
        assert!(text.contains(&part), "{arguments:?}: {text}");
    };
    check(&["demo", "--state", "x"], "state");
    check(&["-o", "json", "demo"], "output");
    check(&["check", "--control", "x", "estate"], "control");
    check(
        &["--server", "https://a.example", "check", "estate"],
        "server",
    );
    check(&["log", "verify", "--control", "x"], "control");
    check(
        &["dev", "--server", "https://a.example", "estate"],
        "server",
    );
    check(&["serve", "--control", "x"], "control");
    check(&["completions", "bash", "-o", "json"], "output");
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

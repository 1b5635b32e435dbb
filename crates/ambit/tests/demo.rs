//! `ambit demo`, run as its user would: in an empty directory, and its every promise looked for.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects must stop"
)]

use std::{
    fs,
    process::{Command, Output},
};

fn demo(path: Option<&str>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    command
        .arg("demo")
        .current_dir(directory.path())
        .env_remove("AMBIT_STATE");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().unwrap();
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo leaves nothing behind: {left:?}");
    output
}

/// Checks that `text` has `parts` in this order.
fn check_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("no `{part}` where it belongs in:\n{text}");
        };
        rest = after;
    }
}

#[test]
fn the_demo_shows_what_ambit_promises() {
    let output = demo(None);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    assert_eq!(errors, "");
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
    check_order(
        &text,
        &[
            "offered",
            "tickets__refund",
            "blocked",
            "allowed    tickets__get_ticket",
            "denied     mail__send_reply",
            "collector@evil.example",
            "argument_out_of_bounds",
            "held       tickets__refund",
            "approval_required",
            "shown      apr_",
            "\"amount_cents\":2500",
            "approved   by you",
            "allowed    tickets__refund",
            "held       tickets__refund",
            "approval_required",
            "allowed    mail__send_reply",
            "maria@example.com",
            "completed  task_",
            "denied     tickets__get_ticket",
            "task_ended",
            "revoked    task_",
            "1 call under way was cut",
            "cut        tickets__get_ticket id=7",
            "outcome unknown",
            "denied     tickets__get_ticket id=1042",
            "task_ended",
            "What reached the world",
            "refunded 2500 cents on ticket 1042",
            "sent mail to maria@example.com",
            "closed ticket 1042",
            "ambit log trace",
            "you started answer-ticket",
            "completed by you",
            "ambit log verify",
            "OK ambit.internal/log",
        ],
    );
    let (_, world) = text.split_once("What reached the world").unwrap();
    let (world, _) = world.split_once("ambit log trace").unwrap();
    assert_eq!(
        world.matches("done").count(),
        3,
        "nothing else reached the world: {world}"
    );
}

#[test]
fn without_bubblewrap_the_demo_says_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    let output = demo(empty.path().to_str());
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    check_order(
        &text,
        &[
            "open       bubblewrap is missing",
            "held       tickets__refund",
            "denied     the approval itself",
            "without containment",
            "held       tickets__refund",
            "containment none",
            "OK ambit.internal/log",
        ],
    );
    assert!(errors.contains("containment=none"), "{errors}");
    assert!(
        !text.contains("refunded 2500 cents"),
        "an approval beside an uncontained agent"
    );
}

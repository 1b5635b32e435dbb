//! One file of an estate, changed: it is read whole or refused, and what is read survives its archive.
//!
//! The input is the file's path in one line, then its text.

use std::sync::OnceLock;

use ambit_control::estate::{EstateFiles, read_archive};

use crate::{Target, halves};

pub(super) const TARGET: Target = Target {
    name: "estate",
    run,
    seeds,
    words: &[
        "owner = \"",
        "[tools.",
        "[people.",
        "roles = {",
        "[parameters.",
        "[[cases]]",
        "ttl = \"30m\"",
        "prefix",
        "between",
        "one_of",
        "[stdio]",
        "[http]",
        "url = \"https://",
        "\"inputSchema\":{",
    ],
};

fn run(bytes: &[u8]) {
    static DEMO: OnceLock<EstateFiles> = OnceLock::new();
    let Some((path, text)) = halves(bytes) else {
        return;
    };
    let demo = DEMO.get_or_init(|| EstateFiles::from_texts(FILES).unwrap_or_default());
    let Ok(loaded) = demo.clone().with_file(path, text).load() else {
        return;
    };
    let again = read_archive(&loaded.archive).expect("an archive reads back");
    assert_eq!(again.estate.digest, loaded.estate.digest);
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |(path, text): &(&str, &str)| format!("{path}\n{text}").into_bytes();
    FILES.iter().map(seed).collect()
}

/// The demo's estate.
pub(super) const FILES: [(&str, &str); 8] = [
    (
        "estate.toml",
        include_str!("../../../estates/demo/estate.toml"),
    ),
    (
        "agents/support-bot.toml",
        include_str!("../../../estates/demo/agents/support-bot.toml"),
    ),
    (
        "servers/mail.toml",
        include_str!("../../../estates/demo/servers/mail.toml"),
    ),
    (
        "servers/mail.tools.json",
        include_str!("../../../estates/demo/servers/mail.tools.json"),
    ),
    (
        "servers/tickets.toml",
        include_str!("../../../estates/demo/servers/tickets.toml"),
    ),
    (
        "servers/tickets.tools.json",
        include_str!("../../../estates/demo/servers/tickets.tools.json"),
    ),
    (
        "templates/answer-ticket.toml",
        include_str!("../../../estates/demo/templates/answer-ticket.toml"),
    ),
    (
        "tests/answer-ticket.toml",
        include_str!("../../../estates/demo/tests/answer-ticket.toml"),
    ),
];

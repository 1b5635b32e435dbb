//! The pages of `docs/reference` that say what the program says: written from it, or compared with it.
//!
//! `AMBIT_WRITE=1 cargo test -p ambit --test reference` writes the pages that are made from the program.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects must stop"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ambit_core::json::{self, Value};

#[test]
fn the_page_of_commands_is_what_help_says() {
    let mut page = "# Commands\n\nWhat `--help` says.\n".to_owned();
    describe(&[], &mut page);
    check_page("docs/reference/cli.md", &page);
}

#[test]
fn the_page_of_limits_is_what_the_source_says() {
    let mut page = "# Limits\n\nEvery named maximum. What goes beyond one is refused, and the refusal says so, \
        unless its line says\nwhat happens instead: it waits, or something older makes room. What took longer than a time is over.\n"
        .to_owned();
    for (name, what) in CRATES {
        let mut files = Vec::new();
        sources(
            &workspace().join("crates").join(name).join("src"),
            &mut files,
        );
        let limits: Vec<_> = files.iter().flat_map(|path| limits(path)).collect();
        if limits.is_empty() {
            continue;
        }
        page += &format!("\n## {name}\n\n{what}\n\n| limit | value | what |\n|---|---|---|\n");
        for (name, value, what) in limits {
            page += &format!("| `{name}` | {value} | {what} |\n");
        }
    }
    check_page("docs/reference/limits.md", &page);
}

#[test]
fn the_page_of_metrics_is_what_the_program_tells() {
    let mut page = "# Metrics\n\nWhat `/metrics` on the health address (`doors.health`) says, in Prometheus' text format. Counters and \
        histograms begin at the start of the server, and what is told apart by a label is there from the beginning. No name of an agent, a \
        person, a server or a task stands here: telemetry is a copy for those who run Ambit, and the log is the record.\n\n\
        | metric | kind | told apart by | what it says |\n|---|---|---|---|\n"
        .to_owned();
    for metric in ambit_control::api::METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
        page += &format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind(),
            labels.join(", "),
            metric.help
        );
    }
    let bounds = ambit_engine::BUCKETS
        .iter()
        .map(|it| it.as_secs_f64().to_string());
    page += &format!(
        "\nThe buckets of histograms end at {} seconds.\n",
        bounds.collect::<Vec<_>>().join(", ")
    );
    page += WORTH_WATCHING;
    check_page("docs/reference/metrics.md", &page);
}

/// What an operator asks first, as Prometheus asks it.
const WORTH_WATCHING: &str = "
## Worth watching

```promql
ambit_ready == 0                                             # nothing can be decided
increase(ambit_acts_total{end=\"unknown\"}[5m]) > 0          # `ambit status` names them
ambit_holds_waiting > 0                                      # a person is waited for
rate(ambit_denials_total[5m])                                # by reason
histogram_quantile(0.99, rate(ambit_call_added_seconds_bucket[5m]))
histogram_quantile(0.99, rate(ambit_revocation_seconds_bucket[1d]))
ambit_state_free_bytes < 1e9
ambit_authority_expires_in_seconds < 7 * 86400
```
";

#[test]
fn the_page_of_records_has_every_kind_with_its_keys() {
    let mut written = BTreeMap::new();
    for file in fs::read_dir(workspace().join("crates/ambit-audit/tests/golden")).unwrap() {
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let leaf = json::parse(line.as_bytes()).unwrap();
            let kind = leaf.get("kind").and_then(Value::as_str).unwrap();
            gather(kind, &leaf, &mut written);
        }
    }
    for keys in written.values_mut() {
        keys.retain(|key: &String| !["v", "kind", "at"].contains(&key.as_str()));
    }
    assert_eq!(described(&read("docs/reference/record.md")), written);
}

/// The crates whose maxima users meet, in the order of the page.
const CRATES: [(&str, &str); 10] = [
    ("ambit-core", "Of everything."),
    ("ambit-control", "Of estates and the control API."),
    ("ambit-policy", "Of policies and their answers."),
    (
        "ambit-gateway",
        "Of the doors for agents, and of upstreams.",
    ),
    ("ambit-engine", "Of the sequencer."),
    ("ambit-identity", "Of certificates and keys."),
    ("ambit-broker", "Of what is sealed."),
    ("ambit-audit", "Of the log."),
    ("ambit-store", "Of the database."),
    ("ambit", "Of the program."),
];

fn describe(command: &[String], page: &mut String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ambit"))
        .args(command)
        .arg("--help")
        .env("COLUMNS", "100")
        .env_remove("AMBIT_CONFIG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let title = [&["ambit".to_owned()], command].concat().join(" ");
    // Some lines are padded to the end.
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    *page += &format!(
        "\n## {title}\n\n```text\n{}\n```\n",
        text.join("\n").trim_end()
    );
    let listed = text.iter().skip_while(|it| **it != "Commands:").skip(1);
    let listed = listed.take_while(|it| !it.is_empty());
    // What a long description continues with is further in.
    let names = listed.filter_map(|it| it.strip_prefix("  ").filter(|it| !it.starts_with(' ')));
    for name in names
        .filter_map(|it| it.split(' ').next())
        .filter(|it| *it != "help")
    {
        describe(&[command, &[name.to_owned()]].concat(), page);
    }
}

/// Collects the files under `folder`, without tests and demos.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "demo", "arbitrary"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            sources(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Returns name, value and meaning of each maximum in a file. A file named `limits.rs` has nothing else.
fn limits(path: &Path) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let all = path.ends_with("limits.rs");
    let mut found = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(word) = line.strip_prefix("///") {
            words.push(word.trim());
            continue;
        }
        let declared = line.split_once("const ").filter(|(before, _)| {
            before.is_empty() || before.starts_with("pub") && !before.contains('<')
        });
        if let Some((name, rest)) = declared.and_then(|(_, it)| it.split_once(": "))
            && (all || name.ends_with("_MAX"))
        {
            let value = rest.split_once(" = ").unwrap().1.trim_end_matches(';');
            let what = words.join(" ").replace(['[', ']'], "");
            assert!(!what.is_empty(), "{name} says nothing of itself");
            found.push((name.to_owned(), value_of(name, value), what));
        }
        words.clear();
    }
    found
}

/// Returns a value as readers read it; one that follows from others stays as it is written.
fn value_of(name: &str, text: &str) -> String {
    let of_time = text
        .split_once("::from_")
        .and_then(|(_, it)| it.split_once('('));
    if let Some((unit, rest)) = of_time {
        let number = product(rest.trim_end_matches(')')).unwrap();
        let seconds = if unit.starts_with("milli") {
            number as f64 / 1000.0
        } else {
            number as f64
        };
        return match seconds as u64 {
            it if it > 0 && it % 86_400 == 0 => format!("{} h", it / 3600),
            it if it > 60 && it % 60 == 0 => format!("{} min", it / 60),
            _ => format!("{seconds} s"),
        };
    }
    let Some(number) = product(text) else {
        return format!("`{text}`");
    };
    match number {
        it if name.contains("BYTES") && it % (1 << 20) == 0 => format!("{} MiB", it >> 20),
        it if name.contains("BYTES") && it % (1 << 10) == 0 => format!("{} KiB", it >> 10),
        it if name.contains("BYTES") => format!("{it} bytes"),
        it => it.to_string(),
    }
}

fn product(text: &str) -> Option<u64> {
    let factors = text
        .split(" * ")
        .map(|it| it.replace('_', "").parse::<u64>().ok());
    factors.product()
}

/// Gathers the keys of `value` under `name`, and those of the objects in it. Facts are free; all that is sealed is alike.
fn gather(name: &str, value: &Value, written: &mut BTreeMap<String, BTreeSet<String>>) {
    let Some(members) = value.as_object() else {
        return;
    };
    let is_sealed = members.contains_key("commitment");
    let name = if is_sealed { "sealed" } else { name };
    let keys = written.entry(name.to_owned()).or_default();
    keys.extend(members.keys().cloned());
    for (key, member) in members.iter().filter(|(key, _)| *key != "facts") {
        gather(key, member, written);
    }
}

/// Returns the keys in the tables of a page, by the quoted names in the headings above them.
fn described(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for section in page.split("\n## ").skip(1) {
        let (heading, text) = section.split_once('\n').unwrap();
        let rows = text.lines().filter_map(|it| it.strip_prefix("| `"));
        let keys: BTreeSet<String> = rows
            .map(|it| it.split('`').next().unwrap().to_owned())
            .collect();
        for name in heading.split('`').skip(1).step_by(2) {
            all.insert(name.to_owned(), keys.clone());
        }
    }
    all
}

fn check_page(path: &str, wanted: &str) {
    if std::env::var_os("AMBIT_WRITE").is_some() {
        fs::write(workspace().join(path), wanted).unwrap();
    }
    assert!(
        read(path) == wanted,
        "{path} is out of date; run `AMBIT_WRITE=1 cargo test -p ambit --test reference`"
    );
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_default()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

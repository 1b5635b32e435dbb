//! The metrics of a real server, read by the letter of Prometheus' text format, version 0.0.4.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use ambit_control::api::METRICS;

use crate::world::World;

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"NAME","arguments":{}}}"#;

/// Calls what the file says.
const CALLS: &str = "for file in note.json burn.json; do curl -s -m 10 -H 'content-type: application/json' \
    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
    --data-binary @$file ${AMBIT_MCP_URL%/mcp}/s/notes/mcp; done";

/// One metric as it was scraped: its kind, and the value of each sample by its name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<String, f64>,
}

#[test]
fn metrics_say_what_happened_in_the_form_that_prometheus_reads() {
    let world = World::start(None);
    world.seal("notes-token", "a-token");
    let work = world.directory.path().join("work");
    for name in ["note", "burn"] {
        let call = CALL.replace("NAME", name);
        fs::write(work.join(format!("{name}.json")), call).unwrap();
    }
    let before = scrape(&world);
    let known: BTreeSet<_> = METRICS.iter().map(|it| it.name).collect();
    let told: BTreeSet<_> = before.keys().map(String::as_str).collect();
    assert_eq!(told, known, "each is told, and nothing else");
    for metric in METRICS {
        assert_eq!(before[metric.name].kind, metric.kind(), "{}", metric.name);
    }
    let (text, code) = world.inside(CALLS);
    assert_eq!(code, 0, "{text}");
    let revoke = ["revoke", "agent", "reader", "--reason", "a test"];
    assert!(world.ambit(&revoke).status.success());
    assert!(
        !world
            .ambit(&["run", "--task", "look", "--", "true"])
            .status
            .success()
    );
    let after = scrape(&world);
    let grown = |name: &str, sample: &str, by: f64| {
        let value = |it: &BTreeMap<String, Family>| it[name].samples[&format!("{name}{sample}")];
        assert_eq!(value(&after) - value(&before), by, "{name}{sample}");
    };
    grown(
        "ambit_decisions_total",
        "{action=\"call_tool\",outcome=\"allow\"}",
        1.0,
    );
    grown(
        "ambit_decisions_total",
        "{action=\"call_tool\",outcome=\"deny\"}",
        1.0,
    );
    grown(
        "ambit_decisions_total",
        "{action=\"call_tool\",outcome=\"hold\"}",
        0.0,
    );
    grown("ambit_denials_total", "{reason=\"tool_unknown\"}", 1.0);
    grown("ambit_denials_total", "{reason=\"agent_revoked\"}", 1.0);
    grown("ambit_acts_total", "{end=\"done\"}", 1.0);
    grown("ambit_call_added_seconds", "_count", 2.0);
    grown("ambit_tasks_started_total", "", 1.0);
    grown("ambit_svids_issued_total", "{kind=\"x509\"}", 1.0);
    grown("ambit_revocations_total", "{target=\"agent\"}", 1.0);
    grown("ambit_revocation_seconds", "_count", 1.0);
    grown("ambit_tasks_live", "", 0.0);
    let now = |name: &str| after[name].samples[name];
    assert_eq!(now("ambit_ready"), 1.0);
    assert!(now("ambit_log_records") > before["ambit_log_records"].samples["ambit_log_records"]);
    assert!(now("ambit_database_bytes") > 4096.0);
    assert!(now("ambit_state_free_bytes") > 0.0);
    let text = format!("{after:?}");
    for name in ["task_0", "dec_0", "inst_0", "reader", "notes", "look"] {
        assert!(!text.contains(name), "names stand elsewhere: {name}");
    }
}

/// Scrapes, and refuses what is not by the letter of the format, or against its conventions.
fn scrape(world: &World) -> BTreeMap<String, Family> {
    let mut stream = TcpStream::connect(world.health).unwrap();
    let host = world.health;
    let ask = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(head.to_ascii_lowercase().contains(kind), "{head}");
    assert!(body.ends_with('\n') && !body.contains('\r'));
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            let fresh = families.insert(name.to_owned(), Family::default());
            assert!(fresh.is_none(), "told twice: {line}");
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = families.get_mut(name).unwrap();
            assert!(
                family.kind.is_empty() && family.samples.is_empty(),
                "{line}"
            );
            kind.clone_into(&mut family.kind);
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let family = families.get_mut(&current).unwrap();
            let part = name.strip_prefix(&current).unwrap();
            match family.kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&part), "{line}"),
                _ => assert_eq!(part, "", "{line}"),
            }
            check_labels(sample.strip_prefix(name).unwrap());
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{line}");
            let again = family.samples.insert(sample.to_owned(), value);
            assert!(again.is_none(), "told twice: {line}");
        }
    }
    families
        .iter()
        .for_each(|(name, family)| check_family(name, family));
    families
}

/// Reads `{name="value",…}` whole; nothing that a value needs escapes for is told.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|it| it.strip_suffix('}'))
        .unwrap();
    for pair in inner.split(',') {
        let (name, value) = pair.split_once('=').unwrap();
        let is_word = |it: &str, more: &str| {
            let fits = |it: char| it.is_ascii_alphanumeric() || more.contains(it);
            !it.is_empty() && it.chars().all(fits)
        };
        assert!(is_word(name, "_"), "{text}");
        let value = value
            .strip_prefix('"')
            .and_then(|it| it.strip_suffix('"'))
            .unwrap();
        assert!(is_word(value, "_.+-"), "{text}");
    }
}

fn check_family(name: &str, family: &Family) {
    let is_word = name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
    assert!(is_word && name.starts_with("ambit_"), "{name}");
    assert!(!family.samples.is_empty(), "{name} has no sample");
    match family.kind.as_str() {
        "counter" => assert!(name.ends_with("_total"), "{name}"),
        "gauge" => assert!(!name.ends_with("_total"), "{name}"),
        kind => {
            assert_eq!(kind, "histogram", "{name}");
            assert!(name.ends_with("_seconds"), "{name}: base units");
            let bound = |sample: &str| {
                let bound = sample.strip_prefix(&format!("{name}_bucket{{le=\""))?;
                bound.strip_suffix("\"}")?.parse::<f64>().ok()
            };
            let samples = family.samples.iter();
            let mut buckets: Vec<_> = samples
                .filter_map(|(it, count)| Some((bound(it)?, *count)))
                .collect();
            buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
            assert!(buckets.is_sorted_by_key(|it| it.1), "{name} is cumulative");
            let (last, all) = buckets.last().unwrap();
            assert!(last.is_infinite(), "{name} has a last bucket");
            assert_eq!(family.samples.get(&format!("{name}_count")), Some(all));
            assert_eq!(family.samples.len(), buckets.len() + 2, "{name}");
        }
    }
}

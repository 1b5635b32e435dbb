//! Spans of calls, as an OpenTelemetry collector hears them.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Any,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;

use crate::world::World;

/// What an agent writes into an argument.
const CANARY: &str = "canary-5b90d1-canary";

/// Calls what the file says.
const CALLS: &str = "for file in note.json odd.json; do curl -s -m 10 -H 'content-type: application/json' \
    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' \
    --data-binary @$file ${AMBIT_MCP_URL%/mcp}/s/notes/mcp; echo; done";

/// What was posted, as it came.
type Posted = Arc<Mutex<Vec<Vec<u8>>>>;

/// Listens as a collector does (OTLP/HTTP with protobuf).
fn collector() -> (SocketAddr, Posted) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let posted = Posted::default();
    let kept = Arc::clone(&posted);
    thread::spawn(move || {
        for stream in listener.incoming() {
            receive(&mut stream.unwrap(), &kept);
        }
    });
    (address, posted)
}

fn receive(stream: &mut TcpStream, posted: &Posted) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    let length = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    posted.lock().unwrap().push(body);
    // An empty message is the answer of a collector that took everything.
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Starts a server that sends its spans to `address`.
fn world(address: SocketAddr) -> World {
    let telemetry = format!("\n[telemetry]\notlp_endpoint = \"http://{address}\"\n");
    let world = World::start_configured("telemetry.example", &telemetry, |root| {
        let (path, own) = (root.join("estate/estate.toml"), rustix::process::getuid());
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}unix_uid = {}\n", own.as_raw())).unwrap();
    });
    world.seal("notes-token", "a-token");
    let call = |arguments: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"note\",\"arguments\":{arguments}}}}}"
        )
    };
    let work = world.directory.path().join("work");
    fs::write(work.join("note.json"), call("{}")).unwrap();
    fs::write(
        work.join("odd.json"),
        call(&format!("{{\"x\":\"{CANARY}\"}}")),
    )
    .unwrap();
    world
}

fn attributes(span: &Span) -> BTreeMap<&str, &str> {
    let texts = span.attributes.iter().filter_map(|it| {
        let Some(Any::StringValue(text)) = it.value.as_ref()?.value.as_ref() else {
            return None;
        };
        Some((it.key.as_str(), text.as_str()))
    });
    texts.collect()
}

#[test]
fn every_call_is_a_span_with_its_decision_and_without_its_arguments() {
    let (address, posted) = collector();
    let mut world = world(address);
    let (text, code) = world.inside(CALLS);
    assert_eq!(code, 0, "{text}");
    let tail = world.ambit(&["log", "tail", "--lines", "50", "-o", "jsonl"]);
    let tail = String::from_utf8(tail.stdout).unwrap();
    // The end sends what waits.
    world.stop();
    let posted = posted.lock().unwrap();
    let all = posted.concat();
    let holds = |it: &str| all.windows(it.len()).any(|part| part == it.as_bytes());
    assert!(holds("ambit.decision") && !holds(CANARY) && !holds("the note itself"));
    let requests = posted
        .iter()
        .map(|it| ExportTraceServiceRequest::decode(it.as_slice()).unwrap());
    let resources: Vec<_> = requests.flat_map(|it| it.resource_spans).collect();
    for resource in &resources {
        let named = resource.resource.iter().flat_map(|it| &it.attributes);
        assert!(
            named.clone().any(|it| it.key == "service.name"),
            "{resource:?}"
        );
    }
    let scopes = resources.into_iter().flat_map(|it| it.scope_spans);
    let spans: Vec<Span> = scopes.flat_map(|it| it.spans).collect();
    let calls: Vec<&Span> = spans.iter().filter(|it| it.name == "call").collect();
    let [allowed, denied] = calls.as_slice() else {
        panic!("two calls: {spans:?}")
    };
    for (call, outcome, steps) in [
        (allowed, "allow", &["decide", "record", "upstream"][..]),
        (denied, "deny", &["decide"]),
    ] {
        let told = attributes(call);
        assert_eq!(told["ambit.action"], "call_tool", "{told:?}");
        assert_eq!(
            (told["ambit.server"], told["ambit.tool"]),
            ("notes", "note")
        );
        assert_eq!(told["ambit.outcome"], outcome);
        assert!(
            tail.contains(told["ambit.decision"]),
            "the log has it: {told:?}"
        );
        assert_eq!(call.kind, SpanKind::Server as i32);
        assert!(call.parent_span_id.is_empty() && call.events.is_empty());
        let below = spans.iter().filter(|it| it.parent_span_id == call.span_id);
        let mut below: Vec<_> = below.map(|it| it.name.as_str()).collect();
        below.sort_unstable();
        assert_eq!(below, steps);
        let within = spans.iter().filter(|it| it.trace_id == call.trace_id);
        assert_eq!(within.count(), steps.len() + 1, "one trace for each call");
    }
    assert_eq!(attributes(allowed)["ambit.end"], "done");
    assert_eq!(attributes(denied)["ambit.reason"], "arguments_invalid");
}

#[test]
fn a_collector_that_is_away_keeps_nobody_from_acting() {
    let away = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut world = world(away);
    let (text, code) = world.inside(CALLS);
    assert!(code == 0 && text.contains("the note itself"), "{text}");
    world.stop();
    assert!(
        world.complaints().contains("spans were not sent"),
        "{}",
        world.complaints()
    );
}

//! A secret arrives where it should, and nowhere else.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use ambit_core::json::{self, Value};

use crate::{
    clients::Report,
    world::{Upstream, World, judge, tool},
};

/// The credential. Nothing but the upstream may ever see it.
const CANARY: &str = "canary-5d0e77a1-canary";

/// What the agent does: it shows all that it can see of itself, and makes a call of each kind.
const SCRIPT: &str = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/self/maps /proc/self/mountinfo \
    2>/dev/null | tr '\\0' '\\n'; url=${AMBIT_MCP_URL%/mcp}/s/mirror/mcp; \
    for how in keep result error note garble leave; do \
    \"$1\" \"$2\" \"$url\" allow --tool mirror --arguments \"{\\\"how\\\":\\\"$how\\\"}\" --era \"$3\" 2>&1; \
    done; true";

#[test]
fn a_secret_is_seen_by_its_upstream_alone() {
    let mirror = Mirror::start();
    let upstream = Upstream::http_with_secret("mirror", &mirror.url, "mirror-token");
    let world = World::start_prepared(&[upstream], "[tools.mirror.mirror]\n", seal);
    let mut seen = Vec::new();
    for era in ["auto", "legacy"] {
        let (python, client) = (tool("python"), judge("clients/mcp_client.py"));
        let arguments = [python.to_str().unwrap(), client.to_str().unwrap(), era];
        let output = world.run(SCRIPT, &arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let reports: Vec<Report> = text
            .lines()
            .filter(|it| it.starts_with("{\"client\""))
            .map(Report::read)
            .collect();
        assert_eq!(reports.len(), 6, "{text}");
        reports[0].check(&[&["kept"]]);
        // A server that gives the secret back is no reason to show it.
        let leaking = reports.iter().skip(1).filter(|it| it.error.is_none());
        assert_eq!(leaking.count(), 0, "{reports:?}");
        keep(&mut seen, "the agent", output);
    }
    let heads = mirror.heads.lock().unwrap().join("");
    assert!(heads.contains(&format!("Bearer {CANARY}")), "{heads}");
    of_people(&world, &mut seen);
    seen.push((
        "the server's log".to_owned(),
        world.complaints().into_bytes(),
    ));
    collect(&world.path("state"), &mut seen);
    collect(&world.path("work"), &mut seen);
    for name in ["state/db.sqlite", "state/db.sqlite-wal", "state/mark"] {
        let kept = seen.iter().any(|(place, _)| place.ends_with(name));
        assert!(kept, "the search is of the right things: {name}");
    }
    let leaks: Vec<&str> = seen
        .iter()
        .filter(|(_, bytes)| {
            bytes
                .windows(CANARY.len())
                .any(|it| it == CANARY.as_bytes())
        })
        .map(|(place, _)| place.as_str())
        .collect();
    assert!(leaks.is_empty(), "the secret is in {leaks:?}");
}

type Seen = Vec<(String, Vec<u8>)>;

fn keep(seen: &mut Seen, place: &str, output: Output) {
    seen.push((format!("what {place} printed"), output.stdout));
    seen.push((format!("the errors of {place}"), output.stderr));
}

fn seal(world: &World) {
    let mut command = world.command(&["secret", "set", "mirror-token"]);
    let mut sealing = command.stdin(Stdio::piped()).spawn().unwrap();
    sealing
        .stdin
        .take()
        .unwrap()
        .write_all(CANARY.as_bytes())
        .unwrap();
    assert!(sealing.wait().unwrap().success());
}

/// Asks everything that people can ask about what happened.
fn of_people(world: &World, seen: &mut Seen) {
    let mut ask = |arguments: &[&str]| {
        let output = world.command(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        keep(seen, &arguments.join(" "), output);
        text
    };
    ask(&["status", "-o", "json"]);
    let tasks = json::parse(ask(&["task", "list", "-o", "json"]).as_bytes()).unwrap();
    for task in tasks.as_array().unwrap() {
        let task = task.get("task").and_then(Value::as_str).unwrap();
        ask(&["log", "trace", task, "-o", "json"]);
        ask(&["log", "trace", task]);
        ask(&["task", "show", task, "-o", "json"]);
    }
    let records = ask(&["log", "tail", "-n", "1000", "-o", "jsonl"]);
    for line in records.lines() {
        let record = json::parse(line.as_bytes()).unwrap();
        let index = record.get("index").map(Value::to_canonical).unwrap();
        ask(&["log", "show", &index, "-o", "json"]);
    }
    let decisions: std::collections::BTreeSet<&str> = records
        .match_indices("dec_")
        .map(|(at, _)| records.split_at(at).1.split('"').next().unwrap())
        .collect();
    assert!(!decisions.is_empty());
    for decision in decisions {
        ask(&["log", "why", decision, "-o", "json"]);
    }
}

/// Reads every file below `folder`, whatever its name: database, write-ahead log, mark, keys.
fn collect(folder: &Path, seen: &mut Seen) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, seen);
        } else if path.is_file() {
            seen.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

/// An MCP server that gives its caller's credential back in several ways.
struct Mirror {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(&mut stream.unwrap(), &kept));
            }
        });
        Self { url, heads }
    }
}

fn serve(stream: &mut TcpStream, heads: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |it| it.trim().parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let secret = head.lines().find_map(|it| it.split_once("Bearer "));
        let secret = secret.map(|it| it.1.to_owned()).unwrap_or_default();
        heads.lock().unwrap().push(head);
        let Some((kind, answer)) = answer(&body, &secret) else {
            return;
        };
        let status = if answer.is_empty() {
            "202 Accepted"
        } else {
            "200 OK"
        };
        let length = answer.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{answer}"
        );
        stream.write_all(text.as_bytes()).unwrap();
    }
}

/// Returns the content type and body of the answer; none to hang up.
fn answer(body: &[u8], secret: &str) -> Option<(&'static str, String)> {
    let message = json::parse(body).unwrap();
    let json = "application/json";
    let Some(id) = message.get("id").map(Value::to_canonical) else {
        return Some((json, String::new()));
    };
    let text = |it: &str| format!(r#"{{"content":[{{"type":"text","text":"{it}"}}]}}"#);
    let result = match message.get("method").and_then(Value::as_str) {
        Some("initialize") => INITIALIZED.to_owned(),
        Some("tools/list") => TOOLS.to_owned(),
        Some("tools/call") => {
            let how = message
                .get("params")
                .unwrap()
                .get("arguments")
                .unwrap()
                .get("how");
            match how.and_then(Value::as_str).unwrap() {
                "keep" => text("kept"),
                "result" => text(secret),
                "error" => {
                    let error = format!(r#""error":{{"code":-32000,"message":"no {secret}"}}"#);
                    return Some((json, format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#)));
                }
                "note" => {
                    let note = format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","data":"{secret}"}}}}"#
                    );
                    let result = format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#,
                        text("noted")
                    );
                    return Some((
                        "text/event-stream",
                        format!("data: {note}\n\ndata: {result}\n\n"),
                    ));
                }
                "garble" => return Some((json, format!("{secret} is no JSON"))),
                _ => return None,
            }
        }
        _ => {
            let error = r#""error":{"code":-32601,"message":"no such method"}"#;
            return Some((json, format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#)));
        }
    };
    Some((
        json,
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
    ))
}

const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"mirror","version":"1"}}"#;
const TOOLS: &str = r#"{"tools":[{"name":"mirror","description":"Gives back what it is told to.","inputSchema":{"type":"object","properties":{"how":{"type":"string"}},"required":["how"]}}]}"#;

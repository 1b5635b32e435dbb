//! What a core file of an agent holds: what the agent knew, and no secret.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
};

use ambit_core::json::{self, Value};
use rustix::process::{Pid, Resource, getrlimit, getuid};

use crate::{life::with_free_template, world::World};

/// An ordinary local user, where distributions have `nobody`.
const ORDINARY_USER: u32 = 65_534;
/// What must never be seen by an agent.
const CANARY: &str = "canary-27e90b-canary";
/// What every core of the agent holds: the search is of the right thing.
const KNOWN: &str = "the note itself";
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;

/// Calls a tool whose upstream wants the credential, and waits with the answer in hand.
const CONTAINED: &str = r#"
import os, sys, urllib.request
url = os.environ['AMBIT_MCP_URL'].removesuffix('/mcp') + '/s/notes/mcp'
headers = {
    'content-type': 'application/json',
    'accept': 'application/json, text/event-stream',
    'mcp-protocol-version': '2025-11-25',
}
request = urllib.request.Request(url, open('call.json', 'rb').read(), headers)
answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()
print('called', flush=True)
sys.stdin.readline()
print(answer)
"#;

/// Does as much with an identity of its own, and crashes as programs do.
const ON_ITS_OWN: &str = r#"
import http.client, os, resource, ssl, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
tls = ssl.create_default_context(cafile='svid/bundle.pem')
tls.load_cert_chain('svid/svid.pem', 'svid/key.pem')
tls.check_hostname = False
gateway = http.client.HTTPSConnection(sys.argv[1].removeprefix('https://'), context=tls)
headers = {
    'content-type': 'application/json',
    'accept': 'application/json, text/event-stream',
    'mcp-protocol-version': '2025-11-25',
}
gateway.request('POST', '/s/notes/mcp', open('call.json', 'rb').read(), headers)
answer = gateway.getresponse().read()
print(answer, flush=True)
sys.stdin.readline()
os.abort()
"#;

#[test]
fn the_memory_of_a_contained_agent_holds_no_secret() {
    let root = getuid().is_root();
    let world = world(root.then_some(ORDINARY_USER));
    let work = world.directory.path().join("work");
    fs::write(work.join("agent.py"), CONTAINED).unwrap();
    let contained = ["--containment", "namespaces"];
    let mut runner = world
        .run(&contained, &["/usr/bin/python3", "agent.py"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut printed = BufReader::new(runner.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "called\n");
    check(&world, &memory(descendant(&runner, "python3").unwrap()));
    drop(runner.stdin.take());
    assert!(runner.wait().unwrap().success());
}

/// The runner lowers the limit for good, so the process that crashes is one that its user runs without it. What a core file
/// would hold is read from the process itself, as debuggers do, so that it is looked at wherever the machine puts such
/// files; where the kernel writes one beside the process, that is looked at, too.
#[test]
fn a_core_file_of_an_agent_holds_no_secret() {
    let world = world(None);
    let work = world.directory.path().join("work");
    fs::write(work.join("agent.py"), ON_ITS_OWN).unwrap();
    assert!(
        world
            .ambit(&["apply", &with_free_template(&world)])
            .status
            .success()
    );
    let start = ["task", "start", "free", "--for", "reader", "--svid", "svid"];
    assert!(world.ambit(&start).status.success());
    let status = json::parse(&world.ambit(&["status", "-o", "json"]).stdout).unwrap();
    let gateway = status.get("gateway").and_then(Value::as_str).unwrap();
    let mut agent = Command::new("/usr/bin/python3");
    agent.args(["agent.py", gateway]).current_dir(&work);
    let agent = agent.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut agent = agent.spawn().unwrap();
    let mut line = String::new();
    let mut printed = BufReader::new(agent.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    assert!(line.contains(KNOWN), "{line}");
    check(&world, &memory(Pid::from_child(&agent)));
    drop(agent.stdin.take());
    let status = agent.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    if let Cores::Beside = cores() {
        assert!(status.core_dumped());
        check(&world, &core_file(&work));
    }
}

fn world(user: Option<u32>) -> World {
    let world = World::start(user);
    world.seal("notes-token", CANARY);
    fs::write(world.directory.path().join("work/call.json"), CALL).unwrap();
    world
}

/// Where the kernel puts core files.
enum Cores {
    /// Into the working directory of the process that ends.
    Beside,
    /// To a place or a program of the machine, or nowhere: the memory that was read stands for the file.
    Elsewhere,
}

fn cores() -> Cores {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let beside = !pattern.trim().is_empty() && !pattern.contains(['/', '|', '@']);
    if beside && getrlimit(Resource::Core).maximum.is_none() {
        return Cores::Beside;
    }
    Cores::Elsewhere
}

/// Checks that `core` holds the answer, and neither the upstream's credential nor a key of the server.
fn check(world: &World, core: &[u8]) {
    let heads = world.upstream.heads.lock().unwrap().join("");
    assert!(heads.contains(CANARY), "the gateway injects it: {heads}");
    let holds = |it: &[u8]| core.windows(it.len()).any(|part| part == it);
    assert!(holds(KNOWN.as_bytes()), "it is not all of it");
    assert!(!holds(CANARY.as_bytes()), "it holds the credential");
    for name in ["keys/log", "keys/sealing"] {
        let key = fs::read(world.state().join(name)).unwrap();
        assert!(!holds(&key), "it holds {name}");
    }
}

/// Finds the process called `name` below `runner`.
fn descendant(runner: &std::process::Child, name: &str) -> Option<Pid> {
    let mut wanted = vec![runner.id()];
    while let Some(parent) = wanted.pop() {
        for task in fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
            let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap();
            for child in children.split_whitespace() {
                let called = fs::read_to_string(format!("/proc/{child}/comm")).unwrap();
                let child: u32 = child.parse().unwrap();
                if called.starts_with(name) {
                    return Pid::from_raw(child.cast_signed());
                }
                wanted.push(child);
            }
        }
    }
    None
}

/// Returns what of the process's memory can be read, as a debugger would write it into a core file.
fn memory(process: Pid) -> Vec<u8> {
    let folder = Path::new("/proc").join(process.to_string());
    let memory = fs::File::open(folder.join("mem")).unwrap();
    let mut all = Vec::new();
    for line in fs::read_to_string(folder.join("maps")).unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (low, high) = range.split_once('-').unwrap();
        let [low, high] = [low, high].map(|it| u64::from_str_radix(it, 16).unwrap());
        if !rest.starts_with('r') {
            continue;
        }
        let mut part = vec![0; usize::try_from(high - low).unwrap()];
        // Some pages are the kernel's and can't be read by anybody.
        let read = memory.read_at(&mut part, low).unwrap_or(0);
        part.truncate(read);
        all.extend(part);
    }
    all
}

/// Returns the only core file in `folder`.
fn core_file(folder: &Path) -> Vec<u8> {
    let paths = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let files = paths
        .filter(|it| it.is_file())
        .map(|it| fs::read(it).unwrap());
    let mut cores: Vec<_> = files.filter(|it| it.starts_with(b"\x7fELF")).collect();
    assert_eq!(cores.len(), 1, "the kernel writes one core file");
    cores.remove(0)
}

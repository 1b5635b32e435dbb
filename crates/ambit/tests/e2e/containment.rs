//! A contained command can't leave the path: each way out is tried from inside, against a real server.
//!
//! Every test runs as whoever runs the tests. Root's tests are run again as an ordinary user.

use std::{fs, process::Stdio, time::Duration};

use crate::world::World;
use ambit_core::json::{self, Value};

/// `nobody`, where distributions have it.
const ORDINARY_USER: u32 = 65_534;
/// What must never be seen by an agent.
const CANARY: &str = "canary-8f31c2-canary";

/// Runs `test` as this user, and as an ordinary one when this one is root.
fn for_each_user(test: impl Fn(&World)) {
    test(&World::start(None));
    if rustix::process::getuid().is_root() {
        test(&World::start(Some(ORDINARY_USER)));
    }
}

/// Checks that `script`, run inside, prints `wanted` and ends with `code`.
fn check(world: &World, script: &str, wanted: &str, code: i32) {
    let (text, ended) = world.inside(script);
    assert_eq!((text.trim(), ended), (wanted, code), "{script}");
}

#[test]
fn the_command_s_end_is_the_runner_s_end() {
    for_each_user(|world| {
        check(world, "echo out; exit 0", "out", 0);
        check(world, "exit 7", "", 7);
        check(world, "kill -TERM $$", "", 143);
        check(world, "read line; echo \"$line\"", "", 0);
        let (text, code) = world.inside("exec /no/such/program");
        assert!(code == 127 && text.contains("not found"), "{text}");
        let output = world.run(&[], &["no-such-program"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(127), "{text}");
        assert!(
            text.contains("no program `no-such-program`") && text.contains("--readable"),
            "{text}"
        );
    });
}

#[test]
fn nothing_of_ambit_is_within_reach() {
    for_each_user(|world| {
        let state = world.state();
        let state = state.display();
        for file in [
            "control.sock",
            "db.sqlite",
            "mark",
            "keys/log",
            "keys/sealing",
            "keys/authority.pem",
        ] {
            assert!(
                world.state().join(file).exists(),
                "the test looks for the right thing: {file}"
            );
            check(
                world,
                &format!("test -e {state}/{file} || echo gone"),
                "gone",
                0,
            );
        }
        // Even a copy of the program finds no server to speak to.
        for command in ["approvals list", "status", "task list", "log verify"] {
            let (text, code) = world.inside(&format!("/run/ambit/ambit --state {state} {command}"));
            assert!(code == 6 || code == 1, "{command}: {text}");
        }
        check(
            world,
            "test -e /run/ambit/runner.sock || echo gone",
            "gone",
            0,
        );
    });
}

#[test]
fn no_other_process_is_within_reach() {
    for_each_user(|world| {
        let (text, code) = world.inside("cat /proc/[0-9]*/comm | sort -u | tr '\\n' ' '");
        assert_eq!(code, 0, "{text}");
        for name in text.split_whitespace() {
            assert!(
                ["ambit", "bwrap", "sh", "cat", "sort", "tr"].contains(&name),
                "{text}"
            );
        }
        let server = world.server_process();
        let runner = std::process::id();
        check(
            world,
            &format!("kill -0 {server} 2>/dev/null || echo gone"),
            "gone",
            0,
        );
        check(
            world,
            &format!("kill -0 {runner} 2>/dev/null || echo gone"),
            "gone",
            0,
        );
    });
}

/// ASI05: namespaces of one's own lead nowhere, but they reach parts of the kernel that nothing else does.
#[test]
fn asi05_no_namespaces_can_be_made_inside() {
    for_each_user(|world| {
        for kind in ["--user", "--user --map-root-user --mount", "--net"] {
            let script = format!("unshare {kind} true 2>/dev/null && echo made || echo none");
            check(world, &script, "none", 0);
        }
    });
}

/// Tries to get hold of each process named on the command line, and of a child of its own to show that it could.
const SEIZE: &str = r#"
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
class Part(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
there, here = ctypes.create_string_buffer(b'there'), ctypes.create_string_buffer(5)
remote, local = (Part(ctypes.addressof(it), 5) for it in (there, here))
def opened(path):
    try: open(path, 'rb').close()
    except OSError as error: ctypes.set_errno(error.errno); return -1
    return 0
def tried(pid):
    for name, act in (
        ('attach', lambda: libc.ptrace(16, pid, None, None)),
        ('seize', lambda: libc.ptrace(0x4206, pid, None, None)),
        ('read', lambda: libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)),
        ('write', lambda: libc.process_vm_writev(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)),
        ('mem', lambda: opened(f'/proc/{pid}/mem')),
        ('environ', lambda: opened(f'/proc/{pid}/environ')),
    ):
        done = act()
        yield name + ' ' + (errno.errorcode[ctypes.get_errno()] if done < 0 else 'done')
child = os.fork()
if child == 0: signal.pause()
print('own:', *tried(child), sep=' ')
for pid in sys.argv[1:]: print(pid + ':', *tried(int(pid)), sep=' ')
os.kill(child, signal.SIGKILL)
"#;

#[test]
fn no_other_process_can_be_got_hold_of() {
    for_each_user(|world| {
        fs::write(world.directory.path().join("work/seize.py"), SEIZE).unwrap();
        let (server, outside) = (world.server_process(), std::process::id());
        let (text, _) = world.inside(&format!("/usr/bin/python3 seize.py 1 {server} {outside}"));
        let mut lines = text.lines();
        let own = lines.next().unwrap_or_default();
        assert_eq!(
            own, "own: attach done seize EPERM read done write done mem done environ done",
            "{text}"
        );
        assert_eq!(lines.clone().count(), 3, "{text}");
        for line in lines {
            let refused = ["EPERM", "ESRCH", "EACCES", "ENOENT"];
            let words: Vec<_> = line.split(' ').skip(1).collect();
            assert_eq!(words.len(), 12, "{text}");
            let all = words
                .chunks(2)
                .all(|it| it.last().is_some_and(|code| refused.contains(code)));
            assert!(all, "{text}");
        }
    });
}

#[test]
fn the_only_network_is_the_door() {
    for_each_user(|world| {
        let (host, port) = (world.upstream.address.ip(), world.upstream.address.port());
        let direct =
            format!("bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null || echo unreachable");
        check(world, &direct, "unreachable", 0);
        let (text, _) = world.inside("grep -v lo: /proc/net/dev | grep -c :");
        assert_eq!(text.trim(), "0", "no interface but the loopback");
        assert_eq!(
            world.upstream.heads.lock().unwrap().len(),
            0,
            "nothing reached the upstream"
        );
    });
}

/// Looks through the memory and environment of all processes that it may read, except its own.
const SEARCH: &str = r#"
import glob, os, sys
wanted = [bytes.fromhex(it)[::-1] for it in sys.argv[1:]]
for pid in [it.split('/')[2] for it in glob.glob('/proc/[0-9]*')]:
    if int(pid) == os.getpid(): continue
    parts = []
    for name in ['environ', 'cmdline']:
        try: parts.append(open(f'/proc/{pid}/{name}', 'rb').read())
        except OSError: pass
    try:
        memory = open(f'/proc/{pid}/mem', 'rb')
        for line in open(f'/proc/{pid}/maps'):
            low, high = (int(it, 16) for it in line.split()[0].split('-'))
            if 'r' not in line.split()[1] or high - low > 1 << 28: continue
            try:
                memory.seek(low)
                parts.append(memory.read(high - low))
            except (OSError, ValueError, OverflowError): pass
    except OSError: pass
    for part in parts:
        for place, it in enumerate(wanted):
            if it in part: print('found', place, 'in', pid)
print('searched', len(wanted))
"#;

/// Sends `head` to the door by hand and prints the first line of the answer.
fn ask_door(head: &str) -> String {
    let bare = "${AMBIT_MCP_URL#http://127.0.0.1:}";
    format!(
        "port={bare}; port=${{port%/mcp}}; bash -c 'exec 3<>/dev/tcp/127.0.0.1/'$port'; \
         printf \"{head}\\r\\n\\r\\n\" >&3; head -n1 <&3' | tr -d '\\r'"
    )
}

#[test]
fn the_door_serves_the_command_and_nobody_in_its_name() {
    for_each_user(|world| {
        let line = |head: &str| world.inside(&ask_door(head)).0;
        let own = "Host: 127.0.0.1:'$port'";
        for (head, status) in [
            (
                "POST /mcp HTTP/1.1\\r\\nHost: evil.example\\r\\nContent-Length: 0".to_owned(),
                "403",
            ),
            (
                format!(
                    "POST /mcp HTTP/1.1\\r\\n{own}\\r\\nOrigin: http://evil.example\\r\\nContent-Length: 0"
                ),
                "403",
            ),
            (format!("GET /v1/presence HTTP/1.1\\r\\n{own}"), "403"),
            (format!("GET /v1/task/complete HTTP/1.1\\r\\n{own}"), "403"),
            (
                "GET http://unlisted.example/ HTTP/1.1\\r\\nHost: unlisted.example".to_owned(),
                "403",
            ),
            (
                "CONNECT unlisted.example:443 HTTP/1.1\\r\\nHost: unlisted.example:443".to_owned(),
                "403",
            ),
        ] {
            let answer = line(&head);
            assert!(
                answer.contains(&format!("HTTP/1.1 {status}")),
                "{head}: {answer}"
            );
        }
        let upstream = world.upstream.address;
        let answer = line(&format!(
            "CONNECT {upstream} HTTP/1.1\\r\\nHost: {upstream}"
        ));
        assert!(
            answer.contains("HTTP/1.1 403"),
            "CONNECT to an upstream: {answer}"
        );
    });
}

#[test]
fn a_call_goes_through_the_door_and_no_secret_comes_back() {
    for_each_user(|world| {
        world.seal("notes-token", CANARY);
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;
        fs::write(world.directory.path().join("work/call.json"), call).unwrap();
        let script = "curl -s -m 10 \
             -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
             -H 'mcp-protocol-version: 2025-11-25' -H 'authorization: Bearer of-the-agent' \
             --data-binary @call.json ${AMBIT_MCP_URL%/mcp}/s/notes/mcp";
        let (text, code) = world.inside(script);
        assert!(code == 0 && text.contains("the note itself"), "{text}");
        let heads = world.upstream.heads.lock().unwrap().join("");
        assert!(
            heads.contains(CANARY),
            "the gateway injects the credential: {heads}"
        );
        assert!(
            !heads.contains("of-the-agent"),
            "what the agent sends as a credential goes nowhere"
        );
        // The environment and the memory of every process inside. What is looked for is spelled
        // backwards, so that the search does not find itself.
        let keys = ["keys/log", "keys/sealing"].map(|it| fs::read(world.state().join(it)).unwrap());
        let wanted: Vec<String> = [CANARY.as_bytes().to_vec()]
            .into_iter()
            .chain(keys)
            .map(|bytes| bytes.iter().rev().map(|it| format!("{it:02x}")).collect())
            .collect();
        fs::write(world.directory.path().join("work/search.py"), SEARCH).unwrap();
        let search = format!(
            "sleep 5 & env; /usr/bin/python3 search.py {}; kill $!",
            wanted.join(" ")
        );
        let (text, _) = world.inside(&search);
        assert!(text.contains("AMBIT_MCP_URL"), "{text}");
        assert!(
            text.contains("searched 3") && !text.contains("found"),
            "{text}"
        );
        assert!(!text.contains(CANARY), "{text}");
        for name in ["AMBIT_STATE", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS"] {
            assert!(!text.contains(&format!("{name}=")), "{name}");
        }
        for file in ["db.sqlite", "db.sqlite-wal", "mark"] {
            let bytes = fs::read(world.state().join(file)).unwrap_or_default();
            let found = bytes
                .windows(CANARY.len())
                .any(|it| it == CANARY.as_bytes());
            assert!(!found, "{file} holds the secret in the clear");
        }
    });
}

#[test]
fn the_machine_s_own_settings_are_out_of_reach() {
    for_each_user(|world| {
        for file in [
            "kernel/core_pattern",
            "kernel/modprobe",
            "vm/drop_caches",
            "kernel/hostname",
        ] {
            // Only asked, never written: a hole would be the machine's, not the test's.
            check(
                world,
                &format!("test -w /proc/sys/{file} && echo writable"),
                "",
                1,
            );
        }
        check(world, "ulimit -c", "0", 0);
        check(
            world,
            "grep CapEff /proc/self/status | tr -d '\\t'",
            "CapEff:0000000000000000",
            0,
        );
        check(world, "grep -c NoNewPrivs.*1 /proc/self/status", "1", 0);
        check(
            world,
            "ls /root /home/agent /var/lib 2>/dev/null | grep -v : | tr -d '\\n'",
            "",
            0,
        );
        check(world, "test -e /etc/shadow || echo gone", "gone", 0);
        check(
            world,
            "touch /usr/x 2>/dev/null || echo refused",
            "refused",
            0,
        );
        check(world, "echo kept > kept", "", 0);
        let kept = fs::read_to_string(world.directory.path().join("work/kept")).unwrap();
        assert_eq!(kept, "kept\n", "the working directory is the command's");
    });
}

#[test]
fn a_client_configuration_is_there_while_the_command_runs() {
    for_each_user(|world| {
        let file = "/tmp/mcp.json";
        let mut run = world.run(&["--mcp-config", file], &["cat", file]);
        let output = run.output().unwrap();
        let value = json::parse(&output.stdout).unwrap();
        let url = value
            .get("mcpServers")
            .and_then(|it| it.get("ambit")?.get("url"));
        assert!(url.and_then(Value::as_str).unwrap().ends_with("/mcp"));
    });
}

fn state_of_the_only_task(world: &World) -> Option<String> {
    let tasks = json::parse(&world.ambit(&["task", "list", "-o", "json"]).stdout).unwrap();
    let task = tasks.as_array()?.first()?;
    task.get("state").and_then(Value::as_str).map(str::to_owned)
}

#[test]
fn a_task_ends_with_its_runner_even_when_that_is_killed() {
    let world = World::start(None);
    let mut runner = world
        .run(&[], &["sh", "-c", "echo ready; sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(runner.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(state_of_the_only_task(&world).as_deref(), Some("active"));
    runner.kill().unwrap();
    runner.wait().unwrap();
    // Issue of a promise: at most five seconds. Looked at until then, not waited for blindly.
    let ended = (0..50).any(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        state_of_the_only_task(&world).as_deref() != Some("active")
    });
    assert!(ended, "the task outlived its runner by five seconds");
    let records = world.ambit(&["log", "tail", "-o", "jsonl"]);
    let text = String::from_utf8(records.stdout).unwrap();
    assert!(text.contains("cancelled"), "{text}");
}

#[test]
fn signals_reach_the_command() {
    let world = World::start(None);
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut runner = world
        .run(&[], &["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = runner.stdout.take().unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(&mut out, &mut line).unwrap();
    let id = rustix::process::Pid::from_child(&runner);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    assert_eq!(rest, "caught\n");
    assert_eq!(runner.wait().unwrap().code(), Some(9));
}

#[test]
fn a_template_that_wants_containment_gets_it() {
    let world = World::start(None);
    let mut run = world.run(&["--containment", "none"], &["true"]);
    let output = run.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("wants its agent contained"), "{text}");
}

#[test]
fn the_state_directory_is_no_place_to_work() {
    let world = World::start(None);
    let state = world.state();
    for directory in [state.as_path(), world.directory.path()] {
        let run = ["run", "--task", "look", "--for", "reader", "--workdir"];
        let output =
            world.ambit(&[&run[..], &[directory.to_str().unwrap(), "--", "true"]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("Ambit keeps its state"), "{text}");
    }
    let tasks = world.ambit(&["task", "list", "-o", "json"]);
    assert_eq!(tasks.stdout, b"[]\n", "a refused run leaves no task behind");
}

#[test]
fn no_file_left_open_reaches_the_command() {
    let world = World::start(None);
    crate::life::apply_free_template(&world);
    let kept = world.directory.path().join("kept");
    fs::write(&kept, CANARY).unwrap();
    let look = ["sh", "-c", "cat <&9; echo; readlink /proc/self/fd/9"];
    for (task, containment) in [("look", "namespaces"), ("free", "none")] {
        let options = ["run", "--quiet", "--for", "reader", "--task", task];
        let options = [&options[..], &["--containment", containment, "--"], &look];
        let run = world.command(&options.concat());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "exec 9<\"$0\"; exec \"$@\""]).arg(&kept);
        shell.arg(run.get_program()).args(run.get_args());
        shell.env("AMBIT_STATE", world.state());
        shell.current_dir(world.directory.path().join("work"));
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, "\n/dev/null\n", "{containment}: {output:?}");
    }
}

//! `ambit login` with a person in front of a real browser: at a provider of others, and by passkey where there is none.
//!
//! Two command lines ask: one on a laptop, whose whole address is opened, and one on a machine without a screen, whose code
//! is read there and typed. `judges/browser/login.mjs` is the person.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use ambit_core::json::{self, Value};
use tempfile::TempDir;

use super::{
    consent::CHROMIUM,
    provider::{Provider, modules},
    world::{Upstream, World, judge, succeed, tool, workspace},
};

/// A command line that waits for its person.
struct CommandLine {
    home: TempDir,
    waiting: Child,
    errors: BufReader<ChildStderr>,
    /// Where the person goes, with the code in it.
    whole: String,
    code: String,
}

impl CommandLine {
    /// Types `ambit login` in a home of its own, and reads what it shows.
    fn log_in(world: &World, name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let roots = world.roots();
        let arguments = ["login", world.public(), "--name", name, "--roots"];
        let mut login = command(home.path(), &arguments);
        login
            .arg(roots)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut waiting = login.spawn().unwrap();
        let mut errors = BufReader::new(waiting.stderr.take().unwrap());
        let (mut whole, mut line) = (String::new(), String::new());
        while errors.read_line(&mut line).unwrap() > 0 {
            if line.trim().starts_with(world.public()) {
                line.trim().clone_into(&mut whole);
            }
            if line.contains("It shows the code ") {
                break;
            }
            line.clear();
        }
        let code = line
            .split_once("the code ")
            .unwrap()
            .1
            .split_once(';')
            .unwrap()
            .0;
        Self {
            home,
            waiting,
            errors,
            whole,
            code: code.to_owned(),
        }
    }

    /// Waits until the login is there.
    fn logged_in(&mut self) {
        let status = self.waiting.wait().unwrap();
        let mut told = String::new();
        self.errors.read_to_string(&mut told).unwrap();
        assert!(status.success(), "{told}");
        let mut words = String::new();
        let mut output = self.waiting.stdout.take().unwrap();
        output.read_to_string(&mut words).unwrap();
        assert!(words.contains("logged in at http"), "{words}");
        assert!(self.login_file().exists());
    }

    fn login_file(&self) -> PathBuf {
        self.home.path().join(".local/state/ambit/login.json")
    }

    fn ambit(&self, arguments: &[&str]) -> Output {
        command(self.home.path(), arguments).output().unwrap()
    }
}

impl Drop for CommandLine {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.waiting.kill();
        let _ = self.waiting.wait();
    }
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
    command.args(arguments).env("HOME", home);
    for name in [
        "XDG_STATE_HOME",
        "AMBIT_STATE",
        "AMBIT_CONTROL",
        "AMBIT_CONFIG",
        "AMBIT_SERVER",
    ] {
        command.env_remove(name);
    }
    command
}

fn check(output: &Output, code: i32, part: &str) {
    let texts = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&texts);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(part), "no `{part}` in: {text}");
}

/// Has two command lines log in while the person sits in front of the browser, and returns what the browser told.
/// `more` is what else the person knows; `then` is what they do by a command line that acts as them.
fn go(world: &World, more: [(&str, Value); 3], then: impl FnOnce(&CommandLine)) -> Value {
    let mut laptop = CommandLine::log_in(world, "a laptop");
    let mut server = CommandLine::log_in(world, "a machine <b>without</b> a screen");
    let text = |path: &Path| Value::from(path.to_str().unwrap());
    let asked = [
        ("modules", text(&modules())),
        ("chromium", CHROMIUM.into()),
        ("shots", text(&workspace().join("target/login"))),
        ("issuer", world.public().into()),
        ("laptop", laptop.whole.as_str().into()),
        ("address", format!("{}/device", world.public()).into()),
        ("code", server.code.as_str().into()),
    ];
    let asked = Value::object(asked.into_iter().chain(more));
    let path = world.path("asked.json");
    fs::write(&path, asked.to_canonical()).unwrap();
    let mut node = Command::new(tool("node"));
    node.arg(judge("browser/login.mjs")).arg(path);
    let output = node.output().unwrap();
    let said = succeed(&output, &["login.mjs"]);
    let told = json::parse(said.lines().last().unwrap().as_bytes()).unwrap();
    assert!(told.get("error").is_none(), "{told:#?}");
    for line in [&mut laptop, &mut server] {
        line.logged_in();
    }
    // The person ended the older of the two on the account's page: the laptop's.
    check(&laptop.ambit(&["status"]), 5, "ambit login");
    check(&server.ambit(&["status"]), 0, "");
    check(&server.ambit(&["approvals", "list"]), 0, "");
    check(
        &server.ambit(&["run", "--task", "x", "--", "true"]),
        2,
        "this machine",
    );
    then(&server);
    check(&server.ambit(&["logout"]), 0, "logged out");
    assert!(!server.login_file().exists());
    check(&server.ambit(&["logout"]), 0, "nobody is logged in here");
    check(&laptop.ambit(&["logout"]), 0, "logged out");
    told
}

/// Checks what the person saw, in words, and that every page can be used by everybody.
fn saw(told: &Value, wanted: &[(&str, &str)]) {
    let usual = [
        ("asked", "A command line asks to act as ada"),
        ("asked", "a laptop"),
        ("let", "acts as you now"),
        ("wrong", "code"),
        ("account", "Command lines that act as you"),
        ("out", "Nobody is signed in here"),
    ];
    for (name, part) in usual.iter().chain(wanted) {
        let text = told.get(name).and_then(Value::as_str).unwrap_or_default();
        assert!(text.contains(part), "{name}: no `{part}` in {text}");
    }
    let count = |name: &str| {
        let text = told.get(name).and_then(Value::as_str).unwrap();
        text.matches("login_").count()
    };
    assert_eq!((count("account"), count("after")), (2, 1));
    for name in ["violations", "strangers", "complaints"] {
        assert_eq!(told.get(name).unwrap().to_canonical(), "[]", "{name}");
    }
}

/// Gives ada one more proof than the local user.
pub(super) fn declare(world: &World, proof: &str) {
    let path = world.path("estate/estate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replacen("roles", &format!("{proof}roles"), 1)).unwrap();
}

const GRANTS: &str = "[tools.everything.echo]\n";

/// What a person reads who has a passkey, and what tries with it go wrong.
const BY_PASSKEY: [(&str, &str); 6] = [
    ("enrolled", "is registered, and the link is spent"),
    ("spent", "The link is over or was used"),
    ("account", "your passkey pk_"),
    ("unverified", "The browser gave no passkey"),
    ("without", "The browser gave no passkey"),
    ("copied", "there is a copy of the passkey"),
];

/// Makes a link for ada, and returns what she knows with it.
fn with_a_link(world: &World) -> [(&'static str, Value); 3] {
    let offered = world.done(&["people", "enroll", "ada", "-o", "json"]);
    let offered = json::parse(offered.as_bytes()).unwrap();
    [
        ("link", offered.get("link").unwrap().clone()),
        ("provider", Value::Null),
        ("name", "ada".into()),
    ]
}

#[test]
fn a_person_of_a_provider_logs_command_lines_in() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("provider.key");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
    ]);
    succeed(&openssl.arg(&key).output().unwrap(), &["openssl"]);
    let provider = Provider::planned();
    // Ambit proves itself by a key, whose public half the provider fetches.
    let settings = format!("{}key = \"{}\"\n", provider.settings(), key.display());
    let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
    let mut beside = None;
    let world = World::start_configured(&settings, &upstreams, GRANTS, |world| {
        beside = Some(provider.start_for_key(world));
        let subject = format!(
            "oidc = {{ issuer = \"{}\", subject = \"ada\" }}\n",
            provider.url()
        );
        declare(world, &subject);
    });
    let more = [
        ("provider", provider.url().into()),
        ("name", "ada".into()),
        ("link", Value::Null),
    ];
    let told = go(&world, more, |_| ());
    saw(&told, &[("account", &provider.url())]);
    drop(beside);
}

#[test]
fn a_person_with_a_passkey_logs_command_lines_in() {
    let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
    let settings = "\n[outbound]\ninner_networks = []\n";
    let world = World::start_configured(settings, &upstreams, GRANTS, |_| ());
    let told = go(&world, with_a_link(&world), |_| ());
    saw(&told, &BY_PASSKEY);
    let listed = world.done(&["people", "passkeys", "list"]);
    assert!(listed.contains("ada") && listed.contains("pk_"), "{listed}");
    let listed = world.done(&["people", "passkeys", "list", "-o", "json"]);
    let at = listed.find("pk_").unwrap();
    let passkey: String = listed.chars().skip(at).take(29).collect();
    let removed = world.done(&["people", "passkeys", "remove", &passkey]);
    assert!(removed.contains("removed"), "{removed}");
    let listed = world.done(&["people", "passkeys", "list"]);
    assert!(listed.contains("There is no passkey"), "{listed}");
}

/// Calls a tool that is held, waits for a line, and calls it again.
const TWICE: &str = "call() { curl -s -m 20 -H 'content-type: application/json' \
    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2025-11-25' -d '{\"jsonrpc\":\"2.0\",\"id\":1,\
    \"method\":\"tools/call\",\"params\":{\"name\":\"get-sum\",\"arguments\":{\"a\":1,\"b\":2}}}' \
    ${AMBIT_MCP_URL%/mcp}/s/everything/mcp; echo; }; call; read line; call";

/// On a laptop, with nothing but an estate: `ambit dev`, a link, a passkey, a login, and a yes.
#[test]
fn a_person_alone_approves_with_a_passkey() {
    let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
    let held = "[tools.everything.echo]\n[tools.everything.get-sum]\napproval = \"held\"\n";
    let world = World::start_embedded(&upstreams, held, |world| {
        let path = world.path("estate/templates/judge.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("another_person", "anyone")).unwrap();
    });
    let mut agent = world.run(TWICE, &[]);
    let mut agent = agent
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = BufReader::new(agent.stdout.take().unwrap()).lines();
    let held = answers.next().unwrap().unwrap();
    let at = held.find("apr_").unwrap();
    let approval: String = held.chars().skip(at).take(30).collect();
    let task = world.active_task();
    let told = go(&world, with_a_link(&world), |line| {
        check(&line.ambit(&["approvals", "list"]), 0, &approval);
        check(&line.ambit(&["approvals", "show", &approval]), 0, "get-sum");
        check(
            &line.ambit(&["approvals", "approve", &approval]),
            0,
            "approved",
        );
    });
    saw(&told, &BY_PASSKEY);
    agent.stdin.take().unwrap().write_all(b"\n").unwrap();
    let done = answers.next().unwrap().unwrap();
    assert!(done.contains("The sum of 1 and 2 is 3"), "{done}");
    assert!(agent.wait().unwrap().success());
    let story = world.done(&["log", "trace", &task]);
    assert!(story.contains("ada approved apr_"), "{story}");
}

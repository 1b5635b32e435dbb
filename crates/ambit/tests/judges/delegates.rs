//! Workloads with SVIDs of the Workload API, each a client on a library of others: they prove themselves by JWT-SVID or by
//! X509-SVID, and one takes a part of the other's task by token exchange (RFC 8693).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ambit_core::json::{self, Value};

use super::{
    ports::gateway,
    provider::modules,
    world::{JUDGE, Upstream, World, judge, succeed, tool},
};

/// The agent that takes parts.
const SECOND: &str = "second";
const GRANTS: &str = "[tools.everything.echo]\n[tools.everything.get-sum]\n\n\
    [delegation]\nto = [\"second\"]\ndepth_max = 1\n";

/// A world with two agents, each of which is whatever one copy of Python runs.
struct Team {
    world: World,
    runs: [PathBuf; 2],
    gateway: String,
}

impl Team {
    fn open() -> Self {
        let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
        let world = World::start_prepared(&upstreams, "", |world| {
            let template = world.path("estate/templates/judge.toml");
            let text = fs::read_to_string(&template).unwrap();
            fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
        });
        let runs = [JUDGE, SECOND].map(|agent| own_python(&world, agent));
        let agent = fs::read_to_string(world.path("estate/agents/judge.toml")).unwrap();
        let known = runs.each_ref().map(|it| registered(it));
        let [first, second] = known.map(|it| format!("{agent}{it}"));
        let second = second.replacen("templates", "parts_of = [\"judge\"]\ntemplates", 1);
        fs::write(world.path("estate/agents/judge.toml"), first).unwrap();
        fs::write(world.path("estate/agents/second.toml"), second).unwrap();
        world.grant(GRANTS);
        Self {
            gateway: gateway(&world),
            world,
            runs,
        }
    }

    /// Has both agents' tasks wait for their workloads, runs `program` with what it must know, and returns what it says.
    fn run(&self, mut program: Command, library: &str, bound: &str) -> Value {
        for agent in [JUDGE, SECOND] {
            self.world
                .done(&["task", "start", JUDGE, "--for", agent, "--attested"]);
        }
        let text = |path: &Path| Value::from(path.to_str().unwrap());
        let source = judge("workload/source.py");
        let asked = Value::object([
            ("library", library.into()),
            ("bound", bound.into()),
            ("modules", text(&modules())),
            ("issuer", self.world.public().into()),
            ("gateway", self.gateway.as_str().into()),
            ("ca", text(&self.world.roots())),
            ("source", [text(&source)].into_iter().collect()),
            ("runs", self.runs.iter().map(|it| text(it)).collect()),
            ("folder", text(&self.world.path("work"))),
            ("agent", SECOND.into()),
            ("server", "everything".into()),
            ("tool", "echo".into()),
            ("other", "get-sum".into()),
            ("arguments", Value::object([("message", "hello".into())])),
        ]);
        let path = self.world.path("asked.json");
        fs::write(&path, asked.to_canonical()).unwrap();
        let socket = format!(
            "unix://{}",
            self.world.path("state/workload.sock").display()
        );
        program
            .arg(path)
            .env("SPIFFE_ENDPOINT_SOCKET", socket)
            .env("PYTHONPATH", packages())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let told = succeed(&program.output().unwrap(), &[library]);
        json::parse(told.trim().as_bytes()).unwrap()
    }
}

/// Makes a copy of Python that only one agent runs, and returns its program.
fn own_python(world: &World, agent: &str) -> PathBuf {
    let folder = world.path(&format!("python-{agent}"));
    let mut python = Command::new(tool("python"));
    python.args(["-m", "venv", "--copies", "--without-pip"]);
    succeed(&python.arg(&folder).output().unwrap(), &["venv"]);
    folder.join("bin/python3").canonicalize().unwrap()
}

/// Returns how the estate knows the workload that `program` runs.
fn registered(program: &Path) -> String {
    let uid = rustix::process::getuid().as_raw();
    let program = program.display();
    format!("\n[[workload]]\nuid = {uid}\npath = \"{program}\"\n")
}

/// Returns where the judges' packages for Python are.
fn packages() -> String {
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let told = Command::new(tool("python")).args(["-c", ask]).output();
    succeed(&told.unwrap(), &["packages"]).trim().to_owned()
}

/// Checks what came of each step, whichever the library and the proof.
fn check(told: &Value, kind: &str) {
    assert!(told.get("error").is_none(), "{told:?}");
    let text = |name| told.get(name).and_then(Value::as_str).unwrap_or_default();
    let list = |name| {
        let list = told.get(name).and_then(Value::as_array).unwrap();
        list.to_owned()
    };
    for it in list("token_types") {
        assert_eq!(it.as_str().unwrap().to_lowercase(), kind, "{told:?}");
    }
    let says = [
        ("called", "Echo: hello"),
        // ASI03: another task's token, another client, a part that was taken. RFC 8693 §2.2.2 names the code.
        ("spliced", "invalid_request delegate_mismatch"),
        ("by_another", "invalid_request delegate_mismatch"),
        ("issued", "urn:ietf:params:oauth:token-type:access_token"),
        ("twice", "invalid_request delegation_used"),
        ("called_by_part", "Echo: hello"),
        ("outside", "tool_not_granted"),
        ("with_another_key", "invalid_token"),
        ("with_none", "invalid_token"),
        ("called_by_next", "Echo: hello"),
        ("given_up_by_another", "invalid_grant"),
        ("given_up", "invalid_token"),
        ("called_by_last", "Echo: hello"),
        ("late", "task_ended"),
        ("own", "Echo: hello"),
    ];
    for (name, part) in says {
        assert!(text(name).contains(part), "no `{part}` in {name}: {told:?}");
    }
    let active = told.get("active").unwrap().to_canonical();
    assert_eq!(active, "[true,false,false]");
    // The second took it as itself, below the first.
    let [first, second] = list("names").try_into().unwrap();
    assert_eq!(list("actor"), [second, first]);
}

fn by_node(library: &str, bound: &str, kind: &str) {
    let mut node = Command::new(tool("node"));
    node.arg(judge("oauth/delegates.mjs"));
    check(&Team::open().run(node, library, bound), kind);
}

#[test]
fn oauth4webapi_takes_a_part_by_jwt_svid() {
    by_node("oauth4webapi", "dpop", "dpop");
}

#[test]
fn oauth4webapi_takes_a_part_by_x509_svid() {
    by_node("oauth4webapi", "mtls", "bearer");
}

#[test]
fn openid_client_takes_a_part_by_jwt_svid() {
    by_node("openid-client", "dpop", "dpop");
}

#[test]
fn openid_client_takes_a_part_by_x509_svid() {
    by_node("openid-client", "mtls", "bearer");
}

#[test]
fn authlib_takes_a_part_by_x509_svid() {
    let mut python = Command::new(tool("python"));
    python.arg(judge("oauth/delegates.py"));
    check(&Team::open().run(python, "authlib", "mtls"), "bearer");
}

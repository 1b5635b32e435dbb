//! OAuth clients of others get tokens, use them and give them up.

use std::{fs, path::PathBuf, process::Command};

use ambit_core::json::{self, Value};
use ambit_identity::{
    SvidKey,
    jose::{KeyUse, SigningKey},
};

use super::{
    authorization::{Run, judged, scenarios},
    world::{JUDGE, Upstream, World, judge, succeed, tool, tools},
};

/// A world with a client that is a run of its agent, and what the client must know.
pub(crate) struct Desk {
    pub(crate) world: World,
    ca: PathBuf,
    resource: String,
}

impl Desk {
    pub(crate) fn open() -> Self {
        Self::open_with("", ["", ""])
    }

    /// Opens it with more `settings` of the server, more of the estate's first file, and more `bounds` of the template.
    fn open_with(settings: &str, [estate, bounds]: [&str; 2]) -> Self {
        let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
        let grants = "[tools.everything.echo]\n";
        let world = World::start_configured(settings, &upstreams, grants, |_| ());
        let template = world.path("estate/templates/judge.toml");
        let text = fs::read_to_string(&template).unwrap();
        let bounds = format!("\"optional\"{bounds}");
        fs::write(template, text.replace("\"required\"", &bounds)).unwrap();
        let people = world.path("estate/estate.toml");
        let text = fs::read_to_string(&people).unwrap();
        fs::write(people, format!("{estate}{text}")).unwrap();
        let agent = world.path(&format!("estate/agents/{JUDGE}.toml"));
        let text = fs::read_to_string(&agent).unwrap();
        let token = "[[token]]\nissuer = \"builds\"\nclaims = { sub = \"repo:example/notes:ref:refs/heads/*\" }\n";
        fs::write(agent, format!("{text}\n{token}")).unwrap();
        let issuer = format!(
            "issuer = \"{BUILDS}\"\naudience = \"{AUDIENCE}\"\njwks = '{}'\n",
            keys().to_canonical()
        );
        fs::create_dir_all(world.path("estate/issuers")).unwrap();
        fs::write(world.path("estate/issuers/builds.toml"), issuer).unwrap();
        let client = format!(
            "title = \"A judge\"\nowner = \"ada\"\nagents = [\"{JUDGE}\"]\nruns = \"{JUDGE}\"\n\
             redirect_uris = [\"{BACK}\"]\njwks = '{}'\n",
            keys().to_canonical()
        );
        fs::create_dir_all(world.path("estate/clients")).unwrap();
        fs::write(world.path("estate/clients/desk.toml"), client).unwrap();
        world.done(&["apply", "../estate"]);
        let start = ["task", "start", JUDGE, "--for", JUDGE];
        let started = world.done(&[&start[..], &["--svid", "svid", "-o", "json"]].concat());
        let started = json::parse(started.as_bytes()).unwrap();
        let text = |name| started.get(name).and_then(Value::as_str).unwrap();
        let port = text("gateway").rsplit(':').next().unwrap();
        let resource = format!("https://localhost:{port}/s/everything/mcp");
        world.done(&["task", "end", text("task")]);
        let ca = world.roots();
        Self {
            world,
            ca,
            resource,
        }
    }

    /// Starts a task for which the client may come, and runs `program` with what it must know.
    fn run(&self, program: Command, library: &str) -> Value {
        self.run_with(program, library, None)
    }

    fn run_with(&self, mut program: Command, library: &str, workload: Option<Value>) -> Value {
        self.wait_for_it();
        let path = self.asked(library, workload);
        program.arg(path).env("NODE_EXTRA_CA_CERTS", &self.ca);
        let told = succeed(&program.output().unwrap(), &["a client"]);
        let told = json::parse(told.trim().as_bytes()).unwrap();
        assert!(told.get("error").is_none(), "{told:?}");
        told
    }

    /// Opens one whose tokens are bearer tokens, where people could sign in.
    pub(crate) fn open_bearer() -> Self {
        let bearer = [
            "[tokens]\nbearer = true\n\n",
            "\nbinding = \"bearer\"\nbearer = \"acts\"",
        ];
        Self::open_with(SIGN_IN, bearer)
    }

    /// Starts a task for which the client may come.
    pub(crate) fn wait_for_it(&self) {
        self.world
            .done(&["task", "start", JUDGE, "--for", JUDGE, "--attested"]);
    }

    /// Writes down what the client must know.
    pub(crate) fn asked(&self, library: &str, workload: Option<Value>) -> PathBuf {
        let asked = Value::object([
            ("issuer", self.world.public().into()),
            ("resource", self.resource.as_str().into()),
            ("client_id", "desk".into()),
            ("redirect_uri", BACK.into()),
            ("pem", pkcs8().to_pem().as_str().into()),
            ("tool", "echo".into()),
            ("arguments", Value::object([("message", "hello".into())])),
            ("ca", self.ca.to_str().unwrap().into()),
            ("library", library.into()),
            ("workload", workload.unwrap_or(Value::Null)),
        ]);
        let path = self.world.path("asked.json");
        fs::write(&path, asked.to_canonical()).unwrap();
        path
    }
}

fn pkcs8() -> SvidKey {
    SvidKey::generate([77; 32]).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_svid_key(&pkcs8(), KeyUse::Signature).unwrap()
}

fn keys() -> Value {
    Value::object([("keys", [key().public().to_value()].into_iter().collect())])
}

fn check(told: &Value) {
    let text = |name| told.get(name).and_then(Value::as_str).unwrap();
    assert_eq!(text("token_type").to_lowercase(), "dpop", "{told:?}");
    assert!(text("called").contains("Echo: hello"), "{told:?}");
    let active = told.get("active").unwrap().to_canonical();
    assert_eq!(active, "[true,false]");
}

#[test]
fn oauth4webapi_gets_uses_and_gives_up_a_token() {
    let desk = Desk::open();
    let library = tools().join("npm/node_modules/oauth4webapi/build/index.js");
    let mut node = Command::new(tool("node"));
    node.arg(judge("oauth/client.mjs"));
    let told = desk.run(node, library.to_str().unwrap());
    check(&told);
    judged(Run::CredentialsOfOauth4webapi, &told);
    let late = told.get("late").unwrap().to_canonical();
    assert_eq!(late, r#"{"refused":"invalid_token"}"#);
}

/// The workload identity federation of MCP (SEP-1933), seen from the server: `jose` signs the token of another issuer.
#[test]
fn oauth4webapi_gets_a_token_for_one_of_its_own_issuer() {
    let desk = Desk::open();
    let modules = tools().join("npm/node_modules");
    let library = modules.join("oauth4webapi/build/index.js");
    let jose = modules.join("jose/dist/webapi/index.js");
    let workload = Value::object([
        ("issuer", BUILDS.into()),
        ("audience", AUDIENCE.into()),
        ("subject", "repo:example/notes:ref:refs/heads/main".into()),
        ("kid", key().public().key_id().unwrap().into()),
        ("jose", jose.to_str().unwrap().into()),
    ]);
    let mut node = Command::new(tool("node"));
    node.arg(judge("oauth/client.mjs"));
    let told = desk.run_with(node, library.to_str().unwrap(), Some(workload));
    judged(Run::WorkloadOfOauth4webapi, &told);
    let text = |name| told.get(name).and_then(Value::as_str).unwrap();
    assert_eq!(text("token_type").to_lowercase(), "dpop", "{told:?}");
    assert!(text("called").contains("Echo: hello"), "{told:?}");
}

#[test]
fn authlib_gets_uses_and_gives_up_a_token() {
    let desk = Desk::open();
    let mut python = Command::new(tool("python"));
    python.arg(judge("oauth/client.py"));
    let told = desk.run(python, "");
    check(&told);
    judged(Run::CredentialsOfAuthlib, &told);
    assert_eq!(told.get("late"), Some(&Value::Integer(401)));
    assert_eq!(told.get("revoked"), Some(&Value::Integer(200)));
}

/// The client credentials of MCP (SEP-1046): the Rust SDK proves itself by its key, and knows no DPoP.
#[test]
fn the_rust_sdk_comes_by_itself() {
    let desk = Desk::open_bearer();
    desk.wait_for_it();
    let pem = desk.world.path("desk.pem");
    fs::write(&pem, pkcs8().to_pem().as_bytes()).unwrap();
    let mut client = Command::new(tool("rust-clients"));
    client
        .args(["credentials", &desk.resource, "desk"])
        .arg(pem)
        .args(["echo", "{\"message\":\"hello\"}"])
        .env("SSL_CERT_FILE", &desk.ca);
    let told = succeed(&client.output().unwrap(), &["rmcp"]);
    assert_eq!(told, "TOKEN bearer\nCALLED Echo: hello\n");
    // It proved itself by its key, under the name that the estate declares.
    let saw = ["auth/client-credentials-jwt", "auth/pre-registration"];
    assert_eq!(scenarios(Run::CredentialsOfRmcp), saw.into());
}

/// The suite of MCP finds in the metadata all that its clients need, where people can sign in.
#[test]
fn the_metadata_is_what_mcp_asks_of_an_authorization_server() {
    let world = World::start_configured(SIGN_IN, &[], "", |_| ());
    let mut suite = Command::new(tool("conformance"));
    suite
        .args(["authorization", "--url", world.public(), "--verbose"])
        .args(["--scenario", "authorization-server-metadata-endpoint"])
        .args(["--client-id", "desk"])
        .current_dir(world.path("work"))
        .env("NODE_EXTRA_CA_CERTS", world.roots());
    let told = succeed(&suite.output().unwrap(), &["the suite"]);
    assert!(told.contains("0 failed, 0 warnings"), "{told}");
}

/// An issuer of workload tokens, and for whom it makes them.
const BUILDS: &str = "https://token.builds.example";
/// Where a person would come back to the client, who never does.
const BACK: &str = "https://desk.judges.example/back";
const AUDIENCE: &str = "https://ambit.judges.example";
/// A provider that nobody asks.
const SIGN_IN: &str =
    "\n[sign_in]\nissuer = \"https://id.judges.example\"\nclient_id = \"ambit\"\n";

//! Clients of others, with a person in front of a real browser: from nothing but a URL to a tool's answer.
//!
//! The provider at which the person signs in is another's, too. `judges/browser` has the drivers.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ambit_core::json::{self, Value};

use super::{
    authorization::{Run, judged},
    provider::{Provider, modules},
    world::{Beside, JUDGE, Upstream, World, free_address, judge, succeed, tool, workspace},
};

/// Where Debian puts the browser.
pub(crate) const CHROMIUM: &str = "/usr/bin/chromium";

/// A world in which ada signs in at a provider, and clients from elsewhere come.
struct Town {
    world: World,
    /// Where ada signs in; without it she has a passkey.
    provider: Option<String>,
    /// With which she registers it.
    link: Value,
    /// What a client's host shows, and its key.
    certificate: PathBuf,
    /// Where that host is.
    host: SocketAddr,
    resource: String,
    /// The name under which the estate declares the client; without it a document does.
    client: Option<&'static str>,
    _keys: tempfile::TempDir,
    _beside: Option<Beside>,
}

impl Town {
    fn open() -> Self {
        Self::open_with(Some(Provider::planned()))
    }

    /// Opens one where people sign in with passkeys.
    fn open_with_passkeys() -> Self {
        Self::open_with(None)
    }

    fn open_with(provider: Option<Provider>) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let certificate = keys.path().join("client.pem");
        certify(keys.path());
        let host = free_address();
        let settings = format!(
            "{}\n[outbound]\nclient_document_networks = [\"127.0.0.1/32\", \"::1/128\"]\nclient_document_ports = [{}]\n\
             roots = \"{}\"\n",
            provider.map(Provider::settings).unwrap_or_default(),
            host.port(),
            certificate.display()
        );
        let mut beside = None;
        let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
        let world = World::start_configured(&settings, &upstreams, GRANTS, |world| {
            beside = provider.map(|it| it.start(world));
            declare(world, provider.map(Provider::url).as_deref());
        });
        // Before anything runs as ada without containment: that could ask for a link, too.
        let link = match provider {
            Some(_) => Value::Null,
            None => link(&world),
        };
        let resource = format!("{}/s/everything/mcp", gateway(&world));
        Self {
            world,
            provider: provider.map(Provider::url),
            link,
            certificate,
            host,
            resource,
            client: None,
            _keys: keys,
            _beside: beside,
        }
    }

    /// Opens one in which ada is alone, on her own machine, with `ambit dev`.
    fn open_embedded() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let certificate = keys.path().join("client.pem");
        certify(keys.path());
        let upstreams = [Upstream::stdio("everything", &["stdio"], "")];
        let world = World::start_embedded(&upstreams, GRANTS, |world| {
            declare(world, None);
            let client = "title = \"Judge of consent\"\nowner = \"ada\"\nagents = [\"judge\"]\n\
                          redirect_uris = [\"http://127.0.0.1/callback\"]\npublic = true\n";
            fs::create_dir_all(world.path("estate/clients")).unwrap();
            fs::write(world.path("estate/clients/laptop.toml"), client).unwrap();
        });
        let link = link(&world);
        let resource = format!("{}/s/everything/mcp", gateway(&world));
        Self {
            world,
            provider: None,
            link,
            certificate,
            host: free_address(),
            resource,
            client: Some("laptop"),
            _keys: keys,
            _beside: None,
        }
    }

    /// Has a client of `library` come, ends its task while it pauses, and returns what it says.
    fn consent(&self, library: &str) -> Value {
        let text = |path: &Path| Value::from(path.to_str().unwrap());
        let asked = Value::object([
            ("modules", text(&modules())),
            ("library", library.into()),
            ("python", text(&tool("python"))),
            ("rust", text(&tool("rust-clients"))),
            ("conformance", text(&tool("conformance"))),
            ("issuer", self.world.public().into()),
            (
                "provider",
                self.provider.as_deref().map_or(Value::Null, Value::from),
            ),
            ("link", self.link.clone()),
            ("client", self.client.map_or(Value::Null, Value::from)),
            ("resource", self.resource.as_str().into()),
            ("certificate", text(&self.certificate)),
            ("port", u64::from(self.host.port()).into()),
            ("key", text(&self.certificate.with_extension("key"))),
            ("chromium", CHROMIUM.into()),
            ("shots", text(&workspace().join("target/consent"))),
            ("tool", "echo".into()),
            ("arguments", Value::object([("message", "hello".into())])),
        ]);
        let path = self.world.path("asked.json");
        fs::write(&path, asked.to_canonical()).unwrap();
        let roots = self.world.path("work/svid/bundle.pem");
        let mut node = Command::new(tool("node"));
        node.arg(judge("browser/consent.mjs")).arg(path);
        node.env("NODE_EXTRA_CA_CERTS", &roots)
            .env("SSL_CERT_FILE", &roots);
        let mut running = node
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = running.stdin.take().unwrap();
        let mut last = String::new();
        for line in BufReader::new(running.stdout.take().unwrap()).lines() {
            last = line.unwrap();
            if last.starts_with("{\"paused\"") {
                let task = self.world.active_task();
                let trace = self.world.done(&["log", "trace", &task]);
                assert!(trace.contains("by consent"), "{trace}");
                self.world.done(&["task", "end", &task]);
                input.write_all(b"\n").unwrap();
            }
        }
        let status = running.wait().unwrap();
        assert!(status.success(), "{library}: {last}");
        json::parse(last.as_bytes()).unwrap()
    }
}

/// Writes ada's name at the provider, where there is one, and a template for clients that come with nothing.
fn declare(world: &World, provider: Option<&str>) {
    let people = world.path("estate/estate.toml");
    let mut text = fs::read_to_string(&people).unwrap();
    if let Some(provider) = provider {
        let oidc = format!("oidc = {{ issuer = \"{provider}\", subject = \"ada\" }}\nroles");
        text = text.replacen("roles", &oidc, 1);
    }
    fs::write(people, format!("[tokens]\nbearer = true\n\n{text}")).unwrap();
    let template = world.path(&format!("estate/templates/{JUDGE}.toml"));
    let text = fs::read_to_string(&template).unwrap();
    let text = text.replace(
        "containment = \"required\"",
        "containment = \"optional\"\nbinding = \"bearer\"\nbearer = \"acts\"",
    );
    let parameters = "\n[parameters.message]\ndescription = \"What may be said\"\ntype = \"text\"\nbytes_max = 100\n\n\
         [parameters.count]\ndescription = \"How often\"\ntype = \"integer\"\nmin = 1\nmax = 9\n\n\
         [parameters.loud]\ndescription = \"Whether loudly\"\ntype = \"boolean\"\n\n";
    let other = text.replace("Judge Ambit", "Look at nothing");
    fs::write(template, text + parameters).unwrap();
    // A second one, so that there is something to pick from.
    let other = other + "\n[tools.everything.echo]\n";
    fs::write(world.path("estate/templates/other.toml"), other).unwrap();
    let agent = world.path(&format!("estate/agents/{JUDGE}.toml"));
    let text = fs::read_to_string(&agent).unwrap();
    let templates = format!("[\"{JUDGE}\"]");
    assert!(text.contains(&templates), "{text}");
    let both = format!("[\"{JUDGE}\", \"other\"]");
    fs::write(agent, text.replace(&templates, &both)).unwrap();
}

/// Returns the link with which ada registers a passkey.
fn link(world: &World) -> Value {
    let offered = world.done(&["people", "enroll", "ada", "-o", "json"]);
    let offered = json::parse(offered.as_bytes()).unwrap();
    offered.get("link").unwrap().clone()
}

/// Makes a certificate for `localhost` that signs itself.
fn certify(directory: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(directory).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "client.key",
        "-out",
        "client.pem",
    ]);
    succeed(&openssl.output().unwrap(), &["openssl"]);
}

/// Returns how clients name the gateway.
fn gateway(world: &World) -> String {
    let start = [
        "task", "start", JUDGE, "--for", JUDGE, "--svid", "svid", "-o", "json",
    ];
    let parameters = [
        "--param",
        "message=x",
        "--param",
        "count=1",
        "--param",
        "loud=true",
    ];
    let started = world.done(&[&start[..], &parameters].concat());
    let started = json::parse(started.as_bytes()).unwrap();
    let text = |name| started.get(name).and_then(Value::as_str).unwrap();
    world.done(&["task", "end", text("task")]);
    format!(
        "https://localhost:{}",
        text("gateway").rsplit(':').next().unwrap()
    )
}

/// Checks that a client got a token of this kind, called the tool, and could do nothing once the task had ended.
fn check(told: &Value, kind: &str, late: &[&str]) {
    assert!(told.get("error").is_none(), "{told:?}");
    let text = |name| told.get(name).and_then(Value::as_str).unwrap_or_default();
    assert_eq!(text("token_type").to_lowercase(), kind, "{told:?}");
    assert!(text("called").contains("Echo: hello"), "{told:?}");
    assert!(late.iter().any(|it| text("late").contains(it)), "{told:?}");
    assert!(!text("late").contains("Echo"), "{told:?}");
    // Its document, from another address that sends one there: who follows it could be sent anywhere.
    if told.get("rogue").is_some() {
        assert!(
            text("rogue").contains("no document of a client"),
            "{told:?}"
        );
    }
    check_pages(told);
}

/// Checks that every page was fit for everybody, asked nobody else for anything, and broke none of its own rules.
fn check_pages(told: &Value) {
    for name in ["violations", "strangers", "complaints"] {
        assert_eq!(told.get(name).unwrap().to_canonical(), "[]", "{name}");
    }
}

const GRANTS: &str =
    "[tools.everything.echo]\narguments = { message = { equals_parameter = \"message\" } }\n";

/// How a client hears that its task is over: its call is refused, or its token.
const OVER: [&str; 3] = ["task_ended", "invalid_token", "invalid_grant"];

/// Has a client come, checks what came of it, and that it judged what the table says.
fn check_judged(town: &Town, library: &str, run: Run, (kind, late): (&str, &[&str])) -> Value {
    let told = town.consent(library);
    check(&told, kind, late);
    judged(run, &told);
    told
}

#[test]
fn the_typescript_sdk_comes_by_a_browser() {
    check_judged(&Town::open(), "sdk", Run::ConsentToSdk, ("bearer", &OVER));
}

#[test]
fn the_python_sdk_comes_by_a_browser() {
    let run = Run::ConsentToPython;
    check_judged(&Town::open(), "python", run, ("bearer", &OVER));
}

#[test]
fn the_rust_sdk_comes_by_a_browser() {
    let run = Run::ConsentToRmcp;
    check_judged(&Town::open(), "rmcp", run, ("bearer", &OVER));
}

#[test]
fn openidconnect_comes_by_a_browser() {
    let run = Run::ConsentToOpenidconnect;
    let late = ["invalid_grant"];
    check_judged(&Town::open(), "openidconnect", run, ("bearer", &late));
}

/// The suite of MCP asks for a code and redeems it, as its scenarios for authorization servers say.
#[test]
fn the_suite_of_mcp_comes_by_a_browser() {
    let told = Town::open().consent("conformance");
    let text = |name| told.get(name).and_then(Value::as_str).unwrap_or_default();
    assert!(
        text("suite").contains("Total: 3 passed, 0 failed"),
        "{told:?}"
    );
    check_pages(&told);
    judged(Run::ConsentToSuite, &told);
}

#[test]
fn openid_client_comes_by_a_browser() {
    let run = Run::ConsentToOpenidClient;
    let late = ["invalid_grant"];
    check_judged(&Town::open(), "openid-client", run, ("dpop", &late));
}

#[test]
fn oauth4webapi_comes_by_a_browser() {
    let run = Run::ConsentToOauth4webapi;
    let told = check_judged(&Town::open(), "oauth4webapi", run, ("dpop", &OVER));
    assert_eq!(
        told.get("again").and_then(Value::as_str),
        Some("invalid_grant")
    );
}

#[test]
fn a_person_with_a_passkey_consents_in_a_browser() {
    let told = Town::open_with_passkeys().consent("oauth4webapi");
    check(&told, "dpop", &OVER);
}

/// On a laptop, with nothing but an estate: `ambit dev`, a link, a passkey, a program of hers.
#[test]
fn a_person_alone_consents_with_a_passkey() {
    let town = Town::open_embedded();
    check_judged(&town, "sdk", Run::DeclaredSdk, ("bearer", &OVER));
}

//! Others' testers at the ports: requests made from the API's own document, and the TLS that is spoken.

use std::{
    fs,
    io::{self, Read as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use ambit_core::json::{self, Value};

use super::{
    login::declare,
    oauth::Desk,
    provider::Provider,
    world::{JUDGE, World, free_address, judge, succeed, tool, workspace},
};

/// One run of schemathesis.
struct Tester<'a> {
    world: &'a World,
    url: &'a str,
    /// What makes its requests a client's, or a person's: the name of a variable, and the file that it names.
    asker: Option<(&'static str, &'a Path)>,
}

impl<'a> Tester<'a> {
    fn of(world: &'a World, url: &'a str) -> Self {
        Self {
            world,
            url,
            asker: None,
        }
    }

    /// Tests the operations that `which` includes. `judges/api` says what answers are held against.
    fn test(&self, which: &[&str]) {
        let mut command = Command::new(tool("schemathesis"));
        command
            .arg("--config-file")
            .arg(judge("api/schemathesis.toml"))
            .arg("run")
            .arg(workspace().join("docs/reference/openapi.json"))
            .args(["--url", self.url])
            .args(["--seed", "1", "--max-examples", "20", "--no-color"])
            .args(["--continue-on-failure", "--generation-database", "none"])
            // In seconds: a request that nobody answers is named.
            .args(["--request-timeout", "10"])
            .arg("--tls-verify")
            .arg(self.world.roots())
            .args(which)
            .env("SCHEMATHESIS_HOOKS", judge("api/hooks.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(self.asker);
        let directory = tempfile::tempdir().unwrap();
        let output = command.current_dir(directory.path()).output().unwrap();
        succeed(&output, which);
    }
}

/// Leads connections to a local port on to a socket of the file system, which schemathesis can't speak to.
fn led_to(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            thread::spawn(move || answer(server, client));
        }
    });
    address
}

fn answer(mut server: UnixStream, mut client: TcpStream) {
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Write);
}

/// With a provider at which people can sign in, so that every route of the document is there.
#[test]
fn the_api_answers_as_its_document_says() {
    let provider = Provider::planned();
    let mut beside = None;
    let world = World::start_configured(&provider.settings(), &[], "", |world| {
        beside = Some(provider.start(world));
    });
    let anybody = ["anybody", "clients", "sign-in"].map(|it| ["--include-tag", it]);
    Tester::of(&world, world.public()).test(&anybody.concat());
    // What people do in a browser is on the public port.
    let in_browsers = ["/oauth/consent", "/device", "/account/logins/end"];
    let included = in_browsers.map(|it| ["--include-path", it]);
    Tester::of(&world, world.public()).test(&included.concat());
    Tester::of(&world, world.health()).test(&["--include-tag", "operations"]);
    // Last: it revokes, rotates and applies whatever it thinks of.
    let address = led_to(world.path("state/control.sock"));
    let excluded = in_browsers.map(|it| ["--exclude-path", it]).concat();
    let people = [&["--include-tag", "people"], &excluded[..]].concat();
    Tester::of(&world, &format!("http://{address}")).test(&people);
}

/// What people do in a browser, in that of one who signed in.
#[test]
fn the_pages_answer_a_person_as_their_document_says() {
    let provider = Provider::planned();
    let mut beside = None;
    let world = World::start_configured(&provider.settings(), &[], "", |world| {
        beside = Some(provider.start(world));
        let subject = format!(
            "oidc = {{ issuer = \"{}\", subject = \"ada\" }}\n",
            provider.url()
        );
        declare(world, &subject);
    });
    let person = world.path("person.json");
    let told = Value::object([
        ("issuer", world.public().into()),
        ("name", "ada".into()),
        ("ca", world.roots().to_str().unwrap().into()),
    ]);
    fs::write(&person, told.to_canonical()).unwrap();
    let tester = Tester {
        asker: Some(("AMBIT_PERSON", &person)),
        ..Tester::of(&world, world.public())
    };
    let pages = [
        "/account",
        "/account/logins/end",
        "/device",
        "/oauth/consent",
        "/sign-out",
    ];
    let included = pages.map(|it| ["--include-path", it]).concat();
    // It knows nothing of cookies that it does not make itself.
    tester.test(&[&included[..], &["--exclude-checks", "ignored_auth"]].concat());
}

/// What is for instances is answered over the certificate of one, and to nobody without.
#[test]
fn the_api_for_instances_answers_as_its_document_says() {
    let world = World::start(&[], "");
    let template = world.path("estate/templates/judge.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
    world.grant("");
    let started = ["task", "start", JUDGE, "--for", JUDGE, "--svid", "svid"];
    let started = world.done(&[&started[..], &["-o", "json"]].concat());
    let gateway = gateway(&world);
    Tester::of(&world, &gateway).test(&["--include-tag", "instances"]);
    let instance = known_by_certificate(&world, &started, &gateway);
    let tester = Tester {
        asker: Some(("AMBIT_CLIENT", &instance)),
        ..Tester::of(&world, &gateway)
    };
    let [certificate, key] = ["work/svid/svid.pem", "work/svid/key.pem"].map(|it| world.path(it));
    // It knows nothing of certificates: what they open is open to everybody, it believes.
    let certified = [
        "--request-cert",
        certificate.to_str().unwrap(),
        "--request-cert-key",
        key.to_str().unwrap(),
        "--exclude-checks",
        "ignored_auth",
    ];
    let complete = "/v1/task/complete";
    // The answer of `presence` is a stream that goes on for as long as the task.
    let others = ["--exclude-path", "/v1/presence", "--exclude-path", complete];
    tester.test(&[&["--include-tag", "instances"], &others[..], &certified].concat());
    // Its tokens were real ones.
    let told = world.done(&["log", "tail", "-n", "1000"]);
    assert!(told.contains("token"), "{told}");
    // Last: it ends the task.
    tester.test(&[&["--include-path", complete], &certified[..]].concat());
}

/// Writes down what the instance of a task that was just started must know to ask for tokens by its certificate.
fn known_by_certificate(world: &World, started: &str, gateway: &str) -> PathBuf {
    let started = json::parse(started.as_bytes()).unwrap();
    let told = Value::object([
        ("issuer", world.public().into()),
        ("client_id", started.get("spiffe_id").unwrap().clone()),
        ("resource", format!("{gateway}/mcp").into()),
    ]);
    let path = world.path("instance.json");
    fs::write(&path, told.to_canonical()).unwrap();
    path
}

/// The endpoints for clients, with a client that proves itself.
#[test]
fn the_authorization_server_answers_as_its_document_says() {
    let desk = Desk::open_bearer();
    let client = desk.asked("", None);
    desk.wait_for_it();
    let endpoints = ["token", "par", "introspect", "revoke"].map(|it| format!("/oauth/{it}"));
    let included = endpoints.each_ref().map(|it| ["--include-path", it]);
    let tester = Tester {
        asker: Some(("AMBIT_CLIENT", &client)),
        ..Tester::of(&desk.world, desk.world.public())
    };
    tester.test(&included.concat());
    // Its tokens were real ones.
    let told = desk.world.done(&["log", "tail", "-n", "1000"]);
    assert!(told.contains("token"), "{told}");
}

/// Returns how others name the gateway.
pub(crate) fn gateway(world: &World) -> String {
    let status = json::parse(world.done(&["status", "-o", "json"]).as_bytes()).unwrap();
    let url = status.get("gateway_url").and_then(Value::as_str);
    url.unwrap().to_owned()
}

/// Every port with TLS: the public one, the gateway's, that of the bundle, and the gateway's second one, whose identity is
/// somebody else's.
#[test]
fn the_ports_speak_tls_as_mozilla_wants_it() {
    let issuer = issuer();
    let second = free_address();
    let world = known_by(&issuer, second);
    for url in [world.public(), &gateway(&world)] {
        let told = scanned(&world.roots(), url.strip_prefix("https://").unwrap(), &[]);
        assert!(told.contains("OK - Compliant."), "{told}");
    }
    let bundle = scanned(&world.roots(), &world.setting("bundle"), &[]);
    assert_eq!(failings(&bundle), [NAMES_NO_HOST], "{bundle}");
    // It speaks only with those who show a certificate.
    let [certificate, key] = ["work/svid/svid.pem", "work/svid/key.pem"].map(|it| issuer.path(it));
    let [certificate, key] = [&certificate, &key].map(|it| it.to_str().unwrap());
    let client = ["--cert", certificate, "--key", key];
    let outer = scanned(&issuer.roots(), &second.to_string(), &client);
    assert_eq!(failings(&outer), [NAMES_NO_HOST], "{outer}");
}

/// All that is found wrong where a port is known by its SPIFFE ID: an X509-SVID names no host, and who looks for one finds
/// no path to it.
const NAMES_NO_HOST: &str =
    "* certificate_path_validation: Certificate path validation failed for .";

/// Returns what is not as it should be.
fn failings(told: &str) -> Vec<&str> {
    let (_, found) = told.split_once("FAILED - Not compliant.").unwrap();
    let lines = found.lines().map(str::trim);
    lines.filter(|it| it.starts_with("* ")).collect()
}

fn scanned(roots: &Path, address: &str, client: &[&str]) -> String {
    let mut command = Command::new(tool("sslyze"));
    command.arg("--certinfo_ca_file").arg(roots).args(client);
    command.args(["--mozilla_config", "intermediate"]);
    let output = command.arg(address).output().unwrap();
    // What it says is compared; that something failed is its status, too.
    String::from_utf8(output.stdout).unwrap()
}

/// Starts another Ambit, to which whoever runs the program `ambit` is its agent.
fn issuer() -> World {
    let world = World::start(&[], "");
    let template = world.path("estate/templates/judge.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
    let agent = world.path("estate/agents/judge.toml");
    let text = fs::read_to_string(&agent).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_ambit"))
        .canonicalize()
        .unwrap();
    let uid = rustix::process::getuid().as_raw();
    let registered = format!(
        "\n[[workload]]\nuid = {uid}\npath = \"{}\"\n",
        program.display()
    );
    fs::write(agent, text + &registered).unwrap();
    world.grant("");
    let start = ["task", "start", JUDGE, "--for", JUDGE];
    world.done(&[&start[..], &["--svid", "svid"]].concat());
    world.done(&[&start[..], &["--attested"]].concat());
    world
}

/// Starts a world whose gateway is known at `second` by the identity that `issuer` gives it.
fn known_by(issuer: &World, second: SocketAddr) -> World {
    let socket = issuer.path("state/workload.sock");
    let settings = format!(
        "[identity]\nworkload_api = \"unix://{}\"\nlisten = \"{second}\"\n",
        socket.display()
    );
    World::start_configured(&settings, &[], "", |world| {
        let came = (0..TRIES_MAX).any(|_| {
            world.done(&["status"]);
            // Where nothing can be shown, whoever connects is let go at once.
            let mut client = TcpStream::connect(second).unwrap();
            client.set_read_timeout(Some(WAITED_FOR)).unwrap();
            let ended = client.read(&mut [0]).map_err(|error| error.kind());
            ended == Err(io::ErrorKind::WouldBlock)
        });
        assert!(came, "{}", world.complaints());
    })
}

/// How long a server that waits for a handshake is listened to.
const WAITED_FOR: Duration = Duration::from_millis(200);
/// How often something is looked for that happens beside. Each look starts a program.
const TRIES_MAX: usize = 500;

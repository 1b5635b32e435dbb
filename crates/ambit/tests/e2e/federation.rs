//! Two servers of two trust domains: a workload of the one is an agent of the other, proved by the bundle that the other
//! fetched.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use ambit_core::json::{self, Value};

use crate::world::World;

pub(crate) const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;

/// How often something is tried that happens beside. Each try starts a program.
const TRIES_MAX: usize = 500;

/// How the bundle of the partner is had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Profile {
    Web,
    Spiffe,
}

/// Names this user, and lets tasks run without containment.
pub(crate) fn prepare(root: &Path) {
    let uid = rustix::process::getuid().as_raw();
    let roles = "roles = [\"starter\", \"administrator\", \"auditor\"]";
    let people = format!("[people.ada]\nunix_uid = {uid}\n{roles}\n");
    fs::write(root.join("estate/estate.toml"), people).unwrap();
    let template = root.join("estate/templates/look.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
}

/// Returns a port that nobody listens at just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server of another trust domain with one workload.
struct Partner {
    world: World,
    web: u16,
    spiffe: u16,
}

impl Partner {
    fn start() -> Self {
        let (web, spiffe) = (free_port(), free_port());
        let more = format!(
            "bundle = \"127.0.0.1:{spiffe}\"\n[public]\nlisten = \"127.0.0.1:{web}\"\nurl = \"https://localhost:{web}\"\n"
        );
        let world = World::start_configured("partner.example", &more, prepare);
        let start = ["task", "start", "look", "--for", "reader", "--svid", "svid"];
        let started = world.ambit(&start);
        assert!(started.status.success(), "{started:?}");
        Self { world, web, spiffe }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.directory.path().join("work/svid").join(name)
    }

    /// Returns `trust/partner.toml`.
    fn trust(&self, profile: Profile) -> String {
        let domain = "trust_domain = \"partner.example\"\n";
        match profile {
            Profile::Web => format!(
                "{domain}bundle_url = \"https://localhost:{}/spiffe/bundle\"\nprofile = \"https_web\"\n",
                self.web
            ),
            Profile::Spiffe => format!(
                "{domain}bundle_url = \"https://localhost:{}/spiffe/bundle\"\nprofile = \"https_spiffe\"\n\
                 endpoint_spiffe_id = \"spiffe://partner.example/ambit/gateway\"\nbundle = '{}'\n",
                self.spiffe,
                self.bundle()
            ),
        }
    }

    /// Returns the bundle, as its operators would send it.
    fn bundle(&self) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "10", "--cacert"])
            .arg(self.file("bundle.pem"))
            .arg(format!("https://localhost:{}/spiffe/bundle", self.web));
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    }
}

/// Our server, which believes the partner.
struct Ours {
    world: World,
    gateway: String,
}

impl Ours {
    fn start(partner: &Partner, trust: &str) -> Self {
        let more = format!(
            "[outbound]\ninner_networks = [\"127.0.0.0/8\", \"::1/128\"]\nroots = \"{}\"\n",
            partner.file("bundle.pem").display()
        );
        let world = World::start_configured("people.example", &more, |root| {
            prepare(root);
            let folder = root.join("estate/trust");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("partner.toml"), trust).unwrap();
            let agent = root.join("estate/agents/reader.toml");
            let registered = "\n[[svid]]\ntrust = \"partner\"\npath = \"/agent/reader/*\"\n";
            fs::write(&agent, fs::read_to_string(&agent).unwrap() + registered).unwrap();
        });
        world.seal("notes-token", "of-the-server");
        let status = said(&world, &["status"]);
        let gateway = text(&status, "gateway").to_owned();
        Self { world, gateway }
    }

    /// Calls the tool as the partner's workload and returns the answer with its head.
    fn call(&self, partner: &Partner) -> String {
        let mut curl = Command::new("curl");
        // The gateway is known by its SPIFFE ID, which curl does not know.
        curl.args(["-sS", "-i", "-k", "-m", "10", "-d", CALL, "--cert"])
            .arg(partner.file("svid.pem"))
            .arg("--key")
            .arg(partner.file("key.pem"));
        for header in [
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "mcp-protocol-version: 2025-11-25",
        ] {
            curl.args(["-H", header]);
        }
        let output = curl.arg(format!("{}/s/notes/mcp", self.gateway)).output();
        let output = output.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Calls until the answer has `part`: the bundle is fetched beside.
    #[track_caller]
    fn call_until(&self, partner: &Partner, part: &str) {
        let mut answers = (0..TRIES_MAX).map(|_| self.call(partner));
        let found = answers.any(|it| it.contains(part));
        assert!(
            found,
            "`{part}` not in {}\n{}",
            self.call(partner),
            self.world.complaints()
        );
    }
}

pub(crate) fn said(world: &World, words: &[&str]) -> Value {
    let output = world.ambit(&[&["-o", "json"], words].concat());
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    json::parse(text.as_bytes()).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap()
}

#[track_caller]
fn check(profile: Profile) {
    let partner = Partner::start();
    let ours = Ours::start(&partner, &partner.trust(profile));
    ours.call_until(
        &partner,
        "no task waits for agent `reader`; ask for `ambit task start TEMPLATE --for reader --attested`",
    );
    let start = ["task", "start", "look", "--for", "reader", "--attested"];
    let started = said(&ours.world, &start);
    let task = text(&started, "task");
    assert!(ours.call(&partner).contains("the note itself"));
    assert!(ours.call(&partner).contains("the note itself"));
    assert_eq!(
        ours.world
            .upstream
            .calls
            .load(std::sync::atomic::Ordering::SeqCst),
        2
    );
    let trace = ours.world.ambit(&["log", "trace", task]);
    let trace = String::from_utf8(trace.stdout).unwrap();
    assert!(trace.contains("SVID"), "{trace}");
    assert!(ours.world.ambit(&["task", "end", task]).status.success());
    assert!(ours.call(&partner).contains("no task waits"));
    let shown = ours.world.ambit(&["log", "tail", "-n", "100"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let told = "partner.example is believed by bundle 1 (sha256:";
    assert!(shown.contains(told), "{shown}");
}

#[test]
fn a_workload_of_a_domain_known_by_its_host_is_an_agent() {
    check(Profile::Web);
}

#[test]
fn a_workload_of_a_domain_known_by_its_spiffe_id_is_an_agent() {
    check(Profile::Spiffe);
}

/// The estate believes the domain no more: who was proved by it is nobody from the next request on.
#[test]
fn who_the_estate_believes_no_more_is_nobody() {
    let partner = Partner::start();
    let ours = Ours::start(&partner, &partner.trust(Profile::Web));
    ours.call_until(&partner, "no task waits");
    let root = ours.world.directory.path();
    fs::remove_file(root.join("estate/trust/partner.toml")).unwrap();
    let agent = root.join("estate/agents/reader.toml");
    let text = fs::read_to_string(&agent).unwrap();
    let (before, _) = text.split_once("\n[[svid]]").unwrap();
    fs::write(&agent, before).unwrap();
    let estate = root.join("estate");
    let applied = ours.world.ambit(&["apply", estate.to_str().unwrap()]);
    assert!(applied.status.success(), "{applied:?}");
    let refused = ours.call(&partner);
    assert!(!refused.contains("no task waits"), "{refused}");
    assert!(!refused.contains("HTTP/1.1 200"), "{refused}");
}

#[test]
fn what_was_fetched_outlives_a_restart_and_its_endpoint() {
    let mut partner = Partner::start();
    let mut ours = Ours::start(&partner, &partner.trust(Profile::Spiffe));
    ours.call_until(&partner, "no task waits");
    let start = ["task", "start", "look", "--for", "reader", "--attested"];
    said(&ours.world, &start);
    assert!(ours.call(&partner).contains("the note itself"));
    partner.world.kill();
    ours.world.kill();
    ours.world.start_again().unwrap();
    ours.gateway = text(&said(&ours.world, &["status"]), "gateway").to_owned();
    ours.call_until(&partner, "the note itself");
}

/// NHI04, spoofed trust: whoever answers at the address, it is another trust domain's server.
#[test]
fn nhi04_an_endpoint_with_another_spiffe_id_gives_no_bundle() {
    let partner = Partner::start();
    let trust = partner.trust(Profile::Spiffe);
    let wrong = trust.replace("/ambit/gateway\"", "/spire/server\"");
    let ours = Ours::start(&partner, &wrong);
    let refused = "is not spiffe://partner.example/spire/server";
    let found = (0..TRIES_MAX).any(|_| {
        // Nobody of that domain gets as far as a request.
        let answer = ours.call(&partner);
        assert!(!answer.contains("HTTP/1.1"), "{answer}");
        ours.world.complaints().contains(refused)
    });
    assert!(found, "{}", ours.world.complaints());
}

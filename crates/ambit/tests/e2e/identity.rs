//! A server that takes an identity of its own from somebody else's Workload API, as any workload does: here another
//! Ambit's. Agents of that trust domain know the gateway by it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    federation::{CALL, free_port, prepare, said, text},
    world::World,
};

/// How often something is tried that happens beside. Each try starts a program.
const TRIES_MAX: usize = 500;
const START: [&str; 5] = ["task", "start", "look", "--for", "reader"];

/// Starts the issuer: whoever runs the program `ambit` is its agent.
fn issuer() -> World {
    let world = World::start_configured("issuer.example", "", |root| {
        prepare(root);
        let uid = rustix::process::getuid().as_raw();
        let program = Path::new(env!("CARGO_BIN_EXE_ambit"))
            .canonicalize()
            .unwrap();
        let agent = root.join("estate/agents/reader.toml");
        let registered = format!(
            "\n[[workload]]\nuid = {uid}\npath = \"{}\"\n",
            program.display()
        );
        fs::write(&agent, fs::read_to_string(&agent).unwrap() + &registered).unwrap();
    });
    let kept = world.ambit(&[&START[..], &["--svid", "svid"]].concat());
    assert!(kept.status.success(), "{kept:?}");
    world
}

fn file(issuer: &World, name: &str) -> PathBuf {
    issuer.directory.path().join("work/svid").join(name)
}

/// Starts our server, which is a workload of the issuer and believes its others.
fn ours(issuer: &World, port: u16) -> World {
    let socket = issuer.state().join("workload.sock");
    let more = format!(
        "[identity]\nworkload_api = \"unix://{}\"\nlisten = \"127.0.0.1:{port}\"\n",
        socket.display()
    );
    let keys = fs::read_to_string(issuer.state().join("keys/authority.pem")).unwrap();
    let domain = "issuer.example".parse().unwrap();
    let keys = ambit_identity::IssuingKeys::from_text(&domain, &keys).unwrap();
    let trust = format!(
        "trust_domain = \"issuer.example\"\nbundle = '{}'\n",
        keys.bundle().to_document()
    );
    let world = World::start_configured("people.example", &more, |root| {
        prepare(root);
        fs::create_dir(root.join("estate/trust")).unwrap();
        fs::write(root.join("estate/trust/issuer.toml"), trust).unwrap();
        let agent = root.join("estate/agents/reader.toml");
        let registered = "\n[[svid]]\ntrust = \"issuer\"\npath = \"/agent/reader/*\"\n";
        fs::write(&agent, fs::read_to_string(&agent).unwrap() + registered).unwrap();
    });
    world.seal("notes-token", "of-the-server");
    world
}

/// Returns what the gateway shows to a workload of the issuer: the SPIFFE ID, when its roots lead to it.
fn shown(issuer: &World, port: u16) -> Option<String> {
    let mut client = Command::new("openssl");
    client
        .args(["s_client", "-verify_return_error", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("-CAfile")
        .arg(file(issuer, "bundle.pem"))
        .arg("-cert")
        .arg(file(issuer, "svid.pem"))
        .arg("-key")
        .arg(file(issuer, "key.pem"));
    let seen = client.stdin(Stdio::null()).output().unwrap();
    if !String::from_utf8_lossy(&seen.stdout).contains("Verify return code: 0 (ok)") {
        return None;
    }
    let certificate = issuer.directory.path().join("shown.pem");
    fs::write(&certificate, seen.stdout).unwrap();
    let mut reader = Command::new("openssl");
    reader.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]);
    let names = reader.arg(certificate).output().unwrap();
    let names = String::from_utf8(names.stdout).unwrap();
    let (_, id) = names.split_once("URI:")?;
    Some(id.trim().to_owned())
}

fn shown_until(
    issuer: &World,
    port: u16,
    fits: impl Fn(&Option<String>) -> bool,
) -> Option<String> {
    let mut seen = (0..TRIES_MAX).map(|_| shown(issuer, port));
    seen.find(|it| fits(it)).flatten()
}

fn call(issuer: &World, port: u16) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-k", "-m", "10", "-d", CALL, "--cert"])
        .arg(file(issuer, "svid.pem"))
        .arg("--key")
        .arg(file(issuer, "key.pem"));
    for header in [
        "content-type: application/json",
        "accept: application/json, text/event-stream",
        "mcp-protocol-version: 2025-11-25",
    ] {
        curl.args(["-H", header]);
    }
    let url = format!("https://127.0.0.1:{port}/s/notes/mcp");
    let output = curl.arg(url).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn the_gateway_is_known_by_an_identity_that_comes_and_goes() {
    let (issuer, port) = (issuer(), free_port());
    let ours = ours(&issuer, port);
    // No task of the issuer waits for us yet: nothing is shown.
    assert_eq!(shown(&issuer, port), None);
    let attested = [&START[..], &["--attested"]].concat();
    let first = said(&issuer, &attested);
    let first_id = shown_until(&issuer, port, Option::is_some);
    assert_eq!(first_id.as_deref(), Some(text(&first, "spiffe_id")));
    said(&ours, &attested);
    assert!(
        call(&issuer, port).contains("the note itself"),
        "{}",
        call(&issuer, port)
    );
    // The issuer takes it back, and gives another.
    assert!(
        issuer
            .ambit(&["task", "end", text(&first, "task")])
            .status
            .success()
    );
    assert_eq!(shown_until(&issuer, port, Option::is_none), None);
    let second = said(&issuer, &attested);
    let second_id = shown_until(&issuer, port, Option::is_some);
    assert_eq!(second_id.as_deref(), Some(text(&second, "spiffe_id")));
    assert_ne!(second_id, first_id);
}

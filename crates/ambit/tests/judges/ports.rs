//! Others' testers at the ports: requests made from the API's own document, and the TLS that is spoken.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
    thread,
};

use super::{
    provider::Provider,
    world::{World, succeed, tool, workspace},
};

/// What schemathesis holds answers against: no failure of the server, and what the document says of them.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,unsupported_method,missing_required_header";

/// Runs schemathesis at `url` with the operations that `which` includes.
fn schemathesis(url: &str, which: &[&str], roots: &PathBuf) {
    let mut command = Command::new(tool("schemathesis"));
    command
        .arg("run")
        .arg(workspace().join("docs/reference/openapi.json"))
        .args(["--url", url, "--checks", CHECKS])
        .args(["--seed", "1", "--max-examples", "20", "--no-color"])
        .args(["--continue-on-failure", "--generation-database", "none"])
        .arg("--tls-verify")
        .arg(roots);
    command.args(which);
    let directory = tempfile::tempdir().unwrap();
    let output = command.current_dir(directory.path()).output().unwrap();
    succeed(&output, which);
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
    let roots = world.roots();
    let anybody = ["anybody", "clients", "sign-in"].map(|it| ["--include-tag", it]);
    schemathesis(world.public(), &anybody.concat(), &roots);
    // What people do in a browser is on the public port.
    let in_browsers = ["/oauth/consent", "/device", "/account/logins/end"];
    let included = in_browsers.map(|it| ["--include-path", it]);
    schemathesis(world.public(), &included.concat(), &roots);
    // Last: it revokes, rotates and applies whatever it thinks of.
    let address = led_to(world.path("state/control.sock"));
    let excluded = in_browsers.map(|it| ["--exclude-path", it]).concat();
    let people = [&["--include-tag", "people"], &excluded[..]].concat();
    schemathesis(&format!("http://{address}"), &people, &roots);
}

#[test]
fn the_ports_speak_tls_as_mozilla_wants_it() {
    let world = World::start(&[], "");
    let status = world.done(&["status", "-o", "json"]);
    let status = ambit_core::json::parse(status.as_bytes()).unwrap();
    let gateway = status.get("gateway").and_then(|it| it.as_str()).unwrap();
    for url in [world.public(), &gateway.replace("127.0.0.1", "localhost")] {
        let mut command = Command::new(tool("sslyze"));
        command.arg("--certinfo_ca_file").arg(world.roots());
        command.args(["--mozilla_config", "intermediate"]);
        command.arg(url.strip_prefix("https://").unwrap());
        let told = succeed(&command.output().unwrap(), &[url]);
        assert!(told.contains("OK - Compliant."), "{told}");
    }
}

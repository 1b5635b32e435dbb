//! A process attests at the Workload API, and the Rust `spiffe` client judges what it gets. The process is this
//! test: the estate registers its very path.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use spiffe::{WorkloadApiClient, WorkloadApiError};
use tokio::{runtime::Runtime, time::timeout};
use tokio_stream::StreamExt;

use crate::world::World;

/// Registers this process as the agent `reader`, whose tasks may run without containment.
pub(crate) fn prepare(root: &Path) {
    let uid = rustix::process::getuid().as_raw();
    let people =
        format!("[people.ada]\nunix_uid = {uid}\nroles = [\"starter\", \"administrator\"]\n");
    fs::write(root.join("estate/estate.toml"), people).unwrap();
    let template = root.join("estate/templates/look.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
    let agent = root.join("estate/agents/reader.toml");
    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    let digest = ambit_core::Digest::of(&fs::read(&own).unwrap());
    let registered = format!(
        "\n[[workload]]\nuid = {uid}\npath = \"{}\"\nsha256 = \"{digest}\"\n",
        own.display()
    );
    fs::write(&agent, fs::read_to_string(&agent).unwrap() + &registered).unwrap();
}

pub(crate) fn start(world: &World) -> String {
    let output = world.ambit(&[
        "-o",
        "json",
        "task",
        "start",
        "look",
        "--for",
        "reader",
        "--attested",
    ]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    let answer = ambit_core::json::parse(text.as_bytes()).unwrap();
    answer
        .get("task")
        .and_then(|it| it.as_str())
        .unwrap()
        .to_owned()
}

#[test]
fn a_process_is_an_instance_until_its_task_ends() {
    let world = World::start_shared(None, prepare);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let socket = format!("unix://{}", world.state().join("workload.sock").display());
        let client = WorkloadApiClient::connect_to(&socket).await.unwrap();
        let early = client.fetch_x509_svid().await.unwrap_err();
        assert!(
            matches!(early, WorkloadApiError::PermissionDenied(ref it) if it.contains("--for reader --attested")),
            "{early:?}"
        );
        let task = start(&world);
        let mut stream = client.stream_x509_svids().await.unwrap();
        let svid = stream.next().await.unwrap().unwrap();
        let name = svid.spiffe_id().to_string();
        assert!(name.starts_with("spiffe://people.example/agent/reader/inst_"), "{name}");
        let bundles = client.fetch_x509_bundles().await.unwrap();
        let bundle = bundles.get(svid.spiffe_id().trust_domain()).unwrap();
        assert_eq!(bundle.authorities().len(), 1);
        #[cfg(feature = "judges")]
        openssl_agrees(
            world.directory.path(),
            bundle.authorities().iter().next().unwrap().as_bytes(),
            svid.leaf().as_bytes(),
        );
        let jwt = client.fetch_jwt_svid(["reports"], None).await.unwrap();
        assert_eq!(jwt.spiffe_id(), svid.spiffe_id());
        client.validate_jwt_token("reports", jwt.token()).await.unwrap();
        assert!(client.validate_jwt_token("others", jwt.token()).await.is_err());
        assert!(!client.fetch_jwt_bundles().await.unwrap().is_empty());
        // What a second connection of the same process gets is the same instance.
        let again = WorkloadApiClient::connect_to(&socket).await.unwrap();
        assert_eq!(again.fetch_x509_svid().await.unwrap().spiffe_id(), svid.spiffe_id());
        assert!(world.ambit(&["task", "end", &task]).status.success());
        let over = timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap();
        assert!(matches!(over, Err(WorkloadApiError::PermissionDenied(_))), "{over:?}");
        assert!(client.fetch_jwt_svid(["reports"], None).await.is_err());
        drop(again);
    });
}

/// Clients name the socket by a URI, whatever working directory the server was started in.
#[test]
fn the_socket_is_told_as_a_uri() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("estate")).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_ambit"))
        .args(["--state", "state", "dev", "estate"])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let told = lines.find_map(|line| {
        let line = line.unwrap();
        line.split_whitespace()
            .find(|it| it.starts_with("unix:"))
            .map(str::to_owned)
    });
    server.kill().unwrap();
    server.wait().unwrap();
    let socket = directory.path().canonicalize().unwrap();
    let socket = socket.join("state/workload.sock");
    assert_eq!(told, Some(format!("unix://{}", socket.display())));
}

/// The socket is in the server's own directory, unless the configuration says something else.
#[test]
fn who_is_registered_and_reaches_no_socket_is_warned_of() {
    let world = World::start_configured("people.example", "", |root| {
        prepare(root);
        let agent = root.join("estate/agents/reader.toml");
        let text = fs::read_to_string(&agent).unwrap();
        fs::write(
            agent,
            text + "\n[[workload]]\nuid = 4711\npath = \"/usr/bin/agent\"\n",
        )
        .unwrap();
    });
    let warning = "no process of `[[workload]]` (uid 4711, path /usr/bin/agent) reaches ";
    let complaints = world.complaints();
    assert!(complaints.contains(warning), "{complaints}");
    assert!(complaints.contains("set `doors.workload`"), "{complaints}");
}

#[test]
fn the_bundle_outlives_a_restart() {
    let mut world = World::start_shared(None, prepare);
    let runtime = Runtime::new().unwrap();
    let socket = format!("unix://{}", world.state().join("workload.sock").display());
    let bundles = |socket: String| async move {
        let client = WorkloadApiClient::connect_to(&socket).await.unwrap();
        let set = client.fetch_x509_bundles().await.unwrap();
        let roots = set.iter().flat_map(|(_, it)| it.authorities().to_vec());
        roots.map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    let before = runtime.block_on(bundles(socket.clone()));
    world.stop();
    world.start_again().unwrap();
    assert_eq!(runtime.block_on(bundles(socket)), before);
}

/// OpenSSL judges the SVID against the bundle, strictly.
#[cfg(feature = "judges")]
fn openssl_agrees(folder: &Path, root: &[u8], leaf: &[u8]) {
    let openssl = "openssl";
    let pem = |name: &str, der: &[u8]| {
        let (from, to) = (
            folder.join(format!("{name}.der")),
            folder.join(format!("{name}.pem")),
        );
        fs::write(&from, der).unwrap();
        let mut command = Command::new(openssl);
        command
            .args(["x509", "-inform", "DER", "-in"])
            .arg(from)
            .arg("-out")
            .arg(&to);
        assert!(command.status().unwrap().success());
        to
    };
    let (root, leaf) = (pem("root", root), pem("leaf", leaf));
    let mut command = Command::new(openssl);
    command.args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"]);
    let found = command.arg(root).arg(leaf).output().unwrap();
    assert!(found.status.success(), "{found:?}");
}

//! Crowds at the doors: whoever opens connections takes what is theirs, and nobody is kept from revoking.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use ambit_core::json::{self, Value};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    life::{apply_free_template, check},
    world::World,
};

/// How many files the server may have open: what a service has by default.
const FILES: u32 = 1024;
/// How many connections come to each door.
const CROWD: usize = 1500;

/// Lets this process open as many connections as the crowd has.
fn make_room() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Starts a task whose certificate is kept in `folder`, and returns where the gateway is.
fn gateway(world: &World, folder: &str) -> SocketAddr {
    let start = ["task", "start", "free", "--for", "reader", "--svid", folder];
    let output = world.ambit(&[&start[..], &["-o", "json"]].concat());
    let answer = json::parse(&output.stdout).unwrap();
    let text = answer.get("gateway").and_then(Value::as_str).unwrap();
    text.strip_prefix("https://").unwrap().parse().unwrap()
}

#[test]
fn asi08_no_crowd_takes_the_files_of_the_server_or_keeps_anybody_from_revoking() {
    make_room();
    let mut world = World::start(None);
    apply_free_template(&world);
    world.start_again_with_files(FILES).unwrap();
    let complaints = world.complaints();
    assert!(complaints.contains("LimitNOFILE"), "{complaints}");
    let gateway = gateway(&world, "svid");
    let strangers: Vec<_> = (0..CROWD)
        .map(|_| TcpStream::connect(gateway).unwrap())
        .collect();
    // Whoever came first and sat still has given its seat up long before its time to prove itself is over; whoever came
    // last has not.
    let heard = |stranger: &TcpStream, within| {
        stranger.set_read_timeout(Some(within)).unwrap();
        let mut stranger = stranger;
        stranger.read(&mut [0]).map_err(|error| error.kind())
    };
    let ended = heard(&strangers[0], Duration::from_secs(5));
    assert!(
        matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)),
        "{ended:?}"
    );
    let stays = heard(&strangers[CROWD - 1], Duration::from_millis(1));
    assert_eq!(stays, Err(ErrorKind::WouldBlock));
    let workload = world.state().join("workload.sock");
    let local: Vec<_> = (0..CROWD)
        .filter_map(|_| UnixStream::connect(&workload).ok())
        .collect();
    check(&world, &["status"], 0, &[]);
    let revoke = ["revoke", "agent", "reader", "--reason", "a flood"];
    check(&world, &revoke, 0, &[]);
    drop((strangers, local));
    check(&world, &["status"], 0, &[]);
}

/// How many connections of those who have proved who they are a server with so few files has seats for.
const PROVED: usize = 64;

/// A connection of another run to the gateway, over which something was answered and which stays.
struct Guest {
    client: Child,
    _input: std::process::ChildStdin,
}

impl Guest {
    fn sit(world: &World, folder: &str) -> Self {
        let gateway = gateway(world, folder);
        let work = world.directory.path().join("work");
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-quiet", "-connect"])
            .arg(gateway.to_string())
            .args(["-cert", "svid.pem", "-key", "key.pem"])
            .current_dir(work.join(folder));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = piped.stderr(Stdio::null()).spawn().unwrap();
        let mut input = client.stdin.take().unwrap();
        let request = "GET /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        input.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(client.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 404"), "{line}");
        Self {
            client,
            _input: input,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.client.kill();
        self.client.wait().unwrap();
    }
}

/// ASI08: a run is served on by a gateway that is full of others, each with as many connections as it has, and ends as its
/// command does.
#[test]
fn asi08_a_full_gateway_ends_no_run() {
    let mut world = World::start(None);
    apply_free_template(&world);
    world.start_again_with_files(FILES).unwrap();
    let seats = format!("seats for {PROVED} connections of agents");
    assert!(world.complaints().contains(&seats));
    let script = "echo ready; read -r word; echo \"$word\"";
    let run = ["run", "--quiet", "--task", "free", "--for", "reader", "--"];
    let mut runner = world.command(&[&run[..], &["sh", "-c", script]].concat());
    let piped = runner.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut runner = piped.spawn().unwrap();
    let mut output = BufReader::new(runner.stdout.take().unwrap());
    let mut said = String::new();
    output.read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    // They go on coming after all seats are taken.
    let guests: Vec<_> = (0..PROVED + 4)
        .map(|number| Guest::sit(&world, &format!("svid-{number}")))
        .collect();
    let list = ["task", "list", "--all"];
    let listed = check(&world, &list, 0, &["active"]);
    assert!(!listed.contains("cancelled"), "{listed}");
    runner.stdin.take().unwrap().write_all(b"works\n").unwrap();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "ready\nworks\n");
    assert!(runner.wait().unwrap().success());
    let listed = check(&world, &list, 0, &["completed"]);
    assert!(!listed.contains("cancelled"), "{listed}");
    drop(guests);
}

//! Crowds at the doors: whoever opens connections takes what is theirs, and nobody is kept from revoking.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
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

fn gateway(world: &World) -> SocketAddr {
    let start = ["task", "start", "free", "--for", "reader", "--svid", "svid"];
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
    let gateway = gateway(&world);
    let strangers: Vec<_> = (0..CROWD)
        .map(|_| TcpStream::connect(gateway).unwrap())
        .collect();
    let workload = world.state().join("workload.sock");
    let local: Vec<_> = (0..CROWD)
        .filter_map(|_| UnixStream::connect(&workload).ok())
        .collect();
    check(&world, &["status"], 0, &[]);
    let revoke = ["revoke", "agent", "reader", "--reason", "a flood"];
    check(&world, &revoke, 0, &[]);
    // Whoever came first and sat still has given its seat up.
    assert_eq!((&strangers[0]).read(&mut [0]).unwrap_or(0), 0);
    drop((strangers, local));
    check(&world, &["status"], 0, &[]);
}

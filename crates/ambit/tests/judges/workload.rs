//! The SPIFFE client for Python judges the Workload API: registered by its path, it is the instance of one task.

use std::{fs, path::Path, process::Command};

use super::world::{JUDGE, World, judge, succeed, tool};

#[test]
fn the_python_client_gets_what_it_is_due() {
    let world = World::start(&[], "");
    let python = fs::read_to_string(tool("python")).unwrap();
    // The wrapper runs the environment's Python, which is a link to the machine's.
    let mut words = python.split_whitespace().map(|it| it.trim_matches('\''));
    let program = Path::new(words.find(|it| it.ends_with("/python")).unwrap());
    let program = program.canonicalize().unwrap();
    let agent = world.path("estate/agents/judge.toml");
    let registered = format!("\n[[workload]]\npath = \"{}\"\n", program.display());
    fs::write(&agent, fs::read_to_string(&agent).unwrap() + &registered).unwrap();
    let template = world.path("estate/templates/judge.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(template, text.replace("\"required\"", "\"optional\"")).unwrap();
    world.done(&["apply", "../estate"]);
    let mut client = Command::new(tool("python"));
    client
        .arg(judge("workload").join("spiffe_client.py"))
        .arg("reports");
    let socket = format!("unix://{}", world.path("state/workload.sock").display());
    client.env("SPIFFE_ENDPOINT_SOCKET", socket);
    let early = client.output().unwrap();
    assert!(!early.status.success(), "no task waits: {early:?}");
    world.done(&["task", "start", JUDGE, "--for", JUDGE, "--attested"]);
    let name = succeed(&client.output().unwrap(), &["spiffe_client.py"]);
    assert!(name.contains("/agent/judge/inst_"), "{name}");
    // Its process is gone, and with it the task.
    assert!(!client.output().unwrap().status.success());
}

//! Whose run a process is.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, Digest,
    estate::{Agent, Risk, Workload},
};

use crate::{DigestWanted, ProcessAttributes, digest_wanted, identify_workload};

fn agent(name: &str, workloads: &[Workload]) -> (AgentName, Agent) {
    let name: AgentName = name.parse().unwrap();
    let agent = Agent {
        name: name.clone(),
        owner: "ana".to_owned(),
        purpose: "answers".to_owned(),
        risk: Risk::Low,
        environment: "test".to_owned(),
        review_by: "2027-01-01".to_owned(),
        templates: BTreeSet::new(),
        parts_of: BTreeSet::new(),
        model_endpoints: BTreeSet::new(),
        workloads: workloads.to_vec(),
        tokens: Vec::new(),
        svids: Vec::new(),
        federates_with: BTreeSet::new(),
    };
    (name, agent)
}

fn seen() -> ProcessAttributes {
    ProcessAttributes {
        uid: 1001,
        gid: 1002,
        pid: 7,
        path: Some("/usr/bin/agent".to_owned()),
        sha256: Some(Digest::of(b"agent")),
        unit: Some("agent.service".to_owned()),
    }
}

fn of(uid: u32) -> Workload {
    Workload {
        uid: Some(uid),
        ..Workload::default()
    }
}

fn all() -> Workload {
    Workload {
        uid: Some(1001),
        gid: Some(1002),
        path: Some("/usr/bin/agent".to_owned()),
        sha256: Some(Digest::of(b"agent")),
        unit: Some("agent.service".to_owned()),
    }
}

/// Expects the agent, or a part of the refusal.
fn check(agents: &[(AgentName, Agent)], seen: ProcessAttributes, wanted: Result<&str, &str>) {
    let agents: BTreeMap<_, _> = agents.iter().cloned().collect();
    match (identify_workload(seen, &agents), wanted) {
        (Ok(found), Ok(name)) => assert_eq!(found.agent().as_str(), name),
        (Err(error), Err(part)) => {
            let text = error.to_string();
            assert!(text.contains(part), "`{part}` not in `{text}`");
        }
        (found, wanted) => panic!("{found:?}, wanted {wanted:?}"),
    }
}

type Change = fn(&mut ProcessAttributes);

#[test]
fn every_attribute_that_is_named_must_fit() {
    check(&[agent("a", &[all()])], seen(), Ok("a"));
    check(&[agent("a", &[of(1), of(1001)])], seen(), Ok("a"));
    let changes: [(&str, Change); 5] = [
        ("uid should be 1001 and is 0", |it| it.uid = 0),
        ("gid should be 1002 and is 0", |it| it.gid = 0),
        ("path should be /usr/bin/agent and is /tmp/agent", |it| {
            it.path = Some("/tmp/agent".to_owned());
        }),
        ("and is not seen", |it| it.sha256 = None),
        ("unit should be agent.service and is other.service", |it| {
            it.unit = Some("other.service".to_owned());
        }),
    ];
    for (part, change) in changes {
        let mut other = seen();
        change(&mut other);
        check(&[agent("a", &[all()])], other, Err(part));
    }
}

#[test]
fn a_process_is_one_agent_or_nobody() {
    check(&[], seen(), Err("write a `[[workload]]`"));
    check(&[agent("a", &[])], seen(), Err("no agent is registered"));
    check(
        &[agent("a", &[of(1001)]), agent("b", &[all()])],
        seen(),
        Err("agent `a` and agent `b`"),
    );
    // Two registrations of one agent are one agent.
    check(&[agent("a", &[of(1001), all()])], seen(), Ok("a"));
    // The nearest is the one of which most fits.
    let mut near = all();
    near.gid = Some(5);
    check(
        &[agent("a", &[of(1)]), agent("b", &[near])],
        seen(),
        Err("nearest is agent `b`: gid should be 5 and is 1002"),
    );
}

#[test]
fn the_executable_is_read_only_when_that_decides() {
    let wanted = |agents: &[(AgentName, Agent)], seen: ProcessAttributes| {
        digest_wanted(&seen, &agents.iter().cloned().collect())
    };
    let unread = ProcessAttributes {
        sha256: None,
        ..seen()
    };
    let other_user = ProcessAttributes {
        uid: 5,
        ..unread.clone()
    };
    assert_eq!(
        wanted(&[agent("a", &[all()])], unread.clone()),
        DigestWanted::Yes
    );
    assert_eq!(
        wanted(&[agent("a", &[all()])], other_user),
        DigestWanted::No
    );
    assert_eq!(wanted(&[agent("a", &[of(1001)])], unread), DigestWanted::No);
}

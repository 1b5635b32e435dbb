//! Tasks that wait for whoever proves to be a run of their agent.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use ambit_core::{
    Digest, Millis, TaskId,
    claim::ClaimStanding,
    estate::{Agent, Estate, Workload},
    record::Body,
    task::{Contained, Task},
};
use ambit_engine::{
    Claim, EngineError, Refusal, StartTask, Started, State, WAITING_PER_AGENT_MAX, Waits, rebuild,
};
use ambit_identity::{
    AttestedWorkload, Claimant, JoinToken, ProcessAttributes, SvidKey, identify_workload,
};
use ambit_testkit::{World, office};

/// An office in which processes of user 1001 are runs of `clerk`, and those of user 1002 of `helper`.
fn staffed() -> Estate {
    let mut estate = office(&[]);
    let mut clerk = estate.agents.values().next().unwrap().clone();
    let registered = |uid| {
        vec![Workload {
            uid: Some(uid),
            ..Workload::default()
        }]
    };
    clerk.workloads = registered(1001);
    let helper = Agent {
        name: "helper".parse().unwrap(),
        workloads: registered(1002),
        ..clerk.clone()
    };
    estate.agents = BTreeMap::from([(clerk.name.clone(), clerk), (helper.name.clone(), helper)]);
    estate
}

fn process(uid: u32, name: &str) -> Claimant {
    Claimant::process(&attested(&staffed(), uid), name.as_bytes())
}

/// Returns a process of user `uid`, as the estate sees it.
pub(crate) fn attested(estate: &Estate, uid: u32) -> AttestedWorkload {
    let seen = ProcessAttributes {
        uid,
        gid: uid,
        pid: 7,
        path: None,
        sha256: None,
        unit: None,
    };
    identify_workload(seen, &estate.agents).unwrap()
}

/// Returns how tasks ended, as the log says, in its order.
pub(crate) fn ends_of(world: &World) -> Vec<(TaskId, &'static str)> {
    let records = world.records();
    let ended = records.iter().filter_map(|it| match &it.body {
        Body::TaskEnded { task, end, .. } => Some((*task, end.as_str())),
        _ => None,
    });
    ended.collect()
}

fn start(world: &mut World, agent: &str, waits: Waits) -> Result<Started, Refusal> {
    start_as(world, agent, waits, Contained::Namespaces)
}

pub(crate) fn start_as(
    world: &mut World,
    agent: &str,
    waits: Waits,
    contained: Contained,
) -> Result<Started, Refusal> {
    let ask = StartTask {
        template: "answer".parse().unwrap(),
        agent: agent.parse().unwrap(),
        parameters: BTreeMap::from([
            ("ticket".to_owned(), "T-1".into()),
            ("customer".to_owned(), "kim@example.org".into()),
        ]),
        contained,
    };
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    world.run(async move { handle.start_waiting_task(&ana, ask, waits, moment).await })
}

pub(crate) fn waits(world: &mut World, agent: &str) -> Arc<Task> {
    start(world, agent, Waits::ForAgent).unwrap().task
}

fn end(world: &mut World, task: &Task) {
    let ended = world.handle.end_unserved(task.id);
    world.run(ended).unwrap();
}

/// Claims, and says what came of it: `new` or `known` and the task, or why not.
pub(crate) fn claim(world: &mut World, claimant: &Claimant) -> String {
    let (handle, claimant) = (world.handle.clone(), claimant.clone());
    told(world.run(async move { handle.claim(claimant).await }))
}

fn told(claim: Result<Claim, EngineError>) -> String {
    match claim.unwrap() {
        Claim::New(task) => format!("new {}", task.id),
        Claim::Known(task) => format!("known {}", task.id),
        Claim::OtherAgent => "other agent".to_owned(),
        Claim::NothingWaits => "nothing waits".to_owned(),
    }
}

#[test]
fn each_task_is_claimed_once_in_the_order_of_their_start() {
    let mut world = World::new(staffed(), 1);
    let (a, b) = (process(1001, "a"), process(1001, "b"));
    assert_eq!(claim(&mut world, &a), "nothing waits");
    world.start();
    assert_eq!(claim(&mut world, &a), "nothing waits", "it has its runner");
    let tasks: Vec<_> = (0..3).map(|_| waits(&mut world, "clerk")).collect();
    end(&mut world, &tasks[0]);
    assert_eq!(claim(&mut world, &process(1002, "c")), "nothing waits");
    assert_eq!(claim(&mut world, &a), format!("new {}", tasks[1].id));
    assert_eq!(claim(&mut world, &a), format!("known {}", tasks[1].id));
    assert_eq!(claim(&mut world, &process(1002, "a")), "other agent");
    // Two at once: the one order decides, and nobody gets what another has.
    let (handle, others) = (world.handle.clone(), [b, process(1001, "d")]);
    let [first, second] = others.map(|it| {
        let handle = handle.clone();
        async move { handle.claim(it).await }
    });
    let both = world.run(async move {
        let (mut first, mut second) = (pin!(first), pin!(second));
        // Both ask before either is answered.
        let early = poll_fn(|context| {
            let answered = [first.as_mut().poll(context), second.as_mut().poll(context)];
            Poll::Ready(answered.map(|it| it.is_ready()))
        });
        assert_eq!(early.await, [false, false]);
        (first.await, second.await)
    });
    assert_eq!(told(both.0), format!("new {}", tasks[2].id));
    assert_eq!(told(both.1), "nothing waits");
    end(&mut world, &tasks[1]);
    assert_eq!(claim(&mut world, &a), "nothing waits");
    let claimed = |body: &Body| matches!(body, Body::TaskClaimed { .. });
    assert_eq!(
        world
            .records()
            .iter()
            .filter(|it| claimed(&it.body))
            .count(),
        2
    );
}

#[test]
fn claims_and_what_waits_outlive_a_restart() {
    let mut world = World::new(staffed(), 2);
    let (first, second) = (waits(&mut world, "clerk"), waits(&mut world, "clerk"));
    let token = JoinToken::of_chance([5; 32]);
    let joined = Waits::ForJoinToken(token.digest());
    let third = start(&mut world, "clerk", joined).unwrap().task;
    let a = process(1001, "a");
    assert_eq!(claim(&mut world, &a), format!("new {}", first.id));
    world.settle();
    let rebuilt = rebuild(world.archive.as_ref()).unwrap();
    assert_eq!(
        State::load(world.archive.as_ref()).unwrap().digest(),
        rebuilt.digest
    );
    let clock = world.clock.clone();
    let mut world = World::open(world.crash(), staffed(), clock);
    assert_eq!(claim(&mut world, &a), format!("known {}", first.id));
    assert_eq!(
        claim(&mut world, &process(1001, "b")),
        format!("new {}", second.id)
    );
    assert_eq!(claim(&mut world, &process(1001, "c")), "nothing waits");
    let key = SvidKey::generate([8; 32]).unwrap().proved().unwrap();
    let joining = Claimant::joining(&token, &key);
    assert_eq!(claim(&mut world, &joining), format!("new {}", third.id));
    let state = State::load(world.archive.as_ref()).unwrap();
    let workload = joining.workload();
    let standing = state.task(third.id).unwrap().claim;
    assert_eq!(standing, ClaimStanding::Claimed { workload });
}

#[test]
fn a_join_token_is_good_for_one_claim() {
    let mut world = World::new(staffed(), 3);
    let token = JoinToken::of_chance([5; 32]);
    let joined = Waits::ForJoinToken(token.digest());
    let task = start(&mut world, "clerk", joined).unwrap().task;
    let key = |seed| SvidKey::generate([seed; 32]).unwrap().proved().unwrap();
    assert_eq!(claim(&mut world, &process(1001, "a")), "nothing waits");
    let wrong = Claimant::joining(&JoinToken::of_chance([6; 32]), &key(8));
    assert_eq!(claim(&mut world, &wrong), "nothing waits");
    let (mine, thief) = (
        Claimant::joining(&token, &key(8)),
        Claimant::joining(&token, &key(9)),
    );
    // Twelve at once, each with a key of its own: one has it.
    let (handle, others) = (world.handle.clone(), (20..32).map(key));
    let others: Vec<_> = others.map(|it| Claimant::joining(&token, &it)).collect();
    let all = others.iter().chain([&mine]).map(|it| {
        let (handle, it) = (handle.clone(), it.clone());
        Box::pin(async move { handle.claim(it).await })
    });
    let mut all: Vec<_> = all.collect();
    let told_all = world.run(async move {
        // All ask before any is answered.
        poll_fn(|context| {
            let early = all
                .iter_mut()
                .any(|it| it.as_mut().poll(context).is_ready());
            assert!(!early);
            Poll::Ready(())
        })
        .await;
        let mut told_all = Vec::new();
        for it in all {
            told_all.push(told(it.await));
        }
        told_all
    });
    let new = told_all
        .iter()
        .filter(|it| **it == format!("new {}", task.id));
    assert_eq!(new.count(), 1);
    let nothing = told_all.iter().filter(|it| *it == "nothing waits");
    assert_eq!(nothing.count(), 12);
    for again in [mine, thief] {
        assert_eq!(claim(&mut world, &again), "nothing waits");
    }
    let secret = token.reveal().as_bytes();
    let told = world.records().iter().any(|it| {
        let leaf = ambit_audit::encode(it);
        leaf.windows(secret.len()).any(|part| part == secret)
    });
    assert!(!told, "only the digest is kept");
}

#[test]
fn what_has_expired_waits_no_longer() {
    let mut world = World::new(staffed(), 4);
    let task = waits(&mut world, "clerk");
    let a = process(1001, "a");
    world
        .clock
        .advance(task.expires_at.since(world.clock.now()));
    assert_eq!(claim(&mut world, &a), "nothing waits");
    let task = waits(&mut world, "clerk");
    assert_eq!(claim(&mut world, &a), format!("new {}", task.id));
    world
        .clock
        .advance(task.expires_at.since(world.clock.now()));
    // Its end is not written yet, and still it is nobody's.
    assert_eq!(claim(&mut world, &a), "nothing waits");
    let next = waits(&mut world, "clerk");
    assert_eq!(claim(&mut world, &a), format!("new {}", next.id));
    world.clock.advance(Millis::from_seconds(1));
    world.settle();
    assert_eq!(claim(&mut world, &a), format!("known {}", next.id));
}

#[test]
fn the_crowd_that_waits_is_bounded() {
    let mut world = World::new(staffed(), 5);
    for _ in 1..WAITING_PER_AGENT_MAX {
        waits(&mut world, "clerk");
    }
    let digest = Digest::of(b"a token");
    start(&mut world, "clerk", Waits::ForJoinToken(digest)).unwrap();
    let refused = start(&mut world, "clerk", Waits::ForAgent).unwrap_err();
    assert!(
        refused.to_string().contains("wait to be claimed"),
        "{refused}"
    );
    waits(&mut world, "helper");
    claim(&mut world, &process(1001, "a"));
    waits(&mut world, "clerk");
}

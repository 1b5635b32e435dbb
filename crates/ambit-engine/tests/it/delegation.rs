//! Parts of tasks: given, taken, taken back; and the maxima.

use std::{future::Future, pin::pin, sync::Arc, task::Poll};

use ambit_core::{
    DelegationId, Millis, Reason, SpiffeId, TaskId,
    act::Target,
    delegation::Delegation,
    estate::Estate,
    json::{self, Value},
    limits::{
        CHILDREN_PER_TASK_MAX, DELEGATION_DEPTH_MAX, DELEGATIONS_PER_TASK_MAX, LABELS_MAX,
        SUBTREE_TASKS_MAX,
    },
    record::Body,
    task::{Contained, End, TaskState},
};
use ambit_engine::{
    CompileEstate, Delegate, DelegateTask, Delegator, Ender, Inspection, Refusal, Started, State,
    TABLES, Withdrawal, rebuild, replay_all,
};
use ambit_identity::InstanceCaller;
use ambit_policy::{PartAsk, PolicyBook};
use ambit_testkit::{World, delegating_office};

use crate::support::{ask, done, id, pass};

/// Everything that the template `answer` gives.
pub(crate) const ALL: &str = r#"[
    {"type":"ambit_task","server":"tickets","datatypes":["tools"]},
    {"type":"ambit_task","server":"tickets","actions":["close_ticket","send_reply","refund"]}]"#;
/// Closing tickets, and nothing else.
pub(crate) const CLOSE: &str =
    r#"[{"type":"ambit_task","server":"tickets","actions":["close_ticket"]}]"#;
/// Reading tickets, and nothing else.
pub(crate) const READ: &str =
    r#"[{"type":"ambit_task","server":"tickets","datatypes":["tools","resources","prompts"]}]"#;

/// Who acts in a test: the run of an agent, or a person by alias.
#[derive(Clone)]
pub(crate) enum By {
    Run(InstanceCaller),
    Person(&'static str),
}

/// Returns what is to be given: `details` of `task` to `to`, `depth` hops deep.
pub(crate) fn part(task: TaskId, to: &str, details: &str, depth: u8) -> DelegateTask {
    DelegateTask {
        task,
        to: to.parse().unwrap(),
        spiffe_id: None,
        part: PartAsk::from_details(&json::parse(details.as_bytes()).unwrap()).unwrap(),
        ttl: None,
        depth_left: depth,
    }
}

pub(crate) fn delegate(
    world: &mut World,
    by: &By,
    what: DelegateTask,
) -> Result<Delegation, Refusal> {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    match by.clone() {
        By::Run(caller) => world.run(async move {
            let by = Delegator::Instance(&caller);
            handle.delegate(by, what, moment).await
        }),
        By::Person(alias) => {
            let caller = world.person(alias);
            world.run(async move {
                let by = Delegator::Person(&caller);
                handle.delegate(by, what, moment).await
            })
        }
    }
}

pub(crate) fn exchange(
    world: &mut World,
    by: &By,
    delegation: DelegationId,
) -> Result<(Started, InstanceCaller), Refusal> {
    exchange_as(world, by, delegation, Contained::Namespaces)
}

pub(crate) fn exchange_as(
    world: &mut World,
    by: &By,
    delegation: DelegationId,
    contained: Contained,
) -> Result<(Started, InstanceCaller), Refusal> {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let started = match by.clone() {
        By::Run(caller) => world.run(async move {
            let by = Delegate::Instance(&caller);
            handle.exchange(by, delegation, contained, moment).await
        }),
        By::Person(alias) => {
            let caller = world.person(alias);
            world.run(async move {
                let by = Delegate::Runner(&caller);
                handle.exchange(by, delegation, contained, moment).await
            })
        }
    }?;
    let caller = world.instance(&started.task);
    Ok((started, caller))
}

pub(crate) fn withdraw(
    world: &mut World,
    by: &By,
    delegation: DelegationId,
) -> Result<Withdrawal, Refusal> {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    match by.clone() {
        By::Run(caller) => world.run(async move {
            handle
                .withdraw(Delegator::Instance(&caller), delegation, moment)
                .await
        }),
        By::Person(alias) => {
            let caller = world.person(alias);
            world.run(async move {
                handle
                    .withdraw(Delegator::Person(&caller), delegation, moment)
                    .await
            })
        }
    }
}

/// Gives `details` of the caller's task to `to` and has ana's runner take it.
pub(crate) fn child(
    world: &mut World,
    (task, caller): (TaskId, &InstanceCaller),
    (to, details, depth): (&str, &str, u8),
) -> (Started, InstanceCaller) {
    let by = By::Run(caller.clone());
    let given = delegate(world, &by, part(task, to, details, depth)).expect("may delegate");
    exchange(world, &By::Person("ana"), given.id).expect("may take it")
}

/// Returns the code of a denial.
pub(crate) fn code<T>(result: Result<T, Refusal>) -> Reason {
    match result {
        Err(Refusal::Denied { denied, .. }) => denied.reason,
        Err(other) => panic!("refused without a decision: {other}"),
        Ok(_) => panic!("this may not be"),
    }
}

/// Awaits both, polling the first one first.
pub(crate) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut left, mut right) = (None, None);
    std::future::poll_fn(move |context| {
        if left.is_none()
            && let Poll::Ready(it) = one.as_mut().poll(context)
        {
            left = Some(it);
        }
        if right.is_none()
            && let Poll::Ready(it) = other.as_mut().poll(context)
        {
            right = Some(it);
        }
        match (left.take(), right.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (one, other) => {
                (left, right) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

pub(crate) fn inspection(world: &mut World) -> Inspection {
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    world
        .run(async move { handle.may_inspect(&ana, moment).await })
        .expect("ana may look")
}

/// Returns how a task stands, with its calls.
pub(crate) fn standing(world: &mut World, task: TaskId) -> (TaskState, u32) {
    let look = inspection(world);
    let task = world.handle.task(&look, task).unwrap().expect("known");
    (task.state, task.usage.calls)
}

pub(crate) fn office() -> World {
    World::new(delegating_office(2, &[]), 5)
}

/// Says that the log folds to the stored rows and that every decision in it is derived again alike.
pub(crate) fn rebuilt_alike(world: &World, depth_max: u8) {
    rebuilt_alike_in(world, delegating_office(depth_max, &[]));
}

/// Says the same of a world with this estate.
pub(crate) fn rebuilt_alike_in(world: &World, estate: Estate) {
    let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
    for table in TABLES {
        let stored = world.archive.rows(table).unwrap().into_iter().collect();
        assert_eq!(rebuilt.tables.get(table), Some(&stored), "{table}");
    }
    let digest = State::load(world.archive.as_ref()).unwrap().digest();
    assert_eq!(digest, rebuilt.digest);
    let book = PolicyBook::compile(Arc::new(estate));
    let book = Arc::new(book.expect("an estate"));
    let compile: CompileEstate = Arc::new(move |_| Ok(book.clone()));
    let report = replay_all(world.archive.as_ref(), &compile).expect("a log that is read");
    assert!(report.different.is_empty(), "{report:?}");
}

#[test]
fn a_child_acts_within_its_part_and_its_parent_pays() {
    let mut world = office();
    let (root, caller) = world.start();
    let (started, helper) = child(&mut world, (root.task.id, &caller), ("helper", CLOSE, 0));
    assert_eq!(started.task.subject, root.task.subject);
    assert_eq!(started.task.agent.as_str(), "helper");
    assert_ne!(started.task.instance, root.task.instance);
    assert_eq!(ask(&mut world, &helper, "close_ticket", id("T-1")), "allow");
    let other = ask(&mut world, &helper, "close_ticket", id("T-2"));
    assert_eq!(other, "deny argument_out_of_bounds");
    let read = ask(&mut world, &helper, "get_ticket", id("T-1"));
    assert_eq!(read, "deny tool_not_granted");
    assert_eq!(standing(&mut world, root.task.id).1, 1);
    // The template lets two calls through in all: one is left for the parent, and none after it.
    assert_eq!(ask(&mut world, &caller, "close_ticket", id("T-1")), "allow");
    let beyond = ask(&mut world, &helper, "close_ticket", id("T-1"));
    assert_eq!(beyond, "deny budget_exhausted");
    world.settle();
    rebuilt_alike(&world, 2);
}

#[test]
fn ending_the_middle_ends_what_is_below_and_leaves_what_is_above() {
    let mut world = office();
    let (root, a) = world.start();
    let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 1));
    let (last, c) = child(&mut world, (middle.task.id, &b), ("archivist", READ, 0));
    assert_eq!(ask(&mut world, &c, "get_ticket", id("T-1")), "allow");
    assert_eq!(
        ask(&mut world, &c, "close_ticket", id("T-1")),
        "deny tool_not_granted"
    );
    assert_eq!(ask(&mut world, &b, "close_ticket", id("T-1")), "allow");
    let under_way = pass(&mut world, &c, "get_ticket", id("T-2"));
    let target = Target::Task(middle.task.id);
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let report = world.run(async move {
        let revoking = handle.revoke(&ana, target, "odd".to_owned(), moment);
        let (report, ()) = both(revoking, async move {
            under_way.cancelled().await;
            drop(under_way);
        })
        .await;
        report
    });
    let report = report.expect("revoked");
    assert_eq!(report.crossed.len(), 1);
    let mut ended = report.ended;
    ended.sort();
    let mut wanted = vec![middle.task.id, last.task.id];
    wanted.sort();
    assert_eq!(ended, wanted);
    assert_eq!(
        ask(&mut world, &c, "get_ticket", id("T-1")),
        "deny task_ended"
    );
    assert_eq!(
        ask(&mut world, &b, "get_ticket", id("T-1")),
        "deny task_ended"
    );
    assert_eq!(ask(&mut world, &a, "get_ticket", id("T-1")), "allow");
    world.settle();
    rebuilt_alike(&world, 2);
}

#[test]
fn every_end_above_ends_what_is_below() {
    let check = |end: End, below: End| {
        let mut world = office();
        let (root, a) = world.start();
        let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 1));
        let (last, _) = child(&mut world, (middle.task.id, &b), ("archivist", READ, 0));
        if end == End::Expired {
            world.clock.advance(Millis::from_seconds(3601));
            crate::support::tick(&mut world);
        } else {
            let (handle, ana, moment) = (
                world.handle.clone(),
                world.person("ana"),
                world.clock.moment(),
            );
            let task = root.task.id;
            let ended = world.run(async move {
                let by = Ender::Person(&ana);
                handle.end_task(by, task, end, moment).await
            });
            let below = ended.expect("ended").below;
            assert_eq!(below, [middle.task.id, last.task.id]);
        }
        world.settle();
        for task in [middle.task.id, last.task.id] {
            let row = world.archive.row("tasks_ended", &task.to_string()).unwrap();
            let row = json::parse(&row.expect("ended")).unwrap();
            assert_eq!(
                row.get("state").and_then(Value::as_str),
                Some(below.as_str())
            );
        }
        rebuilt_alike(&world, 2);
    };
    check(End::Completed, End::Cancelled);
    check(End::Cancelled, End::Cancelled);
    check(End::Expired, End::Expired);
}

#[test]
fn taking_a_delegation_back_ends_the_child() {
    let mut world = office();
    let (root, a) = world.start();
    let by = By::Run(a.clone());
    let given = delegate(&mut world, &by, part(root.task.id, "helper", ALL, 1)).unwrap();
    let (middle, b) = exchange(&mut world, &By::Person("ana"), given.id).unwrap();
    let (last, c) = child(&mut world, (middle.task.id, &b), ("archivist", READ, 0));
    let back = withdraw(&mut world, &by, given.id).expect("its own");
    assert_eq!(back.ended.len(), 2);
    assert!(back.ended.contains(&last.task.id));
    assert_eq!(
        ask(&mut world, &c, "get_ticket", id("T-1")),
        "deny task_ended"
    );
    assert_eq!(ask(&mut world, &a, "get_ticket", id("T-1")), "allow");
    assert_eq!(
        code(withdraw(&mut world, &by, given.id)),
        Reason::DelegationUsed
    );
    rebuilt_alike(&world, 2);
}

#[test]
fn a_person_delegates_too_and_a_run_takes_a_part_beside_its_own() {
    let mut world = office();
    let (root, a) = world.start();
    let (_, own) = child(&mut world, (root.task.id, &a), ("helper", READ, 0));
    let what = part(root.task.id, "helper", CLOSE, 0);
    let given = delegate(&mut world, &By::Person("ana"), what).expect("on her behalf");
    let (second, again) = exchange(&mut world, &By::Run(own.clone()), given.id).expect("named");
    assert_ne!(second.task.instance, own.instance());
    assert_eq!(ask(&mut world, &again, "close_ticket", id("T-1")), "allow");
    // The run's first task is what it was.
    assert_eq!(
        ask(&mut world, &own, "close_ticket", id("T-1")),
        "deny tool_not_granted"
    );
    assert_eq!(ask(&mut world, &own, "get_ticket", id("T-1")), "allow");
}

#[test]
fn labels_go_down_at_the_start_and_up_at_each_reply() {
    let mut world = office();
    let (root, a) = world.start();
    let passage = pass(&mut world, &a, "get_ticket", id("T-1"));
    done(&mut world, passage);
    let (started, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 0));
    let look = inspection(&mut world);
    let labels = |world: &World, task: TaskId| {
        let task = world.handle.task(&look, task).unwrap().unwrap();
        task.usage.labels.to_string()
    };
    assert_eq!(labels(&world, started.task.id), "customer");
    let passage = pass(&mut world, &b, "get_ticket", id("T-1"));
    let effect = ambit_engine::Effect {
        status: ambit_core::record::Status::Done,
        took: Millis::new(1),
        sent_bytes: 1,
        received_bytes: 1,
        labels: ambit_core::Labels::new(["payroll".parse().unwrap()]).unwrap(),
        result: None,
        failure: None,
    };
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    world
        .run(async move { handle.performed(passage, effect, moment).await })
        .expect("written");
    // Durable before the child had its first byte.
    assert_eq!(labels(&world, root.task.id), "customer, payroll");
    let mail =
        || crate::support::arguments([("to", "kim@example.org".into()), ("body", "Hi".into())]);
    assert_eq!(
        ask(&mut world, &a, "send_reply", mail()),
        "deny label_may_not_leave"
    );
    rebuilt_alike(&world, 2);
}

#[test]
fn a_start_reads_children_and_open_delegations_back() {
    let mut world = office();
    let (root, a) = world.start();
    let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 1));
    let what = part(
        middle.task.id,
        "archivist",
        r#"[{"type":"ambit_task","server":"tickets","actions":["close_ticket"],"constraints":{"id":{"equals":"T-1"}}}]"#,
        0,
    );
    let given = delegate(&mut world, &By::Run(b.clone()), what).unwrap();
    world.settle();
    let clock = world.clock.clone();
    let estate = delegating_office(2, &[]);
    let opened = world.crash();
    let opened = ambit_testkit::Opened {
        durable: opened.durable,
        archive: opened.archive,
    };
    let mut world = World::open(opened, estate, clock);
    assert_eq!(ask(&mut world, &b, "close_ticket", id("T-1")), "allow");
    let (_, c) = exchange(&mut world, &By::Person("ana"), given.id).expect("still open");
    assert_eq!(ask(&mut world, &c, "close_ticket", id("T-1")), "allow");
    assert_eq!(
        ask(&mut world, &c, "get_ticket", id("T-1")),
        "deny tool_not_granted"
    );
}

#[test]
fn the_log_alone_tells_the_chain() {
    let mut world = office();
    let (root, a) = world.start();
    let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 1));
    child(&mut world, (middle.task.id, &b), ("archivist", READ, 0));
    let mut hops = Vec::new();
    for record in world.records() {
        if let Body::DelegationSpent { task, .. } = record.body {
            hops.push((
                task.lineage.parent().unwrap(),
                task.id,
                task.agent.to_string(),
            ));
        }
    }
    assert_eq!(hops.len(), 2);
    assert_eq!((hops[0].0, hops[0].1), (root.task.id, middle.task.id));
    assert_eq!(
        (hops[1].0, hops[1].2.as_str()),
        (middle.task.id, "archivist")
    );
    // No value of a constraint is in it.
    let what = r#"[{"type":"ambit_task","server":"tickets","actions":["close_ticket"],"constraints":{"id":{"equals":"T-1"}}}]"#;
    let by = By::Run(a);
    delegate(&mut world, &by, part(root.task.id, "helper", what, 0)).unwrap();
    for record in world.records() {
        let text = String::from_utf8(ambit_audit::encode(&record)).unwrap();
        assert!(!text.contains("T-1"), "{text}");
    }
}

#[test]
fn the_maxima_hold_at_and_one_beyond() {
    // Delegations of one task.
    let mut world = World::new(delegating_office(DELEGATION_DEPTH_MAX, &[]), 5);
    let (root, a) = world.start();
    let by = By::Run(a);
    let mut given = Vec::new();
    for _ in 0..DELEGATIONS_PER_TASK_MAX {
        given.push(delegate(&mut world, &by, part(root.task.id, "helper", READ, 1)).unwrap());
    }
    let beyond = delegate(&mut world, &by, part(root.task.id, "helper", READ, 1));
    assert_eq!(code(beyond), Reason::DelegationsLimit);
    // Children of one task.
    let ana = By::Person("ana");
    let mut children = Vec::new();
    for given in given.iter().take(CHILDREN_PER_TASK_MAX) {
        children.push(exchange(&mut world, &ana, given.id).unwrap());
    }
    let beyond = exchange(&mut world, &ana, given[CHILDREN_PER_TASK_MAX].id);
    assert_eq!(code(beyond), Reason::DelegationsLimit);
    // Tasks below one that a person started.
    let mut live = CHILDREN_PER_TASK_MAX;
    'all: for (started, caller) in &children {
        for _ in 0..CHILDREN_PER_TASK_MAX {
            let by = By::Run(caller.clone());
            let given = delegate(&mut world, &by, part(started.task.id, "helper", READ, 0));
            let taken = exchange(&mut world, &ana, given.unwrap().id);
            if live == SUBTREE_TASKS_MAX {
                assert_eq!(code(taken), Reason::DelegationsLimit);
                break 'all;
            }
            taken.expect("there is room");
            live += 1;
        }
    }
    assert_eq!(live, SUBTREE_TASKS_MAX);
}

#[test]
fn the_deepest_chain_ends_at_its_maximum() {
    let mut world = World::new(delegating_office(DELEGATION_DEPTH_MAX, &[]), 5);
    let (root, mut caller) = world.start();
    let mut task = root.task.id;
    for hop in 0..DELEGATION_DEPTH_MAX {
        let left = DELEGATION_DEPTH_MAX - hop - 1;
        let beyond = part(task, "helper", READ, left + 1);
        let beyond = delegate(&mut world, &By::Run(caller.clone()), beyond);
        assert_eq!(code(beyond), Reason::DelegationExceedsParent);
        let (started, next) = child(&mut world, (task, &caller), ("helper", READ, left));
        assert_eq!(started.task.lineage.depth(), hop + 1);
        (task, caller) = (started.task.id, next);
    }
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
    let beyond = delegate(
        &mut world,
        &By::Run(caller.clone()),
        part(task, "helper", READ, 0),
    );
    assert_eq!(code(beyond), Reason::DelegationTooDeep);
    assert_eq!(standing(&mut world, root.task.id).1, 1);
    rebuilt_alike(&world, DELEGATION_DEPTH_MAX);
}

/// The facts of a decision name the labels of every task above: what can't be written down is refused, on the record.
#[test]
fn a_decision_that_no_record_could_hold_is_a_refusal() {
    let mut estate = delegating_office(DELEGATION_DEPTH_MAX, &[]);
    let long = |number: usize| format!("{number:02}{}", "x".repeat(61)).parse().unwrap();
    let server = estate.servers.get_mut("tickets").unwrap();
    let tool = server.tools.get_mut("get_ticket").unwrap();
    tool.result_labels = ambit_core::Labels::new((0..LABELS_MAX).map(long)).unwrap();
    let mut world = World::new(estate, 5);
    let (root, a) = world.start();
    let (mut task, mut caller) = (root.task.id, a.clone());
    for hop in 0..DELEGATION_DEPTH_MAX {
        let left = DELEGATION_DEPTH_MAX - hop - 1;
        let (started, next) = child(&mut world, (task, &caller), ("helper", READ, left));
        (task, caller) = (started.task.id, next);
    }
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
    for _ in 0..2 {
        let answer = ask(&mut world, &caller, "get_ticket", id("T-1"));
        assert_eq!(answer, "deny too_large");
    }
    assert_eq!(ask(&mut world, &a, "get_ticket", id("T-1")), "allow");
    rebuilt_alike(&world, DELEGATION_DEPTH_MAX);
}

#[test]
fn a_delegation_can_name_one_run() {
    let mut world = office();
    let (root, a) = world.start();
    let (_, one) = child(&mut world, (root.task.id, &a), ("helper", READ, 0));
    let (_, other) = child(&mut world, (root.task.id, &a), ("helper", READ, 0));
    let spiffe_id: SpiffeId = one.spiffe_id().clone();
    let what = DelegateTask {
        spiffe_id: Some(spiffe_id),
        ..part(root.task.id, "helper", CLOSE, 0)
    };
    let given = delegate(&mut world, &By::Run(a), what).unwrap();
    let wrong = exchange(&mut world, &By::Run(other), given.id);
    assert_eq!(code(wrong), Reason::DelegateMismatch);
    let runner = exchange(&mut world, &By::Person("ana"), given.id);
    assert_eq!(code(runner), Reason::DelegateMismatch);
    exchange(&mut world, &By::Run(one), given.id).expect("it was named");
}

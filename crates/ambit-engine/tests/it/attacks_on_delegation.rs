//! Attacks on delegation, named by OWASP agentic (ASI) and non-human identity (NHI) ids.

use ambit_core::{
    Labels, Millis, Reason,
    act::Target,
    record::{Body, Status},
    task::Contained,
};
use ambit_engine::{Answer, Delegate, Effect};
use ambit_testkit::{World, delegating_office, office as closed_office};

use crate::{
    delegation::{
        ALL, By, CLOSE, READ, both, child, code, delegate, exchange, exchange_as, office, part,
        rebuilt_alike, standing, withdraw,
    },
    support::{arguments, ask, id, pass, word},
};

/// ASI03, delegation chain splicing: whoever asks is the actor, and only the one whom the delegation names.
#[test]
fn asi03_a_spliced_pair_of_subject_and_actor_is_refused() {
    let mut world = office();
    let (root, a) = world.start();
    let (_, archivist) = child(&mut world, (root.task.id, &a), ("archivist", READ, 0));
    let what = part(root.task.id, "helper", CLOSE, 0);
    let given = delegate(&mut world, &By::Run(a.clone()), what).unwrap();
    // Another agent with a proven identity and a live task of the same person.
    let spliced = exchange(&mut world, &By::Run(archivist), given.id);
    assert_eq!(code(spliced), Reason::DelegateMismatch);
    // The delegator itself.
    let own = exchange(&mut world, &By::Run(a), given.id);
    assert_eq!(code(own), Reason::DelegateMismatch);
    // A certificate of the right agent with no task behind it.
    let mut stranger = (*root.task).clone();
    stranger.spiffe_id = "spiffe://example.org/agent/helper/inst_0000000000000000000000002d"
        .parse()
        .unwrap();
    let stranger = world.instance(&stranger);
    let unknown = exchange(&mut world, &By::Run(stranger), given.id);
    assert_eq!(code(unknown), Reason::TaskEnded);
    // A person on whose behalf the task does not run.
    let other = exchange(&mut world, &By::Person("ben"), given.id);
    assert_eq!(code(other), Reason::RoleMissing);
    exchange(&mut world, &By::Person("ana"), given.id).expect("nothing of this spent it");
}

/// ASI03: a delegation that was spent is worth nothing.
#[test]
fn asi03_a_replayed_delegation_is_refused() {
    let mut world = office();
    let (root, a) = world.start();
    let given = delegate(
        &mut world,
        &By::Run(a),
        part(root.task.id, "helper", CLOSE, 0),
    )
    .unwrap();
    let (handle, ana) = (world.handle.clone(), world.person("ana"));
    let (one, other) = (world.clock.moment(), world.clock.moment());
    // Both wait for the same turn of the log.
    let taken = world.run(async move {
        let take = |moment| {
            handle.exchange(
                Delegate::Runner(&ana),
                given.id,
                Contained::Namespaces,
                moment,
            )
        };
        both(take(one), take(other)).await
    });
    taken.0.expect("the first");
    assert_eq!(code(taken.1), Reason::DelegationUsed);
    let again = exchange(&mut world, &By::Person("ana"), given.id);
    assert_eq!(code(again), Reason::DelegationUsed);
}

/// ASI03, confused deputy: a run can give away, and take back, parts of its own task only.
#[test]
fn asi03_a_confused_deputy_gives_nothing_of_another_task() {
    let mut world = office();
    let (root, a) = world.start();
    let (_, other) = world.start();
    let deputy = By::Run(other);
    let what = || part(root.task.id, "helper", READ, 0);
    let foreign = delegate(&mut world, &deputy, what());
    assert_eq!(code(foreign), Reason::TaskUnknown);
    let given = delegate(&mut world, &By::Run(a), what()).unwrap();
    assert_eq!(
        code(withdraw(&mut world, &deputy, given.id)),
        Reason::TaskUnknown
    );
    // A child has no say over its parent.
    let (_, b) = exchange(&mut world, &By::Person("ana"), given.id).unwrap();
    let upward = delegate(&mut world, &By::Run(b), what());
    assert_eq!(code(upward), Reason::TaskUnknown);
    // Neither has a person on whose behalf it does not run.
    for alias in ["ben", "eve"] {
        let by = By::Person(alias);
        assert_eq!(code(delegate(&mut world, &by, what())), Reason::RoleMissing);
    }
}

/// What goes beyond a part: details before the tool's own, members of those, and what the denial says.
const BEYOND: [(&str, &str, &str); 9] = [
    (
        r#"{"type":"ambit_task","server":"tickets","datatypes":["tools"]},"#,
        "",
        "reads of `tickets`",
    ),
    (
        r#"{"type":"ambit_task","server":"tickets","actions":["close_ticket"]},"#,
        "",
        "tool `tickets/close_ticket`",
    ),
    ("", r#","calls_max":2"#, "calls of `tickets/refund`"),
    (
        "",
        r#","constraints":{"cents":{"min":1,"max":101}}"#,
        "argument `cents`",
    ),
    (
        "",
        r#","constraints":{"cents":{"min":1}}"#,
        "argument `cents`",
    ),
    (
        "",
        r#","constraints":{"cents":{"one_of":[5,500]}}"#,
        "argument `cents`",
    ),
    (
        "",
        r#","constraints":{"id":{"one_of":["T-1","T-2"]}}"#,
        "argument `id`",
    ),
    (
        r#"{"type":"ambit_task","calls_max":4},"#,
        "",
        "calls: 4 asked for, 3 left",
    ),
    (
        r#"{"type":"ambit_task","may_emit":["customer"]},"#,
        "",
        "label `customer`",
    ),
];

/// ASI03, NHI05: no dimension grows on the way down, and the denial says which one would have.
#[test]
fn asi03_privileges_do_not_grow_by_delegating_again() {
    let mut world = office();
    let (root, a) = world.start();
    let narrow = r#"[
        {"type":"ambit_task","calls_max":3,"may_emit":[]},
        {"type":"ambit_task","server":"tickets","actions":["refund"],"calls_max":1,
         "constraints":{"cents":{"min":1,"max":100},"id":{"one_of":["T-1"]}}}]"#;
    let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", narrow, 1));
    let by = By::Run(b.clone());
    let tool = |rest: &str| {
        format!(r#"{{"type":"ambit_task","server":"tickets","actions":["refund"]{rest}}}"#)
    };
    for (before, rest, says) in BEYOND {
        let details = format!("[{before}{}]", tool(rest));
        let what = part(middle.task.id, "archivist", &details, 0);
        let Err(ambit_engine::Refusal::Denied {
            denied,
            explanation,
        }) = delegate(&mut world, &by, what)
        else {
            panic!("{details}")
        };
        assert_eq!(denied.reason, Reason::DelegationExceedsParent, "{details}");
        assert!(explanation.contains(says), "{details}: {explanation}");
    }
    let late = ambit_engine::DelegateTask {
        ttl: Some(Millis::from_seconds(3601)),
        ..part(middle.task.id, "archivist", &format!("[{}]", tool("")), 0)
    };
    assert_eq!(
        code(delegate(&mut world, &by, late)),
        Reason::DelegationExceedsParent
    );
    // What is not said is inherited: the bounds above hold at every call.
    let (_, c) = child(
        &mut world,
        (middle.task.id, &b),
        ("archivist", &format!("[{}]", tool("")), 0),
    );
    let refund = |cents: i64, id: &str| {
        arguments([
            ("id", id.into()),
            ("cents", ambit_core::json::Value::Integer(cents)),
        ])
    };
    let over = ask(&mut world, &c, "refund", refund(101, "T-1"));
    assert_eq!(over, "deny argument_out_of_bounds");
    let held = ask(&mut world, &c, "refund", refund(100, "T-1"));
    assert_eq!(held, "hold approval_required");
    rebuilt_alike(&world, 2);
}

/// ASI03: a template that says nothing of delegation gives nothing away; neither does an agent that takes no parts.
#[test]
fn asi03_nothing_is_delegable_that_was_not_declared() {
    let mut world = World::new(closed_office(&[]), 5);
    let (root, a) = world.start();
    let by = By::Run(a);
    let closed = delegate(&mut world, &by, part(root.task.id, "clerk", READ, 0));
    assert_eq!(code(closed), Reason::NotDelegable);
    let mut estate = delegating_office(2, &[]);
    let archivist = estate
        .agents
        .values_mut()
        .find(|it| it.name.as_str() == "archivist");
    archivist.unwrap().parts_of.clear();
    let mut world = World::new(estate, 5);
    let (root, a) = world.start();
    let by = By::Run(a);
    for to in ["archivist", "nobody"] {
        let unlisted = delegate(&mut world, &by, part(root.task.id, to, READ, 0));
        assert_eq!(code(unlisted), Reason::DelegateNotListed);
    }
}

/// ASI03: a child may not run less contained than its parent.
#[test]
fn asi03_a_child_does_not_leave_the_containment_of_its_parent() {
    let mut world = office();
    let (root, a) = world.start();
    let given = delegate(
        &mut world,
        &By::Run(a),
        part(root.task.id, "helper", READ, 0),
    )
    .unwrap();
    let loose = exchange_as(&mut world, &By::Person("ana"), given.id, Contained::None);
    assert_eq!(code(loose), Reason::ContainmentRequired);
}

/// ASI08, cascading: siblings that ask at the same moment share one budget.
#[test]
fn asi08_siblings_race_for_one_budget() {
    let mut world = office();
    let (root, a) = world.start();
    let (_, one) = child(&mut world, (root.task.id, &a), ("helper", CLOSE, 0));
    let (_, other) = child(&mut world, (root.task.id, &a), ("archivist", CLOSE, 0));
    assert_eq!(ask(&mut world, &one, "close_ticket", id("T-1")), "allow");
    // One of the template's two calls is left. Both are decided before either is written.
    let act = || ambit_core::act::Act::CallTool {
        server: "tickets".parse().unwrap(),
        tool: "close_ticket".parse().unwrap(),
        arguments: id("T-1"),
    };
    let handle = world.handle.clone();
    let (first, second) = (world.clock.moment(), world.clock.moment());
    let (left, right) = world.run(async move {
        both(
            handle.decide(&one, act(), first),
            handle.decide(&other, act(), second),
        )
        .await
    });
    assert_eq!(word(&left.unwrap()), "allow");
    assert_eq!(word(&right.unwrap()), "deny budget_exhausted");
    assert_eq!(standing(&mut world, root.task.id).1, 2);
    rebuilt_alike(&world, 2);
}

/// ASI07: a child does not launder what it, its parent, or the run that took the part has read.
#[test]
fn asi07_labels_are_not_laundered_through_a_child() {
    let mut world = office();
    let (root, a) = world.start();
    let secret = |world: &mut World, caller: &ambit_identity::InstanceCaller| {
        let passage = pass(world, caller, "get_ticket", id("T-1"));
        let effect = Effect {
            status: Status::Done,
            took: Millis::new(1),
            sent_bytes: 1,
            received_bytes: 1,
            labels: Labels::new(["payroll".parse().unwrap()]).unwrap(),
            result: None,
            failure: None,
        };
        let (handle, moment) = (world.handle.clone(), world.clock.moment());
        world
            .run(async move { handle.performed(passage, effect, moment).await })
            .expect("written");
    };
    let mail = || arguments([("to", "kim@example.org".into()), ("body", "Hi".into())]);
    // A run that has read under another task brings its labels with it.
    let (other, clerk) = world.start();
    let (_, reader) = child(&mut world, (other.task.id, &clerk), ("helper", READ, 0));
    secret(&mut world, &reader);
    let given = delegate(
        &mut world,
        &By::Run(a.clone()),
        part(root.task.id, "helper", ALL, 0),
    );
    let (_, laundry) = exchange(&mut world, &By::Run(reader), given.unwrap().id).unwrap();
    let sent = ask(&mut world, &laundry, "send_reply", mail());
    assert_eq!(sent, "deny label_may_not_leave");
    // And the task that let it in has them too.
    assert_eq!(
        ask(&mut world, &a, "send_reply", mail()),
        "deny label_may_not_leave"
    );
    // What a parent read before, its child has read.
    let (third, c) = world.start();
    secret(&mut world, &c);
    let (_, child_of_c) = child(&mut world, (third.task.id, &c), ("helper", ALL, 0));
    let sent = ask(&mut world, &child_of_c, "send_reply", mail());
    assert_eq!(sent, "deny label_may_not_leave");
    rebuilt_alike(&world, 2);
}

/// ASI10, NHI01: after the end of anybody above, nothing is given and nothing is taken.
#[test]
fn asi10_nothing_is_delegated_after_a_revocation() {
    for what in ["task", "root", "agent", "delegate", "person", "instance"] {
        let mut estate = delegating_office(2, &[]);
        let ben = estate.people.get_mut("ben").unwrap();
        // Somebody is left who could lift what hits ana.
        ben.roles
            .insert(ambit_core::estate::PersonRole::Administrator);
        let mut world = World::new(estate, 5);
        let (root, a) = world.start();
        let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 1));
        let by = By::Run(b.clone());
        let give = || part(middle.task.id, "archivist", READ, 0);
        let given = delegate(&mut world, &by, give()).unwrap();
        let target = match what {
            "task" => Target::Task(middle.task.id),
            "root" => Target::Task(root.task.id),
            "agent" => Target::Agent("helper".parse().unwrap()),
            "delegate" => Target::Agent("archivist".parse().unwrap()),
            "person" => Target::Person(root.task.subject),
            _ => Target::Instance(a.instance()),
        };
        let (handle, ana, moment) = (
            world.handle.clone(),
            world.person("ana"),
            world.clock.moment(),
        );
        world
            .run(async move { handle.revoke(&ana, target, "odd".to_owned(), moment).await })
            .expect("revoked");
        let before = world.records().len();
        for taken in [
            exchange(&mut world, &By::Person("ana"), given.id).map(|_| ()),
            delegate(&mut world, &by, give()).map(|_| ()),
        ] {
            assert!(taken.is_err(), "{what}");
        }
        for record in world.records().iter().skip(before) {
            let gave = matches!(
                record.body,
                Body::DelegationMade { .. } | Body::DelegationSpent { .. }
            );
            assert!(!gave, "{what}");
        }
        rebuilt_alike(&world, 2);
    }
}

/// ASI10: an exchange that races a revocation is before it or not at all.
#[test]
fn asi10_an_exchange_that_races_a_revocation_is_before_it_or_not_at_all() {
    for revoke_first in [true, false] {
        let mut world = office();
        let (root, a) = world.start();
        let given = delegate(
            &mut world,
            &By::Run(a),
            part(root.task.id, "helper", READ, 0),
        )
        .unwrap();
        let (handle, ana) = (world.handle.clone(), world.person("ana"));
        let (one, other) = (world.clock.moment(), world.clock.moment());
        let target = Target::Task(root.task.id);
        let (revoked, taken) = world.run(async move {
            let revoke = handle.revoke(&ana, target, "odd".to_owned(), one);
            let by = Delegate::Runner(&ana);
            let take = handle.exchange(by, given.id, Contained::Namespaces, other);
            if revoke_first {
                both(revoke, take).await
            } else {
                let (taken, revoked) = both(take, revoke).await;
                (revoked, taken)
            }
        });
        let report = revoked.expect("revoked");
        match taken {
            Ok(started) => {
                assert!(!revoke_first);
                assert!(
                    report.ended.contains(&started.task.id),
                    "the child was cut with it"
                );
                let caller = world.instance(&started.task);
                let late = ask(&mut world, &caller, "get_ticket", id("T-1"));
                assert_eq!(late, "deny task_ended");
            }
            Err(refusal) => {
                assert!(revoke_first);
                assert_eq!(code::<()>(Err(refusal)), Reason::TaskEnded);
            }
        }
        rebuilt_alike(&world, 2);
    }
}

/// ASI03: the tenant's policies on an agent bind what it delegates.
#[test]
fn asi03_a_policy_on_an_agent_binds_its_children() {
    let policy = r#"@id("clerks-do-not-close")
        forbid (principal, action == Ambit::Action::"write_tool", resource)
        when { principal.agent == Ambit::Agent::"clerk" };"#;
    let mut world = World::new(delegating_office(2, &[("policies/a.cedar", policy)]), 5);
    let (root, a) = world.start();
    assert_eq!(
        ask(&mut world, &a, "close_ticket", id("T-1")),
        "deny policy_forbids"
    );
    let (_, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 0));
    assert_eq!(
        ask(&mut world, &b, "close_ticket", id("T-1")),
        "deny policy_forbids"
    );
    assert!(matches!(
        world.call(&b, "get_ticket", id("T-1")),
        Answer::Allowed(_)
    ));
}

/// ASI03: a policy on the delegate's own agent binds the part that it takes and what is given on of it, and nobody above.
#[test]
fn asi03_a_policy_on_the_delegate_binds_its_part() {
    let policy = r#"@id("helpers-do-not-close")
        forbid (principal, action == Ambit::Action::"write_tool", resource)
        when { principal.agent == Ambit::Agent::"helper" };"#;
    let mut world = World::new(delegating_office(2, &[("policies/a.cedar", policy)]), 5);
    let (root, a) = world.start();
    let (middle, b) = child(&mut world, (root.task.id, &a), ("helper", ALL, 1));
    let (_, c) = child(&mut world, (middle.task.id, &b), ("archivist", ALL, 0));
    let mut says = |caller, tool| ask(&mut world, caller, tool, id("T-1"));
    for (who, caller) in [("the delegate", &b), ("who takes a part of its part", &c)] {
        assert_eq!(says(caller, "close_ticket"), "deny policy_forbids", "{who}");
        let read = says(caller, "get_ticket");
        assert!(read.starts_with("allow"), "{who}: {read}");
    }
    let above = says(&a, "close_ticket");
    assert!(above.starts_with("allow"), "{above}");
}

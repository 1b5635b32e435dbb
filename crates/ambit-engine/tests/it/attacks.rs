//! Attacks on the promises, named by OWASP agentic (ASI) and non-human identity (NHI) ids.

use ambit_core::{
    Labels, Millis, Reason,
    act::Target,
    estate::PersonRole,
    json::Value,
    record::{Body, Status, Verdict},
};
use ambit_engine::{Effect, Refusal, RevocationReport};
use ambit_identity::{Carrier, InstanceCaller};
use ambit_testkit::{World, office};

use crate::support::{
    arguments, ask, held, id, pass, person, refund, tick, two_administrators, verdict, word,
};

fn world() -> (World, ambit_engine::Started, InstanceCaller) {
    let mut world = World::new(office(&[]), 3);
    let (started, caller) = world.start();
    (world, started, caller)
}

fn revoke(world: &mut World, alias: &str, target: Target) -> Result<RevocationReport, Refusal> {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    world.run(async move {
        handle
            .revoke(&person, target, "found odd calls".to_owned(), moment)
            .await
    })
}

/// ASI01: a hijacked goal asks for what the task does not name.
#[test]
fn asi01_goal_hijack_finds_no_tool() {
    let (mut world, _, caller) = world();
    let mail = arguments([
        ("to", "mallory@example.net".into()),
        ("body", "all customers".into()),
    ]);
    assert_eq!(
        ask(&mut world, &caller, "send_reply", mail),
        "deny argument_out_of_bounds"
    );
    assert_eq!(
        ask(&mut world, &caller, "delete_ticket", id("T-1")),
        "deny tool_not_granted"
    );
}

/// ASI02: tool misuse with arguments that read otherwise than they are written.
#[test]
fn asi02_odd_arguments_do_not_slip_through() {
    let (mut world, _, caller) = world();
    for odd in [
        "T-1 ",
        " T-1",
        "t-1",
        "T\u{2010}1",
        "T-1\u{0}",
        "T-1/../T-2",
    ] {
        let answer = ask(&mut world, &caller, "close_ticket", id(odd));
        assert_eq!(answer, "deny argument_out_of_bounds", "{odd:?}");
    }
    let list = arguments([("id", ["T-1"].into_iter().collect::<Value>())]);
    assert_eq!(
        ask(&mut world, &caller, "close_ticket", list),
        "deny arguments_invalid"
    );
    let half = arguments([("id", "T-1".into()), ("cents", Value::Number(0.5))]);
    assert_eq!(
        ask(&mut world, &caller, "refund", half),
        "deny arguments_invalid"
    );
}

/// ASI03: identity and privilege abuse: another run's certificate gives nothing under this task.
#[test]
fn asi03_another_instance_has_no_authority() {
    let (mut world, started, _) = world();
    let mut stranger = (*started.task).clone();
    stranger.instance = ambit_core::InstanceId::from_bits(77);
    stranger.spiffe_id = "spiffe://example.org/agent/clerk/inst_0000000000000000000000002d"
        .parse()
        .unwrap();
    let caller = world.instance(&stranger);
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny task_unknown"
    );
}

/// ASI03: the right run under another agent's name gives nothing either.
#[test]
fn asi03_a_spliced_agent_name_has_no_authority() {
    let (mut world, started, _) = world();
    let mut spliced = (*started.task).clone();
    spliced.spiffe_id = format!("spiffe://example.org/agent/admin/{}", spliced.instance)
        .parse()
        .unwrap();
    let caller = world.instance(&spliced);
    let answer = ask(&mut world, &caller, "get_ticket", id("T-1"));
    assert!(answer.starts_with("deny task_"), "{answer}");
}

/// ASI09: a human's trust: a yes for one act cannot be used for another, nor twice.
#[test]
fn asi09_a_yes_is_for_one_act_only() {
    let (mut world, _, caller) = world();
    let (_, other) = world.start();
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    assert_eq!(
        ask(&mut world, &other, "refund", refund(500)),
        "hold approval_required",
        "another task"
    );
    assert_eq!(ask(&mut world, &caller, "refund", refund(500)), "allow");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "hold approval_required"
    );
}

/// ASI03: an agent without containment ends its own task and then speaks for its user: the user stays weak.
#[test]
fn asi03_ending_an_uncontained_task_does_not_make_its_user_strong() {
    let mut estate = office(&[]);
    for template in estate.templates.values_mut() {
        template.approver = ambit_core::estate::Approver::Anyone;
    }
    let ana = estate.people.get_mut("ana").expect("ana");
    ana.oidc = Some(ambit_core::estate::OidcSubject {
        issuer: "https://id.example.org".to_owned(),
        subject: "248289761001".to_owned(),
    });
    let mut world = World::new(estate, 3);
    let (started, caller) = world.start();
    let approval = held(&mut world, &caller, 500);
    let ask = ambit_engine::StartTask {
        template: "answer".parse().unwrap(),
        agent: "clerk".parse().unwrap(),
        parameters: started.task.parameters.clone(),
        contained: ambit_core::task::Contained::None,
    };
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let loose = world
        .run(async move { handle.start_task(&ana, ask, moment).await })
        .expect("started");
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let own = loose.task.id;
    world
        .run(async move {
            let by = ambit_engine::Ender::Person(&ana);
            handle
                .end_task(by, own, ambit_core::task::End::Completed, moment)
                .await
        })
        .expect("ended");
    let answer = verdict(&mut world, "ana", approval, Verdict::Approved);
    let reason = match answer {
        Err(Refusal::Denied { denied, .. }) => denied.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, Reason::BindingTooWeak);
    // A key in that user's files proves as little; a browser's sign-in is out of the agent's reach.
    let decided = |world: &mut World, carrier| {
        let (handle, ana) = (world.handle.clone(), world.signed_in("ana", carrier));
        let (moment, verdict) = (world.clock.moment(), ambit_core::record::Verdict::Approved);
        world.run(async move {
            handle
                .decide_approval(&ana, approval, verdict, moment)
                .await
        })
    };
    let Err(Refusal::Denied { denied, .. }) = decided(&mut world, Carrier::KeyFile) else {
        panic!("not denied");
    };
    assert_eq!(denied.reason, Reason::BindingTooWeak);
    decided(&mut world, Carrier::Browser).expect("approved");
}

/// ASI10: an act under way is cut when the estate in force would not let it begin any more.
#[test]
fn asi10_a_narrower_estate_cuts_what_is_under_way() {
    let (mut world, _, caller) = world();
    let read = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let write = pass(&mut world, &caller, "close_ticket", id("T-1"));
    let mut narrower = office(&[]);
    for template in narrower.templates.values_mut() {
        template
            .tools
            .retain(|(_, tool), _| tool.as_str() != "close_ticket");
    }
    narrower.digest = ambit_core::Digest::of(b"narrower");
    let book = ambit_policy::PolicyBook::compile(std::sync::Arc::new(narrower)).expect("an estate");
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let book = std::sync::Arc::new(book);
    let applied = async move { handle.apply(&ana, book, Vec::new(), moment).await };
    let door = async {
        write.cancelled().await;
        drop(write);
    };
    world.run(both(applied, door)).expect("applied");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let untouched = std::pin::pin!(read.cancelled())
        .poll(&mut context)
        .is_pending();
    assert!(untouched, "what is still permitted goes on");
}

#[test]
fn applying_the_estate_in_force_leaves_no_record() {
    let mut world = World::new(office(&[]), 1);
    let apply = |world: &mut World| {
        let book = ambit_policy::PolicyBook::compile(std::sync::Arc::new(office(&[])));
        let book = std::sync::Arc::new(book.expect("an estate"));
        let (handle, ana, moment) = (
            world.handle.clone(),
            world.person("ana"),
            world.clock.moment(),
        );
        let applied = async move { handle.apply(&ana, book, Vec::new(), moment).await };
        world.run(applied).expect("applied")
    };
    let before = world.records().len();
    let applied = apply(&mut world);
    assert_eq!(applied.before, Some(applied.estate));
    assert_eq!(world.records().len(), before);
}

/// ASI09: two identical calls race for one yes: one wins, whatever both saw when they were decided.
#[test]
fn asi09_a_yes_is_spent_once_in_a_race() {
    let (mut world, _, caller) = world();
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (handle, caller, moment) =
                (world.handle.clone(), caller.clone(), world.clock.moment());
            let act = ambit_core::act::Act::CallTool {
                server: "tickets".parse().unwrap(),
                tool: "refund".parse().unwrap(),
                arguments: refund(500),
            };
            Box::pin(async move {
                handle
                    .decide(&caller, act, moment)
                    .await
                    .expect("an answer")
            })
        })
        .collect();
    let mut words: Vec<_> = world
        .run(crate::path::all(calls))
        .iter()
        .map(word)
        .collect();
    words.sort();
    let hold = "hold approval_required";
    assert_eq!(words, ["allow", hold, hold, hold]);
}

/// ASI10: a rogue agent is revoked while it acts: its act is cut and named, and nothing more is permitted.
#[test]
fn asi10_a_revocation_cuts_what_is_under_way() {
    let targets: [fn(&ambit_engine::Started) -> Target; 4] = [
        |it| Target::Task(it.task.id),
        |it| Target::Instance(it.task.instance),
        |it| Target::Agent(it.task.agent.clone()),
        |it| Target::Person(it.task.subject),
    ];
    for target in targets {
        let mut world = World::new(two_administrators(), 3);
        let (started, caller) = world.start();
        let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
        let decision = passage.decision();
        let (handle, ana, moment) = (
            world.handle.clone(),
            world.person("ana"),
            world.clock.moment(),
        );
        let wanted = target(&started);
        let door = async {
            passage.cancelled().await;
            drop(passage);
        };
        let revoked = async move {
            handle
                .revoke(&ana, wanted, "found odd calls".to_owned(), moment)
                .await
        };
        let report = world.run(both(revoked, door)).expect("ana operates");
        assert_eq!(report.crossed, [decision]);
        assert_eq!(report.ended, [started.task.id]);
        let answer = ask(&mut world, &caller, "get_ticket", id("T-1"));
        assert!(answer.starts_with("deny "), "{answer}");
        assert_no_permit_after_revocation(&world);
    }
}

/// ASI10: a permit that was recorded before the revocation and not used yet does not pass the door after it.
#[test]
fn asi10_a_recorded_permit_does_not_outlive_a_revocation() {
    for target in ["task", "server"] {
        let (mut world, started, caller) = world();
        let ambit_engine::Answer::Allowed(permit) = world.call(&caller, "get_ticket", id("T-1"))
        else {
            panic!("allowed")
        };
        let target = match target {
            "task" => Target::Task(started.task.id),
            _ => Target::Server("tickets".parse().unwrap()),
        };
        revoke(&mut world, "ana", target).expect("ana operates");
        let denied = world
            .handle
            .admit(permit, world.clock.now())
            .expect_err("too late");
        assert_eq!(denied.reason, Reason::PermitStale);
        world.settle();
        let not_sent =
            |body: &Body| matches!(body, Body::Performed(it) if it.status == Status::NotSent);
        assert!(world.records().iter().any(|it| not_sent(&it.body)));
    }
}

/// ASI03, NHI01: a yes given before its person was revoked is void: the task asks anew, and `why` says so. The yes of
/// another person stays.
#[test]
fn asi03_a_yes_does_not_outlive_the_person_who_gave_it() {
    let mut estate = two_administrators();
    let eve = estate.people.get_mut("eve").expect("eve");
    eve.roles = PersonRole::ALL.into_iter().collect();
    let mut world = World::new(estate, 3);
    let (_, caller) = world.start();
    let approvals = [500, 501, 502].map(|cents| held(&mut world, &caller, cents));
    for (alias, approval) in ["ben", "ben", "eve"].into_iter().zip(approvals) {
        verdict(&mut world, alias, approval, Verdict::Approved).expect("yes");
    }
    let ben = Target::Person(person(&mut world, "ben"));
    let report = revoke(&mut world, "ana", ben).expect("ana operates");
    assert_eq!(report.ended, [], "the task is ana's");
    let anew = held(&mut world, &caller, 500);
    assert_ne!(anew, approvals[0], "another question");
    assert_eq!(held(&mut world, &caller, 500), anew, "asked once");
    assert_no_permit_after_revocation(&world);
    let void = format!("the yes of {} no longer counts", approvals[0]);
    let said = explained(&world);
    assert_eq!(
        said.iter().filter(|it| it.contains(&void)).count(),
        1,
        "{said:?}"
    );
    assert_eq!(ask(&mut world, &caller, "refund", refund(502)), "allow");
    verdict(&mut world, "eve", anew, Verdict::Approved).expect("yes");
    assert_eq!(ask(&mut world, &caller, "refund", refund(500)), "allow");
}

/// ASI03, NHI01: who is reinstated has not said yes again.
#[test]
fn asi03_a_void_yes_stays_void_after_a_reinstatement() {
    let mut world = World::new(two_administrators(), 3);
    let (_, caller) = world.start();
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    let ben = Target::Person(person(&mut world, "ben"));
    revoke(&mut world, "ana", ben.clone()).expect("ana operates");
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let reason = "back from leave".to_owned();
    world
        .run(async move { handle.reinstate(&ana, ben, reason, moment).await })
        .expect("ana operates");
    let anew = held(&mut world, &caller, 500);
    assert_ne!(anew, approval);
    verdict(&mut world, "ben", anew, Verdict::Approved).expect("yes again");
    assert_eq!(ask(&mut world, &caller, "refund", refund(500)), "allow");
}

/// ASI03: once its person is revoked, what a yes permitted is cut, and does not pass the door if it has not left yet.
#[test]
fn asi03_what_a_revoked_yes_permitted_is_cut() {
    let mut world = World::new(two_administrators(), 3);
    let (_, caller) = world.start();
    for cents in [500, 501] {
        let approval = held(&mut world, &caller, cents);
        verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    }
    let passage = pass(&mut world, &caller, "refund", refund(500));
    let under_way = passage.decision();
    let ambit_engine::Answer::Allowed(permit) = world.call(&caller, "refund", refund(501)) else {
        panic!("allowed")
    };
    let ben = Target::Person(person(&mut world, "ben"));
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let door = async {
        passage.cancelled().await;
        drop(passage);
    };
    let reason = "found odd approvals".to_owned();
    let revoked = async move { handle.revoke(&ana, ben, reason, moment).await };
    let report = world.run(both(revoked, door)).expect("ana operates");
    assert_eq!(report.crossed, [under_way]);
    let denied = world
        .handle
        .admit(permit, world.clock.now())
        .expect_err("too late");
    assert_eq!(denied.reason, Reason::PermitStale);
}

/// ASI10: a door that does not answer is struck off after its bounded time.
#[test]
fn asi10_a_silent_door_does_not_hold_up_a_revocation() {
    let (mut world, started, caller) = world();
    let silent = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let (handle, ana, clock) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.clone(),
    );
    let target = Target::Task(started.task.id);
    let moment = clock.moment();
    let ticking = world.handle.clone();
    let revoked = async move {
        handle
            .revoke(&ana, target, "silent door".to_owned(), moment)
            .await
    };
    let time = async move {
        for _ in 0..12 {
            clock.advance(Millis::new(250));
            ticking.tick(clock.moment()).await.expect("a tick");
        }
    };
    let report = world.run(both(revoked, time)).expect("ana operates");
    assert_eq!(report.crossed, [silent.decision()]);
}

/// NHI01: offboarding: a revoked agent gets no new task, and a person without the role revokes nothing.
#[test]
fn nhi01_improper_offboarding_is_not_possible() {
    let (mut world, started, _) = world();
    let agent = Target::Agent(started.task.agent.clone());
    assert!(matches!(
        revoke(&mut world, "eve", agent.clone()),
        Err(Refusal::Denied { .. })
    ));
    revoke(&mut world, "ana", agent).expect("ana operates");
    let ask = ambit_engine::StartTask {
        template: "answer".parse().unwrap(),
        agent: "clerk".parse().unwrap(),
        parameters: started.task.parameters.clone(),
        contained: ambit_core::task::Contained::Namespaces,
    };
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let again = world.run(async move { handle.start_task(&ana, ask, moment).await });
    assert!(
        matches!(&again, Err(Refusal::Denied { denied, .. }) if denied.reason == Reason::AgentRevoked)
    );
}

/// Promise 4: an act whose door forgot it is shown as unknown, never guessed.
#[test]
fn an_act_that_nobody_ended_is_unknown() {
    let (mut world, _, caller) = world();
    drop(pass(&mut world, &caller, "close_ticket", id("T-1")));
    world.clock.advance(Millis::from_seconds(6));
    tick(&mut world);
    let unknown = |body: &Body| matches!(body, Body::Performed(it) if it.status == Status::Unknown);
    assert!(world.records().iter().any(|it| unknown(&it.body)));
}

/// Promise 2: labels that only a result shows count before the agent gets its first byte.
#[test]
fn labels_found_in_a_result_are_durable_at_once() {
    let mut estate = office(&[]);
    for template in estate.templates.values_mut() {
        template.may_emit = Labels::none();
    }
    for tool in estate
        .servers
        .values_mut()
        .flat_map(|it| it.tools.values_mut())
    {
        tool.result_labels = Labels::none();
    }
    let mut world = World::new(estate, 3);
    let (_, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let effect = Effect {
        status: Status::Done,
        took: Millis::new(1),
        sent_bytes: 1,
        received_bytes: 1,
        labels: Labels::new(["payroll".parse().unwrap()]).unwrap(),
        result: None,
        failure: None,
    };
    world
        .run(async move { handle.performed(passage, effect, moment).await })
        .expect("written");
    let mail = arguments([("to", "kim@example.org".into()), ("body", "hello".into())]);
    assert_eq!(
        word(&world.call(&caller, "send_reply", mail)),
        "deny label_may_not_leave"
    );
}

/// Returns why each decision that was no permit is so, in words for people.
fn explained(world: &World) -> Vec<String> {
    let said = |body: &Body| match body {
        Body::Decided(decided) => ambit_policy::explain(decided),
        _ => None,
    };
    let records = world.records();
    records.iter().filter_map(|it| said(&it.body)).collect()
}

/// Promise 5, read from the log alone: after a revocation there is no permit under what it took away.
fn assert_no_permit_after_revocation(world: &World) {
    let records = world.records();
    let revoked = records
        .iter()
        .position(|it| matches!(it.body, Body::Revoked { .. }))
        .unwrap();
    let permit = |body: &Body| matches!(body, Body::Decided(it) if matches!(it.answer, ambit_core::record::Answer::Allow { .. }));
    assert!(!records[revoked..].iter().any(|it| permit(&it.body)));
}

/// Waits for both and returns what the first gave.
async fn both<A: Future, B: Future>(first: A, second: B) -> A::Output {
    let (mut first, mut second) = (Box::pin(first), Box::pin(second));
    let (mut output, mut over) = (None, false);
    std::future::poll_fn(move |context| {
        if output.is_none()
            && let std::task::Poll::Ready(it) = first.as_mut().poll(context)
        {
            output = Some(it);
        }
        over = over || second.as_mut().poll(context).is_ready();
        match (over, output.take()) {
            (true, Some(it)) => std::task::Poll::Ready(it),
            (_, it) => {
                output = it;
                std::task::Poll::Pending
            }
        }
    })
    .await
}

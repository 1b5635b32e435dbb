//! The one path: what is allowed, held and denied, and what it leaves in the log.

use ambit_core::{
    Millis, Reason,
    limits::{ACTS_IN_FLIGHT_PER_TASK_MAX, PERMIT_ACT_BY, SEQUENCER_QUEUE_MAX},
    record::{Answer as Kept, Body, Status},
    task::End,
};
use ambit_engine::{Answer, Ender, EngineError};
use ambit_testkit::{World, office};

use crate::support::{arguments, ask, done, id, pass, refund, tick, whole_effect};

/// Asks for one call under a fresh task.
#[track_caller]
fn check(tool: &str, arguments: ambit_core::json::Value, expect: &str) {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    assert_eq!(ask(&mut world, &caller, tool, arguments), expect, "{tool}");
}

#[test]
fn each_act_gets_one_of_three_answers() {
    check("get_ticket", id("T-9"), "allow");
    check("close_ticket", id("T-1"), "allow");
    check("close_ticket", id("T-2"), "deny argument_out_of_bounds");
    check("refund", refund(500), "hold approval_required");
    check("refund", refund(5001), "deny argument_out_of_bounds");
    check("delete_ticket", id("T-1"), "deny tool_not_granted");
    check("no_such_tool", id("T-1"), "deny tool_unknown");
    check("get_ticket", arguments([]), "deny arguments_invalid");
    check(
        "get_ticket",
        arguments([("id", "T-1".into()), ("x", 1u64.into())]),
        "deny arguments_invalid",
    );
    let mail = |to: &str| arguments([("to", to.into()), ("body", "hello".into())]);
    check("send_reply", mail("kim@example.org"), "allow");
    check(
        "send_reply",
        mail("mallory@example.net"),
        "deny argument_out_of_bounds",
    );
}

#[test]
fn an_act_leaves_its_decision_before_and_its_outcome_after() {
    let mut world = World::new(office(&[]), 1);
    let (started, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let decision = passage.decision();
    let allowed = |body: &Body| matches!(body, Body::Decided(it) if it.decision == decision);
    assert!(
        world.records().iter().any(|it| allowed(&it.body)),
        "durable before the door"
    );
    done(&mut world, passage);
    let ended = |body: &Body| matches!(body, Body::Performed(it) if it.decision == decision && it.status == Status::Done);
    assert!(world.records().iter().any(|it| ended(&it.body)));
    let text = format!("{:?}", world.records());
    assert!(
        !text.contains("kim@example.org"),
        "no argument stands in the log in clear"
    );
    assert!(text.contains(&started.task.id.to_string()));
}

/// Nobody waits for an outcome, so it goes with the next turn: before it.
#[test]
fn an_outcome_stands_before_whatever_was_asked_after_it() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let first = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let before = world.records().len();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let mut ended = Box::pin(async move { handle.performed(first, whole_effect(), moment).await });
    assert!(ended.as_mut().poll(&mut context).is_ready(), "nobody waits");
    assert_eq!(world.records().len(), before);
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-2")), "allow");
    let after = world.records().split_off(before);
    let [ended, decided] = after.as_slice() else {
        panic!("an outcome and a decision, not {after:?}")
    };
    assert!(matches!(ended.body, Body::Performed(_)));
    assert!(matches!(decided.body, Body::Decided(_)));
}

#[test]
fn a_permit_ends_two_seconds_after_its_decision() {
    for (waited, passes) in [
        (PERMIT_ACT_BY.as_millis() - 1, true),
        (PERMIT_ACT_BY.as_millis(), false),
    ] {
        let mut world = World::new(office(&[]), 1);
        let (_, caller) = world.start();
        let Answer::Allowed(permit) = world.call(&caller, "get_ticket", id("T-1")) else {
            panic!()
        };
        world.clock.advance(Millis::new(waited));
        let passage = world.handle.admit(permit, world.clock.now());
        assert_eq!(passage.is_ok(), passes, "after {waited} ms");
        world.settle();
        let not_sent =
            |body: &Body| matches!(body, Body::Performed(it) if it.status == Status::NotSent);
        assert_eq!(world.records().iter().any(|it| not_sent(&it.body)), !passes);
    }
}

#[test]
fn budgets_end_at_their_maximum() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    assert_eq!(ask(&mut world, &caller, "close_ticket", id("T-1")), "allow");
    assert_eq!(ask(&mut world, &caller, "close_ticket", id("T-1")), "allow");
    assert_eq!(
        ask(&mut world, &caller, "close_ticket", id("T-1")),
        "deny budget_exhausted"
    );
    for _ in 2..20 {
        assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
    }
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny budget_exhausted"
    );
}

#[test]
fn calls_decided_at_the_same_time_share_one_budget() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (handle, caller, moment) =
                (world.handle.clone(), caller.clone(), world.clock.moment());
            let act = ambit_core::act::Act::CallTool {
                server: "tickets".parse().unwrap(),
                tool: "close_ticket".parse().unwrap(),
                arguments: id("T-1"),
            };
            Box::pin(async move { handle.decide(&caller, act, moment).await })
        })
        .collect();
    let answers = world.run(all(calls));
    let allowed = answers
        .iter()
        .filter(|it| matches!(it, Ok(Answer::Allowed(_))))
        .count();
    assert_eq!(
        allowed, 2,
        "the tool's maximum, though all were decided on the same snapshot"
    );
}

/// Polls all futures until all are done.
pub(crate) async fn all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(it) = std::pin::Pin::new(future).poll(context)
            {
                *output = Some(it);
            }
        }
        if outputs.iter().any(Option::is_none) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(outputs.iter_mut().filter_map(Option::take).collect())
    })
    .await
}

#[test]
fn a_task_has_so_many_acts_under_way_and_no_more() {
    let mut estate = office(&[]);
    for template in estate.templates.values_mut() {
        template.calls_max = 10_000;
    }
    let mut world = World::new(estate, 1);
    let (_, caller) = world.start();
    let mut passages = Vec::new();
    for _ in 0..ACTS_IN_FLIGHT_PER_TASK_MAX {
        passages.push(pass(&mut world, &caller, "get_ticket", id("T-1")));
    }
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny overloaded"
    );
    let Answer::Denied(denied) = world.call(&caller, "get_ticket", id("T-1")) else {
        panic!()
    };
    assert_eq!(denied.reason, Reason::Overloaded);
    passages.pop();
    // Two are allowed at the same time; the door takes one.
    let both = [0, 1].map(|_| match world.call(&caller, "get_ticket", id("T-1")) {
        Answer::Allowed(permit) => permit,
        other => panic!("{other:?}"),
    });
    let passed = both.map(|permit| world.handle.admit(permit, world.clock.now()));
    assert_eq!(passed.iter().filter(|it| it.is_ok()).count(), 1);
    drop(passed);
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
}

#[test]
fn a_task_expires_by_the_log_s_time_and_a_backward_clock_does_not_lengthen_it() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    world.clock.advance(Millis::from_seconds(3599));
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
    world.clock.advance(Millis::from_seconds(1));
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny task_expired"
    );
    tick(&mut world);
    world.clock.turn_back(Millis::from_seconds(1800));
    let answer = ask(&mut world, &caller, "get_ticket", id("T-1"));
    assert!(answer.starts_with("deny task_"), "{answer}");
    let ended = |body: &Body| {
        matches!(
            body,
            Body::TaskEnded {
                end: End::Expired,
                ..
            }
        )
    };
    assert!(world.records().iter().any(|it| ended(&it.body)));
    let times: Vec<_> = world.records().iter().map(|it| it.at).collect();
    assert!(times.is_sorted(), "time in the log never decreases");
}

#[test]
fn what_is_asked_after_the_end_is_told_of_its_task() {
    let mut world = World::new(office(&[]), 1);
    let (started, caller) = world.start();
    world.clock.advance(Millis::from_seconds(3600));
    tick(&mut world);
    tick(&mut world);
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny task_expired"
    );
    let last = world
        .records()
        .into_iter()
        .rev()
        .find_map(|it| match it.body {
            Body::Decided(it) => Some(it),
            _ => None,
        });
    let last = last.unwrap();
    assert_eq!(last.task, Some(started.task.id));
    assert_eq!(last.server.unwrap().as_str(), "tickets");
    assert_eq!(last.tool.unwrap().as_str(), "get_ticket");
}

#[test]
fn completing_a_task_ends_it_for_its_instance() {
    let mut world = World::new(office(&[]), 1);
    let (started, caller) = world.start();
    let (handle, moment, own) = (world.handle.clone(), world.clock.moment(), caller.clone());
    let id_of_task = started.task.id;
    world
        .run(async move {
            handle
                .end_task(Ender::Instance(&own), id_of_task, End::Completed, moment)
                .await
        })
        .expect("its own task");
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny task_ended"
    );
}

#[test]
fn labels_of_what_was_read_bound_what_may_leave() {
    let mut estate = office(&[]);
    for template in estate.templates.values_mut() {
        template.may_emit = ambit_core::Labels::none();
    }
    let mut world = World::new(estate, 1);
    let (_, caller) = world.start();
    let mail = || arguments([("to", "kim@example.org".into()), ("body", "hello".into())]);
    assert_eq!(ask(&mut world, &caller, "send_reply", mail()), "allow");
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
    assert_eq!(
        ask(&mut world, &caller, "send_reply", mail()),
        "deny label_may_not_leave"
    );
}

#[test]
fn a_tool_that_changed_is_denied_until_it_is_as_accepted_again() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let pin = office(&[])
        .tool(&"tickets".parse().unwrap(), &"get_ticket".parse().unwrap())
        .map(|it| it.pin);
    let seen = |world: &mut World, digest| {
        let handle = world.handle.clone();
        world
            .run(async move {
                handle
                    .tool_seen(
                        "tickets".parse().unwrap(),
                        "get_ticket".parse().unwrap(),
                        digest,
                    )
                    .await
            })
            .expect("written");
    };
    seen(&mut world, ambit_core::Digest::of(b"another description"));
    assert_eq!(
        ask(&mut world, &caller, "get_ticket", id("T-1")),
        "deny tool_changed"
    );
    let offers = world.handle.offers(&caller, world.clock.now()).unwrap();
    assert!(
        !offers.servers[0]
            .tools
            .iter()
            .any(|it| it.as_str() == "get_ticket")
    );
    seen(&mut world, pin.unwrap());
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
}

#[test]
fn a_flood_of_refusals_is_counted_and_does_not_stop_another_agent() {
    let mut world = World::new(office(&[]), 1);
    let (_, flooding) = world.start();
    let (_, calm) = world.start();
    let before = world.records().len();
    for _ in 0..500 {
        assert_eq!(
            ask(&mut world, &flooding, "delete_ticket", id("T-1")),
            "deny tool_not_granted"
        );
    }
    assert!(world.records().len() < before + 100, "not one record each");
    assert_eq!(ask(&mut world, &calm, "get_ticket", id("T-1")), "allow");
    tick(&mut world);
    let counted = world.records().into_iter().find_map(|it| match it.body {
        Body::RefusalsCoalesced { count, reason, .. } => Some((count, reason)),
        _ => None,
    });
    assert_eq!(counted, Some((450, Reason::ToolNotGranted)));
    let denials = world
        .records()
        .iter()
        .filter(
            |it| matches!(&it.body, Body::Decided(it) if matches!(it.answer, Kept::Deny { .. })),
        )
        .count();
    assert_eq!(denials, 50);
}

#[test]
fn the_sequencer_s_queue_ends_at_its_maximum() {
    let mut world = World::new(office(&[]), 1);
    let ana = world.person("ana");
    let mut waiting: Vec<_> = (0..=SEQUENCER_QUEUE_MAX)
        .map(|_| {
            let (handle, ana, moment) = (world.handle.clone(), ana.clone(), world.clock.moment());
            Box::pin(async move { handle.may_inspect(&ana, moment).await.map(|_| ()) })
        })
        .collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut poll = |index: usize| waiting[index].as_mut().poll(&mut context);
    for index in 0..SEQUENCER_QUEUE_MAX {
        assert!(poll(index).is_pending());
    }
    let beyond = poll(SEQUENCER_QUEUE_MAX);
    let busy = EngineError::Busy.to_string();
    assert!(matches!(beyond, std::task::Poll::Ready(Err(it)) if it.to_string() == busy));
    world.settle();
    assert!(poll(0).is_ready());
}

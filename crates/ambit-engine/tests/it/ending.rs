//! The clean end: nobody who still holds a handle keeps the engine, and nothing that was queued is lost.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use ambit_core::{
    Millis,
    limits::CLOCK_JUMP_MAX,
    record::{Body, Status},
};
use ambit_engine::{Answer, EngineError, Step};
use ambit_testkit::{World, office};

use crate::support::{done, id, pass, whole_effect};

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_end_waits_for_acts_under_way_and_for_nobody_else() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let held = world.handle.clone();
    assert!(poll(held.land()).is_pending(), "an act is under way");
    // Nothing begins any more.
    let (handle, again, moment) = (held.clone(), caller.clone(), world.clock.moment());
    let act = ambit_core::act::Act::CallTool {
        server: "tickets".parse().unwrap(),
        tool: "get_ticket".parse().unwrap(),
        arguments: id("T-1"),
    };
    let refused: Result<Answer, _> =
        world.run(async move { handle.decide(&again, act, moment).await });
    let Err(EngineError::Stopped(why)) = refused else {
        panic!("no act begins: {refused:?}")
    };
    assert!(why.contains("being stopped"), "{why}");
    done(&mut world, passage);
    assert!(poll(held.land()).is_ready());
    let ended = |it: &ambit_core::record::Record| matches!(it.body, Body::Performed(_));
    assert!(world.records().iter().any(ended), "its end is written");
    let records = world.records().len();
    held.finish();
    let mut sequencer = world.take_sequencer();
    assert_eq!(sequencer.step(), Step::Taken, "what waited is taken");
    assert_eq!(sequencer.step(), Step::Over, "handles are held still");
    let moment = world.clock.moment();
    let late = poll(held.refuse(&caller, "late", ambit_core::Reason::Malformed, moment));
    assert!(matches!(late, Poll::Ready(Err(_))), "{late:?}");
    assert_eq!(world.records().len(), records);
}

/// A decision may be durable before the end begins, and its act reach the door afterwards.
#[test]
fn no_act_departs_once_the_end_has_begun() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let Answer::Allowed(permit) = world.call(&caller, "get_ticket", id("T-1")) else {
        panic!("it is granted")
    };
    assert!(poll(world.handle.land()).is_ready(), "nothing is under way");
    let late = world.handle.admit(permit, world.clock.now());
    assert!(late.is_err(), "{late:?}");
    world.settle();
    let not_sent = |it: &ambit_core::record::Record| matches!(&it.body, Body::Performed(it) if it.status == Status::NotSent);
    assert!(world.records().iter().any(not_sent), "and that is written");
}

/// What nobody waits for waits while the log can take nothing, and is written once it can.
#[test]
fn an_outcome_outlives_trouble_with_the_clock() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let ended = |world: &World| {
        let is_end = |it: &ambit_core::record::Record| matches!(it.body, Body::Performed(_));
        world.records().iter().filter(|it| is_end(it)).count()
    };
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let performed = poll(handle.performed(passage, whole_effect(), moment));
    assert!(performed.is_ready(), "nobody waits");
    let jump = Millis::new(CLOCK_JUMP_MAX.as_millis() + 1);
    world.clock.advance(jump);
    // A step that takes nothing says so: whoever steps until nothing waits comes to an end.
    world.settle();
    assert_eq!(ended(&world), 0);
    world.clock.turn_back(jump);
    world.settle();
    assert_eq!(ended(&world), 1);
}

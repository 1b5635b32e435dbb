//! The clean end: nobody who still holds a handle keeps the engine, and nothing that was queued is lost.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use ambit_core::record::Body;
use ambit_engine::{Answer, EngineError, Step};
use ambit_testkit::{World, office};

use crate::support::{done, id, pass};

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

//! Tasks that nobody serves end, whatever stands in the way.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use ambit_core::{
    Millis, TaskId,
    limits::{CLOCK_JUMP_MAX, RECORDS_ASIDE_MAX, SEQUENCER_QUEUE_MAX},
    record::{Actor, Body},
    task::End,
};
use ambit_engine::EngineError;
use ambit_testkit::{World, office};

use crate::support::{id, pass, tick};

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns how the task ended and who said so.
fn ended(world: &World, task: TaskId) -> Vec<(End, Actor)> {
    let records = world.records().into_iter();
    let ends = records.filter_map(|it| match it.body {
        Body::TaskEnded { task: it, end, by } if it == task => Some((end, by)),
        _ => None,
    });
    ends.collect()
}

const GONE: (End, Actor) = (End::Cancelled, Actor::Ambit);

#[test]
fn a_task_that_nobody_serves_ends_though_nobody_waits_for_it() {
    let mut world = World::new(office(&[]), 1);
    let (started, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let task = started.task.id;
    drop(world.handle.end_unserved(task));
    world.settle();
    assert_eq!(ended(&world, task), [GONE]);
    assert!(poll(passage.cancelled()).is_ready());
    // One that has ended stays as it ended, and one that never was is nothing.
    for other in [task, TaskId::from_bits(1)] {
        assert!(matches!(
            poll(world.handle.end_unserved(other)),
            Poll::Ready(Ok(()))
        ));
    }
    tick(&mut world);
    assert_eq!(ended(&world, task), [GONE]);
}

/// The connections of a server that stops end, and its runners outlive it.
#[test]
fn a_server_that_stops_ends_no_task() {
    let mut world = World::new(office(&[]), 1);
    let (started, _) = world.start();
    let task = started.task.id;
    assert!(poll(world.handle.land()).is_ready());
    let refused = poll(world.handle.end_unserved(task));
    assert!(matches!(refused, Poll::Ready(Err(EngineError::Stopped(_)))));
    world.settle();
    tick(&mut world);
    assert_eq!(ended(&world, task), []);
}

/// The log takes nothing while the clock is wrong: the end waits for that, too.
#[test]
fn an_end_outlives_trouble_with_the_clock() {
    let mut world = World::new(office(&[]), 1);
    let (started, _) = world.start();
    let task = started.task.id;
    let jump = Millis::new(CLOCK_JUMP_MAX.as_millis() + 1);
    world.clock.advance(jump);
    drop(world.handle.end_unserved(task));
    world.settle();
    assert_eq!(ended(&world, task), []);
    world.clock.turn_back(jump);
    tick(&mut world);
    assert_eq!(ended(&world, task), [GONE]);
}

/// ASI08: ten thousand runs that go at once do not lose one of their ends.
#[test]
fn asi08_an_end_for_which_there_is_no_room_comes_with_the_next_tick() {
    let mut world = World::new(office(&[]), 1);
    let (started, _) = world.start();
    let (other, caller) = world.start();
    let task = started.task.id;
    let mut waiting: Vec<Pin<Box<dyn Future<Output = Result<_, EngineError>>>>> = Vec::new();
    let context = &mut Context::from_waker(Waker::noop());
    for _ in 0..SEQUENCER_QUEUE_MAX {
        let (handle, caller) = (world.handle.clone(), caller.clone());
        let mut one = Box::pin(async move { handle.attend(&caller).await });
        assert!(one.as_mut().poll(context).is_pending());
        waiting.push(one);
    }
    // One beyond finds no room.
    assert!(matches!(
        poll(world.handle.attend(&caller)),
        Poll::Ready(Err(EngineError::Busy))
    ));
    let live: Vec<_> = (0..RECORDS_ASIDE_MAX)
        .map(|_| world.handle.end_unserved(other.task.id))
        .collect();
    let mut end = Box::pin(world.handle.end_unserved(task));
    assert!(matches!(end.as_mut().poll(context), Poll::Ready(Err(_))));
    world.settle();
    drop((waiting, live));
    assert_eq!(ended(&world, other.task.id), [GONE]);
    assert_eq!(ended(&world, task), []);
    tick(&mut world);
    assert_eq!(ended(&world, task), [GONE]);
    tick(&mut world);
    assert_eq!(ended(&world, task), [GONE], "once");
}

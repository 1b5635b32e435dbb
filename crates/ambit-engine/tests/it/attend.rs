//! Runners: a task that a runner attends ends with it, whoever else went away meanwhile.

use ambit_core::{
    Millis,
    limits::RUNNER_RETURN_MAX,
    record::{Actor, Body},
    task::End,
};
use ambit_engine::{State, rebuild};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};

use crate::support::{ask, id, tick};

fn attend(world: &mut World, caller: &InstanceCaller) {
    let (handle, caller) = (world.handle.clone(), caller.clone());
    world
        .run(async move { handle.attend(&caller).await })
        .expect("a live task");
}

/// Kills a world in which a runner attends one task and nobody another, and starts Ambit again.
fn killed() -> (World, InstanceCaller, InstanceCaller) {
    let mut world = World::new(office(&[]), 1);
    let (_, attended) = world.start();
    let (_, alone) = world.start();
    attend(&mut world, &attended);
    let before = world.records().len();
    attend(&mut world, &attended);
    assert_eq!(world.records().len(), before, "it is written once");
    world.settle();
    let rebuilt = rebuild(world.archive.as_ref()).unwrap();
    let loaded = State::load(world.archive.as_ref()).unwrap();
    assert_eq!(loaded.digest(), rebuilt.digest);
    let clock = world.clock.clone();
    (
        World::open(world.crash(), office(&[]), clock),
        attended,
        alone,
    )
}

#[test]
fn asi10_a_runner_that_ended_while_ambit_was_away_takes_its_task_along() {
    let (mut world, attended, alone) = killed();
    let short = Millis::new(RUNNER_RETURN_MAX.as_millis() - 1);
    world.clock.advance(short);
    tick(&mut world);
    let read = |world: &mut World, caller| ask(world, caller, "get_ticket", id("T-1"));
    assert_eq!(read(&mut world, &attended), "allow", "it is waited for");
    world.clock.advance(Millis::new(1));
    tick(&mut world);
    assert_eq!(read(&mut world, &attended), "deny task_ended");
    assert_eq!(
        read(&mut world, &alone),
        "allow",
        "nobody attended this one"
    );
    let ended = world.records().into_iter().find_map(|it| match it.body {
        Body::TaskEnded { end, by, .. } => Some((end, by)),
        _ => None,
    });
    assert_eq!(ended, Some((End::Cancelled, Actor::Ambit)));
}

#[test]
fn a_task_goes_on_with_a_runner_that_comes_back() {
    let (mut world, attended, _) = killed();
    world
        .clock
        .advance(Millis::new(RUNNER_RETURN_MAX.as_millis() - 1));
    tick(&mut world);
    attend(&mut world, &attended);
    world.clock.advance(RUNNER_RETURN_MAX);
    tick(&mut world);
    assert_eq!(ask(&mut world, &attended, "get_ticket", id("T-1")), "allow");
}

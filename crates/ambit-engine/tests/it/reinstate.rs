//! What people may undo, and what stays as it is.

use std::{
    future::Future,
    task::{Context, Waker},
};

use ambit_core::{
    Millis, TokenId,
    act::Target,
    limits::SEQUENCER_QUEUE_MAX,
    record::{Actor, Answer, Body, Record},
    token::Reach,
};
use ambit_engine::{Refusal, Reinstatement, RevocationReport, State, bans, rebuild};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};

use crate::support::{ask, id, person, tick, two_administrators};

fn revoke(world: &mut World, alias: &str, target: &Target) -> Result<RevocationReport, Refusal> {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let (target, reason) = (target.clone(), "odd calls".to_owned());
    world.run(async move { handle.revoke(&person, target, reason, moment).await })
}

fn reinstate(world: &mut World, alias: &str, target: &Target) -> Result<Reinstatement, Refusal> {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let (target, reason) = (target.clone(), "it was a false alarm".to_owned());
    world.run(async move { handle.reinstate(&person, target, reason, moment).await })
}

fn read(world: &mut World, caller: &InstanceCaller) -> String {
    ask(world, caller, "get_ticket", id("T-1"))
}

fn code<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> String {
    match answer {
        Err(Refusal::Denied { denied, .. }) => denied.reason.code().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Promise 5: what began before a ban was lifted stays without, also after a start; what begins later may.
#[test]
fn asi10_a_lifted_ban_gives_nothing_back_to_what_began_before() {
    let server = || Target::Server("tickets".parse().unwrap());
    let agent = || Target::Agent("clerk".parse().unwrap());
    for (target, denied) in [
        (server(), "deny server_revoked"),
        (agent(), "deny task_ended"),
    ] {
        let mut world = World::new(two_administrators(), 3);
        let (_, before) = world.start();
        assert_eq!(read(&mut world, &before), "allow");
        revoke(&mut world, "ana", &target).expect("ana operates");
        assert_eq!(read(&mut world, &before), denied);
        reinstate(&mut world, "ben", &target).expect("ben administers");
        assert_eq!(read(&mut world, &before), denied);
        let (_, after) = world.start();
        assert_eq!(read(&mut world, &after), "allow");

        let clock = world.clock.clone();
        let mut world: World = World::open(world.crash(), two_administrators(), clock);
        // A start forgets who served a task that had ended.
        let again = read(&mut world, &before);
        assert!(
            [denied, "deny task_unknown"].contains(&again.as_str()),
            "{again}"
        );
        assert_eq!(read(&mut world, &after), "allow", "after a start");
        let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
        let loaded = State::load(world.archive.as_ref()).unwrap();
        assert_eq!(loaded.digest(), rebuilt.digest);
        assert!(bans(world.archive.as_ref()).unwrap().standing.is_empty());

        // The same again: the second ban is as good as the first.
        revoke(&mut world, "ana", &target).expect("ana operates");
        assert_eq!(read(&mut world, &after), denied);
        let standing = bans(world.archive.as_ref()).unwrap().standing;
        assert_eq!(standing.len(), 1);
        assert_eq!(standing[0].target, target);
    }
}

/// Promise 5: a person who was revoked gives nobody authority back, themselves least.
#[test]
fn asi03_nobody_lifts_the_own_ban() {
    let mut world = World::new(two_administrators(), 3);
    let (ana, ben) = (person(&mut world, "ana"), person(&mut world, "ben"));
    let (ana, ben) = (Target::Person(ana), Target::Person(ben));
    assert_eq!(code(reinstate(&mut world, "ana", &ana)), "same_person");
    revoke(&mut world, "ana", &ben).expect("ana operates");
    assert_eq!(code(reinstate(&mut world, "ben", &ben)), "person_revoked");
    let clerk = Target::Agent("clerk".parse().unwrap());
    assert_eq!(code(reinstate(&mut world, "ben", &clerk)), "person_revoked");
    assert_eq!(code(revoke(&mut world, "ana", &ana)), "last_administrator");
    let again = reinstate(&mut world, "ana", &ben).expect("ana administers");
    assert_eq!(again.target, ben);
    revoke(&mut world, "ben", &ana).expect("ben is back");
    assert_eq!(code(revoke(&mut world, "ben", &ben)), "last_administrator");
}

/// Whoever could lift a ban is never the last one to be banned; anybody else may be.
#[test]
fn the_last_administrator_is_not_revoked() {
    let mut world = World::new(office(&[]), 3);
    let ana = Target::Person(person(&mut world, "ana"));
    let ben = Target::Person(person(&mut world, "ben"));
    assert_eq!(code(revoke(&mut world, "ana", &ana)), "last_administrator");
    let written = |world: &World| {
        let records = world.records();
        records
            .iter()
            .filter(|it| matches!(it.body, Body::Revoked { .. }))
            .count()
    };
    assert_eq!(written(&world), 0);
    revoke(&mut world, "ana", &ben).expect("ben is no administrator");
    assert_eq!(written(&world), 1);
    let Err(Refusal::Conflict(why)) = reinstate(&mut world, "ana", &{
        Target::Agent("clerk".parse().unwrap())
    }) else {
        panic!("the agent was never revoked")
    };
    assert!(why.contains("not revoked"), "{why}");
}

/// Promise 4: a look at a server uses its credential, so it is written down before.
#[test]
fn an_inspection_of_a_server_leaves_a_record() {
    let mut world = World::new(office(&[]), 3);
    let inspect = |world: &mut World, alias: &str| {
        let (handle, caller, moment) = (
            world.handle.clone(),
            world.person(alias),
            world.clock.moment(),
        );
        let server = "tickets".parse().unwrap();
        world.run(async move { handle.may_inspect_server(&caller, server, moment).await })
    };
    assert_eq!(code(inspect(&mut world, "ben")), "role_missing");
    let leave = inspect(&mut world, "ana").expect("ana administers");
    let last = world.records().pop().expect("a record");
    let Body::ServerInspected { server, warrant } = last.body else {
        panic!("{last:?}")
    };
    assert_eq!(
        (server, warrant.by),
        (leave.spend(), person(&mut world, "ana"))
    );
    let target = Target::Server("tickets".parse().unwrap());
    revoke(&mut world, "ana", &target).expect("ana operates");
    assert_eq!(code(inspect(&mut world, "ana")), "server_revoked");
}

/// Promise 4: a local user who is refused in a flood is written down by count, not by line.
#[test]
fn a_flood_of_refused_people_is_counted() {
    let mut world = World::new(office(&[]), 3);
    let before = world.records().len();
    for _ in 0..1000 {
        let (handle, eve, moment) = (
            world.handle.clone(),
            world.person("eve"),
            world.clock.moment(),
        );
        let looked = world.run(async move { handle.may_inspect(&eve, moment).await });
        assert_eq!(code(looked), "role_missing");
    }
    world.clock.advance(Millis::from_seconds(1));
    tick(&mut world);
    let records = world.records();
    let denied =
        |body: &Body| matches!(body, Body::Decided(it) if matches!(it.answer, Answer::Deny { .. }));
    let alone = records[before..]
        .iter()
        .filter(|it| denied(&it.body))
        .count();
    let counted: u64 = records[before..]
        .iter()
        .filter_map(|it| match it.body {
            Body::RefusalsCoalesced { actor, count, .. } => {
                assert!(matches!(actor, Actor::Person(_)));
                Some(count)
            }
            _ => None,
        })
        .sum();
    assert!(alone < 100, "{alone} refusals were written one by one");
    assert_eq!(alone as u64 + counted, 1000);
}

/// ASI08: a revocation that is in force is told as one, though everybody is waiting for the sequencer meanwhile.
#[test]
fn asi08_a_crowd_makes_no_revocation_fail() {
    let mut world = World::new(office(&[]), 3);
    let (started, _) = world.start();
    let (handle, ana) = (world.handle.clone(), world.person("ana"));
    let moment = world.clock.moment();
    let target = Target::Task(started.task.id);
    let revoking = handle.clone();
    let mut revoked = Box::pin(async move {
        let odd = "odd".to_owned();
        revoking.revoke(&ana, target, odd, moment).await
    });
    let mut context = Context::from_waker(Waker::noop());
    assert!(revoked.as_mut().poll(&mut context).is_pending());
    world.settle();
    // Its first record is durable. Before it goes on, as many come as there is room for.
    let mut crowd = Vec::new();
    for _ in 0..SEQUENCER_QUEUE_MAX {
        let handle = handle.clone();
        let nothing = TokenId::from_bits(7);
        let mut one =
            Box::pin(async move { handle.give_up_token("x", nothing, Reach::Token).await });
        assert!(one.as_mut().poll(&mut context).is_pending());
        crowd.push(one);
    }
    let report = world.run(revoked).expect("it is in force");
    assert_eq!(report.ended, [started.task.id]);
    world.settle();
    let effective = |it: &Record| matches!(it.body, Body::RevocationEffective { .. });
    assert_eq!(world.records().iter().filter(|it| effective(it)).count(), 1);
}

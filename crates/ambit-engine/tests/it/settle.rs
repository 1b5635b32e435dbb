//! A person's word on an act whose outcome nobody knew.

use ambit_core::{
    DecisionId, Millis, Reason,
    json::Value,
    limits::REASON_BYTES_MAX,
    record::{Body, Settlement, Verdict},
};
use ambit_engine::{Answer, Refusal, Settled, State, rebuild};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};

use crate::support::{ask, done, held, id, pass, refund, tick, verdict};

fn world() -> (World, InstanceCaller) {
    let mut world = World::new(office(&[]), 5);
    let (_, caller) = world.start();
    (world, caller)
}

fn settle(
    world: &mut World,
    alias: &str,
    decision: DecisionId,
    reason: &str,
) -> Result<Settled, Refusal> {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let (asked, reason) = ((decision, Settlement::DidNotHappen), reason.to_owned());
    world.run(async move { handle.settle_act(&person, asked, reason, moment).await })
}

/// Has an act of `tool` permitted, passes the door, and lets the door forget it: its outcome is unknown.
fn unknown(world: &mut World, caller: &InstanceCaller, tool: &str, arguments: Value) -> DecisionId {
    let passage = pass(world, caller, tool, arguments);
    let decision = passage.decision();
    drop(passage);
    world.clock.advance(Millis::from_seconds(6));
    tick(world);
    decision
}

fn open(world: &World) -> Vec<DecisionId> {
    let state = State::load(world.archive.as_ref()).expect("readable");
    state.open_acts().map(|it| it.decision).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, part: &str) {
    let text = result.expect_err("refused").to_string();
    assert!(text.contains(part), "`{text}` does not say `{part}`");
}

#[test]
fn an_unknown_outcome_is_settled_once_and_told() {
    let (mut world, caller) = world();
    let decision = unknown(&mut world, &caller, "close_ticket", id("T-1"));
    assert_eq!(open(&world), [decision]);
    let settled = settle(&mut world, "ana", decision, "the ticket is open").expect("an operator");
    assert_eq!(settled.settlement, Settlement::DidNotHappen);
    assert!(open(&world).is_empty());
    refused(
        settle(&mut world, "ana", decision, "again"),
        "has no unknown outcome",
    );
    let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
    let stored = world.archive.rows("open_acts").expect("readable");
    assert_eq!(rebuilt.tables["open_acts"].len(), stored.len());
    let clock = world.clock.clone();
    let world: World = World::open(world.crash(), office(&[]), clock);
    assert!(open(&world).is_empty(), "a restart does not forget it");
}

/// ASI09, NHI: nobody else says what happened, and of nothing else.
#[test]
fn asi09_only_an_operator_settles_and_only_what_is_unknown() {
    let (mut world, caller) = world();
    let decision = unknown(&mut world, &caller, "close_ticket", id("T-1"));
    for alias in ["ben", "eve"] {
        let Err(Refusal::Denied { denied, .. }) = settle(&mut world, alias, decision, "mine")
        else {
            panic!("{alias} is no operator");
        };
        assert_eq!(denied.reason, Reason::RoleMissing);
    }
    refused(settle(&mut world, "ana", decision, " "), "wants a reason");
    let longest = "r".repeat(REASON_BYTES_MAX);
    refused(
        settle(&mut world, "ana", decision, &format!("{longest}r")),
        "wants a reason",
    );
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let under_way = passage.decision();
    refused(settle(&mut world, "ana", under_way, "x"), "is under way");
    done(&mut world, passage);
    for known in [under_way, DecisionId::from_bits(9)] {
        refused(
            settle(&mut world, "ana", known, "x"),
            "has no unknown outcome",
        );
    }
    assert_eq!(open(&world), [decision]);
    settle(&mut world, "ana", decision, &longest).expect("the longest reason there is");
}

/// ASI09: whatever a person found, the yes that the act has spent is spent.
#[test]
fn asi09_a_settled_act_needs_a_new_approval() {
    let (mut world, caller) = world();
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    let decision = unknown(&mut world, &caller, "refund", refund(500));
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "hold approval_required"
    );
    settle(&mut world, "ana", decision, "no trace of it").expect("settled");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "hold approval_required"
    );
}

/// A door that answers after a person did comes too late, and harms nothing.
#[test]
fn asi08_a_late_outcome_of_a_settled_act_stops_nothing() {
    let (mut world, caller) = world();
    let Answer::Allowed(permit) = world.call(&caller, "close_ticket", id("T-1")) else {
        panic!("it is granted");
    };
    world.clock.advance(Millis::from_seconds(6));
    tick(&mut world);
    let decision = open(&world)[0];
    settle(&mut world, "ana", decision, "never sent").expect("settled");
    let late = world.handle.admit(permit, world.clock.now());
    assert_eq!(late.expect_err("late").reason, Reason::PermitStale);
    world.settle();
    let outcomes = world.records().into_iter().filter(
        |it| matches!(&it.body, Body::Performed(performed) if performed.decision == decision),
    );
    assert_eq!(outcomes.count(), 1);
    assert_eq!(ask(&mut world, &caller, "get_ticket", id("T-1")), "allow");
}

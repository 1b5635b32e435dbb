//! What people said, and what has ended: sealed, shown to whoever may look, and there after a restart.

use ambit_core::{
    ApprovalId, TaskId,
    act::Target,
    record::{Body, Sealed, Verdict},
    task::{End, TaskState},
};
use ambit_engine::{ApprovalStanding, Ender, Inspection};
use ambit_testkit::{World, office};

use crate::support::{ask, held, refund, revoke_as};

const WORDS: [&str; 2] = ["laptop stolen", "wrong customer"];

fn inspection(world: &mut World) -> Inspection {
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let may = world.run(async move { handle.may_inspect(&ana, moment).await });
    may.expect("ana may look")
}

/// Returns a world in which ben refused a call and ana revoked an agent, each with words; then a task and its end.
fn told() -> (World, TaskId, ApprovalId) {
    let mut world = World::new(office(&[]), 2);
    let (started, caller) = world.start();
    let approval = held(&mut world, &caller, 500);
    let (handle, ben, moment) = (
        world.handle.clone(),
        world.person("ben"),
        world.clock.moment(),
    );
    let reason = WORDS[1].to_owned();
    let refused =
        world.run(async move { handle.refuse_approval(&ben, approval, reason, moment).await });
    refused.expect("ben may refuse");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "deny approval_refused"
    );
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let task = started.task.id;
    let ended = world.run(async move {
        let by = Ender::Person(&ana);
        handle.end_task(by, task, End::Completed, moment).await
    });
    ended.expect("ana may end it");
    let agent = Target::Agent("clerk".parse().expect("a name"));
    revoke_as(&mut world, "ana", agent, WORDS[0]);
    (world, task, approval)
}

/// Returns the words that stand beside the log, in its order, and checks that they stand there in no clear form.
fn words(world: &mut World) -> Vec<String> {
    let inspection = inspection(world);
    let mut words = Vec::new();
    for (leaf, record) in (0..).zip(world.records()) {
        let sealed: Option<Sealed> = match &record.body {
            Body::Revoked { reason, .. } => Some(*reason),
            Body::ApprovalDecided { reason, .. } => *reason,
            _ => None,
        };
        let Some((sealed, warrant)) = sealed.zip(record.body.warrant()) else {
            continue;
        };
        let blob = world.archive.blob(leaf, sealed.blob.expect("kept"));
        let blob = blob.expect("readable").expect("kept");
        let blob = String::from_utf8_lossy(&blob).into_owned();
        assert!(
            !WORDS.iter().any(|it| blob.contains(it)),
            "in clear: {blob}"
        );
        let at = (leaf, warrant.decision);
        let reason = world.handle.reason(&inspection, at, &sealed);
        words.push(reason.expect("running").expect("its key is there"));
    }
    words
}

#[test]
fn nhi02_what_people_said_is_sealed_and_shown_to_whoever_may_look() {
    let (mut world, ..) = told();
    assert_eq!(words(&mut world), ["wrong customer", "laptop stolen"]);
    let clock = world.clock.clone();
    let mut world = World::open(world.crash(), office(&[]), clock);
    assert_eq!(words(&mut world), ["wrong customer", "laptop stolen"]);
}

#[test]
fn what_has_ended_is_shown_after_a_restart() {
    let (world, task, approval) = told();
    let clock = world.clock.clone();
    let mut world = World::open(world.crash(), office(&[]), clock);
    let inspection = inspection(&mut world);
    let shown = world.handle.task(&inspection, task).expect("running");
    let shown = shown.expect("it is known");
    assert_eq!(shown.state, TaskState::Ended(End::Completed));
    let ticket = shown.parameters.get("ticket").and_then(|it| it.as_str());
    assert_eq!(
        ticket,
        Some("T-1"),
        "its words are there as long as their key"
    );
    let shown = world.handle.approval(&inspection, approval).expect("known");
    assert!(matches!(
        shown.approval.standing,
        ApprovalStanding::Refused { .. }
    ));
    assert!(shown.act.is_some(), "the exact act, whole");
    let (handle, ben) = (world.handle.clone(), world.person("ben"));
    let moment = world.clock.moment();
    let late = world.run(async move {
        handle
            .decide_approval(&ben, approval, Verdict::Approved, moment)
            .await
    });
    let late = late.expect_err("too late").to_string();
    assert!(late.contains("the task has ended"), "{late}");
    let (handle, ana) = (world.handle.clone(), world.person("ana"));
    let moment = world.clock.moment();
    let again = world.run(async move {
        let by = Ender::Person(&ana);
        handle.end_task(by, task, End::Cancelled, moment).await
    });
    let again = again.expect_err("it has ended").to_string();
    assert!(again.contains("has ended already (completed)"), "{again}");
    let ended = world.handle.ended_approvals(&inspection, 10);
    assert_eq!(ended.expect("running").len(), 1);
}

//! Holds and approvals: one human's yes to one exact act, spent once.

use ambit_core::{
    Millis,
    limits::{APPROVAL_GRANTED_TTL, APPROVAL_PENDING_TTL, APPROVALS_PENDING_MAX},
    record::Verdict,
};
use ambit_engine::Refusal;
use ambit_testkit::{World, office};

use crate::support::{ask, held, refund, verdict};

fn world() -> (World, ambit_identity::InstanceCaller) {
    let mut world = World::new(office(&[]), 2);
    let (_, caller) = world.start();
    (world, caller)
}

#[track_caller]
fn refused(result: Result<ambit_engine::ApprovalSummary, Refusal>, part: &str) {
    let text = match result {
        Err(error) => error.to_string(),
        Ok(_) => "done".to_owned(),
    };
    assert!(text.contains(part), "`{text}` does not say `{part}`");
}

#[test]
fn the_identical_act_goes_through_once_after_a_yes() {
    let (mut world, caller) = world();
    let approval = held(&mut world, &caller, 500);
    assert_eq!(
        held(&mut world, &caller, 500),
        approval,
        "asking again asks for the same yes"
    );
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("ben may approve");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(501)),
        "hold approval_required",
        "another amount"
    );
    assert_eq!(ask(&mut world, &caller, "refund", refund(500)), "allow");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "hold approval_required",
        "spent"
    );
}

#[test]
fn a_no_is_told_to_the_requester() {
    let (mut world, caller) = world();
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Refused).expect("ben may refuse");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "deny approval_refused"
    );
    refused(
        verdict(&mut world, "ben", approval, Verdict::Approved),
        "refused already",
    );
}

#[test]
fn the_approver_is_another_person_with_the_role() {
    let (mut world, caller) = world();
    let approval = held(&mut world, &caller, 500);
    refused(
        verdict(&mut world, "ana", approval, Verdict::Approved),
        "same_person",
    );
    refused(
        verdict(&mut world, "eve", approval, Verdict::Approved),
        "role_missing",
    );
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "hold approval_required"
    );
}

#[test]
fn deciding_alike_again_changes_nothing_and_otherwise_is_refused() {
    let (mut world, caller) = world();
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    let before = world.records().len();
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes again");
    assert_eq!(world.records().len(), before);
    refused(
        verdict(&mut world, "ben", approval, Verdict::Refused),
        "approved already",
    );
}

#[test]
fn an_approval_shows_the_whole_act() {
    let (mut world, caller) = world();
    let approval = held(&mut world, &caller, 500);
    let shown = verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    let act = shown.act.expect("opened").to_canonical();
    assert!(
        act.contains(r#""arguments":{"cents":500,"id":"T-1"}"#),
        "{act}"
    );
    assert!(act.contains(r#""pin":"sha256:"#), "{act}");
}

#[test]
fn holds_end_at_their_maximum() {
    let (mut world, caller) = world();
    for cents in 1..=i64::try_from(APPROVALS_PENDING_MAX).unwrap() {
        held(&mut world, &caller, cents);
    }
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(99)),
        "deny approvals_pending_limit"
    );
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(1)),
        "hold approval_required",
        "a known one"
    );
}

#[test]
fn holds_and_yeses_expire() {
    for (waited, part) in [
        (APPROVAL_PENDING_TTL.as_millis() - 1, "done"),
        (APPROVAL_PENDING_TTL.as_millis(), "its time passed"),
    ] {
        let (mut world, caller) = world();
        let approval = held(&mut world, &caller, 500);
        world.clock.advance(Millis::new(waited));
        refused(
            verdict(&mut world, "ben", approval, Verdict::Approved),
            part,
        );
    }
    for (waited, answer) in [
        (APPROVAL_GRANTED_TTL.as_millis() - 1, "allow"),
        (APPROVAL_GRANTED_TTL.as_millis(), "hold approval_required"),
    ] {
        let (mut world, caller) = world();
        let approval = held(&mut world, &caller, 500);
        verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
        world.clock.advance(Millis::new(waited));
        assert_eq!(ask(&mut world, &caller, "refund", refund(500)), answer);
    }
}

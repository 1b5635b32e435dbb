//! One agent alone: what it repeats and what it is refused must not fill the disk.

use ambit_core::{
    estate::{Bound, Estate},
    json::Value,
    limits::ARGUMENTS_BYTES_MAX,
    record::{Answer as Kept, Body, Decided, Verdict},
};
use ambit_engine::{Answer, HELD_KEPT_BYTES_MAX, REFUSED_KEPT_BYTES_MAX};
use ambit_testkit::{World, office};

use crate::support::{arguments, ask, held, id, refund, tick, verdict, word};

/// Returns the decisions of the log, with their leaves.
fn decisions(world: &World) -> Vec<(u64, Decided)> {
    let records = (0..).zip(world.records());
    let decided = records.filter_map(|(leaf, it)| match it.body {
        Body::Decided(decided) => Some((leaf, *decided)),
        _ => None,
    });
    decided.collect()
}

/// Returns how many sealed bytes stand beside the log for acts with such an answer.
fn kept(world: &World, wanted: impl Fn(&Kept) -> bool) -> u64 {
    let decided = decisions(world)
        .into_iter()
        .filter(|it| wanted(&it.1.answer));
    let blobs = decided.filter_map(|(leaf, it)| {
        let id = it.act.and_then(|it| it.blob)?;
        Some(world.archive.blob(leaf, id).unwrap().unwrap().len() as u64)
    });
    blobs.sum()
}

/// Returns arguments of `get_ticket` that are refused, of about so many bytes.
fn wrong(bytes: usize, number: usize) -> Value {
    arguments([
        ("id", number.to_string().into()),
        ("x", "x".repeat(bytes).into()),
    ])
}

#[test]
fn asi08_retries_of_a_pending_hold_leave_a_count_and_not_themselves() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let Answer::Held(first) = world.call(&caller, "refund", refund(500)) else {
        panic!("a refund is held")
    };
    let before = world.records().len();
    for _ in 0..600 {
        let Answer::Held(again) = world.call(&caller, "refund", refund(500)) else {
            panic!("a refund is held")
        };
        assert_eq!(again, first, "the same answer, by the same decision");
    }
    assert_eq!(world.records().len(), before, "not one record each");
    tick(&mut world);
    let counted = world.records().into_iter().find_map(|it| match it.body {
        Body::RefusalsCoalesced { count, reason, .. } => Some(format!("{count} {reason}")),
        _ => None,
    });
    assert_eq!(counted.as_deref(), Some("600 approval_required"));
    verdict(&mut world, "ben", first.approval, Verdict::Approved).expect("ben may approve");
    assert_eq!(ask(&mut world, &caller, "refund", refund(500)), "allow");
}

#[test]
fn asi08_of_refused_acts_so_many_bytes_are_kept() {
    let mut world = World::new(office(&[]), 1);
    let (_, caller) = world.start();
    let half = usize::try_from(REFUSED_KEPT_BYTES_MAX / 2).unwrap();
    let denied = |it: &Kept| matches!(it, Kept::Deny { .. });
    let refuse = |world: &mut World, bytes, number| {
        let answer = ask(world, &caller, "get_ticket", wrong(bytes, number));
        assert_eq!(answer, "deny arguments_invalid");
        kept(world, denied)
    };
    let one = refuse(&mut world, half - 1000, 1);
    assert!(one > 0, "what fits is kept for whoever asks why");
    let over = one - u64::try_from(half - 1000).unwrap();
    let rest = usize::try_from(REFUSED_KEPT_BYTES_MAX - one - over).unwrap();
    assert_eq!(refuse(&mut world, rest + 1, 2), one, "one byte beyond");
    assert_eq!(refuse(&mut world, rest, 3), REFUSED_KEPT_BYTES_MAX);
    for number in 4..40 {
        refuse(&mut world, half, number);
    }
    assert_eq!(kept(&world, denied), REFUSED_KEPT_BYTES_MAX);
    let (_, last) = decisions(&world).pop().unwrap();
    assert!(last.act.is_some(), "its commitment is kept");
    let told = last.facts.get("unkept_bytes").and_then(Value::as_integer);
    assert!(
        told.is_some_and(|it| it > i64::try_from(half).unwrap()),
        "{told:?}"
    );
    let (_, calm) = world.start();
    assert_eq!(
        ask(&mut world, &calm, "get_ticket", wrong(9, 0)),
        "deny arguments_invalid"
    );
    assert!(
        kept(&world, denied) > REFUSED_KEPT_BYTES_MAX,
        "another task has its own"
    );
}

/// Holds every reply.
fn replies_held() -> Estate {
    let mut estate = office(&[]);
    for template in estate.templates.values_mut() {
        for ((_, tool), grant) in &mut template.tools {
            if tool.as_str() == "send_reply" {
                grant.approval = Bound::Held;
            }
        }
    }
    estate
}

#[test]
fn asi08_of_held_acts_so_many_bytes_are_kept() {
    let mut world = World::new(replies_held(), 1);
    let (_, caller) = world.start();
    let holds = |it: &Kept| matches!(it, Kept::Hold { .. });
    // Each is refused at once, so that the number of those that wait is not what stops it.
    let reply = |world: &mut World, bytes: u64| {
        let body = "x".repeat(usize::try_from(bytes).unwrap());
        let arguments = arguments([("to", "kim@example.org".into()), ("body", body.into())]);
        let answer = world.call(&caller, "send_reply", arguments);
        if let Answer::Held(held) = &answer {
            verdict(world, "ben", held.approval, Verdict::Refused).expect("ben may refuse");
        }
        word(&answer)
    };
    assert_eq!(reply(&mut world, 1000), "hold approval_required");
    let over = kept(&world, holds) - 1000;
    for number in 0.. {
        let left = HELD_KEPT_BYTES_MAX - kept(&world, holds) - over;
        let next = left.min(ARGUMENTS_BYTES_MAX as u64 - 4096 - number);
        if next < left {
            assert_eq!(reply(&mut world, next), "hold approval_required");
            continue;
        }
        let beyond = reply(&mut world, left + 1);
        assert_eq!(beyond, "deny budget_exhausted", "one byte beyond");
        assert_eq!(reply(&mut world, left), "hold approval_required");
        break;
    }
    assert_eq!(kept(&world, holds), HELD_KEPT_BYTES_MAX);
    assert_eq!(reply(&mut world, 1), "deny budget_exhausted");
    let (_, calm) = world.start();
    held(&mut world, &calm, 500);
    assert_eq!(ask(&mut world, &calm, "get_ticket", id("T-1")), "allow");
}

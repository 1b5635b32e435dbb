//! The stories of tasks that give parts, of the parts, and of those who take them.

use ambit_core::{
    DelegationId,
    claim::{ClaimProof, Footing},
    delegation::{Delegation, Lineage, Part},
    record::Mandate,
};

use super::*;

const PART: TaskId = TaskId::from_bits(30);
const GIVEN: DelegationId = DelegationId::from_bits(31);
/// The run that took the part, and the task that it is the run of.
const TAKER: InstanceId = InstanceId::from_bits(32);
const TAKERS: TaskId = TaskId::from_bits(33);

fn mandate(decision: u128, by: InstanceId) -> Mandate {
    Mandate {
        decision: DecisionId::from_bits(decision),
        by: Actor::Instance(by),
        rules: vec!["delegates-take".to_owned()],
        facts: Value::object([]),
    }
}

/// A task, its delegation, and the part that a helper's run took and acted in.
fn a_part_taken() -> Vec<Body> {
    let Body::TaskStarted { task: root, .. } = started() else {
        unreachable!("a task starts");
    };
    let helper = |id, instance| Task {
        id,
        instance,
        agent: "helper".parse().unwrap(),
        ..(*root).clone()
    };
    let delegation = Delegation {
        id: GIVEN,
        parent: TASK,
        to: "helper".parse().unwrap(),
        spiffe_id: None,
        part: Part {
            reads: ["tickets".parse().unwrap()].into(),
            tools: BTreeMap::new(),
            calls_max: 5,
            may_emit: Labels::none(),
        },
        authority: Digest::of(b"part"),
        made_at: Timestamp::from_millis(200),
        expires_at: Timestamp::from_millis(1_000_000),
        depth_left: 0,
    };
    let act = |mut body| {
        if let Body::Decided(it) = &mut body {
            it.task = Some(PART);
        }
        if let Body::Performed(it) = &mut body {
            it.task = PART;
        }
        body
    };
    vec![
        started(),
        Body::TaskStarted {
            task: Box::new(helper(TAKERS, TAKER)),
            parameters: SEALED,
            warrant: warrant(100),
        },
        Body::DelegationMade {
            delegation: Box::new(delegation),
            part: SEALED,
            mandate: mandate(40, INSTANCE),
        },
        Body::DelegationSpent {
            task: Box::new(Task {
                lineage: Lineage::Child {
                    parent: TASK,
                    delegation: GIVEN,
                    depth: 1,
                    depth_left: 0,
                },
                ..helper(PART, InstanceId::from_bits(34))
            }),
            part: SEALED,
            mandate: mandate(41, TAKER),
        },
        act(decided(10, "get_ticket", allow(&["customer"], None))),
        act(performed(10, Status::Done)),
    ]
}

#[test]
fn a_part_is_told_to_its_end_and_so_is_it_by_those_who_gave_and_took_it() {
    let ended = |task, end| Body::TaskEnded {
        task,
        end,
        by: Actor::Person(ADA),
    };
    let revoked = |target| Body::Revoked {
        revocation: RevocationId::from_bits(5),
        target,
        reason: SEALED,
        warrant: warrant(102),
    };
    let withdrawn = || Body::DelegationWithdrawn {
        delegation: GIVEN,
        parent: TASK,
        mandate: mandate(42, INSTANCE),
    };
    let unregistered = Body::TaskEnded {
        task: TAKERS,
        end: End::Unregistered,
        by: Actor::Ambit,
    };
    let cases = [
        (None, ["active"; 3]),
        // With the task of the run that took it a part ends, however that ended.
        (
            Some(ended(TAKERS, End::Completed)),
            ["active", "cancelled", "completed"],
        ),
        (
            Some(ended(TAKERS, End::Cancelled)),
            ["active", "cancelled", "cancelled"],
        ),
        (Some(unregistered), ["active", "revoked", "unregistered"]),
        (
            Some(revoked(Target::Task(TAKERS))),
            ["active", "revoked", "revoked"],
        ),
        (
            Some(ended(PART, End::Completed)),
            ["active", "completed", "active"],
        ),
        (
            Some(ended(TASK, End::Completed)),
            ["completed", "cancelled", "active"],
        ),
        (Some(withdrawn()), ["active", "revoked", "active"]),
        (
            Some(revoked(Target::Task(PART))),
            ["active", "revoked", "active"],
        ),
        (
            Some(revoked(Target::Agent("helper".parse().unwrap()))),
            ["active", "revoked", "revoked"],
        ),
        (
            Some(revoked(Target::Agent("support-bot".parse().unwrap()))),
            ["revoked", "revoked", "active"],
        ),
        (
            Some(revoked(Target::Instance(TAKER))),
            ["active", "revoked", "revoked"],
        ),
    ];
    for (last, states) in cases {
        let mut bodies = a_part_taken();
        bodies.extend(last);
        check(&log(bodies), states);
    }
}

/// Holds what is told of the three tasks against `states`, from the whole log and from what concerns each of them.
#[track_caller]
fn check(log: &[Entry], states: [&str; 3]) {
    let told = [TASK, PART, TAKERS].map(|it| {
        let now = Timestamp::from_millis(2000);
        let whole = trace(log, &names(), it, now).unwrap();
        let mut concerns = Concerns::of(it);
        let needed = |entry: &&Entry| concerns.take(&entry.record.body);
        let found: Vec<Entry> = log.iter().filter(needed).cloned().collect();
        let starts = Starts::above(&found, it);
        let above = log.iter().filter(|it| starts.wants(&it.record.body));
        let sifted: Vec<Entry> = above.cloned().chain(found).collect();
        assert_eq!(trace(&sifted, &names(), it, now).as_ref(), Some(&whole));
        assert!(whole.unknown.is_empty(), "{whole}");
        whole
    });
    assert_eq!(told.each_ref().map(|it| it.state), states, "{told:#?}");
}

/// Whoever claimed a task is told by what the record says of them, wherever the story names them.
#[test]
fn who_claimed_a_part_is_told_in_words() {
    let mut bodies = a_part_taken();
    let workload = Digest::of(b"a process");
    let took = bodies.iter_mut().find_map(|it| {
        let Body::DelegationSpent { mandate, .. } = it else {
            return None;
        };
        Some(mandate)
    });
    took.unwrap().by = Actor::Workload(workload);
    bodies.push(Body::TaskClaimed {
        task: PART,
        proof: ClaimProof::Process,
        workload,
        footing: Footing {
            registration: Some(Digest::of(b"registration")),
            unix_uid: Some(1000),
        },
    });
    let told = trace(&log(bodies), &names(), PART, Timestamp::from_millis(2000)).unwrap();
    let words = format!("the process {workload} of local user 1000");
    for part in [
        format!("{words} took {GIVEN}"),
        format!("claimed by {words}"),
    ] {
        assert!(told.to_string().contains(&part), "no `{part}` in {told}");
    }
}

/// Whoever gave a part hears that it ended with the run that took it, and whoever took it hears what they took along.
#[test]
fn a_part_that_its_taker_leaves_is_told_to_whom_gave_it() {
    let mut bodies = a_part_taken();
    bodies.push(Body::TaskEnded {
        task: TAKERS,
        end: End::Completed,
        by: Actor::Person(ADA),
    });
    let log = log(bodies);
    let told = |it| trace(&log, &names(), it, Timestamp::from_millis(2000)).unwrap();
    let with = format!("ended with {TAKERS}, which was completed by ada");
    let part = format!("{PART} of helper, a part of it, {with}");
    for (task, part) in [
        (TASK, part.as_str()),
        (PART, with.as_str()),
        (TAKERS, "completed by ada"),
    ] {
        let told = told(task);
        let last = told.lines.last().unwrap();
        assert!(last.text.starts_with(part), "{task}: {told}");
    }
}

//! The stories of a chain: a task, a part of it, and a part of that.

use ambit_core::{
    DelegationId,
    delegation::Lineage,
    record::{Actor, Mandate},
};

use super::*;

const CHILD: TaskId = TaskId::from_bits(11);
const GRANDCHILD: TaskId = TaskId::from_bits(12);

fn mandate(decision: u128) -> Mandate {
    Mandate {
        decision: DecisionId::from_bits(decision),
        by: Actor::Person(ADA),
        rules: Vec::new(),
        facts: Value::Null,
    }
}

/// `agent` takes a part of `parent`.
fn taken(id: TaskId, agent: &str, (parent, depth): (TaskId, u8)) -> Body {
    let Body::TaskStarted { task, .. } = started() else {
        panic!("it starts");
    };
    let task = Task {
        id,
        agent: agent.parse().unwrap(),
        instance: InstanceId::from_bits(id.bits()),
        lineage: Lineage::Child {
            parent,
            delegation: DelegationId::from_bits(id.bits()),
            depth,
            depth_left: 0,
        },
        ..*task
    };
    Body::DelegationSpent {
        task: Box::new(task),
        part: SEALED,
        mandate: mandate(id.bits()),
    }
}

/// A delegates to B, and B to C; then comes `after`.
fn chain(after: Vec<Body>) -> Vec<Entry> {
    let before = vec![
        started(),
        taken(CHILD, "closer", (TASK, 1)),
        taken(GRANDCHILD, "clerk", (CHILD, 2)),
    ];
    log(before.into_iter().chain(after).collect())
}

fn revoked(target: Target) -> Body {
    Body::Revoked {
        revocation: RevocationId::from_bits(5),
        target,
        reason: SEALED,
        warrant: warrant(102),
    }
}

/// Checks how each of the three stands, and what the last line of its story says.
fn check(entries: &[Entry], wanted: [(&str, &str); 3]) {
    for (task, (state, part)) in [TASK, CHILD, GRANDCHILD].into_iter().zip(wanted) {
        let now = Timestamp::from_millis(2000);
        let mut concerns = Concerns::of(task);
        let sifted = entries.iter().filter(|it| concerns.take(&it.record.body));
        let mut sifted: Vec<Entry> = sifted.cloned().collect();
        // The root's start is kept apart: it is found once the chain is known.
        let starts = Starts::above(&sifted, task);
        let above = entries.iter().filter(|it| starts.wants(&it.record.body));
        sifted.splice(0..0, above.cloned());
        let told = trace(&sifted, &names(), task, now).unwrap();
        let last = told.lines.last().unwrap();
        assert_eq!(told.state, state, "{task}: {told}");
        assert!(last.text.contains(part), "{task}: no `{part}` in {told}");
    }
}

#[test]
fn a_refused_part_is_told_with_whom_and_why() {
    let reason = Reason::DelegationExceedsParent;
    let Body::Decided(mut decided) = decided(21, "none", Answer::Deny { reason }) else {
        panic!("it is a decision");
    };
    decided.action = "delegate".to_owned();
    (decided.server, decided.tool) = (None, None);
    let exceeds = ["calls: 9 asked for, 5 left", "hops"];
    decided.facts = Value::object([
        ("kind", "delegation".into()),
        ("to", "clerk".into()),
        ("exceeds", exceeds.into_iter().collect()),
    ]);
    let decision = decided.decision;
    let log = log(vec![started(), Body::Decided(decided)]);
    let told = trace(&log, &names(), TASK, Timestamp::from_millis(2000)).unwrap();
    let wanted = format!(
        "denied delegate to clerk ({decision}): delegation_exceeds_parent, the part asks for more than the task has: calls: 9 \
         asked for, 5 left; hops"
    );
    assert_eq!(told.lines.last().unwrap().text, wanted);
}

#[test]
fn a_part_that_is_cut_is_told_above_and_below() {
    let agent = |name: &str| Target::Agent(name.parse().unwrap());
    let below = format!("with it ended {CHILD} of closer and {GRANDCHILD} of clerk");
    check(
        &chain(vec![revoked(agent("closer"))]),
        [
            ("active", &below),
            ("revoked", &format!("with it ended {GRANDCHILD} of clerk")),
            (
                "revoked",
                &format!("this part ended with {CHILD} of closer"),
            ),
        ],
    );
    let below = format!("with it ended {GRANDCHILD} of clerk");
    check(
        &chain(vec![revoked(Target::Task(GRANDCHILD))]),
        [
            ("active", &below),
            ("active", &below),
            ("revoked", "revoked task"),
        ],
    );
    // Whom it does not hit hears nothing of it.
    let taken = "took dlg_";
    check(
        &chain(vec![revoked(agent("other"))]),
        [("active", taken), ("active", taken), ("active", taken)],
    );
    let ended = Body::TaskEnded {
        task: CHILD,
        end: End::Completed,
        by: Actor::Ambit,
    };
    check(
        &chain(vec![ended, revoked(agent("closer"))]),
        [
            (
                "active",
                &format!("{CHILD} of closer, a part of it: completed"),
            ),
            ("completed", "completed"),
            ("cancelled", &format!("ended with {CHILD}")),
        ],
    );
    let withdrawn = Body::DelegationWithdrawn {
        delegation: DelegationId::from_bits(CHILD.bits()),
        parent: TASK,
        mandate: mandate(103),
    };
    check(
        &chain(vec![withdrawn]),
        [
            ("active", "took dlg_"),
            ("revoked", "took dlg_"),
            ("revoked", "took dlg_"),
        ],
    );
}

//! Who alone could write, start and approve.

use ambit_core::estate::{Approver, Bound, PersonRole};

use super::{
    people_policies::{forbid, person},
    world::{World, compile},
};
use crate::{PAIRS_LOOKED_AT_MAX, Prospect, Separation};

const ALL_THREE: [PersonRole; 3] = [
    PersonRole::Administrator,
    PersonRole::Starter,
    PersonRole::Approver,
];

/// Expects these to be alone in an estate where ada may do all three, and ben nothing.
fn check(expected: &[&str], change: impl FnOnce(&mut World)) {
    let mut world = World::new();
    world.template().approver = Approver::Anyone;
    person(&mut world.own, "ada", &ALL_THREE, &["treasury"]);
    person(&mut world.own, "ben", &[PersonRole::Administrator], &[]);
    change(&mut world);
    let Separation { alone, unseen } = compile(&world.own).separation();
    let alone: Vec<_> = alone
        .iter()
        .map(|it| format!("{} {}", it.person, it.template))
        .collect();
    assert_eq!(alone, expected);
    assert_eq!(unseen, 0);
}

#[test]
fn one_person_for_all_three_is_told() {
    check(&["ada answer"], |_| {});
    check(&[], |it| it.template().approver = Approver::AnotherPerson);
    check(&[], |it| {
        for grant in it.template().tools.values_mut() {
            grant.approval = Bound::Free;
        }
    });
    check(&[], |it| {
        it.template().starters = ambit_core::estate::Starters::Only(["ben".to_owned()].into());
    });
    check(&[], |it| it.own.agents.clear());
    for gone in ALL_THREE {
        check(&[], |it| {
            it.own.people.get_mut("ada").unwrap().roles.remove(&gone);
        });
    }
}

/// The policies are asked, not read: whichever of the three they cut, however they are written, the warning goes.
#[test]
fn a_policy_that_cuts_one_of_the_three_is_enough() {
    let cut = |expected: &[&str], action: &str, condition: &str| {
        let policy = format!(
            "@id(\"mine\") forbid (principal, action == Ambit::Action::\"{action}\", resource) when {{ {condition} }};"
        );
        check(expected, |it| forbid(&mut it.own, &policy));
    };
    let writes = "context.roles.contains(\"administrator\")";
    cut(&[], "decide_approval", writes);
    cut(&[], "start_task", writes);
    cut(&[], "decide_approval", "context.subject == \"self\"");
    cut(&[], "apply_estate", "context.roles.contains(\"approver\")");
    cut(&[], "start_task", "principal in Ambit::Group::\"treasury\"");
    cut(
        &["ada answer"],
        "start_task",
        "context.roles.contains(\"auditor\")",
    );
    cut(
        &["ada answer"],
        "decide_approval",
        "context.owner == \"self\"",
    );
    cut(&["ada answer"], "rotate_keys", writes);
}

#[test]
fn what_a_policy_has_asked_counts_as_asking() {
    let free = |it: &mut World| {
        for grant in it.template().tools.values_mut() {
            grant.approval = Bound::Free;
        }
    };
    check(&[], free);
    check(&["ada answer"], |it| {
        free(it);
        it.policy("@id(\"x\") @ask(\"approver\") forbid (principal, action in Ambit::Action::\"side_effect\", resource);");
    });
}

/// So many pairs are looked at, and it is told how many are not.
#[test]
fn the_pairs_that_are_looked_at_end_at_their_maximum() {
    let with = |administrators: usize| {
        let mut world = World::new();
        world.template().approver = Approver::Anyone;
        for place in 0..administrators {
            let roles = [PersonRole::Administrator];
            person(&mut world.own, &format!("p{place}"), &roles, &[]);
        }
        compile(&world.own).separation().unseen
    };
    assert_eq!(with(PAIRS_LOOKED_AT_MAX), 0);
    assert_eq!(with(PAIRS_LOOKED_AT_MAX + 1), 1);
}

#[test]
fn a_prospect_is_what_the_policies_would_answer() {
    let mut world = World::new();
    person(&mut world.own, "ada", &ALL_THREE, &[]);
    person(&mut world.own, "ben", &[], &[]);
    let book = compile(&world.own);
    let stopped = Prospect::Stopped { rules: Vec::new() };
    assert_eq!(book.would_apply("ada"), Prospect::Open);
    assert_eq!(book.would_apply("ben"), stopped);
    assert_eq!(book.would_apply("nobody"), stopped);
}

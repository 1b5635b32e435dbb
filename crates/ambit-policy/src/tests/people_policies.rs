//! The tenant's own policies on people: what they do, what they can't, and what is refused before they could.

use std::sync::Arc;

use ambit_core::{
    PersonId,
    act::Governance,
    estate::{Approver, Estate, Person, PersonRole, PolicyFile},
};
use proptest::prelude::*;

use super::{
    people::{Asked, ME, acts, approve, asked, end, start, told, told_by},
    world::{World, compile},
};
use crate::PolicyBook;

/// Puts a policy on people into an estate.
pub(super) fn forbid(estate: &mut Estate, policy: &str) {
    let path = format!("policies/people/{}.cedar", estate.people_policies.len());
    estate.people_policies.push(PolicyFile {
        path,
        text: policy.to_owned(),
    });
}

/// Puts a person into an estate.
pub(super) fn person(estate: &mut Estate, alias: &str, roles: &[PersonRole], groups: &[&str]) {
    let person = Person {
        alias: alias.to_owned(),
        unix_uid: None,
        oidc: None,
        roles: roles.iter().copied().collect(),
        groups: groups.iter().map(|it| it.parse().unwrap()).collect(),
    };
    estate.people.insert(alias.to_owned(), person);
}

fn check(expected: &str, act: Governance, policy: &str, change: impl FnOnce(&mut Asked)) {
    let role = if act == approve() {
        PersonRole::Approver
    } else {
        PersonRole::Starter
    };
    let mut asked = asked(role, act);
    person(&mut asked.world.own, "maria", &[], &["treasury"]);
    forbid(&mut asked.world.own, policy);
    change(&mut asked);
    let name = format!("{:?} {policy}", asked.act);
    let (answer, rules) = told(asked);
    assert_eq!(answer, expected, "{name}");
    if answer == "policy_forbids" {
        assert_eq!(rules, ["mine"], "{name}");
    }
}

fn mine(action: &str, condition: &str) -> String {
    format!(
        "@id(\"mine\") forbid (principal, action == Ambit::Action::\"{action}\", resource) when {{ {condition} }};"
    )
}

#[test]
fn a_policy_of_the_estate_forbids_by_the_facts() {
    let decide = |condition: &str| mine("decide_approval", condition);
    let (no, yes) = ("policy_forbids", "allow");
    check(no, approve(), &decide("true"), |_| {});
    check(yes, approve(), &mine("start_task", "true"), |_| {});
    check(no, start(), &mine("start_task", "true"), |_| {});
    let writes = decide("context.roles.contains(\"administrator\")");
    check(yes, approve(), &writes, |_| {});
    check(no, approve(), &writes, |it| {
        it.roles.push(PersonRole::Administrator);
    });
    let own = decide("context.owner == \"self\"");
    check(yes, approve(), &own, |_| {});
    check(no, approve(), &own, |it| it.alias = "olivia");
    let of_agent = decide("context has of_agent && context.of_agent == Ambit::Agent::\"triage\"");
    check(no, approve(), &of_agent, |_| {});
    let of_template = mine(
        "start_task",
        "context has of_template && context.of_template == Ambit::Template::\"answer\"",
    );
    check(no, start(), &of_template, |_| {});
    let group = decide("!(principal in Ambit::Group::\"treasury\")");
    check(yes, approve(), &group, |_| {});
    check(no, approve(), &group, |it| it.alias = "otto");
    let own_task = decide("context.subject == \"self\"");
    check(no, approve(), &own_task, |it| {
        it.subject = Some(PersonId::from_bits(ME));
        it.world.template().approver = Approver::Anyone;
    });
    let many = "@id(\"mine\") @description(\"Nothing at all.\") \
                forbid (principal, action in Ambit::Action::\"restrictable\", resource);";
    check(no, start(), many, |_| {});
    check(yes, end(), many, |it| {
        it.subject = Some(PersonId::from_bits(ME));
    });
}

/// What stops everybody comes before what the estate forbids, and both are told.
#[test]
fn the_rules_are_told_in_order() {
    let mut asked = asked(PersonRole::Approver, approve());
    asked.subject = Some(PersonId::from_bits(ME));
    forbid(&mut asked.world.own, &mine("decide_approval", "true"));
    let (answer, rules) = told(asked);
    assert_eq!(answer, "same_person");
    assert_eq!(rules, ["another-person-decides", "mine"]);
}

fn problem(policy: &str) -> String {
    let mut world = World::new();
    person(
        &mut world.own,
        "ada",
        &[PersonRole::Administrator],
        &["treasury"],
    );
    world.own.people_policies.push(PolicyFile {
        path: "policies/people/p.cedar".to_owned(),
        text: policy.to_owned(),
    });
    let problems = PolicyBook::compile(Arc::new(world.own)).err().unwrap();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    problems.join("\n")
}

/// What is refused when the estate is checked, and where: nothing of it comes into force.
#[test]
fn asi03_no_policy_on_people_takes_the_answer_to_a_compromise_away() {
    let on = |scope: &str| format!("@id(\"a\") forbid (principal, {scope}, resource);");
    let named = |action: &str| format!("action == Ambit::Action::\"{action}\"");
    let answers = [
        "end_task",
        "revoke",
        "end_login",
        "remove_passkey",
        "open_login",
        "inspect",
    ];
    for answer in answers {
        let told = problem(&on(&named(answer)));
        let expected = format!("policies/people/p.cedar:1:1: no policy may forbid `{answer}`; ");
        assert!(told.starts_with(&expected), "{told}");
        let several =
            format!("action in [Ambit::Action::\"start_task\", Ambit::Action::\"{answer}\"]");
        assert!(problem(&on(&several)).starts_with(&expected), "{told}");
    }
    let wide = [
        on("action"),
        on("action in Ambit::Action::\"govern\""),
        on("action in Ambit::Action::\"always\""),
    ];
    let told: Vec<String> = wide.iter().map(|it| problem(it)).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    policies/people/p.cedar:1:1: a policy on people names the acts that it forbids; write `action in Ambit::Action::"restrictable"`: who may revoke, end and look can answer a compromise under every policy
    policies/people/p.cedar:1:1: no policy may forbid `end_login`; name other acts, or write `action in Ambit::Action::"restrictable"`: who may revoke, end and look can answer a compromise under every policy
    policies/people/p.cedar:1:1: no policy may forbid `end_login`; name other acts, or write `action in Ambit::Action::"restrictable"`: who may revoke, end and look can answer a compromise under every policy
    "#);
}

#[test]
fn a_policy_in_the_wrong_folder_is_told_of_the_right_one() {
    let told = problem(&mine("read_tool", "true"));
    let expected =
        "policies/people/p.cedar:1:42: unrecognized action `Ambit::Action::\"read_tool\"`";
    assert!(told.starts_with(expected), "{told}");
    let hint = "; policies on what agents do are in policies/, not in policies/people/";
    assert!(told.ends_with(hint), "{told}");
}

#[test]
fn what_is_refused_before_it_comes_into_force() {
    let refused = [
        "permit (principal, action == Ambit::Action::\"start_task\", resource);".to_owned(),
        mine("start_task", "true").replace("@id(\"mine\")", ""),
        mine("start_task", "true").replace("mine", "weak-proof"),
        mine("start_task", "true").replace("forbid", "@ask(\"approver\") forbid"),
        mine("start_task", "true").replace("forbid", "@reason(\"x\") forbid"),
        mine("start_task", "\n context.nonsense"),
        mine("start_task", "context.of_agent == Ambit::Agent::\"triage\""),
        mine(
            "start_task",
            "context has of_agent && context.of_agent == Ambit::Agent::\"triag\"",
        ),
        mine("start_task", "principal in Ambit::Group::\"tresury\""),
        mine("start_task", "principal == Ambit::Person::\"ada\""),
        "@id(\"a\")\nforbid (principal, action".to_owned(),
    ];
    let told: Vec<String> = refused.iter().map(|it| problem(it)).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    policies/people/p.cedar:1:1: a policy can only forbid; what a person may do is written in `roles` of estate.toml and in `owner`
    policies/people/p.cedar:1:2: write `@id("…")` before the policy, with a name of letters, digits, `-`, `_` and `.`
    policies/people/p.cedar:1:1: the name `weak-proof` is taken; give the policy another @id
    policies/people/p.cedar:1:1: `@ask` has nobody to ask here: what a person does is allowed or forbidden; write the policy without it
    policies/people/p.cedar:1:1: `@reason` is unknown; write @id or @description
    policies/people/p.cedar:2:2: attribute `nonsense` in context for Ambit::Action::"start_task" not found; did you mean `roles`?
    policies/people/p.cedar:1:88: unable to guarantee safety of access to optional attribute `of_agent` in context for Ambit::Action::"start_task"; try testing for the attribute's presence with `context has of_agent && ..`
    policies/people/p.cedar:1:1: the estate has no `Ambit::Agent::"triag"`; check the spelling
    policies/people/p.cedar:1:1: the estate has no `Ambit::Group::"tresury"`; check the spelling
    policies/people/p.cedar:1:1: `Ambit::Person::"ada"` is nobody: people have pseudonyms here; write `groups = ["NAME"]` for the person in estate.toml and `principal in Ambit::Group::"NAME"` here
    policies/people/p.cedar:2:26: unexpected end of input; close every `(` and `{`, and end the policy with `;`
    "#);
}

/// Without the groups nobody is in them, and no estate says otherwise.
#[test]
fn asi03_a_policy_can_not_lock_everybody_out() {
    let no_one =
        "@id(\"locked\")\nforbid (principal, action == Ambit::Action::\"apply_estate\", resource);";
    insta::assert_snapshot!(problem(no_one), @r#"policies/people/p.cedar:1:1: nobody could put another estate in force: the policies stop every administrator, `ada` by this one; let one of them `apply_estate`, or name an administrator whom it does not stop"#);
    let told = problem(&format!(
        "@id(\"other\") forbid (principal, action == Ambit::Action::\"rotate_keys\", resource);\n{}",
        mine("apply_estate", "principal in Ambit::Group::\"treasury\"")
    ));
    assert!(
        told.starts_with("policies/people/p.cedar:2:1: nobody could put another"),
        "{told}"
    );
    let compiled = |others: &[(&str, &[PersonRole], &[&str])]| {
        let mut world = World::new();
        person(
            &mut world.own,
            "ada",
            &[PersonRole::Administrator],
            &["treasury"],
        );
        for (alias, roles, groups) in others {
            person(&mut world.own, alias, roles, groups);
        }
        let policy = mine("apply_estate", "principal in Ambit::Group::\"treasury\"");
        forbid(&mut world.own, &policy);
        PolicyBook::compile(Arc::new(world.own)).is_ok()
    };
    assert!(!compiled(&[]));
    assert!(!compiled(&[("zoe", &[PersonRole::Operator], &[])]));
    assert!(!compiled(&[(
        "zoe",
        &[PersonRole::Administrator],
        &["treasury"]
    )]));
    assert!(compiled(&[("zoe", &[PersonRole::Administrator], &[])]));
}

const CONDITIONS: [&str; 8] = [
    "true",
    "context.roles.contains(\"administrator\")",
    "context.subject == \"self\"",
    "context.owner != \"self\"",
    "principal in Ambit::Group::\"treasury\"",
    "!(principal in Ambit::Group::\"treasury\")",
    "context has of_template",
    "context.binding != \"strong\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever an estate forbids: nobody may more than without it, and what answers a compromise is as it was.
    #[test]
    fn policies_on_people_only_narrow(
        policies in prop::collection::vec((0..10_usize, 0..CONDITIONS.len()), 1..5),
        roles in prop::collection::btree_set(0..5_usize, 0..5),
    ) {
        let all = acts();
        let restrictable: Vec<_> = all.iter().map(Governance::action).filter(|it| !ANSWERS.contains(it)).collect();
        prop_assert_eq!(restrictable.len(), 10);
        let mut world = World::new();
        person(&mut world.own, "maria", &[], &["treasury"]);
        let free = compile(&world.own);
        for (place, (action, condition)) in policies.iter().enumerate() {
            let policy = mine(restrictable[*action], CONDITIONS[*condition]);
            forbid(&mut world.own, &policy.replace("mine", &format!("p{place}")));
        }
        let restricted = compile(&world.own);
        for (act, alias, subject) in all.iter().flat_map(everyone) {
            let answer = |book| {
                let mut asked = asked(PersonRole::Starter, act.clone());
                asked.roles = roles.iter().map(|it| PersonRole::ALL[*it]).collect();
                (asked.alias, asked.subject) = (alias, Some(subject));
                told_by(book, asked).0
            };
            let (without, with) = (answer(&free), answer(&restricted));
            let stops = ["allow", "role_missing"].contains(&without.as_str());
            if !stops || ANSWERS.contains(&act.action()) {
                prop_assert_eq!(with, without);
            } else {
                prop_assert!(with == without || with == "policy_forbids", "{} {}", without, with);
            }
        }
    }
}

/// Somebody in a group, the owner of everything, and somebody else, each about themselves and others.
fn everyone(act: &Governance) -> Vec<(Governance, &'static str, PersonId)> {
    let aliases = ["maria", "olivia", "otto"].into_iter();
    let both = aliases.flat_map(|alias| [ME, 8].map(|it| (alias, PersonId::from_bits(it))));
    both.map(|(alias, subject)| (act.clone(), alias, subject))
        .collect()
}

const ANSWERS: [&str; 6] = [
    "end_task",
    "revoke",
    "end_login",
    "remove_passkey",
    "open_login",
    "inspect",
];

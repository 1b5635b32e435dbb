//! The tenant's own policies: what they do, and what is refused before they could do it.

use std::sync::Arc;

use ambit_core::{Timestamp, estate::PolicyFile};
use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};

use super::world::{EXPIRES, World, approval, call, labels, told};
use crate::{
    ApprovalState, Decision, PolicyBook,
    book::{ACTS_POLICIES, ACTS_SCHEMA, PEOPLE_POLICIES, PEOPLE_SCHEMA},
};

fn check(expected: &str, policy: &str, change: impl FnOnce(&mut World)) {
    let world = World::with(|it| {
        it.policy(policy);
        change(it);
    });
    assert_eq!(told(&world.decide()), expected, "{policy}");
}

fn problem(policy: &str) -> String {
    let world = World::with(|it| {
        it.own.policies.push(PolicyFile {
            path: "policies/p.cedar".to_owned(),
            text: policy.to_owned(),
        });
    });
    let problems = PolicyBook::compile(Arc::new(world.own)).err().unwrap();
    problems[0].to_string()
}

#[test]
fn the_fixed_policies_fit_their_schemas_strictly() {
    for (policies, schema) in [
        (ACTS_POLICIES, ACTS_SCHEMA),
        (PEOPLE_POLICIES, PEOPLE_SCHEMA),
    ] {
        let policies: PolicySet = policies.parse().unwrap();
        let (schema, _) = Schema::from_cedarschema_str(schema).unwrap();
        let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        assert!(result.validation_passed_without_warnings(), "{result}");
        for policy in policies.policies() {
            assert!(policy.annotation("id").is_some(), "{policy}");
        }
    }
}

#[test]
fn a_tenant_policy_forbids_or_asks() {
    let mine = |condition: &str| {
        format!("@id(\"mine\") forbid (principal, action, resource) when {{ {condition} }};")
    };
    check(
        "deny policy_forbids",
        &mine("principal.agent.risk == \"medium\""),
        |_| {},
    );
    check("allow", &mine("principal.agent.risk == \"high\""), |_| {});
    check(
        "deny policy_forbids",
        &mine("context.calls_left > 0"),
        |_| {},
    );
    check("allow", &mine("context.calls_left < 0"), |_| {});
    check(
        "deny policy_forbids",
        &mine("context.labels.contains(\"web\")"),
        |it| {
            it.usage.labels = labels(&["web"]);
        },
    );
    check(
        "deny policy_forbids",
        "@id(\"mine\") forbid (principal in Ambit::Agent::\"triage\", \
         action in Ambit::Action::\"read\", resource is Ambit::Tool) \
         when { resource.mode == \"read\" && resource.result_labels.contains(\"customer\") };",
        |_| {},
    );
    check(
        "allow",
        "@id(\"mine\") forbid (principal, action in Ambit::Action::\"side_effect\", resource);",
        |_| {},
    );
    check(
        "deny policy_forbids",
        "@id(\"mine\") forbid (principal, action, resource in Ambit::Server::\"tickets\");",
        |_| {},
    );
    check(
        "allow",
        "@id(\"mine\") forbid (principal, action, resource in Ambit::Server::\"mail\");",
        |_| {},
    );
    let asks = "@id(\"mine\") @ask(\"approver\") \
                forbid (principal, action, resource == Ambit::Tool::\"tickets/get_ticket\");";
    check("hold approval_required", asks, |_| {});
    check("allow", asks, |it| {
        it.approval = ApprovalState::Approved {
            approval: approval(9),
            until: Timestamp::from_millis(EXPIRES),
        };
    });
    check(
        "deny policy_forbids",
        &format!("{asks} {}", mine("true").replace("mine", "hard")),
        |it| {
            it.approval = ApprovalState::Approved {
                approval: approval(9),
                until: Timestamp::from_millis(EXPIRES),
            };
        },
    );
    check("deny tool_not_granted", asks, |it| {
        it.act = call("tickets", "export_all", "{}")
    });
}

#[test]
fn the_rules_are_named_in_order() {
    let world = World::with(|it| {
        it.policy("@id(\"b\") forbid (principal, action, resource);");
        it.policy("@id(\"a\") forbid (principal, action, resource);");
        it.usage.calls = 10;
    });
    let Decision::Deny(denial) = world.decide() else {
        panic!("denied");
    };
    assert_eq!(denial.rules(), ["budget-exhausted", "b", "a"]);
    insta::assert_snapshot!(denial.explanation(), @"the task's budget is used up: calls used up (rules: budget-exhausted, b, a)");
}

#[test]
fn what_is_refused_before_it_comes_into_force() {
    let refused = [
        "permit (principal, action, resource);",
        "forbid (principal, action, resource);",
        "@id(\"task-ended\") forbid (principal, action, resource);",
        "@id(\"a\") forbid (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
        "@id(\"a\") @aks(\"approver\") forbid (principal, action, resource);",
        "@id(\"a\") @ask(\"owner\") forbid (principal, action, resource);",
        "@id(\"a\") forbid (principal, action, resource == Ambit::Tool::\"tickets/nuke\");",
        "@id(\"a\") forbid (principal == ?principal, action, resource);",
        "@id(\"a\") forbid (principal, action, resource)\nwhen { context.nonsense };",
        "@id(\"a\") forbid (principal, action, resource) when { context.calls_left + 1 > 2 };",
        "@id(\"a\") forbid (principal, action == Ambit::Action::\"start_task\", resource);",
        "@id(\"a\") forbid (principal is Ambit::Person, action, resource);",
        "@id(\"a\")\nforbid (principal, action, resource",
    ];
    let told: Vec<String> = refused.iter().map(|it| problem(it)).collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    policies/p.cedar:1:1: a policy can only forbid; what a task may do is written in its template
    policies/p.cedar:1:1: write `@id("…")` before the policy, with a name of letters, digits, `-`, `_` and `.`
    policies/p.cedar:1:1: the name `task-ended` is taken; give the policy another @id
    policies/p.cedar:2:1: the name `a` is taken; give the policy another @id
    policies/p.cedar:1:1: `@aks` is unknown; write @id, @ask or @description
    policies/p.cedar:1:1: write `@ask("approver")` to have a person asked
    policies/p.cedar:1:1: the estate has no `Ambit::Tool::"tickets/nuke"`; check the spelling
    policies/p.cedar:1:1: a policy with `?principal` or `?resource` is no policy here; name them
    policies/p.cedar:2:8: attribute `nonsense` in context for Ambit::Action::"complete" not found; did you mean `instance`?
    policies/p.cedar:1:1: a policy can't calculate; compare with a number instead
    policies/p.cedar:1:39: unrecognized action `Ambit::Action::"start_task"`; did you mean `Ambit::Action::"act"`?; policies on what people do are in policies/people/
    policies/p.cedar:1:1: policy is impossible: the policy expression evaluates to false for all valid requests
    policies/p.cedar:2:36: unexpected end of input; close every `(` and `{`, and end the policy with `;`
    "#);
}

//! Laws that hold for every request.

use ambit_core::{
    Digest, Labels, Timestamp,
    act::{Act, Listing},
    json::Value,
    record::{Answer, Body, Decided, Recordable},
    task::{Contained, End, TaskState},
};
use proptest::prelude::*;

use super::world::{EXPIRES, STARTED, World, approval, call, labels, server, told, tool};
use crate::{
    ApprovalState, Decision, Replay, Standing, SubjectStanding, charge,
    contexts::{Sight, context},
    decide,
    facts::{Facts, WORDS},
    gather::gather,
    judge::{Verdict, judge, judge_again},
    replay,
};

const LABELS: [&str; 5] = ["customer", "mail", "payroll", "web", "secret"];

fn acts() -> Vec<Act> {
    vec![
        call("tickets", "get_ticket", r#"{"id":7}"#),
        call("tickets", "get_ticket", r#"{"id":"x"}"#),
        call("tickets", "close_ticket", r#"{"id":1042}"#),
        call("tickets", "close_ticket", r#"{"id":1}"#),
        call("tickets", "refund", r#"{"amount":5}"#),
        call("tickets", "export_all", "{}"),
        call("tickets", "nuke", "{}"),
        call(
            "mail",
            "send_reply",
            r#"{"to":["maria@example.com"],"body":"Hi"}"#,
        ),
        call("mail", "read_mail", "{}"),
        call("staging", "look", "{}"),
        call("vault", "read_secret", "{}"),
        Act::ReadResource {
            server: server("tickets"),
            uri: "x".to_owned(),
        },
        Act::List {
            server: server("tickets"),
            what: Listing::Prompts,
        },
        Act::Connect {
            host: "model.example".to_owned(),
            port: 443,
        },
    ]
}

fn approvals() -> Vec<ApprovalState> {
    let approval = approval(9);
    let [soon, late] = [STARTED + 5, EXPIRES + 5].map(Timestamp::from_millis);
    vec![
        ApprovalState::None,
        ApprovalState::Pending {
            approval,
            expires_at: soon,
        },
        ApprovalState::Approved {
            approval,
            until: late,
        },
        ApprovalState::Refused { approval },
        ApprovalState::Void { approval },
        ApprovalState::TooMany,
    ]
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![9 => Just(Standing::Live), 1 => Just(Standing::Revoked)]
}

fn subject() -> impl Strategy<Value = SubjectStanding> {
    use SubjectStanding::{Gone, Live, NotStarter, Revoked};
    prop_oneof![9 => Just(Live), 1 => proptest::sample::select(vec![Gone, NotStarter, Revoked])]
}

fn some_labels() -> impl Strategy<Value = Labels> {
    proptest::sample::subsequence(LABELS.to_vec(), 0..=LABELS.len()).prop_map(|it| labels(&it))
}

prop_compose! {
    fn world()(
        act in proptest::sample::select(acts()),
        approval in proptest::sample::select(approvals()),
        standings in [standing(), standing(), standing()],
        subject in subject(),
        used in some_labels(),
        calls in 0_u32..=11,
        tool_calls in 0_u32..=3,
        state in prop_oneof![9 => Just(TaskState::Active), 1 => Just(TaskState::Ended(End::Revoked))],
        at in prop_oneof![9 => STARTED..EXPIRES, 1 => EXPIRES..EXPIRES + 9],
        contained in prop_oneof![9 => Just(Contained::Namespaces), 1 => Just(Contained::None)],
        seen in prop_oneof![9 => Just(None), 1 => Just(Some(Digest::of(b"x")))],
    ) -> World {
        World::with(|it| {
            it.policy(POLICIES);
            it.act = act;
            it.approval = approval;
            it.live.instance = standings[0];
            it.live.agent = standings[1];
            it.live.person = subject;
            it.live.server = standings[2];
            it.live.tool_seen = seen;
            it.usage.labels = used;
            it.usage.calls = calls;
            it.usage.tool_calls.insert((server("tickets"), tool("refund")), tool_calls);
            it.state = state;
            it.at = at;
            it.contained = contained;
        })
    }
}

const POLICIES: &str = r#"
@id("no-secrets") forbid (principal, action, resource)
when { context.labels.contains("secret") };
@id("ask-before-closing") @ask("approver")
forbid (principal, action == Ambit::Action::"write_tool", resource in Ambit::Server::"tickets");
@id("mail-is-for-mail") @ask("approver")
forbid (principal, action, resource == Ambit::Tool::"mail/send_reply")
when { context.labels.contains("mail") };
"#;

fn decided(decision: &Decision) -> Decided {
    let Body::Decided(decided) = decision.body() else {
        panic!("a decision leaves another record");
    };
    *decided
}

/// How far an answer goes: deny, hold, allow.
fn reach(decision: &Decision) -> u8 {
    match decision {
        Decision::Deny(_) => 0,
        Decision::Hold(_) => 1,
        Decision::Allow(_) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_decision_is_derived_again_from_its_record(world in world()) {
        world.ask(|asked| {
            let decision = decide(asked.request());
            let record = decided(&decision);
            prop_assert_eq!(replay(asked.book, &record), Replay::Same);
            let facts = gather(&asked.request());
            prop_assert_eq!(Facts::from_value(&facts.to_value()), Some(facts.clone()));
            prop_assert_eq!(
                judge(asked.book, &asked.scope.entities, &facts),
                judge_again(asked.book, &facts)
            );
            // Another answer on the same facts is found out.
            let forged = match record.answer {
                Answer::Allow { .. } => Answer::Deny { reason: ambit_core::Reason::TaskEnded },
                Answer::Hold { .. } | Answer::Deny { .. } => Answer::Allow {
                    act_by: Timestamp::from_millis(0),
                    charged: Labels::none(),
                    spends: None,
                },
            };
            let forged = Decided { answer: forged, ..record };
            prop_assert_ne!(replay(asked.book, &forged), Replay::Same);
            Ok(())
        })?;
    }

    #[test]
    fn more_labels_never_widen(world in world(), more in some_labels()) {
        let before = world.decide();
        let mut after = world;
        after.usage.labels = after.usage.labels.union(&more).unwrap();
        prop_assert!(reach(&after.decide()) <= reach(&before));
    }

    #[test]
    fn more_calls_never_widen(world in world(), more in 0_u32..5) {
        let before = world.decide();
        let mut after = world;
        after.usage.calls += more;
        prop_assert!(reach(&after.decide()) <= reach(&before));
    }

    #[test]
    fn a_policy_that_cannot_be_evaluated_permits_nothing(world in world()) {
        let mut world = world;
        world.policy(
            "@id(\"late\") forbid (principal, action, resource) when {\
             context.now.offset(duration(\"9223372036854775807ms\")) < context.now };",
        );
        prop_assert_eq!(reach(&world.decide()), 0);
    }

    #[test]
    fn slices_say_what_the_whole_says(world in world()) {
        world.ask(|asked| {
            let facts = gather(&asked.request());
            let (rules, vocabulary) = (&asked.book.acts, &asked.book.vocabulary);
            let findings = rules.evaluate(vocabulary, &facts, &asked.scope.entities).unwrap();
            let request = crate::rules::Asked::new(vocabulary, &facts);
            let request = request.with(context(&facts, &Sight::everything()).unwrap()).unwrap();
            let whole = asked.book.acts.everything();
            let response = cedar_policy::Authorizer::new()
                .is_authorized(&request, &whole, &asked.scope.entities);
            let stopped = !findings.forbids.is_empty() || !findings.asks.is_empty();
            let allowed = !stopped && !findings.permits.is_empty();
            prop_assert_eq!(allowed, response.decision() == cedar_policy::Decision::Allow);
            if stopped {
                let mut sliced: Vec<String> = findings
                    .forbids
                    .iter()
                    .chain(&findings.asks)
                    .map(|it| it.name.to_string())
                    .collect();
                let mut all: Vec<String> =
                    response.diagnostics().reason().map(ToString::to_string).collect();
                sliced.sort();
                all.sort();
                prop_assert_eq!(sliced, all);
            }
            Ok(())
        })?;
    }

    #[test]
    fn charging_in_order_never_passes_a_maximum(world in world(), meanwhile in some_labels()) {
        world.ask(|asked| {
            let Decision::Allow(permit) = decide(asked.request()) else {
                return Ok(());
            };
            let mut usage = world.usage.clone();
            usage.labels = usage.labels.union(&meanwhile).unwrap();
            match charge(asked.task, &usage, &permit, asked.scope) {
                Ok(after) => {
                    prop_assert!(after.calls <= world.usage.calls.max(10));
                    prop_assert!(permit.charged().without(&after.labels).next().is_none());
                    prop_assert_eq!(&usage.labels, &world.usage.labels);
                }
                // The tenant's policies look at labels, so the act is decided again.
                Err(reason) => prop_assert_eq!(reason, ambit_core::Reason::PermitStale),
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_word_that_no_policy_knows_denies() {
    let free = [
        "binding",
        "provenance",
        // Of other acts.
        "endpoint",
    ];
    World::with(|it| it.act = call("mail", "send_reply", r#"{"to":[],"body":"Hi"}"#)).ask(
        |asked| {
            let facts = gather(&asked.request());
            for name in WORDS.into_iter().filter(|it| !free.contains(it)) {
                let mut value = facts.to_value();
                if let Value::Object(words) = member(&mut value, "words") {
                    words.insert(name.to_owned(), "nonsense".into());
                }
                let bent = Facts::from_value(&value).unwrap();
                let verdict = judge(asked.book, &asked.scope.entities, &bent).verdict;
                assert!(
                    !matches!(verdict, Verdict::Allow { .. }),
                    "{name}: {verdict:?}"
                );
            }
        },
    );
}

#[test]
fn facts_that_miss_or_add_anything_are_no_facts() {
    World::new().ask(|asked| {
        let facts = gather(&asked.request()).to_value();
        let record = decided(&decide(asked.request()));
        for name in facts.as_object().unwrap().keys() {
            let mut less = facts.clone();
            let Value::Object(members) = &mut less else {
                panic!("an object");
            };
            members.remove(name);
            // The digest of a definition is kept for people: no rule looks at it.
            if name != "pinned" {
                assert_eq!(Facts::from_value(&less), None, "{name}");
                let record = Decided {
                    facts: less,
                    ..record.clone()
                };
                assert_eq!(replay(asked.book, &record), Replay::Different { now: None });
            }
        }
        let mut more = facts;
        let Value::Object(members) = &mut more else {
            panic!("an object");
        };
        members.insert("extra".to_owned(), Value::Null);
        assert_eq!(Facts::from_value(&more), None);
    });
}

#[test]
fn facts_hold_no_argument() {
    let secret = "hunter2-hunter2";
    let arguments = format!(r#"{{"to":["{secret}"],"{secret}":"{secret}","cc":"{secret}"}}"#);
    for (at, name) in [
        ("mail", "send_reply"),
        ("tickets", "get_ticket"),
        ("files", "fetch"),
    ] {
        let decision = World::with(|it| it.act = call(at, name, &arguments)).decide();
        assert!(told(&decision).starts_with("deny"));
        let record = decided(&decision);
        let text = record.facts.to_canonical();
        assert!(!text.contains(secret), "{text}");
        assert!(!text.contains("maria"), "{text}");
    }
}

#[test]
fn charge_counts_calls_and_holds_labels_against_what_leaves() {
    let send = || call("mail", "send_reply", r#"{"to":[],"body":"Hi"}"#);
    World::with(|it| it.act = send()).ask(|asked| {
        let Decision::Allow(permit) = decide(asked.request()) else {
            panic!("allowed");
        };
        let mut usage = asked.world.usage.clone();
        usage.labels = labels(&["payroll"]);
        let late = charge(asked.task, &usage, &permit, asked.scope);
        assert_eq!(late, Err(ambit_core::Reason::LabelMayNotLeave));
        usage.labels = labels(&["customer"]);
        usage.calls = 9;
        assert_eq!(
            charge(asked.task, &usage, &permit, asked.scope)
                .unwrap()
                .calls,
            10
        );
        usage.calls = 10;
        let beyond = charge(asked.task, &usage, &permit, asked.scope);
        assert_eq!(beyond, Err(ambit_core::Reason::BudgetExhausted));
        assert_eq!(permit.act_by().as_millis(), STARTED + 1 + 2000);
    });
}

fn member<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    let Value::Object(members) = value else {
        panic!("{name} is looked for in no object");
    };
    members.get_mut(name).unwrap()
}

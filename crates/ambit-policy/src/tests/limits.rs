//! Each maximum with a test at it and one beyond, and the ends of parameters and schemas.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, Digest, Timestamp,
    act::Act,
    estate::{Approver, ArgumentPath, BearerTokens, Constraint, LeastBinding, Mode, ParameterKind},
    json::Value,
    limits::{
        ARGUMENTS_BYTES_MAX, LABELS_MAX, LEAF_BYTES_MAX, PARAMETER_BYTES_MAX, PART_BYTES_MAX,
        PART_TOOLS_MAX,
    },
    record::{Body, Recordable},
    task::Contained,
};

use super::world::{World, call, compile, json, labels, operation, server, told, tool};
use crate::{
    Decision, PartAsk, PartProblem, PolicyBook, Tried, TryOut, authorization_details,
    authorization_details_in_first_form, check_parameters,
    constraints::{BROKEN_MAX, QUOTE_MAX},
    contexts::{CONTEXTS_MAX, Contexts, Sight, context},
    gather::{asked::HOST_BYTES_MAX, gather},
    rules::RULES_NAMED_MAX,
    schemas::exceeds_maximum,
};

#[test]
fn arguments_end_at_their_maximum() {
    // `{"a":"…"}` is eight bytes and the text.
    for (bytes, beyond) in [
        (ARGUMENTS_BYTES_MAX, false),
        (ARGUMENTS_BYTES_MAX + 1, true),
    ] {
        for character in ["x", "\u{1}"] {
            let width = if character == "x" { 1 } else { 6 };
            let room = bytes - 8;
            let mut text = character.repeat(room / width);
            text.push_str(&"x".repeat(room % width));
            let arguments = Value::object([("a", text.into())]);
            assert_eq!(arguments.to_canonical().len(), bytes);
            assert_eq!(exceeds_maximum(&arguments), beyond, "{bytes}");
        }
    }
    let long = Value::object([("id", "x".repeat(ARGUMENTS_BYTES_MAX).into())]);
    let world = World::with(|it| it.act = call("tickets", "get_ticket", &long.to_canonical()));
    assert_eq!(told(&world.decide()), "deny arguments_invalid");
}

/// The longest facts that a decision can have, with the names of rules, fit into a leaf of the log with
/// room for the rest.
#[test]
fn what_a_decision_says_fits_into_a_leaf() {
    let world = World::with(|it| {
        let names: Vec<String> = (0..LABELS_MAX).map(|it| format!("{it:0>63}")).collect();
        let all = labels(&names.iter().map(String::as_str).collect::<Vec<_>>());
        it.usage.labels = all.clone();
        it.act = call("mail", "send_reply", "{}");
        let template = it.template();
        template.may_emit = all.clone();
        let send = template
            .tools
            .get_mut(&(server("mail"), tool("send_reply")))
            .unwrap();
        for place in 0..BROKEN_MAX * 2 {
            let path = ArgumentPath::parse(&format!("{place}{}", "x".repeat(QUOTE_MAX)));
            let long = Constraint::OneOf(vec!["y".repeat(QUOTE_MAX).as_str().into()]);
            send.arguments.insert(path, long);
        }
        let mail = it.own.servers.get_mut(&server("mail")).unwrap();
        mail.tools
            .get_mut(&tool("send_reply"))
            .unwrap()
            .result_labels = all;
        for place in 0..RULES_NAMED_MAX + 1 {
            it.policy(&format!(
                "@id(\"{place:0>128}\") forbid (principal, action, resource);"
            ));
        }
    });
    let Decision::Deny(denial) = world.decide() else {
        panic!("denied");
    };
    assert_eq!(denial.rules().len(), RULES_NAMED_MAX);
    let Body::Decided(decided) = denial.body() else {
        panic!("a decision");
    };
    let broken = decided.facts.get("broken").unwrap().as_array().unwrap();
    assert_eq!(broken.len(), BROKEN_MAX);
    let rules: usize = decided.rules.iter().map(|it| it.len() + 3).sum();
    assert!(decided.facts.to_canonical().len() + rules < LEAF_BYTES_MAX / 2);
}

#[test]
fn a_recorded_host_ends_at_its_maximum() {
    for (bytes, whole) in [(HOST_BYTES_MAX, true), (HOST_BYTES_MAX + 1, false)] {
        let host = "h".repeat(bytes);
        let world = World::with(|it| {
            it.act = Act::Connect {
                host: host.clone(),
                port: 443,
            };
        });
        let Decision::Deny(denial) = world.decide() else {
            panic!("denied");
        };
        assert_eq!(denial.explanation().contains(&host), whole);
    }
}

#[test]
fn a_pattern_that_never_ends_is_refused_soon() {
    let world = World::with(|it| {
        let schema =
            r#"{"type":"object","properties":{"a":{"pattern":"^(?=(a|a)*\\1?$)(a|aa)+\\1$"}}}"#;
        let odd = operation("odd", Mode::Read, &[], schema);
        let tickets = it.own.servers.get_mut(&server("tickets")).unwrap();
        tickets.tools.insert(odd.name.clone(), odd);
        let arguments = format!(r#"{{"a":"{}b"}}"#, "a".repeat(200));
        it.act = call("tickets", "odd", &arguments);
    });
    assert_eq!(told(&world.decide()), "deny arguments_invalid");
}

#[test]
fn parameters_fit_or_are_refused() {
    let mut world = World::new();
    let template = world.template();
    let given = |ticket: &str, customer: &str, folder: &str| {
        let all = format!(r#"{{"ticket":{ticket},"customer":{customer},"folder":{folder}}}"#);
        json(&all).as_object().unwrap().clone()
    };
    for (ticket, customer, folder, fits) in [
        ("1", r#""m""#, r#""/srv/docs/a""#, true),
        ("9999", r#""m""#, r#""/srv/docs""#, true),
        ("0", r#""m""#, r#""/srv/docs/a""#, false),
        ("10000", r#""m""#, r#""/srv/docs/a""#, false),
        ("1.5", r#""m""#, r#""/srv/docs/a""#, false),
        (r#""1""#, r#""m""#, r#""/srv/docs/a""#, false),
        ("1", "7", r#""/srv/docs/a""#, false),
        ("1", r#""m""#, r#""/srv/docs/../x""#, false),
        ("1", r#""m""#, r#""/srv/docsx""#, false),
        ("1", r#""m""#, r#""srv/docs""#, false),
    ] {
        let given = given(ticket, customer, folder);
        assert_eq!(
            check_parameters(template, &given).is_ok(),
            fits,
            "{given:?}"
        );
    }
    let mut more = given("1", r#""m""#, r#""/srv/docs/a""#);
    more.insert("other".to_owned(), Value::Null);
    assert!(check_parameters(template, &more).is_err());
    let problem = check_parameters(template, &BTreeMap::new()).unwrap_err();
    insta::assert_snapshot!(problem, @"parameter `customer` is missing; give it: the customer");
    for (kind, value, fits) in parameter_ends() {
        let parameter = template.parameters.get_mut("customer").unwrap();
        parameter.kind = kind;
        parameter.default = Some(value);
        let mut given = given("1", "0", r#""/srv/docs/a""#);
        given.remove("customer");
        assert_eq!(check_parameters(template, &given).is_ok(), fits);
    }
}

#[test]
fn a_text_that_was_read_as_something_else_is_asked_for_in_quotes() {
    let check = |kind: ParameterKind, value: Value, wanted: Option<&str>| {
        let parameter = ambit_core::estate::Parameter {
            description: String::new(),
            kind,
            default: None,
        };
        let problem = crate::check_parameter("to", &parameter, Some(&value));
        let problem = problem.unwrap_err().to_string();
        match wanted {
            Some(part) => assert!(problem.contains(part), "{problem}"),
            None => assert!(!problem.contains("--param"), "{problem}"),
        }
    };
    let text = |bytes_max| ParameterKind::Text {
        bytes_max,
        one_of: Vec::new(),
    };
    let quoted = "; 5 is read as a number, so write it in quotes: --param 'to=\"5\"'";
    check(text(10), Value::Integer(5), Some(quoted));
    check(text(10), Value::Bool(true), Some("'to=\"true\"'"));
    check(text(10), Value::Integer(12_345_678_901), None);
    check(text(1), "ab".into(), None);
    check(ParameterKind::Integer { min: 1, max: 2 }, "1".into(), None);
}

fn parameter_ends() -> Vec<(ParameterKind, Value, bool)> {
    let text = |bytes_max| ParameterKind::Text {
        bytes_max,
        one_of: Vec::new(),
    };
    let choice = || ParameterKind::Text {
        bytes_max: 9,
        one_of: vec!["a".to_owned(), "b".to_owned()],
    };
    let web = || ParameterKind::Under {
        prefix: "https://docs.example/a".to_owned(),
    };
    let long = |bytes: usize| Value::from("x".repeat(bytes));
    vec![
        (text(40), long(40), true),
        (text(40), long(41), false),
        (text(usize::MAX), long(PARAMETER_BYTES_MAX), true),
        (text(usize::MAX), long(PARAMETER_BYTES_MAX + 1), false),
        (choice(), "a".into(), true),
        (choice(), "c".into(), false),
        (ParameterKind::Boolean, true.into(), true),
        (ParameterKind::Boolean, "true".into(), false),
        (web(), "https://docs.example/a/b".into(), true),
        (web(), "http://docs.example/a/b".into(), false),
        (web(), "https://docs.example/b".into(), false),
    ]
}

#[test]
fn schemas_that_reach_out_or_do_not_compile_are_problems() {
    let compiled = |schema: &str| {
        let world = World::with(|it| {
            let odd = operation("odd", Mode::Read, &[], schema);
            let tickets = it.own.servers.get_mut(&server("tickets")).unwrap();
            tickets.tools.insert(odd.name.clone(), odd);
        });
        PolicyBook::compile(Arc::new(world.own))
            .err()
            .map(|it| it[0].to_string())
    };
    assert_eq!(compiled(r#"{"type":"object"}"#), None);
    assert_eq!(
        compiled(r#"{"type":"object","properties":{"a":{"format":"email"}}}"#),
        None
    );
    for schema in [
        r#"{"$ref":"https://schemas.example/a.json"}"#,
        r#"{"$ref":"file:///etc/passwd"}"#,
        r#"{"type":"nonsense"}"#,
        r#"{"properties":{"a":{"pattern":"("}}}"#,
        "[]",
        "true",
    ] {
        let problem = compiled(schema);
        assert!(problem.is_some(), "{schema}");
    }
}

#[test]
fn authorization_details_are_whole_and_always_the_same() {
    let mut world = World::new();
    let tools = &mut world.template().tools;
    tools.retain(|(at, _), _| at == &server("tickets"));
    let estate = world.own.clone();
    let task = world.task();
    let details = authorization_details(world.template(), &estate, &task.parameters);
    let first = authorization_details_in_first_form(world.template(), &estate, &task.parameters);
    insta::assert_snapshot!(first.to_canonical(), @r#"[{"calls_max":10,"containment":"required","may_emit":["customer"],"purpose":"Answer one ticket.","template":"answer","ttl_seconds":1000,"type":"ambit_task","version":1},{"actions":["look"],"datatypes":["tools","resources","prompts"],"mode":"read","server":"staging","type":"ambit_task"},{"actions":["get_ticket"],"datatypes":["tools","resources","prompts"],"mode":"read","server":"tickets","type":"ambit_task"},{"actions":["close_ticket"],"approval":"free","constraints":{"id":{"equals":1042}},"mode":"write","server":"tickets","type":"ambit_task"},{"actions":["refund"],"approval":"held","calls_max":2,"constraints":{"amount":{"max":50,"min":1}},"mode":"execute","server":"tickets","type":"ambit_task"}]"#);
    let demands = |approver, binding, bearer| {
        let (mut world, mut estate) = (World::new(), estate.clone());
        estate.bearer_tokens = bearer;
        world.template().approver = approver;
        world.template().binding = binding;
        let details = authorization_details(world.template(), &estate, &task.parameters);
        let whole = details.as_array().unwrap()[0].clone();
        ["approver", "binding", "bearer"]
            .map(|it| whole.get(it).unwrap().as_str().unwrap().to_owned())
    };
    let (taken, refused) = (BearerTokens::Taken, BearerTokens::Refused);
    assert_eq!(
        demands(Approver::Anyone, LeastBinding::Mtls, taken),
        ["anyone", "mtls", "nothing"]
    );
    assert_eq!(
        demands(Approver::AnotherPerson, LeastBinding::BearerToAct, taken),
        ["another_person", "bearer", "acts"]
    );
    assert_eq!(
        demands(Approver::Anyone, LeastBinding::BearerToRead, refused),
        ["anyone", "bearer", "nothing"]
    );
    let mut other = task.parameters;
    other.insert("ticket".to_owned(), Value::Integer(1));
    let changed = authorization_details(world.template(), &estate, &other);
    assert_ne!(
        Digest::of(changed.to_canonical().as_bytes()),
        Digest::of(details.to_canonical().as_bytes())
    );
}

#[test]
fn a_question_is_answered_without_a_task() {
    let world = World::new();
    let book = compile(&world.own);
    let ask = |act, agent: &str| TryOut {
        template: "answer".parse().unwrap(),
        agent: agent.parse::<AgentName>().unwrap(),
        parameters: world.task().parameters,
        labels: labels(&["customer"]),
        contained: Contained::Namespaces,
        binding: "mtls",
        at: Timestamp::from_millis(5),
        act,
    };
    let tried = |act, agent| book.try_out(ask(act, agent)).unwrap().answer;
    let refund = || call("tickets", "refund", r#"{"amount":5}"#);
    assert_eq!(
        tried(call("tickets", "get_ticket", r#"{"id":7}"#), "triage"),
        Tried::Allow
    );
    let held = Tried::Hold(ambit_core::Reason::ApprovalRequired);
    assert_eq!(tried(refund(), "triage"), held);
    let withdrawn = Tried::Deny(ambit_core::Reason::TemplateWithdrawn);
    assert_eq!(tried(refund(), "nobody"), withdrawn);
    let mut unfit = ask(refund(), "triage");
    unfit.parameters.clear();
    assert!(book.try_out(unfit).is_err());
}

#[test]
fn a_part_ends_at_its_maxima() {
    let check = |details: &Value, beyond: bool| {
        let read = PartAsk::from_details(details);
        let expected = if beyond {
            Err(PartProblem::TooLong)
        } else {
            Ok(())
        };
        assert_eq!(read.map(|_| ()), expected);
    };
    for (count, beyond) in [(PART_TOOLS_MAX, false), (PART_TOOLS_MAX + 1, true)] {
        let tools = (0..count).map(|it| format!("tool_{it}").into());
        let one = Value::object([
            ("type", "ambit_task".into()),
            ("server", "tickets".into()),
            ("actions", Value::Array(tools.collect())),
        ]);
        check(&Value::Array(vec![one]), beyond);
        let reads = (0..count).map(|it| {
            Value::object([
                ("type", "ambit_task".into()),
                ("server", format!("server-{it}").into()),
                ("datatypes", ["tools"].into_iter().collect()),
            ])
        });
        check(&Value::Array(reads.collect()), beyond);
    }
    for (bytes, beyond) in [(PART_BYTES_MAX, false), (PART_BYTES_MAX + 1, true)] {
        let part = |text: String| {
            let constraint = Value::object([("equals", text.into())]);
            Value::Array(vec![Value::object([
                ("type", "ambit_task".into()),
                ("server", "tickets".into()),
                ("actions", ["close_ticket"].into_iter().collect()),
                ("constraints", Value::object([("id", constraint)])),
            ])])
        };
        let frame = part(String::new()).to_canonical().len();
        let whole = part("x".repeat(bytes - frame));
        assert_eq!(whole.to_canonical().len(), bytes);
        check(&whole, beyond);
    }
}

/// Contexts are kept up to their maximum, and a kept one says what a new one would.
#[test]
fn contexts_are_kept_up_to_their_maximum() {
    let world = World::with(|_| {});
    world.ask(|asked| {
        let contexts = Contexts::default();
        let mut facts = gather(&asked.request());
        for number in 1..=CONTEXTS_MAX {
            facts.labels = labels(&[&format!("label-{number}")]);
            for _ in 0..2 {
                let kept = contexts.of(&facts, &Sight::Lasting).unwrap();
                let fresh = context(&facts, &Sight::Lasting).unwrap();
                assert_eq!(
                    kept.to_json_value().unwrap(),
                    fresh.to_json_value().unwrap()
                );
            }
            assert_eq!(contexts.count(), number);
        }
        facts.labels = labels(&["one-beyond"]);
        contexts.of(&facts, &Sight::Lasting).unwrap();
        assert_eq!(contexts.count(), 1);
        // What differs from act to act is shown as it is, and nothing is kept.
        let contexts = Contexts::default();
        for left in [2, 1] {
            facts.calls_left = left;
            let context = contexts.of(&facts, &Sight::everything()).unwrap();
            let context = context.to_json_value().unwrap();
            assert_eq!(context.get("calls_left").unwrap(), left);
        }
        assert_eq!(contexts.count(), 0);
    });
}

use std::collections::BTreeMap;

use ambit_core::{
    ApprovalId, Digest, InstanceId, Labels, Millis, Reason, RevocationId, TaskId, Timestamp,
    act::Target,
    record::{Answer, Decided, Performed, Sealed, Settlement, Status, Verdict, Warrant},
    task::{Contained, End, Task},
};

mod delegated;

use super::*;

mod parts;

const TASK: TaskId = TaskId::from_bits(1);
const INSTANCE: InstanceId = InstanceId::from_bits(2);
const ADA: PersonId = PersonId::from_bits(3);
const APPROVAL: ApprovalId = ApprovalId::from_bits(4);
const SEALED: Sealed = Sealed {
    commitment: Digest::from_bytes([0; 32]),
    blob: None,
};

fn warrant(decision: u128) -> Warrant {
    Warrant {
        decision: DecisionId::from_bits(decision),
        by: ADA,
        rules: vec!["starters-start".to_owned()],
        facts: Value::object([("role", "starter".into())]),
    }
}

fn started() -> Body {
    let task = Task {
        lineage: ambit_core::delegation::Lineage::Root,
        id: TASK,
        template: "answer-ticket".parse().unwrap(),
        template_version: 1,
        estate: Digest::of(b"estate"),
        agent: "support-bot".parse().unwrap(),
        instance: INSTANCE,
        spiffe_id: "spiffe://demo/agent/support-bot/x".parse().unwrap(),
        subject: ADA,
        parameters: BTreeMap::new(),
        authority: Digest::of(b"authority"),
        started_at: Timestamp::from_millis(0),
        expires_at: Timestamp::from_millis(1_800_000),
        contained: Contained::Namespaces,
    };
    Body::TaskStarted {
        task: Box::new(task),
        parameters: SEALED,
        warrant: warrant(100),
    }
}

fn decided(decision: u128, tool: &str, answer: Answer) -> Body {
    Body::Decided(Box::new(Decided {
        decision: DecisionId::from_bits(decision),
        actor: Actor::Instance(INSTANCE),
        task: Some(TASK),
        action: "call_tool".to_owned(),
        server: Some("tickets".parse().unwrap()),
        tool: Some(tool.parse().unwrap()),
        pin: None,
        act: Some(SEALED),
        estate: Digest::of(b"estate"),
        facts: Value::object([("labels", Value::Array(vec!["customer".into()]))]),
        answer,
        rules: vec!["task-bounds".to_owned()],
    }))
}

fn allow(charged: &[&str], spends: Option<ApprovalId>) -> Answer {
    Answer::Allow {
        act_by: Timestamp::from_millis(9000),
        charged: Labels::new(charged.iter().map(|it| it.parse().unwrap())).unwrap(),
        spends,
    }
}

fn performed(decision: u128, status: Status) -> Body {
    Body::Performed(Box::new(Performed {
        decision: DecisionId::from_bits(decision),
        task: TASK,
        status,
        took: Millis::new(12),
        sent_bytes: 80,
        received_bytes: 900,
        labels: Labels::none(),
        result: None,
        failure: None,
    }))
}

/// A log of these facts, 100 ms apart.
fn log(bodies: Vec<Body>) -> Vec<Entry> {
    let entry = |(index, body)| Entry {
        index,
        record: Record {
            at: Timestamp::from_millis(index * 100),
            body,
        },
    };
    (0..).zip(bodies).map(entry).collect()
}

fn a_day() -> Vec<Entry> {
    let deny = |reason| Answer::Deny { reason };
    let hold = Answer::Hold {
        approval: APPROVAL,
        expires_at: Timestamp::from_millis(900_000),
        reason: Reason::ApprovalRequired,
    };
    log(vec![
        started(),
        decided(10, "get_ticket", allow(&["customer"], None)),
        performed(10, Status::Done),
        decided(11, "send_reply", deny(Reason::ArgumentOutOfBounds)),
        decided(12, "refund", hold),
        Body::ApprovalDecided {
            approval: APPROVAL,
            task: TASK,
            verdict: Verdict::Approved,
            reason: None,
            warrant: warrant(101),
        },
        decided(13, "refund", allow(&[], Some(APPROVAL))),
        performed(13, Status::Unknown),
        decided(14, "close_ticket", allow(&[], None)),
        Body::Revoked {
            revocation: RevocationId::from_bits(5),
            target: Target::Agent("support-bot".parse().unwrap()),
            reason: SEALED,
            warrant: warrant(102),
        },
        Body::TaskEnded {
            task: TASK,
            end: End::Revoked,
            by: Actor::Person(ADA),
        },
        Body::Revoked {
            revocation: RevocationId::from_bits(6),
            target: Target::Agent("other".parse().unwrap()),
            reason: SEALED,
            warrant: warrant(103),
        },
    ])
}

fn names() -> Names {
    Names::new([(ADA, "ada\u{202e}".to_owned())])
}

#[test]
fn a_trace_tells_the_task_and_what_nobody_knows_first() {
    let trace = trace(&a_day(), &names(), TASK, Timestamp::from_millis(2000)).unwrap();
    insta::assert_snapshot!(trace.to_string(), @r"
    task_00000000000000000000000001: answer-ticket by support-bot for ada\u{202e}: revoked

    Look at these first: nobody knows how they ended.
      +   0.600s  #6     allowed tickets.refund (dec_0000000000000000000000000d), spending approval apr_00000000000000000000000004: outcome UNKNOWN: up to 80 bytes were sent, no whole answer came back
      +   0.800s  #8     allowed tickets.close_ticket (dec_0000000000000000000000000e): outcome not written: under way, or unknown
      Ask the server of each whether it happened, then say so with `ambit log settle`.

    began 1970-01-01T00:00:00.000Z
      +   0.000s  #0     ada\u{202e} started answer-ticket version 1 for support-bot as inst_00000000000000000000000002, until 1970-01-01T00:30:00.000Z, containment namespaces
      +   0.100s  #1     allowed tickets.get_ticket (dec_0000000000000000000000000a), may read customer data: done in 12ms, 900 bytes back
      +   0.300s  #3     denied tickets.send_reply (dec_0000000000000000000000000b): argument_out_of_bounds, an argument lies outside the task's bounds
      +   0.400s  #4     held tickets.refund (dec_0000000000000000000000000c) until a person decides apr_00000000000000000000000004, at the latest 1970-01-01T00:15:00.000Z: approval_required, a person must approve this exact call first
      +   0.500s  #5     ada\u{202e} approved apr_00000000000000000000000004
      +   0.600s  #6     allowed tickets.refund (dec_0000000000000000000000000d), spending approval apr_00000000000000000000000004: outcome UNKNOWN: up to 80 bytes were sent, no whole answer came back
      +   0.800s  #8     allowed tickets.close_ticket (dec_0000000000000000000000000e): outcome not written: under way, or unknown
      +   0.900s  #9     ada\u{202e} revoked agent support-bot (rev_00000000000000000000000005)
      +   1.000s  #10    revoked by ada\u{202e}
    ");
    assert_eq!(trace.unknown.len(), 2);
    let sifted: Vec<Entry> = a_day()
        .into_iter()
        .filter({
            let mut concerns = Concerns::of(TASK);
            move |it| concerns.take(&it.record.body)
        })
        .collect();
    assert_eq!(
        super::trace(&sifted, &names(), TASK, Timestamp::from_millis(2000)),
        Some(trace.clone())
    );
    assert_eq!(
        trace.to_value().get("state").and_then(Value::as_str),
        Some("revoked")
    );
}

#[test]
fn a_trace_begins_with_its_task_whatever_was_revoked_and_lifted_before() {
    let revoked = |number, target| Body::Revoked {
        revocation: RevocationId::from_bits(number),
        target,
        reason: SEALED,
        warrant: warrant(102),
    };
    let bot = || Target::Agent("support-bot".parse().unwrap());
    let log = log(vec![
        revoked(5, bot()),
        revoked(6, Target::Person(ADA)),
        Body::Reinstated {
            target: bot(),
            reason: SEALED,
            warrant: warrant(103),
        },
        started(),
        decided(10, "get_ticket", allow(&["customer"], None)),
        revoked(7, Target::Server("tickets".parse().unwrap())),
        revoked(8, bot()),
    ]);
    let of = |records: usize| {
        let now = Timestamp::from_millis(2000);
        trace(&log[..records], &names(), TASK, now).unwrap()
    };
    let told: Vec<_> = of(7).lines.iter().map(|it| it.index).collect();
    assert_eq!((of(6).state, of(7).state), ("active", "revoked"));
    assert_eq!(told, [3, 4, 5, 6]);
}

#[test]
fn a_trace_knows_expiry_and_unknown_tasks() {
    let log = log(vec![started()]);
    let state = |now| {
        trace(&log, &names(), TASK, Timestamp::from_millis(now))
            .unwrap()
            .state
    };
    assert_eq!(state(1_799_999), "active");
    assert_eq!(state(1_800_000), "expired");
    assert_eq!(
        trace(
            &log,
            &names(),
            TaskId::from_bits(9),
            Timestamp::from_millis(0)
        ),
        None
    );
}

#[test]
fn why_names_rule_facts_and_remedy() {
    let explain = |_: &Decided| {
        let text = "an argument lies outside the task's bounds: `to` must be parameter customer \
                    (rules: task-bounds)";
        Some(text.to_owned())
    };
    let of = |decision| {
        let decision = DecisionId::from_bits(decision);
        let whole = why(&a_day(), &names(), decision, explain);
        let sifted: Vec<Entry> = a_day()
            .into_iter()
            .filter(|it| concerns_decision(&it.record.body, decision))
            .collect();
        assert_eq!(why(&sifted, &names(), decision, explain), whole);
        whole
    };
    insta::assert_snapshot!(of(11).unwrap().to_string(), @r#"
    denied tickets.send_reply (dec_0000000000000000000000000b): argument_out_of_bounds, an argument lies outside the task's bounds
      when    1970-01-01T00:00:00.300Z (record 3)
      task    task_00000000000000000000000001
      reason  argument_out_of_bounds (for the agent: change_arguments)
      rules   task-bounds
      change  `to` must be parameter customer
      estate  sha256:e62377847bbe2117fbea3a09ac72e59a12572c20ca18ee024fedeaa94ba8525a
      next    the caller must change its arguments, or the owner the bounds
      facts   {
                "labels": [
                  "customer"
                ]
              }
    "#);
    insta::assert_snapshot!(of(101).unwrap().to_string(), @r#"
    ada\u{202e} approved apr_00000000000000000000000004
      when    1970-01-01T00:00:00.500Z (record 5)
      task    task_00000000000000000000000001
      rules   starters-start
      facts   {
                "role": "starter"
              }
    "#);
    assert_eq!(of(10).unwrap().change, None);
    let next = of(12).unwrap().next.unwrap();
    assert!(
        next.ends_with(&format!("`ambit approvals show {APPROVAL}`")),
        "{next}"
    );
    assert_eq!(of(999), None);
}

#[test]
fn what_a_person_found_of_an_unknown_outcome_is_told_everywhere() {
    let mut day = a_day();
    let (unknown, settling) = (DecisionId::from_bits(13), 104);
    let names = names().with_reasons([(
        DecisionId::from_bits(settling),
        "asked\u{202e} it".to_owned(),
    )]);
    let whole = |day: &[Entry]| why(day, &names, unknown, |_| None).unwrap();
    assert_eq!(whole(&day).next, Some(to_settle(unknown)));
    assert_eq!(whole(&day).outcome, Some(7));
    let bodies = [
        Body::ActSettled {
            decision: unknown,
            task: TASK,
            settlement: Settlement::DidNotHappen,
            reason: SEALED,
            warrant: warrant(settling),
        },
        Body::SealedOpened {
            task: TASK,
            leaves: vec![6, 7],
            warrant: warrant(105),
        },
    ];
    for body in bodies {
        let index = day.len() as u64;
        let at = Timestamp::from_millis(index * 100);
        day.push(Entry {
            index,
            record: Record { at, body },
        });
    }
    let found = "ada\\u{202e} found that it did not happen: \"asked\\u{202e} it\"";
    let told = whole(&day);
    assert!(told.sentence.ends_with(found), "{}", told.sentence);
    assert_eq!(told.next, None);
    let sifted: Vec<Entry> = day
        .iter()
        .filter(|it| concerns_decision(&it.record.body, unknown))
        .cloned()
        .collect();
    assert_eq!(whole(&sifted), told);
    let trace = trace(&day, &names, TASK, Timestamp::from_millis(2000)).unwrap();
    let unknown: Vec<_> = trace.unknown.iter().map(|it| it.index).collect();
    assert_eq!(unknown, [8], "one is settled");
    let text = trace.to_string();
    assert_eq!(text.matches(found).count(), 2, "{text}");
    assert!(
        text.contains("opened what is sealed beside records 6, 7"),
        "{text}"
    );
    let by_person = why(&day, &names, DecisionId::from_bits(settling), |_| None).unwrap();
    assert_eq!(by_person.task, Some(TASK));
}

#[test]
fn a_record_is_shown_whole() {
    let shown = show(&a_day()[3], &names());
    assert!(shown.contains("\"argument_out_of_bounds\""), "{shown}");
    assert!(shown.starts_with("{\n  \"at\": "), "{shown}");
}

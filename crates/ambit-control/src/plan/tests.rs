use crate::estate::EstateFiles;

use super::*;

fn demo() -> EstateFiles {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
    EstateFiles::collect(std::path::Path::new(dir)).unwrap()
}

/// Returns the plan from the demo estate to the same with `edits`, each a file and a replacement in it.
fn plan_of(edits: &[(&str, &str, &str)]) -> Plan {
    let old = demo();
    let mut new = old.clone();
    for (path, from, to) in edits {
        let text = new.text(path).unwrap_or("").replacen(from, to, 1);
        new = new.with_file(path, &text);
    }
    let estate = |it: &EstateFiles| it.load().unwrap().estate;
    plan(Some(&estate(&old)), &estate(&new))
}

/// Expects exactly these changes, each with its sign and subject.
#[track_caller]
fn check(edits: &[(&str, &str, &str)], expected: &[&str]) {
    let plan = plan_of(edits);
    let found: Vec<String> = plan
        .subjects
        .iter()
        .flat_map(|subject| {
            let line =
                |it: &Change| format!("{} {}: {}", it.direction.sign(), subject.name, it.text);
            subject.changes.iter().map(line).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, expected);
}

const TEMPLATE: &str = "templates/answer-ticket.toml";

#[test]
fn the_first_version_says_all_that_there_is() {
    let estate = demo().load().unwrap().estate;
    insta::assert_snapshot!(plan(None, &estate).to_string(), @"
    agent support-bot
      + is new in environment demo, owned by ada: Answers customers' tickets
      + gains template answer-ticket (Answer one ticket of one customer): lives 30m, 40 calls, may send data labelled customer, any starter may start it, any approver may approve, containment optional
      + answer-ticket: gains mail.send_reply (send, irreversible), at most 3 calls, where body is a text of at most 8000 bytes and to equals parameter customer
      + answer-ticket: gains tickets.close_ticket (write, reversible), at most 1 call, where id equals parameter ticket
      + answer-ticket: gains tickets.get_ticket (read)
      + answer-ticket: gains tickets.list_tickets (read)
      + answer-ticket: gains tickets.refund (send, irreversible), held until a person approves each call, at most 3 calls, where amount_cents is from 1 to 5000 and ticket equals parameter ticket
    server mail
      + is new: http://127.0.0.1:8932/mcp without credential
    server tickets
      + is new: http://127.0.0.1:8931/mcp without credential
    person ada
      + becomes starter
      + becomes approver
      + becomes operator
      + becomes auditor
      + becomes administrator

    14 widen (+), 0 narrow (-), 0 alter (~)
    ");
    assert_eq!(
        plan(Some(&estate), &estate).to_string(),
        "nothing changes\n"
    );
}

#[test]
fn each_bound_says_which_way_it_moved() {
    let raised = (TEMPLATE, "version = 1", "version = 2");
    let one = |from, to, expected: &str| check(&[raised, (TEMPLATE, from, to)], &[expected]);
    one(
        "calls_max = 40",
        "calls_max = 50",
        "+ agent support-bot: answer-ticket: most calls: 40 -> 50",
    );
    one(
        "calls_max = 40",
        "calls_max = 30",
        "- agent support-bot: answer-ticket: most calls: 40 -> 30",
    );
    one(
        "\"30m\"",
        "\"2h\"",
        "+ agent support-bot: answer-ticket: longest life: 30m -> 2h",
    );
    one(
        "[\"customer\"]",
        "[]",
        "- agent support-bot: answer-ticket: no longer sends data labelled customer",
    );
    one(
        "\"anyone\"",
        "\"another_person\"",
        "- agent support-bot: answer-ticket: another person than the starter must approve",
    );
    one(
        "\"optional\"",
        "\"required\"",
        "- agent support-bot: answer-ticket: must run contained",
    );
    one(
        "\"any_starter\"",
        "[\"ada\"]",
        "- agent support-bot: answer-ticket: only ada may start it",
    );
}

#[test]
fn clients_are_told() {
    let text = "title = \"Desk\"\nowner = \"ada\"\nagents = [\"support-bot\"]\npublic = true\n\
                redirect_uris = [\"http://127.0.0.1/back\"]\n";
    check(
        &[("clients/desk.toml", "", text)],
        &[
            "+ client desk: is new: Desk, owned by ada, proves itself by nothing (a public client)",
            "+ client desk: may have tokens of tasks of agent support-bot",
            "+ client desk: may have people sent back to http://127.0.0.1/back",
        ],
    );
}

#[test]
fn who_may_hold_a_token_is_told() {
    let raised = (TEMPLATE, "version = 1", "version = 2");
    let one = |from, to, expected: &str| check(&[raised, (TEMPLATE, from, to)], &[expected]);
    one(
        "containment = \"optional\"",
        "containment = \"optional\"\nbinding = \"mtls\"",
        "- agent support-bot: answer-ticket: is for agents with mutual TLS (was: for agents with a key of their own)",
    );
    one(
        "containment = \"optional\"",
        "containment = \"optional\"\nbinding = \"bearer\"",
        "+ agent support-bot: answer-ticket: is for agents with a key of their own, and to read for whoever has the token (was: for agents with a key of their own)",
    );
    one(
        "containment = \"optional\"",
        "containment = \"optional\"\nbinding = \"bearer\"\nbearer = \"acts\"",
        "+ agent support-bot: answer-ticket: is for whoever has the token (was: for agents with a key of their own)",
    );
    check(
        &[(
            "estate.toml",
            "[people",
            "[tokens]\nbearer = true\n\n[people",
        )],
        &[
            "+ access tokens: those bound to no key are taken, where a template says so: whoever has one can use it",
        ],
    );
}

#[test]
fn each_tool_says_which_way_its_bounds_moved() {
    let raised = (TEMPLATE, "version = 1", "version = 2");
    let one = |from, to, expected: &str| check(&[raised, (TEMPLATE, from, to)], &[expected]);
    one(
        "approval = \"held\"",
        "approval = \"free\"",
        "+ agent support-bot: answer-ticket: tickets.refund no longer waits for a person",
    );
    one(
        "max = 5000",
        "max = 6000",
        "+ agent support-bot: answer-ticket: tickets.refund amount_cents now is from 1 to 6000 (was: is from 1 to 5000)",
    );
    one(
        "min = 1, max = 5000",
        "min = 10, max = 500",
        "- agent support-bot: answer-ticket: tickets.refund amount_cents now is from 10 to 500 (was: is from 1 to 5000)",
    );
    one(
        "min = 1, max = 5000",
        "min = 10, max = 6000",
        "~ agent support-bot: answer-ticket: tickets.refund amount_cents now is from 10 to 6000 (was: is from 1 to 5000)",
    );
    one(
        "to = { equals_parameter = \"customer\" }\n",
        "",
        "+ agent support-bot: answer-ticket: mail.send_reply to is now free (was: equals parameter customer)",
    );
    one(
        "[tools.mail.send_reply]\ncalls_max = 3\n",
        "[tools.mail.send_reply]\n",
        "+ agent support-bot: answer-ticket: mail.send_reply loses its maximum of calls",
    );
}

#[test]
fn a_change_without_a_new_version_is_named() {
    check(
        &[(TEMPLATE, "calls_max = 40", "calls_max = 50")],
        &[
            "+ agent support-bot: answer-ticket: most calls: 40 -> 50",
            "~ agent support-bot: answer-ticket: changes and keeps version 1; raise it",
        ],
    );
}

#[test]
fn registry_people_and_policies_are_compared_too() {
    check(
        &[(
            "servers/tickets.toml",
            "result_labels = [\"customer\"]",
            "result_labels = []",
        )],
        &[
            "+ agent support-bot: answer-ticket: tickets.get_ticket results no longer count as customer",
        ],
    );
    check(
        &[("estate.toml", "\"operator\", ", "")],
        &["- person ada: is no longer operator"],
    );
    check(
        &[("estate.toml", "[people.ada]", "[people.ada]\nunix_uid = 7")],
        &["+ person ada: is local user 7"],
    );
    check(
        &[("servers/mail.toml", "8932", "9000")],
        &[
            "~ server mail: is now http://127.0.0.1:9000/mcp without credential (was: http://127.0.0.1:8932/mcp without credential)",
        ],
    );
    let stdio = "[stdio]\ncommand = [\"x\"]\nlimits = { memory_mib = 64 }\n";
    check(
        &[(
            "servers/mail.toml",
            "[http]\nurl = \"http://127.0.0.1:8932/mcp\"\n",
            stdio,
        )],
        &[
            "~ server mail: is now the program `x`, no network, at most 64 MiB, 256 processes and 1024 open files (was: http://127.0.0.1:8932/mcp without credential)",
        ],
    );
    let in_group = (
        "estate.toml",
        "[people.ada]",
        "[people.ada]\ngroups = [\"night\"]",
    );
    check(&[in_group], &["~ person ada: is in group night"]);
    check(
        &[("policies/people/a.cedar", "", "")],
        &["- policy policies/people/a.cedar: is new; policies only forbid or ask"],
    );
    check(
        &[("policies/a.cedar", "", "")],
        &["- policy policies/a.cedar: is new; policies only forbid or ask"],
    );
    check(
        &[("agents/support-bot.toml", "[\"answer-ticket\"]", "[]")],
        &["- agent support-bot: loses template answer-ticket: Answer one ticket of one customer"],
    );
}

#[test]
fn hidden_characters_are_shown() {
    let plan = plan_of(&[("agents/support-bot.toml", "Answers", "\\u202eAnswers")]);
    assert!(plan.to_string().contains("-> \\u{202e}Answers"), "{plan}");
    assert_eq!(
        plan.to_value().get("alters").and_then(Value::as_integer),
        Some(1)
    );
}

/// Tasks whose run loses what it came by are named, as many as are read.
#[test]
fn tasks_that_end_are_named() {
    let old = demo().load().unwrap().estate;
    let most = u128::try_from(super::STOPPED_NAMED_MAX).unwrap();
    let running: Vec<Running> = (1..=most + 2)
        .map(|bits| Running {
            task: ambit_core::TaskId::from_bits(bits),
            template: "answer-ticket".parse().unwrap(),
            agent: "support-bot".parse().unwrap(),
            lineage: ambit_core::delegation::Lineage::Root,
            subject: None,
        })
        .collect();
    let told = |count: u128| {
        let mut plan = plan(Some(&old), &old);
        let ended = (1..=count).map(ambit_core::TaskId::from_bits).collect();
        plan.end(&ended, &running);
        let named = plan.to_value();
        let listed = named.get("ends").and_then(Value::as_array).unwrap().len();
        let counted = named.get("ends_count").and_then(Value::as_integer);
        (plan.to_string(), listed, counted.unwrap())
    };
    assert_eq!(told(0), ("nothing changes\n".to_owned(), 0, 0));
    let (text, listed, counted) = told(1);
    let first = running[0].task;
    let line = format!(
        "  - 1 live task ends, since what its run came by, or one above it, is registered no more: {first} (answer-ticket)\n"
    );
    assert!(
        text.starts_with("agent support-bot\n") && text.contains(&line),
        "{text}"
    );
    assert_eq!((listed, counted), (1, 1));
    let (text, listed, counted) = told(most);
    assert!(
        text.contains("20 live tasks end") && !text.contains(" more\n"),
        "{text}"
    );
    assert_eq!((listed, counted), (20, 20));
    let (text, listed, counted) = told(most + 1);
    assert!(text.contains(" and 1 more\n"), "{text}");
    assert_eq!((listed, counted), (20, 21));
}

/// Whoever leaves, or may start such a task no more, is named with the tasks in which nothing can be done then.
#[test]
fn tasks_that_stop_are_named() {
    let old = demo();
    let running = |count: u128, subject: Option<&str>| -> Vec<Running> {
        let one = |bits| Running {
            task: ambit_core::TaskId::from_bits(bits),
            template: "answer-ticket".parse().unwrap(),
            agent: "support-bot".parse().unwrap(),
            lineage: ambit_core::delegation::Lineage::Root,
            subject: subject.map(str::to_owned),
        };
        (1..=count).map(one).collect()
    };
    let stopped = |edits: &[(&str, &str, &str)], running: &[Running]| {
        let mut new = old.clone();
        for (path, from, to) in edits {
            let text = new.text(path).unwrap().replacen(from, to, 1);
            assert_ne!(Some(text.as_str()), new.text(path), "{from}");
            new = new.with_file(path, &text);
        }
        let estate = |it: &EstateFiles| it.load().unwrap().estate;
        let (old, new) = (estate(&old), estate(&new));
        let mut plan = plan(Some(&old), &new);
        plan.stop((&old, &new), running);
        let text = plan.to_string();
        let line = text.lines().find(|it| it.contains("nothing can be done"));
        line.unwrap_or_default().trim().to_owned()
    };
    let no_starter = [("estate.toml", "\"starter\", ", "")];
    let one = running(1, Some("ada"));
    let told = stopped(&no_starter, &one);
    let task = one[0].task;
    assert_eq!(
        told,
        format!("- nothing can be done any more in 1 task that is live: {task} (answer-ticket)")
    );
    assert_eq!(stopped(&[], &one), "");
    // So does a template that its agent may run no more.
    let agent = "agents/support-bot.toml";
    let told = stopped(
        &[(agent, "templates = [\"answer-ticket\"]", "templates = []")],
        &one,
    );
    assert!(told.contains(&task.to_string()), "{told}");
    // Who could not before, or is nobody known, loses nothing by it.
    assert_eq!(stopped(&no_starter, &running(1, Some("eve"))), "");
    assert_eq!(stopped(&no_starter, &running(1, None)), "");
    let most = u128::try_from(super::stopped::STOPPED_NAMED_MAX).unwrap();
    let told = stopped(&no_starter, &running(most, Some("ada")));
    assert!(
        told.contains("20 tasks that are") && !told.contains("more)") && !told.ends_with("more")
    );
    let told = stopped(&no_starter, &running(most + 1, Some("ada")));
    assert!(told.ends_with(" and 1 more"), "{told}");
}

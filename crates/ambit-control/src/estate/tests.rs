use std::path::PathBuf;

use ambit_core::{estate::PersonRole, json};

use super::*;

fn demo() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo"))
}

/// Loads the demo estate with `from` replaced by `to` in one file, and expects these problems, each as it prints.
#[track_caller]
fn check(path: &str, from: &str, to: &str, expected: &[&str]) {
    let files = EstateFiles::collect(&demo()).unwrap();
    let text = files.text(path).unwrap();
    assert!(text.contains(from), "{path} does not contain {from}");
    let text = text.replacen(from, to, 1);
    check_file(path, &text, expected);
}

/// Loads the demo estate with one file put in, and expects these problems.
#[track_caller]
fn check_file(path: &str, text: &str, expected: &[&str]) {
    let value = json::parse(&EstateFiles::collect(&demo()).unwrap().archive()).unwrap();
    let files = value.get("files").unwrap().as_object().unwrap();
    let mut texts: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str().unwrap()))
        .collect();
    texts.push((path, text));
    let found = EstateFiles::from_texts(texts).and_then(|it| it.load());
    let found: Vec<String> = match found {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(found, expected, "{path}");
}

#[test]
fn the_demo_estate_has_no_problem_and_reads_back_from_its_archive() {
    let loaded = read(&demo()).unwrap();
    assert_eq!(loaded.estate.servers.len(), 2);
    assert_eq!(loaded.tables[0].cases.len(), 8);
    let again = read_archive(&loaded.archive).unwrap();
    assert_eq!(again.archive, loaded.archive);
    assert_eq!(again.estate.digest, loaded.estate.digest);
    assert_eq!(again.estate.templates, loaded.estate.templates);
    assert_eq!(again.tables, loaded.tables);
}

#[test]
fn a_person_can_be_added_for_an_embedded_ambit() {
    let files = EstateFiles::collect(&demo()).unwrap();
    let files = files.with_person("you", 1000, &PersonRole::ALL);
    let people = files.load().unwrap().estate.people;
    assert_eq!(people["you"].unix_uid, Some(1000));
    assert_eq!(people["you"].roles.len(), PersonRole::ALL.len());
}

#[test]
fn keys_and_types_are_checked_where_they_stand() {
    let agent = "agents/support-bot.toml";
    check(
        agent,
        "purpose",
        "purpos",
        &[
            "agents/support-bot.toml:1:1: `purpose` is missing in an agent; write `purpose = \"what it is for\"`",
            "agents/support-bot.toml:2:1: an agent has no key `purpos`; did you mean `purpose`?",
        ],
    );
    check(
        agent,
        "\"medium\"",
        "\"mediun\"",
        &["agents/support-bot.toml:3:8: `risk` cannot be `mediun`; did you mean `medium`?"],
    );
    check(
        agent,
        "\"medium\"",
        "3",
        &["agents/support-bot.toml:3:8: `risk` is an integer; write a text in quotes"],
    );
    check(
        agent,
        "2027-06-30",
        "30.6.2027",
        &["agents/support-bot.toml:5:13: `30.6.2027` is no day; write it as `2027-06-30`"],
    );
    check(
        agent,
        "\"medium\"",
        "\"medium",
        &["agents/support-bot.toml:3:15: invalid basic string, expected `\"`"],
    );
    check(
        "estate.toml",
        "\"auditor\"",
        "\"owner\"",
        &[
            "estate.toml:4:45: `roles` cannot be `owner`; write one of `starter`, `approver`, `operator`, `auditor`, `administrator`",
        ],
    );
}

#[test]
fn bindings_are_said_whole_or_not_at_all() {
    let template = "templates/answer-ticket.toml";
    let optional = "containment = \"optional\"";
    let with = |more: &str| format!("{optional}\n{more}");
    check(
        template,
        optional,
        &with("binding = \"bear\""),
        &["templates/answer-ticket.toml:11:11: `binding` cannot be `bear`; did you mean `bearer`?"],
    );
    for alone in [
        "bearer = \"reads\"",
        "bearer = \"acts\"\nbinding = \"dpop\"",
    ] {
        check(
            template,
            optional,
            &with(alone),
            &[
                "templates/answer-ticket.toml:11:10: `bearer` says what `binding = \"bearer\"` is good for; write that too, or leave this out",
            ],
        );
    }
    check(
        "estate.toml",
        "[people",
        "[tokens]\nbearer = \"yes\"\n\n[people",
        &["estate.toml:4:10: `bearer` is a string; write `true` or `false`"],
    );
    check(
        "estate.toml",
        "[people",
        "[tokens]\nbarer = true\n\n[people",
        &["estate.toml:4:1: `tokens` has no key `barer`; did you mean `bearer`?"],
    );
}

#[test]
fn references_must_lead_somewhere() {
    check(
        "agents/support-bot.toml",
        "[\"answer-ticket\"]",
        "[\"answer-tickets\"]",
        &[
            "agents/support-bot.toml:6:14: there is no template `answer-tickets`; did you mean `answer-ticket`?",
        ],
    );
    check(
        "agents/support-bot.toml",
        "\"demo\"",
        "\"production\"",
        &[
            "agents/support-bot.toml:6:14: template `answer-ticket` needs server `mail` of environment `demo`, and this agent lives in `production`; every call would be denied: give both one environment",
            "agents/support-bot.toml:6:14: template `answer-ticket` needs server `tickets` of environment `demo`, and this agent lives in `production`; every call would be denied: give both one environment",
        ],
    );
    let template = "templates/answer-ticket.toml";
    check(
        template,
        "owner = \"ada\"",
        "owner = \"eve\"",
        &["templates/answer-ticket.toml:2:9: there is no person `eve`; write one of `ada`"],
    );
    check(
        template,
        "reads = [\"tickets\"]",
        "reads = [\"ticket\"]",
        &[
            "templates/answer-ticket.toml:4:10: there is no server `ticket`; did you mean `tickets`?",
        ],
    );
    check(
        template,
        "tools.tickets.refund]",
        "tools.tickets.refunds]",
        &[
            "templates/answer-ticket.toml:35:16: server `tickets` has no tool `refunds`; did you mean `refund`?",
        ],
    );
    check(
        template,
        "body = {",
        "bodi = {",
        &[
            "templates/answer-ticket.toml:28:1: the tool has no argument `bodi`; did you mean `body`?",
        ],
    );
    check(
        template,
        "equals_parameter = \"customer\"",
        "equals_parameter = \"costumer\"",
        &[
            "templates/answer-ticket.toml:27:27: there is no parameter `costumer`; did you mean `customer`?",
        ],
    );
}

#[test]
fn bounds_make_sense() {
    let template = "templates/answer-ticket.toml";
    check(
        template,
        "ttl = \"30m\"",
        "ttl = \"8d\"",
        &[
            "templates/answer-ticket.toml:6:7: a task lives at most 7d; write a span up to that, such as `30m`",
        ],
    );
    check(template, "ttl = \"30m\"", "ttl = \"7d\"", &[]);
    check(
        template,
        "calls_max = 40",
        "calls_max = 0",
        &["templates/answer-ticket.toml:5:13: `calls_max` is 0; write a number from 1 to 1000000"],
    );
    check(
        template,
        "min = 1, max = 5000",
        "min = 10, max = 5",
        &[
            "templates/answer-ticket.toml:40:34: no number fits; write a `max` that is not below `min`",
        ],
    );
    check(
        template,
        "{ bytes_max = 8000 }",
        "{ bytes_max = 8000, absent = true }",
        &[
            "templates/answer-ticket.toml:28:1: an argument keeps one constraint: `equals_parameter`, `one_of`, `min` and `max`, `path_under`, `path_under_parameter`, `url_under`, `url_under_parameter`, `bytes_max` or `absent`",
        ],
    );
    check(
        template,
        "starters = \"any_starter\"",
        "starters = []",
        &[
            "templates/answer-ticket.toml:8:12: nobody could start such a task; name at least one person",
        ],
    );
    check(
        template,
        "max = 1000000\n",
        "max = 1000000\ndefault = 0\n",
        &[
            "templates/answer-ticket.toml:17:11: the default does not fit the parameter itself; change one of the two",
        ],
    );
    check(
        "servers/mail.toml",
        "http://127.0.0.1:8932/mcp\"",
        "http://mail.example/mcp\"\ncredential = { secret = \"mail\" }",
        &[
            "servers/mail.toml:6:7: a credential would cross the network in clear text; write `https://…`",
        ],
    );
    check(
        "servers/mail.toml",
        "effect = \"irreversible\"",
        "effect = \"none\"",
        &[
            "servers/mail.toml:10:10: a tool that acts has an effect; write `effect = \"reversible\"` or `\"irreversible\"`",
        ],
    );
}

#[test]
fn definitions_and_pins_belong_together() {
    let pin = "4adebbc490e12926cffba65cf24359801d672c9564d15c03c2b496416113b32d";
    check(
        "servers/mail.toml",
        pin,
        &"0".repeat(64),
        &[&format!(
            "servers/mail.toml:12:10: the definition in servers/mail.tools.json has another digest; review it, then write `digest = \"sha256:{pin}\"` (`ambit server inspect mail` shows what the server offers now)"
        )],
    );
    check(
        "servers/mail.tools.json",
        "\"name\": \"search_mail\"",
        "\"name\": \"search_mails\"",
        &[
            "servers/mail.toml:1:1: servers/mail.tools.json defines `search_mails`, which nobody accepted here; write `[tools.search_mails]` or remove its definition",
            "servers/mail.toml:15:8: servers/mail.tools.json does not define `search_mail`; did you mean `search_mails`?",
        ],
    );
    check(
        "servers/mail.tools.json",
        "\"name\"",
        "\"name\": \"x\", \"name\"",
        &[
            "servers/mail.tools.json:4:39: the JSON text is refused: the key \"name\" stands twice at line 4 column 39",
        ],
    );
    check_file(
        "servers/chat.tools.json",
        "{\"tools\":[]}",
        &[
            "servers/chat.tools.json:1:1: nothing refers to these definitions; write servers/chat.toml or remove the file",
        ],
    );
    check_file(
        "servers/chat.json",
        "{}",
        &[
            "servers/chat.json:1:1: nothing reads this; write `servers/NAME.toml` and `servers/NAME.tools.json`",
        ],
    );
}

#[test]
fn cases_are_checked_too() {
    let table = "tests/answer-ticket.toml";
    check(
        table,
        "expect = \"allow\"",
        "expect = \"permit\"",
        &[
            "tests/answer-ticket.toml:9:10: `expect` cannot be `permit`; write one of `allow`, `hold`, `deny`",
        ],
    );
    check(
        table,
        "tool = \"get_ticket\"",
        "tool = \"get_ticket\"\nresource = \"x\"",
        &[
            "tests/answer-ticket.toml:1:1: a case is one act: `server` with `tool` and `arguments`, `server` with `resource`, or `connect`",
        ],
    );
}

#[test]
fn a_directory_with_stray_or_bad_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("estate.toml", b"[people.ada]\nroles = []\n");
    write("README.md", b"about");
    write("policies/people/duties.cedar", b"");
    write("files/anything.bin", b"\xff");
    assert!(read(dir.path()).is_ok());
    write(
        "policy/guard.cedar",
        b"forbid(principal, action, resource);",
    );
    write("agents/note.txt", b"x");
    write("agents/bad.toml", b"a = 1\nb\xff");
    write("tests/long.toml", &vec![b'#'; FILE_BYTES_MAX + 1]);
    write("tests/fits.toml", &vec![b'#'; FILE_BYTES_MAX]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("policies.cedar")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("agents/link.toml")).unwrap();
    write("policies/people/note.txt", b"x");
    write("policies/people/more/a.cedar", b"");
    write("agents/people/a.toml", b"");
    let found: Vec<String> = read(dir.path())
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(found.join("\n"), @"
    agents/bad.toml:2:2: the text is not UTF-8; save the file as UTF-8
    agents/link.toml:1:1: this is no plain file; put the text itself here
    agents/note.txt:1:1: nothing reads this; write `agents/NAME.toml`
    agents/people:1:1: nothing reads this; write `agents/NAME.toml`
    policies.cedar:1:1: nothing reads this; an estate has `estate.toml` and the folders agents, clients, issuers, servers, templates, policies, tests, trust; write one of `agents`, `clients`, `issuers`, `servers`, `templates`, `policies`, `tests`, `trust`
    policies/people/more:1:1: nothing reads this; write `policies/NAME.cedar` or `policies/people/NAME.cedar`
    policies/people/note.txt:1:1: nothing reads this; write `policies/NAME.cedar` or `policies/people/NAME.cedar`
    policy:1:1: nothing reads this; an estate has `estate.toml` and the folders agents, clients, issuers, servers, templates, policies, tests, trust; did you mean `policies`?
    tests/long.toml:1:1: the file has more than 1048576 bytes; split it
    ");
}

#[test]
fn only_an_archive_of_this_form_is_read() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"ambit_estate":2,"files":{}}"#,
        r#"{"ambit_estate":1,"files":{"a":1}}"#,
        r#"{"ambit_estate":1,"files":{},"more":1}"#,
        r#"{"ambit_estate":1,"files":{"../x":""}}"#,
    ] {
        assert!(read_archive(text.as_bytes()).is_err(), "{text}");
    }
    let problems = read_archive(br#"{"ambit_estate":1,"files":{}}"#).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with("estate.toml:1:1: an estate begins with this file")
    );
}

#[test]
fn everything_ends_at_its_maximum() {
    use ambit_core::limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX, TASK_TTL_MAX};
    let template = "templates/answer-ticket.toml";
    let ttl = |millis: u64| format!("ttl = \"{millis}ms\"");
    let most = TASK_TTL_MAX.as_millis();
    check(template, "ttl = \"30m\"", &ttl(most), &[]);
    check_count(template, "ttl = \"30m\"", &ttl(most + 1), 1);
    // The demo's template has two parameters of its own.
    let parameters = |count: usize| -> String {
        let one = |it| format!("\n[parameters.p{it}]\ndescription = \"d\"\ntype = \"boolean\"\n");
        (2..count).map(one).collect::<String>() + "\n[parameters.ticket]"
    };
    check_count(
        template,
        "[parameters.ticket]",
        &parameters(PARAMETERS_MAX),
        0,
    );
    check_count(
        template,
        "[parameters.ticket]",
        &parameters(PARAMETERS_MAX + 1),
        1,
    );
    let bytes = |count: usize| format!("bytes_max = {count}");
    check_count(template, "bytes_max = 254", &bytes(PARAMETER_BYTES_MAX), 0);
    check_count(
        template,
        "bytes_max = 254",
        &bytes(PARAMETER_BYTES_MAX + 1),
        1,
    );
    let case = |count: usize| {
        let one = "[[case]]\nname = \"n\"\nagent = \"support-bot\"\ntemplate = \"answer-ticket\"\nconnect = \"a:1\"\nexpect = \"deny\"\n";
        one.repeat(count)
    };
    // The demo has eight cases; a file holds fewer than all that an estate may have.
    let files = EstateFiles::collect(&demo()).unwrap();
    let cases = |count: usize| {
        let (half, rest) = (case(count / 2), case(count - count / 2));
        files
            .clone()
            .with_file("tests/a.toml", &half)
            .with_file("tests/b.toml", &rest)
            .load()
    };
    assert!(cases(CASES_MAX - 8).is_ok());
    assert!(cases(CASES_MAX - 7).is_err());
}

#[test]
fn commands_and_mounts_end_at_their_maximum() {
    use super::servers::{COMMAND_WORDS_MAX, MOUNTS_MAX};
    let server = |words: usize, mounts: usize| {
        let command = vec!["\"x\""; words].join(", ");
        let mount = "{ source = \"a\", target = \"/a\", access = \"read_only\" }";
        let mounts = vec![mount; mounts].join(", ");
        format!("[stdio]\ncommand = [{command}]\nmounts = [{mounts}]\n")
    };
    let http = "[http]\nurl = \"http://127.0.0.1:8932/mcp\"\n";
    check_count(
        "servers/mail.toml",
        http,
        &server(COMMAND_WORDS_MAX, MOUNTS_MAX),
        0,
    );
    check_count(
        "servers/mail.toml",
        http,
        &server(COMMAND_WORDS_MAX + 1, 1),
        1,
    );
    check_count("servers/mail.toml", http, &server(1, MOUNTS_MAX + 1), 1);
}

#[test]
fn limits_of_stdio_servers_are_whole_numbers_within_bounds() {
    use super::servers::{STDIO_MEMORY_MIB_MAX, STDIO_OPEN_FILES_MAX, STDIO_TREE_MAX};
    let http = "[http]\nurl = \"http://127.0.0.1:8932/mcp\"\n";
    let check = |limits: &str, problems: usize| {
        let stdio = format!("[stdio]\ncommand = [\"x\"]\nlimits = {{ {limits} }}\n");
        check_count("servers/mail.toml", http, &stdio, problems);
    };
    check("", 0);
    for (key, most) in [
        ("memory_mib", STDIO_MEMORY_MIB_MAX),
        ("processes", STDIO_TREE_MAX),
        ("open_files", STDIO_OPEN_FILES_MAX),
    ] {
        for (number, problems) in [(16, 0), (15, 1), (most, 0), (most + 1, 1)] {
            check(&format!("{key} = {number}"), problems);
        }
    }
    check("memory_mib = \"1\", processes = -1, threads = 1", 3);
    let stray = format!("{http}\n[http.limits]\nprocesses = 16\n");
    check_count("servers/mail.toml", http, &stray, 1);
}

#[test]
fn mounts_leave_the_machine_alone() {
    let http = "[http]\nurl = \"http://127.0.0.1:8932/mcp\"\n";
    let mount = |source: &str, problems: usize| {
        let stdio = format!(
            "[stdio]\ncommand = [\"x\"]\nmounts = [{{ source = \"{source}\", target = \"/a\", access = \"read_only\" }}]\n"
        );
        check_count("servers/mail.toml", http, &stdio, problems);
    };
    for source in [
        "/",
        "//",
        "/.",
        "/proc",
        "/proc/1/root",
        "/sys",
        "/dev",
        "/dev/shm",
        "/run",
        "/var/run",
        "/home/",
        "/root",
        "//etc/.",
        "..",
        "files/../..",
        "/srv/../etc",
    ] {
        mount(source, 1);
    }
    for source in [
        "files/data",
        "./files",
        "/srv/data",
        "/home/ana/project",
        "/etc/ssl",
        "/devices",
    ] {
        mount(source, 0);
    }
}

#[test]
fn files_end_at_their_maximum() {
    let tables = |count: usize| {
        let names: Vec<String> = (0..count)
            .map(|it| format!("policies/p{it}.cedar"))
            .collect();
        EstateFiles::from_texts(names.iter().map(|it| (it.as_str(), ""))).is_ok()
    };
    assert!(tables(FILES_MAX));
    assert!(!tables(FILES_MAX + 1));
    let longest = "x".repeat(FILE_BYTES_MAX);
    let policies = |count: usize, text: &str| {
        let files = EstateFiles::collect(&demo()).unwrap();
        let with = |files: EstateFiles, it| files.with_file(&format!("policies/p{it}.cedar"), text);
        (0..count).fold(files, with).load().is_ok()
    };
    assert!(policies(1, &longest));
    assert!(!policies(1, &format!("{longest}x")));
    assert!(policies(ARCHIVE_BYTES_MAX / FILE_BYTES_MAX - 1, &longest));
    assert!(!policies(ARCHIVE_BYTES_MAX / FILE_BYTES_MAX, &longest));
}

/// Expects as many problems as that, whatever they say.
#[track_caller]
fn check_count(path: &str, from: &str, to: &str, expected: usize) {
    let files = EstateFiles::collect(&demo()).unwrap();
    let text = files.text(path).unwrap();
    assert!(text.contains(from), "{path} does not contain {from}");
    let loaded = files
        .clone()
        .with_file(path, &text.replacen(from, to, 1))
        .load();
    assert_eq!(
        loaded.err().map_or(0, |it| it.len()),
        expected,
        "{path}: {to}"
    );
}

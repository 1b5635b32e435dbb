//! What keeps the rules, the keys and the record out of a command's reach, tried from outside.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Output, Stdio},
};

use ambit_core::{json, limits::JSON_BYTES_MAX};

use crate::world::World;

/// An ordinary local user, where distributions have `nobody`.
const ORDINARY_USER: u32 = 65_534;

/// Checks that `output` ended with `code` and printed all of `parts`; returns what it printed.
fn check(output: Output, code: i32, parts: &[&str]) -> String {
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    text
}

#[test]
fn a_server_leaves_no_core_file_and_lets_nobody_look_inside() {
    let root = rustix::process::getuid().is_root();
    let world = World::start(root.then_some(ORDINARY_USER));
    let process = Path::new("/proc").join(world.server_process().to_string());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|it| it.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words.get(4..6), Some(&["0", "0"][..]), "{limits}");
    // The kernel gives the files of a process that nobody may look into to root.
    assert_eq!(fs::metadata(process.join("environ")).unwrap().uid(), 0);
    // The first process inside holds the way to the runner: its command may not look into it either.
    let script = "cat /proc/$$/environ > /dev/null && echo own; \
        cat /proc/$PPID/environ > /dev/null 2>&1 || echo closed";
    assert_eq!(world.inside(script).0, "own\nclosed\n");
}

#[test]
fn a_command_can_not_reach_its_own_rules() {
    let world = World::start(None);
    let root = world.directory.path();
    symlink(root.join("estate"), root.join("work/link")).unwrap();
    let refused = |more: &[&str], part: &str| {
        let output = world.run(more, &["true"]).output().unwrap();
        check(output, 2, &[part]);
    };
    for path in ["../estate", "../estate/agents", "link", "link/templates"] {
        for option in ["--workdir", "--readable", "--writable"] {
            refused(&[option, path], "its own rules");
        }
    }
    // The folder around it holds the state as well.
    refused(&["--workdir", ".."], "can't be shown to the command");
    check(world.run(&[], &["true"]).output().unwrap(), 0, &[]);
    fs::remove_file(world.state().join("control.sock.places")).unwrap();
    let output = world.run(&[], &["true"]).output().unwrap();
    check(output, 1, &["does not say where the server's estate is"]);
}

/// ASI05: whoever reads the keys could be anybody, also when the server is named by its socket alone.
#[test]
fn asi05_a_command_can_not_reach_the_state_of_a_server_that_is_elsewhere() {
    let world = World::start_shared(None, |root| {
        let (path, own) = (root.join("estate/estate.toml"), rustix::process::getuid());
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}unix_uid = {}\n", own.as_raw())).unwrap();
    });
    world.seal("notes-token", "a-token");
    let root = world.directory.path();
    fs::create_dir(root.join("mine")).unwrap();
    fs::create_dir(root.join("link")).unwrap();
    symlink(root.join("state"), root.join("link/state")).unwrap();
    let socket = root.join("people/control.sock").display().to_string();
    let mine = root.join("mine").display().to_string();
    let elsewhere = ["--control", &socket, "--state", &mine];
    for path in [
        "../state",
        "../state/keys",
        "../link/state/db.sqlite",
        "../people",
    ] {
        for option in ["--workdir", "--readable", "--writable"] {
            let more = [&elsewhere[..], &[option, path]].concat();
            let output = world.run(&more, &["true"]).output().unwrap();
            check(output, 2, &["can't be shown to the command", "Ambit keeps"]);
        }
    }
    let output = world.run(&elsewhere, &["true"]).output().unwrap();
    check(output, 0, &[]);
}

#[test]
fn a_changed_directory_is_told_before_it_is_in_force() {
    let mut world = World::start(None);
    world.stop();
    world.start_again().unwrap();
    world.stop();
    assert!(!world.complaints().contains("differs"), "nothing changed");
    let template = world.directory.path().join("estate/templates/look.toml");
    let text = fs::read_to_string(&template).unwrap();
    fs::write(&template, text.replace("calls_max = 20", "calls_max = 21")).unwrap();
    world.start_again().unwrap();
    world.stop();
    let said = world.complaints();
    let told = said.contains("differs from the estate in force") && said.contains("  + ");
    assert!(told, "{said}");
    fs::write(&template, "version = 0").unwrap();
    check(world.serve_once(), 7, &["templates/look.toml"]);
    let people = world.directory.path().join("estate/estate.toml");
    fs::write(&template, text).unwrap();
    let uid = rustix::process::getuid().as_raw();
    let nobody = "[people.ada]\nunix_uid = 4294967294\nroles = [\"administrator\"]\n";
    let starter = format!("{nobody}[people.me]\nunix_uid = {uid}\nroles = [\"starter\"]\n");
    fs::write(people, starter).unwrap();
    check(world.serve_once(), 7, &["me"]);
}

#[test]
fn the_only_agent_need_not_be_named() {
    let world = World::start(None);
    let run = ["run", "--task", "look", "--", "true"];
    check(world.ambit(&run), 0, &["as this runner claims"]);
    let none = ["run", "--task", "nope", "--", "true"];
    check(world.ambit(&none), 2, &["no agent lists", "`nope`"]);
    let estate = world.directory.path().join("estate");
    let reader = fs::read(estate.join("agents/reader.toml")).unwrap();
    fs::write(estate.join("agents/second.toml"), reader).unwrap();
    let uid = rustix::process::getuid().as_raw();
    let people = estate.join("estate.toml");
    let text = fs::read_to_string(&people).unwrap();
    fs::write(&people, text + &format!("unix_uid = {uid}\n")).unwrap();
    check(world.ambit(&["apply", "../estate"]), 0, &[]);
    check(world.ambit(&run), 2, &["`reader`", "`second`", "--for"]);
}

#[test]
fn a_body_that_is_too_long_is_refused_by_the_gateway_itself() {
    let world = World::start(None);
    let work = world.directory.path().join("work");
    let sizes = [
        (JSON_BYTES_MAX, "400"),
        (JSON_BYTES_MAX + 1, "413"),
        // More than the buffers on the way hold: the answer comes before the body's end.
        (8 * JSON_BYTES_MAX, "413"),
    ];
    for (size, wanted) in sizes {
        fs::write(work.join("body"), vec![b' '; size]).unwrap();
        // curl waits for a 100 before it sends a long body, unless told otherwise.
        let framings = ["", "-H 'expect:'", "-H 'transfer-encoding: chunked'"];
        for framing in framings {
            let (text, _) = world.inside(&format!(
                "curl -s -m 20 -o answer -w '%{{http_code}}' {framing} \
                 -H 'content-type: application/json' \
                 -H 'accept: application/json, text/event-stream' \
                 -H 'mcp-protocol-version: 2025-11-25' --data-binary @body $AMBIT_MCP_URL; cat answer"
            ));
            assert!(text.starts_with(wanted), "{size} {framing}: {text}");
        }
    }
}

#[test]
fn the_log_is_held_against_what_was_known_of_it() {
    let mut world = World::start(None);
    world.stop();
    let state = world.state();
    let copy = |from: &Path, to: &Path| {
        for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
            let _ = fs::remove_file(to.join(name));
            if from.join(name).exists() {
                fs::copy(from.join(name), to.join(name)).unwrap();
            }
        }
    };
    let backup = world.directory.path().join("backup");
    fs::create_dir(&backup).unwrap();
    copy(&state, &backup);
    check(world.ambit(&["log", "export", "early"]), 0, &[]);
    world.start_again().unwrap();
    world.inside("true");
    let verify = ["log", "verify"];
    let of_state = [
        "continues the known checkpoint",
        "key from the keys in",
        "0 acts",
    ];
    check(world.ambit(&verify), 0, &of_state);
    world.stop();
    check(world.ambit(&["log", "export", "late"]), 0, &[]);
    let of = |more: &[&str]| world.ambit(&[&verify[..], more].concat());
    check(
        of(&["late"]),
        0,
        &["key from the export itself: give --key"],
    );
    let known = ["late", "--key", "early/log.vkey", "--checkpoint"];
    let text = check(of(&[&known[..], &["early/checkpoint"]].concat()), 0, &[]);
    assert!(
        text.contains("key from early/log.vkey") && text.contains("continues the known checkpoint"),
        "{text}"
    );
    let late = "late/checkpoint";
    check(of(&["early", "--checkpoint", late]), 7, &["rolled back"]);
    let note = fs::read_to_string(world.directory.path().join("work/late/checkpoint")).unwrap();
    let forged = note.replacen('\n', "x\n", 1);
    fs::write(world.directory.path().join("work/forged"), forged).unwrap();
    check(of(&["--checkpoint", "forged"]), 7, &["not of this log"]);
    check(of(&["--mark", "nowhere"]), 7, &["--mark"]);
    copy(&backup, &state);
    check(of(&[]), 7, &["rolled back"]);
    let value = of(&["late", "-o", "json"]).stdout;
    let value = json::parse(&value).unwrap();
    assert!(value.get("key_from").is_some());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::start(None);
    let mut command = world.command(&["completions", "zsh"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output();
    check(output.unwrap(), 0, &[]);
}

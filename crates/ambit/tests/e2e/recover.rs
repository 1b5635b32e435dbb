//! A database that was rolled back is noticed, and the way on is open.

use std::{fs, path::Path};

use crate::world::World;

fn copy_database(from: &Path, to: &Path) {
    for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
        let _ = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_rolled_back_log_is_refused_and_replaced() {
    let mut world = World::start(None);
    let state = world.state();
    let backup = world.directory.path().join("backup");
    fs::create_dir(&backup).unwrap();
    let output = world.ambit(&["recover", "--reason", "too early"]);
    assert!(
        text(output.stderr).contains("stop it first"),
        "a running server is left alone"
    );

    world.stop();
    copy_database(&state, &backup);
    world.start_again().unwrap();
    let (_, code) = world.inside("true");
    assert_eq!(code, 0);
    let before = fs::read(state.join("keys/authority.pem")).unwrap();
    world.stop();
    copy_database(&backup, &state);
    let said = world.start_again().unwrap_err();
    assert!(
        said.contains("rolled back") && said.contains("ambit recover"),
        "{said}"
    );

    let output = world.ambit(&["recover", "--reason", "restored from a backup"]);
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert!(
        said.contains("in place of ambit.internal/log at size"),
        "{said}"
    );
    assert_ne!(
        fs::read(state.join("keys/authority.pem")).unwrap(),
        before,
        "keys are rotated"
    );

    world.start_again().unwrap();
    let tail = text(world.ambit(&["log", "tail"]).stdout);
    assert!(
        tail.contains("ambit.internal/log/2 opened in place of ambit.internal/log"),
        "{tail}"
    );
    let (said, code) = world.inside("echo works");
    assert_eq!((said.trim(), code), ("works", 0));
    for command in ["verify", "rebuild"] {
        let output = world.ambit(&["log", command]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command}: {}",
            text(output.stderr)
        );
    }
    let mark = fs::read_dir(&state).unwrap().filter_map(Result::ok);
    let aside = mark
        .map(|it| it.path())
        .find(|it| it.to_string_lossy().contains("lost-"))
        .unwrap();
    assert_eq!(
        fs::read_to_string(aside.join("reason")).unwrap(),
        "restored from a backup\n"
    );
    assert!(aside.join("db.sqlite").exists() && aside.join("mark").exists());
}

#[test]
fn what_was_revoked_stays_revoked_through_a_recovery() {
    let mut world = World::start(None);
    let revoke = ["revoke", "agent", "reader", "--reason", "odd calls"];
    assert_eq!(world.ambit(&revoke).status.code(), Some(0));
    let refused = |world: &World| {
        let (_, code) = world.inside("true");
        code == 3
    };
    assert!(refused(&world));
    world.stop();
    let output = world.ambit(&["recover", "--reason", "curious"]);
    let errors = text(output.stderr);
    assert_eq!(output.status.code(), Some(1), "a healthy log is left alone");
    assert!(errors.contains("--replace-healthy-log"), "{errors}");
    world.start_again().unwrap();
    assert!(refused(&world));

    world.stop();
    let again = ["recover", "--replace-healthy-log", "--reason", "moved"];
    let output = world.ambit(&again);
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert!(said.contains("agent reader stays revoked"), "{said}");
    world.start_again().unwrap();
    assert!(refused(&world), "it stays revoked");
    let tail = text(world.ambit(&["log", "tail", "-n", "50"]).stdout);
    assert!(tail.contains("agent reader stays revoked"), "{tail}");

    let lift = ["reinstate", "agent", "reader", "--reason", "a false alarm"];
    let output = world.ambit(&lift);
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert!(said.contains("reinstated reader"), "{said}");
    let (said, code) = world.inside("echo works");
    assert_eq!((said.trim(), code), ("works", 0));
    let tail = text(world.ambit(&["log", "tail", "-n", "50"]).stdout);
    assert!(tail.contains("reinstated agent reader"), "{tail}");
    for command in ["verify", "rebuild", "replay"] {
        let output = world.ambit(&["log", command]);
        assert_eq!(output.status.code(), Some(0), "{command}");
    }
}

#[test]
fn a_recovery_that_was_interrupted_keeps_the_server_from_starting() {
    let mut world = World::start(None);
    world.stop();
    let note = world.state().join("keys/recovering");
    ambit_broker::keyfiles::create_text(&note, "lost-1\nambit.internal/log\n3\n").unwrap();
    let said = world.start_again().unwrap_err();
    assert!(
        said.contains("not finished") && said.contains("ambit recover"),
        "{said}"
    );
    let output = world.ambit(&["recover", "--reason", "again"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(output.stderr));
    assert!(!note.exists());
    world.start_again().unwrap();
}

#[test]
fn a_lost_mark_stops_everything() {
    let mut world = World::start(None);
    world.stop();
    fs::remove_file(world.state().join("mark")).unwrap();
    let said = world.start_again().unwrap_err();
    assert!(
        said.contains("mark") && said.contains("ambit recover"),
        "{said}"
    );
}

/// The log is whole, so nothing is lost: whoever changed the tables does not give an agent its authority back.
#[test]
fn tables_that_were_changed_are_written_anew_from_the_log() {
    let mut world = World::start(None);
    let revoke = ["revoke", "agent", "reader", "--reason", "a trial"];
    assert!(world.ambit(&revoke).status.success());
    let rebuild = |world: &World, more: &[&str], code, part: &str| {
        let output = world.ambit(&[&["log", "rebuild"], more].concat());
        let said = text([output.stdout, output.stderr].concat());
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "no `{part}` in: {said}");
    };
    world.stop();
    let change = "import sqlite3, sys\n\
                  database = sqlite3.connect(sys.argv[1])\n\
                  print(database.execute('DELETE FROM fold_revoked').rowcount)\n\
                  database.commit()";
    let mut python = std::process::Command::new("python3");
    python
        .args(["-c", change])
        .arg(world.state().join("db.sqlite"));
    assert_eq!(text(python.output().unwrap().stdout), "1\n");
    let said = world.start_again().unwrap_err();
    assert!(said.contains("run `ambit log rebuild`"), "{said}");
    rebuild(&world, &[], 7, "ambit log rebuild --write");
    rebuild(
        &world,
        &["--write", "--mark", "nowhere"],
        7,
        "no rollback mark",
    );
    rebuild(
        &world,
        &["--write"],
        0,
        "1 row does not follow from the log",
    );
    rebuild(&world, &["--write"], 0, "byte for byte");
    world.start_again().unwrap();
    rebuild(&world, &[], 0, "byte for byte");
    // The agent stayed revoked: only who is can be reinstated.
    let reinstate = ["reinstate", "agent", "reader", "--reason", "it was one"];
    assert!(world.ambit(&reinstate).status.success());
    assert!(!world.ambit(&reinstate).status.success());
}

//! The issuing keys are those that the log knows: older ones don't come back, and partners never see an older bundle.

use std::fs;

use crate::world::World;

const KEYS: &str = "keys/authority.pem";

/// Returns how far the bundle has come.
fn sequence(world: &World) -> u64 {
    let text = fs::read_to_string(world.state().join(KEYS)).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("sequence "));
    line.unwrap().parse().unwrap()
}

fn rotate(world: &World, step: &str) {
    let output = world.ambit(&["authority", "rotate", step]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
}

#[test]
fn nhi07_replaced_keys_do_not_come_back_with_an_older_file() {
    let mut world = World::start(None);
    let path = world.state().join(KEYS);
    let first = fs::read(&path).unwrap();
    rotate(&world, "replace");
    let replaced = fs::read(&path).unwrap();
    rotate(&world, "prepare");
    let newest = fs::read(&path).unwrap();
    world.stop();
    for older in [&first, &replaced] {
        fs::write(&path, older).unwrap();
        let said = world.start_again().unwrap_err();
        assert!(
            said.contains("older than the log says") && said.contains("ambit recover"),
            "{said}"
        );
        assert_eq!(
            &fs::read(&path).unwrap(),
            older,
            "nothing is written over them"
        );
    }
    fs::write(&path, &newest).unwrap();
    world.start_again().unwrap();
    assert_eq!(sequence(&world), 3);
}

#[test]
fn nhi07_a_first_file_is_held_against_the_log_as_well() {
    let mut world = World::start(None);
    world.stop();
    let mut other = World::start(None);
    other.stop();
    let path = world.state().join(KEYS);
    let own = fs::read(&path).unwrap();
    fs::copy(other.state().join(KEYS), &path).unwrap();
    let said = world.start_again().unwrap_err();
    assert!(said.contains("not those of the log"), "{said}");
    fs::write(&path, own).unwrap();
    world.start_again().unwrap();
}

#[test]
fn a_recovery_goes_on_with_the_sequence() {
    let mut world = World::start(None);
    rotate(&world, "prepare");
    let (before, path) = (sequence(&world), world.state().join(KEYS));
    let lost = fs::read(&path).unwrap();
    world.stop();
    // Whatever of the two is lost, the other one knows how far the bundle had come.
    fs::remove_file(&path).unwrap();
    let recover = [
        "recover",
        "--replace-healthy-log",
        "--reason",
        "a compromise",
    ];
    let output = world.ambit(&recover);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let after = sequence(&world);
    assert!(after > before, "{after} follows {before}");
    world.start_again().unwrap();
    world.stop();
    let keys = fs::read(&path).unwrap();
    fs::write(&path, lost).unwrap();
    let said = world.start_again().unwrap_err();
    assert!(said.contains("older than the log says"), "{said}");
    fs::write(&path, keys).unwrap();
    let database = world.state().join("db.sqlite");
    fs::write(database, "no database").unwrap();
    let output = world.ambit(&["recover", "--reason", "a bad disk"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(sequence(&world) > after);
    world.start_again().unwrap();
}

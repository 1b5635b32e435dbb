use super::check as check_tree;
use super::plan::{FILE_LINES_MAX, MACHINE_PATHS};
use super::tree::Tree;

const WORKSPACE: &str = r#"
[workspace.dependencies]
ambit-core = { path = "crates/ambit-core" }
ambit-store = { path = "crates/ambit-store" }
ambit-testkit = { path = "crates/ambit-testkit" }
cedar-policy = "4"
hyper = "1"
tokio = { version = "1", features = ["rt", "sync"] }
webpki = { package = "rustls-webpki", version = "0.103" }
"#;

/// Checks a small house with one more file: every finding contains its expected text.
fn check(path: &str, text: &str, expected: &[&str]) {
    let files = [
        ("Cargo.toml", WORKSPACE),
        (
            "ARCHITECTURE.md",
            "ambit-core, `ambit-engine`, ambit-store, ambit-policy, ambit-audit, `ambit`",
        ),
        (
            "crates/ambit-core/Cargo.toml",
            "[lints]\nworkspace = true\n",
        ),
        (path, text),
    ];
    let kept = if path == "ARCHITECTURE.md" {
        &files[2..]
    } else {
        &files[1..]
    };
    let mut tree = vec![files[0]];
    tree.extend(kept.iter().filter(|file| file.0 != path || file.1 == text));
    let found: Vec<String> = check_tree(&Tree::of(&tree))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found.len(),
        expected.len(),
        "{path}: {text}\nfound {found:#?}"
    );
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\nlacks {expected}");
    }
}

fn check_manifest(room: &str, dependencies: &str, expected: &[&str]) {
    let path = format!("crates/{room}/Cargo.toml");
    check(
        &path,
        &format!("[lints]\nworkspace = true\n{dependencies}"),
        expected,
    );
}

#[test]
fn arrows_go_one_way() {
    check_manifest(
        "ambit-store",
        "[dependencies]\nambit-core.workspace = true",
        &[],
    );
    check_manifest(
        "ambit-core",
        "[dependencies]\nambit-store.workspace = true",
        &["ambit-core may not import ambit-store"],
    );
    check_manifest(
        "ambit-core",
        "[build-dependencies]\nambit-store = { path = \"../ambit-store\" }",
        &["ambit-core may not import ambit-store"],
    );
    check_manifest(
        "ambit-policy",
        "[dependencies]\ncore = { package = \"ambit-store\", path = \"../ambit-store\" }",
        &["ambit-policy may not import ambit-store"],
    );
    check_manifest(
        "ambit-store",
        "[target.'cfg(unix)'.dependencies]\nambit = { path = \"../ambit\" }",
        &["ambit-store may not import ambit"],
    );
}

#[test]
fn only_tests_import_the_testkit() {
    check_manifest(
        "ambit-core",
        "[dev-dependencies]\nambit-testkit.workspace = true",
        &[],
    );
    check_manifest(
        "ambit",
        "[dependencies]\nambit-testkit.workspace = true",
        &["ambit may not import ambit-testkit"],
    );
    check_manifest(
        "ambit-core",
        "[dev-dependencies]\nambit-store.workspace = true",
        &["ambit-core may not import ambit-store"],
    );
}

#[test]
fn walls_hold() {
    check_manifest(
        "ambit-policy",
        "[dependencies]\ncedar-policy.workspace = true",
        &[],
    );
    check_manifest(
        "ambit-engine",
        "[dependencies]\ncedar-policy.workspace = true",
        &["only ambit-policy may name cedar-policy"],
    );
    check_manifest(
        "ambit-engine",
        "[dependencies]\nwebpki.workspace = true",
        &["may name rustls-webpki"],
    );
    check_manifest(
        "ambit-core",
        "[dev-dependencies]\nhyper = \"1\"",
        &["may name hyper"],
    );
    check_manifest("ambit-new", "", &["ambit-new is not in the floor plan"]);
    check(
        "crates/ambit-store/Cargo.toml",
        "",
        &["write [lints] workspace = true"],
    );
}

#[test]
fn the_middle_does_no_io() {
    let sync = "[dependencies]\ntokio = { version = \"1\", features = [\"sync\"] }";
    check_manifest("ambit-engine", sync, &[]);
    check_manifest(
        "ambit-engine",
        "[dependencies]\ntokio.workspace = true",
        &["may use only sync of tokio, not rt"],
    );
    check_manifest(
        "ambit-engine",
        "[dev-dependencies]\ntokio.workspace = true",
        &[],
    );
    check_manifest("ambit-core", sync, &["it may not name tokio"]);
}

#[test]
fn phrases_stand_where_they_may() {
    let spawn = concat!("fn f() { tokio", "::spawn(g()); }");
    check(
        "crates/ambit-engine/src/lib.rs",
        spawn,
        &["lib.rs:1: `tokio"],
    );
    check("crates/ambit-store/src/lib.rs", spawn, &[]);
    let durable = concat!("impl<S> audit::Durable", " for Disk<S> {}");
    check("crates/ambit/src/main.rs", durable, &["durable"]);
    check("crates/ambit-store/src/lib.rs", durable, &[]);
    check("crates/ambit-audit/src/log/tests.rs", durable, &[]);
    check(
        "crates/ambit-audit/src/log.rs",
        &format!("#[cfg(test)]\n{durable}"),
        &[],
    );
    check(
        "crates/ambit-audit/src/log.rs",
        &format!("{durable}\n#[cfg(test)]"),
        &["durable"],
    );
    check("crates/ambit-engine/src/tests.rs", durable, &["durable"]);
    let clock = concat!("\nlet now = std::time::SystemTime", "::now();");
    check(
        "crates/ambit-store/src/lib.rs",
        clock,
        &["lib.rs:2: `SystemTime"],
    );
    check("crates/ambit/src/clock.rs", clock, &[]);
    check(
        "crates/ambit-core/src/a.rs",
        concat!("use std", "::env;"),
        &["a.rs:1: `std"],
    );
    check(
        "crates/ambit/src/a.rs",
        concat!("#[", "ignore = \"slow\"]"),
        &["none is ignored"],
    );
    check(
        "crates/ambit/src/a.rs",
        concat!("todo", "!()"),
        &["write it now"],
    );
    check(
        "crates/ambit/src/a.rs",
        concat!("// todo", "!() is banned"),
        &[],
    );
}

#[test]
fn files_are_short() {
    check("crates/ambit/src/a.rs", &"\n".repeat(FILE_LINES_MAX), &[]);
    check(
        "crates/ambit/src/a.rs",
        &"\n".repeat(FILE_LINES_MAX + 1),
        &["601 lines"],
    );
}

#[test]
fn every_limit_is_tested() {
    let limits = "pub const A_MAX: usize = 1;\n";
    check(
        "crates/ambit-core/src/limits.rs",
        limits,
        &["limits.rs:1: no test names A_MAX"],
    );
    let tested = format!("{limits}#[cfg(test)]\nmod tests {{ use super::A_MAX; }}");
    check("crates/ambit-core/src/limits.rs", &tested, &[]);
    let other = format!("{limits}#[cfg(test)]\nmod tests {{ use super::AA_MAX; }}");
    check(
        "crates/ambit-core/src/limits.rs",
        &other,
        &["no test names A_MAX"],
    );
}

#[test]
fn every_crate_is_on_the_map() {
    check(
        "ARCHITECTURE.md",
        "`ambit-core-x`",
        &["ambit-core is not on the map"],
    );
    check("ARCHITECTURE.md", "`ambit-core`", &[]);
}

#[test]
fn no_paths_of_one_machine() {
    for directory in MACHINE_PATHS {
        let bare = directory.trim_end_matches('/');
        check(
            "README.md",
            &format!("\nsee {directory}main"),
            &["README.md:2"],
        );
        check(
            "README.md",
            &format!("\"{directory}a\""),
            &["is a directory of one machine"],
        );
        check(
            "README.md",
            &format!("{bare}, {bare}load, spiffe://td{directory}a"),
            &[],
        );
    }
}

#[test]
fn promises_name_tests_that_are_there() {
    check(
        "PROMISES.md",
        "| 1 | it holds | `no_such_test`, `crates/none.rs` |",
        &[
            "no test or file `crates/none.rs`",
            "no test or file `no_such_test`",
        ],
    );
    check(
        "PROMISES.md",
        "| 1 | it holds | the seeds of `cargo xtask crash` |",
        &[],
    );
}

#[test]
fn attacks_are_named_by_ids_that_are_there() {
    let at = |text: &str, expected: &[&str]| check("crates/ambit/src/a.rs", text, expected);
    for name in [
        "asi01_a", "asi10_a", "nhi01_a", "nhi10_a", "assist", "nhide",
    ] {
        at(&format!("fn {name}() {{}}"), &[]);
    }
    for name in [
        "asi_a", "nhi_a", "asi00_a", "asi11_a", "nhi3_a", "nhi003_a", "asi0a_a", "asi03",
    ] {
        let wanted = format!("a.rs:2: `{name}`: begin it with the id");
        at(&format!("#[test]\nasync fn {name}() {{}}"), &[&wanted]);
    }
    let with = |comment: &str, name: &str, expected: &[&str]| {
        let text = format!("    {comment}\n    /// more\n    #[test]\n    fn {name}() {{}}");
        at(&text, expected);
    };
    with("/// ASI03: it holds.", "asi03_it_holds", &[]);
    with("/// ASI03, NHI02: it holds.", "nhi02_it_holds", &[]);
    with("/// It holds (ASI03).", "it_holds", &[]);
    with(
        "/// ASI03: it holds.",
        "it_holds",
        &["begin it with the id"],
    );
    with("/// NHI3: it holds.", "nhi03_it_holds", &["another id"]);
    with("/// ASI03: it holds.", "asi04_it_holds", &["another id"]);
}

//! Who imports whom: the floor plan, the walls and tokio, read from the manifests.

use toml::{Table, Value};

use super::Finding;
use super::plan::{ROOMS, TESTKIT, TOKIO, WALLS};
use super::tree::Tree;

/// Which section of a manifest names a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Normal,
    Development,
    Build,
}

const SECTIONS: &[(&str, Section)] = &[
    ("dependencies", Section::Normal),
    ("dev-dependencies", Section::Development),
    ("build-dependencies", Section::Build),
];

/// The manifests of ours that are not in `crates`.
const OUTSIDE_CRATES: &[&str] = &["xtask/Cargo.toml", "fuzz/Cargo.toml"];

/// One dependency as the manifest and the workspace name it together.
#[derive(Debug)]
struct Dependency {
    package: String,
    section: Section,
    features: Vec<String>,
}

/// Every import that the floor plan does not allow.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let workspace = match tree.text("Cargo.toml").map(str::parse::<Table>) {
        Some(Ok(manifest)) => manifest,
        Some(Err(error)) => return vec![Finding::new("Cargo.toml", error.message())],
        None => {
            return vec![Finding::new(
                "Cargo.toml",
                "the workspace manifest is missing",
            )];
        }
    };
    let shared = table(&workspace, &["workspace", "dependencies"]);
    for file in tree.files() {
        let Some(room) = file.room() else { continue };
        let in_crates = file.path == format!("crates/{room}/Cargo.toml");
        if !in_crates && !OUTSIDE_CRATES.contains(&file.path.as_str()) {
            continue;
        }
        match file.text.parse::<Table>() {
            Ok(manifest) => check_room(room, &file.path, &manifest, shared, &mut findings),
            Err(error) => findings.push(Finding::new(&file.path, error.message())),
        }
    }
    findings
}

fn check_room(
    room: &str,
    path: &str,
    manifest: &Table,
    shared: Option<&Table>,
    findings: &mut Vec<Finding>,
) {
    let Some(plan) = ROOMS.iter().find(|candidate| candidate.name == room) else {
        findings.push(Finding::new(
            path,
            format!("{room} is not in the floor plan"),
        ));
        return;
    };
    let lints = table(manifest, &["lints"]).and_then(|lints| lints.get("workspace"));
    if lints.and_then(Value::as_bool) != Some(true) {
        findings.push(Finding::new(path, "write [lints] workspace = true"));
    }
    for dependency in dependencies(manifest, shared) {
        let package = dependency.package.as_str();
        let is_test_kit = package == TESTKIT && dependency.section == Section::Development;
        let is_ours = package == "ambit" || package.starts_with("ambit-");
        if is_ours && !is_test_kit && package != room && !plan.imports.contains(&package) {
            findings.push(Finding::new(
                path,
                format!("{room} may not import {package}"),
            ));
        }
        let wall = WALLS.iter().find(|wall| wall.package == package);
        if let Some(wall) = wall.filter(|wall| !wall.rooms.contains(&room)) {
            let rooms = wall.rooms.join(", ");
            findings.push(Finding::new(
                path,
                format!("only {rooms} may name {package}"),
            ));
        }
        if let Some(rule) = tokio_rule(room, &dependency) {
            findings.push(Finding::new(path, rule));
        }
    }
}

/// What is wrong with a dependency on tokio. Tests of a room that has tokio may use all of it.
fn tokio_rule(room: &str, dependency: &Dependency) -> Option<String> {
    if dependency.package != "tokio" {
        return None;
    }
    let tokio = TOKIO.iter().find(|tokio| tokio.room == room)?;
    if tokio.features.is_empty() {
        return Some(format!("{room} does no I/O; it may not name tokio"));
    }
    if dependency.section == Section::Development {
        return None;
    }
    let extra: Vec<&str> = dependency
        .features
        .iter()
        .map(String::as_str)
        .filter(|feature| !tokio.features.contains(feature))
        .collect();
    if extra.is_empty() {
        return None;
    }
    Some(format!(
        "{room} may use only {} of tokio, not {}",
        tokio.features.join(", "),
        extra.join(", ")
    ))
}

fn dependencies(manifest: &Table, shared: Option<&Table>) -> Vec<Dependency> {
    let mut found = Vec::new();
    let targets = table(manifest, &["target"])
        .into_iter()
        .flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    for owner in tables {
        for &(key, section) in SECTIONS {
            let listed = owner.get(key).and_then(Value::as_table);
            for (name, value) in listed.into_iter().flatten() {
                found.push(dependency(name, value, section, shared));
            }
        }
    }
    found
}

fn dependency(name: &str, value: &Value, section: Section, shared: Option<&Table>) -> Dependency {
    let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
    let origin = if inherits {
        shared.and_then(|shared| shared.get(name))
    } else {
        None
    };
    let package = value
        .get("package")
        .or_else(|| origin.and_then(|origin| origin.get("package")))
        .and_then(Value::as_str)
        .unwrap_or(name);
    let features = [Some(value), origin]
        .into_iter()
        .flatten()
        .filter_map(|place| place.get("features").and_then(Value::as_array))
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    Dependency {
        package: package.to_owned(),
        section,
        features,
    }
}

fn table<'a>(manifest: &'a Table, path: &[&str]) -> Option<&'a Table> {
    path.iter().try_fold(manifest, |table, key| {
        table.get(*key).and_then(Value::as_table)
    })
}

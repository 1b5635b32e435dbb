//! The graph of dependencies against `deny.toml`: bans with their wrappers, sources and licences.
//!
//! It is the part of `cargo deny check` that needs no network, for machines without cargo-deny. Advisories
//! are left to it: they want a database that changes daily.

mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use toml::{Table, Value};

use super::Finding;
use crate::failure::Failure;
use crate::root;

/// What stands between the parts of a line of `cargo tree`.
const FORMAT: &str = " {p}|{l}";

/// Every rule of `deny.toml` that the graph breaks.
///
/// # Errors
/// When `deny.toml` can't be read, or cargo can't tell the graph.
pub(super) fn findings() -> Result<Vec<Finding>, Failure> {
    let path = root().join("deny.toml");
    let text = fs::read_to_string(&path).map_err(|source| Failure::File {
        attempt: "read",
        path,
        source,
    })?;
    let broken = check(&text, &tree()?);
    Ok(broken
        .into_iter()
        .map(|it| Finding::new("deny.toml", it))
        .collect())
}

/// Asks cargo for every package of the graph on Linux, each with its depth before it.
fn tree() -> Result<String, Failure> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(root())
        .args(["tree", "--workspace", "--all-features", "--prefix", "depth"])
        .args(["--edges", "normal,build,dev", "--format", FORMAT])
        .args(["--target", "x86_64-unknown-linux-gnu"]);
    let output = command.output().map_err(|source| Failure::Start {
        program: "cargo".to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failure::Exit {
        command: "cargo tree".to_owned(),
        status: output.status,
    })
}

/// One package of the graph.
#[derive(Debug, Default)]
struct Package<'a> {
    licence: &'a str,
    source: &'a str,
    users: BTreeSet<&'a str>,
}

/// Every broken rule, in the order of the packages.
fn check(rules: &str, tree: &str) -> Vec<String> {
    let rules: Table = match rules.parse() {
        Ok(rules) => rules,
        Err(error) => return vec![format!("deny.toml: {}", error.message())],
    };
    let packages = packages(tree);
    if packages.is_empty() {
        return vec!["cargo tree names no package".to_owned()];
    }
    let mut findings = banned(&rules, &packages);
    findings.extend(unlicensed(&rules, &packages));
    let foreign = packages.iter().filter(|(_, it)| it.source.contains("://"));
    findings.extend(foreign.map(|(name, it)| {
        let source = it.source;
        format!("{name} comes from {source}; only crates.io is a source")
    }));
    findings
}

/// Reads the lines of `cargo tree`: a package is used by the last one before it that is less deep.
fn packages(tree: &str) -> BTreeMap<&str, Package<'_>> {
    let mut packages: BTreeMap<&str, Package<'_>> = BTreeMap::new();
    let mut above: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let Some((depth, rest)) = line.split_once(' ') else {
            continue;
        };
        let Ok(depth) = depth.parse::<usize>() else {
            continue;
        };
        let (shown, licence) = rest.split_once('|').unwrap_or((rest, ""));
        let name = shown.split(' ').next().unwrap_or_default();
        above.truncate(depth);
        let package = packages.entry(name).or_default();
        package.users.extend(above.last());
        package.licence = licence.trim_end_matches(" (*)");
        package.source = shown.split_once('(').map_or("", |(_, source)| source);
        above.push(name);
    }
    packages
}

fn banned(rules: &Table, packages: &BTreeMap<&str, Package<'_>>) -> Vec<String> {
    let mut findings = Vec::new();
    for ban in list(rules, "bans", "deny") {
        let name = text(ban, "crate");
        let Some(package) = packages.get(name) else {
            continue;
        };
        let Some(wrappers) = ban.get("wrappers").and_then(Value::as_array) else {
            findings.push(format!("{name} is banned"));
            continue;
        };
        let wrappers: Vec<&str> = wrappers.iter().filter_map(Value::as_str).collect();
        let others = package.users.iter().filter(|it| !wrappers.contains(*it));
        findings.extend(others.map(|user| {
            let wrappers = wrappers.join(", ");
            format!("{user} uses {name}, which only these may: {wrappers}")
        }));
    }
    findings
}

fn unlicensed(rules: &Table, packages: &BTreeMap<&str, Package<'_>>) -> Vec<String> {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        let texts = items.filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let licences = rules.get("licenses");
    let allowed = texts(licences.and_then(|it| it.get("allow")));
    let exceptions = list(rules, "licenses", "exceptions");
    let mut findings = Vec::new();
    for (name, package) in packages {
        let own = exceptions.iter().filter(|it| text(it, "crate") == *name);
        let own: Vec<String> = own.flat_map(|it| texts(it.get("allow"))).collect();
        let fits = |licence: &str| allowed.iter().chain(&own).any(|it| it == licence);
        if !licence::suits(package.licence, &fits) {
            let licence = package.licence;
            findings.push(format!(
                "{name} has the licence `{licence}`, which deny.toml does not allow"
            ));
        }
    }
    findings
}

fn list<'a>(rules: &'a Table, section: &str, key: &str) -> &'a [Value] {
    let list = rules.get(section).and_then(|it| it.get(key)?.as_array());
    list.map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    const RULES: &str = r#"
[licenses]
allow = ["MIT", "Apache-2.0 WITH LLVM-exception"]
exceptions = [{ crate = "odd", allow = ["NCSA"] }]
[bans]
deny = [{ crate = "ring" }, { crate = "hyper", wrappers = ["doors"] }]
"#;

    fn check(tree: &str, expected: &[&str]) {
        let found = super::check(RULES, tree);
        assert_eq!(found.len(), expected.len(), "{tree}: {found:?}");
        for (found, part) in found.iter().zip(expected) {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn bans_have_wrappers() {
        check("0 doors v1 (/a/doors)|MIT\n1 hyper v1|MIT\n", &[]);
        let beside = "0 core v1|MIT\n1 doors v1|MIT\n2 hyper v1|MIT\n1 hyper v1|MIT (*)\n";
        check(beside, &["core uses hyper"]);
        check("0 core v1|MIT\n1 ring v1|MIT\n", &["ring is banned"]);
    }

    #[test]
    fn sources_and_licences_are_looked_at() {
        let foreign = "0 core v1|MIT\n1 own v1 (https://example.org/own#1)|MIT\n";
        check(foreign, &["only crates.io"]);
        check("0 core v1|GPL-3.0 OR MIT\n1 odd v1|MIT AND NCSA\n", &[]);
        check("0 core v1|MIT AND NCSA\n", &["`MIT AND NCSA`"]);
        check("0 core v1|\n", &["``"]);
        check("", &["no package"]);
    }
}

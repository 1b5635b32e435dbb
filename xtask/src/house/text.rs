//! Rules that are read off the text: phrases, lengths, limits, the map, machine paths.

use super::Finding;
use super::plan::{FILE_LINES_MAX, MACHINE_PATHS, PHRASES, ROOMS, Scope};
use super::tree::{File, Tree};

/// Where the shared limits are kept.
const LIMITS: &str = "crates/ambit-core/src/limits.rs";

/// What is promised, with the tests.
const PROMISES: &str = "PROMISES.md";

/// Every rule of the text that is broken.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        check_machine_paths(file, &mut findings);
        if file.is_rust() {
            check_length(file, &mut findings);
            check_phrases(file, &mut findings);
        }
    }
    check_limits(tree, &mut findings);
    check_map(tree, &mut findings);
    check_promises(tree, &mut findings);
    findings
}

fn check_length(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let rule = format!("{lines} lines; split it, {FILE_LINES_MAX} is the most");
        findings.push(Finding::new(&file.path, rule));
    }
}

fn check_phrases(file: &File, findings: &mut Vec<Finding>) {
    let room = file.room().unwrap_or_default();
    let code = file.text.len().saturating_sub(file.test_code().len());
    let code_lines = file.text.get(..code).map_or(0, |code| code.lines().count());
    for (number, line) in numbered(&file.text) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for phrase in PHRASES.iter().filter(|phrase| line.contains(phrase.text)) {
            let allowed = match phrase.scope {
                Scope::Nowhere => false,
                Scope::Only(rooms) => rooms.contains(&room),
                Scope::OnlyOrTestsOf(rooms, tested) => {
                    rooms.contains(&room) || (room == tested && number > code_lines)
                }
                Scope::NotIn(rooms) => !rooms.contains(&room),
            };
            if !allowed {
                let place = format!("{}:{number}", file.path);
                let rule = format!("`{}`: {}", phrase.text.trim(), phrase.why);
                findings.push(Finding::new(place, rule));
            }
        }
    }
}

fn check_machine_paths(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(&file.text) {
        for &path in MACHINE_PATHS {
            if names_path(line, path) {
                let place = format!("{}:{number}", file.path);
                findings.push(Finding::new(
                    place,
                    format!("{path} is a directory of one machine"),
                ));
            }
        }
    }
}

/// Whether a path that starts with `directory` stands in `line`.
fn names_path(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c: char| c.is_alphanumeric() || "_-./}~*$".contains(c))
    })
}

fn check_limits(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(limits) = tree.text(LIMITS) else {
        return;
    };
    for (number, line) in numbered(limits) {
        let Some(rest) = line.strip_prefix("pub const ") else {
            continue;
        };
        let Some((name, _)) = rest.split_once(':') else {
            continue;
        };
        if !tree
            .files()
            .iter()
            .any(|file| names_word(file.test_code(), name))
        {
            let place = format!("{LIMITS}:{number}");
            let rule = format!("no test names {name}; write one at the limit and one beyond");
            findings.push(Finding::new(place, rule));
        }
    }
}

fn names_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

fn check_map(tree: &Tree, findings: &mut Vec<Finding>) {
    const MAP: &str = "ARCHITECTURE.md";
    let Some(map) = tree.text(MAP) else {
        findings.push(Finding::new(MAP, "the map of the house is missing"));
        return;
    };
    for room in ROOMS {
        let exists = tree
            .files()
            .iter()
            .any(|file| file.room() == Some(room.name));
        let listed = map
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .any(|word| word == room.name);
        if exists && !listed {
            findings.push(Finding::new(
                MAP,
                format!("{} is not on the map", room.name),
            ));
        }
    }
}

/// Every test and file that a promise names is there: a promise without a test is an advertisement.
fn check_promises(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(text) = tree.text(PROMISES) else {
        return;
    };
    for (number, line) in numbered(text).filter(|(_, line)| line.starts_with("| ")) {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| !name.contains(' '))
        {
            let is_there = if name.contains('/') {
                let inside = format!("{name}/");
                let holds = |file: &File| file.path == name || file.path.starts_with(&inside);
                tree.files().iter().any(holds)
            } else {
                let declared = format!("fn {name}(");
                tree.files()
                    .iter()
                    .any(|file| file.test_code().contains(&declared))
            };
            if !is_there {
                let rule = format!("there is no test or file `{name}`");
                findings.push(Finding::new(format!("{PROMISES}:{number}"), rule));
            }
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

//! Tests of attacks are named by the OWASP id of what is attacked, so that whoever looks for an id finds its tests.

use super::Finding;
use super::tree::Tree;

/// The lists of OWASP: agentic applications, and identities that are nobody's person.
const LISTS: [&str; 2] = ["asi", "nhi"];

/// The last risk of each list.
const LAST: u8 = 10;

/// Every test whose name begins like an id and has none, or whose comment begins with an id that its name has not.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| file.is_rust()) {
        let mut claimed = None;
        for (number, line) in (1..).zip(file.text.lines()) {
            let line = line.trim_start();
            if let Some(comment) = line.strip_prefix("/// ") {
                claimed = claimed.or_else(|| begins_with_id(comment).then_some(comment));
                continue;
            }
            let Some(name) = function(line) else {
                continue;
            };
            let place = || format!("{}:{number}", file.path);
            match (id(name), claimed.take()) {
                (None, None) if !looks_like_id(name) => {}
                (None, _) => findings.push(Finding::new(
                    place(),
                    format!("`{name}`: begin it with the id of what is attacked, asi01_ to asi10_ or nhi01_ to nhi10_"),
                )),
                (Some(id), Some(comment)) if !comment.contains(&id.to_uppercase()) => {
                    let rule = format!("`{name}`: its comment names another id");
                    findings.push(Finding::new(place(), rule));
                }
                (Some(_), _) => {}
            }
        }
    }
    findings
}

/// Returns the name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let start = ["fn ", "async fn ", "pub fn ", "pub async fn "];
    let rest = start.iter().find_map(|it| line.strip_prefix(it))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

/// Returns the id with which a name begins: of a list, in two digits, and there.
fn id(name: &str) -> Option<&str> {
    let (id, _) = name.split_once('_')?;
    let digits = LISTS.iter().find_map(|it| id.strip_prefix(it))?;
    let number: u8 = digits.parse().ok()?;
    (digits.len() == 2 && (1..=LAST).contains(&number)).then_some(id)
}

fn looks_like_id(name: &str) -> bool {
    let rest = LISTS.iter().find_map(|it| name.strip_prefix(it));
    rest.is_some_and(|it| it.starts_with(|c: char| c == '_' || c.is_ascii_digit()))
}

/// Says whether a comment begins with an id, however that is written.
fn begins_with_id(comment: &str) -> bool {
    let rest = LISTS
        .iter()
        .find_map(|it| comment.strip_prefix(it.to_uppercase().as_str()));
    rest.is_some_and(|it| {
        it.trim_start_matches('-')
            .starts_with(|c: char| c.is_ascii_digit())
    })
}

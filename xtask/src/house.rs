//! `cargo xtask house`: the floor plan and the rules of the house, as a test.

mod attacks;
mod graph;
mod imports;
mod plan;
mod text;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::failure::Failure;
use crate::root;
use tree::Tree;

/// A broken rule and its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    place: String,
    rule: String,
}

impl Finding {
    fn new(place: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.rule)
    }
}

/// Checks the whole tree and prints every broken rule.
///
/// # Errors
/// When a rule is broken or the tree can't be read.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    if !options.is_empty() {
        return Err(Failure::Usage(
            "usage: cargo xtask house (it takes no options)".to_owned(),
        ));
    }
    let tree = Tree::read(&root())?;
    let mut findings = check(&tree);
    findings.extend(graph::findings()?);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("house: {} files keep the rules", tree.files().len());
        return Ok(());
    }
    Err(Failure::House(findings.len()))
}

/// Every broken rule of the tree, sorted by place.
fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = imports::check(tree);
    findings.extend(text::check(tree));
    findings.extend(attacks::check(tree));
    findings.sort();
    findings
}

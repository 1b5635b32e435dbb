//! What is wrong with the policies or schemas of an estate, and where.

use miette::Diagnostic;

/// Something in the estate that keeps its policies from being put in force.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}:{line}:{column}: {message}")]
pub struct PolicyProblem {
    /// The file, as the estate names it.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl PolicyProblem {
    /// Returns a problem at byte `offset` of `text`.
    pub(crate) fn at(path: &str, text: &str, offset: usize, message: String) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |it| it + 1);
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before
                .get(line_start..)
                .map_or(1, |it| it.chars().count() + 1),
            message,
        }
    }

    /// Returns the problem that a diagnostic of the policy language describes.
    pub(crate) fn of_diagnostic(path: &str, text: &str, diagnostic: &dyn Diagnostic) -> Self {
        let offset = diagnostic
            .labels()
            .and_then(|mut it| it.next())
            .map_or(0, |it| it.offset());
        let mut message = diagnostic.to_string();
        // Cedar names policies by number; the place says more.
        if message.starts_with("for policy `policy")
            && let Some((_, rest)) = message.split_once("`, ")
        {
            message = rest.to_owned();
        }
        if let Some(help) = diagnostic.help() {
            message.push_str("; ");
            message.push_str(&help.to_string());
        } else if message.ends_with("unexpected end of input") {
            message.push_str("; close every `(` and `{`, and end the policy with `;`");
        }
        Self::at(path, text, offset, message)
    }

    /// Returns a problem in what Ambit itself carries: a mistake of its authors.
    pub(crate) fn inside(cause: &dyn std::fmt::Display) -> Self {
        Self {
            path: "ambit".to_owned(),
            line: 1,
            column: 1,
            message: format!("the fixed policies can't be put in force, please report it: {cause}"),
        }
    }
}

//! Problems of an estate's files, and where they stand.

use std::cell::RefCell;

/// Something wrong in an estate's file, and what to write instead.
///
/// Prints as `path:line:column: message`, the form that editors jump to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[error("{path}:{line}:{column}: {message}")]
pub struct EstateProblem {
    /// The file inside the estate.
    pub path: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong; what to write.
    pub message: String,
}

/// All that was found so far. Shared by everything that reads, so that nothing stops at the first.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<EstateProblem>>);

impl Problems {
    /// Notes a problem of a whole file.
    pub(super) fn add_whole(&self, path: &str, message: impl Into<String>) {
        self.add_at(path, (1, 1), message);
    }

    /// Notes a problem at a line and column.
    pub(super) fn add_at(
        &self,
        path: &str,
        (line, column): (u32, u32),
        message: impl Into<String>,
    ) {
        self.0.borrow_mut().push(EstateProblem {
            path: path.to_owned(),
            line,
            column,
            message: message.into(),
        });
    }

    /// Returns the problems in order, or nothing when there are none.
    pub(super) fn into_result(self) -> Result<(), Vec<EstateProblem>> {
        let mut found = self.0.into_inner();
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        found.dedup();
        Err(found)
    }
}

/// Returns the line and column, both from 1, of the byte `offset` in `text`.
pub(super) fn place_of(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|it| *it == b'\n').count() + 1;
    let in_line = before.rsplit('\n').next().unwrap_or("");
    let column = in_line.chars().count() + 1;
    (clamp(line), clamp(column))
}

/// Says "did you mean" for the nearest of `known`, or else lists them.
pub(super) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(word, it), *it))
        .min()
        .filter(|(distance, it)| *distance <= 1 + it.chars().count() / 4);
    if let Some((_, nearest)) = nearest {
        return format!("did you mean `{nearest}`?");
    }
    if known.is_empty() {
        return "there is none yet".to_owned();
    }
    let listed = known
        .iter()
        .take(SUGGESTIONS_MAX)
        .map(|it| format!("`{it}`"));
    let listed = listed.collect::<Vec<_>>().join(", ");
    match known.len().saturating_sub(SUGGESTIONS_MAX) {
        0 => format!("write one of {listed}"),
        more => format!("write one of {listed} or of {more} more"),
    }
}

/// The most names that a problem lists. Every table of keys has fewer; an estate may have more servers or tools.
const SUGGESTIONS_MAX: usize = 48;

/// Returns a line or column, which no file that is read makes too large.
pub(super) fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::estate::EstateFiles;

    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");

    #[test]
    fn a_key_that_is_like_no_other_is_told_all_that_there_are() {
        let path = "templates/answer-ticket.toml";
        let text = EstateFiles::collect(Path::new(DEMO)).unwrap();
        let text = format!("zzzzzzzzzzzz = 1\n{}", text.text(path).unwrap());
        let texts = [(path, text.as_str())];
        let problems = EstateFiles::from_texts(texts).and_then(|it| it.load());
        let told: Vec<String> = problems
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        let told = told
            .iter()
            .find(|it| it.contains("`zzzzzzzzzzzz`"))
            .unwrap();
        for key in ["binding", "bearer", "containment", "delegation", "ttl"] {
            assert!(told.contains(&format!("`{key}`")), "{key}: {told}");
        }
    }

    #[test]
    fn names_are_listed_up_to_their_maximum() {
        let names: Vec<String> = (0..=SUGGESTIONS_MAX)
            .map(|it| format!("n{it:04}"))
            .collect();
        let told =
            |count: usize| suggest("zzzzzzzzz", names.iter().take(count).map(String::as_str));
        assert!(told(SUGGESTIONS_MAX).ends_with("`n0047`"));
        assert!(told(SUGGESTIONS_MAX + 1).ends_with("`n0047` or of 1 more"));
    }
}

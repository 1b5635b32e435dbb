//! Reading TOML with all its problems at once.
//!
//! The parser is the `toml` crate's. Its derived reading stops at the first problem, so the tables are
//! walked here: each key is asked for once, and whatever nobody asked for is unknown.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use ambit_core::{Label, Labels, json::Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    files::{EstateFiles, Kind},
    problem::{Problems, suggest},
    value,
};

/// One file that is being read.
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    text: &'a str,
    /// The byte at which each line begins: a file may have thousands of places worth naming.
    lines: Vec<usize>,
    problems: &'a Problems,
}

/// A table with a fixed set of keys.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    start: usize,
    table: &'a DeTable<'a>,
    what: &'static str,
    known: Vec<&'static str>,
}

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    source: &'a Source<'a>,
    start: usize,
    /// The key under which it stands.
    pub(super) key: &'a str,
    value: &'a DeValue<'a>,
}

/// Reads each file of a folder with `read` and returns what they declare by their names. A file whose name is none is a
/// problem, and what `read` could not read is left out.
pub(super) fn read_folder<N, T>(
    files: &EstateFiles,
    kind: Kind,
    problems: &Problems,
    read: impl Fn(&Source<'_>, N) -> Option<T>,
) -> BTreeMap<N, T>
where
    N: Clone + FromStr<Err: Display> + Ord,
{
    let mut found = BTreeMap::new();
    for (stem, path, text) in files.of_kind(kind) {
        let name: N = match stem.parse() {
            Ok(name) => name,
            Err(error) => {
                problems.add_whole(path, format!("{error}; rename the file"));
                continue;
            }
        };
        let source = Source::new(path, text, problems);
        if let Some(declared) = read(&source, name.clone()) {
            found.insert(name, declared);
        }
    }
    found
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a str, text: &'a str, problems: &'a Problems) -> Self {
        let breaks = text.match_indices('\n').map(|(place, _)| place + 1);
        Self {
            path,
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            problems,
        }
    }

    /// Returns the line and column of a byte of the text.
    fn place(&self, start: usize) -> (u32, u32) {
        let line = self.lines.partition_point(|it| *it <= start).max(1);
        let begins = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(begins..start).unwrap_or("");
        let column = before.chars().count() + 1;
        (super::problem::clamp(line), super::problem::clamp(column))
    }

    /// Parses the text. Syntax errors are noted; what could be read is returned none the less.
    pub(super) fn parse(&self) -> Spanned<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let start = error.span().map_or(0, |it| it.start);
            self.problem(start, error.message().trim().replace('\n', "; "));
        }
        table
    }

    /// Returns the parsed text as a table of `what`.
    pub(super) const fn section(
        &'a self,
        table: &'a DeTable<'a>,
        what: &'static str,
    ) -> Section<'a> {
        Section {
            source: self,
            start: 0,
            table,
            what,
            known: Vec::new(),
        }
    }

    /// Notes a problem at a byte of the text.
    pub(super) fn problem(&self, start: usize, message: impl Into<String>) {
        self.problems.add_at(self.path, self.place(start), message);
    }
}

impl<'a> Section<'a> {
    /// Returns the value under `key`, when there is one.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let (key, value) = self.table.get_key_value(key)?;
        Some(self.field(key, value))
    }

    /// Returns the value under `key`, or notes that it is missing and what to write, such as `ttl = "30m"`.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Field<'a>> {
        let found = self.optional(key);
        if found.is_none() {
            self.problem(format!(
                "`{key}` is missing in {}; write `{example}`",
                self.what
            ));
        }
        found
    }

    /// Returns every key with its value, for tables whose keys are names.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        self.table.iter().map(|(key, value)| self.field(key, value))
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let hint = suggest(name, self.known.iter().copied());
                let message = format!("{} has no key `{name}`; {hint}", self.what);
                self.source.problem(key.span().start, message);
            }
        }
    }

    /// Notes a problem of the whole table.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.source.problem(self.start, message);
    }

    fn field(
        &self,
        key: &'a Spanned<std::borrow::Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Field<'a> {
        // A table's span covers its whole body; its header is where people look.
        let start = if value.get_ref().is_table() {
            key.span().start
        } else {
            value.span().start
        };
        Field {
            source: self.source,
            start,
            key: key.get_ref().as_ref(),
            value: value.get_ref(),
        }
    }
}

impl<'a> Field<'a> {
    /// Notes a problem of this value.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.source.problem(self.start, message);
    }

    /// Returns the line and column of this value.
    pub(super) fn place(&self) -> (u32, u32) {
        self.source.place(self.start)
    }

    /// Says whether this is a text.
    pub(super) const fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    /// Says whether this is a list.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// Returns the text.
    pub(super) fn text(&self) -> Option<&'a str> {
        let found = self.value.as_str();
        self.wanted(found, "a text in quotes")
    }

    /// Returns the text, which may not be blank.
    pub(super) fn words(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.problem(format!("`{}` is empty; say it in a few words", self.key));
            return None;
        }
        Some(text.to_owned())
    }

    /// Returns the text read as a `T`.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(error.to_string());
                None
            }
        }
    }

    /// Returns the key read as a `T`.
    pub(super) fn parsed_key<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.key.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(error.to_string());
                None
            }
        }
    }

    /// Returns what the text stands for in `words`.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let hint = suggest(text, words.iter().map(|(word, _)| *word));
            self.problem(format!("`{}` cannot be `{text}`; {hint}", self.key));
        }
        found.map(|(_, value)| *value)
    }

    /// Returns the text, which must be one of `known`, a set of `what`.
    pub(super) fn one_of<'b>(
        &self,
        what: &str,
        known: impl IntoIterator<Item = &'b str> + Clone,
    ) -> Option<&'a str> {
        let text = self.text()?;
        if known.clone().into_iter().any(|it| it == text) {
            return Some(text);
        }
        self.problem(format!(
            "there is no {what} `{text}`; {}",
            suggest(text, known)
        ));
        None
    }

    /// Returns the whole number, which must lie within the bounds, both included.
    pub(super) fn integer(&self, least: i64, most: i64) -> Option<i64> {
        let number = self.wanted(value::integer(self.value), "a whole number")?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.problem(format!(
            "`{}` is {number}; write a number from {least} to {most}",
            self.key
        ));
        None
    }

    /// Returns the count, which must lie within 1 and `most`.
    pub(super) fn count(&self, most: u32) -> Option<u32> {
        let number = self.integer(1, i64::from(most))?;
        u32::try_from(number).ok()
    }

    /// Returns the finite number.
    pub(super) fn number(&self) -> Option<f64> {
        self.wanted(value::number(self.value), "a number")
    }

    /// Returns the truth value.
    pub(super) fn truth(&self) -> Option<bool> {
        self.wanted(self.value.as_bool(), "`true` or `false`")
    }

    /// Returns the items of the list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        let items = self.wanted(self.value.as_array(), "a list in `[` and `]`")?;
        let item = |it: &'a Spanned<DeValue<'a>>| Field {
            source: self.source,
            start: it.span().start,
            key: self.key,
            value: it.get_ref(),
        };
        Some(items.iter().map(item).collect())
    }

    /// Reads the agent's registrations, at most `max` of them; every mistake in any of them is told.
    pub(super) fn registrations<T>(
        &self,
        max: usize,
        what: &str,
        read: impl Fn(&Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.items()?;
        if items.len() > max {
            self.problem(format!("an agent has at most {max} {what}"));
            return None;
        }
        let all: Vec<Option<T>> = items.iter().map(read).collect();
        all.into_iter().collect()
    }

    /// Returns the labels of the list.
    pub(super) fn labels(&self) -> Option<Labels> {
        let labels: Vec<Label> = self.items()?.iter().filter_map(Self::parsed).collect();
        match Labels::new(labels) {
            Ok(labels) => Some(labels),
            Err(error) => {
                self.problem(error.to_string());
                None
            }
        }
    }

    /// Returns the table as one of `what`.
    pub(super) fn section(&self, what: &'static str) -> Option<Section<'a>> {
        let table = self.wanted(self.value.as_table(), "a table")?;
        Some(Section {
            source: self.source,
            start: self.start,
            table,
            what,
            known: Vec::new(),
        })
    }

    /// Returns the value as JSON.
    pub(super) fn json(&self) -> Option<Value> {
        match value::to_json(self.value) {
            Ok(value) => Some(value),
            Err(hint) => {
                self.problem(format!("`{}` has no place in JSON; {hint}", self.key));
                None
            }
        }
    }

    fn wanted<T>(&self, found: Option<T>, wanted: &str) -> Option<T> {
        if found.is_none() {
            let is = self.value.type_str();
            let article = if is.starts_with(['a', 'i']) {
                "an"
            } else {
                "a"
            };
            self.problem(format!("`{}` is {article} {is}; write {wanted}", self.key));
        }
        found
    }
}

//! What commands print: tables for people, JSON for programs. Never an escape sequence that came from outside.

use std::io::{self, IsTerminal, Write};

use ambit_core::json::Value;
use clap::ValueEnum;

use crate::problem::Problem;

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON value.
    Json,
    /// One JSON value per line.
    Jsonl,
}

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    /// Whether escape sequences for colour are wanted.
    paint: Paint,
}

/// Whether colours are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Paint {
    /// On a terminal, unless `NO_COLOR` is set.
    Coloured,
    /// Plain text.
    Plain,
}

/// What a piece of text means, for its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    /// It went through.
    Good,
    /// It was refused.
    Bad,
    /// It waits.
    Waiting,
    /// A heading.
    Heading,
    /// Less important.
    Quiet,
}

/// A table's column: its heading and the member that fills it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The heading.
    pub(crate) heading: &'static str,
    /// The member, such as `task` or `subject.alias`.
    pub(crate) member: &'static str,
}

impl Output {
    /// Returns an output in `format`.
    pub(crate) fn new(format: Format, no_color: bool) -> Self {
        let coloured = !no_color && io::stdout().is_terminal() && format == Format::Table;
        Self {
            format,
            paint: if coloured {
                Paint::Coloured
            } else {
                Paint::Plain
            },
        }
    }

    /// Returns the form.
    pub(crate) fn format(self) -> Format {
        self.format
    }

    /// Returns `text` in the colour of `tone`.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        self.paint.apply(tone, text)
    }

    /// Prints one line. A reader that went away is no error.
    pub(crate) fn line(self, text: &str) -> Result<(), Problem> {
        write(&mut io::stdout().lock(), &format!("{text}\n"))
    }

    /// Prints `items`, one row or object each, or `empty` when there is none.
    pub(crate) fn rows(
        self,
        columns: &[Column],
        items: &[Value],
        empty: &str,
    ) -> Result<(), Problem> {
        match self.format {
            Format::Json => self.line(&pretty(&Value::Array(items.to_vec()))),
            Format::Jsonl => items
                .iter()
                .try_for_each(|item| self.line(&item.to_canonical())),
            Format::Table if items.is_empty() => self.line(empty),
            Format::Table => {
                let lines = table(columns, items);
                let (heading, rows) = lines
                    .split_first()
                    .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
                self.line(&self.paint(Tone::Heading, heading))?;
                rows.iter().try_for_each(|row| self.line(row))
            }
        }
    }

    /// Prints one thing: JSON for programs, `text` for people.
    pub(crate) fn thing(self, item: &Value, text: &str) -> Result<(), Problem> {
        match self.format {
            Format::Json => self.line(&pretty(item)),
            Format::Jsonl => self.line(&item.to_canonical()),
            Format::Table => self.line(text.trim_end_matches('\n')),
        }
    }

    /// Prints one object: JSON for programs, a line per member for people.
    pub(crate) fn object(self, item: &Value) -> Result<(), Problem> {
        self.thing(item, &members(item))
    }
}

impl Paint {
    /// Returns `text` in the colour of `tone`.
    pub(crate) fn apply(self, tone: Tone, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Waiting => "33",
            Tone::Heading => "1",
            Tone::Quiet => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Prints `text` on standard error. Nothing can be done about an error there.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Returns `text` with control and direction characters made visible, for a terminal.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let code = u32::from(character);
        let hidden = character.is_control()
            || matches!(code, 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
                | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe01ef);
        if hidden {
            shown.push_str(&format!("\\u{{{code:x}}}"));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns `value` as indented JSON in which every hidden character is escaped.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    pretty_into(value, 0, &mut text);
    text
}

/// Returns the member at the dotted path `member` as text for one cell.
pub(crate) fn cell(item: &Value, member: &str) -> String {
    let found = member
        .split('.')
        .try_fold(item, |value, name| value.get(name));
    match found {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => visible(text),
        Some(value) => visible(&value.to_canonical()),
    }
}

/// Returns an object as a line per member.
pub(crate) fn members(item: &Value) -> String {
    let Some(members) = item.as_object() else {
        return visible(&item.to_canonical());
    };
    let width = members
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for name in members.keys() {
        text.push_str(&format!("{name:width$}  {}\n", cell(item, name)));
    }
    text
}

fn table(columns: &[Column], items: &[Value]) -> Vec<String> {
    let headings = columns
        .iter()
        .map(|column| column.heading.to_owned())
        .collect();
    let mut rows: Vec<Vec<String>> = vec![headings];
    for item in items {
        rows.push(
            columns
                .iter()
                .map(|column| cell(item, column.member))
                .collect(),
        );
    }
    let width = |place: usize| {
        rows.iter()
            .filter_map(|row| row.get(place))
            .map(|it| it.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

fn pretty_into(value: &Value, depth: usize, text: &mut String) {
    let indent = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(if place > 0 { "," } else { "" });
                indent(text, depth + 1);
                pretty_into(item, depth + 1, text);
            }
            indent(text, depth);
            text.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (place, (name, member)) in members.iter().enumerate() {
                text.push_str(if place > 0 { "," } else { "" });
                indent(text, depth + 1);
                text.push_str(&escaped(&Value::from(name.as_str())));
                text.push_str(": ");
                pretty_into(member, depth + 1, text);
            }
            indent(text, depth);
            text.push('}');
        }
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => text.push_str(&escaped(value)),
    }
}

/// Returns the canonical form with characters that a terminal hides written as `\uXXXX`.
fn escaped(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_canonical().chars() {
        if visible(character.encode_utf8(&mut [0; 4])).starts_with("\\u{") {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    text
}

fn write(stream: &mut impl Write, text: &str) -> Result<(), Problem> {
    let written = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::io("write to standard output", error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_hides_is_shown() {
        let check = |text, shown: &str| assert_eq!(visible(text), shown);
        check("plain text, äöü", "plain text, äöü");
        check("a\x1b[31mb", "a\\u{1b}[31mb");
        check("pay\u{202e}02", "pay\\u{202e}02");
        check("a\u{200b}b\n", "a\\u{200b}b\\u{a}");
    }

    #[test]
    fn printed_json_reads_back_the_same() {
        let value = Value::object([
            ("text", Value::from("a\u{202e}\u{e0001}\x1b\"")),
            (
                "list",
                Value::Array(vec![Value::Null, Value::Array(vec![]), Value::Bool(true)]),
            ),
        ]);
        let text = pretty(&value);
        assert!(!text.contains('\u{202e}') && !text.contains('\x1b'));
        assert_eq!(ambit_core::json::parse(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn columns_align() {
        let items = [
            Value::object([("task", Value::from("task_1")), ("state", "active".into())]),
            Value::object([("task", Value::from("t"))]),
        ];
        let columns = [
            Column {
                heading: "TASK",
                member: "task",
            },
            Column {
                heading: "STATE",
                member: "state",
            },
        ];
        assert_eq!(
            table(&columns, &items),
            ["TASK    STATE", "task_1  active", "t       -"]
        );
    }
}

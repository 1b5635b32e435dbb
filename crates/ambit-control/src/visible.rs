//! Text as people must see it: nothing hidden, nothing reordered, nothing pushed out of view.
//!
//! What an agent wants done is shown to a person who decides on it. Characters that a terminal or a
//! browser does not draw, draws elsewhere or obeys are written out, so that two texts that differ look different.

use std::fmt::Write;

use ambit_core::json::Value;

/// The most spaces in a row that are shown as they are.
const SPACES_SHOWN_MAX: usize = 3;

/// Returns `text` on one line with every hidden character as `\u{…}`, long runs of spaces as `\u{20 x40}`, and `\` as `\\`.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    each_run(text, |run| match run {
        Run::Shown('\\') => out.push_str("\\\\"),
        Run::Shown(character) => out.push(character),
        Run::Hidden('\n') => out.push_str("\\n"),
        Run::Hidden('\t') => out.push_str("\\t"),
        Run::Hidden(character) => {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        }
        Run::Spaces(count) => {
            let _ = write!(out, "\\u{{20 x{count}}}");
        }
    });
    out
}

/// Returns `value` as indented JSON, whole, in which every hidden character is a JSON escape: it is still
/// exactly that value.
pub fn visible_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, 0);
    out
}

enum Run {
    Shown(char),
    Hidden(char),
    Spaces(usize),
}

fn each_run(text: &str, mut give: impl FnMut(Run)) {
    let mut spaces = 0;
    for character in text.chars() {
        if character == ' ' {
            spaces += 1;
            continue;
        }
        give_spaces(spaces, &mut give);
        spaces = 0;
        give(if is_hidden(character) {
            Run::Hidden(character)
        } else {
            Run::Shown(character)
        });
    }
    give_spaces(spaces, &mut give);
}

fn give_spaces(count: usize, give: &mut impl FnMut(Run)) {
    if count > SPACES_SHOWN_MAX {
        return give(Run::Spaces(count));
    }
    for _ in 0..count {
        give(Run::Shown(' '));
    }
}

/// Says whether a reader could overlook the character or be misled by how it is drawn: controls, marks of
/// direction, characters without width, spaces that are no space, and code points without an agreed picture.
const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{a0}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{1680}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3000}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

fn write_value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            write_items(out, ('[', ']'), depth, items, |out, item| {
                write_value(out, item, depth + 1);
            });
        }
        Value::Object(members) if !members.is_empty() => {
            write_items(out, ('{', '}'), depth, members, |out, (name, value)| {
                write_text(out, name);
                out.push_str(": ");
                write_value(out, value, depth + 1);
            });
        }
        Value::String(text) => write_text(out, text),
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_) => out.push_str(&value.to_canonical()),
    }
}

fn write_items<T>(
    out: &mut String,
    (open, close): (char, char),
    depth: usize,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (place, item) in items.into_iter().enumerate() {
        out.push_str(if place > 0 { ",\n" } else { "\n" });
        out.push_str(&"  ".repeat(depth + 1));
        write(out, item);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push(close);
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    each_run(text, |run| match run {
        Run::Shown('"') => out.push_str("\\\""),
        Run::Shown('\\') => out.push_str("\\\\"),
        Run::Shown(character) => out.push(character),
        Run::Hidden('\n') => out.push_str("\\n"),
        Run::Hidden('\t') => out.push_str("\\t"),
        Run::Hidden(character) => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        Run::Spaces(count) => out.push_str(&"\\u0020".repeat(count)),
    });
    out.push('"');
}

#[cfg(test)]
mod tests {
    use ambit_core::json;

    use super::*;

    #[test]
    fn nothing_stays_hidden() {
        let check = |text: &str, expected: &str| assert_eq!(visible(text), expected);
        check(
            "plain text, größer, 日本語, 🦀",
            "plain text, größer, 日本語, 🦀",
        );
        check("to \u{202e}moc.live@a", "to \\u{202e}moc.live@a");
        check("pay\u{200b}pal", "pay\\u{200b}pal");
        check("\u{1b}[2Kdone\r", "\\u{1b}[2Kdone\\u{d}");
        check("one\ntwo\tthree", "one\\ntwo\\tthree");
        check("a   b", "a   b");
        check("a    b", "a\\u{20 x4}b");
        check(&format!("ls{};rm", " ".repeat(400)), "ls\\u{20 x400};rm");
        check("tag\u{e0041}", "tag\\u{e0041}");
        check("no\u{a0}break\u{feff}", "no\\u{a0}break\\u{feff}");
        check("\\u{202e}", "\\\\u{202e}");
    }

    #[test]
    fn json_shows_everything_and_stays_the_same_value() {
        let text = "{\"a\":[1,\"x\u{202e}y\",{}],\"b\":\"    \",\"c\":\"\u{e0041}\\\\\\\"\u{7f}\",\"\u{200b}\":1.5}";
        let value = json::parse(text.as_bytes()).unwrap();
        let shown = visible_json(&value);
        assert_eq!(json::parse(shown.as_bytes()).unwrap(), value);
        insta::assert_snapshot!(shown, @r#"
        {
          "a": [
            1,
            "x\u202ey",
            {}
          ],
          "b": "\u0020\u0020\u0020\u0020",
          "c": "\udb40\udc41\\\"\u007f",
          "\u200b": 1.5
        }
        "#);
    }

    proptest::proptest! {
        #[test]
        fn different_texts_look_different(left: String, right: String) {
            proptest::prop_assert_eq!(visible(&left) == visible(&right), left == right);
            proptest::prop_assert!(visible(&left).chars().all(|it| !is_hidden(it)));
            let value = Value::from(left);
            proptest::prop_assert_eq!(json::parse(visible_json(&value).as_bytes()).unwrap(), value);
        }
    }
}

//! The canonical encoding of RFC 8785 (JCS).

use super::Value;

/// Encodes `value` as RFC 8785 says.
pub(super) fn encode(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    write_value(&mut out, value);
    out
}

pub(super) fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Integer(number) => write_integer(out, *number),
        Value::Number(number) => out.push_str(ryu_js::Buffer::new().format(*number)),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => write_list(out, '[', ']', items, write_value),
        Value::Object(members) => write_object(out, members),
    }
}

fn write_object(out: &mut String, members: &std::collections::BTreeMap<String, Value>) {
    let member = |out: &mut String, (name, value): (&String, &Value)| {
        write_string(out, name);
        out.push(':');
        write_value(out, value);
    };
    // Byte order and UTF-16 order (RFC 8785 §3.2.3) differ only beyond the surrogates' place.
    if members.keys().all(|name| name.is_ascii()) {
        return write_list(out, '{', '}', members, member);
    }
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    write_list(out, '{', '}', sorted, member);
}

fn write_list<T>(
    out: &mut String,
    open: char,
    close: char,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(close);
}

fn write_integer(out: &mut String, number: i64) {
    use std::fmt::Write;
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{number}");
}

fn write_string(out: &mut String, text: &str) {
    use std::fmt::Write;
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    out.push('"');
    // A block is looked at to its end, so that the processor compares its bytes side by side.
    let all_plain = |block: &[u8]| block.iter().fold(true, |all, byte| all & is_plain(*byte));
    if text.as_bytes().chunks(BLOCK_BYTES).all(all_plain) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

/// How many bytes of a text are looked at together.
const BLOCK_BYTES: usize = 64;

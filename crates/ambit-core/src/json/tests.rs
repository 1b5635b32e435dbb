use proptest::prelude::*;

use super::*;
use crate::limits::{JSON_BYTES_MAX, JSON_DEPTH_MAX};

/// Reads `text` and compares its canonical form, or that it is refused.
#[track_caller]
fn check(text: &str, canonical: Result<&str, &str>) {
    match (parse(text.as_bytes()), canonical) {
        (Ok(value), Ok(expect)) => assert_eq!(value.to_canonical(), expect),
        (Err(error), Err(part)) => {
            let shown = format!("{error}");
            assert!(shown.contains(part), "`{shown}` does not say `{part}`");
        }
        (got, expect) => panic!("{text}: got {got:?}, expected {expect:?}"),
    }
}

#[test]
fn the_same_value_has_the_same_bytes() {
    check(
        r#" { "b" : 1 , "a" : [ true , null ] } "#,
        Ok(r#"{"a":[true,null],"b":1}"#),
    );
    check("1.0", Ok("1"));
    check("1e3", Ok("1000"));
    check("-0.0", Ok("0"));
    check("0.1", Ok("0.1"));
    check("4.50", Ok("4.5"));
    check("2e-3", Ok("0.002"));
    check("1e-7", Ok("1e-7"));
    check(
        r#""\u20ac\u000f\nA'\u0042\"\\\/""#,
        Ok(r#""€\u000f\nA'B\"\\/""#),
    );
}

#[test]
fn what_must_be_escaped_is_found_wherever_it_stands() {
    for length in [1, 2, 63, 64, 65, 127, 128, 129] {
        for place in 0..length {
            let mut text = vec![b'x'; length];
            text[place] = b'"';
            let text = String::from_utf8(text).unwrap();
            let expected = format!("\"{}\"", text.replace('"', "\\\""));
            assert_eq!(
                Value::from(text).to_canonical(),
                expected,
                "{place} of {length}"
            );
        }
    }
}

/// The order of RFC 8785 §3.2.3's own example, which byte order would get wrong.
#[test]
fn names_sort_by_utf_16_units() {
    check(
        "{\"\u{fb33}\":1,\"\u{1f600}\":2,\"€\":3}",
        Ok("{\"€\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"),
    );
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    check(r#"{"a":1,"a":2}"#, Err("stands twice"));
    check(r#"{"a":1,"\u0061":2}"#, Err("stands twice"));
    check("9007199254740991", Ok("9007199254740991"));
    check("9007199254740992", Err("2^53"));
    check("-9007199254740992", Err("2^53"));
    check("18446744073709551616", Err("2^53"));
    check("1e400", Err("refused"));
    check(r#""\ud800""#, Err("refused"));
    check("[1] 2", Err("trailing"));
    check("", Err("refused"));
    assert!(parse(b"\"\xff\"").is_err(), "invalid UTF-8");
    assert!(parse(b"\xef\xbb\xbf1").is_err(), "a byte order mark");
}

/// Tokens' numbers are integers as written, at any depth.
#[test]
fn where_only_integers_are_read_no_other_spelling_passes() {
    for text in ["0", "-1", r#"{"exp":[9007199254740991,"1.0"]}"#] {
        assert!(parse_integers(text.as_bytes(), 64).is_ok(), "{text}");
    }
    for text in [
        "1.0",
        "1e3",
        "-0",
        r#"{"a":[{"exp":1.0}]}"#,
        "9007199254740992",
    ] {
        assert!(parse_integers(text.as_bytes(), 64).is_err(), "{text}");
    }
}

/// What others say beside what is asked keeps how it is written, and still has one reading.
#[test]
fn where_numbers_are_read_as_written_an_integer_is_one() {
    let read = |text: &str| parse_as_written(text.as_bytes(), 64);
    for (text, wanted) in [
        ("0", Value::Integer(0)),
        ("9007199254740991", Value::Integer(INTEGER_MAX)),
        ("9007199254740992", Value::Number(9_007_199_254_740_992.0)),
        ("-9007199254740992", Value::Number(-9_007_199_254_740_992.0)),
        (
            "18446744073709551615",
            Value::Number(18_446_744_073_709_551_615.0),
        ),
        (
            "18446744073709551616",
            Value::Number(18_446_744_073_709_551_616.0),
        ),
        ("0.5", Value::Number(0.5)),
        ("1.0", Value::Number(1.0)),
        ("1e3", Value::Number(1000.0)),
        ("-0", Value::Number(-0.0)),
    ] {
        assert_eq!(read(text).unwrap(), wanted, "{text}");
    }
    for text in ["1e400", r#"{"a":0.5,"a":1}"#, r#""\ud800""#, "[1] 2", ""] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn nesting_ends_at_its_maximum() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
    check(&nested(JSON_DEPTH_MAX + 1), Err("deeper"));
}

#[test]
fn length_ends_at_its_maximum() {
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert!(parse(text(JSON_BYTES_MAX).as_bytes()).is_ok());
    assert!(parse(text(JSON_BYTES_MAX + 1).as_bytes()).is_err());
    assert!(parse_bounded(b"[1,2]", 5).is_ok());
    assert!(matches!(
        parse_bounded(b"[1,2]", 4),
        Err(JsonError::TooLong {
            bytes: 5,
            bytes_max: 4
        })
    ));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Integer),
        (-1e15f64..1e15).prop_map(|it| if it.fract() == 0.0 {
            Value::Integer(it as i64)
        } else {
            Value::Number(it)
        }),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_read_back_as_the_same_value(value in any_value()) {
        let bytes = value.to_canonical();
        let again = parse(bytes.as_bytes()).unwrap();
        prop_assert_eq!(again.to_canonical(), bytes);
        prop_assert_eq!(again, value);
    }
}

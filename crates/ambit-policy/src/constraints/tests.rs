use std::collections::BTreeMap;

use ambit_core::{
    estate::{ArgumentPath, Constraint, Prefix},
    json::{Value, parse},
};
use proptest::prelude::*;

use super::{broken_bounds, location::LOCATION_BYTES_MAX, path_is_under, url_is_under};

fn kept(path: &str, constraint: Constraint, arguments: &str) -> bool {
    let constraints = BTreeMap::from([(ArgumentPath::parse(path), constraint)]);
    let parameters = BTreeMap::from([
        ("number".to_owned(), Value::Integer(7)),
        ("text".to_owned(), "7".into()),
    ]);
    let arguments = parse(arguments.as_bytes()).unwrap();
    broken_bounds(&constraints, &arguments, &parameters).is_empty()
}

#[test]
fn paths_into_arguments() {
    let equals = |name: &str| Constraint::EqualsParameter(name.to_owned());
    for (path, arguments, expected) in [
        ("a", r#"{"a":7}"#, true),
        ("a", r#"{"a":"7"}"#, false),
        ("a", r#"{"a":7.0}"#, true),
        ("a", r#"{"a":7.5}"#, false),
        ("a", r#"{"a":[7]}"#, false),
        ("a", r#"{"b":7}"#, false),
        ("a", "[7]", false),
        ("a.b", r#"{"a":{"b":7}}"#, true),
        ("a.b", r#"{"a":{}}"#, false),
        ("a.b", r#"{"a":7}"#, false),
        ("a[]", r#"{"a":[7,7]}"#, true),
        ("a[]", r#"{"a":[7,8]}"#, false),
        ("a[]", r#"{"a":[]}"#, true),
        ("a[]", r#"{"a":7}"#, false),
        ("a[]", "{}", false),
        ("a[].b", r#"{"a":[{"b":7},{"b":7}]}"#, true),
        ("a[].b", r#"{"a":[{"b":7},{}]}"#, false),
        ("a[].b", r#"{"a":[{"b":7},7]}"#, false),
        ("a[].b[]", r#"{"a":[{"b":[7]},{"b":[]}]}"#, true),
        ("a[].b[]", r#"{"a":[{"b":[7]},{"b":[8]}]}"#, false),
    ] {
        assert_eq!(
            kept(path, equals("number"), arguments),
            expected,
            "{path} {arguments}"
        );
    }
    assert!(!kept("a", equals("unheard-of"), r#"{"a":null}"#));
}

#[test]
fn each_kind_of_constraint() {
    let between = |min, max| Constraint::Between { min, max };
    let one_of = || Constraint::OneOf(vec![Value::Integer(1), "a".into(), Value::Null]);
    for (constraint, arguments, expected) in [
        (between(Some(1.0), Some(2.0)), r#"{"a":1}"#, true),
        (between(Some(1.0), Some(2.0)), r#"{"a":2}"#, true),
        (between(Some(1.0), Some(2.0)), r#"{"a":2.0001}"#, false),
        (between(Some(1.0), Some(2.0)), r#"{"a":0.9999}"#, false),
        (between(Some(1.0), Some(2.0)), r#"{"a":"1"}"#, false),
        (between(Some(1.0), None), r#"{"a":9007199254740991}"#, true),
        (between(None, Some(2.0)), r#"{"a":-9007199254740991}"#, true),
        (between(None, None), r#"{"a":true}"#, false),
        (between(Some(f64::NAN), None), r#"{"a":1}"#, false),
        (one_of(), r#"{"a":1}"#, true),
        (one_of(), r#"{"a":"1"}"#, false),
        (one_of(), r#"{"a":null}"#, true),
        (one_of(), "{}", false),
        (Constraint::BytesMax(2), r#"{"a":"xx"}"#, true),
        (Constraint::BytesMax(2), r#"{"a":"xxx"}"#, false),
        (Constraint::BytesMax(2), r#"{"a":"é"}"#, true),
        (Constraint::BytesMax(2), r#"{"a":"éx"}"#, false),
        (Constraint::BytesMax(2), r#"{"a":1}"#, false),
        (Constraint::Absent, "{}", true),
        (Constraint::Absent, r#"{"a":null}"#, false),
        (Constraint::Absent, "[]", false),
        (
            Constraint::PathUnder(Prefix::Literal("/a".to_owned())),
            r#"{"a":"/a/b"}"#,
            true,
        ),
        (
            Constraint::PathUnder(Prefix::Literal("/a".to_owned())),
            r#"{"a":["/a/b"]}"#,
            false,
        ),
        (
            Constraint::PathUnder(Prefix::Parameter("no".to_owned())),
            r#"{"a":"/a"}"#,
            false,
        ),
        (
            Constraint::PathUnder(Prefix::Parameter("number".to_owned())),
            r#"{"a":"/a"}"#,
            false,
        ),
    ] {
        let name = format!("{constraint:?} {arguments}");
        assert_eq!(kept("a", constraint, arguments), expected, "{name}");
    }
}

#[test]
fn nasty_paths() {
    for text in [
        "/srv/docs",
        "/srv/docs/",
        "/srv/docs/a",
        "/srv/docs/a b/ç.txt",
        "/srv/docs/100%.txt",
    ] {
        assert!(path_is_under(text, "/srv/docs"), "{text}");
        assert!(path_is_under(text, "/srv/docs/"), "{text}");
        assert!(path_is_under(text, "/"), "{text}");
    }
    for text in [
        "",
        "/",
        "srv/docs/a",
        "./srv/docs/a",
        "~/srv/docs",
        "/srv",
        "/srv/docs2",
        "/srv/docsx/a",
        "/srv/docs/..",
        "/srv/docs/../x",
        "/srv/docs/./a",
        "/srv/docs/a/../../x",
        "/srv//docs/a",
        "//srv/docs/a",
        "/srv/docs//a",
        "/srv/docs/a//",
        "/srv/docs/.",
        "/srv/docs/.. /x",
        "/srv/docs/ ..",
        "/srv/docs/..;/x",
        "/srv/docs/..;a=b/x",
        "/srv/docs/ /a",
        "/srv/docs/%2e%2e/x",
        "/srv/docs/%2E%2E/x",
        "/srv/docs/.%2e/x",
        "/srv/docs/%2fx",
        "/srv/docs/%5cx",
        "/srv/docs/%252e%252e/x",
        "/srv/docs/%00",
        "/srv/docs/a%0ab",
        "/srv/docs\\..\\x",
        "/srv/docs/..\\x",
        "\\srv\\docs",
        "C:/srv/docs",
        "file:///srv/docs/a",
        "/srv/docs/a\0b",
        "/srv/docs/a\nb",
        "/srv/docs/a\tb",
        "/srv/docs/\u{7f}",
        "/srv/docs/\u{ff0e}\u{ff0e}/x",
        "/srv/docs/\u{2025}/x",
        "/srv/docs\u{ff0f}..\u{ff0f}x",
        "/srv/docs/\u{200b}../x",
        "/srv/docs/.\u{200b}./x",
        "/srv/docs/\u{202e}x",
        "/srv/docs/a\u{2215}b",
        "/SRV/docs/a",
        " /srv/docs/a",
        "/srv/docs/..%c0%af",
    ] {
        assert!(!path_is_under(text, "/srv/docs"), "{text:?}");
    }
    for prefix in ["", "srv", "/srv/..", "//", "/srv//docs"] {
        assert!(!path_is_under("/srv/docs/a", prefix), "{prefix}");
    }
    let at = format!("/{}", "x".repeat(LOCATION_BYTES_MAX - 1));
    assert!(path_is_under(&at, "/"));
    assert!(!path_is_under(&format!("{at}x"), "/"));
}

#[test]
fn nasty_urls() {
    let prefix = "https://api.example/v1";
    for text in [
        "https://api.example/v1",
        "https://api.example/v1/",
        "https://api.example/v1/a/b",
        "https://api.example:443/v1/a",
        "HTTPS://API.example/v1/a",
        "https://api.example/v1/a?x=%2F..",
        "https://api.example/v1/a%20b",
    ] {
        assert!(url_is_under(text, prefix), "{text}");
        assert!(url_is_under(text, "https://api.example"), "{text}");
    }
    for text in [
        "",
        "/v1/a",
        "//api.example/v1/a",
        "http://api.example/v1/a",
        "https://api.example/v2",
        "https://api.example/v10",
        "https://api.example:444/v1/a",
        "https://api.example:99999/v1/a",
        "https://api.example.evil/v1/a",
        "https://evil/api.example/v1",
        "https://api.example./v1/a",
        "https://api.example@evil/v1/a",
        "https://user@api.example/v1/a",
        "https://u:p@api.example/v1/a",
        "https://@api.example/v1/a",
        "https://evil\\@api.example/v1/a",
        "https:\\\\api.example\\v1\\a",
        "https:/api.example/v1/a",
        "https:api.example/v1/a",
        "https:///api.example/v1/a",
        "https://api.example/v1/../v2",
        "https://api.example/v1/%2e%2e/v2",
        "https://api.example/v1/.%2E/v2",
        "https://api.example/v1/..;/v2",
        "https://api.example/v1/..%2fv2",
        "https://api.example/v1/..%5cv2",
        "https://api.example/v1//a",
        "https://api.example//v1/a",
        "https://api.example/v1/./a",
        "https://api.example/v1/%252e%252e/v2",
        "https://api.example/v1/a%00",
        "https://api.example/v1/a#x",
        "https://api.example/v1/a?x=%0d%0aHost:evil",
        "https://api.example/%76%31/a",
        "https://api.example/V1/a",
        " https://api.example/v1/a",
        "https://api.example/v1/a b",
        "https://api.example/v1/\u{ff0e}\u{ff0e}/a",
        "https://api%2eexample/v1/a",
        "https://api.ex\u{e4}mple/v1/a",
        "https://api.example\t/v1/a",
        "https://[::1]/v1/a",
        "javascript:https://api.example/v1/a",
        "file://api.example/v1/a",
        "https://api.example/v1/%",
        "https://api.example/v1/%zz",
        "view-source:https://api.example/v1/a",
    ] {
        assert!(!url_is_under(text, prefix), "{text:?}");
    }
}

#[test]
fn a_url_prefix_is_a_plain_url() {
    for prefix in [
        "https://api.example/v1?x",
        "api.example",
        "https://u@api.example/v1",
        "",
    ] {
        assert!(
            !url_is_under("https://api.example/v1/a", prefix),
            "{prefix}"
        );
    }
}

proptest! {
    #[test]
    fn a_path_under_a_longer_prefix_is_under_a_shorter_one(
        segments in proptest::collection::vec("[a-z.%;/ ]{0,4}", 0..6),
        long in 0_usize..6,
        short in 0_usize..6,
    ) {
        let join = |count: usize| format!("/{}", segments.iter().take(count).cloned().collect::<Vec<_>>().join("/"));
        let text = join(segments.len());
        let (short, long) = (join(short.min(long)), join(long));
        if path_is_under(&text, &long) && path_is_under(&long, &short) {
            prop_assert!(path_is_under(&text, &short));
        }
    }

    #[test]
    fn whatever_is_under_resolves_under(tail in "[a-z./;%\\\\ ]{0,12}") {
        let text = format!("/srv/docs{tail}");
        if path_is_under(&text, "/srv/docs") {
            // As a file system resolves it, segment by segment.
            let mut resolved: Vec<&str> = Vec::new();
            for segment in text.split('/').filter(|it| !it.is_empty() && *it != ".") {
                if segment == ".." {
                    resolved.pop();
                } else {
                    resolved.push(segment);
                }
            }
            prop_assert!(resolved.starts_with(&["srv", "docs"]));
        }
    }

    #[test]
    fn narrower_bounds_never_let_more_through(
        number in -20_i64..20, min in -9_i32..9, max in -9_i32..9, by in 0_i32..9,
    ) {
        let arguments = format!(r#"{{"a":{number}}}"#);
        let between = |min: i32, max: i32| Constraint::Between { min: Some(min.into()), max: Some(max.into()) };
        if kept("a", between(min + by, max - by), &arguments) {
            prop_assert!(kept("a", between(min, max), &arguments));
        }
    }

    #[test]
    fn nothing_panics(text in any::<String>(), prefix in any::<String>()) {
        let _ = path_is_under(&text, &prefix);
        let _ = url_is_under(&text, &prefix);
    }
}

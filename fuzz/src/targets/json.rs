//! JSON with one reading: what is read and written again is a fixed point.

use ambit_core::json::parse;

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "json",
    run,
    seeds,
    words: &[
        "null",
        "true",
        "false",
        "\\u0000",
        "\\ud83d\\ude00",
        "1e3",
        "-0",
        "9007199254740991",
        "0.1",
        "5e-324",
        "[[[[",
        "{\"a\":",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(value) = parse(bytes) else { return };
    let text = value.to_canonical();
    let again = parse(text.as_bytes()).expect("canonical JSON is JSON");
    assert_eq!(again, value, "another reading of {text}");
    assert_eq!(again.to_canonical(), text, "not a fixed point");
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"a":[1,2.5,-3e2,null,true,false],"b":{"":"\u00e9\n\"\\/"}}"#,
        "[9007199254740991,-9007199254740991,0.1,1e-7,1E21]",
        "\"\\ud83d\\ude00 \u{20ac} \\b\\f\\n\\r\\t\"",
        " [ ] ",
        "-0.0",
        "9007199254740993",
        "{\"a\":1,\"a\":2}",
        "[[[[[[[[]]]]]]]]",
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}

//! Authorization details (RFC 9396) that name a part of a task: what is read can be written and read again.

use ambit_core::{json, limits::PART_BYTES_MAX};
use ambit_policy::{PartAsk, part_details};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "details",
    run,
    seeds,
    words: &[
        "{\"type\":\"ambit_task\",",
        "\"server\":\"tickets\"",
        "\"actions\":[\"get_ticket\"]",
        "\"datatypes\":[\"tools\",\"resources\",\"prompts\"]",
        "\"constraints\":{\"id\":{\"equals\":",
        "\"one_of\":[",
        "\"min\":1,\"max\":2",
        "\"path_under\":\"/\"",
        "\"approval\":\"held\"",
        "\"calls_max\":1",
        "\"may_emit\":[\"customer\"]",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(value) = json::parse_bounded(bytes, PART_BYTES_MAX) else {
        return;
    };
    let Ok(ask) = PartAsk::from_details(&value) else {
        return;
    };
    let Some(part) = ask.whole() else {
        return;
    };
    let details = part_details(&part);
    let again = PartAsk::from_details(&details).expect("a part reads back");
    assert_eq!(again.whole().as_ref(), Some(&part));
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"[{"type":"ambit_task","calls_max":3,"may_emit":["customer"]},{"type":"ambit_task","server":"tickets","mode":"read","datatypes":["tools","resources","prompts"]}]"#,
        r#"[{"type":"ambit_task","calls_max":3,"may_emit":[]},{"type":"ambit_task","server":"tickets","actions":["close_ticket"],"constraints":{"id":{"one_of":["T-1"]},"cents":{"min":1,"max":2.5}},"approval":"held","calls_max":1}]"#,
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}

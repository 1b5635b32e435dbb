//! Server-sent events: the same wherever the stream is cut.

use ambit_gateway::reading;

use crate::{Target, pieces};

pub(super) const TARGET: Target = Target {
    name: "events",
    run,
    seeds,
    words: &[
        "data:",
        "data: ",
        "\r\n",
        "\n\n",
        "\r\r",
        "event: message\n",
        "id: 1\n",
        "\u{feff}",
    ],
};

fn run(bytes: &[u8]) {
    let whole = reading::events([bytes]);
    let cut = reading::events(pieces(bytes));
    let single = reading::events(bytes.chunks(1));
    assert_eq!(whole, cut, "a cut changes the events");
    assert_eq!(whole, single, "a cut changes the events");
    for event in whole.iter().flatten() {
        assert!(
            !event.is_empty() && !event.contains(&b'\r'),
            "no data of an event"
        );
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":1}\n\n",
        ": hello\n\nid: 1\nevent: message\ndata: x\n\n",
        "data: a\rdata: b\r\r",
        "data:a\r\ndata:\r\n\r\n",
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}

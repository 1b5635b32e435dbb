//! Heads of requests: two lengths are seen wherever the connection is cut.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use ambit_gateway::{Framing, Heard, Watched};
use tokio::io::{AsyncRead, ReadBuf, join, sink};

use crate::{Target, pieces};

pub(super) const TARGET: Target = Target {
    name: "framing",
    run,
    seeds,
    words: &[
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "POST /mcp HTTP/1.1\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "\r\n\r\n",
        "Host: a\r\n",
    ],
};

fn run(bytes: &[u8]) {
    let whole = framing(bytes, [bytes.len().max(1)].into_iter());
    let cut = framing(bytes, pieces(bytes).map(<[u8]>::len));
    let single = framing(bytes, std::iter::repeat(1));
    assert_eq!(whole, cut, "a cut hides a length");
    assert_eq!(whole, single, "a cut hides a length");
}

/// Reads `bytes` through the watch, so much at a time as `lengths` say.
fn framing(bytes: &[u8], lengths: impl Iterator<Item = usize>) -> Framing {
    let heard = Arc::<Heard>::default();
    let mut watched = Watched::new(join(bytes, sink()), Arc::clone(&heard));
    let mut context = Context::from_waker(Waker::noop());
    for length in lengths {
        let mut room = vec![0; length];
        let mut buffer = ReadBuf::new(&mut room);
        let polled = Pin::new(&mut watched).poll_read(&mut context, &mut buffer);
        assert!(polled.is_ready(), "bytes in memory are there");
        if buffer.filled().is_empty() {
            break;
        }
    }
    heard.framing()
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /mcp HTTP/1.1\nContent-Length: 5\nContent-Length: 6\n\nhello",
        "CONNECT a:1 HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n",
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}

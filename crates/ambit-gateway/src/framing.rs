//! Watching the heads of requests for bodies with two lengths, and for bodies that have not come whole.
//!
//! The HTTP library drops `Content-Length` beside `Transfer-Encoding` before anybody sees it. Who stands in front of the
//! door may have read the other one (request smuggling, RFC 9112, 6.1): such a request is refused.
//!
//! Nor does it say beforehand that a connection ends with an answer to a request that was not read to its end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::parting::Parting;

/// A connection whose heads are watched, and whose peer hears its end.
#[derive(Debug)]
pub struct Watched<T: AsyncRead + AsyncWrite + Unpin> {
    io: T,
    watch: Watch,
    heard: Arc<Heard>,
    parting: Parting,
}

/// What came in on a connection, as far as answers depend on it. It is up to date before anybody sees a request.
#[derive(Debug, Default)]
pub struct Heard {
    is_ambiguous: AtomicBool,
    is_awaited: AtomicBool,
}

/// Whether the last request has arrived to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// It has.
    Whole,
    /// More of it may come: nothing else can be read on this connection.
    Awaited,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Watched<T> {
    /// Watches `io`, and tells `heard`.
    pub fn new(io: T, heard: Arc<Heard>) -> Self {
        Self {
            io,
            watch: Watch::default(),
            heard,
            parting: Parting::default(),
        }
    }
}

impl Heard {
    /// Says whether the body of some request had two lengths.
    pub fn framing(&self) -> Framing {
        match self.is_ambiguous.load(Ordering::Acquire) {
            true => Framing::Ambiguous,
            false => Framing::Plain,
        }
    }

    /// Says whether the last request is here.
    pub fn arrival(&self) -> Arrival {
        match self.is_awaited.load(Ordering::Acquire) {
            true => Arrival::Awaited,
            false => Arrival::Whole,
        }
    }
}

/// Where in a connection the next byte stands. After a request with `Transfer-Encoding`, or a CONNECT that is refused, the
/// connection carries no other one, and after a CONNECT it carries no HTTP: nothing is watched then.
#[derive(Debug, Default)]
struct Watch {
    place: Place,
    line: Vec<u8>,
    has_request_line: bool,
    is_connect: bool,
    length: Option<u64>,
    has_encoding: bool,
}

/// Whether a body has one length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// It has.
    Plain,
    /// It has two: answer 400 and nothing else.
    Ambiguous,
}

#[derive(Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Head,
    Body(u64),
    Unwatched,
    /// After a CONNECT.
    Tunnel,
}

impl Watch {
    /// Takes the next bytes; says whether a head among them gives its body two lengths.
    fn take(&mut self, mut bytes: &[u8]) -> Framing {
        let mut framing = Framing::Plain;
        while !bytes.is_empty() {
            match self.place {
                Place::Unwatched | Place::Tunnel => return framing,
                Place::Body(left) => {
                    let skipped = left.min(bytes.len() as u64);
                    let rest = usize::try_from(skipped).unwrap_or(bytes.len());
                    bytes = bytes.get(rest..).unwrap_or_default();
                    self.place = match left - skipped {
                        0 => Place::Head,
                        left => Place::Body(left),
                    };
                }
                Place::Head => {
                    let mut halves = bytes.splitn(2, |it| *it == b'\n');
                    let piece = halves.next().unwrap_or_default();
                    let kept = LINE_KEPT_BYTES_MAX.saturating_sub(self.line.len());
                    self.line.extend(piece.iter().take(kept));
                    let Some(rest) = halves.next() else {
                        return framing;
                    };
                    bytes = rest;
                    if self.end_line() == Framing::Ambiguous {
                        framing = Framing::Ambiguous;
                    }
                }
            }
        }
        framing
    }

    fn end_line(&mut self) -> Framing {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return self.end_head();
        }
        if !std::mem::replace(&mut self.has_request_line, true) {
            self.is_connect = line.starts_with(b"CONNECT ");
            return Framing::Plain;
        }
        let mut halves = line.splitn(2, |it| *it == b':');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.has_encoding = true;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value)
                .ok()
                .and_then(|it| it.parse().ok());
            // One that can't be read here might be read elsewhere.
            if length.is_none() || self.length.is_some_and(|it| Some(it) != length) {
                self.place = Place::Unwatched;
                return Framing::Ambiguous;
            }
            self.length = length;
        }
        Framing::Plain
    }

    fn end_head(&mut self) -> Framing {
        if !self.has_request_line {
            return Framing::Plain; // Empty lines before a request are skipped.
        }
        let head = std::mem::take(self);
        self.place = match head.length {
            _ if head.is_connect => Place::Tunnel,
            _ if head.has_encoding => Place::Unwatched,
            None | Some(0) => Place::Head,
            Some(length) => Place::Body(length),
        };
        if head.has_encoding && head.length.is_some() {
            return Framing::Ambiguous;
        }
        Framing::Plain
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if self.watch.take(fresh) == Framing::Ambiguous {
            self.heard.is_ambiguous.store(true, Ordering::Release);
        }
        let is_awaited = self.watch.place != Place::Head;
        self.heard.is_awaited.store(is_awaited, Ordering::Release);
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.watch.place {
            // What still comes is the other end's of the tunnel.
            Place::Tunnel => this.parting.poll_said(&mut this.io, context),
            Place::Head | Place::Body(_) | Place::Unwatched => {
                this.parting.poll(&mut this.io, context)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Drop for Watched<T> {
    fn drop(&mut self) {
        self.parting.say_now(&mut self.io);
    }
}

/// How much of one line of a head is looked at, in bytes: enough for the two names and a number.
const LINE_KEPT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Whoever answers before the end of a request says so by what has come of it.
    #[tokio::test]
    async fn what_has_come_whole_is_told_from_what_is_awaited() {
        let check = async |text: &str, expected: Arrival| {
            let (mut client, server) = duplex(4096);
            let heard = Arc::default();
            let mut watched = Watched::new(server, Arc::clone(&heard));
            client.write_all(text.as_bytes()).await.unwrap();
            let mut read = vec![0; text.len()];
            watched.read_exact(&mut read).await.unwrap();
            assert_eq!(heard.arrival(), expected, "{text}");
        };
        let head = |headers: &str| format!("POST / HTTP/1.1\r\n{headers}\r\n");
        let five = head("Content-Length: 5\r\n");
        for (text, expected) in [
            (head(""), Arrival::Whole),
            (head("Content-Length: 0\r\n"), Arrival::Whole),
            (five.clone() + "hello", Arrival::Whole),
            (five.clone() + "hell", Arrival::Awaited),
            (five.clone(), Arrival::Awaited),
            (five.clone() + "hello" + &five, Arrival::Awaited),
            // Where such a body ends is not watched.
            (
                head("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
                Arrival::Awaited,
            ),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n".to_owned(), Arrival::Awaited),
        ] {
            check(&text, expected).await;
        }
    }

    #[test]
    fn two_lengths_are_seen_wherever_they_stand_and_however_they_are_cut() {
        let (length, coding) = ("Content-Length: 5\r\n", "transfer-ENCODING: chunked\r\n");
        let head = |headers: &str| format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let both = head(&format!("{coding}{length}"));
        for (text, expected) in [
            (head(length) + "hello", Framing::Plain),
            (head(coding) + "5\r\nhello\r\n0\r\n\r\n", Framing::Plain),
            (head(length) + "a\r\n\r\n" + &head(length), Framing::Plain),
            (head(&format!("{length}{length}")), Framing::Plain),
            // What looks like a head inside of a body is none.
            (
                head(&format!("Content-Length: {}\r\n", both.len())) + &both,
                Framing::Plain,
            ),
            (
                "CONNECT a:1 HTTP/1.1\r\n\r\n".to_owned() + &both,
                Framing::Plain,
            ),
            (both.clone(), Framing::Ambiguous),
            (head(&format!("{length}{coding}")), Framing::Ambiguous),
            (both.replace('\r', ""), Framing::Ambiguous),
            (head(length) + "hello" + &both, Framing::Ambiguous),
            (head("") + "\r\n" + &both, Framing::Ambiguous),
            (
                head(&format!("{length}Content-Length: 6\r\n")),
                Framing::Ambiguous,
            ),
            (head("Content-Length: five\r\n"), Framing::Ambiguous),
        ] {
            for cut in 1..=text.len() {
                let mut watch = Watch::default();
                let pieces = text.as_bytes().chunks(cut);
                let seen = pieces.map(|it| watch.take(it)).collect::<Vec<_>>();
                let ambiguous = seen.contains(&Framing::Ambiguous);
                assert_eq!(ambiguous, expected == Framing::Ambiguous, "{cut}: {text}");
            }
        }
    }
}

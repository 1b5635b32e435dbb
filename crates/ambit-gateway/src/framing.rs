//! Watching the heads of requests for bodies with two lengths.
//!
//! The HTTP library drops `Content-Length` beside `Transfer-Encoding` before anybody sees it. Who stands in front of the
//! door may have read the other one (request smuggling, RFC 9112, 6.1): such a request is refused.

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

/// A connection whose heads are watched.
#[derive(Debug)]
pub struct Watched<T> {
    io: T,
    watch: Watch,
    ambiguous: Arc<AtomicBool>,
}

impl<T> Watched<T> {
    /// Watches `io`; sets `ambiguous` before a request whose body has two lengths can be seen by anybody.
    pub fn new(io: T, ambiguous: Arc<AtomicBool>) -> Self {
        Self {
            io,
            watch: Watch::default(),
            ambiguous,
        }
    }
}

/// Where in a connection the next byte stands. After a request with `Transfer-Encoding`, the connection carries no other
/// one, and after CONNECT it carries no HTTP: nothing is watched then.
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
enum Framing {
    Plain,
    Ambiguous,
}

#[derive(Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Head,
    Body(u64),
    Unwatched,
}

impl Watch {
    /// Takes the next bytes; says whether a head among them gives its body two lengths.
    fn take(&mut self, mut bytes: &[u8]) -> Framing {
        let mut framing = Framing::Plain;
        while !bytes.is_empty() {
            match self.place {
                Place::Unwatched => return framing,
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
            _ if head.has_encoding || head.is_connect => Place::Unwatched,
            None | Some(0) => Place::Head,
            Some(length) => Place::Body(length),
        };
        if head.has_encoding && head.length.is_some() {
            return Framing::Ambiguous;
        }
        Framing::Plain
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if self.watch.take(fresh) == Framing::Ambiguous {
            self.ambiguous.store(true, Ordering::Release);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
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

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
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

/// How much of one line of a head is looked at, in bytes: enough for the two names and a number.
const LINE_KEPT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

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

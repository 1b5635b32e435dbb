//! Server-sent events, read piece by piece (WHATWG HTML, "Interpreting an event stream").

use super::UpstreamError;
use crate::limits::{UPSTREAM_ANSWER_BYTES_MAX, UPSTREAM_STREAM_BYTES_MAX};

/// A reader of one stream.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    pending: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    total: usize,
    after_carriage_return: bool,
}

impl EventReader {
    /// Takes `bytes` and returns the data of each event that they complete. Events without data are dropped.
    ///
    /// # Errors
    /// [`UpstreamError::TooLong`] for an event or a stream beyond its maximum.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        self.total = self.total.saturating_add(bytes.len());
        if self.total > UPSTREAM_STREAM_BYTES_MAX {
            return Err(UpstreamError::TooLong);
        }
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(place) = rest.iter().position(|it| matches!(it, b'\n' | b'\r')) {
            let Some((line, tail)) = rest.split_at_checked(place) else {
                break;
            };
            let ended_by_return = tail.first() == Some(&b'\r');
            // The second half of a line break of two bytes ends nothing.
            let is_second_half = self.after_carriage_return && line.is_empty() && !ended_by_return;
            self.after_carriage_return = ended_by_return;
            self.pending.extend_from_slice(line);
            if !is_second_half {
                events.extend(self.line());
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.after_carriage_return &= rest.is_empty();
        self.pending.extend_from_slice(rest);
        if self.pending.len() + self.data.len() > UPSTREAM_ANSWER_BYTES_MAX + FIELD_BYTES_MAX {
            return Err(UpstreamError::TooLong);
        }
        Ok(events)
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.pending);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data)
                .then_some(data)
                .filter(|it| !it.is_empty());
        }
        // Event names, ids and retry times play no part: only JSON-RPC messages do.
        let value = line.strip_prefix(b"data:")?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
        None
    }
}

/// What a line has besides its data.
const FIELD_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &[&str]) {
        let mut reader = EventReader::default();
        let mut got = Vec::new();
        for piece in pieces {
            got.extend(reader.push(piece.as_bytes()).unwrap());
        }
        let got: Vec<_> = got
            .iter()
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect();
        assert_eq!(got, expected, "{pieces:?}");
    }

    #[test]
    fn events_are_read_whole_wherever_they_are_cut() {
        check(&["data: {}\n\n"], &["{}"]);
        check(&["da", "ta:{", "}\r", "\n\r\n"], &["{}"]);
        check(&["data: a\rdata: b\r\r"], &["a\nb"]);
        check(&[": hello\n\nid: 1\nevent: message\ndata: x\n\n"], &["x"]);
        check(&["id: 1\ndata:\n\n", "data: y\n\n"], &["y"]);
        check(&["data: never ended\n"], &[]);
    }

    #[test]
    fn an_event_ends_at_its_maximum() {
        let check = |bytes: usize| {
            let mut reader = EventReader::default();
            reader.push(format!("data: {}", "x".repeat(bytes)).as_bytes())?;
            reader.push(b"\n\n")
        };
        assert_eq!(check(UPSTREAM_ANSWER_BYTES_MAX).unwrap().len(), 1);
        assert!(matches!(
            check(UPSTREAM_ANSWER_BYTES_MAX + FIELD_BYTES_MAX),
            Err(UpstreamError::TooLong)
        ));
    }

    #[test]
    fn a_stream_ends_at_its_maximum() {
        let mut reader = EventReader::default();
        let piece = [b'\n'; 4096];
        for _ in 0..UPSTREAM_STREAM_BYTES_MAX / piece.len() {
            assert!(reader.push(&piece).is_ok());
        }
        assert!(matches!(reader.push(b"\n"), Err(UpstreamError::TooLong)));
    }
}

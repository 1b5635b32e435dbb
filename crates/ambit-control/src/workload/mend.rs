//! A mend for one kind of client: over a Unix socket, gRPC's C core (Python, C++, Ruby) sends the socket's path as
//! `:authority`, percent-encoded (`run%2Fambit%2Fworkload.sock`). RFC 3986 allows that in a host, the HTTP library
//! here does not, and would reset every call. Nothing here depends on the authority, so a `%` in it becomes `-`.
//!
//! Bytes are changed in place and never counted differently: lengths and HPACK's tables stay as the client has them.
//! Whatever is not exactly this passes as it came, for the library to judge (RFC 9113 §4.1 and §6.2, RFC 7541 §6).

/// Follows one connection's bytes from the client.
#[derive(Debug)]
pub(super) struct Mend {
    place: Place,
    /// Where the header block stands that runs through HEADERS and CONTINUATION frames.
    field: Field,
}

/// Where in the sequence of frames the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Preface {
        left: usize,
    },
    Head {
        bytes: [u8; 9],
        count: usize,
    },
    /// Bytes before the header block: the length of its padding, unless that is known, and its priority.
    Before {
        skip: usize,
        padding: Option<usize>,
        left: usize,
    },
    Block {
        left: usize,
        padding: usize,
    },
    Payload {
        left: usize,
    },
}

/// Where in a header block the next byte is.
#[derive(Clone, Copy, Debug)]
enum Field {
    Start,
    /// A number goes on; then the field ends, or its value follows.
    Number {
        then_value: bool,
    },
    NameLength,
    NameLengthGoesOn {
        length: usize,
        shift: u32,
        plain: bool,
    },
    Name {
        left: usize,
        matched: Option<usize>,
    },
    ValueLength {
        authority: bool,
    },
    ValueLengthGoesOn {
        length: usize,
        shift: u32,
        mends: bool,
    },
    Value {
        left: usize,
        mends: bool,
    },
}

const AUTHORITY: &[u8] = b":authority";
/// The preface that every client begins with (RFC 9113 §3.4), in bytes.
const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

impl Mend {
    pub(super) const fn new() -> Self {
        Self {
            place: Place::Preface {
                left: PREFACE_BYTES,
            },
            field: Field::Start,
        }
    }

    /// Says whether the client has sent its whole preface.
    pub(super) const fn is_past_preface(&self) -> bool {
        !matches!(self.place, Place::Preface { .. })
    }

    /// Mends the next bytes of the connection, wherever they were cut.
    pub(super) fn bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.place = self.step(byte);
        }
    }

    fn step(&mut self, byte: &mut u8) -> Place {
        match self.place {
            Place::Preface { left: 0 | 1 } => HEAD,
            Place::Preface { left } => Place::Preface { left: left - 1 },
            Place::Head { mut bytes, count } => {
                if let Some(to) = bytes.get_mut(count) {
                    *to = *byte;
                }
                if count < 8 {
                    let count = count + 1;
                    return Place::Head { bytes, count };
                }
                self.frame(bytes)
            }
            Place::Before {
                skip,
                padding,
                left,
            } => {
                let padding = padding.unwrap_or(usize::from(*byte));
                match skip {
                    0 | 1 => block(left - 1, padding),
                    _ => Place::Before {
                        skip: skip - 1,
                        padding: Some(padding),
                        left: left - 1,
                    },
                }
            }
            Place::Block { left, padding } => {
                self.field = self.field.step(byte);
                block(left - 1, padding)
            }
            Place::Payload { left } => payload(left - 1),
        }
    }

    /// Says what follows a frame's head.
    fn frame(&mut self, head: [u8; 9]) -> Place {
        let [a, b, c, kind, flags, ..] = head;
        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if kind == CONTINUATION {
            return block(left, 0);
        }
        if kind != HEADERS {
            return payload(left);
        }
        self.field = Field::Start;
        let (padded, priority) = (flags & PADDED != 0, flags & PRIORITY != 0);
        let skip = usize::from(padded) + if priority { 5 } else { 0 };
        if left < skip {
            return payload(left);
        }
        match skip {
            0 => block(left, 0),
            _ => Place::Before {
                skip,
                padding: if padded { None } else { Some(0) },
                left,
            },
        }
    }
}

const HEAD: Place = Place::Head {
    bytes: [0; 9],
    count: 0,
};

const fn payload(left: usize) -> Place {
    match left {
        0 => HEAD,
        _ => Place::Payload { left },
    }
}

/// What follows within a header block of which `left` bytes are left, padding among them.
const fn block(left: usize, padding: usize) -> Place {
    if left <= padding {
        return payload(left);
    }
    Place::Block { left, padding }
}

impl Field {
    fn step(self, byte: &mut u8) -> Self {
        match self {
            Self::Start => start(*byte),
            Self::Number { then_value } => match (*byte & 0x80 != 0, then_value) {
                (true, _) => self,
                (false, true) => Self::ValueLength { authority: false },
                (false, false) => Self::Start,
            },
            Self::NameLength => match (*byte & 0x80 == 0, usize::from(*byte & 0x7f)) {
                (plain, 0x7f) => Self::NameLengthGoesOn {
                    length: 0x7f,
                    shift: 0,
                    plain,
                },
                (plain, length) => name(length, plain),
            },
            Self::NameLengthGoesOn {
                length,
                shift,
                plain,
            } => match goes_on(*byte, length, shift) {
                (length, true) => Self::NameLengthGoesOn {
                    length,
                    shift: shift + 7,
                    plain,
                },
                (length, false) => name(length, plain),
            },
            Self::Name { left, matched } => {
                let matched = matched.filter(|at| AUTHORITY.get(*at) == Some(byte));
                let matched = matched.map(|at| at + 1);
                match left {
                    0 | 1 => Self::ValueLength {
                        authority: matched == Some(AUTHORITY.len()),
                    },
                    _ => Self::Name {
                        left: left - 1,
                        matched,
                    },
                }
            }
            Self::ValueLength { authority } => {
                let mends = authority && *byte & 0x80 == 0;
                match usize::from(*byte & 0x7f) {
                    0x7f => Self::ValueLengthGoesOn {
                        length: 0x7f,
                        shift: 0,
                        mends,
                    },
                    length => value(length, mends),
                }
            }
            Self::ValueLengthGoesOn {
                length,
                shift,
                mends,
            } => match goes_on(*byte, length, shift) {
                (length, true) => Self::ValueLengthGoesOn {
                    length,
                    shift: shift + 7,
                    mends,
                },
                (length, false) => value(length, mends),
            },
            Self::Value { left, mends } => {
                if mends && *byte == b'%' {
                    *byte = b'-';
                }
                value(left - 1, mends)
            }
        }
    }
}

/// Reads the first byte of a field (RFC 7541 §6).
const fn start(byte: u8) -> Field {
    let (index, most) = match byte {
        0x80.. => (byte & 0x7f, 0x7f),
        0x40.. => (byte & 0x3f, 0x3f),
        0x20.. => (byte & 0x1f, 0x1f),
        _ => (byte & 0x0f, 0x0f),
    };
    let is_literal = byte < 0x20 || (byte >= 0x40 && byte < 0x80);
    match (is_literal, index) {
        (then_value, index) if index == most => Field::Number { then_value },
        (false, _) => Field::Start,
        (true, 0) => Field::NameLength,
        // The first entry of the static table is `:authority`.
        (true, index) => Field::ValueLength {
            authority: index == 1,
        },
    }
}

const fn name(length: usize, plain: bool) -> Field {
    match length {
        0 => Field::ValueLength { authority: false },
        left if plain => Field::Name {
            left,
            matched: Some(0),
        },
        left => Field::Name {
            left,
            matched: None,
        },
    }
}

const fn value(left: usize, mends: bool) -> Field {
    match left {
        0 => Field::Start,
        _ => Field::Value { left, mends },
    }
}

/// Adds seven bits to a number (RFC 7541 §5.1), and says whether more follow.
const fn goes_on(byte: u8, length: usize, shift: u32) -> (usize, bool) {
    // A number that is too large is one that the library refuses.
    let bits = (byte & 0x7f) as usize;
    let part = if shift < 32 { bits << shift } else { 0 };
    (length.saturating_add(part), byte & 0x80 != 0 && shift < 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![u8::try_from(bytes.len()).unwrap()];
        all.extend(bytes);
        all
    }

    /// Sends the frames, cut at every place, and expects what comes out.
    fn check(frames: &[Vec<u8>], wanted: &[Vec<u8>]) {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let whole = [vec![preface.clone()], frames.to_vec()].concat().concat();
        let wanted = [vec![preface], wanted.to_vec()].concat().concat();
        for cut in 0..whole.len() {
            let (mut mend, mut found) = (Mend::new(), whole.clone());
            let (first, second) = found.split_at_mut(cut);
            mend.bytes(first);
            mend.bytes(second);
            assert_eq!(found, wanted, "cut at {cut}");
        }
    }

    #[test]
    fn a_path_as_authority_is_mended_and_nothing_else() {
        let settings = frame(4, 0, b"%%%%%%");
        let long = [vec![0x0f, 0x03], text(b"50%")].concat();
        let other = [vec![0x40], text(b"x-note"), text(b"100%")].concat();
        let by_index = |value: &[u8]| [vec![0x41], text(value)].concat();
        let by_name = |value: &[u8]| [vec![0x40], text(b":authority"), text(value)].concat();
        for authority in [by_index as fn(&[u8]) -> Vec<u8>, by_name] {
            let block = |value: &[u8]| {
                let all = [
                    vec![0x83, 0x3f, 0x21],
                    long.clone(),
                    authority(value),
                    other.clone(),
                ];
                all.concat()
            };
            let (sent, mended) = (block(b"run%2Fa%2Fb.sock"), block(b"run-2Fa-2Fb.sock"));
            let data = frame(0, 0, b"A%2F");
            check(
                &[
                    settings.clone(),
                    frame(1, 4, &sent),
                    data.clone(),
                    frame(1, 4, &sent),
                ],
                &[
                    settings.clone(),
                    frame(1, 4, &mended),
                    data.clone(),
                    frame(1, 4, &mended),
                ],
            );
            // Padding, priority, and a block in two frames.
            let around = |block: &[u8]| [&[2][..], &[0; 5], block, b"%%"].concat();
            check(
                &[frame(1, 0x2c, &around(&sent)), data.clone()],
                &[frame(1, 0x2c, &around(&mended)), data],
            );
            let half = |block: &[u8]| {
                let (first, second) = block.split_at(9);
                vec![frame(1, 0, first), frame(9, 4, second)]
            };
            check(&half(&sent), &half(&mended));
        }
    }

    #[test]
    fn what_is_compressed_or_long_keeps_its_bytes_and_its_place() {
        let huffman = [vec![0x41, 0x82], b"%%".to_vec()].concat();
        let long = vec![b'%'; 200];
        let value = |it: &[u8]| [vec![0x41, 0x7f, 73], it.to_vec()].concat();
        let mended = vec![b'-'; 200];
        check(
            &[frame(1, 4, &[huffman.clone(), value(&long)].concat())],
            &[frame(1, 4, &[huffman, value(&mended)].concat())],
        );
    }

    proptest::proptest! {
        /// Any bytes pass, as many as came, and only `%` ever changes.
        #[test]
        fn any_bytes_pass(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let mut found = bytes.clone();
            Mend::new().bytes(&mut found);
            for (sent, found) in bytes.iter().zip(&found) {
                proptest::prop_assert!(sent == found || (*sent == b'%' && *found == b'-'));
            }
        }
    }
}

//! Points of Ed25519 whose order is small: for a key that is one of them everybody can sign, and one signature fits many
//! messages. RFC 8032 leaves them to its reader, and the library takes them.

/// Says whether a point's order divides 8, in whichever way it is written. The last bit, a sign, does not count.
pub(super) fn is_of_small_order(point: &[u8]) -> bool {
    let Some((last, rest)) = point.split_last() else {
        return false;
    };
    let unsigned = last & 0x7f;
    POINTS.iter().any(|it| {
        it.split_last()
            .is_some_and(|(other, start)| *other == unsigned && start == rest)
    })
}

/// Their second coordinates, the small end first: 1, -1 and 0, then the two of order 8, then 0 and 1 once more, as numbers
/// that were not reduced.
const POINTS: [[u8; 32]; 7] = [
    with_ends(0x01, 0, 0x00),
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0x00, 0, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    [bytes[0], bytes[31]] = [first, last];
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::{Jwk, base64url};

    fn read(point: [u8; 32]) -> bool {
        let x = base64url::encode(point);
        let text = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        Jwk::parse(text.as_bytes(), text.len()).is_ok()
    }

    #[test]
    fn nhi04_a_key_for_which_everybody_can_sign_is_no_key() {
        for mut point in POINTS {
            assert!(!read(point), "{point:?}");
            point[31] |= 0x80;
            assert!(!read(point), "{point:?}");
        }
        // The base point of RFC 8032 §5.1, whose order is large.
        let base = with_ends(0x58, 0x66, 0x66);
        assert!(!is_of_small_order(&base) && read(base));
        assert!(!is_of_small_order(&[]));
    }
}

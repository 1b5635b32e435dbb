use super::*;
use crate::SecretKey;

const CANARY: &[u8] = b"canary-sk_live_51";

fn custody(chance: u8) -> FileCustody {
    FileCustody::new(SecretKey::new([chance; 32]))
}

/// Expects `part` in the refusal; an empty `part` expects none.
fn check<T>(part: &str, found: Result<T, CredentialError>) {
    match found {
        Ok(_) => assert_eq!(part, "", "accepted"),
        Err(error) => {
            let text = error.to_string();
            assert!(
                !part.is_empty() && text.contains(part),
                "`{part}` not in `{text}`"
            );
            assert!(!format!("{text} {error:?}").contains("canary"));
        }
    }
}

#[test]
fn what_is_sealed_opens_under_its_name_only() {
    let custody = custody(1);
    let secret = Secret::new(CANARY).unwrap();
    let sealed = custody
        .seal_credential("billing", &secret, [7; 32])
        .unwrap();
    let opened = custody.open_credential("billing", &sealed).unwrap();
    let header = opened.header(&CredentialPlacement::Bearer).unwrap();
    assert_eq!(
        (header.name(), header.value()),
        ("authorization", [b"Bearer ", CANARY].concat().as_slice())
    );
    check(
        "`other` does not open",
        custody.open_credential("other", &sealed),
    );
    check(
        "under another key",
        self::custody(2).open_credential("billing", &sealed),
    );
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            custody.open_credential("billing", &changed).is_err(),
            "bit {bit}"
        );
    }
    for length in 0..sealed.len() {
        assert!(
            custody
                .open_credential("billing", &sealed[..length])
                .is_err()
        );
    }
    assert!(!sealed.windows(6).any(|it| it == b"canary"));
}

#[test]
fn only_text_that_a_header_can_carry_is_taken() {
    let value = |text: &[u8]| {
        let header =
            Secret::new(text)?.header(&CredentialPlacement::Header("X-Api-Key".to_owned()))?;
        assert_eq!(header.name(), "x-api-key");
        Ok::<_, CredentialError>(header.value().to_vec())
    };
    for text in [b"key".as_slice(), b"key\n", b"key\r\n"] {
        assert_eq!(value(text).unwrap(), b"key");
    }
    assert_eq!(value(b"user key").unwrap(), b"user key");
    check("is empty", value(b""));
    check("is empty", value(b"\r\n"));
    check("byte 4", value(b"key\n\n"));
    check("byte 4", value(b"key\r\nX-Admin: 1"));
    check("byte 1", value(b" key"));
    check("byte 4", value(b"key "));
    check("byte 2", value(b"k\x00y"));
    check("byte 2", value(b"k\ty"));
    check("byte 2", value("kéy".as_bytes()));
    check("byte 1", value(b"\x7f"));
    check("", value(&[b'k'; SECRET_BYTES_MAX]));
    check("has 8193 bytes", value(&[b'k'; SECRET_BYTES_MAX + 1]));
}

#[test]
fn only_harmless_headers_carry_it() {
    let place = |name: &str| {
        let secret = Secret::new(CANARY)?;
        secret.header(&CredentialPlacement::Header(name.to_owned()))
    };
    check("", place("X-Api-Key"));
    check("", place("Authorization"));
    check("", place(&"x".repeat(HEADER_NAME_BYTES_MAX)));
    let long = "x".repeat(HEADER_NAME_BYTES_MAX + 1);
    for name in [
        "",
        "x key",
        "x:y",
        "x\r\ny",
        "é",
        "Host",
        "transfer-encoding",
        "Mcp-Session-Id",
        &long,
    ] {
        check("can't carry a credential", place(name));
    }
    let spaced = Secret::new(b"Bearer x").unwrap();
    check(
        "without its scheme",
        spaced.header(&CredentialPlacement::Bearer),
    );
}

#[test]
fn names_end_at_their_maximum() {
    let secret = Secret::new(CANARY).unwrap();
    let seal = |length| custody(1).seal_credential(&"n".repeat(length), &secret, [7; 32]);
    check("", seal(REFERENCE_BYTES_MAX));
    check("has 129 bytes", seal(REFERENCE_BYTES_MAX + 1));
    check("has 0 bytes", seal(0));
}

#[test]
fn equal_chance_gives_each_name_its_own_key() {
    let secret = Secret::new(CANARY).unwrap();
    let seal = |name| custody(1).seal_credential(name, &secret, [7; 32]).unwrap();
    assert_ne!(seal("a")[53..], seal("b")[53..]);
}

#[test]
fn nothing_secret_is_printed() {
    let secret = Secret::new(CANARY).unwrap();
    let header = secret.header(&CredentialPlacement::Bearer).unwrap();
    let printed = format!("{secret:?} {header:?}");
    assert_eq!(printed, "Secret(..) CredentialHeader(authorization, ..)");
}

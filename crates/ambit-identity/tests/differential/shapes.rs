//! Tokens whose text or signature is not what a compact JWS has.

use ambit_identity::jose::{Algorithm, base64url};

use crate::{
    claims::replaced,
    corpus::{
        Expect::{self, Accepted, Refused},
        joined,
    },
    keys::ED25519_ORDER,
    profiles::{Kind, Site},
};

/// Returns whole tokens.
pub(crate) fn deformed(site: &Site) -> Vec<(String, String, Expect)> {
    let mut all = texts(site);
    all.extend(letters(site));
    all.extend(signatures(site));
    all.extend(keys_of_everybody(site));
    let all = all.into_iter();
    all.map(|(name, text, expect)| (name.to_owned(), text, expect))
        .collect()
}

type Rows = Vec<(&'static str, String, Expect)>;

fn texts(site: &Site) -> Rows {
    let claims = site.claims();
    let signed = joined(site.header(), &claims);
    let raw = sign(site, &signed);
    let good = format!("{signed}.{}", base64url::encode(&raw));
    let (head, body) = signed.split_once('.').unwrap();
    let long = claims.replacen('{', &format!("{{\"f\":\"{}\",", "x".repeat(16_384)), 1);
    let serialised = format!(
        r#"{{"protected":"{head}","payload":"{body}","signature":"{}"}}"#,
        base64url::encode(&raw)
    );
    let rows = [
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("one dot more", format!("{good}.")),
        ("one part more", format!("{good}.AAAA")),
        ("five parts", format!("{good}.AAAA.AAAA")),
        ("a dot first", format!(".{good}")),
        ("a space after", format!("{good} ")),
        ("a space before", format!(" {good}")),
        ("a line's end after", format!("{good}\n")),
        ("a zero after", format!("{good}\0")),
        ("a space within", good.replacen('.', " .", 1)),
        ("a line's end within", good.replacen('.', ".\n", 1)),
        ("Bearer before", format!("Bearer {good}")),
        ("no signature", format!("{signed}.")),
        ("no claims", resigned(site, &format!("{head}."))),
        ("no header", resigned(site, &format!(".{body}"))),
        (
            "header and claims exchanged",
            resigned(site, &format!("{body}.{head}")),
        ),
        (
            "signed without its header",
            format!("{signed}.{}", base64url::encode(sign(site, body))),
        ),
        ("JSON serialisation", serialised),
        ("oversized", resigned(site, &joined(site.header(), &long))),
    ];
    rows.map(|(name, text)| (name, text, Refused)).into()
}

/// Other letters for the same bytes.
fn letters(site: &Site) -> Rows {
    let (header, claims) = (site.header(), site.claims());
    let good = resigned(site, &joined(&header, &claims));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let (start, rest) = signature.split_at(8);
    let (loose_head, loose_body) = (loose(&header), loose(&claims));
    let other_alphabet = |text: &str| text.replace('-', "+").replace('_', "/");
    // A claim of spaces gives one more text, until a letter is in it that the other alphabet has not.
    let varied = (0..).map(|it| {
        resigned(
            site,
            &joined(&header, format!("{claims}{}", " ".repeat(it))),
        )
    });
    let special = varied.into_iter().find(|it| {
        it.rsplit_once('.')
            .is_some_and(|it| it.1.contains(['-', '_']))
    });
    let special = special.unwrap();
    let (special_signed, special_signature) = special.rsplit_once('.').unwrap();
    let mut rows = vec![
        ("padded signature", format!("{good}==")),
        ("padded header", resigned(site, &format!("{head}=.{body}"))),
        ("padded claims", resigned(site, &format!("{head}.{body}="))),
        (
            "header with idle bits",
            resigned(site, &format!("{loose_head}.{body}")),
        ),
        (
            "claims with idle bits",
            resigned(site, &format!("{head}.{loose_body}")),
        ),
        (
            "header with a letter more",
            resigned(site, &format!("{head}A.{body}")),
        ),
        ("signature with a letter more", format!("{good}A")),
        (
            "signature with a line's end",
            format!("{signed}.{start}\n{rest}"),
        ),
        (
            "signature in the other alphabet",
            format!("{special_signed}.{}", other_alphabet(special_signature)),
        ),
    ];
    if let Some(loose) = loosened(signature) {
        rows.push(("signature with idle bits", format!("{signed}.{loose}")));
    }
    let rows = rows.into_iter();
    rows.map(|(name, text)| (name, text, Refused)).collect()
}

fn signatures(site: &Site) -> Rows {
    let signed = joined(site.header(), site.claims());
    let raw = sign(site, &signed);
    let with = |signature: &[u8]| format!("{signed}.{}", base64url::encode(signature));
    let (all, half) = (raw.len(), raw.len() / 2);
    let flipped = |place: usize| {
        let mut bytes = raw.clone();
        bytes[place] ^= 1;
        with(&bytes)
    };
    let mut rows = vec![
        ("signature cut", with(&raw[..all - 1]), Refused),
        ("signature cut in front", with(&raw[1..]), Refused),
        ("signature halved", with(&raw[..half]), Refused),
        (
            "signature with a byte more",
            with(&[&raw[..], &[0]].concat()),
            Refused,
        ),
        (
            "signature with a zero in front",
            with(&[&[0], &raw[..]].concat()),
            Refused,
        ),
        (
            "signature twice",
            with(&[&raw[..], &raw[..]].concat()),
            Refused,
        ),
        ("zeros", with(&vec![0; all]), Refused),
        ("ones", with(&vec![255; all]), Refused),
        (
            "swapped halves",
            with(&[&raw[half..], &raw[..half]].concat()),
            Refused,
        ),
        ("first bit changed", flipped(0), Refused),
        ("last bit changed", flipped(all - 1), Refused),
        ("middle bit changed", flipped(half), Refused),
    ];
    if let Some(der) = site.ring.own.sign_der(&signed) {
        rows.push(("DER", with(&der), Refused));
    }
    if let Some(curve) = site.ring.own.curve() {
        rows.extend(pairs(&raw, &bytes(curve.order), &with));
    }
    if let Some(modulus) = site.ring.own.modulus() {
        let mut one = vec![0; all];
        one[all - 1] = 1;
        let less = difference(&modulus, &one);
        rows.push(("signature of one", with(&one), Refused));
        rows.push(("the modulus", with(&modulus), Refused));
        rows.push(("the modulus less one", with(&less), Refused));
        rows.push((
            "signature beyond the modulus",
            with(&sum(&raw, &modulus)),
            Refused,
        ));
        rows.push((
            "signature negated",
            with(&difference(&modulus, &raw)),
            Refused,
        ));
    }
    if site.algorithm == Algorithm::EdDsa {
        let text = with(&beyond_the_order(&raw));
        rows.push(("a number beyond the order", text, Refused));
    }
    rows
}

/// The second half of EdDSA's signature is a number below the order, its small end first (RFC 8032 §5.1.7).
fn beyond_the_order(raw: &[u8]) -> Vec<u8> {
    let (point, number) = raw.split_at(raw.len() / 2);
    let number: Vec<u8> = number.iter().rev().copied().collect();
    let beyond = sum(&number, &bytes(ED25519_ORDER));
    let beyond = beyond.iter().rev().take(point.len()).copied();
    point.iter().copied().chain(beyond).collect()
}

/// What ECDSA's two numbers could be besides.
fn pairs(raw: &[u8], order: &[u8], with: &dyn Fn(&[u8]) -> String) -> Rows {
    let (first, second) = raw.split_at(raw.len() / 2);
    let zero = vec![0; first.len()];
    let mut rows = vec![
        (
            "first number zero",
            with(&[&zero, second].concat()),
            Refused,
        ),
        (
            "second number zero",
            with(&[first, &zero].concat()),
            Refused,
        ),
        (
            "both numbers the order",
            with(&[order, order].concat()),
            Refused,
        ),
        (
            "second number the order",
            with(&[first, order].concat()),
            Refused,
        ),
        // ECDSA takes both signs, and JWS does not choose: no law of ours rests upon one text for a signature.
        (
            "second number negated",
            with(&[first, &difference(order, second)].concat()),
            Accepted,
        ),
        (
            "first number negated",
            with(&[&difference(order, first), second].concat()),
            Refused,
        ),
        (
            "numbers exchanged",
            with(&[second, first].concat()),
            Refused,
        ),
    ];
    let beyond = sum(second, order);
    if beyond.len() == second.len() {
        let text = with(&[first, &beyond].concat());
        rows.push(("second number beyond the order", text, Refused));
    }
    rows
}

/// A proof by a key for which everybody can sign: a point of small order, with the sum of nothing.
fn keys_of_everybody(site: &Site) -> Rows {
    if site.algorithm != Algorithm::EdDsa || site.kind != Kind::Proof {
        return Vec::new();
    }
    let mut one = [0; 32];
    one[0] = 1;
    let jwk = format!(
        r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
        base64url::encode(one)
    );
    let signed = joined(replaced(&site.header(), "jwk", &jwk), site.claims());
    let signature = base64url::encode([one, [0; 32]].concat());
    vec![(
        "a key of small order",
        format!("{signed}.{signature}"),
        Refused,
    )]
}

fn sign(site: &Site, signed: &str) -> Vec<u8> {
    site.ring.own.sign(site.algorithm, signed)
}

fn resigned(site: &Site, signed: &str) -> String {
    format!("{signed}.{}", base64url::encode(sign(site, signed)))
}

/// Returns the base64url of a text whose last letter has idle bits that are set.
fn loose(text: &str) -> String {
    let mut texts = (0..3).map(|it| base64url::encode(format!("{text}{}", " ".repeat(it))));
    texts.find_map(|it| loosened(&it)).unwrap()
}

/// Sets the idle bits of the last letter, when it has some.
fn loosened(text: &str) -> Option<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if text.len().is_multiple_of(4) {
        return None;
    }
    let (last, rest) = text.as_bytes().split_last()?;
    let place = LETTERS.iter().position(|it| it == last)?;
    let other = LETTERS[place | 1];
    let rest = std::str::from_utf8(rest).ok()?;
    Some(format!("{rest}{}", char::from(other)))
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let read = |it| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap();
    pairs.map(read).collect()
}

/// Returns the sum of two big-endian numbers of one length, with one byte more when it needs that.
fn sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    let mut sum: Vec<u8> = Vec::new();
    for (a, b) in left.iter().rev().zip(right.iter().rev()) {
        carry += u16::from(*a) + u16::from(*b);
        sum.push(carry.to_le_bytes()[0]);
        carry >>= 8;
    }
    if carry > 0 {
        sum.push(1);
    }
    sum.reverse();
    sum
}

/// Returns the difference of two big-endian numbers of one length, the second no greater than the first.
fn difference(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut borrow = false;
    let mut difference: Vec<u8> = Vec::new();
    for (a, b) in left.iter().rev().zip(right.iter().rev()) {
        let (once, first) = a.overflowing_sub(*b);
        let (twice, second) = once.overflowing_sub(u8::from(borrow));
        difference.push(twice);
        borrow = first || second;
    }
    difference.reverse();
    difference
}

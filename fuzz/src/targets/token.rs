//! Tokens: whatever comes is read; what verifies is what was signed, and has one reading.

use std::{collections::BTreeMap, sync::OnceLock};

use ambit_core::json::{self, Value};
use ambit_identity::{
    dpop,
    jose::{AUDIENCES_MAX, Typ, jws},
    token::CLOCK_LEEWAY,
};

use super::{
    signed::{AUDIENCE, ISSUER, Kind, sign},
    site::NOW,
};
use crate::Target;

/// Any text at all, to every reader.
pub(super) const TARGET: Target = Target {
    name: "token",
    run,
    seeds,
    words: &[".", "..", "=", "eyJ", "bnVsbA", "e30", "A", "_"],
};

/// Headers and claims that are signed before they are read, one target for each kind: chance alone signs nothing.
pub(super) const SIGNED: [Target; 7] = [
    Target {
        name: "claims",
        run: |it| run_signed(Kind::Access, it),
        seeds: || signed_seeds(Kind::Access),
        words: WORDS,
    },
    Target {
        name: "claims_svid",
        run: |it| run_signed(Kind::Svid, it),
        seeds: || signed_seeds(Kind::Svid),
        words: WORDS,
    },
    Target {
        name: "claims_svid_assertion",
        run: |it| run_signed(Kind::SvidAssertion, it),
        seeds: || signed_seeds(Kind::SvidAssertion),
        words: WORDS,
    },
    Target {
        name: "claims_assertion",
        run: |it| run_signed(Kind::Assertion, it),
        seeds: || signed_seeds(Kind::Assertion),
        words: WORDS,
    },
    Target {
        name: "claims_workload",
        run: |it| run_signed(Kind::Workload, it),
        seeds: || signed_seeds(Kind::Workload),
        words: WORDS,
    },
    Target {
        name: "claims_id",
        run: |it| run_signed(Kind::Id, it),
        seeds: || signed_seeds(Kind::Id),
        words: WORDS,
    },
    Target {
        name: "claims_proof",
        run: |it| run_signed(Kind::Proof, it),
        seeds: || signed_seeds(Kind::Proof),
        words: WORDS,
    },
];

const WORDS: &[&str] = &[
    "\"exp\":",
    "\"nbf\":",
    "\"iat\":",
    "\"act\":{\"sub\":\"spiffe://example.org/a\"",
    "\"cnf\":{\"jkt\":\"",
    "\"aud\":[",
    "\"azp\":\"ambit\"",
    "\"crit\":[\"exp\"]",
    "\"b64\":false",
    "\"alg\":\"none\"",
    "\"kid\":",
    "1795305900",
    "1.0",
    "e0",
    "null",
];

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for kind in Kind::ALL {
        if let Ok(unverified) = jws::read(text, &kind.profile()) {
            let _ = unverified.claimed();
        }
        if kind.read(text).is_some() {
            let seen = text.rsplit_once('.').map(|(seen, _)| seen);
            let is_known = goods().iter().any(|it| {
                let (signed, _) = it.rsplit_once('.').expect("a signature");
                Some(signed) == seen
            });
            assert!(is_known, "what nobody signed verifies as {kind:?}");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    goods().iter().map(|it| it.clone().into_bytes()).collect()
}

/// A good token of each kind.
fn goods() -> &'static [String] {
    static GOODS: OnceLock<Vec<String>> = OnceLock::new();
    GOODS.get_or_init(|| {
        let good = |it: Kind| {
            let (header, claims) = it.good();
            sign(header.as_bytes(), claims.as_bytes())
        };
        Kind::ALL.map(good).into()
    })
}

/// The header comes before the first line break, the claims after it.
fn run_signed(kind: Kind, bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|it| *it == b'\n') else {
        return;
    };
    let (header, rest) = bytes.split_at(at);
    let claims = rest.strip_prefix(b"\n").unwrap_or(rest);
    let Some(said) = kind.read(&sign(header, claims)) else {
        return;
    };
    let header = object(header);
    let claims = object(claims);
    check_header(kind, &header);
    check_claims(kind, &claims);
    if let Some(until) = said.until {
        assert!(until + LEEWAY_MILLIS > NOW.as_millis(), "it is over");
    }
    // Other readers see the same: written in the one way, it is taken for the same.
    let [header, claims] = [header, claims].map(|it| Value::Object(it).to_canonical());
    let again = kind.read(&sign(header.as_bytes(), claims.as_bytes()));
    assert_eq!(again, Some(said), "{header} {claims}");
}

fn object(bytes: &[u8]) -> BTreeMap<String, Value> {
    let read = json::parse_as_written(bytes, bytes.len()).expect("it was read");
    let Value::Object(members) = read else {
        unreachable!("an object was read");
    };
    members
}

fn check_header(kind: Kind, header: &BTreeMap<String, Value>) {
    let profile = kind.profile();
    let alg = header.get("alg").and_then(Value::as_str);
    assert_eq!(alg, Some("ES256"), "what signs is what the header says");
    let named = [profile.required, profile.optional, &["alg", "typ"]].concat();
    for name in header.keys() {
        assert!(named.contains(&name.as_str()), "{kind:?} has no `{name}`");
    }
    let typ = header.get("typ").map(|it| it.as_str().expect("a text"));
    match (profile.typ, typ) {
        (Typ::Required(known) | Typ::Optional(known), Some(typ)) => assert!(known.contains(&typ)),
        (Typ::Required(_), None) => unreachable!("{kind:?} has a typ"),
        (Typ::Optional(_), None) => {}
    }
}

fn check_claims(kind: Kind, claims: &BTreeMap<String, Value>) {
    for name in ["iss", "sub", "jti"] {
        let is_text = claims.get(name).is_none_or(|it| it.as_str().is_some());
        assert!(is_text, "`{name}` is a text");
    }
    let seconds = |name: &str| {
        let date = claims.get(name)?.as_integer().expect("a date is whole");
        Some(u64::try_from(date).expect("since 1970") * 1000)
    };
    let (now, ahead) = (NOW.as_millis(), LEEWAY_MILLIS);
    for name in ["nbf", "iat"] {
        assert!(seconds(name).is_none_or(|it| it <= now + ahead), "`{name}`");
    }
    let is_dated = kind != Kind::Proof;
    assert!(!is_dated || seconds("exp").is_some_and(|it| it + ahead > now));
    let wanted = match kind {
        Kind::Access | Kind::Svid => AUDIENCE,
        Kind::SvidAssertion | Kind::Assertion | Kind::Workload => ISSUER,
        Kind::Id => "ambit",
        Kind::Proof => return,
    };
    let aud = claims.get("aud").expect("an audience");
    let several = aud.as_array().unwrap_or_default();
    let is_for_us = |it: &Value| it.as_str() == Some(wanted);
    assert!(is_for_us(aud) || several.iter().any(is_for_us), "for us");
    let is_for_us_alone = several.len() <= 1;
    assert!(is_for_us_alone || kind == Kind::Svid && several.len() <= AUDIENCES_MAX);
}

fn signed_seeds(kind: Kind) -> Vec<Vec<u8>> {
    let (header, claims) = kind.good();
    let token = sign(header.as_bytes(), claims.as_bytes());
    assert!(kind.read(&token).is_some(), "a good {kind:?} is taken");
    vec![format!("{header}\n{claims}").into_bytes()]
}

/// The most that a clock of others may lie from ours, for any kind.
const LEEWAY_MILLIS: u64 = if dpop::PROOF_AHEAD_MAX.as_millis() > CLOCK_LEEWAY.as_millis() {
    dpop::PROOF_AHEAD_MAX.as_millis()
} else {
    CLOCK_LEEWAY.as_millis()
};

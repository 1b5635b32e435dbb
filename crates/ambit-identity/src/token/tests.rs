//! Tokens of every kind, what is refused first.

mod access;
mod assertion;
mod id_token;
mod jwt_svid;
mod workload_token;

use ambit_core::{Millis, Timestamp, json::Value};

use crate::jose::{
    Algorithm, JwkSet, KeyUse, VerifyingKeys,
    tests::{forge, json, signing_key, whole},
};

/// 2026-11-22T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);
const NOW_SECONDS: i64 = 1_795_305_600;
const ISSUER: &str = "https://ambit.example.org";

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Millis::from_seconds(seconds))
}

fn keys(chance: u8) -> VerifyingKeys {
    let set = JwkSet::new(vec![signing_key(chance).public().clone()]).unwrap();
    VerifyingKeys::new(&set, &[KeyUse::Signature], &[Algorithm::Es256]).unwrap()
}

fn key_id(chance: u8) -> String {
    signing_key(chance).public().key_id().unwrap().to_owned()
}

/// Returns `claims` with one of them replaced, or taken away when `value` is empty.
fn replaced(claims: &str, name: &str, value: &str) -> String {
    let mut members = json(claims).as_object().unwrap().clone();
    members.remove(name);
    if !value.is_empty() {
        members.insert(name.to_owned(), Value::Null);
    }
    let text = Value::Object(members).to_canonical();
    text.replacen(
        &format!("\"{name}\":null"),
        &format!("\"{name}\":{value}"),
        1,
    )
}

/// Checks a refusal's message, its causes included, or that there is none.
#[track_caller]
fn check_refusal<T, E: std::error::Error>(
    result: Result<T, E>,
    expect: Result<(), &str>,
    what: &str,
) {
    match (result, expect) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(part)) => {
            let shown = whole(&error);
            assert!(
                shown.contains(part),
                "{what}: `{shown}` does not say `{part}`"
            );
        }
        (Ok(_), Err(part)) => panic!("{what}: accepted, expected `{part}`"),
        (Err(error), Ok(())) => panic!("{what}: {}", whole(&error)),
    }
}

/// Dates that every kind of token with an end refuses, with a part of the message.
const WRONG_DATES: &[(&str, &str, &str)] = &[
    ("exp", "", "`exp` must be there"),
    ("exp", "\"1795305700\"", "written as an integer"),
    ("exp", "1795305700.0", "written as an integer"),
    ("exp", "1795305700.5", "written as an integer"),
    ("exp", "1.7953057e9", "written as an integer"),
    ("exp", "null", "written as an integer"),
    ("exp", "true", "written as an integer"),
    ("exp", "[1795305700]", "written as an integer"),
    ("exp", "-1", "written as an integer"),
    ("exp", "0", "expired at"),
    ("exp", "1795305570", "expired at"),
    ("exp", "253402300800", "written as an integer"),
    ("exp", "9007199254740993", "written as an integer"),
    ("exp", "1795405700", "at most"),
    ("nbf", "1795305631", "valid from"),
    ("nbf", "\"1795305600\"", "written as an integer"),
    ("iat", "1795305631", "valid from"),
    ("iat", "1795305600.0", "written as an integer"),
    ("iat", "\"now\"", "written as an integer"),
];

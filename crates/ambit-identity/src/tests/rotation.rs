//! Rotation and the bundle: one state machine, turned by time.

use ambit_core::{Millis, Timestamp, limits::SVID_TTL_MAX};
use proptest::prelude::*;

use super::{HOUR, NOW, domain, gateway_key, instance_id, instance_key, whole};
use crate::{
    Authority, BUNDLE_BYTES_MAX, Issuance, IssuingKeys, PairChance, RotationError, Svid,
    TrustBundle,
    authority::{
        AUTHORITY_TTL, Due, KeyState, PREPARE_BEFORE_END, PREPARED_TTL_MIN, RETIRED_KEYS_MAX,
        is_issuing_keys,
    },
    bundle::{BUNDLE_KEYS_MAX, Succession},
    identify_instance,
    token::jwt_svid::{self, JwtSvidIssuance},
};

const AUDIENCE: &str = "reports";

fn pair(seed: u8) -> PairChance {
    PairChance {
        x509: [seed; 32],
        jwt: [seed.wrapping_add(100); 32],
    }
}

fn keys() -> IssuingKeys {
    IssuingKeys::create(domain("example.org"), pair(1), NOW).unwrap()
}

fn svid(keys: &IssuingKeys, now: Timestamp, ttl: Millis) -> Svid {
    let issuance = Issuance {
        key: &instance_key().proved().unwrap(),
        spiffe_id: &instance_id(),
        now,
        expires_at: now.plus(ttl),
        chance: [1; 16],
    };
    keys.issue(&issuance).unwrap()
}

/// Signs a JWT-SVID that lives as long as one may.
fn jwt_svid(keys: &IssuingKeys, now: Timestamp) -> String {
    let ask = JwtSvidIssuance {
        spiffe_id: &instance_id(),
        audiences: &[AUDIENCE.to_owned()],
        token_id: "1",
        now,
        expires_at: now.plus(SVID_TTL_MAX),
    };
    keys.issue_jwt(&ask).unwrap()
}

fn states(keys: &IssuingKeys) -> Vec<KeyState> {
    keys.report().iter().map(|it| it.state).collect()
}

/// Expects `part` in the refusal.
fn refused<T: std::fmt::Debug, E: std::error::Error>(part: &str, found: Result<T, E>) {
    let text = whole(&found.unwrap_err());
    assert!(text.contains(part), "`{part}` not in `{text}`");
}

#[test]
fn a_key_is_published_before_it_signs_and_kept_until_its_svids_ended() {
    use KeyState::{Active, Prepared, Retired};
    let first = keys();
    assert_eq!(
        (first.bundle().sequence(), states(&first)),
        (1, vec![Active])
    );
    let old = svid(&first, NOW, SVID_TTL_MAX);
    let prepared = first.prepare(pair(2), NOW).unwrap();
    assert_eq!(states(&prepared), [Prepared, Active]);
    // It is trusted already and does not sign yet.
    assert_eq!(prepared.bundle().roots().len(), 2);
    let still = svid(&prepared, NOW, HOUR);
    identify_instance(still.chain(), first.bundle(), NOW).unwrap();
    let at = NOW.plus(PREPARED_TTL_MIN);
    let active = prepared.activate(at).unwrap();
    assert_eq!(states(&active), [Active, Retired]);
    let new = svid(&active, at, HOUR);
    identify_instance(new.chain(), prepared.bundle(), at).unwrap();
    refused(
        "no root",
        identify_instance(new.chain(), first.bundle(), at),
    );
    identify_instance(old.chain(), active.bundle(), at).unwrap();
    let over = at.plus(SVID_TTL_MAX);
    assert_eq!(
        active
            .tidy(Timestamp::from_millis(over.as_millis() - 1))
            .unwrap()
            .bundle()
            .sequence(),
        3
    );
    let tidy = active.tidy(over).unwrap();
    assert_eq!((tidy.bundle().sequence(), states(&tidy)), (4, vec![Active]));
    assert!(identify_instance(old.chain(), tidy.bundle(), NOW).is_err());
}

#[test]
fn steps_out_of_order_are_refused() {
    let first = keys();
    refused("no key is prepared", first.activate(NOW));
    let prepared = first.prepare(pair(2), NOW).unwrap();
    refused("prepared already", prepared.prepare(pair(3), NOW));
    let early = Timestamp::from_millis(NOW.plus(PREPARED_TTL_MIN).as_millis() - 1);
    refused("not known to everybody before", prepared.activate(early));
    prepared.activate(NOW.plus(PREPARED_TTL_MIN)).unwrap();
    let mut full = first;
    let mut at = NOW;
    for turn in 0..RETIRED_KEYS_MAX {
        let seed = 10 + u8::try_from(turn).unwrap();
        full = full.prepare(pair(seed), at).unwrap();
        at = at.plus(PREPARED_TTL_MIN);
        full = full.activate(at).unwrap();
    }
    let full = full.prepare(pair(9), at).unwrap();
    refused(
        "8 keys are retired",
        full.activate(at.plus(PREPARED_TTL_MIN)),
    );
    let zero = PairChance {
        x509: [0; 32],
        jwt: [1; 32],
    };
    refused("random bytes", keys().prepare(zero, NOW));
}

#[test]
fn a_compromised_key_is_worth_nothing_at_once() {
    let first = keys().prepare(pair(2), NOW).unwrap();
    let old = svid(&first, NOW, HOUR);
    let replaced = first.replace(pair(3), NOW).unwrap();
    assert_eq!(states(&replaced), [KeyState::Active]);
    assert_eq!(replaced.bundle().sequence(), 3);
    refused(
        "no root",
        identify_instance(old.chain(), replaced.bundle(), NOW),
    );
    assert_eq!(replaced.bundle().jwt_keys().keys().len(), 1);
}

#[test]
fn time_says_what_is_due() {
    let first = keys();
    let soon =
        Timestamp::from_millis(first.expires_at().as_millis() - PREPARE_BEFORE_END.as_millis());
    let before = |at: Timestamp| Timestamp::from_millis(at.as_millis() - 1);
    assert_eq!(first.due(NOW), Due::Nothing);
    assert_eq!(first.due(before(soon)), Due::Nothing);
    assert_eq!(first.due(soon), Due::Prepare);
    let prepared = first.prepare(pair(2), soon).unwrap();
    let ready = soon.plus(PREPARED_TTL_MIN);
    assert_eq!(prepared.due(before(ready)), Due::Nothing);
    assert_eq!(prepared.due(ready), Due::Activate);
    let active = prepared.activate(ready).unwrap();
    let over = ready.plus(SVID_TTL_MAX);
    assert_eq!(active.due(before(over)), Due::Nothing);
    assert_eq!(active.due(over), Due::Tidy);
    assert_eq!(active.tidy(over).unwrap().due(over), Due::Nothing);
    // A key prepared by hand long before waits for a hand.
    let early = first.prepare(pair(2), NOW).unwrap();
    assert_eq!(early.due(NOW.plus(PREPARED_TTL_MIN)), Due::Nothing);
    assert!(PREPARE_BEFORE_END < AUTHORITY_TTL);
}

#[test]
fn keys_read_back_whole_or_not_at_all() {
    let at = NOW.plus(PREPARED_TTL_MIN);
    let keys = keys().prepare(pair(2), NOW).unwrap().activate(at).unwrap();
    let keys = keys.prepare(pair(3), at).unwrap();
    let text = keys.to_text();
    assert!(is_issuing_keys(&text));
    // The retired key has lost its private half.
    assert_eq!(text.matches("BEGIN PRIVATE KEY").count(), 4);
    let read = |text: &str| IssuingKeys::from_text(&domain("example.org"), text);
    let again = read(&text).unwrap();
    assert_eq!(*again.to_text(), *text);
    assert_eq!(again.bundle().to_document(), keys.bundle().to_document());
    assert!(IssuingKeys::from_text(&domain("other.org"), &text).is_err());
    let changed = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, *text);
        read(&changed)
    };
    refused("line 1", changed("keys 1", "keys 2"));
    refused("line 2", changed("sequence 4", "sequence four"));
    refused("line 2", changed("sequence 4\n", ""));
    refused("not understood", changed("prepared", "active"));
    refused("not understood", changed("active", "passive"));
    refused("not understood", changed("retired 1", "retired x1"));
    refused("not understood", changed("\"kid\"", "\"dik\""));
    refused("line 3", read("ambit issuing keys 1\nsequence 1\n"));
    // What an authority alone wrote is taken over, with a JWT key beside it.
    let alone = Authority::create(domain("example.org"), [9; 32], NOW).unwrap();
    assert!(!is_issuing_keys(&alone.to_pem()));
    let adopted = IssuingKeys::adopt(alone, [8; 32], NOW).unwrap();
    assert_eq!(states(&adopted), [KeyState::Active]);
}

#[test]
fn a_document_reads_back() {
    let keys = keys().prepare(pair(2), NOW).unwrap();
    let document = keys.bundle().to_document();
    let read = TrustBundle::from_document(domain("example.org"), document.as_bytes()).unwrap();
    assert!(read.left_out.is_empty(), "{:?}", read.left_out);
    assert_eq!(read.bundle.to_document(), document);
    assert_eq!(read.bundle.sequence_stated(), Some(2));
    assert_eq!(read.bundle.refresh_hint(), Some(Millis::from_seconds(300)));
    let svid = svid(&keys, NOW, HOUR);
    identify_instance(svid.chain(), &read.bundle, NOW).unwrap();
    let parsed = ambit_core::json::parse(document.as_bytes()).unwrap();
    let kinds = parsed
        .get("keys")
        .and_then(|it| it.as_array())
        .unwrap()
        .iter();
    let kinds: Vec<(Option<&str>, bool, bool)> = kinds
        .map(|it| {
            (
                it.get("use").and_then(|it| it.as_str()),
                it.get("kid").is_some(),
                it.get("x5c").is_some(),
            )
        })
        .collect();
    let (x509, jwt) = (
        (Some("x509-svid"), false, true),
        (Some("jwt-svid"), true, false),
    );
    assert_eq!(kinds, [x509, x509, jwt, jwt]);
}

/// What stands in a document and what of it counts: roots, JWT keys, keys left out.
#[test]
fn a_document_counts_as_far_as_the_standard_says() {
    let keys = keys();
    let document = keys.bundle().to_document();
    let parsed = ambit_core::json::parse(document.as_bytes()).unwrap();
    let of = |place: usize| parsed.get("keys").unwrap().as_array().unwrap()[place].to_canonical();
    let (root, jwt) = (of(0), of(1));
    let check = |keys: &[&str], wanted: (usize, usize, usize)| {
        let text = format!("{{\"keys\":[{}]}}", keys.join(","));
        let read = TrustBundle::from_document(domain("example.org"), text.as_bytes()).unwrap();
        let found = (
            read.bundle.roots().len(),
            read.bundle.jwt_keys().keys().len(),
            read.left_out.len(),
        );
        assert_eq!(found, wanted, "{text}");
    };
    check(&[], (0, 0, 0));
    check(&[&root, &jwt], (1, 1, 0));
    // Unknown or missing use and type.
    check(&[&jwt.replace("jwt-svid", "wit-svid")], (0, 0, 1));
    check(&[&jwt.replace("jwt-svid", "JWT-SVID")], (0, 0, 1));
    check(&[&jwt.replace("\"use\"", "\"nse\"")], (0, 0, 1));
    check(
        &[
            &jwt.replace("\"EC\"", "\"oct\""),
            &jwt.replace("\"EC\"", "\"AKP\""),
        ],
        (0, 0, 2),
    );
    check(&["7", "\"x\"", "null", "{}"], (0, 0, 4));
    // A JWT key needs a name; a private one has no place here.
    check(&[&jwt.replace("\"kid\"", "\"dik\"")], (0, 0, 1));
    check(&[&jwt.replacen('{', "{\"d\":\"AA\",", 1)], (0, 0, 1));
    // Exactly one certificate, of this trust domain, that may sign.
    let x5c = root.split('"').find(|it| it.len() > 100).unwrap();
    let with = |list: &str| root.replace(&format!("[\"{x5c}\"]"), list);
    check(&[&with("[]")], (0, 0, 1));
    check(&[&with(&format!("[\"{x5c}\",\"{x5c}\"]"))], (0, 0, 1));
    check(&[&with(&format!("\"{x5c}\""))], (0, 0, 1));
    check(
        &[&with("[7]"), &with("[\"!\"]"), &with("[\"AAAA\"]")],
        (0, 0, 3),
    );
    let text = format!("{{\"keys\":[{root}]}}");
    let other = TrustBundle::from_document(domain("other.org"), text.as_bytes()).unwrap();
    assert_eq!((other.bundle.roots().len(), other.left_out.len()), (0, 1));
}

#[test]
fn an_empty_bundle_trusts_nobody() {
    let keys = keys();
    let empty = br#"{"keys":[],"spiffe_sequence":9}"#;
    let empty = TrustBundle::from_document(domain("example.org"), empty)
        .unwrap()
        .bundle;
    let svid = svid(&keys, NOW, HOUR);
    refused("no root", identify_instance(svid.chain(), &empty, NOW));
}

#[test]
fn other_documents_are_refused() {
    let read = |text: &str| TrustBundle::from_document(domain("example.org"), text.as_bytes());
    for text in ["", "[]", "7", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
        assert!(read(text).is_err(), "{text}");
    }
    refused("one reading", read(r#"{"keys":[],"keys":[]}"#));
    refused("one reading", read("{\"keys\":[]} x"));
    for sequence in ["-1", "\"1\"", "null", "1.5", "18446744073709551616"] {
        let text = format!("{{\"keys\":[],\"spiffe_sequence\":{sequence}}}");
        assert!(read(&text).is_err(), "{text}");
    }
    refused(
        "refresh_hint",
        read(r#"{"keys":[],"spiffe_refresh_hint":"5"}"#),
    );
    let many = |count: usize| format!("{{\"keys\":[{}]}}", vec!["{}"; count].join(","));
    read(&many(BUNDLE_KEYS_MAX)).unwrap();
    refused("more than 64", read(&many(BUNDLE_KEYS_MAX + 1)));
    let padded = |bytes: usize| {
        let text = r#"{"keys":[]}"#;
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    read(&padded(BUNDLE_BYTES_MAX)).unwrap();
    refused("are read", read(&padded(BUNDLE_BYTES_MAX + 1)));
    let document = keys().bundle().to_document();
    let parsed = ambit_core::json::parse(document.as_bytes()).unwrap();
    let jwt = parsed.get("keys").unwrap().as_array().unwrap()[1].to_canonical();
    refused("same `kid`", read(&format!("{{\"keys\":[{jwt},{jwt}]}}")));
}

#[test]
fn an_older_bundle_never_takes_the_place_of_a_newer_one() {
    let jwt = keys().bundle().jwt_document();
    let jwt = jwt
        .strip_prefix("{\"keys\":[")
        .unwrap()
        .strip_suffix("]}")
        .unwrap();
    let of = |keys: &str, sequence: &str| {
        let text = format!("{{\"keys\":[{keys}]{sequence}}}");
        TrustBundle::from_document(domain("example.org"), text.as_bytes())
            .unwrap()
            .bundle
    };
    let (four, five) = (",\"spiffe_sequence\":4", ",\"spiffe_sequence\":5");
    let check = |old: TrustBundle, new: TrustBundle, wanted: Option<Succession>| {
        assert_eq!(old.succession(&new).ok(), wanted);
    };
    check(of(jwt, four), of("", five), Some(Succession::Newer));
    check(of(jwt, four), of(jwt, four), Some(Succession::Same));
    check(of("", five), of(jwt, four), None);
    check(of("", five), of(jwt, five), None);
    check(of("", five), of(jwt, ""), None);
    check(of("", ""), of(jwt, ""), Some(Succession::Newer));
    check(of("", ""), of(jwt, four), Some(Succession::Newer));
    // The hint and the order of the keys are no change of whom the domain trusts.
    let hinted = |seconds: u64| {
        let hint = format!("{five},\"spiffe_refresh_hint\":{seconds}");
        of(jwt, &hint)
    };
    check(hinted(60), hinted(61), Some(Succession::Same));
    check(hinted(60), of(jwt, five), Some(Succession::Same));
    let next = keys().prepare(pair(9), NOW).unwrap();
    let document = next.bundle().jwt_document();
    let both = ambit_core::json::parse(document.as_bytes()).unwrap();
    let [first, second] = both.get("keys").unwrap().as_array().unwrap() else {
        panic!("two keys");
    };
    let (first, second) = (first.to_canonical(), second.to_canonical());
    let (there, back) = (format!("{first},{second}"), format!("{second},{first}"));
    check(of(&there, five), of(&back, five), Some(Succession::Same));
    check(of(&there, five), of(&first, five), None);
    check(of(&first, five), of(&there, five), None);
    check(of(&there, ""), of(&back, ""), Some(Succession::Same));
    let said = of(jwt, five).succession(&of("", four)).unwrap_err();
    let said = said.to_string();
    assert!(
        said.contains("says sequence 4 and 5 is held already"),
        "{said}"
    );
    let said = of(jwt, five).succession(&of(jwt, "")).unwrap_err();
    let said = said.to_string();
    assert!(
        said.contains("says no sequence and 5 is held already"),
        "{said}"
    );
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Prepare,
    Activate,
    Replace,
    Tidy,
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Prepare),
        Just(Step::Activate),
        Just(Step::Replace),
        Just(Step::Tidy),
        (1..2 * 24 * 60_u64).prop_map(Step::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the order of steps: the sequence never falls and changes with the keys, every live SVID of a key, X.509
    /// and JWT, that was not replaced is believed, and the text reads back.
    #[test]
    fn no_order_of_steps_strands_an_svid(steps in prop::collection::vec(step(), 1..24)) {
        let (mut keys, mut now, mut seed) = (keys(), NOW, 20_u8);
        let mut live: Vec<(Svid, String)> = Vec::new();
        for step in steps {
            let before = keys.clone();
            seed = seed % 90 + 1;
            let next = match step {
                Step::Prepare => keys.prepare(pair(seed), now),
                Step::Activate => keys.activate(now),
                Step::Replace => keys.replace(pair(seed), now),
                Step::Tidy => Ok(keys.tidy(now).unwrap()),
                Step::Later(minutes) => {
                    now = now.plus(Millis::from_seconds(minutes * 60));
                    Ok::<_, RotationError>(keys.clone())
                }
            };
            keys = next.unwrap_or(keys);
            if matches!(step, Step::Replace) {
                live.clear();
            }
            live.retain(|it| it.0.expires_at() > now);
            if keys.expires_at() > now.plus(SVID_TTL_MAX) {
                live.push((svid(&keys, now, SVID_TTL_MAX), jwt_svid(&keys, now)));
            }
            for (svid, jwt) in &live {
                prop_assert!(identify_instance(svid.chain(), keys.bundle(), now).is_ok());
                prop_assert!(jwt_svid::verify(jwt, keys.jwt_svid_keys(), AUDIENCE, now).is_ok());
            }
            let (old, new) = (before.bundle(), keys.bundle());
            let same = old.to_document() == new.to_document();
            prop_assert_eq!(old.succession(new).ok(), Some(if same { Succession::Same } else { Succession::Newer }));
            let again = IssuingKeys::from_text(&domain("example.org"), &keys.to_text()).unwrap();
            prop_assert_eq!(again.to_text(), keys.to_text());
            keys.gateway_svid(&gateway_key(), now, now.plus(HOUR), [3; 16]).unwrap();
        }
    }
}

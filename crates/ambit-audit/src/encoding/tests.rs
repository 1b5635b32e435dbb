use std::collections::BTreeSet;

use ambit_core::claim::ClaimProof;
use proptest::prelude::*;

use super::{arbitrary::record, *};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_record_reads_back_what_it_wrote(record in record()) {
        let leaf = encode(&record);
        prop_assert_eq!(&decode(&leaf).unwrap(), &record);
        // The leaf is canonical as a whole, not only member by member.
        let value = ambit_core::json::parse(&leaf).unwrap();
        prop_assert_eq!(value.to_canonical().into_bytes(), leaf);
    }

    #[test]
    fn an_altered_leaf_is_refused_or_another_record(
        record in record(),
        place in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let leaf = encode(&record);
        let mut altered = leaf.clone();
        altered[place.index(leaf.len())] = byte;
        if let Ok(found) = decode(&altered) {
            prop_assert_eq!(encode(&found), altered);
        }
    }
}

/// One leaf of every kind, frozen: if this fails, old logs can no longer be read or fold otherwise. Never change these
/// lines; new kinds get a new file.
#[test]
fn the_golden_leaves_are_still_read() {
    let mut kinds = BTreeSet::new();
    for line in GOLDEN.iter().flat_map(|it| it.lines()) {
        let record = decode(line.as_bytes()).unwrap();
        assert_eq!(encode(&record), line.as_bytes());
        let value = ambit_core::json::parse(line.as_bytes()).unwrap();
        kinds.insert(value.get("kind").unwrap().as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.len(), KINDS, "a kind has no golden leaf: {kinds:?}");
    let all = GOLDEN.concat();
    for proof in ClaimProof::ALL {
        let leaf = format!(r#""proof":"{}""#, proof.as_str());
        assert!(all.contains(&leaf), "{leaf} has no golden leaf");
    }
    for member in ["part", "client_proof", "registration"] {
        let in_token =
            |it: &&str| it.contains("token.issued") && it.contains(&format!("\"{member}\":"));
        assert!(
            all.lines().any(|it| in_token(&it)),
            "{member} has no golden leaf"
        );
    }
}

const GOLDEN: [&str; 15] = [
    include_str!("../../tests/golden/v1.jsonl"),
    include_str!("../../tests/golden/v1-reinstatement.jsonl"),
    include_str!("../../tests/golden/v1-keys.jsonl"),
    include_str!("../../tests/golden/v1-attended.jsonl"),
    include_str!("../../tests/golden/v1-claim.jsonl"),
    include_str!("../../tests/golden/v1-delegation.jsonl"),
    include_str!("../../tests/golden/v1-token.jsonl"),
    include_str!("../../tests/golden/v1-proof.jsonl"),
    include_str!("../../tests/golden/v1-words.jsonl"),
    include_str!("../../tests/golden/v1-content.jsonl"),
    include_str!("../../tests/golden/v1-bundle.jsonl"),
    include_str!("../../tests/golden/v1-begin.jsonl"),
    include_str!("../../tests/golden/v1-client.jsonl"),
    include_str!("../../tests/golden/v1-footing.jsonl"),
    include_str!("../../tests/golden/v1-jwt-svid.jsonl"),
];

const KINDS: usize = 38;

#[test]
fn what_this_version_does_not_know_is_refused() {
    let check = |leaf: &str, message: &str| {
        let refused = decode(leaf.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(message), "{leaf}: {refused}");
    };
    let person = "person_00000000000000000000000001";
    let known = format!(r#"{{"at":1,"kind":"person.known","person":"{person}","v":1}}"#);
    assert!(decode(known.as_bytes()).is_ok());
    check("", "not JSON");
    check("[]", "not an object");
    check("{}", "no `v`");
    check(&known.replace(":1}", ":2}"), "version");
    check(
        &known.replace("person.known", "person.seen"),
        "unknown kind",
    );
    check(
        &known.replace("\"v\"", "\"u\":0,\"v\""),
        "unknown member `u`",
    );
    check(&known.replace("\"v\"", "\"v\":1,\"v\""), "stands twice");
    check(
        &known.replace(person, "task_00000000000000000000000001"),
        "`person`",
    );
    check(&known.replace("\"at\":1", "\"at\":-1"), "`at`");
    check(
        &known.replace("\"at\":1", "\"at\":9007199254740992"),
        "not JSON",
    );
    check(&known.replace(":1,", ": 1,"), "canonical");
    check(&known.replace("\"at\":1", "\"at\":1.0"), "canonical");
    check(&known.replace("\"at\":1,", ""), "no `at`");
    check(&format!("{known}\n"), "canonical");
}

#[test]
fn labels_and_targets_have_one_spelling() {
    let decision = "dec_00000000000000000000000001";
    let task = "task_00000000000000000000000001";
    let with = |labels: &str| {
        format!(
            r#"{{"at":1,"decision":"{decision}","kind":"outcome","labels":{labels},"received_bytes":0,"sent_bytes":0,"status":"done","task":"{task}","took_ms":0,"v":1}}"#
        )
    };
    assert!(decode(with(r#"["a","b"]"#).as_bytes()).is_ok());
    for labels in [r#"["b","a"]"#, r#"["a","a"]"#, r#"["A"]"#, "null", "[1]"] {
        assert!(decode(with(labels).as_bytes()).is_err(), "{labels}");
    }
}

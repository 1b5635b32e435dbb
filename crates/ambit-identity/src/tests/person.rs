use std::collections::{BTreeMap, BTreeSet};

use ambit_core::estate::Person;

use crate::{IdentityError, PeerCredentials, PersonProof, identify_person};

fn check(uid: u32, expected: Result<&str, IdentityError>) {
    let people: BTreeMap<String, Person> = [
        ("ada", Some(1000)),
        ("bob", Some(1001)),
        ("eve", Some(1001)),
        ("zoe", None),
    ]
    .map(|(alias, unix_uid)| {
        let person = Person {
            alias: alias.to_owned(),
            unix_uid,
            oidc: None,
            roles: BTreeSet::new(),
            groups: BTreeSet::new(),
        };
        (alias.to_owned(), person)
    })
    .into();
    let (gid, pid) = (0, Some(1));
    let found = identify_person(PeerCredentials { uid, gid, pid }, &people);
    let found = found.map(|it| {
        assert_eq!(it.proof(), PersonProof::LocalUser { unix_uid: uid });
        it.alias().to_owned()
    });
    assert_eq!(found, expected.map(str::to_owned), "uid {uid}");
}

#[test]
fn exactly_one_person_has_the_uid() {
    check(1000, Ok("ada"));
    check(0, Err(IdentityError::UnknownUid { seen: 0 }));
    check(1002, Err(IdentityError::UnknownUid { seen: 1002 }));
    let aliases = vec!["bob".to_owned(), "eve".to_owned()];
    check(
        1001,
        Err(IdentityError::AmbiguousUid {
            seen: 1001,
            aliases,
        }),
    );
}

#[test]
fn the_message_says_what_to_write() {
    let error = IdentityError::UnknownUid { seen: 1002 }.to_string();
    assert!(error.contains("write `unix_uid = 1002`"), "{error}");
}

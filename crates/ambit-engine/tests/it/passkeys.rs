//! Passkeys and the links by which they are registered.

use ambit_core::{
    Millis, PasskeyId,
    act::Target,
    limits::{ENROLMENT_TTL, PASSKEYS_PER_PERSON_MAX},
    proof::Passkey,
};
use ambit_engine::{NewPasskey, NoPasskey, State, rebuild};
use ambit_identity::passkey::{NewKey, RelyingParty};
use ambit_testkit::{Authenticator, World, office};

/// Returns the key of an authenticator that calls it `name`.
fn key(name: &str) -> NewKey {
    let (url, challenge) = ("https://ambit.example.org", "Y2hhbGxlbmdl");
    let made = Authenticator::new(name, 7, url).create(challenge);
    let party = RelyingParty::of(url).unwrap();
    party.registered(&made.registration(), challenge).unwrap()
}

/// Has ana give `alias` a link, and returns its secret.
fn offer(world: &mut World, alias: &str) -> String {
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let alias = alias.to_owned();
    let offered = world.run(async move { handle.offer_enrolment(&ana, alias, moment).await });
    offered.unwrap().secret.to_string()
}

fn register(world: &mut World, secret: &str, name: &str) -> Result<Passkey, NoPasskey> {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let new = NewPasskey {
        secret: secret.to_owned(),
        key: key(name),
    };
    world.run(async move { handle.register_passkey(new, moment).await })
}

fn remove(world: &mut World, id: PasskeyId) {
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let removed = world.run(async move { handle.remove_passkey(&ana, id, moment).await });
    removed.unwrap();
}

#[track_caller]
fn refused(found: Result<Passkey, NoPasskey>, part: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

/// NHI07: a link is found after it was used, or after its time.
#[test]
fn nhi07_a_link_is_good_once_and_not_for_long() {
    let mut world = World::new(office(&[]), 1);
    let secret = offer(&mut world, "ben");
    refused(register(&mut world, "AAAA", "one"), "was used");
    world
        .clock
        .advance(Millis::new(ENROLMENT_TTL.as_millis() - 1));
    let now = world.clock.now();
    assert_eq!(world.handle.enrolment(&secret, now).unwrap().alias, "ben");
    register(&mut world, &secret, "one").unwrap();
    refused(register(&mut world, &secret, "two"), "was used");
    let secret = offer(&mut world, "ben");
    world.clock.advance(ENROLMENT_TTL);
    refused(register(&mut world, &secret, "two"), "was used");
    // A newer link takes the place of the one before.
    let (first, second) = (offer(&mut world, "ben"), offer(&mut world, "ben"));
    refused(register(&mut world, &first, "two"), "was used");
    register(&mut world, &second, "two").unwrap();
}

#[test]
fn a_person_has_so_many_passkeys_and_no_more() {
    let mut world = World::new(office(&[]), 1);
    let mut all = Vec::new();
    for number in 0..PASSKEYS_PER_PERSON_MAX {
        let secret = offer(&mut world, "ben");
        all.push(register(&mut world, &secret, &format!("key {number}")).unwrap());
    }
    let secret = offer(&mut world, "ben");
    refused(register(&mut world, &secret, "one more"), "the most");
    remove(&mut world, all[0].id);
    refused(register(&mut world, &secret, "key 1"), "already");
    register(&mut world, &secret, "one more").unwrap();
}

#[test]
fn passkeys_outlive_a_start_and_end_when_they_are_removed() {
    let mut world = World::new(office(&[]), 1);
    let clock = world.clock.clone();
    let secret = offer(&mut world, "ben");
    let passkey = register(&mut world, &secret, "one").unwrap();
    let mut world = World::open(world.crash(), office(&[]), clock);
    let found = world.handle.passkey_of(&passkey.credential).unwrap();
    assert_eq!(found, passkey);
    assert_eq!(world.handle.passkey_holder(passkey.id).unwrap(), "ben");
    let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
    let loaded = State::load(world.archive.as_ref()).expect("rows");
    assert_eq!(loaded.digest(), rebuilt.digest);
    remove(&mut world, passkey.id);
    assert!(world.handle.passkey_holder(passkey.id).is_err());
    assert!(world.handle.passkey_of(&passkey.credential).is_err());
}

/// ASI03: somebody who is banned has a link, or still gets one.
#[test]
fn asi03_a_ban_wins_over_links() {
    let mut world = World::new(office(&[]), 1);
    let secret = offer(&mut world, "ben");
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let now = world.clock.now();
    let ben = world.handle.enrolment(&secret, now).unwrap().person;
    let banned = world.run(async move {
        let target = Target::Person(ben);
        handle.revoke(&ana, target, "test".to_owned(), moment).await
    });
    banned.unwrap();
    refused(register(&mut world, &secret, "one"), "was used");
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let offered = world.run(async move {
        let alias = "ben".to_owned();
        handle.offer_enrolment(&ana, alias, moment).await
    });
    assert!(offered.unwrap_err().to_string().contains("banned"));
}

use std::collections::BTreeSet;

use ambit_core::Timestamp;
use proptest::prelude::*;

use super::*;

const CANARY: &[u8] = b"canary-7f3a: pay 100 to ada";

fn custody(chance: u8) -> FileCustody {
    FileCustody::new(SecretKey::new([chance; 32]))
}

fn task(number: u8) -> TaskId {
    TaskId::new(Timestamp::from_millis(1), [number; 10])
}

/// A custody with one wrapped key and one sealed blob.
fn sealed() -> (FileCustody, Vec<u8>, Sealed, Vec<u8>) {
    let custody = custody(1);
    let wrapped = custody.new_task_key(task(1), [2; 32]).unwrap();
    let (sealed, blob) = custody.seal(&wrapped, task(1), CANARY, [3; 12]).unwrap();
    (custody, wrapped, sealed, blob)
}

fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

#[test]
fn what_is_sealed_opens_to_the_same_bytes() {
    let (custody, wrapped, sealed, blob) = sealed();
    assert_eq!(
        custody.open(&wrapped, task(1), &sealed, &blob).unwrap(),
        CANARY
    );
    assert_eq!(sealed.blob, Some(Digest::of(&blob)));
    assert_eq!(
        custody.commit(&wrapped, task(1), CANARY).unwrap(),
        sealed.commitment
    );
    // Another process with the same key file, its cache empty.
    let again = self::custody(1);
    assert_eq!(
        again.open(&wrapped, task(1), &sealed, &blob).unwrap(),
        CANARY
    );
    assert_eq!(
        (wrapped.len(), blob.len()),
        (
            9 + 64 + aead::OVERHEAD_BYTES,
            1 + CANARY.len() + aead::OVERHEAD_BYTES
        )
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let (custody, wrapped, sealed, blob) = sealed();
    for changed in flips(&wrapped) {
        assert!(custody.commit(&changed, task(1), CANARY).is_err());
        assert!(
            self::custody(1)
                .open(&changed, task(1), &sealed, &blob)
                .is_err()
        );
    }
    let unnamed = Sealed {
        blob: None,
        ..sealed
    };
    for changed in flips(&blob) {
        assert!(custody.open(&wrapped, task(1), &sealed, &changed).is_err());
        assert!(custody.open(&wrapped, task(1), &unnamed, &changed).is_err());
    }
    for changed in flips(sealed.commitment.as_bytes()) {
        let commitment = Digest::from_bytes(changed.try_into().unwrap());
        let other = Sealed {
            commitment,
            ..sealed
        };
        assert!(custody.open(&wrapped, task(1), &other, &blob).is_err());
    }
    for length in 0..wrapped.len() {
        assert!(custody.commit(&wrapped[..length], task(1), CANARY).is_err());
    }
    for length in 0..blob.len() {
        assert!(
            custody
                .open(&wrapped, task(1), &unnamed, &blob[..length])
                .is_err()
        );
    }
    assert!(custody.open(&wrapped, task(1), &unnamed, &blob).is_ok());
}

#[test]
fn nothing_opens_for_another_task_or_under_another_key() {
    let (custody, wrapped, sealed, blob) = sealed();
    let other_key = custody.new_task_key(task(2), [2; 32]).unwrap();
    assert!(custody.open(&wrapped, task(2), &sealed, &blob).is_err());
    assert!(custody.open(&other_key, task(2), &sealed, &blob).is_err());
    assert!(custody.open(&other_key, task(1), &sealed, &blob).is_err());
    assert!(
        self::custody(9)
            .open(&wrapped, task(1), &sealed, &blob)
            .is_err()
    );
    assert!(custody.open(&wrapped, task(1), &sealed, &blob).is_ok());
}

#[test]
fn equal_chance_never_means_equal_keys() {
    let custody = custody(1);
    let mut seen = BTreeSet::new();
    for number in 0..16 {
        let wrapped = custody.new_task_key(task(number), [2; 32]).unwrap();
        assert!(
            seen.insert(wrapped[21..].to_vec()),
            "two tasks, one wrapping"
        );
        for plaintext in [b"one".as_slice(), b"two"] {
            let (_, blob) = custody
                .seal(&wrapped, task(number), plaintext, [3; 12])
                .unwrap();
            assert!(
                seen.insert(blob[13..].to_vec()),
                "two blobs, one key stream"
            );
        }
    }
    let (one, two) = (
        custody.new_task_key(task(1), [4; 32]),
        custody.new_task_key(task(1), [5; 32]),
    );
    assert_ne!(one.unwrap(), two.unwrap());
}

#[test]
fn plaintext_ends_at_its_maximum() {
    let (custody, wrapped, ..) = sealed();
    let seal = |length| custody.seal(&wrapped, task(1), &vec![0; length], [3; 12]);
    let (sealed, blob) = seal(PLAINTEXT_BYTES_MAX).unwrap();
    assert!(custody.open(&wrapped, task(1), &sealed, &blob).is_ok());
    assert!(matches!(
        seal(PLAINTEXT_BYTES_MAX + 1),
        Err(CustodyError::Seal { .. })
    ));
    let (sealed, blob) = seal(0).unwrap();
    assert_eq!(
        custody.open(&wrapped, task(1), &sealed, &blob).unwrap(),
        b""
    );
}

#[test]
fn the_cache_ends_at_its_maximum() {
    let mut cache = KeyCache::default();
    let key = Arc::new(TaskKey {
        salt: [0; 32],
        data_key: [0; 32],
    });
    let id = |number: usize| TaskId::from_bits(number as u128);
    for number in 0..TASK_KEYS_CACHED_MAX {
        cache.put(id(number), b"w", &key);
        cache.put(id(number), b"v", &key);
    }
    assert!(cache.get(id(0), b"v").is_some());
    assert!(
        cache.get(id(0), b"w").is_none(),
        "another wrapping is another key"
    );
    cache.put(id(TASK_KEYS_CACHED_MAX), b"v", &key);
    assert!(cache.get(id(0), b"v").is_none());
    assert_eq!(
        (cache.keys.len(), cache.order.len()),
        (TASK_KEYS_CACHED_MAX, TASK_KEYS_CACHED_MAX)
    );
    cache.forget(id(1));
    cache.forget(id(1));
    assert!(cache.get(id(1), b"v").is_none());
    assert_eq!(
        (cache.keys.len(), cache.order.len()),
        (TASK_KEYS_CACHED_MAX - 1, TASK_KEYS_CACHED_MAX - 1)
    );
}

#[test]
fn nothing_secret_is_printed() {
    let (custody, wrapped, sealed, mut blob) = sealed();
    blob[20] ^= 1;
    let error = custody.open(&wrapped, task(1), &sealed, &blob).unwrap_err();
    let printed = format!("{custody:?} {error:?} {error} {sealed:?}");
    assert!(
        !printed.contains("canary") && !printed.contains("1, 1, 1"),
        "{printed}"
    );
    assert!(!blob.windows(6).any(|it| it == b"canary"));
}

proptest! {
    #[test]
    fn any_bytes_come_back(plaintext: Vec<u8>, key: [u8; 32], chance: [u8; 32], nonce: [u8; 12], id: u128) {
        let custody = FileCustody::new(SecretKey::new(key));
        let task = TaskId::from_bits(id);
        let wrapped = custody.new_task_key(task, chance).unwrap();
        let (sealed, blob) = custody.seal(&wrapped, task, &plaintext, nonce).unwrap();
        prop_assert_eq!(custody.open(&wrapped, task, &sealed, &blob).unwrap(), plaintext);
    }

    #[test]
    fn any_other_bytes_are_refused(wrapped: Vec<u8>, blob: Vec<u8>) {
        let (custody, good, sealed, _) = sealed();
        prop_assert!(custody.commit(&wrapped, task(1), b"").is_err());
        let unnamed = Sealed { blob: None, ..sealed };
        prop_assert!(custody.open(&good, task(1), &unnamed, &blob).is_err());
    }
}

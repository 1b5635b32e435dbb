//! The fold by itself.

use ambit_core::{
    DecisionId, Digest, InstanceId, PersonId, Timestamp, TrustDomain,
    json::Value,
    record::{Body, Record, Sealed, Warrant},
    task::{Contained, Task},
};

use super::*;

fn started(number: u128) -> Record {
    let (instance, agent) = (InstanceId::from_bits(number), "clerk".parse().unwrap());
    let domain: TrustDomain = "example.org".parse().unwrap();
    let task = Task {
        id: TaskId::from_bits(number),
        template: "answer".parse().unwrap(),
        template_version: 1,
        estate: Digest::of(b"estate"),
        spiffe_id: domain.instance(&agent, instance),
        agent,
        instance,
        subject: PersonId::from_bits(1),
        parameters: BTreeMap::new(),
        authority: Digest::of(b"authority"),
        started_at: Timestamp::from_millis(1),
        expires_at: Timestamp::from_millis(2),
        contained: Contained::None,
        lineage: ambit_core::delegation::Lineage::Root,
    };
    let warrant = Warrant {
        decision: DecisionId::from_bits(number),
        by: PersonId::from_bits(1),
        rules: Vec::new(),
        facts: Value::Null,
    };
    let parameters = Sealed {
        commitment: Digest::of(b"words"),
        blob: None,
    };
    Record {
        at: Timestamp::from_millis(1),
        body: Body::TaskStarted {
            task: Box::new(task),
            parameters,
            warrant,
        },
    }
}

fn opened() -> State {
    let mut state = State::empty();
    let body = Body::LogOpened {
        origin: "example.org/log".to_owned(),
        recovered: None,
    };
    state
        .apply(
            0,
            &Record {
                at: Timestamp::from_millis(1),
                body,
            },
        )
        .unwrap();
    state
}

#[test]
fn live_tasks_end_at_their_maximum() {
    let mut state = opened();
    for number in 1..TASKS_LIVE_MAX as u64 {
        state.apply(number, &started(number.into())).unwrap();
    }
    assert_eq!(state.room(), Room::ForOneMore);
    state
        .apply(TASKS_LIVE_MAX as u64, &started(TASKS_LIVE_MAX as u128))
        .unwrap();
    assert_eq!(state.room(), Room::Full);
}

#[test]
fn what_does_not_follow_is_refused() {
    let mut empty = State::empty();
    assert_eq!(
        empty.apply(0, &started(1)),
        Err(FoldError::Opening { index: 0 })
    );
    let mut state = opened();
    state.apply(1, &started(1)).unwrap();
    assert!(matches!(
        state.apply(2, &started(1)),
        Err(FoldError::Twice { index: 2, .. })
    ));
    let end = Body::TaskEnded {
        task: TaskId::from_bits(9),
        end: ambit_core::task::End::Completed,
        by: ambit_core::record::Actor::Ambit,
    };
    let end = Record {
        at: Timestamp::from_millis(1),
        body: end,
    };
    assert!(matches!(
        state.apply(3, &end),
        Err(FoldError::Missing { index: 3, .. })
    ));
}

#[test]
fn a_log_knows_its_issuing_keys_from_the_beginning_or_never() {
    use ambit_core::record::KeyStep::{self, Activate, Begin, Prepare, Replace, Tidy};
    let rotated = |state: &mut State, index, step: KeyStep, name: &[u8], sequence| {
        let body = Body::KeysRotated {
            step,
            certificate: Digest::of(name),
            sequence,
            warrant: None,
        };
        let at = Timestamp::from_millis(1);
        state.apply(index, &Record { at, body })
    };
    let check = |steps: &[(KeyStep, &[u8], u64)], wanted: Option<(&[u8], u64)>| {
        let mut state = opened();
        for (index, (step, name, sequence)) in (1..).zip(steps) {
            rotated(&mut state, index, *step, name, *sequence).unwrap();
        }
        let wanted = wanted.map(|(name, sequence)| RecordedKeys {
            certificate: Digest::of(name),
            sequence,
        });
        assert_eq!(state.issuing, wanted, "{steps:?}");
        state
    };
    check(&[], None);
    // A log of an older binary folds as that one folded it.
    let old = check(&[(Replace, b"b", 2), (Prepare, b"c", 3)], None);
    assert_eq!(old.digest(), opened().digest());
    check(&[(Begin, b"a", 1)], Some((b"a", 1)));
    check(&[(Replace, b"b", 2), (Begin, b"b", 2)], Some((b"b", 2)));
    let prepared: [(_, &[u8], _); 2] = [(Begin, b"a", 1), (Prepare, b"b", 2)];
    check(&prepared, Some((b"a", 2)));
    check(
        &[prepared[0], prepared[1], (Activate, b"b", 3)],
        Some((b"b", 3)),
    );
    check(&[(Begin, b"a", 7), (Tidy, b"a", 8)], Some((b"a", 8)));
    let mut twice = check(&[(Begin, b"a", 1), (Replace, b"b", 2)], Some((b"b", 2)));
    assert!(rotated(&mut twice, 3, Begin, b"c", 3).is_err());
}

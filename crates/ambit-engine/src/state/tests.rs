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

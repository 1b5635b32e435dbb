//! What the tests say in one line.

use ambit_core::{
    ApprovalId, Labels, Millis, PersonId,
    act::Target,
    estate::{Estate, PersonRole},
    json::Value,
    record::{Status, Verdict},
};
use ambit_engine::{Answer, ApprovalSummary, Effect, Passage, Refusal};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};

/// Returns an object of arguments.
pub(crate) fn arguments<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::object(members)
}

/// Returns the arguments of `get_ticket`, `close_ticket` and `delete_ticket`.
pub(crate) fn id(text: &str) -> Value {
    arguments([("id", text.into())])
}

/// Returns the arguments of `refund`.
pub(crate) fn refund(cents: i64) -> Value {
    arguments([("id", "T-1".into()), ("cents", Value::Integer(cents))])
}

/// Returns the answer in one word or code.
pub(crate) fn word(answer: &Answer) -> String {
    match answer {
        Answer::Allowed(_) => "allow".to_owned(),
        Answer::Held(held) => format!("hold {}", held.reason),
        Answer::Denied(denied) => format!("deny {}", denied.reason),
    }
}

/// Calls `tool` and returns the answer in one word or code.
pub(crate) fn ask(
    world: &mut World,
    caller: &InstanceCaller,
    tool: &str,
    arguments: Value,
) -> String {
    word(&world.call(caller, tool, arguments))
}

/// Calls `tool`, which must be allowed, and passes the door.
pub(crate) fn pass(
    world: &mut World,
    caller: &InstanceCaller,
    tool: &str,
    arguments: Value,
) -> Passage {
    let Answer::Allowed(permit) = world.call(caller, tool, arguments) else {
        panic!("{tool} should be allowed")
    };
    world
        .handle
        .admit(permit, world.clock.now())
        .expect("a fresh permit passes")
}

/// What an act did that is done.
pub(crate) fn whole_effect() -> Effect {
    Effect {
        status: Status::Done,
        took: Millis::new(3),
        sent_bytes: 10,
        received_bytes: 20,
        labels: Labels::none(),
        result: Some(b"{}".to_vec()),
        failure: None,
    }
}

/// Ends an act as done.
pub(crate) fn done(world: &mut World, passage: Passage) {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    world
        .run(async move { handle.performed(passage, whole_effect(), moment).await })
        .expect("written");
    world.settle();
}

/// Holds a refund of `cents` and returns what is to be approved.
pub(crate) fn held(world: &mut World, caller: &InstanceCaller, cents: i64) -> ApprovalId {
    match world.call(caller, "refund", refund(cents)) {
        Answer::Held(held) => held.approval,
        other => panic!("a refund is held, not {}", word(&other)),
    }
}

/// Answers an approval as `alias`.
pub(crate) fn verdict(
    world: &mut World,
    alias: &str,
    approval: ApprovalId,
    verdict: Verdict,
) -> Result<ApprovalSummary, Refusal> {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    world.run(async move {
        handle
            .decide_approval(&person, approval, verdict, moment)
            .await
    })
}

/// Revokes `target` as `alias`, with these words.
pub(crate) fn revoke_as(world: &mut World, alias: &str, target: Target, words: &str) {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let words = words.to_owned();
    world
        .run(async move { handle.revoke(&person, target, words, moment).await })
        .expect("revoked");
}

/// Returns the person's pseudonym: the person looks, and so is known.
pub(crate) fn person(world: &mut World, alias: &str) -> PersonId {
    let (handle, caller, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let name = alias.to_owned();
    let found = world.run(async move {
        let inspection = handle.may_inspect(&caller, moment).await.expect("a role");
        handle.person_id(&inspection, &name)
    });
    found.expect("running").expect("known")
}

/// Returns the office in which ben may do everything, too.
pub(crate) fn two_administrators() -> Estate {
    let mut estate = office(&[]);
    let ben = estate.people.get_mut("ben").expect("ben");
    ben.roles = PersonRole::ALL.into_iter().collect();
    estate
}

/// Lets time do what it does.
pub(crate) fn tick(world: &mut World) {
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    world
        .run(async move { handle.tick(moment).await })
        .expect("a tick");
}

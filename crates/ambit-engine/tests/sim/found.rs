//! What the simulator found, in few words each.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use ambit_core::{
    Digest, Reason,
    act::Act,
    estate::{Estate, Tool},
    json::{self, Value},
    limits::APPROVAL_GRANTED_TTL,
    record::Verdict,
};
use ambit_engine::Answer;
use ambit_identity::InstanceCaller;
use ambit_policy::PolicyBook;
use ambit_testkit::{World, office};

#[test]
fn a_yes_that_ended_in_the_log_stays_ended_when_the_clock_is_set_back() {
    let (mut world, caller) = approved();
    world.clock.advance(APPROVAL_GRANTED_TTL);
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let ping = handle.refuse(&caller, "ping", Reason::MethodNotAllowed, moment);
    let written = world.run(ping);
    assert!(written.is_ok(), "{written:?}");
    world.clock.turn_back(APPROVAL_GRANTED_TTL);
    let answer = world.call(&caller, "refund", refund());
    assert!(matches!(answer, Answer::Held(_)), "{answer:?}");
}

#[test]
fn a_yes_to_a_tool_is_no_yes_to_the_tool_that_replaces_it_meanwhile() {
    let (mut world, caller) = approved();
    let book = PolicyBook::compile(Arc::new(repinned())).unwrap_or_else(|it| panic!("{it:?}"));
    let (handle, ana) = (world.handle.clone(), world.person("ana"));
    let (first, second) = (world.clock.moment(), world.clock.moment());
    let mut apply = pin!(handle.apply(&ana, Arc::new(book), Vec::new(), first));
    let act = Act::CallTool {
        server: "tickets".parse().unwrap_or_else(|it| panic!("{it}")),
        tool: "refund".parse().unwrap_or_else(|it| panic!("{it}")),
        arguments: refund(),
    };
    let mut decide = pin!(handle.decide(&caller, act, second));
    let mut applied = false;
    // The estate waits before the question, and the question is decided before the estate is in force.
    let answer = world.run(poll_fn(|context| {
        if !applied {
            applied = apply.as_mut().poll(context).is_ready();
        }
        decide.as_mut().poll(context)
    }));
    assert!(matches!(answer, Ok(Answer::Held(_))), "{answer:?}");
}

/// Returns a world in which `ben` said yes to a refund.
fn approved() -> (World, InstanceCaller) {
    let mut world = World::new(office(&[]), 5);
    let (_, caller) = world.start();
    let Answer::Held(held) = world.call(&caller, "refund", refund()) else {
        panic!("a refund is held")
    };
    let (handle, ben, moment) = (
        world.handle.clone(),
        world.person("ben"),
        world.clock.moment(),
    );
    let said = handle.decide_approval(&ben, held.approval, Verdict::Approved, moment);
    let said = world.run(said);
    assert!(said.is_ok(), "{said:?}");
    (world, caller)
}

fn refund() -> Value {
    Value::object([("id", "T-1".into()), ("cents", Value::Integer(500))])
}

fn repinned() -> Estate {
    let mut estate = office(&[]);
    estate.digest = Digest::of(b"repinned");
    for tool in estate
        .servers
        .values_mut()
        .flat_map(|it| it.tools.values_mut())
    {
        let text = tool.definition.to_canonical();
        let text = text.replacen("\"description\":\"", "\"description\":\"again ", 1);
        tool.definition = json::parse(text.as_bytes()).unwrap_or_else(|it| panic!("{it}"));
        tool.pin = Tool::pin_of(&tool.definition);
    }
    estate
}

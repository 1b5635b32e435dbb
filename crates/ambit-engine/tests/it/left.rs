//! Who asked for an end and left: what is durable has its effect, and no act under way goes on.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use ambit_core::{Digest, Reason, act::Target, task::End};
use ambit_engine::{Delegator, Ender, Handle, Moment};
use ambit_policy::PolicyBook;
use ambit_testkit::{World, delegating_office};

use crate::{
    delegation::{By, CLOSE, child, delegate, exchange, part},
    support::{id, pass},
};

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Asks for an end, hangs up, and says why the act of a task of `ana` was cut.
fn cut_by(end: &impl AsyncFn(Handle, &World, Moment)) -> Option<Reason> {
    let mut world = World::new(delegating_office(1, &[]), 1);
    let (_, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    assert!(poll(end(handle, &world, moment)).is_pending());
    world.settle();
    match poll(passage.cancelled()) {
        Poll::Ready(reason) => Some(reason),
        Poll::Pending => None,
    }
}

/// ASI10: the act of a task goes on for nobody.
#[test]
fn asi10_an_end_whose_asker_left_cuts_what_is_under_way() {
    let by_person = cut_by(&async |handle, world, moment| {
        let task = world.records().into_iter().find_map(|it| match it.body {
            ambit_core::record::Body::TaskStarted { task, .. } => Some(task.id),
            _ => None,
        });
        let ana = world.person("ana");
        let by = Ender::Person(&ana);
        let _ = handle
            .end_task(by, task.unwrap(), End::Completed, moment)
            .await;
    });
    assert_eq!(by_person, Some(Reason::TaskEnded));
    let by_revocation = cut_by(&async |handle, world, moment| {
        let (ana, agent) = (world.person("ana"), Target::Agent("clerk".parse().unwrap()));
        let _ = handle.revoke(&ana, agent, "test".to_owned(), moment).await;
    });
    assert_eq!(by_revocation, Some(Reason::AgentRevoked));
    let by_estate = cut_by(&async |handle, world, moment| {
        let mut estate = delegating_office(1, &[]);
        estate.servers.clear();
        for template in estate.templates.values_mut() {
            template.tools.clear();
        }
        estate.digest = Digest::of(b"another");
        let book = Arc::new(PolicyBook::compile(Arc::new(estate)).unwrap());
        let _ = handle
            .apply(&world.person("ana"), book, Vec::new(), moment)
            .await;
    });
    assert!(by_estate.is_some());
}

/// ASI10: neither does the act of a child whose part was taken back.
#[test]
fn asi10_a_withdrawal_whose_asker_left_cuts_the_childs_acts() {
    let mut world = World::new(delegating_office(1, &[]), 1);
    let (started, caller) = world.start();
    let by = By::Run(caller.clone());
    let what = part(started.task.id, "helper", CLOSE, 0);
    let given = delegate(&mut world, &by, what).unwrap();
    let (_, taker) = exchange(&mut world, &By::Person("ana"), given.id).unwrap();
    let passage = pass(&mut world, &taker, "close_ticket", id("T-1"));
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let leaving = handle.withdraw(Delegator::Instance(&caller), given.id, moment);
    assert!(poll(leaving).is_pending());
    world.settle();
    assert_eq!(poll(passage.cancelled()), Poll::Ready(Reason::TaskEnded));
}

/// ASI10: what is below a task that its own run completed ends with it, too.
#[test]
fn asi10_a_completion_whose_asker_left_cuts_what_is_below() {
    let mut world = World::new(delegating_office(1, &[]), 1);
    let (started, caller) = world.start();
    let (_, taker) = child(&mut world, (started.task.id, &caller), ("helper", CLOSE, 0));
    let passage = pass(&mut world, &taker, "close_ticket", id("T-1"));
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let by = Ender::Instance(&caller);
    let leaving = handle.end_task(by, started.task.id, End::Completed, moment);
    assert!(poll(leaving).is_pending());
    world.settle();
    assert_eq!(poll(passage.cancelled()), Poll::Ready(Reason::TaskEnded));
}

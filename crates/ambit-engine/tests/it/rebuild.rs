//! The tables are the fold of the log, and a start reads back what was so.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::record::Verdict;
use ambit_engine::{CompileEstate, State, TABLES, rebuild, replay_all};
use ambit_policy::PolicyBook;
use ambit_testkit::{World, office};

use crate::support::{ask, done, held, id, pass, refund, verdict};

/// Does a bit of everything.
fn busy() -> (World, ambit_identity::InstanceCaller) {
    let mut world = World::new(office(&[]), 4);
    let (_, caller) = world.start();
    let (over, _) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    done(&mut world, passage);
    let approval = held(&mut world, &caller, 500);
    verdict(&mut world, "ben", approval, Verdict::Approved).expect("yes");
    held(&mut world, &caller, 700);
    drop(pass(&mut world, &caller, "close_ticket", id("T-1")));
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    let target = ambit_core::act::Target::Task(over.task.id);
    world
        .run(async move { handle.revoke(&ana, target, "over".to_owned(), moment).await })
        .expect("revoked");
    (world, caller)
}

#[test]
fn a_rebuild_gives_the_same_rows() {
    let (world, _) = busy();
    let rebuilt = rebuild(world.archive.as_ref()).expect("a log that folds");
    for table in TABLES {
        let stored: BTreeMap<_, _> = world.archive.rows(table).unwrap().into_iter().collect();
        assert_eq!(rebuilt.tables.get(table), Some(&stored), "{table}");
    }
    assert_eq!(
        State::load(world.archive.as_ref()).unwrap().digest(),
        rebuilt.digest
    );
}

#[test]
fn every_decision_is_derived_again_alike() {
    let (world, _) = busy();
    let book = Arc::new(PolicyBook::compile(Arc::new(office(&[]))).expect("an estate"));
    let compile: CompileEstate = Arc::new(move |_| Ok(book.clone()));
    let report = replay_all(world.archive.as_ref(), &compile).expect("a log that is read");
    assert!(report.same >= 9, "{report:?}");
    assert!(report.different.is_empty(), "{report:?}");
}

#[test]
fn a_start_reads_back_what_was_so() {
    let (world, caller) = busy();
    let clock = world.clock.clone();
    let opened = world.crash();
    let mut world: World = World::open(opened, office(&[]), clock);
    let unknown = world.records().iter().any(|it| {
        matches!(&it.body, ambit_core::record::Body::Performed(it) if it.status == ambit_core::record::Status::Unknown)
    });
    assert!(unknown, "the act under way at the crash is unknown");
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "allow",
        "the yes is still there, once"
    );
    assert_eq!(
        ask(&mut world, &caller, "refund", refund(500)),
        "hold approval_required"
    );
    assert_eq!(
        ask(&mut world, &caller, "close_ticket", id("T-1")),
        "allow",
        "the second of two"
    );
    assert_eq!(
        ask(&mut world, &caller, "close_ticket", id("T-1")),
        "deny budget_exhausted"
    );
}

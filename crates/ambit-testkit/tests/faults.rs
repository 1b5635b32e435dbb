//! A disk that is full, broken or read-only: the engine stops acting and says what to do, nothing that was acknowledged
//! is lost, and the next start goes on.

#![cfg(test)]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use ambit_core::{
    act::Act,
    json::Value,
    task::{Contained, Task},
};
use ambit_engine::{Answer, EngineError, StartTask};
use ambit_identity::InstanceCaller;
use ambit_testkit::{
    Fault, TestClock, TornDisk,
    sim::{Broken, Claim, Engine, Site, check_whole, records},
};

#[test]
fn a_full_disk_stops_the_engine() {
    check(Fault::Full, "free some space and restart ambit");
}

#[test]
fn a_failed_sync_stops_the_engine() {
    check(Fault::Sync, "mend or replace the disk, and restart ambit");
}

#[test]
fn a_read_only_disk_stops_the_start() {
    let (disk, site, _directory) = site(3);
    drop(site.open().unwrap());
    disk.set_fault(Some(Fault::ReadOnly));
    let refused: Broken = site.open().err().unwrap();
    assert!(
        refused.contains("let ambit write its file and directory"),
        "{refused}"
    );
    disk.set_fault(None);
    site.open().unwrap();
}

#[track_caller]
fn check(fault: Fault, advice: &str) {
    let (disk, site, _directory) = site(fault as u64);
    let mut engine = site.open().unwrap();
    let (task, caller) = begin(&site, &mut engine);
    let mut said = vec![Claim::TaskStarted(task.id)];
    let Ok(Answer::Allowed(permit)) = ask(&site, &mut engine, &caller) else {
        panic!("a read is allowed")
    };
    said.push(Claim::Allowed(permit.value().decision()));

    disk.set_fault(Some(fault));
    let refused = ask(&site, &mut engine, &caller).unwrap_err();
    assert!(refused.to_string().contains(advice), "{refused}");
    // From now on nothing acts, not even on what was permitted before, whatever the disk says.
    disk.set_fault(None);
    let refused = ask(&site, &mut engine, &caller).unwrap_err();
    assert!(matches!(refused, EngineError::Stopped(_)), "{refused}");
    assert!(refused.to_string().contains(advice), "{refused}");
    let now = site.moment().now;
    assert!(engine.handle.admit(permit, now).is_err());

    drop(engine);
    let mut engine = site.open().unwrap();
    let mut laws = site.laws();
    for (_, record) in records(engine.archive.as_ref(), 0).unwrap() {
        laws.take(&record).unwrap();
    }
    for claim in said {
        assert!(laws.holds(&claim.to_string()), "{claim} is lost");
    }
    assert!(laws.unaccounted().is_empty());
    check_whole(engine.archive.as_ref(), &site.verifier()).unwrap();
    assert!(matches!(
        ask(&site, &mut engine, &caller),
        Ok(Answer::Allowed(_))
    ));
}

fn site(seed: u64) -> (TornDisk, Site, tempfile::TempDir) {
    let disk = TornDisk::new(seed).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let vfs = Some(disk.vfs().to_owned());
    let site = Site::new(directory.path(), vfs, TestClock::new(seed));
    (disk, site, directory)
}

/// Puts the estate in force and starts a task.
fn begin(site: &Site, engine: &mut Engine) -> (Task, InstanceCaller) {
    let ((book, files), ana, handle) = (site.estate(0), site.person("ana"), engine.handle.clone());
    run(engine, handle.apply(&ana, book, files, site.moment())).unwrap();
    let ask = StartTask {
        template: "answer".parse().unwrap(),
        agent: "clerk".parse().unwrap(),
        parameters: [
            ("ticket".to_owned(), Value::from("T-1")),
            ("customer".to_owned(), Value::from("kim@example.org")),
        ]
        .into(),
        contained: Contained::Namespaces,
    };
    let started = run(engine, handle.start_task(&ana, ask, site.moment())).unwrap();
    let task = (*started.task).clone();
    let caller = site.instance(&task);
    (task, caller)
}

fn ask(site: &Site, engine: &mut Engine, caller: &InstanceCaller) -> Result<Answer, EngineError> {
    let act = Act::CallTool {
        server: "tickets".parse().unwrap(),
        tool: "get_ticket".parse().unwrap(),
        arguments: Value::object([("id", "T-1".into())]),
    };
    let handle = engine.handle.clone();
    run(engine, handle.decide(caller, act, site.moment()))
}

fn run<F: Future>(engine: &mut Engine, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        engine.sequencer.step();
    }
}

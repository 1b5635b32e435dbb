//! What a test kills: an engine over a SQLite file under load from several threads. It says each thing that was
//! acknowledged on a line of its own.
//!
//! It reads one line: its number among the lives of a directory, and the directory.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program to be killed by tests stops at the first surprise, and talks to them"
)]

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use ambit_core::{
    Labels, Millis,
    act::{Act, Target},
    json::Value,
    record::{Status, Verdict},
    task::{Contained, Task},
};
use ambit_engine::{Answer, Effect, EffectiveRecord, Handle, StartTask};
use ambit_identity::InstanceCaller;
use ambit_testkit::{
    TestClock,
    sim::{Claim, Site},
};

/// How many threads act at once.
const THREADS: u64 = 6;

fn main() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    let words = line.trim_end().split_once(' ');
    let (life, directory) = words.expect("a number and a directory");
    let life: u64 = life.parse().expect("a number");
    let clock = TestClock::new(life);
    clock.advance(Millis::from_seconds(life * 600));
    let site = Arc::new(Site::new(directory, None, clock.clone()));
    let engine = site.open().expect("an engine opens");
    let (handle, sequencer) = (engine.handle, engine.sequencer);
    thread::spawn(move || sequencer.run());
    let first = Worker {
        site,
        handle,
        clock,
        number: 0,
    };
    first.apply();
    let spawn = |number| {
        let worker = Worker {
            site: first.site.clone(),
            handle: first.handle.clone(),
            clock: first.clock.clone(),
            number,
        };
        thread::spawn(move || worker.run())
    };
    let threads: Vec<_> = (0..THREADS).map(spawn).collect();
    for thread in threads {
        thread.join().expect("a thread works until it is killed");
    }
}

/// One thread: the runner, the agent, the approver and the operator of its own tasks.
struct Worker {
    site: Arc<Site>,
    handle: Handle,
    clock: TestClock,
    number: u64,
}

impl Worker {
    fn apply(&self) {
        let (book, files) = self.site.estate(0);
        let (ana, moment) = (self.site.person("ana"), self.site.moment());
        let applied = wait(self.handle.apply(&ana, book, files, moment));
        say(&Claim::Applied(applied.expect("ana may apply").estate));
    }

    /// Works until it is killed.
    fn run(&self) {
        for round in 0..u64::MAX {
            self.work(round);
        }
    }

    fn work(&self, round: u64) {
        let (task, caller) = self.start();
        for cents in 1..3 {
            self.call(&caller, "get_ticket", &[("id", "T-1".into())]);
            self.call(&caller, "close_ticket", &[("id", "T-1".into())]);
            self.call(&caller, "delete_ticket", &[("id", "T-1".into())]);
            let refund = [("id", "T-1".into()), ("cents", Value::Integer(cents))];
            self.call(&caller, "refund", &refund);
            self.call(&caller, "refund", &refund);
            self.clock.advance(Millis::new(7));
        }
        let moment = self.site.moment();
        match (round + self.number) % 3 {
            0 => {
                let (ana, target) = (self.site.person("ana"), Target::Task(task.id));
                let reason = "killed soon".to_owned();
                let report = wait(self.handle.revoke(&ana, target, reason, moment));
                let report = report.expect("ana may revoke");
                say(&Claim::Revoked(report.revocation));
                if report.effective == EffectiveRecord::Written {
                    say(&Claim::Effective(report.revocation));
                }
            }
            1 => {
                let ended = self.handle.end_unserved(task.id);
                wait(ended).expect("a runner may go");
                say(&Claim::TaskOver(task.id));
            }
            _ => wait(self.handle.tick(moment)).expect("a tick"),
        }
    }

    fn start(&self) -> (Task, InstanceCaller) {
        let ask = StartTask {
            template: "answer".parse().expect("a name"),
            agent: "clerk".parse().expect("a name"),
            parameters: [
                ("ticket".to_owned(), Value::from("T-1")),
                ("customer".to_owned(), Value::from("kim@example.org")),
            ]
            .into(),
            contained: Contained::Namespaces,
        };
        let (ana, moment) = (self.site.person("ana"), self.site.moment());
        let started = wait(self.handle.start_task(&ana, ask, moment)).expect("ana may start");
        say(&Claim::TaskStarted(started.task.id));
        let caller = self.site.instance(&started.task);
        ((*started.task).clone(), caller)
    }

    fn call(&self, caller: &InstanceCaller, tool: &str, arguments: &[(&str, Value)]) {
        let act = Act::CallTool {
            server: "tickets".parse().expect("a name"),
            tool: tool.parse().expect("a name"),
            arguments: Value::object(arguments.iter().cloned()),
        };
        let answer = wait(self.handle.decide(caller, act, self.site.moment()));
        match answer.expect("an answer") {
            Answer::Allowed(permit) => {
                let decision = permit.value().decision();
                say(&Claim::Allowed(decision));
                let Ok(passage) = self.handle.admit(permit, self.clock.now()) else {
                    return;
                };
                let effect = Effect {
                    status: Status::Done,
                    took: Millis::new(1),
                    sent_bytes: 10,
                    received_bytes: 20,
                    labels: Labels::new("customer".parse().ok()).expect("few labels"),
                    result: Some(b"{}".to_vec()),
                    failure: None,
                };
                let moment = self.site.moment();
                wait(self.handle.performed(passage, effect, moment)).expect("written");
                say(&Claim::Ended(decision));
            }
            Answer::Held(held) => {
                say(&Claim::Held(held.decision, held.approval));
                let (ben, moment) = (self.site.person("ben"), self.site.moment());
                let said =
                    self.handle
                        .decide_approval(&ben, held.approval, Verdict::Approved, moment);
                wait(said).expect("ben may approve");
                say(&Claim::Verdict(held.approval, Verdict::Approved));
            }
            Answer::Denied(denied) => say(&Claim::Denied(denied.decision)),
        }
    }
}

/// Says what was acknowledged, in one write.
fn say(claim: &Claim) {
    println!("{claim}");
}

/// Waits for `future` on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

//! What a test runs on a small disk: an engine over a SQLite file, and a stranger who fills the disk. It says each step
//! that went as promised on a line of its own, and stops at the first that did not.
//!
//! It reads one line: the directory.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that a test runs stops at the first surprise, and talks to it"
)]

use std::{
    fs::{self, File},
    future::Future,
    io::Write,
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
};

use ambit_core::{
    Labels, Millis,
    act::{Act, Target},
    json::Value,
    record::Status,
    task::{Contained, End, Task},
};
use ambit_engine::{Answer, Effect, Ender, EngineError, Passage, Refusal, StartTask};
use ambit_identity::InstanceCaller;
use ambit_testkit::{
    TestClock,
    sim::{Engine, Site, check_whole, records},
};

/// How many acts may go through between the last free byte and the refusal.
const LAST_ACTS_MAX: usize = 20;

fn main() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    let directory = Path::new(line.trim_end());
    let clock = TestClock::new(5);
    let site = Site::new(directory, None, clock);
    let mut desk = Scene::open(&site);
    desk.apply();
    let (task, caller) = desk.begin("clerk");
    let (other, _) = desk.begin("scribe");
    let passage = desk.pass(&caller);
    println!("acts");

    let filler = directory.join("filler");
    fill(&filler);
    let acted = (0..=LAST_ACTS_MAX).take_while(|_| desk.ask(&caller).is_ok());
    assert!(acted.count() <= LAST_ACTS_MAX, "it acts on a full disk");
    assert!(matches!(desk.ask(&caller), Err(EngineError::NoSpace)));
    assert!(matches!(
        desk.engine.handle.ready(),
        Err(EngineError::NoSpace)
    ));
    println!("stops acting");
    desk.refuses_to_start();
    println!("starts nothing");
    desk.perform(passage);
    println!("writes outcomes");
    desk.end(&other);
    println!("ends tasks");
    desk.revoke(Target::Agent("scribe".parse().unwrap()));
    println!("revokes");

    drop(desk);
    let mut desk = Scene::open(&site);
    desk.tick();
    desk.revoke(Target::Server("vault".parse().unwrap()));
    println!("starts and revokes while it is full");

    fs::remove_file(&filler).unwrap();
    desk.tick();
    assert!(matches!(desk.ask(&caller), Ok(Answer::Allowed(_))));
    desk.engine.handle.ready().unwrap();
    println!("acts again by itself");

    drop(desk);
    let engine = site.open().expect("an engine opens");
    let mut laws = site.laws();
    for (_, record) in records(engine.archive.as_ref(), 0).unwrap() {
        laws.take(&record).unwrap();
    }
    assert!(laws.is_over(other.id, None) && !laws.is_over(task.id, None));
    check_whole(engine.archive.as_ref(), &site.verifier()).unwrap();
    println!("kept its promises");
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1024 * 1024, 4096, 1] {
        let bytes = vec![b'x'; size];
        while file.write_all(&bytes).is_ok() {}
    }
}

/// An engine, driven step by step, and who uses it.
struct Scene<'a> {
    site: &'a Site,
    engine: Engine,
}

impl<'a> Scene<'a> {
    fn open(site: &'a Site) -> Self {
        let engine = site.open().expect("an engine opens");
        Self { site, engine }
    }

    fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.engine.sequencer.step();
        }
    }

    fn apply(&mut self) {
        let ((book, files), ana) = (self.site.estate(0), self.site.person("ana"));
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        self.run(handle.apply(&ana, book, files, moment)).unwrap();
    }

    fn start(&mut self, agent: &str) -> Result<Task, Refusal> {
        let ask = StartTask {
            template: "answer".parse().unwrap(),
            agent: agent.parse().unwrap(),
            parameters: [
                ("ticket".to_owned(), Value::from("T-1")),
                ("customer".to_owned(), Value::from("kim@example.org")),
            ]
            .into(),
            contained: Contained::Namespaces,
        };
        let ana = self.site.person("ana");
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        let started = self.run(handle.start_task(&ana, ask, moment));
        started.map(|it| (*it.task).clone())
    }

    fn begin(&mut self, agent: &str) -> (Task, InstanceCaller) {
        let task = self.start(agent).expect("a task starts");
        let caller = self.site.instance(&task);
        (task, caller)
    }

    fn refuses_to_start(&mut self) {
        let refused = self.start("clerk");
        let no_space = matches!(refused, Err(Refusal::Failed(EngineError::NoSpace)));
        assert!(no_space, "{refused:?}");
    }

    fn ask(&mut self, caller: &InstanceCaller) -> Result<Answer, EngineError> {
        let act = Act::CallTool {
            server: "tickets".parse().unwrap(),
            tool: "get_ticket".parse().unwrap(),
            arguments: Value::object([("id", "T-1".into())]),
        };
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        self.run(handle.decide(caller, act, moment))
    }

    fn pass(&mut self, caller: &InstanceCaller) -> Passage {
        let Ok(Answer::Allowed(permit)) = self.ask(caller) else {
            panic!("a read is allowed")
        };
        let now = self.site.moment().now;
        self.engine.handle.admit(permit, now).unwrap()
    }

    fn perform(&mut self, passage: Passage) {
        let effect = Effect {
            status: Status::Done,
            took: Millis::new(3),
            sent_bytes: 10,
            received_bytes: 20,
            // A label found only in the result is durable on return.
            labels: Labels::new(["customer".parse().unwrap()]).unwrap(),
            result: Some(vec![b'x'; 60_000]),
            failure: None,
        };
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        self.run(handle.performed(passage, effect, moment)).unwrap();
    }

    fn end(&mut self, task: &Task) {
        let ana = self.site.person("ana");
        let ender = Ender::Person(&ana);
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        self.run(handle.end_task(ender, task.id, End::Cancelled, moment))
            .unwrap();
    }

    fn revoke(&mut self, target: Target) {
        let (ana, reason) = (self.site.person("ana"), "the disk fills".to_owned());
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        self.run(handle.revoke(&ana, target, reason, moment))
            .unwrap();
    }

    fn tick(&mut self) {
        let (handle, moment) = (self.engine.handle.clone(), self.site.moment());
        self.run(handle.tick(moment)).unwrap();
    }
}

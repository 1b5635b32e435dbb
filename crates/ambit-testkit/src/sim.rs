//! A seeded simulator: the real engine over the real SQLite store on a disk that loses power, driven by chance, with
//! the promises checked from the log alone after every step.
//!
//! Everything that happens follows from the seed, so that a failing seed can be played again. That is why all of it is one
//! thread: what threads would do to each other is drawn instead. Several acts are decided upon one snapshot before the
//! sequencer works, they come to its desk in any order and later than they were begun, and a batch is cut after any of
//! them. Not drawn is what happens within one poll: an act reads its snapshot and joins the queue in one piece, and a door's
//! recheck is one piece too. Locks and atomics are tried by the tests of the engine, which have real threads.

mod actions;
mod claims;
mod delegations;
mod estates;
mod laws;
mod machine;
mod running;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ambit_audit::Recorded;
use ambit_core::{
    ApprovalId, DecisionId, DelegationId, InstanceId, PersonId,
    act::Act,
    record::{Body, Status},
    task::Task,
};
use ambit_engine::{Passage, State};
use ambit_identity::{InstanceCaller, token::access::AccessToken};
use ambit_policy::Permit;

pub use self::{
    claims::Claim,
    laws::{Broken, Laws},
    machine::{Engine, ORIGIN, Site, log_key},
    whole::{check_whole, records},
};
use self::{laws::ensure, machine::Machine, running::Running, whole::words};
use crate::torn_disk::Chance;

/// How many steps one seed takes.
const STEPS: u64 = 200;

/// What a simulation did, so that a test can see that it was no idle one.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// A simulation that broke a promise.
#[derive(Debug)]
pub struct Failed {
    /// Which simulation.
    pub seed: u64,
    /// What it did, in order.
    pub steps: Vec<String>,
    /// Which promise, in words.
    pub broken: Broken,
}

/// Runs the simulation of `seed` to its end.
///
/// # Errors
/// A promise is broken.
pub fn simulate(seed: u64) -> Result<Tally, Failed> {
    let mut simulation = Simulation::new(seed);
    match simulation.run() {
        Ok(()) => Ok(simulation.tally),
        Err(broken) => Err(Failed {
            seed,
            steps: simulation.steps,
            broken,
        }),
    }
}

/// A world with several tasks and callers, and what was promised to it.
struct Simulation {
    machine: Machine,
    chance: Chance,
    laws: Laws,
    /// Every leaf that was seen. None of them may ever change.
    leaves: Vec<Vec<u8>>,
    /// What was acknowledged and not yet found in the log.
    unproved: Vec<Claim>,
    running: Vec<Running>,
    agents: Vec<Agent>,
    people: BTreeMap<&'static str, PersonId>,
    delegations: Vec<DelegationId>,
    tokens: Vec<AccessToken>,
    /// What was asked for, and by which question.
    approvals: Vec<(ApprovalId, Asking)>,
    permits: Vec<Recorded<Permit>>,
    passages: Vec<Passage>,
    admitted: BTreeSet<DecisionId>,
    asked: BTreeMap<InstanceId, u64>,
    unwritten: u64,
    /// The holds that somebody was told of. Who asks again is counted and not written.
    held: BTreeSet<DecisionId>,
    crashes: u64,
    refused_people: u64,
    steps: Vec<String>,
    tally: Tally,
}

/// A question of an agent.
type Asking = (InstanceCaller, InstanceId, Act);

/// An agent with its task and its certificate. It outlives crashes of Ambit.
struct Agent {
    task: Task,
    caller: InstanceCaller,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let machine = Machine::new(seed);
        Self {
            laws: machine.site.laws(),
            machine,
            chance: Chance(seed ^ 0x5eed),
            leaves: Vec::new(),
            unproved: Vec::new(),
            running: Vec::new(),
            agents: Vec::new(),
            people: BTreeMap::new(),
            delegations: Vec::new(),
            tokens: Vec::new(),
            approvals: Vec::new(),
            permits: Vec::new(),
            passages: Vec::new(),
            admitted: BTreeSet::new(),
            asked: BTreeMap::new(),
            unwritten: 0,
            held: BTreeSet::new(),
            crashes: 0,
            refused_people: 0,
            steps: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn run(&mut self) -> Result<(), Broken> {
        self.reopen()?;
        while self.laws.estate().is_none() {
            self.apply(0)?;
            self.settle()?;
        }
        for _ in 0..STEPS {
            self.draw()?;
            self.check()?;
        }
        self.settle()?;
        self.crash()
    }

    /// Notes what happens, so that it can be told when a promise breaks.
    fn note(&mut self, what: &'static str, how: impl fmt::Display) {
        *self.tally.counts.entry(what).or_insert(0) += 1;
        self.steps.push(format!("{what} {how}"));
    }

    /// Lets the engine die, with or without the power, and starts it again.
    fn crash(&mut self) -> Result<(), Broken> {
        if self.machine.disk.is_off() || self.chance.below(2) == 0 {
            self.note("lose power", "");
            self.machine.disk.cut();
        } else {
            self.note("halt", "");
        }
        // All of it is memory of the process.
        self.crashes += 1;
        self.running.clear();
        self.permits.clear();
        self.passages.clear();
        self.machine.engine = None;
        if self.machine.disk.is_off() {
            self.machine.disk.restart();
        }
        self.reopen()
    }

    /// Opens the engine, however often the power fails meanwhile, and checks what is durable.
    fn reopen(&mut self) -> Result<(), Broken> {
        loop {
            if self.chance.below(5) == 0 {
                let steps = self.chance.below(300);
                self.note("fuse", steps);
                self.machine.disk.fail_after(steps);
            }
            match self.machine.open() {
                Ok(()) => break,
                Err(_) if self.machine.disk.is_off() => self.machine.disk.restart(),
                Err(error) => return Err(format!("a start fails: {error}")),
            }
        }
        let leaves = std::mem::take(&mut self.leaves);
        let found = records(self.machine.archive()?, 0)?;
        let kept = found.iter().take(leaves.len()).map(|(leaf, _)| leaf);
        ensure(kept.eq(leaves.iter()), || {
            "a durable record was lost or changed".to_owned()
        })?;
        self.leaves = leaves;
        self.absorb()?;
        self.prove()?;
        let open = self.laws.unaccounted();
        ensure(open.is_empty(), || {
            format!("a start leaves {open:?} without an end")
        })?;
        self.check_open_acts()?;
        check_whole(self.machine.archive()?, &self.machine.site.verifier())
    }

    /// Checks that the acts of which nobody knows the end are listed as such.
    fn check_open_acts(&self) -> Result<(), Broken> {
        let state = State::load(self.machine.archive()?).map_err(words)?;
        let listed: BTreeMap<_, _> = state
            .open_acts()
            .map(|it| (it.decision, it.status))
            .collect();
        let unknown = listed.values().all(|it| *it == Some(Status::Unknown));
        ensure(unknown && listed == self.laws.open, || {
            "the acts of unknown end are not listed as unknown".to_owned()
        })
    }

    /// Takes the records that are new in the log.
    fn absorb(&mut self) -> Result<(), Broken> {
        if self.machine.disk.is_off() {
            return Ok(());
        }
        let archive = self.machine.archive()?;
        if archive.size().map_err(words)? == self.leaves.len() as u64 {
            return Ok(());
        }
        for (leaf, record) in records(archive, self.leaves.len() as u64)? {
            let index = self.leaves.len();
            if let Body::StateDigest { digest } = record.body {
                self.note("digest", digest);
            }
            let taken = self.laws.take(&record);
            taken.map_err(|broken| format!("record {index}: {broken} ({:?})", record.body))?;
            self.leaves.push(leaf);
        }
        Ok(())
    }

    /// Looks for everything that was acknowledged in the log.
    fn prove(&mut self) -> Result<(), Broken> {
        if self.machine.disk.is_off() {
            return Ok(());
        }
        for claim in self.unproved.drain(..) {
            let claim = claim.to_string();
            ensure(self.laws.holds(&claim), || {
                format!("`{claim}` was acknowledged, and is not in the log")
            })?;
        }
        Ok(())
    }

    /// Checks what must be so between two steps.
    fn check(&mut self) -> Result<(), Broken> {
        self.absorb()?;
        self.prove()?;
        let coalesced = self.laws.coalesced();
        ensure(coalesced <= self.unwritten, || {
            format!("{coalesced} refusals are counted of {}", self.unwritten)
        })?;
        if self.machine.disk.is_off() || !self.running.is_empty() {
            return Ok(());
        }
        for passage in &self.passages {
            let over = self.laws.is_over(passage.task(), passage.act().server());
            ensure(!over || running::is_cut(passage), || {
                format!("{} goes on after its authority ended", passage.decision())
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks a promise: {}", self.seed, self.broken)?;
        writeln!(f, "its steps:")?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {number}. {step}")?;
        }
        write!(
            f,
            "again: SEED={} cargo test -p ambit-engine --test sim",
            self.seed
        )
    }
}

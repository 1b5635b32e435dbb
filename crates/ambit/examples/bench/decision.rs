//! One decision against the policy engine alone.

use std::{hint::black_box, sync::Arc, time::Instant};

use ambit_audit::decode;
use ambit_core::{
    id::Id,
    record::{Record, Sealed},
    task::{Task, TaskState, Usage},
};
use ambit_policy::{
    ApprovalState, Bare, Decision, Epochs, Live, PolicyBook, Request, TaskScope, decide,
};

use crate::{
    Failure,
    machine::Sync,
    options::Options,
    spread::{Spread, verdict},
    whole::{self, Kept, Whole},
};

/// Everything that a decision on the measured act depends upon.
pub(crate) struct Prepared {
    book: Arc<PolicyBook>,
    pub(crate) task: Arc<Task>,
    /// The records up to the task's start.
    pub(crate) opening: Vec<Record>,
    scope: TaskScope,
    usage: Usage,
}

/// Prints the cost of decisions.
pub(crate) fn report(options: &Options, _: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Decision: `decide` on a prepared request against bare Cedar on the identical request, prebuilt"
    );
    println!("bar: at most 3×");
    println!(
        "{:>8}  {:<22}  {:<22}  ratio",
        "policies", "decide, µs", "bare Cedar, µs"
    );
    for policies in [10, 1000] {
        let prepared = Prepared::new(policies)?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds * 4 {
            ours.push(prepared.time_decisions()?);
            bare.push(prepared.time_bare()?);
        }
        let ratio = Spread::ratios(&ours, &bare);
        println!(
            "{policies:>8}  {:<22}  {:<22}  {ratio}  {}",
            Spread::new(ours),
            Spread::new(bare),
            verdict(ratio.median() <= 3.0),
        );
    }
    Ok(())
}

impl Prepared {
    /// Prepares the measured act under an estate with this many policies.
    pub(crate) fn new(policies: usize) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (book, task, opening) = runtime.block_on(async {
            let whole = Whole::open(&Kept::Memory, whole::estate(policies, 1)?).await?;
            let task = whole.start(1).await?.pop().ok_or("no task")?;
            let book = whole.handle.book()?;
            let leaves = whole.archive.leaves(0, OPENING_RECORDS_MAX)?;
            whole.close()?;
            let opening: Result<Vec<_>, _> = leaves.iter().map(|it| decode(it)).collect();
            Ok::<_, Failure>((book, task, opening?))
        })?;
        Ok(Self {
            scope: TaskScope::new(&book, &book, &task)?,
            usage: Usage::nothing(),
            book,
            task,
            opening,
        })
    }

    /// Returns the request, the `number`th of its kind.
    pub(crate) fn request(&self, number: u64) -> Result<Request<'_>, Failure> {
        Ok(Request {
            decision: Id::from_bits(number.into()),
            at: self.task.started_at,
            book: &self.book,
            task: &self.task,
            scope: &self.scope,
            above: &[],
            state: TaskState::Active,
            usage: &self.usage,
            act: whole::act()?,
            sealed: Some(Sealed {
                commitment: self.task.authority,
                blob: Some(self.task.authority),
            }),
            live: Live::ALL,
            approval: ApprovalState::None,
            fresh_approval: Id::from_bits(1),
            binding: "mtls",
            epochs: Epochs::default(),
        })
    }

    /// Decides `count` times without a measurement: what an instruction counter runs.
    pub(crate) fn decide_often(&self, count: u64) -> Result<(), Failure> {
        for number in 0..count {
            let decision = decide(self.request(number)?);
            if !matches!(black_box(decision), Decision::Allow(_)) {
                return Err("the measured act was not allowed".into());
            }
        }
        Ok(())
    }

    fn time_decisions(&self) -> Result<f64, Failure> {
        let requests: Result<Vec<_>, _> = (0..AT_ONCE).map(|it| self.request(it)).collect();
        let begun = Instant::now();
        for request in requests? {
            if !matches!(black_box(decide(request)), Decision::Allow(_)) {
                return Err("the measured act was not allowed".into());
            }
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / AT_ONCE as f64)
    }

    fn time_bare(&self) -> Result<f64, Failure> {
        let bare = Bare::prepare(&self.book, &self.request(0)?).ok_or("no bare request")?;
        let begun = Instant::now();
        for _ in 0..AT_ONCE {
            black_box(bare.evaluate());
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / AT_ONCE as f64)
    }
}

/// How many decisions are timed at once.
const AT_ONCE: u64 = 500;
/// More records than lead to the start of the first task.
const OPENING_RECORDS_MAX: usize = 64;

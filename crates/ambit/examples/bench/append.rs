//! Durable appends with their fold against bare SQLite rows.

use std::{collections::VecDeque, fs, path::Path, time::Instant};

use ambit_audit::{Batch, Log, Resume};
use ambit_core::{
    DecisionId, Labels, Millis,
    record::{Body, Performed, Recordable, Status},
};
use ambit_engine::{Archive as _, State};
use ambit_policy::{Decision, Permit, decide};
use ambit_store::{BareRows, SqliteWriter, create_or_open};

use crate::{
    Failure,
    decision::Prepared,
    machine::Sync,
    options::Options,
    spread::{Spread, verdict},
    whole::{self, ORIGIN},
};

/// A log with the records that a live task needs, and its fold.
struct Open {
    log: Log<SqliteWriter>,
    state: State,
}

/// Prints the rates of appends.
pub(crate) fn report(options: &Options, _: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Append: permits and outcomes, folded, into SQLite against bare SQLite rows of the same size"
    );
    println!(
        "bars: at least 0.3× at each batch size, at least 40,000/s at 256; WAL, synchronous=FULL on both sides"
    );
    println!(
        "{:>5}  {:<30}  {:<30}  ratio",
        "batch", "records/s", "bare rows/s"
    );
    let prepared = Prepared::new(10)?;
    for batch in [1, 16, 64, 256] {
        let records = (batch as u64 * 400).min(40_960);
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let directory = fresh(&options.directory.join("append"))?;
            let permits = permits(&prepared, records / 2)?;
            let (rate, leaf) = appends(&directory, &prepared, permits, batch)?;
            ours.push(rate);
            bare.push(rows(&directory, &leaf, records, batch)?);
            fs::remove_dir_all(&directory)?;
        }
        let ratio = Spread::ratios(&ours, &bare);
        let ours = Spread::new(ours);
        let is_met = ratio.median() >= 0.3 && (batch < 256 || ours.median() >= 40_000.0);
        println!(
            "{batch:>5}  {ours:<30}  {:<30}  {ratio}  {}",
            Spread::new(bare),
            verdict(is_met)
        );
    }
    Ok(())
}

/// Returns the rate of durable appends, folded, in batches of this size.
pub(crate) fn once(options: &Options, batch: usize) -> Result<f64, Failure> {
    let prepared = Prepared::new(10)?;
    let directory = fresh(&options.directory.join("append"))?;
    let permits = permits(&prepared, batch as u64 * 100)?;
    let (rate, _) = appends(&directory, &prepared, permits, batch)?;
    fs::remove_dir_all(&directory)?;
    Ok(rate)
}

/// Returns an empty directory.
pub(crate) fn fresh(directory: &Path) -> Result<std::path::PathBuf, Failure> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    Ok(directory.to_owned())
}

fn permits(prepared: &Prepared, count: u64) -> Result<Vec<Permit>, Failure> {
    let mut permits = Vec::new();
    for number in 0..count {
        match decide(prepared.request(number)?) {
            Decision::Allow(permit) => permits.push(permit),
            Decision::Hold(_) | Decision::Deny(_) => return Err("not allowed".into()),
        }
    }
    Ok(permits)
}

/// Returns the rate of appends and one leaf. Each batch holds permits and the outcomes of earlier ones, as the
/// sequencer finds them in its queue.
fn appends(
    directory: &Path,
    prepared: &Prepared,
    permits: Vec<Permit>,
    batch_size: usize,
) -> Result<(f64, Vec<u8>), Failure> {
    let (writer, archive) = create_or_open(&whole::keeping(directory)?)?;
    let (key, origin) = (whole::log_key()?, ORIGIN.to_owned());
    let mut open = Open {
        log: Log::open(writer, key, origin, Resume::empty())?,
        state: State::empty(),
    };
    let mut batch = open.log.begin(prepared.task.started_at)?;
    for record in &prepared.opening {
        add(&mut open.state, &mut batch, record.body.clone())?;
    }
    open.commit(batch)?;
    let begun_with = open.log.size();
    let mut permits = permits.into_iter();
    let mut outcomes = VecDeque::new();
    let begun = Instant::now();
    loop {
        let mut batch = open.log.begin(prepared.task.started_at)?;
        while batch.len() < batch_size {
            let wants_permit = outcomes.len() < batch_size;
            if let Some(permit) = wants_permit.then(|| permits.next()).flatten() {
                outcomes.push_back(permit.decision());
                add(&mut open.state, &mut batch, permit)?;
            } else if let Some(decision) = outcomes.pop_front() {
                add(&mut open.state, &mut batch, outcome(decision, prepared))?;
            } else {
                break;
            }
        }
        if batch.is_empty() {
            break;
        }
        open.commit(batch)?;
    }
    let written = open.log.size() - begun_with;
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    let leaf = archive.leaves(begun_with, 1)?.pop();
    Ok((rate, leaf.ok_or("nothing was written")?))
}

impl Open {
    fn commit(&mut self, batch: Batch) -> Result<(), Failure> {
        let rows = self.state.take_rows();
        self.log.commit(batch, rows, Vec::new())?;
        Ok(())
    }
}

/// Adds a record and folds it, as the sequencer does.
fn add<T: Recordable>(state: &mut State, batch: &mut Batch, value: T) -> Result<(), Failure> {
    batch.add_folded::<T, Failure>(value, |index, record| Ok(state.apply(index, record)?))?;
    Ok(())
}

fn outcome(decision: DecisionId, prepared: &Prepared) -> Body {
    Body::Performed(Box::new(Performed {
        decision,
        task: prepared.task.id,
        status: Status::Done,
        took: Millis::new(3),
        sent_bytes: 1024,
        received_bytes: 100,
        labels: Labels::none(),
        result: None,
        failure: None,
    }))
}

/// Returns the rate of bare rows as long as `leaf`.
fn rows(directory: &Path, leaf: &[u8], records: u64, batch_size: usize) -> Result<f64, Failure> {
    let mut rows = BareRows::create(&directory.join("bare.db"))?;
    let begun = Instant::now();
    let mut written = 0;
    while written < records {
        rows.insert(leaf, batch_size)?;
        written += batch_size as u64;
    }
    Ok(written as f64 / begun.elapsed().as_secs_f64())
}

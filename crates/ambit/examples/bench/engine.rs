//! The engine without a door: decide, durable, admit, outcome; and the same few calls again and again for an
//! instruction counter.

use std::{path::Path, sync::Arc, time::Instant};

use ambit_core::{Labels, Millis, act::Act, record::Status};
use ambit_engine::{Answer, Clock, Effect, Handle};
use ambit_identity::InstanceCaller;
use tokio::task::JoinSet;

use crate::{
    Failure,
    append::fresh,
    decision::Prepared,
    machine::{Sync, processor_time},
    options::{Options, number},
    spread::Spread,
    whole::{self, Kept, Whole},
};

/// Prints the rates of the engine.
pub(crate) fn report(options: &Options, _: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Engine: decide, record, admit, record the outcome with its sealed result; no HTTP"
    );
    println!(
        "{:>9}  {:<9}  {:<26}  CPU µs per call",
        "in flight", "store", "calls/s"
    );
    for flight in [1, 16, 64, 256] {
        for is_durable in [false, true] {
            let (mut rates, mut costs) = (Vec::new(), Vec::new());
            for _ in 0..options.rounds {
                let directory = fresh(&options.directory.join("engine"))?;
                let (rate, cost) = once_measured(&directory, is_durable, flight, options.calls)?;
                rates.push(rate);
                costs.push(cost);
            }
            let store = if is_durable { "SQLite" } else { "memory" };
            println!(
                "{flight:>9}  {store:<9}  {:<26}  {}",
                Spread::new(rates),
                Spread::new(costs)
            );
        }
    }
    Ok(())
}

/// Runs one thing `--count` times, to be counted from outside: `decide`, `bare` or `call`.
pub(crate) fn once(arguments: &[String]) -> Result<(), Failure> {
    let count: usize = number(arguments, "--count")?;
    match arguments.first().map(String::as_str) {
        Some("decide") => Prepared::new(10)?.decide_often(count as u64),
        Some("call") => {
            let directory = fresh(Path::new("target/bench/once"))?;
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(async {
                let kept = Kept::Sqlite(directory);
                let whole = Whole::open(&kept, whole::estate(10, 1)?).await?;
                calls(&whole, 64, count.div_ceil(64)).await?;
                whole.close()
            })
        }
        _ => Err("usage: once decide|call --count N".into()),
    }
}

fn once_measured(
    directory: &Path,
    is_durable: bool,
    flight: usize,
    calls_in_all: usize,
) -> Result<(f64, f64), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    runtime.block_on(async {
        let kept = if is_durable {
            Kept::Sqlite(directory.to_owned())
        } else {
            Kept::Memory
        };
        let whole = Whole::open(&kept, whole::estate(10, 1)?).await?;
        let each = (calls_in_all / flight).min(CALLS_EACH_MAX);
        let (begun, used) = (Instant::now(), processor_time(std::process::id())?);
        calls(&whole, flight, each).await?;
        let spent = processor_time(std::process::id())? - used;
        let done = (flight * each) as f64;
        let rate = done / begun.elapsed().as_secs_f64();
        whole.close()?;
        Ok((rate, spent / done))
    })
}

/// Starts `flight` tasks and lets each make calls, one after another.
pub(crate) async fn calls(whole: &Whole, flight: usize, each: usize) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    for task in whole.start(flight).await? {
        let caller = whole.caller(&task)?;
        let (handle, clock, act) = (whole.handle.clone(), whole.clock.clone(), whole::act()?);
        running.spawn(async move {
            for _ in 0..each {
                call(&handle, &clock, &caller, act.clone()).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Takes one act along the whole path; the result is what the upstream here would say.
async fn call(
    handle: &Handle,
    clock: &Clock,
    caller: &InstanceCaller,
    act: Act,
) -> Result<(), Failure> {
    let Answer::Allowed(permit) = handle.decide(caller, act, clock()).await? else {
        return Err("the measured act was not allowed".into());
    };
    let passage = handle
        .admit(permit, clock().now)
        .map_err(|denied| format!("{:?}", denied.reason))?;
    let effect = Effect {
        status: Status::Done,
        took: Millis::new(1),
        sent_bytes: 1024,
        received_bytes: 100,
        labels: Labels::none(),
        result: Some(crate::upstream::RESULT.into()),
        failure: None,
    };
    Ok(handle.performed(passage, effect, clock()).await?)
}

/// Keeps the tasks of a whole Ambit going until dropped.
pub(crate) fn ticking(whole: &Arc<Whole>) {
    let whole = Arc::downgrade(whole);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            let Some(whole) = whole.upgrade() else {
                return;
            };
            if whole.handle.tick((whole.clock)()).await.is_err() {
                return;
            }
        }
    });
}

/// How many of them one task makes at most.
const CALLS_EACH_MAX: usize = 2000;
/// As often as the program tells the engine the time.
const TICK: std::time::Duration = std::time::Duration::from_millis(250);

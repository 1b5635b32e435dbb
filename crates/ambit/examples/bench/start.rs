//! A start over a long log.

use std::{fs, path::Path, time::Duration, time::Instant};

use crate::{
    Failure,
    append::fresh,
    engine,
    http::{Role, text},
    machine::{Sync, resident},
    options::Options,
    spread::{Spread, short, verdict},
    whole::{self, Kept, Whole},
};

/// Prints how long a start takes and what it holds in memory.
pub(crate) fn report(options: &Options, _: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Start: from the start of the process until it accepts connections, over a log of {} records",
        short(options.records as f64)
    );
    println!("bars: at most 1 s, at most 40 MB resident when idle");
    let directory = fresh(&options.directory.join("start"))?;
    let begun = Instant::now();
    let (records, tasks) = fill(&directory, options.records)?;
    let bytes = fs::metadata(directory.join("ambit.db"))?.len();
    println!(
        "filled with {} records and {tasks} live tasks in {:.0} s: {} MB",
        short(records as f64),
        begun.elapsed().as_secs_f64(),
        short(bytes as f64 / 1e6)
    );
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let begun = Instant::now();
        let arguments = [
            "gateway",
            "--upstream",
            "1",
            "--policies",
            "10",
            "--tasks",
            "0",
        ];
        let role = Role::start(&[&arguments[..], &["--keep", text(&directory)?]].concat())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(IDLE);
        sizes.push(resident(role.id())?);
    }
    let (times, sizes) = (Spread::new(times), Spread::new(sizes));
    println!(
        "ready after {times} ms: {}",
        verdict(times.median() <= 1000.0)
    );
    println!(
        "idle: {sizes} MB resident: {}",
        verdict(sizes.median() <= 40.0)
    );
    Ok(fs::remove_dir_all(&directory)?)
}

/// Fills a log through the engine; returns how long it is and how many tasks are live.
fn fill(directory: &Path, records: u64) -> Result<(u64, usize), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    runtime.block_on(async {
        let kept = Kept::Sqlite(directory.to_owned());
        let whole = Whole::open(&kept, whole::estate(10, 1)?).await?;
        let mut tasks = 0;
        while whole.archive.size()? < records {
            let left = records - whole.archive.size()?;
            let each = (left / (2 * AT_ONCE as u64) + 1).min(CALLS_EACH_MAX);
            engine::calls(&whole, AT_ONCE, each as usize).await?;
            tasks += AT_ONCE;
        }
        let size = whole.archive.size()?;
        whole.close()?;
        Ok((size, tasks))
    })
}

/// How many tasks act at once.
const AT_ONCE: usize = 250;
/// How many calls each of them makes.
const CALLS_EACH_MAX: u64 = 500;
/// How long a process idles before its memory is read.
const IDLE: Duration = Duration::from_millis(1500);

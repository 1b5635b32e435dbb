//! The machine: what it is, how fast its disk makes bytes durable, and what processes use.

use std::{
    fmt,
    fs::{self, File},
    io::Write,
    path::Path,
    time::Instant,
};

use crate::{Failure, options::Options, spread::Spread};

/// F: how long one fdatasync after an append of 512 B takes, in µs, by round.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    /// The medians of the rounds.
    pub(crate) middle: Spread,
    /// The 99th percentiles of the rounds.
    pub(crate) late: Spread,
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {}, p99 {}", self.middle, self.late)
    }
}

/// Prints what the measurements run on.
pub(crate) fn describe(options: &Options) -> Result<(), Failure> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor
        .lines()
        .find_map(|it| it.strip_prefix("model name"))
        .map_or("unknown", |it| it.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("machine: {cores} cores, {model}");
    println!("kernel: Linux {}", kernel.trim());
    println!("file system: {}", file_system(&options.directory)?);
    println!("load average at the start: {}", load()?);
    println!(
        "method: medians (least–greatest) of {} rounds; the sides of a ratio are measured in turns in one run",
        options.rounds
    );
    if cfg!(debug_assertions) {
        println!("WARNING: this is a build without optimisation; its figures mean nothing");
    }
    Ok(())
}

/// Returns the load averages.
pub(crate) fn load() -> Result<String, Failure> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Measures F in the directory of the options.
pub(crate) fn measure_sync(options: &Options) -> Result<Sync, Failure> {
    let (mut middle, mut late) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let spread = sync_once(&options.directory)?;
        middle.push(spread.median());
        late.push(spread.at(0.99));
    }
    Ok(Sync {
        middle: Spread::new(middle),
        late: Spread::new(late),
    })
}

fn sync_once(directory: &Path) -> Result<Spread, Failure> {
    let path = directory.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[7; 512])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path)?;
    Ok(Spread::new(times))
}

/// Returns the processor time that process `id` has used, in µs; the kernel counts it in steps of 10 ms.
pub(crate) fn processor_time(id: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = text.rsplit_once(')').ok_or("no process state")?;
    let mut ticks = 0;
    for field in rest.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(ticks as f64 * TICK_MICROSECONDS)
}

/// Returns the resident memory of process `id`, in MB.
pub(crate) fn resident(id: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next());
    Ok(kib.ok_or("no resident memory")?.parse::<f64>()? * 1024.0 / 1e6)
}

fn file_system(directory: &Path) -> Result<String, Failure> {
    let directory = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        directory
            .starts_with(place)
            .then(|| (place.len(), format!("{kind} on {device}")))
    });
    Ok(mounts
        .max_by_key(|it| it.0)
        .map_or_else(|| "unknown".to_owned(), |it| it.1))
}

/// How often one round syncs.
const SYNCS: usize = 1000;
/// What the kernel counts processor time in (`USER_HZ` is 100 wherever Linux runs).
const TICK_MICROSECONDS: f64 = 10_000.0;

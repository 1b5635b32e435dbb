//! The ladder: the same call to the upstream directly, then through one more step each time.

use std::{fs, path::Path};

use crate::{
    Failure,
    append::fresh,
    http::{Role, text},
    load::{Load, Seen},
    machine::Sync,
    options::Options,
    role::CLIENTS_MAX,
    spread::{Spread, short, verdict},
};

/// One step of the ladder.
struct Rung {
    name: String,
    role: Role,
    clients: Option<std::path::PathBuf>,
}

/// What was seen at one step with so many calls in flight, by round.
struct Cell {
    rung: usize,
    flight: usize,
    seen: Vec<Seen>,
}

/// Prints the ladder and the latency at half the greatest rate.
pub(crate) fn report(options: &Options, sync: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Ladder: one MCP call with 1 KiB of arguments over HTTP, {} live tasks; load, upstream and each step in \
         processes of their own that share the cores",
        options.tasks
    );
    let directory = fresh(&options.directory.join("ladder"))?;
    let upstream = Role::start(&["upstream"])?;
    let rungs = rungs(options, &directory, upstream)?;
    let mut cells = Vec::new();
    for flight in FLIGHTS {
        for rung in 0..rungs.len() {
            let seen = Vec::new();
            cells.push(Cell { rung, flight, seen });
        }
    }
    for _ in 0..options.rounds {
        for cell in &mut cells {
            let rung = rungs.get(cell.rung).ok_or("no such rung")?;
            cell.seen.push(rung.load(cell.flight, options, None)?);
        }
    }
    print(&rungs, &cells);
    bars(&rungs, &cells)?;
    half(options, sync, &rungs, &cells)?;
    drop(rungs);
    Ok(fs::remove_dir_all(&directory)?)
}

impl Rung {
    fn load(&self, flight: usize, options: &Options, rate: Option<f64>) -> Result<Seen, Failure> {
        let load = Load {
            port: self.role.port,
            clients: self.clients.as_deref(),
            flight,
            span: options.span,
            rate,
            watched: self.role.id(),
        };
        load.run()
    }
}

fn rungs(options: &Options, directory: &Path, upstream: Role) -> Result<Vec<Rung>, Failure> {
    let port = upstream.port.to_string();
    let tasks = options.tasks.to_string();
    let few = CLIENTS_MAX.to_string();
    let relay = Role::start(&["relay", "--upstream", &port])?;
    let identified = directory.join("identified");
    let arguments = ["relay", "--upstream", &port, "--tasks", &few, "--clients"];
    let identifying = Role::start(&[&arguments[..], &[text(&identified)?]].concat())?;
    let mut rungs = vec![
        Rung {
            name: "direct".to_owned(),
            role: upstream,
            clients: None,
        },
        Rung {
            name: "plain relay".to_owned(),
            role: relay,
            clients: None,
        },
        Rung {
            name: "identified".to_owned(),
            role: identifying,
            clients: Some(identified),
        },
    ];
    for (step, is_durable) in [("decided", false), ("durable", true)] {
        for policies in ["10", "1000"] {
            let clients = directory.join(format!("{step}-{policies}"));
            let kept = fresh(&directory.join(format!("{step}-{policies}-log")))?;
            let mut arguments = vec!["gateway", "--upstream", &port, "--policies", policies];
            arguments.extend(["--tasks", &tasks, "--clients", text(&clients)?]);
            if is_durable {
                arguments.extend(["--keep", text(&kept)?]);
            }
            rungs.push(Rung {
                name: format!("{step}, {policies} policies"),
                role: Role::start(&arguments)?,
                clients: Some(clients),
            });
        }
    }
    Ok(rungs)
}

fn print(rungs: &[Rung], cells: &[Cell]) {
    println!(
        "{:>9}  {:<23}  {:<25}  {:<24}  {:<25}  its CPU, µs per call",
        "in flight", "step", "calls/s", "p50, µs", "p99, µs"
    );
    for cell in cells {
        let name = rungs.get(cell.rung).map_or("", |it| it.name.as_str());
        println!(
            "{:>9}  {name:<23}  {:<25}  {:<24}  {:<25}  {}",
            cell.flight,
            cell.spread(|it| it.rate),
            cell.spread(|it| it.middle),
            cell.spread(|it| it.late),
            cell.spread(|it| it.cost),
        );
    }
}

fn bars(rungs: &[Rung], cells: &[Cell]) -> Result<(), Failure> {
    println!(
        "bars: at 64 in flight, durable: at most 150 µs of CPU per call, at least 6,000 calls/s"
    );
    for cell in cells.iter().filter(|it| it.flight == 64) {
        let rung = rungs.get(cell.rung).ok_or("no such rung")?;
        if !rung.name.starts_with("durable") {
            continue;
        }
        let (cost, rate) = (cell.spread(|it| it.cost), cell.spread(|it| it.rate));
        println!(
            "  {}: {cost} µs {}; {rate} calls/s {}",
            rung.name,
            verdict(cost.median() <= 150.0),
            verdict(rate.median() >= 6000.0),
        );
    }
    Ok(())
}

/// Compares latencies at a fixed rate, half of the greatest that the durable step reached.
fn half(options: &Options, sync: &Sync, rungs: &[Rung], cells: &[Cell]) -> Result<(), Failure> {
    let find = |name: &str| rungs.iter().position(|it| it.name.starts_with(name));
    let (direct, durable) = (find("direct"), find("durable"));
    let (direct, durable) = (direct.ok_or("no direct")?, durable.ok_or("no durable")?);
    let of_durable = cells.iter().filter(|it| it.rung == durable);
    let greatest = of_durable
        .map(|it| it.spread(|it| it.rate).median())
        .fold(0.0, f64::max);
    let rate = greatest / 2.0;
    let (mut middle, mut late) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let seen = |rung: usize| {
            let rung = rungs.get(rung).ok_or("no such rung")?;
            rung.load(64, options, Some(rate))
        };
        let (without, with) = (seen(direct)?, seen(durable)?);
        middle.push(with.middle - without.middle);
        late.push(with.late - without.late);
    }
    let (middle, late) = (Spread::new(middle), Spread::new(late));
    let f = sync.middle.median();
    let bars = [f + 500.0, 3.0 * f + 2000.0];
    println!(
        "\n## Added latency, durable less direct, open loop at {} calls/s (half the greatest), 64 connections",
        short(rate)
    );
    println!(
        "p50 {middle} µs = {} F; bar 1 F + 0.5 ms = {} µs: {}",
        short(middle.median() / f),
        short(bars[0]),
        verdict(middle.median() <= bars[0])
    );
    println!(
        "p99 {late} µs = {} F; bar 3 F + 2 ms = {} µs: {}",
        short(late.median() / f),
        short(bars[1]),
        verdict(late.median() <= bars[1])
    );
    Ok(())
}

impl Cell {
    fn spread(&self, figure: impl Fn(&Seen) -> f64) -> Spread {
        Spread::new(self.seen.iter().map(figure).collect())
    }
}

/// How many calls are in flight.
const FLIGHTS: [usize; 4] = [1, 16, 64, 256];

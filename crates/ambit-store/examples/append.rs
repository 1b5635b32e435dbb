//! Measures durable appends: Ambit's log with its fold against bare SQLite rows, at the same batch size, on the same disk,
//! in turns. Run with `cargo run --release -p ambit-store --example append -- DIRECTORY`.

#![expect(clippy::print_stdout, reason = "the program's purpose is to print")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::{error::Error, fs, path::Path, time::Instant};

use ambit_audit::{Log, LogKey, Resume, RowChange};
use ambit_core::{
    Digest, Labels, Timestamp,
    id::Id,
    json::Value,
    record::{Actor, Answer, Body, Decided, Sealed},
};
use ambit_store::{Keeping, create_or_open};
use rusqlite::{Connection, params};

const ORIGIN: &str = "example.org/log";
const ROUNDS: usize = 5;
const RECORDS: u64 = 40_960;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = Path::new(&directory).join("append-bench");
    println!(
        "leaf: {} bytes",
        ambit_audit::encode(&ambit_core::record::Record {
            at: Timestamp::from_millis(1),
            body: body(1),
        })
        .len()
    );
    println!("batch  log leaves/s (median of {ROUNDS}, min-max)  bare rows/s  ratio");
    for batch in [1, 16, 64, 256, 1024] {
        let records = RECORDS.min(batch * 1000);
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            fs::create_dir_all(&directory)?;
            ours.push(append(&directory, batch, records)?);
            bare.push(rows(&directory, batch, records)?);
            fs::remove_dir_all(&directory)?;
        }
        ours.sort_by(f64::total_cmp);
        bare.sort_by(f64::total_cmp);
        let middle = |rates: &[f64]| rates.get(ROUNDS / 2).copied().unwrap_or_default();
        let edge = |rate: Option<&f64>| rate.copied().unwrap_or_default();
        println!(
            "{batch:>5}  {:>9.0} ({:.0}-{:.0})  {:>9.0} ({:.0}-{:.0})  {:.2}",
            middle(&ours),
            edge(ours.first()),
            edge(ours.last()),
            middle(&bare),
            edge(bare.first()),
            edge(bare.last()),
            middle(&ours) / middle(&bare),
        );
    }
    Ok(())
}

/// Appends decisions with one folded row each; returns leaves per second.
fn append(directory: &Path, batch_size: u64, records: u64) -> Result<f64, Box<dyn Error>> {
    let key = LogKey::from_seed(&[9; 32])?;
    let (writer, _archive) = create_or_open(&Keeping {
        path: directory.join("ambit.db"),
        mark: directory.join("mark"),
        tables: &["usage"],
        verifier: key.verifier(ORIGIN)?,
        vfs: None,
    })?;
    let mut log = Log::open(writer, key, ORIGIN.to_owned(), Resume::empty())?;
    let start = Instant::now();
    while log.size() < records {
        let mut batch = log.begin(Timestamp::from_millis(1))?;
        let mut changes = Vec::new();
        let mut pending = Vec::new();
        for _ in 0..batch_size {
            let number = log.size() + batch.len() as u64;
            pending.push(batch.add(body(number))?);
            changes.push(RowChange {
                table: "usage",
                key: format!("task_{:026}", number % 1000),
                value: Some(vec![7; 120]),
            });
        }
        let committed = log.commit(batch, changes, Vec::new())?;
        for waiting in pending {
            waiting.settle(&committed)?;
        }
    }
    Ok(records as f64 / start.elapsed().as_secs_f64())
}

/// Inserts rows of the same size into a bare table; returns rows per second.
fn rows(directory: &Path, batch_size: u64, records: u64) -> Result<f64, Box<dyn Error>> {
    let mut connection = Connection::open(directory.join("bare.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")?;
    let leaf = ambit_audit::encode(&ambit_core::record::Record {
        at: Timestamp::from_millis(1),
        body: body(1),
    });
    let start = Instant::now();
    let mut written = 0;
    while written < records {
        let transaction = connection.transaction()?;
        for _ in 0..batch_size {
            transaction
                .prepare_cached("INSERT INTO rows (leaf) VALUES (?1)")?
                .execute(params![leaf])?;
        }
        transaction.commit()?;
        written += batch_size;
    }
    Ok(records as f64 / start.elapsed().as_secs_f64())
}

fn body(number: u64) -> Body {
    let digest = Digest::of(b"something");
    let facts = Value::object([
        ("calls", number.into()),
        ("mode", "read".into()),
        ("epoch", 3u64.into()),
        ("labels", ["customer"].into_iter().collect()),
        ("contained", true.into()),
    ]);
    let tool = "read_ticket".parse();
    Body::Decided(Box::new(Decided {
        decision: Id::from_bits(number.into()),
        actor: Actor::Instance(Id::from_bits(1)),
        task: Some(Id::from_bits(1)),
        action: "call_tool".to_owned(),
        server: "tickets".parse().ok(),
        tool: tool.ok(),
        pin: Some(digest),
        act: Some(Sealed {
            commitment: digest,
            blob: None,
        }),
        estate: digest,
        facts,
        answer: Answer::Allow {
            act_by: Timestamp::from_millis(3000),
            charged: Labels::none(),
            spends: None,
        },
        rules: vec!["acts.read".to_owned()],
    }))
}

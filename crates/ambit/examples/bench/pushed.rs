//! How soon every open stream of the Workload API has what changed: new keys. The streams are those of bundles, for which
//! no task has to live: whose tasks run uncontained may not rotate keys.

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use spiffe::WorkloadApiClient;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::StreamExt;

use crate::{
    Failure,
    machine::Sync,
    options::Options,
    serve::Server,
    spread::{Spread, short, verdict},
};

/// Prints how soon streams have what changed.
pub(crate) async fn report(server: &Server, options: &Options, sync: &Sync) -> Result<(), Failure> {
    let mut open = Streams::open(server).await?;
    // Each begins where the other one ended.
    let mut rows = [("prepare", Vec::new()), ("replace", Vec::new())];
    for _ in 0..options.revocations {
        for (step, times) in &mut rows {
            times.push(open.changed(server, step).await?);
        }
    }
    drop(open);
    let bar = 2.0 * sync.middle.median() / 1e3 + 50.0;
    println!(
        "`ambit authority rotate STEP` begins → the last of {STREAMS} streams of bundles has it, {} times each; bar p99 2 F + \
         50 ms = {} ms",
        options.revocations,
        short(bar)
    );
    for (step, times) in rows {
        let times = Spread::new(times);
        println!(
            "  {step}: p50 {} ms, p99 {} ms, greatest {} ms: {}",
            short(times.median()),
            short(times.at(0.99)),
            short(times.max()),
            verdict(times.at(0.99) <= bar)
        );
    }
    Ok(())
}

/// Streams that go on, and what they said.
struct Streams {
    _reading: JoinSet<Result<(), Failure>>,
    said: mpsc::UnboundedReceiver<Said>,
}

/// What one stream had.
#[derive(Clone, Copy, Debug)]
struct Said {
    stream: usize,
    at: Instant,
    /// How many authorities the bundle names.
    authorities: usize,
}

impl Streams {
    /// Opens them and waits until each has its first answer.
    async fn open(server: &Server) -> Result<Self, Failure> {
        let (sender, said) = mpsc::unbounded_channel();
        let mut reading = JoinSet::new();
        for first in (0..STREAMS).step_by(PER_CONNECTION) {
            let client = server.client().await?;
            for stream in first..(first + PER_CONNECTION).min(STREAMS) {
                reading.spawn(read(client.clone(), stream, sender.clone()));
            }
        }
        let mut streams = Self {
            _reading: reading,
            said,
        };
        streams.all(1).await?;
        Ok(streams)
    }

    /// Takes a step, and returns after how many milliseconds the last stream had what it led to.
    async fn changed(&mut self, server: &Server, step: &str) -> Result<f64, Failure> {
        let authorities = match step {
            // The prepared one beside the one that signs.
            "prepare" => 2,
            _ => 1,
        };
        let begun = Instant::now();
        let mut command = server.command(&["authority", "rotate", step])?;
        let mut asked = command.stdout(Stdio::null()).spawn()?;
        if !asked.wait()?.success() {
            return Err(format!("the keys took no step {step}").into());
        }
        let last = self.all(authorities).await?;
        Ok(last.saturating_duration_since(begun).as_secs_f64() * 1e3)
    }

    /// Waits until each has had an answer with so many authorities, and returns when the last one had it.
    async fn all(&mut self, authorities: usize) -> Result<Instant, Failure> {
        let mut had = BTreeMap::new();
        while had.len() < STREAMS {
            let said = timeout(WITHIN, self.said.recv()).await;
            let said = said.map_err(|_| "a stream did not say what changed")?;
            let said = said.ok_or("every stream has ended")?;
            if said.authorities == authorities {
                had.entry(said.stream).or_insert(said.at);
            }
        }
        Ok(had.into_values().max().ok_or("there are no streams")?)
    }
}

/// Tells what a stream says until it ends.
async fn read(
    client: WorkloadApiClient,
    stream: usize,
    sender: mpsc::UnboundedSender<Said>,
) -> Result<(), Failure> {
    let mut bundles = client.stream_x509_bundles().await?;
    while let Some(said) = bundles.next().await {
        let said = said?;
        let all = said.iter();
        sender.send(Said {
            stream,
            at: Instant::now(),
            authorities: all.map(|(_, it)| it.authorities().len()).sum(),
        })?;
    }
    Ok(())
}

/// How many streams are open.
const STREAMS: usize = 1000;
/// How many of them are on a connection.
const PER_CONNECTION: usize = 64;
/// How long is waited for each.
const WITHIN: Duration = Duration::from_secs(30);

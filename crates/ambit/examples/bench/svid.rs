//! The Workload API of a whole server: how soon an identity is usable, how soon its end is seen, what idle streams weigh.
//!
//! The program under measure is `ambit serve` itself, beside this program; the workload is this process, attested by its
//! user and its path, and the client is the `spiffe` crate's.

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    Failure,
    append::fresh,
    caller,
    machine::{Sync, resident},
    options::Options,
    serve::{Server, Until},
    spread::{Spread, short, verdict},
};

/// Prints the figures of the Workload API.
pub(crate) fn report(options: &Options, sync: &Sync) -> Result<(), Failure> {
    println!("\n## Workload API: `ambit serve` and one workload, attested by uid and path");
    let directory = fresh(&options.directory.join("svid"))?.canonicalize()?;
    let server = Server::start(&directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        issue(&server, options, sync).await?;
        revoke(&server, options, sync).await?;
        push(&server, options, sync).await
    })?;
    drop(server);
    for per_connection in [STREAMS_PER_CONNECTION, 1] {
        // A new one each time: what a server once used it keeps for a while.
        let server = Server::start(&fresh(&directory)?)?;
        runtime.block_on(idle(&server, per_connection))?;
    }
    Ok(fs::remove_dir_all(&directory)?)
}

/// From the request to a key and an SVID in the client's hands: a claim and a certificate, both on the record.
async fn issue(server: &Server, options: &Options, sync: &Sync) -> Result<(), Failure> {
    let mut times = Vec::new();
    let client = server.client().await?;
    for _ in 0..options.revocations * 5 {
        let task = server.start_task()?;
        let begun = Instant::now();
        client.fetch_x509_svid().await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        server.ambit(&["task", "end", &task])?;
    }
    let times = Spread::new(times);
    let bar = 2.0 * sync.middle.median() / 1e3 + 5.0;
    println!(
        "request → usable SVID, {} times: p50 {} ms, p99 {} ms, greatest {} ms; bar p99 2 F + 5 ms = {} ms: {}",
        options.revocations * 5,
        short(times.median()),
        short(times.at(0.99)),
        short(times.max()),
        short(bar),
        verdict(times.at(0.99) <= bar)
    );
    Ok(())
}

/// When one revocation was seen, in ms after its command began.
#[derive(Clone, Debug, Default)]
struct Seen {
    streams: Vec<f64>,
    certificate: f64,
    token: f64,
}

/// What is told of one revocation, in milliseconds.
type Milliseconds = Box<dyn Fn(&Seen) -> f64>;

/// From the call of `revoke` to the end of the last of many streams, and to the first refusals at the gateway.
async fn revoke(server: &Server, options: &Options, sync: &Sync) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for _ in 0..options.revocations * 2 {
        seen.push(revoke_once(server).await?);
    }
    let bar = 2.0 * sync.middle.median() / 1e3 + 50.0;
    println!(
        "`ambit revoke` begins → it is seen, {} times (with the start of the command, and {WATCHING_STREAMS} streams read on the \
         same cores); bar p99 2 F + 50 ms = {} ms",
        seen.len(),
        short(bar)
    );
    let streams = |at: f64| move |it: &Seen| Spread::new(it.streams.clone()).at(at);
    let rows: [(&str, Milliseconds); 4] = [
        (
            "99 of 100 streams have read their end",
            Box::new(streams(0.99)),
        ),
        ("the last stream has", Box::new(streams(1.0))),
        (
            "the gateway refuses the instance with its certificate",
            Box::new(|it| it.certificate),
        ),
        (
            "the gateway refuses who has a token and its DPoP key",
            Box::new(|it| it.token),
        ),
    ];
    for (what, of) in rows {
        let times = Spread::new(seen.iter().map(of).collect());
        let late = times.at(0.99);
        println!(
            "  {what}: p50 {} ms, p99 {} ms, greatest {} ms: {}",
            short(times.median()),
            short(late),
            short(times.max()),
            verdict(late <= bar)
        );
    }
    Ok(())
}

async fn revoke_once(server: &Server) -> Result<Seen, Failure> {
    let task = server.start_task()?;
    let mut streams = server
        .streams(WATCHING_STREAMS, STREAMS_PER_CONNECTION, Until::Ended)
        .await?;
    let shown = server.client().await?.fetch_x509_svid().await?;
    let certified = caller::with_certificate(server, &shown).await?;
    let bearing = caller::with_token(server, &shown).await?;
    let begun = Instant::now();
    let mut asked = server.revoking(&task)?;
    if !asked.wait()?.success() {
        return Err("a task could not be revoked".into());
    }
    let mut seen = Seen::default();
    while let Some(ended) = within("a stream", streams.join_next()).await? {
        seen.streams.push(after(ended??, begun));
    }
    seen.certificate = after(within("a certificate", certified).await???, begun);
    seen.token = after(within("a token", bearing).await???, begun);
    Ok(seen)
}

/// From the call of `authority rotate prepare` to the larger bundle on the last of many streams.
async fn push(server: &Server, options: &Options, sync: &Sync) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for _ in 0..options.revocations {
        seen.push(push_once(server).await?);
    }
    let bar = 2.0 * sync.middle.median() / 1e3 + 50.0;
    println!(
        "`ambit authority rotate prepare` begins → the larger bundle is read, {} times (with the start of the command, and \
         {WATCHING_STREAMS} streams read on the same cores); bar p99 2 F + 50 ms = {} ms",
        seen.len(),
        short(bar)
    );
    for (what, at) in [
        ("99 of 100 streams have it", 0.99),
        ("the last stream has it", 1.0),
    ] {
        let times = seen.iter().map(|it| Spread::new(it.clone()).at(at));
        let times = Spread::new(times.collect());
        println!(
            "  {what}: p50 {} ms, p99 {} ms, greatest {} ms: {}",
            short(times.median()),
            short(times.at(0.99)),
            short(times.max()),
            verdict(times.at(0.99) <= bar)
        );
    }
    Ok(())
}

async fn push_once(server: &Server) -> Result<Vec<f64>, Failure> {
    let task = server.start_task()?;
    let mut streams = server
        .streams(WATCHING_STREAMS, STREAMS_PER_CONNECTION, Until::Said)
        .await?;
    let begun = Instant::now();
    server.ambit(&["authority", "rotate", "prepare"])?;
    let mut seen = Vec::new();
    while let Some(said) = within("a stream", streams.join_next()).await? {
        seen.push(after(said??, begun));
    }
    // One key is prepared at a time: all are replaced before the next.
    server.ambit(&["authority", "rotate", "replace"])?;
    server.ambit(&["task", "end", &task])?;
    Ok(seen)
}

/// Waits for what must end.
async fn within<T>(what: &str, end: impl Future<Output = T>) -> Result<T, Failure> {
    let ended = timeout(ENDS_WITHIN, end).await;
    ended.map_err(|_| format!("{what} does not hear of the change").into())
}

fn after(instant: Instant, begun: Instant) -> f64 {
    instant.saturating_duration_since(begun).as_secs_f64() * 1e3
}

/// What streams that say nothing weigh.
async fn idle(server: &Server, per_connection: usize) -> Result<(), Failure> {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // The server keeps files for its other doors, and seats for other users.
    let most = descriptors
        .current
        .unwrap_or(u64::MAX)
        .saturating_sub(10_000)
        / 8
        * 3;
    let connections = IDLE_STREAMS
        .div_ceil(per_connection)
        .min(usize::try_from(most)?);
    let count = (connections * per_connection).min(IDLE_STREAMS);
    let task = server.start_task()?;
    let before = resident(server.id())?;
    let streams = server.streams(count, per_connection, Until::Ended).await?;
    tokio::time::sleep(IDLE).await;
    let after = resident(server.id())?;
    println!(
        "{count} idle streams over {connections} connections: {} MB resident, {} MB of it theirs; bar for {IDLE_STREAMS} streams \
         200 MB: {}",
        short(after),
        short(after - before),
        verdict((after - before) * IDLE_STREAMS as f64 / count as f64 <= 200.0)
    );
    server.ambit(&["task", "end", &task])?;
    drop(streams);
    Ok(())
}

/// How many streams see a revocation, or hear of a change.
const WATCHING_STREAMS: usize = 1000;
/// How long is waited for that.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// How many streams idle.
const IDLE_STREAMS: usize = 10_000;
/// How many streams the clients of one process put on one connection.
const STREAMS_PER_CONNECTION: usize = 64;
/// How long streams idle before the memory is read.
const IDLE: Duration = Duration::from_millis(1500);

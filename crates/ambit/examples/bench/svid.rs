//! The Workload API of a whole server: how soon an identity is usable, how soon its end is seen, what idle streams weigh.
//!
//! The program under measure is `ambit serve` itself, beside this program; the workload is this process, attested by its
//! user and its path, and the client is the `spiffe` crate's.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use ambit_core::json::{self, Value};
use ambit_identity::{Svid, SvidKey, TlsClock, tls};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use spiffe::X509Svid;
use tokio::{task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    Failure,
    append::fresh,
    http::{connect, speak},
    machine::{Sync, resident},
    options::Options,
    serve::{Server, member},
    spread::{Spread, short, verdict},
    whole,
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
        revoke(&server, options, sync).await
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

/// From the call of `revoke` to the end of the last of many streams, and to the first refusal at the gateway.
async fn revoke(server: &Server, options: &Options, sync: &Sync) -> Result<(), Failure> {
    let (mut each, mut last, mut gateway) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.revocations {
        let task = server.start_task()?;
        let mut streams = server
            .streams(REVOKED_STREAMS, STREAMS_PER_CONNECTION)
            .await?;
        let caller = caller(server).await?;
        let begun = Instant::now();
        let mut asked = server.revoking(&task)?;
        let mut ends = Vec::new();
        if !asked.wait()?.success() {
            return Err("a task could not be revoked".into());
        }
        while let Some(ended) = within("a stream", streams.join_next()).await? {
            ends.push(after(ended??, begun));
        }
        gateway.push(after(within("the gateway", caller).await???, begun));
        let ends = Spread::new(ends);
        each.push(ends.at(0.99));
        last.push(ends.max());
    }
    let bar = 2.0 * sync.middle.median() / 1e3 + 50.0;
    println!(
        "`ambit revoke` begins → it is seen, {} times (with the start of the command, and {REVOKED_STREAMS} streams read on the \
         same cores); bar p99 2 F + 50 ms = {} ms",
        options.revocations,
        short(bar)
    );
    for (what, times) in [
        ("99 of 100 streams have read their end", each),
        ("the last stream has", last),
        ("the gateway refuses the instance as such", gateway),
    ] {
        let times = Spread::new(times);
        let late = times.at(0.99);
        println!(
            "  {what}: p50 {} ms, p99 {} ms: {}",
            short(times.median()),
            short(late),
            verdict(late <= bar)
        );
    }
    Ok(())
}

/// Calls the gateway as the instance, again and again; resolves to when it was refused because its task is over.
async fn caller(server: &Server) -> Result<JoinHandle<Result<Instant, Failure>>, Failure> {
    let status = server.ambit(&["status"])?;
    let gateway = member(&status, "gateway")?;
    let port: u16 = gateway.rsplit(':').next().unwrap_or_default().parse()?;
    let shown = server.client().await?.fetch_x509_svid().await?;
    let (svid, key) = own(&shown)?;
    let clock = whole::clock();
    let bundle = Arc::clone(server.keys()?.bundle());
    let config = tls::runner_config(&svid, &key, bundle, TlsClock::new(move || clock().now))?;
    let stream = connect(port).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut sender = speak(connector.connect(tls::server_name(), stream).await?).await?;
    let live = refusal(&mut sender).await?;
    Ok(tokio::spawn(async move {
        // A connection that is closed tells it, too.
        while refusal(&mut sender).await.is_ok_and(|it| it == live) {
            tokio::time::sleep(BETWEEN_CALLS).await;
        }
        Ok(Instant::now())
    }))
}

/// Calls a tool that no task has, and returns why it is refused: while the task lives, because of the tool.
async fn refusal(sender: &mut SendRequest<Full<Bytes>>) -> Result<String, Failure> {
    let params = Value::object([("name", "nothing".into()), ("arguments", Value::object([]))]);
    let body = Value::object([
        ("jsonrpc", "2.0".into()),
        ("id", Value::Integer(1)),
        ("method", "tools/call".into()),
        ("params", params),
    ]);
    let request = Request::post("/s/nowhere/mcp")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .body(Full::new(Bytes::from(body.to_canonical())))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let body = response.into_body().collect().await?.to_bytes();
    let answer = json::parse(&body)?;
    let refusal = answer
        .get("result")
        .and_then(|it| it.get("structuredContent"));
    member(refusal.unwrap_or(&answer), "code")
}

/// Returns what the client was given, in our own types.
fn own(shown: &X509Svid) -> Result<(Svid, SvidKey), Failure> {
    let pem = |label: &str, der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    };
    let chain: String = shown
        .cert_chain()
        .iter()
        .map(|it| pem("CERTIFICATE", it.as_bytes()))
        .collect();
    let key = pem("PRIVATE KEY", shown.private_key().as_bytes());
    Ok((Svid::from_pem(&chain)?, SvidKey::from_pem(&key)?))
}

/// Waits for what must end.
async fn within<T>(what: &str, end: impl Future<Output = T>) -> Result<T, Failure> {
    let ended = timeout(ENDS_WITHIN, end).await;
    ended.map_err(|_| format!("{what} goes on after the revocation").into())
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
    let streams = server.streams(count, per_connection).await?;
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

/// How many streams see a revocation.
const REVOKED_STREAMS: usize = 1000;
/// How long is waited for that.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// How many streams idle.
const IDLE_STREAMS: usize = 10_000;
/// How many streams the clients of one process put on one connection.
const STREAMS_PER_CONNECTION: usize = 64;
/// How long streams idle before the memory is read.
const IDLE: Duration = Duration::from_millis(1500);
/// How long the instance waits between calls of the gateway.
const BETWEEN_CALLS: Duration = Duration::from_millis(1);

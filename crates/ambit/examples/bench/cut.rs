//! A revocation while calls are under way: until when does the upstream still get bytes?

use std::{
    convert::Infallible,
    fs,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ambit_core::{
    act::Target,
    json::{self, Value},
};
use ambit_gateway::Gateway;
use ambit_identity::InstanceCaller;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    Failure,
    append::fresh,
    engine::ticking,
    http::{request, request_body},
    machine::Sync,
    options::Options,
    role::door,
    spread::{Spread, short, verdict},
    upstream,
    whole::{self, Kept, Whole},
};

/// When the upstream read the last byte of a call.
type LastByte = Arc<Mutex<Option<Instant>>>;

/// Prints how soon revocations take effect.
pub(crate) fn report(options: &Options, sync: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Revocation of a task with {ACTIVE} calls active at an upstream that takes {} ms, {} times",
        UPSTREAM_TAKES.as_millis(),
        options.revocations
    );
    let last = LastByte::default();
    let port = upstream(last.clone())?;
    let directory = fresh(&options.directory.join("revoke"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (mut bytes, mut returns) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let kept = Kept::Sqlite(directory.clone());
        let whole = Arc::new(Whole::open(&kept, whole::estate(10, port)?).await?);
        ticking(&whole);
        let gateway = door(&whole);
        for _ in 0..options.revocations {
            let (byte, returned) = once(&whole, &gateway, &last).await?;
            bytes.push(byte);
            returns.push(returned);
        }
        Ok::<_, Failure>(())
    })?;
    let (bytes, returns) = (Spread::new(bytes), Spread::new(returns));
    let bar = 2.0 * sync.middle.median() / 1e3 + 20.0;
    println!(
        "revoke → last byte accepted upstream: p50 {} ms, p99 {} ms, greatest {} ms; bar p99 2 F + 20 ms = {} ms: {}",
        short(bytes.median()),
        short(bytes.at(0.99)),
        short(bytes.max()),
        short(bar),
        verdict(bytes.at(0.99) <= bar)
    );
    println!(
        "revoke → its answer, every call cut: p50 {} ms, p99 {} ms",
        short(returns.median()),
        short(returns.at(0.99))
    );
    runtime.shutdown_background();
    Ok(fs::remove_dir_all(&directory)?)
}

/// Revokes one task; returns when the last byte came and when the revocation returned, in ms after it was asked for.
async fn once(whole: &Whole, gateway: &Gateway, last: &LastByte) -> Result<(f64, f64), Failure> {
    let task = whole.start(1).await?.pop().ok_or("no task")?;
    let caller = whole.caller(&task)?;
    let mut agents = JoinSet::new();
    for _ in 0..ACTIVE {
        agents.spawn(agent(gateway.clone(), caller.clone()));
    }
    tokio::time::sleep(UPSTREAM_TAKES * 4).await;
    let begun = Instant::now();
    let (person, moment) = (whole.person()?, (whole.clock)());
    let target = Target::Task(task.id);
    let report = whole
        .handle
        .revoke(&person, target, "a measurement".to_owned(), moment)
        .await?;
    let returned = begun.elapsed();
    if report.crossed.is_empty() {
        return Err("no call was under way".into());
    }
    while let Some(done) = agents.join_next().await {
        done??;
    }
    let last = last.lock().unwrap_or_else(PoisonError::into_inner).take();
    let after = last.ok_or("no call came")?.saturating_duration_since(begun);
    Ok((after.as_secs_f64() * 1e3, returned.as_secs_f64() * 1e3))
}

/// Calls again and again until it is refused.
async fn agent(gateway: Gateway, caller: InstanceCaller) -> Result<(), Failure> {
    let body = request_body();
    loop {
        let response = gateway.answer(request(body.clone())?, &caller).await;
        let answer = response.into_body().collect().await?.to_bytes();
        let answer = json::parse(&answer)?;
        let failed = answer.get("result").and_then(|it| it.get("isError"));
        if failed.and_then(Value::as_bool) != Some(false) {
            return Ok(());
        }
    }
}

/// Starts an upstream on a thread of its own that notes when it has read a call, and then takes its time.
fn upstream(last: LastByte) -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tools: &'static str = Box::leak(upstream::tools()?.into_boxed_str());
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let last = last.clone();
                let service = service_fn(move |request| answer(request, last.clone(), tools));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
            #[expect(unreachable_code, reason = "it names the type of the errors above")]
            Ok::<(), std::io::Error>(())
        })
    });
    Ok(port)
}

async fn answer(
    request: Request<Incoming>,
    last: LastByte,
    tools: &'static str,
) -> Result<http::Response<http_body_util::Full<Bytes>>, Infallible> {
    let is_call = request
        .headers()
        .get("mcp-method")
        .is_some_and(|it| it == "tools/call");
    let body = request.into_body().collect().await;
    let body = body.map(|it| it.to_bytes()).unwrap_or_default();
    if is_call {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        tokio::time::sleep(UPSTREAM_TAKES).await;
    }
    Ok(upstream::answer(&body, tools))
}

/// How many calls are active.
const ACTIVE: usize = 200;
/// How long the upstream takes for each.
const UPSTREAM_TAKES: Duration = Duration::from_millis(100);

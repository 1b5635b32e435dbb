//! The load: so many calls in flight, each on a connection of its own, as fast as answers come or at a fixed rate.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ambit_core::TrustDomain;
use ambit_identity::{Svid, SvidKey, TlsClock, TrustBundle, tls};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_rustls::TlsConnector;

use crate::{
    Failure,
    http::{connect, exchange, expect_done, request_body, speak, text},
    machine::processor_time,
    options::{number, value},
    spread::Spread,
    whole,
};

/// What is loaded, and how.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    /// Where.
    pub(crate) port: u16,
    /// The certificates of the clients; without them the connections are plain.
    pub(crate) clients: Option<&'a Path>,
    /// How many calls are in flight.
    pub(crate) flight: usize,
    /// For how long.
    pub(crate) span: Duration,
    /// How many calls begin per second; without it, each when the one before has ended.
    pub(crate) rate: Option<f64>,
    /// Whose processor time is counted.
    pub(crate) watched: u32,
}

/// What a load saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Calls per second.
    pub(crate) rate: f64,
    /// The median latency, in µs.
    pub(crate) middle: f64,
    /// The 99th percentile of the latency, in µs.
    pub(crate) late: f64,
    /// The processor time of the watched process per call, in µs.
    pub(crate) cost: f64,
}

impl Load<'_> {
    /// Runs the load in a process of its own.
    pub(crate) fn run(&self) -> Result<Seen, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("load")
            .args(["--port", &self.port.to_string()])
            .args(["--flight", &self.flight.to_string()])
            .args(["--millis", &self.span.as_millis().to_string()])
            .args(["--watched", &self.watched.to_string()]);
        if let Some(clients) = self.clients {
            command.args(["--clients", text(clients)?]);
        }
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("the load failed: {self:?}").into());
        }
        let said = String::from_utf8(output.stdout)?;
        let numbers: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
        match numbers?.as_slice() {
            &[rate, middle, late, cost] => Ok(Seen {
                rate,
                middle,
                late,
                cost,
            }),
            _ => Err(format!("the load said `{said}`").into()),
        }
    }
}

/// Makes the load, prints what it saw, and ends.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (port, flight) = (number(arguments, "--port")?, number(arguments, "--flight")?);
        let span = Duration::from_millis(number(arguments, "--millis")?);
        let clients = value(arguments, "--clients").map(PathBuf::from);
        let body = request_body();
        let mut senders = Vec::new();
        for place in 0..flight {
            let mut sender = open(port, clients.as_deref(), place).await?;
            // The first call opens the conversation with the upstream.
            expect_done(&exchange(&mut sender, &body).await?)?;
            senders.push(sender);
        }
        let watched: u32 = number(arguments, "--watched")?;
        let warm = tokio::time::Instant::now() + span / 5;
        closed_loop(&mut senders, &body, warm.into_std()).await?;
        let (begun, used) = (Instant::now(), processor_time(watched)?);
        let times = match value(arguments, "--rate") {
            None => closed_loop(&mut senders, &body, begun + span).await?,
            Some(rate) => open_loop(senders, &body, (rate.parse()?, span)).await?,
        };
        let spent = processor_time(watched)? - used;
        let count = times.len() as f64;
        let rate = count / begun.elapsed().as_secs_f64();
        let times = Spread::new(times);
        println!(
            "{rate} {} {} {}",
            times.median(),
            times.at(0.99),
            spent / count
        );
        Ok(())
    })
}

async fn open(
    port: u16,
    clients: Option<&Path>,
    place: usize,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = connect(port).await?;
    let Some(directory) = clients else {
        return speak(stream).await;
    };
    let domain: TrustDomain = fs::read_to_string(directory.join("trust-domain"))?.parse()?;
    let bundle = fs::read_to_string(directory.join("bundle.pem"))?;
    let bundle = TrustBundle::from_pem(domain, &bundle, 0)?;
    let svid = fs::read_to_string(directory.join(format!("{place}.svid")))?;
    let key = fs::read_to_string(directory.join(format!("{place}.key")))?;
    let clock = whole::clock();
    let config = tls::runner_config(
        &Svid::from_pem(&svid)?,
        &SvidKey::from_pem(&key)?,
        Arc::new(bundle),
        TlsClock::new(move || clock().now),
    )?;
    let connector = TlsConnector::from(Arc::new(config));
    speak(connector.connect(tls::server_name(), stream).await?).await
}

async fn closed_loop(
    senders: &mut Vec<SendRequest<Full<Bytes>>>,
    body: &Bytes,
    until: Instant,
) -> Result<Vec<f64>, Failure> {
    let mut running = JoinSet::new();
    for mut sender in senders.drain(..) {
        let body = body.clone();
        running.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                let answer = exchange(&mut sender, &body).await?;
                times.push(begun.elapsed().as_secs_f64() * 1e6);
                if times.len() % 64 == 1 {
                    expect_done(&answer)?;
                }
            }
            Ok::<_, Failure>((sender, times))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        let (sender, times) = done??;
        senders.push(sender);
        all.extend(times);
    }
    Ok(all)
}

/// Begins calls on time, whether or not earlier ones have ended; a latency counts from when its call was due, so that
/// a stall is seen by every call that it held up.
async fn open_loop(
    senders: Vec<SendRequest<Full<Bytes>>>,
    body: &Bytes,
    (rate, span): (f64, Duration),
) -> Result<Vec<f64>, Failure> {
    let mut running = JoinSet::new();
    let mut desks = Vec::new();
    for mut sender in senders {
        let body = body.clone();
        let (desk, mut due) = mpsc::unbounded_channel::<Instant>();
        desks.push(desk);
        running.spawn(async move {
            let mut times = Vec::new();
            while let Some(due) = due.recv().await {
                exchange(&mut sender, &body).await?;
                times.push(due.elapsed().as_secs_f64() * 1e6);
            }
            Ok::<_, Failure>(times)
        });
    }
    // The runtime's own timer counts whole milliseconds, which is longer than a call takes.
    std::thread::spawn(move || dispatch(&desks, rate, span));
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

fn dispatch(desks: &[mpsc::UnboundedSender<Instant>], rate: f64, span: Duration) {
    let begun = Instant::now();
    for (number, desk) in desks.iter().cycle().enumerate() {
        let after = Duration::from_secs_f64(number as f64 / rate);
        if after > span {
            return;
        }
        let due = begun + after;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if desk.send(due).is_err() {
            return;
        }
    }
}

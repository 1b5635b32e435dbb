//! The Workload API of a whole server: how soon an identity is usable, how soon its end is seen, what idle streams weigh.
//!
//! The program under measure is `ambit serve` itself, beside this program; the workload is this process, attested by its
//! user and its path, and the client is the `spiffe` crate's.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ambit_core::json::{self, Value};
use spiffe::WorkloadApiClient;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_stream::StreamExt;

use crate::{
    Failure,
    append::fresh,
    machine::{Sync, resident},
    options::Options,
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
        idle(&server, STREAMS_PER_CONNECTION).await?;
        idle(&server, 1).await
    })?;
    drop(server);
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

/// From the call of `revoke` to the end of the last of many streams.
async fn revoke(server: &Server, options: &Options, sync: &Sync) -> Result<(), Failure> {
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for _ in 0..options.revocations {
        let task = server.start_task()?;
        let mut streams = server
            .streams(REVOKED_STREAMS, STREAMS_PER_CONNECTION)
            .await?;
        let (asked, begun) = (server.revoking(&task), Instant::now());
        let mut asked = asked?;
        let mut ends = Vec::new();
        while let Some(ended) = streams.join_next().await {
            let ended: Instant = ended??;
            ends.push(ended.saturating_duration_since(begun).as_secs_f64() * 1e3);
        }
        if !asked.wait()?.success() {
            return Err("a task could not be revoked".into());
        }
        let ends = Spread::new(ends);
        each.push(ends.at(0.99));
        last.push(ends.max());
    }
    let (each, last) = (Spread::new(each), Spread::new(last));
    let bar = 2.0 * sync.middle.median() / 1e3 + 50.0;
    println!(
        "`ambit revoke` begins → the end of each of {REVOKED_STREAMS} streams is read, {} times (with the start of the \
         command, and the client on the same cores): p99 of the streams {each} ms, last stream p99 {} ms; bar p99 2 F + 50 ms = \
         {} ms: {}",
        options.revocations,
        short(last.at(0.99)),
        short(bar),
        verdict(each.at(0.99) <= bar)
    );
    Ok(())
}

/// What streams that say nothing weigh.
async fn idle(server: &Server, per_connection: usize) -> Result<(), Failure> {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = descriptors.current.unwrap_or(u64::MAX).saturating_sub(1000) / 2;
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

/// A server in a process of its own.
struct Server {
    process: Child,
    directory: PathBuf,
}

impl Server {
    fn start(directory: &Path) -> Result<Self, Failure> {
        write_estate(directory)?;
        let config = directory.join("ambit.toml");
        let text = format!(
            "trust_domain = \"bench.example\"\nstate = \"{0}/state\"\nestate = \"{0}/estate\"\n\n[doors]\ngateway = \
             \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n",
            directory.display()
        );
        fs::write(&config, text)?;
        let mut process = program()?
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        if !lines.any(|it| it.trim().starts_with("health")) {
            return Err("the server did not start".into());
        }
        // Whatever it says later is read past.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            process,
            directory: directory.to_owned(),
        })
    }

    fn id(&self) -> u32 {
        self.process.id()
    }

    fn command(&self, words: &[&str]) -> Result<Command, Failure> {
        let mut command = program()?;
        command.arg("--state").arg(self.directory.join("state"));
        command.args(["-o", "json"]).args(words);
        Ok(command)
    }

    fn ambit(&self, words: &[&str]) -> Result<Value, Failure> {
        let output = self.command(words)?.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(json::parse(&output.stdout)?)
    }

    fn start_task(&self) -> Result<String, Failure> {
        let started = ["task", "start", "look", "--for", "reader", "--attested"];
        let answer = self.ambit(&started)?;
        let task = answer.get("task").and_then(Value::as_str);
        Ok(task.ok_or("no task was started")?.to_owned())
    }

    fn revoking(&self, task: &str) -> Result<Child, Failure> {
        let mut command = self.command(&["revoke", task, "--reason", "measured"])?;
        Ok(command.stdout(Stdio::null()).spawn()?)
    }

    async fn client(&self) -> Result<WorkloadApiClient, Failure> {
        let socket = self.directory.join("state/workload.sock");
        let socket = format!("unix://{}", socket.display());
        Ok(WorkloadApiClient::connect_to(&socket).await?)
    }

    /// Opens streams and waits until each has its first answer. Each resolves to when it ended.
    async fn streams(
        &self,
        count: usize,
        per_connection: usize,
    ) -> Result<JoinSet<Result<Instant, Failure>>, Failure> {
        let mut streams = JoinSet::new();
        let open = Arc::new(Semaphore::new(0));
        let mut left = count;
        while left > 0 {
            let client = self.client().await?;
            for _ in 0..left.min(per_connection) {
                let (client, open) = (client.clone(), Arc::clone(&open));
                streams.spawn(async move {
                    let mut stream = client.stream_x509_svids().await?;
                    stream.next().await.ok_or("a stream said nothing")??;
                    open.add_permits(1);
                    while let Some(Ok(_)) = stream.next().await {}
                    Ok(Instant::now())
                });
            }
            left = left.saturating_sub(per_connection);
            let opened = u32::try_from(count - left)?;
            drop(open.acquire_many(opened).await?);
        }
        Ok(streams)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the program, built beside this one.
fn program() -> Result<Command, Failure> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).ok_or("no program")?;
    Ok(Command::new(built.join("ambit")))
}

fn write_estate(directory: &Path) -> Result<(), Failure> {
    let uid = rustix::process::getuid().as_raw();
    let own = std::env::current_exe()?.canonicalize()?;
    let files = [
        (
            "estate.toml",
            format!(
                "[people.ada]\nunix_uid = {uid}\nroles = [\"starter\", \"operator\", \"administrator\"]\n"
            ),
        ),
        (
            "agents/reader.toml",
            format!(
                "owner = \"ada\"\npurpose = \"Is measured\"\nrisk = \"low\"\nenvironment = \"test\"\nreview_by = \
                 \"2030-01-01\"\ntemplates = [\"look\"]\n\n[[workload]]\nuid = {uid}\npath = \"{}\"\n",
                own.display()
            ),
        ),
        (
            "templates/look.toml",
            "version = 1\nowner = \"ada\"\npurpose = \"Is measured\"\ncalls_max = 20\nttl = \"1h\"\nstarters = \
             \"any_starter\"\napprover = \"anyone\"\ncontainment = \"optional\"\n"
                .to_owned(),
        ),
    ];
    for (path, text) in files {
        let path = directory.join("estate").join(path);
        fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// How many streams see a revocation.
const REVOKED_STREAMS: usize = 1000;
/// How many streams idle.
const IDLE_STREAMS: usize = 10_000;
/// How many streams the clients of one process put on one connection.
const STREAMS_PER_CONNECTION: usize = 64;
/// How long streams idle before the memory is read.
const IDLE: Duration = Duration::from_millis(1500);

//! `ambit serve` in a process of its own, as its users run it, and the commands that its users type.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use ambit_core::json::{self, Value};
use ambit_identity::IssuingKeys;
use spiffe::WorkloadApiClient;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_stream::StreamExt;

use crate::Failure;

/// A server in a process of its own.
pub(crate) struct Server {
    process: Child,
    pub(crate) directory: PathBuf,
    /// How anybody names its public port: the issuer of its tokens.
    pub(crate) public: String,
}

impl Server {
    /// Starts it over an estate of its own in `directory`.
    pub(crate) fn start(directory: &Path) -> Result<Self, Failure> {
        write_estate(directory)?;
        let config = directory.join("ambit.toml");
        let port = free_port()?;
        let text = format!(
            "trust_domain = \"{TRUST_DOMAIN}\"\nstate = \"{0}/state\"\nestate = \"{0}/estate\"\n\n[doors]\ngateway = \
             \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n\n[public]\nlisten = \"127.0.0.1:{port}\"\nurl = \
             \"https://localhost:{port}\"\n",
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
        // The public port is told of last.
        if !lines.any(|it| it.trim().starts_with("anybody")) {
            return Err("the server did not start".into());
        }
        // Whatever it says later is read past.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            process,
            directory: directory.to_owned(),
            public: format!("https://localhost:{port}"),
        })
    }

    /// Returns its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Runs `ambit WORDS` and returns its answer.
    pub(crate) fn ambit(&self, words: &[&str]) -> Result<Value, Failure> {
        let output = self.command(words)?.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(json::parse(&output.stdout)?)
    }

    /// Starts a task whose instance is the next process that attests, and returns its name.
    pub(crate) fn start_task(&self) -> Result<String, Failure> {
        let started = ["task", "start", "look", "--for", "reader", "--attested"];
        member(&self.ambit(&started)?, "task")
    }

    /// Begins to revoke a task.
    pub(crate) fn revoking(&self, task: &str) -> Result<Child, Failure> {
        let mut command = self.command(&["revoke", "task", task, "--reason", "measured"])?;
        Ok(command.stdout(Stdio::null()).spawn()?)
    }

    /// Returns the keys by which it vouches for workloads and signs tokens.
    pub(crate) fn keys(&self) -> Result<IssuingKeys, Failure> {
        let text = fs::read_to_string(self.directory.join("state/keys/authority.pem"))?;
        Ok(IssuingKeys::from_text(&TRUST_DOMAIN.parse()?, &text)?)
    }

    /// Connects to its Workload API.
    pub(crate) async fn client(&self) -> Result<WorkloadApiClient, Failure> {
        let socket = self.directory.join("state/workload.sock");
        let socket = format!("unix://{}", socket.display());
        Ok(WorkloadApiClient::connect_to(&socket).await?)
    }

    /// Opens streams and waits until each has its first answer. Each resolves to when what is awaited came.
    pub(crate) async fn streams(
        &self,
        count: usize,
        per_connection: usize,
        until: Until,
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
                    while let Some(Ok(_)) = stream.next().await {
                        if until == Until::Said {
                            break;
                        }
                    }
                    Ok(Instant::now())
                });
            }
            left = left.saturating_sub(per_connection);
            let opened = u32::try_from(count - left)?;
            tokio::select! {
                opened = open.acquire_many(opened) => drop(opened?),
                Some(Ok(Err(failure))) = streams.join_next() => return Err(failure),
            }
        }
        Ok(streams)
    }

    fn command(&self, words: &[&str]) -> Result<Command, Failure> {
        let mut command = program()?;
        command.arg("--state").arg(self.directory.join("state"));
        command.args(["-o", "json"]).args(words);
        Ok(command)
    }
}

/// What is awaited of a stream after its first answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    /// Its next answer.
    Said,
    /// Its end.
    Ended,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the text `name` of an answer.
pub(crate) fn member(answer: &Value, name: &str) -> Result<String, Failure> {
    let text = answer.get(name).and_then(Value::as_str);
    Ok(text
        .ok_or_else(|| format!("the answer has no `{name}`"))?
        .to_owned())
}

/// Returns a port that nobody listens at just now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
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
            "version = 1\nowner = \"ada\"\npurpose = \"Is measured\"\ncalls_max = 2000\nttl = \"1h\"\nstarters = \
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

/// Whose workloads the server vouches for.
pub(crate) const TRUST_DOMAIN: &str = "bench.example";

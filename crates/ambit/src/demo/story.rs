//! The demo's story: what happens, step by step, and what it shows.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ambit_core::json::{self, Value};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::upstream::World;
use crate::{
    cli::{Session, log_check},
    client::{ApiError, Client},
    clock::Stopwatch,
    config::StateDirectory,
    output::{Output, Tone, cell},
    problem::Problem,
    run::find_bubblewrap,
};

/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call is under way before the demo revokes it.
const RACE_PAUSE: Duration = Duration::from_millis(700);
/// How much of one argument is shown, in characters.
const ARGUMENT_WIDTH: usize = 26;
/// How wide the first column is.
const WIDTH: usize = 9;

/// The story and all that it needs.
pub(crate) struct Story<'a> {
    session: &'a Session,
    output: Output,
    state: StateDirectory,
    client: Client,
    tickets: SocketAddr,
    world: Arc<World>,
}

/// Whether the demo's yes was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Approved,
    NotTaken,
}

/// The agent, as a process behind `ambit run`.
struct Agent {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl<'a> Story<'a> {
    /// Prepares the story.
    pub(crate) fn new(
        session: &'a Session,
        state: &StateDirectory,
        control: &Path,
        tickets: SocketAddr,
        world: Arc<World>,
    ) -> Self {
        Self {
            session,
            output: session.output,
            state: state.clone(),
            client: Client::new(control.to_owned()),
            tickets,
            world,
        }
    }

    /// Tells it. `directory` is where the agent works.
    pub(crate) async fn tell(&self, directory: &Path) -> Result<(), Problem> {
        let contained = find_bubblewrap(self.session.environment.path.as_ref())
            .await
            .is_some();
        self.heading("An agent answers ticket 1042 for a customer, maria@example.com. Its task says no more than that.")?;
        let work = directory.join("work");
        std::fs::create_dir_all(&work)
            .map_err(|error| Problem::io("make the agent's directory", error))?;
        let task = self.answer(&work, contained).await?;
        self.race(&work, contained).await?;
        self.heading("What reached the world")?;
        for line in self.world.done() {
            self.step(Tone::Quiet, "done", &line)?;
        }
        self.heading("The task's story, from the log alone  (ambit log trace)")?;
        let path = format!("/v1/log/trace/{task}");
        let trace = self.client.get(&path).await?;
        self.output.line(
            trace
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim_end(),
        )
    }

    /// Verifies the log from files, after the server has stopped.
    pub(crate) fn verify(&self, watch: Stopwatch) -> Result<(), Problem> {
        self.heading("The log, verified from files without the server  (ambit log verify)")?;
        let session = Session {
            state: Some(self.state.root().to_owned()),
            ..self.session.clone()
        };
        log_check(&session)?;
        let seconds = watch.elapsed().as_secs_f32();
        let told = format!(
            "\nAll of it took {seconds:.1} s. Next: `ambit dev DIR`, with an estate of your own."
        );
        self.output.line(&told)
    }

    async fn answer(&self, work: &Path, contained: bool) -> Result<String, Problem> {
        let mut agent = self.start("answer", work, contained)?;
        let tools = agent.next().await?;
        let names = tools
            .get("tools")
            .and_then(Value::as_array)
            .unwrap_or_default();
        let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
        self.step(Tone::Good, "offered", &names.join(", "))?;
        let around = agent.next().await?;
        self.tell_around(&around, contained)?;
        self.note(
            "The ticket is poisoned: it tells the agent to mail all tickets away. The agent obeys.",
        )?;
        for _ in 0..3 {
            self.tell_call(&agent.next().await?)?;
        }
        self.note("Money needs a person. The agent asks, gets \"pending\" at once, and works on.")?;
        self.tell_call(&agent.next().await?)?;
        match self.approve().await? {
            Verdict::Approved => self.note(
                "The identical call goes through, once. The same yes does not serve twice.",
            )?,
            Verdict::NotTaken => self.note("Without a yes that counts, the call stays held.")?,
        }
        for _ in 0..2 {
            self.tell_call(&agent.next().await?)?;
        }
        for _ in 0..2 {
            self.tell_call(&agent.next().await?)?;
        }
        let task = self.live_task().await?;
        let end = Value::object([("end", Value::from("completed"))]);
        self.client
            .post(&format!("/v1/tasks/{task}/end"), &end)
            .await?;
        self.step(
            Tone::Good,
            "completed",
            &format!("{task}: all its authority ended with it"),
        )?;
        self.tell_call(&agent.next().await?)?;
        agent.end().await?;
        Ok(task)
    }

    async fn race(&self, work: &Path, contained: bool) -> Result<(), Problem> {
        self.heading(
            "A second run reads a slow ticket. It is revoked while the call is under way.",
        )?;
        let mut agent = self.start("slow", work, contained)?;
        agent.go().await?;
        sleep(RACE_PAUSE).await;
        let task = self.live_task().await?;
        let target = Value::object([("kind", Value::from("task")), ("id", task.as_str().into())]);
        let body = Value::object([("target", target), ("reason", "the demo revokes it".into())]);
        let report = self.client.post("/v1/revocations", &body).await?;
        let crossed = report
            .get("crossed")
            .and_then(Value::as_array)
            .map_or(0, <[Value]>::len);
        let took = cell(&report, "took_ms");
        let told = format!("{task} after {took} ms; {crossed} call under way was cut");
        self.step(Tone::Bad, "revoked", &told)?;
        let call = agent.line().await?;
        self.tell_call(&call)?;
        let call = agent.next().await?;
        self.tell_call(&call)?;
        agent.end().await
    }

    async fn approve(&self) -> Result<Verdict, Problem> {
        let answer = self.client.get("/v1/approvals").await?;
        let waiting = answer
            .get("approvals")
            .unwrap_or(&answer)
            .as_array()
            .unwrap_or_default();
        let Some(approval) = waiting.first() else {
            return Err(Problem::CheckFailed(
                "the held call is not among the approvals".to_owned(),
            ));
        };
        let id = cell(approval, "approval");
        let act = approval
            .get("act")
            .map(Value::to_canonical)
            .unwrap_or_default();
        self.step(
            Tone::Quiet,
            "shown",
            &format!("{id}: {}", crate::output::visible(&act)),
        )?;
        let body = Value::object([("verdict", Value::from("approved"))]);
        match self
            .client
            .post(&format!("/v1/approvals/{id}/decide"), &body)
            .await
        {
            Ok(_) => {
                self.step(Tone::Good, "approved", "by you, this one call")?;
                Ok(Verdict::Approved)
            }
            // Beside an agent that is not contained, nobody can tell whose yes it is.
            Err(ApiError::Refused { problem, .. }) => {
                let detail = cell(&problem, "detail");
                self.step(
                    Tone::Bad,
                    "denied",
                    &format!("the approval itself: {detail}"),
                )?;
                Ok(Verdict::NotTaken)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn live_task(&self) -> Result<String, Problem> {
        let answer = self.client.get("/v1/tasks").await?;
        let tasks = answer
            .get("tasks")
            .unwrap_or(&answer)
            .as_array()
            .unwrap_or_default();
        let live = tasks.iter().find(|task| cell(task, "state") == "active");
        let live = live.map(|task| cell(task, "task"));
        live.ok_or_else(|| {
            Problem::CheckFailed("the agent's task is not among the live ones".to_owned())
        })
    }

    fn start(&self, script: &str, work: &Path, contained: bool) -> Result<Agent, Problem> {
        let failed = |error| Problem::io("start the demo's agent", error);
        let program = std::env::current_exe().map_err(failed)?;
        let inside = if contained {
            PathBuf::from("/run/ambit/ambit")
        } else {
            program.clone()
        };
        let mut child = Command::new(program)
            .arg("--state")
            .arg(self.state.root())
            .args([
                "run",
                "--quiet",
                "--task",
                "answer-ticket",
                "--for",
                "support-bot",
            ])
            .args([
                "--param",
                "ticket=1042",
                "--param",
                "customer=maria@example.com",
            ])
            .args([
                "--containment",
                if contained { "namespaces" } else { "none" },
            ])
            .arg("--workdir")
            .arg(work)
            .arg("--")
            .arg(inside)
            .args([
                "demo-agent",
                script,
                "--upstream",
                &self.tickets.to_string(),
                "--database",
            ])
            .arg(self.state.database())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) =
            pipes.ok_or_else(|| failed(std::io::Error::other("it has no pipes")))?;
        Ok(Agent {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        })
    }

    fn tell_around(&self, around: &Value, contained: bool) -> Result<(), Problem> {
        let is = |member| around.get(member).and_then(Value::as_bool).unwrap_or(true);
        match (is("reached"), is("read")) {
            (false, false) => self.step(
                Tone::Bad,
                "blocked",
                "going around: neither the ticket server nor Ambit's database is within reach",
            ),
            _ if !contained => self.step(
                Tone::Waiting,
                "open",
                "bubblewrap is missing here: nothing keeps the agent from going around (containment=none)",
            ),
            _ => Err(Problem::CheckFailed("the contained agent got around Ambit".to_owned())),
        }
    }

    fn tell_call(&self, call: &Value) -> Result<(), Problem> {
        let shown = call.get("arguments").map(short).unwrap_or_default();
        let member = |name| call.get("structured").map(|it| cell(it, name));
        let code = member("code").unwrap_or_default();
        let is_cut = member("status").as_deref() == Some("unknown");
        let (tone, word) = match (call.get("is_error").and_then(Value::as_bool), code.as_str()) {
            (Some(true), "approval_required") => (Tone::Waiting, "held"),
            (Some(true), _) if is_cut => (Tone::Bad, "cut"),
            (Some(true), _) => (Tone::Bad, "denied"),
            _ => (Tone::Good, "allowed"),
        };
        let why = if tone == Tone::Good {
            String::new()
        } else {
            let outcome = if is_cut { "  outcome unknown" } else { "" };
            format!("  {code}{outcome}")
        };
        self.step(tone, word, &format!("{} {shown}{why}", cell(call, "tool")))
    }

    fn step(&self, tone: Tone, word: &str, text: &str) -> Result<(), Problem> {
        let word = self.output.paint(tone, &format!("{word:WIDTH$}"));
        self.output.line(&format!("  {word}  {text}"))
    }

    fn note(&self, text: &str) -> Result<(), Problem> {
        self.output
            .line(&self.output.paint(Tone::Quiet, &format!("  {text}")))
    }

    fn heading(&self, text: &str) -> Result<(), Problem> {
        self.output
            .line(&format!("\n{}", self.output.paint(Tone::Heading, text)))
    }
}

impl Agent {
    /// Lets the agent take its next step and returns what came of it.
    async fn next(&mut self) -> Result<Value, Problem> {
        self.go().await?;
        self.line().await
    }

    async fn go(&mut self) -> Result<(), Problem> {
        let told = self.stdin.write_all(b"\n").await;
        told.map_err(|error| Problem::io("speak to the demo's agent", error))
    }

    async fn line(&mut self) -> Result<Value, Problem> {
        let late = || Problem::CheckFailed("the demo's agent took longer than 10 s".to_owned());
        let line = timeout(STEP_TIMEOUT, self.lines.next_line())
            .await
            .map_err(|_| late())?;
        let line = line.map_err(|error| Problem::io("listen to the demo's agent", error))?;
        let line =
            line.ok_or_else(|| Problem::CheckFailed("the demo's agent ended early".to_owned()))?;
        json::parse(line.as_bytes())
            .map_err(|error| Problem::failed("read what the agent said", error))
    }

    async fn end(mut self) -> Result<(), Problem> {
        drop(self.stdin);
        let ended = timeout(STEP_TIMEOUT, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map(drop)
            .map_err(|error| Problem::io("wait for the demo's agent", error))
    }
}

/// Returns arguments on one line: the shortest first, each cut to fit.
fn short(arguments: &Value) -> String {
    let members = arguments.as_object().into_iter().flatten();
    let mut parts: Vec<String> = members
        .map(|(name, value)| {
            let text = crate::output::visible(&value.to_canonical());
            let mut part: String = text.chars().take(ARGUMENT_WIDTH).collect();
            if part.len() < text.len() {
                part.push('…');
            }
            format!("{name}={part}")
        })
        .collect();
    parts.sort_by_key(String::len);
    parts.join(" ")
}

//! The demo's agent: a process of its own that reads a ticket and does what it says.
//!
//! It waits for a line before each step, so that the demo can tell the story in order, and says
//! what came of the step in a line of JSON.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use ambit_core::json::{self, Value};
use bytes::Bytes;
use clap::ValueEnum;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    net::TcpStream,
    time::timeout,
};

use crate::{
    config::variable,
    demo::upstream::{POISONED_TICKET, SLOW_TICKET},
    output::{Format, Output},
    problem::Problem,
};

/// The longest answer that the agent reads, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the agent tries to go around.
const AROUND_TIMEOUT: Duration = Duration::from_millis(500);

/// Options of the demo's agent.
#[derive(clap::Args, Debug)]
pub(crate) struct AgentArguments {
    /// What it does
    #[arg(value_enum)]
    script: Script,
    /// An upstream that it tries to reach without Ambit
    #[arg(long)]
    upstream: SocketAddr,
    /// A file of Ambit's that it tries to read
    #[arg(long)]
    database: PathBuf,
}

/// What the agent does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Script {
    /// Answers the poisoned ticket
    Answer,
    /// Reads a slow ticket, and another one after that
    Slow,
}

/// Runs the agent.
pub(crate) async fn agent(arguments: &AgentArguments) -> Result<u8, Problem> {
    let url = variable("AMBIT_MCP_URL").and_then(|url| url.into_string().ok());
    let url = url.and_then(|url| url.parse::<Uri>().ok()).ok_or_else(|| {
        Problem::Usage("this is the demo's agent; `ambit demo` runs it".to_owned())
    })?;
    let mut agent = Agent {
        url,
        lines: BufReader::new(stdin()).lines(),
        next_id: 0,
        session: None,
    };
    agent.greet().await?;
    match arguments.script {
        Script::Answer => agent.answer(arguments).await,
        Script::Slow => agent.read_slowly().await,
    }?;
    Ok(0)
}

struct Agent {
    url: Uri,
    lines: Lines<BufReader<Stdin>>,
    next_id: i64,
    session: Option<String>,
}

impl Agent {
    async fn answer(&mut self, arguments: &AgentArguments) -> Result<(), Problem> {
        self.tell_tools().await?;
        self.try_around(arguments).await?;
        let ticket = Value::object([("id", Value::Integer(POISONED_TICKET))]);
        let read = self.call("tickets__get_ticket", ticket).await?;
        // A model that believes what it reads would do the same.
        let collector = address_in(&read).unwrap_or_default();
        let all = self
            .call("tickets__list_tickets", Value::object([]))
            .await?;
        self.call("mail__send_reply", mail(&collector, "All tickets", &all))
            .await?;
        let refund = Value::object([
            ("ticket", Value::Integer(POISONED_TICKET)),
            ("amount_cents", Value::Integer(2500)),
        ]);
        self.call("tickets__refund", refund.clone()).await?;
        self.call("tickets__refund", refund.clone()).await?;
        self.call("tickets__refund", refund).await?;
        let text = "Your money is on its way.";
        self.call(
            "mail__send_reply",
            mail("maria@example.com", "Your order", text),
        )
        .await?;
        let close = Value::object([
            ("id", Value::Integer(POISONED_TICKET)),
            ("resolution", "refunded".into()),
        ]);
        self.call("tickets__close_ticket", close).await?;
        let ticket = Value::object([("id", Value::Integer(POISONED_TICKET))]);
        self.call("tickets__get_ticket", ticket).await?;
        Ok(())
    }

    async fn read_slowly(&mut self) -> Result<(), Problem> {
        for id in [SLOW_TICKET, POISONED_TICKET] {
            let ticket = Value::object([("id", Value::Integer(id))]);
            self.call("tickets__get_ticket", ticket).await?;
        }
        Ok(())
    }

    async fn tell_tools(&mut self) -> Result<(), Problem> {
        self.wait().await?;
        let answer = self.ask("tools/list", Value::object([])).await?;
        let tools = answer
            .get("result")
            .and_then(|it| it.get("tools"))
            .and_then(Value::as_array);
        let names = tools
            .unwrap_or_default()
            .iter()
            .filter_map(|tool| tool.get("name"))
            .cloned();
        tell(&Value::object([("tools", Value::Array(names.collect()))]))
    }

    async fn try_around(&mut self, arguments: &AgentArguments) -> Result<(), Problem> {
        self.wait().await?;
        let reached = timeout(AROUND_TIMEOUT, TcpStream::connect(arguments.upstream)).await;
        let reached = matches!(reached, Ok(Ok(_)));
        let read = std::fs::read(&arguments.database).is_ok();
        tell(&Value::object([
            ("reached", Value::Bool(reached)),
            ("read", Value::Bool(read)),
        ]))
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Result<String, Problem> {
        self.wait().await?;
        let parameters = Value::object([
            ("name", Value::from(tool)),
            ("arguments", arguments.clone()),
        ]);
        let answer = self.ask("tools/call", parameters).await?;
        let result = answer
            .get("result")
            .or_else(|| answer.get("error"))
            .cloned();
        let result = result.unwrap_or(Value::Null);
        let text = text_of(&result);
        tell(&Value::object([
            ("tool", Value::from(tool)),
            ("arguments", arguments),
            (
                "is_error",
                result.get("isError").cloned().unwrap_or(Value::Bool(false)),
            ),
            (
                "structured",
                result
                    .get("structuredContent")
                    .cloned()
                    .unwrap_or(Value::Null),
            ),
            ("text", text.as_str().into()),
        ]))?;
        Ok(text)
    }

    /// Waits for the word to take the next step.
    async fn wait(&mut self) -> Result<(), Problem> {
        let line = self.lines.next_line().await;
        match line.map_err(|error| Problem::io("read standard input", error))? {
            Some(_) => Ok(()),
            None => Err(Problem::Usage("the demo is over".to_owned())),
        }
    }

    async fn greet(&mut self) -> Result<(), Problem> {
        let client = Value::object([("name", Value::from("demo-agent")), ("version", "1".into())]);
        let parameters = Value::object([
            ("protocolVersion", Value::from("2025-11-25")),
            ("capabilities", Value::object([])),
            ("clientInfo", client),
        ]);
        self.ask("initialize", parameters).await?;
        let note = Value::object([
            ("jsonrpc", Value::from("2.0")),
            ("method", "notifications/initialized".into()),
        ]);
        self.post(&note).await.map(drop)
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, Problem> {
        self.next_id += 1;
        let message = Value::object([
            ("jsonrpc", Value::from("2.0")),
            ("id", Value::Integer(self.next_id)),
            ("method", method.into()),
            ("params", parameters),
        ]);
        let body = self.post(&message).await?;
        // An answer comes as JSON or as the last event of a stream.
        let line = body
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("data:"));
        let text = line.unwrap_or(&body).trim();
        json::parse(text.as_bytes()).map_err(|error| Problem::failed("read Ambit's answer", error))
    }

    async fn post(&mut self, message: &Value) -> Result<String, Problem> {
        let failed = |error| Problem::io("reach Ambit's door", error);
        let other =
            |error| failed(io::Error::other::<Box<dyn std::error::Error + Send + Sync>>(error));
        let authority = self
            .url
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let stream = TcpStream::connect(&authority).await.map_err(failed)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| other(error.into()))?;
        tokio::spawn(connection);
        let mut request = Request::post(self.url.path())
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        let body = Full::new(Bytes::from(message.to_canonical()));
        let request = request.body(body).map_err(|error| other(error.into()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| other(error.into()))?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = session.to_str().ok().map(str::to_owned);
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let bytes = body.collect().await.map_err(other)?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn mail(to: &str, subject: &str, body: &str) -> Value {
    let members = [("to", to), ("subject", subject), ("body", body)];
    Value::object(members.map(|(name, text)| (name, Value::from(text))))
}

/// Returns the first word of `text` that looks like a mail address.
fn address_in(text: &str) -> Option<String> {
    text.split_whitespace()
        .find(|word| word.contains('@'))
        .map(str::to_owned)
}

fn text_of(result: &Value) -> String {
    let parts = result
        .get("content")
        .and_then(Value::as_array)
        .unwrap_or_default();
    let texts = parts
        .iter()
        .filter_map(|part| part.get("text"))
        .filter_map(Value::as_str);
    let text = texts.collect::<Vec<_>>().join("\n");
    if text.is_empty() {
        let message = result.get("message").and_then(Value::as_str);
        return message.unwrap_or_default().to_owned();
    }
    text
}

fn tell(value: &Value) -> Result<(), Problem> {
    Output::new(Format::Jsonl, true).line(&value.to_canonical())
}

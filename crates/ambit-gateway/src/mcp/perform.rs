//! The one path of an act through the MCP doors: decide, admit, send, record.

use std::{future::Future, pin::Pin, sync::Arc};

use ambit_core::{
    DecisionId, Labels, Reason, ServerName, TaskId, Timestamp,
    act::{Act, Listing},
    json::Value,
    record::Status,
};
use ambit_engine::{Answer, Denied, Effect, EngineError, Passage};
use ambit_identity::InstanceCaller;
use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{
    added::Added,
    bridge,
    era::{self, Era},
    methods::Decided,
    refusal::Refusal,
    spans,
    wire::{self, RpcError},
};
use crate::{
    doors::Doors,
    upstream::{
        Call, Departed, DepartedStanding, Departure, Leave, Line, Notice, Upstream, UpstreamError,
    },
};

/// How an act ended, for the agent.
#[derive(Debug)]
pub(crate) enum Conclusion {
    /// The upstream's result, in the agent's era, canonical.
    Done(String),
    /// The upstream's error.
    Error(RpcError),
    /// It did not happen, or nobody knows.
    Refused(Refusal),
}

/// What an agent asked for besides the act.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// The agent's era.
    pub era: Era,
    /// What kind of act it is.
    pub method: Decided,
    /// The agent came through the door with many servers.
    pub shared_door: bool,
    /// Where notifications go, when the agent can read them.
    pub notices: Option<mpsc::Sender<Notice>>,
    /// It wants progress.
    pub progress: bool,
    /// The least level of log messages wanted.
    pub log_level: Option<&'static str>,
}

/// Takes `act` along the whole path. `gone` resolves when the agent withdrew the request.
pub(crate) async fn perform(
    doors: &Arc<Doors>,
    caller: &InstanceCaller,
    act: Act,
    wishes: &Wishes,
    gone: impl Future<Output = ()>,
) -> Conclusion {
    // The same bytes are decided and sent: they are made once, from the value that is decided.
    let prepared = Prepared::new(&act);
    let span = spans::call(&act);
    let errand = Errand {
        doors,
        caller,
        prepared: &prepared,
        wishes,
        added: Added::begin(doors),
    };
    tokio::pin!(gone);
    let performing = async move {
        match errand.attempt(act, gone.as_mut()).await {
            Attempt::Over(conclusion) => conclusion,
            // Nothing of it was done: the same act is decided anew, once, and its conversation stands by now.
            Attempt::Undone(act, _) => match Box::pin(errand.attempt(*act, gone)).await {
                Attempt::Over(conclusion) | Attempt::Undone(_, conclusion) => conclusion,
            },
        }
    };
    performing.instrument(span).await
}

/// What stays the same when an act is decided anew.
struct Errand<'a> {
    doors: &'a Arc<Doors>,
    caller: &'a InstanceCaller,
    prepared: &'a Prepared,
    wishes: &'a Wishes,
    added: Added<'a>,
}

/// What came of one decision.
enum Attempt {
    /// This.
    Over(Conclusion),
    /// Nothing was done, and the record says so: the act, to be decided anew, and what to say otherwise.
    Undone(Box<Act>, Conclusion),
}

/// Whether the conversation stands.
enum Ready {
    Stands(Arc<Upstream>, Line),
    Failed(Arc<UpstreamError>),
    Withdrawn,
    TaskEnded,
}

impl Errand<'_> {
    /// Decides, has the conversation stand, and only then passes the door: authority is checked again after all that
    /// takes time, right before the first byte.
    async fn attempt(&self, act: Act, gone: Pin<&mut impl Future<Output = ()>>) -> Attempt {
        let (doors, mut gone) = (self.doors, gone);
        let server = act.server().cloned();
        let pause = self.added.pause();
        let standing = match &server {
            Some(server) => doors.warm(self.caller, server).await,
            None => None,
        };
        drop(pause);
        let standing = standing.filter(|it| !it.is_closed());
        let deciding = doors.handle.decide(self.caller, act, (doors.clock)());
        let answer = deciding.instrument(spans::decide()).await;
        spans::answered(&answer);
        let permit = match answer {
            Ok(Answer::Allowed(permit)) => permit,
            Ok(Answer::Held(held)) => return refused(Refusal::held(held)),
            Ok(Answer::Denied(denied)) => return refused(Refusal::denied(denied)),
            Err(error) => return Attempt::Over(broken(&error)),
        };
        let decision = permit.value().decision();
        let leave = Leave {
            act_by: permit.value().act_by(),
            clock: Arc::clone(&doors.clock),
            departed: Departed::default(),
        };
        let departed = leave.departed.clone();
        // Only who waits for a cold server may come too late without being to blame.
        let spare = standing
            .is_none()
            .then(|| Box::new(permit.value().act().clone()));
        let task = permit.value().task();
        let pause = self.added.pause();
        let ready = tokio::select! {
            biased;
            () = gone.as_mut() => Ready::Withdrawn,
            () = ended(doors, task) => Ready::TaskEnded,
            ready = self.ready(standing, server.as_ref()) => ready,
        };
        drop(pause);
        let passage = match doors.handle.admit(permit, doors.now()) {
            Ok(passage) => passage,
            Err(denied) => return too_late(ready, denied, spare),
        };
        let began = doors.now();
        let sent = match ready {
            Ready::Failed(error) => Sent::failed(error, 0),
            Ready::Withdrawn | Ready::TaskEnded => Sent::unsent(Said::Cut(Reason::TaskEnded)),
            Ready::Stands(upstream, line) => {
                let _pause = self.added.pause();
                let sending = self.send(&upstream, Departure { line, leave }, &passage);
                tokio::select! {
                    biased;
                    reason = passage.cancelled() => self.cut(reason, &departed),
                    () = gone => self.cut(Reason::TaskEnded, &departed),
                    sent = sending.instrument(spans::upstream()) => sent,
                }
            }
        };
        let undone = matches!(&sent.said, Said::Failed(error) if error.leaves_undone());
        let again = undone.then(|| Box::new(passage.act().clone()));
        let conclusion = record(doors, passage, began, decision, sent).await;
        match again {
            Some(act) => Attempt::Undone(act, conclusion),
            None => Attempt::Over(conclusion),
        }
    }

    /// Waits until the conversation stands and a way to the server is open.
    async fn ready(&self, standing: Option<Arc<Upstream>>, server: Option<&ServerName>) -> Ready {
        let Some(server) = server else {
            return Ready::Failed(Arc::new(UpstreamError::Incompatible));
        };
        let upstream = match standing {
            Some(upstream) => upstream,
            None => match self.doors.upstream(self.caller, server).await {
                Ok(upstream) => upstream,
                Err(error) => return self.why_not(error),
            },
        };
        match upstream.line().await {
            Ok(line) => Ready::Stands(upstream, line),
            Err(error) => Ready::Failed(Arc::new(error)),
        }
    }

    /// The task may have ended a moment before it is announced: then that is why there is no conversation.
    fn why_not(&self, error: Arc<UpstreamError>) -> Ready {
        match self.doors.handle.offers(self.caller, self.doors.now()) {
            Err(EngineError::NoTask) => Ready::TaskEnded,
            Ok(_) | Err(_) => Ready::Failed(error),
        }
    }
}

fn refused(refusal: Refusal) -> Attempt {
    Attempt::Over(Conclusion::Refused(refusal))
}

/// Says what comes of a permit that the door did not let pass. That it was not used is recorded already.
fn too_late(ready: Ready, denied: Denied, spare: Option<Box<Act>>) -> Attempt {
    match (ready, spare) {
        (Ready::Failed(error), _) => refused(Refusal::failed(denied.decision, &error)),
        (Ready::Withdrawn, _) | (_, None) => refused(Refusal::denied(denied)),
        (Ready::Stands(..) | Ready::TaskEnded, Some(act)) => {
            Attempt::Undone(act, Conclusion::Refused(Refusal::denied(denied)))
        }
    }
}

/// Resolves when the task has ended.
async fn ended(doors: &Doors, task: Option<TaskId>) {
    match task {
        Some(task) => doors.handle.task_ended(task).await,
        None => std::future::pending().await,
    }
}

/// The parameters of one act, as they go upstream.
struct Prepared {
    method: &'static str,
    params: Vec<(&'static str, String)>,
    name: Option<String>,
}

/// What came of sending.
struct Sent {
    status: Status,
    sent_bytes: u64,
    received_bytes: u64,
    said: Said,
}

enum Said {
    Result(String),
    Error(RpcError),
    Failed(Arc<UpstreamError>),
    Changed,
    /// The authority ended for this reason, or the agent withdrew the request.
    Cut(Reason),
}

impl Prepared {
    fn new(act: &Act) -> Self {
        let plain = |method| Self {
            method,
            params: Vec::new(),
            name: None,
        };
        match act {
            Act::CallTool {
                tool, arguments, ..
            } => Self {
                method: "tools/call",
                params: vec![
                    ("arguments", arguments.to_canonical()),
                    ("name", wire::quoted(tool.as_str())),
                ],
                name: Some(tool.to_string()),
            },
            Act::ReadResource { uri, .. } => Self {
                method: "resources/read",
                params: vec![("uri", wire::quoted(uri))],
                name: Some(uri.clone()),
            },
            Act::GetPrompt {
                prompt, arguments, ..
            } => Self {
                method: "prompts/get",
                params: vec![
                    ("arguments", arguments.to_canonical()),
                    ("name", wire::quoted(prompt)),
                ],
                name: Some(prompt.clone()),
            },
            Act::Complete { parameters, .. } => {
                let members = ["argument", "context", "ref"].into_iter();
                let params = members
                    .filter_map(|it| Some((it, parameters.get(it)?.to_canonical())))
                    .collect();
                Self {
                    method: "completion/complete",
                    params,
                    name: None,
                }
            }
            Act::List {
                what: Listing::Resources,
                ..
            } => plain("resources/list"),
            Act::List {
                what: Listing::ResourceTemplates,
                ..
            } => plain("resources/templates/list"),
            Act::List {
                what: Listing::Prompts,
                ..
            } => plain("prompts/list"),
            // Never asked for here: the CONNECT door has its own path.
            Act::Connect { .. } => plain(""),
        }
    }
}

impl Prepared {
    /// Returns how many bytes of parameters go upstream.
    fn bytes(&self) -> u64 {
        self.params.iter().map(|it| it.1.len()).sum::<usize>() as u64
    }
}

impl Sent {
    fn failed(error: Arc<UpstreamError>, sent_bytes: u64) -> Self {
        let status = error.status();
        let sent_bytes = if status == Status::NotSent {
            0
        } else {
            sent_bytes
        };
        Self {
            status,
            sent_bytes,
            received_bytes: 0,
            said: Said::Failed(error),
        }
    }

    /// Nothing was sent.
    const fn unsent(said: Said) -> Self {
        Self {
            status: Status::NotSent,
            sent_bytes: 0,
            received_bytes: 0,
            said,
        }
    }
}

impl Errand<'_> {
    /// Says how far an act came that was cut. Once it was handed to its connection, all of it may have arrived.
    fn cut(&self, reason: Reason, departed: &Departed) -> Sent {
        match departed.standing() {
            DepartedStanding::Not => Sent::unsent(Said::Cut(reason)),
            DepartedStanding::Handed => Sent {
                status: Status::Unknown,
                sent_bytes: self.prepared.bytes(),
                received_bytes: 0,
                said: Said::Cut(reason),
            },
        }
    }

    /// Sends the act once.
    async fn send(&self, upstream: &Upstream, departure: Departure, passage: &Passage) -> Sent {
        let (prepared, wishes) = (self.prepared, self.wishes);
        let Some(server) = passage.act().server() else {
            return Sent::failed(Arc::new(UpstreamError::Incompatible), 0);
        };
        // The conversation may have been opened after the decision: what it showed is not in the decision yet.
        if passage.act().tool().is_some_and(|it| upstream.differs(it)) {
            return Sent::unsent(Said::Changed);
        }
        let params: Vec<_> = prepared
            .params
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let sent_bytes = prepared.bytes();
        if let Act::List { what, .. } = passage.act() {
            return Box::pin(listed(upstream, departure, (*what, wishes, server))).await;
        }
        let call = Call {
            name: prepared.name.as_deref(),
            parameter_headers: parameter_headers(self.doors, passage.act()),
            log_level: wishes.log_level,
            progress: wishes.progress,
            notices: wishes.notices.as_ref(),
            ..Call::new(prepared.method, &params)
        };
        let answered = match upstream.act(&call, departure).await {
            Ok(answered) => answered,
            Err(error) => return Sent::failed(Arc::new(error), sent_bytes),
        };
        let received_bytes = answered.received_bytes as u64;
        let (status, said) = match answered.outcome {
            Ok(result) => match rendered(result, wishes, server) {
                Ok((status, text)) => (status, Said::Result(text)),
                Err(error) => (error.status(), Said::Failed(Arc::new(error))),
            },
            Err(error) => (
                Status::Failed,
                Said::Error(bridge::error(&error, wishes.era)),
            ),
        };
        Sent {
            status,
            sent_bytes,
            received_bytes,
            said,
        }
    }
}

/// Fetches all pages of a listing: a cursor of an agent's is never passed on.
async fn listed(
    upstream: &Upstream,
    departure: Departure,
    (what, wishes, server): (Listing, &Wishes, &ServerName),
) -> Sent {
    let (method, member) = match what {
        Listing::Resources => ("resources/list", "resources"),
        Listing::ResourceTemplates => ("resources/templates/list", "resourceTemplates"),
        Listing::Prompts => ("prompts/list", "prompts"),
    };
    let items = match upstream.list(method, member, Some(departure)).await {
        Ok(Ok(items)) => items,
        Ok(Err(error)) => {
            let said = Said::Error(bridge::error(&error, wishes.era));
            return Sent {
                status: Status::Failed,
                sent_bytes: 0,
                received_bytes: 0,
                said,
            };
        }
        Err(error) => return Sent::failed(Arc::new(error), 0),
    };
    match rendered(
        Value::object([(member, Value::Array(items))]),
        wishes,
        server,
    ) {
        Ok((status, text)) => Sent {
            status,
            sent_bytes: 0,
            received_bytes: text.len() as u64,
            said: Said::Result(text),
        },
        Err(error) => Sent::failed(Arc::new(error), 0),
    }
}

fn rendered(
    result: Value,
    wishes: &Wishes,
    server: &ServerName,
) -> Result<(Status, String), UpstreamError> {
    let mut result = bridge::result(result, wishes.era, wishes.method)?;
    if wishes.shared_door {
        bridge::rename(&mut result, server, wishes.method);
    }
    let failed = result.get("isError").and_then(Value::as_bool) == Some(true);
    let status = if failed { Status::Failed } else { Status::Done };
    Ok((status, result.to_canonical()))
}

fn parameter_headers(doors: &Doors, act: &Act) -> Vec<(HeaderName, HeaderValue)> {
    let Act::CallTool {
        server,
        tool,
        arguments,
    } = act
    else {
        return Vec::new();
    };
    let Ok(book) = doors.handle.book() else {
        return Vec::new();
    };
    let definition = book.estate().tool(server, tool).map(|it| &it.definition);
    definition
        .map(|it| era::parameter_headers(it, arguments))
        .unwrap_or_default()
}

async fn record(
    doors: &Doors,
    passage: Passage,
    began: Timestamp,
    decision: DecisionId,
    sent: Sent,
) -> Conclusion {
    spans::ended(sent.status);
    let moment = (doors.clock)();
    let result = match &sent.said {
        Said::Result(text) => Some(text.as_bytes().to_vec()),
        Said::Error(_) | Said::Failed(_) | Said::Changed | Said::Cut(_) => None,
    };
    let effect = Effect {
        status: sent.status,
        took: moment.now.since(began),
        sent_bytes: sent.sent_bytes,
        received_bytes: sent.received_bytes,
        labels: Labels::none(),
        result,
        failure: failure(&sent.said),
    };
    let writing = doors.handle.performed(passage, effect, moment);
    if let Err(error) = writing.instrument(spans::record()).await {
        return broken(&error);
    }
    match sent.said {
        Said::Result(text) => Conclusion::Done(text),
        Said::Error(error) => Conclusion::Error(error),
        Said::Failed(error) => {
            tracing::warn!(%decision, %error, "an act did not come back whole");
            Conclusion::Refused(Refusal::failed(decision, &error))
        }
        Said::Changed => {
            let reason = Reason::ToolChanged;
            Conclusion::Refused(Refusal::denied(Denied { decision, reason }))
        }
        Said::Cut(reason) if sent.status == Status::NotSent => {
            Conclusion::Refused(Refusal::denied(Denied { decision, reason }))
        }
        Said::Cut(reason) => Conclusion::Refused(Refusal::cut(decision, reason)),
    }
}

/// Returns why an act did not end well, for the record.
fn failure(said: &Said) -> Option<String> {
    match said {
        Said::Failed(error) => Some(error.for_record()),
        Said::Changed => Some(Reason::ToolChanged.code().to_owned()),
        Said::Cut(reason) => Some(format!("{reason}: {}", reason.for_agent())),
        Said::Result(_) | Said::Error(_) => None,
    }
}

fn broken(error: &EngineError) -> Conclusion {
    tracing::error!(%error, "the engine gave no answer");
    Conclusion::Refused(Refusal::engine(error))
}

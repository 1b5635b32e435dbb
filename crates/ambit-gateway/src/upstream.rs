//! Upstreams: one task's conversation with one server, in whichever era and over whichever transport
//! the server speaks.

mod collector;
mod credential;
mod error;
mod http;
mod listening;
mod open;
mod pool;
pub(crate) mod sse;
mod stdio;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::http::{HeaderName, HeaderValue};
use ambit_core::{Timestamp, ToolName, estate::Server, json::Value};
use ambit_engine::Clock;
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

pub(crate) use self::{
    collector::{Collector, Taken},
    error::UpstreamError,
};
use self::{
    http::{Head, HttpChannel},
    listening::Listening,
    pool::{Pool, Sender},
    stdio::StdioChannel,
};
use crate::{
    Secrets,
    limits::{LIST_PAGES_MAX, LISTED_ITEMS_MAX, PINS_CHECKED_EVERY_MILLISECONDS},
    mcp::{
        era::{Era, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION},
        wire::{self, METHOD_NOT_FOUND, RpcError},
    },
    sandbox::SandboxPolicy,
};

/// What all upstreams of a gateway share.
pub(crate) struct Means {
    /// Gives the credentials that are injected.
    pub secrets: Secrets,
    /// The roots for upstreams over https.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// How stdio servers are confined.
    pub sandbox: SandboxPolicy,
    /// How long an upstream may take to answer.
    pub answer_timeout: Duration,
    /// How many stdio server processes may still start.
    pub processes: Arc<Semaphore>,
    pools: Mutex<HashMap<String, Arc<Pool>>>,
    eras: Mutex<HashMap<String, Era>>,
}

/// One request to an upstream.
pub(crate) struct Call<'a> {
    /// The method.
    pub method: &'a str,
    /// The parameters but `_meta`: names in order, values canonical.
    pub params: &'a [(&'a str, &'a str)],
    /// The tool, prompt or resource that is mirrored into a header.
    pub name: Option<&'a str>,
    /// The headers that mirror arguments.
    pub parameter_headers: Vec<(HeaderName, HeaderValue)>,
    /// The least level of log messages that the agent asked for, one of MCP's words.
    pub log_level: Option<&'static str>,
    /// Whether the agent wants to hear of progress.
    pub progress: bool,
    /// Where notifications about this request go.
    pub notices: Option<&'a mpsc::Sender<Notice>>,
}

/// What an act needs to go out at once: a way that is open, and until when it may.
pub(crate) struct Departure {
    /// The open way.
    pub line: Line,
    /// Until when.
    pub leave: Leave,
}

/// An open way to the upstream. Opened before the door is passed, because opening takes time.
pub(crate) struct Line(Option<Sender>);

/// Until when the first byte of an act may go out.
#[derive(Clone)]
pub(crate) struct Leave {
    /// The end of its permit.
    pub act_by: Timestamp,
    /// Tells the time.
    pub clock: Clock,
    /// Whether the act went out.
    pub departed: Departed,
}

/// Whether an act was handed to its connection, as whoever cuts it must know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departed(Arc<AtomicBool>);

/// How far an act came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DepartedStanding {
    /// Not one byte of it went out.
    Not,
    /// It was handed to its connection: nothing, something or all of it may have arrived.
    Handed,
}

/// A notification about a request under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    /// `notifications/progress` or `notifications/message`.
    pub method: &'static str,
    /// Its parameters; a progress token is Ambit's own.
    pub params: Value,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// What the upstream says.
    pub outcome: Result<Value, RpcError>,
    /// How much came back.
    pub received_bytes: usize,
}

/// One task's conversation with one server.
#[derive(Debug)]
pub(crate) struct Upstream {
    server: Arc<Server>,
    channel: Channel,
    era: Era,
    version: String,
    next_id: AtomicI64,
    answer_timeout: Duration,
    /// The server said that its list of tools changed.
    changed: Arc<AtomicBool>,
    /// When its tools were last compared with their pins.
    checked_at: AtomicU64,
    /// Its tools could not be compared with their pins: a new conversation must show them first.
    distrusted: AtomicBool,
    /// The tools that it showed otherwise than pinned.
    differing: Mutex<Vec<ToolName>>,
}

/// Whether the tools of a server must be compared with their pins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Check {
    /// They were, a moment ago.
    Fresh,
    /// It is time.
    Due,
    /// The server said that they changed.
    Announced,
}

#[derive(Debug)]
enum Channel {
    Http(Arc<HttpChannel>, Listening),
    Stdio(StdioChannel),
}

impl Means {
    /// Returns means without any connection.
    pub(crate) fn new(
        secrets: Secrets,
        tls: Option<Arc<rustls::ClientConfig>>,
        sandbox: SandboxPolicy,
    ) -> Self {
        Self {
            secrets,
            tls,
            sandbox,
            answer_timeout: crate::limits::UPSTREAM_ANSWER_TIMEOUT,
            processes: Arc::new(Semaphore::new(crate::limits::STDIO_PROCESSES_MAX)),
            pools: Mutex::default(),
            eras: Mutex::default(),
        }
    }

    fn pool(&self, url: &str) -> Result<Arc<Pool>, UpstreamError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(url) {
            return Ok(Arc::clone(pool));
        }
        let pool = Arc::new(Pool::new(url, self.tls.as_ref())?);
        pools.insert(url.to_owned(), Arc::clone(&pool));
        Ok(pool)
    }

    fn known_era(&self, url: &str) -> Option<Era> {
        self.eras
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(url)
            .copied()
    }

    fn learn_era(&self, url: &str, era: Option<Era>) {
        let mut eras = self.eras.lock().unwrap_or_else(PoisonError::into_inner);
        match era {
            Some(era) => eras.insert(url.to_owned(), era),
            None => eras.remove(url),
        };
    }
}

impl<'a> Call<'a> {
    /// Returns a plain request.
    pub(crate) fn new(method: &'a str, params: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            method,
            params,
            name: None,
            parameter_headers: Vec::new(),
            log_level: None,
            progress: false,
            notices: None,
        }
    }
}

impl Leave {
    /// Says whether the first byte may still go out. If so, it is taken to go out at once.
    ///
    /// # Errors
    /// [`UpstreamError::Late`].
    fn check(&self) -> Result<(), UpstreamError> {
        if (self.clock)().now < self.act_by {
            self.departed.0.store(true, Ordering::Release);
            return Ok(());
        }
        Err(UpstreamError::Late)
    }
}

impl Departed {
    /// Says how far the act came.
    pub(crate) fn standing(&self) -> DepartedStanding {
        if self.0.load(Ordering::Acquire) {
            DepartedStanding::Handed
        } else {
            DepartedStanding::Not
        }
    }
}

impl Upstream {
    /// Returns what the estate says of the server.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Says whether the conversation can't go on.
    pub(crate) fn is_closed(&self) -> bool {
        if self.distrusted.load(Ordering::Acquire) {
            return true;
        }
        match &self.channel {
            Channel::Http(..) => false,
            Channel::Stdio(channel) => channel.is_closed(),
        }
    }

    /// Says whether its tools must be compared with their pins again; at most one caller hears of it.
    pub(crate) fn check_wanted(&self, now: Timestamp) -> Check {
        let checked = self.checked_at.load(Ordering::Acquire);
        if self.changed.swap(false, Ordering::AcqRel) {
            self.checked_at.store(now.as_millis(), Ordering::Release);
            return Check::Announced;
        }
        let age = now.as_millis().saturating_sub(checked);
        let due = age >= PINS_CHECKED_EVERY_MILLISECONDS;
        let (after, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
        let mine = || {
            self.checked_at
                .compare_exchange(checked, now.as_millis(), after, relaxed)
                .is_ok()
        };
        if due && mine() {
            Check::Due
        } else {
            Check::Fresh
        }
    }

    /// Gives the conversation up: the next call opens another.
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Remembers which tools it showed otherwise than pinned; says whether that is news.
    pub(crate) fn set_differing(&self, tools: Vec<ToolName>) -> bool {
        let mut differing = self
            .differing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let news = *differing != tools;
        *differing = tools;
        news
    }

    /// Says whether it showed `tool` otherwise than pinned.
    pub(crate) fn differs(&self, tool: &ToolName) -> bool {
        self.differing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(tool)
    }

    /// Sends `call`, which is no act of an agent's, and returns the answer.
    ///
    /// # Errors
    /// [`UpstreamError`], whose [`UpstreamError::status`] says what is known about the outcome.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<Answered, UpstreamError> {
        self.exchange(call, None).await
    }

    /// Sees to it that a legacy server is heard also outside of requests. Without a session a server can't tell whom it
    /// asks there.
    async fn listen(&self) {
        if let Channel::Http(channel, listening) = &self.channel
            && self.era == Era::Legacy
            && channel.has_session()
        {
            listening.ensure(channel, self.head("")).await;
        }
    }

    /// Opens the way for one act. Nothing of it is sent.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`].
    pub(crate) async fn line(&self) -> Result<Line, UpstreamError> {
        match &self.channel {
            Channel::Http(channel, _) => {
                self.listen().await;
                Ok(Line(Some(channel.connection().await?)))
            }
            Channel::Stdio(_) => Ok(Line(None)),
        }
    }

    /// Sends `call` once as an act and returns the answer. It is never sent again.
    ///
    /// # Errors
    /// [`UpstreamError::Late`] when it could not go out in time; otherwise as [`Upstream::call`].
    pub(crate) async fn act(
        &self,
        call: &Call<'_>,
        departure: Departure,
    ) -> Result<Answered, UpstreamError> {
        self.exchange(call, Some(departure)).await
    }

    /// Returns all items of a listing under `member`, page after page. A server without the method has none. As an act,
    /// its first page departs with `departure`.
    ///
    /// # Errors
    /// [`UpstreamError::TooLong`] beyond [`LIST_PAGES_MAX`] pages or [`LISTED_ITEMS_MAX`] items.
    pub(crate) async fn list(
        &self,
        method: &str,
        member: &str,
        mut departure: Option<Departure>,
    ) -> Result<Result<Vec<Value>, RpcError>, UpstreamError> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..LIST_PAGES_MAX {
            let quoted = cursor.as_deref().map(wire::quoted);
            let params: Vec<_> = quoted.iter().map(|it| ("cursor", it.as_str())).collect();
            let call = Call::new(method, &params);
            let mut page = match self.exchange(&call, departure.take()).await?.outcome {
                Ok(Value::Object(page)) => page,
                Ok(_) => return Err(UpstreamError::Malformed("a listing is no object")),
                Err(error) if error.code == METHOD_NOT_FOUND => return Ok(Ok(items)),
                Err(error) => return Ok(Err(error)),
            };
            let Some(Value::Array(more)) = page.remove(member) else {
                return Err(UpstreamError::Malformed("a listing lacks its items"));
            };
            items.extend(more);
            if items.len() > LISTED_ITEMS_MAX {
                return Err(UpstreamError::TooLong);
            }
            match page.remove("nextCursor") {
                None | Some(Value::Null) => return Ok(Ok(items)),
                Some(Value::String(next)) => cursor = Some(next),
                Some(_) => return Err(UpstreamError::Malformed("a cursor is no text")),
            }
        }
        Err(UpstreamError::TooLong)
    }

    /// Ends the conversation: the session upstream, or the process.
    pub(crate) async fn close(&self) {
        match &self.channel {
            Channel::Http(channel, _) => channel.close(self.head("")).await,
            Channel::Stdio(channel) => channel.close(),
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        departure: Option<Departure>,
    ) -> Result<Answered, UpstreamError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let text = self.text(id, call);
        let exchange = async {
            match &self.channel {
                Channel::Http(channel, _) => {
                    channel
                        .exchange(self.head(call.method), (id, text), call, departure)
                        .await
                }
                Channel::Stdio(channel) => {
                    let leave = departure.map(|it| it.leave);
                    channel.exchange(id, text, call, leave).await
                }
            }
        };
        let answered = timeout(self.answer_timeout, exchange).await;
        let answered = answered.unwrap_or(Err(UpstreamError::Timeout));
        if matches!(answered, Err(UpstreamError::SessionLost)) {
            self.distrust();
        }
        answered
    }

    fn head<'a>(&'a self, method: &'a str) -> Head<'a> {
        Head {
            era: self.era,
            version: &self.version,
            method,
        }
    }

    fn text(&self, id: i64, call: &Call<'_>) -> String {
        let mut meta = Vec::new();
        if self.era == Era::Modern {
            meta.push((META_VERSION, self.version.as_str().into()));
            meta.push((META_CAPABILITIES, Value::object([])));
            meta.push((META_CLIENT, implementation()));
            let heard = call.log_level.filter(|_| call.notices.is_some());
            meta.extend(heard.map(|it| (META_LOG_LEVEL, it.into())));
        }
        if call.progress {
            meta.push(("progressToken", Value::Integer(id)));
        }
        if meta.is_empty() {
            return wire::request_text(id, call.method, call.params);
        }
        let meta = Value::object(meta).to_canonical();
        // `_meta` sorts before every parameter that MCP has.
        let params: Vec<_> = [("_meta", meta.as_str())]
            .into_iter()
            .chain(call.params.iter().copied())
            .collect();
        wire::request_text(id, call.method, &params)
    }
}

/// Returns how Ambit names itself to peers.
pub(crate) fn implementation() -> Value {
    Value::object([
        ("name", "ambit".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
    ])
}

impl std::fmt::Debug for Leave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leave({})", self.act_by)
    }
}

impl std::fmt::Debug for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means")
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::STDIO_PROCESSES_MAX;

    #[test]
    fn only_so_many_processes_run_at_once() {
        let sandbox = SandboxPolicy::Bubblewrap {
            program: "/usr/bin/bwrap".into(),
            estate: "/".into(),
            protected: Vec::new(),
        };
        let means = Means::new(Arc::new(|_: &str| None), None, sandbox);
        let take = || Arc::clone(&means.processes).try_acquire_owned();
        let slots: Vec<_> = (0..STDIO_PROCESSES_MAX)
            .map_while(|_| take().ok())
            .collect();
        assert_eq!(slots.len(), STDIO_PROCESSES_MAX);
        assert!(take().is_err());
    }
}

//! A scripted MCP server on loopback that does what each test tells it, rightly or wrongly.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use ambit_core::json::{self, Value};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};

/// What the server does with a call of a tool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    Answer,
    Stream,
    StreamWithProgress,
    Hang,
    CloseEarly,
    CutStream,
    OtherId,
    TwoAnswers,
    TooLong,
    Flood,
    Redirect,
    Broken,
    Refuse,
    Compressed,
    NotJson,
    DuplicateKeys,
    Notification,
    EchoHeaders,
    AskForInput,
    Error,
    ToolError,
    LoseSessionOnce,
    AnnounceChange,
    /// Lists so many empty pages.
    Pages(usize),
    /// Lists so many items on one page.
    Items(usize),
    HangAtOnce,
    /// Asks the client for a sample on its own stream, and answers once it has heard.
    AskOnOwnStream,
    /// Says on its own stream that its tools changed.
    AnnounceOnOwnStream,
    /// Says more on its own stream than is heard, and then asks.
    FloodOwnStream,
    /// Ends its own stream.
    EndOwnStream,
    /// Answers nothing until it is told to behave otherwise.
    Rest,
}

/// What the server remembers of one request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub headers: HeaderMap,
    pub message: Value,
}

/// The server.
#[derive(Clone)]
pub struct Upstream {
    pub url: String,
    script: Arc<Mutex<Script>>,
}

struct Script {
    modern: bool,
    behaviour: Behaviour,
    tools: Vec<Value>,
    seen: Vec<Seen>,
    sessions: u32,
    /// The server's own streams, as a client may open them.
    streams: Vec<mpsc::UnboundedSender<Bytes>>,
    streams_opened: usize,
    heard: Arc<Notify>,
}

type Body = BoxBody<Bytes, std::io::Error>;

impl Upstream {
    pub async fn start(modern: bool, tools: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let script = Script {
            modern,
            behaviour: Behaviour::Answer,
            tools,
            seen: Vec::new(),
            sessions: 0,
            streams: Vec::new(),
            streams_opened: 0,
            heard: Arc::default(),
        };
        let upstream = Self {
            url,
            script: Arc::new(Mutex::new(script)),
        };
        let server = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                let service = service_fn(move |request| server.clone().serve(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        upstream
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.script().behaviour = behaviour;
    }

    pub fn show(&self, tools: Vec<Value>) {
        self.script().tools = tools;
    }

    /// Returns what was asked for with `method`.
    pub fn seen(&self, method: &str) -> Vec<Seen> {
        let script = self.script();
        let of = |it: &&Seen| it.message.get("method").and_then(Value::as_str) == Some(method);
        script.seen.iter().filter(of).cloned().collect()
    }

    /// Returns all that was sent.
    pub fn all_seen(&self) -> Vec<Seen> {
        self.script().seen.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    async fn serve(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Ok(status(400));
        };
        if parts.method == "DELETE" {
            return Ok(status(204));
        }
        if parts.method == "GET" {
            return Ok(self.own_stream());
        }
        let message = json::parse(&body.to_bytes()).unwrap();
        self.script().seen.push(Seen {
            headers: parts.headers.clone(),
            message: message.clone(),
        });
        let Some(id) = message.get("id").cloned() else {
            return Ok(status(202));
        };
        if message.get("method").is_none() {
            self.script().heard.notify_one();
            return Ok(status(202));
        }
        let method = message
            .get("method")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        while self.script().behaviour == Behaviour::Rest {
            tokio::task::yield_now().await;
        }
        let modern = self.script().modern;
        if !modern && method != "initialize" && !parts.headers.contains_key("mcp-session-id") {
            return Ok(error(400, &id, -32000, "no session"));
        }
        Ok(match method.as_str() {
            _ if self.script().behaviour == Behaviour::HangAtOnce => std::future::pending().await,
            "server/discover" if modern => result(
                &id,
                r#"{"supportedVersions":["2026-07-28"],"capabilities":{},"resultType":"complete","ttlMs":0,"cacheScope":"public"}"#,
            ),
            "initialize" if !modern => self.initialize(&id),
            "tools/list" => {
                let tools = Value::Array(self.script().tools.clone()).to_canonical();
                result(&id, &format!(r#"{{"tools":{tools}}}"#))
            }
            "tools/call" => self.call(&id, &parts.headers, &message).await,
            "resources/read" => result(&id, r#"{"contents":[{"uri":"file:///a","text":"a"}]}"#),
            "resources/list" => self.list(&id, &message),
            "prompts/list" => result(&id, r#"{"prompts":[{"name":"p"}]}"#),
            "prompts/get" => result(&id, r#"{"messages":[]}"#),
            "completion/complete" => result(&id, r#"{"completion":{"values":["x"]}}"#),
            _ => error(200, &id, -32601, "no such method"),
        })
    }

    fn list(&self, id: &Value, message: &Value) -> Response<Body> {
        let cursor = message.get("params").and_then(|it| it.get("cursor"));
        match (self.script().behaviour, cursor) {
            (Behaviour::Pages(count), cursor) => {
                let page = cursor
                    .and_then(Value::as_str)
                    .map_or(1, |it| it.parse().unwrap());
                let next = format!(r#"{{"resources":[],"nextCursor":"{}"}}"#, page + 1);
                result(
                    id,
                    if page < count {
                        &next
                    } else {
                        r#"{"resources":[]}"#
                    },
                )
            }
            (Behaviour::Items(count), _) => {
                let items = vec![r#"{"uri":"file:///a","name":"a"}"#; count].join(",");
                result(id, &format!(r#"{{"resources":[{items}]}}"#))
            }
            (_, None) => result(
                id,
                r#"{"resources":[{"uri":"file:///a","name":"a"}],"nextCursor":"2"}"#,
            ),
            (_, Some(_)) => result(id, r#"{"resources":[{"uri":"file:///b","name":"b"}]}"#),
        }
    }

    fn initialize(&self, id: &Value) -> Response<Body> {
        let mut script = self.script();
        script.sessions += 1;
        let mut response = result(
            id,
            r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"scripted","version":"1"}}"#,
        );
        let session = format!("session-{}", script.sessions).parse().unwrap();
        response.headers_mut().insert("mcp-session-id", session);
        response
    }

    async fn call(&self, id: &Value, headers: &HeaderMap, message: &Value) -> Response<Body> {
        let behaviour = self.script().behaviour;
        let good = format!(
            r#"{{"id":{},"jsonrpc":"2.0","result":{{"content":[{{"type":"text","text":"done"}}]}}}}"#,
            id.to_canonical()
        );
        let event = |text: &str| format!("event: message\ndata: {text}\n\n");
        let token = message
            .get("params")
            .and_then(|it| it.get("_meta"))
            .and_then(|it| it.get("progressToken"));
        let progress = |count: u64| {
            let token = token.map_or("null".to_owned(), Value::to_canonical);
            event(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":{count},"progressToken":{token}}}}}"#
            ))
        };
        self.speak(behaviour).await;
        match behaviour {
            Behaviour::Answer
            | Behaviour::AskOnOwnStream
            | Behaviour::AnnounceOnOwnStream
            | Behaviour::FloodOwnStream
            | Behaviour::EndOwnStream => text(200, "application/json", good),
            Behaviour::Stream => text(200, "text/event-stream", event(&good)),
            Behaviour::StreamWithProgress => text(
                200,
                "text/event-stream",
                progress(1) + &progress(2) + &event(&good),
            ),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::CloseEarly => broken(good.as_bytes()[..20].to_vec(), "application/json"),
            Behaviour::AnnounceChange => {
                let news = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
                text(200, "text/event-stream", event(news) + &event(&good))
            }
            Behaviour::CutStream => text(200, "text/event-stream", progress(1)),
            Behaviour::OtherId => result(&Value::Integer(9999), "{}"),
            Behaviour::TwoAnswers => text(
                200,
                "text/event-stream",
                event(&good) + &event(&good.replace("done", "twice")),
            ),
            Behaviour::TooLong => {
                let long = "x".repeat(ambit_gateway::limits::UPSTREAM_ANSWER_BYTES_MAX + 1);
                text(200, "application/json", good.replace("done", &long))
            }
            Behaviour::Flood => {
                let count = ambit_gateway::limits::UPSTREAM_NOTIFICATIONS_MAX as u64 + 1;
                text(
                    200,
                    "text/event-stream",
                    (0..count).map(progress).collect::<String>() + &event(&good),
                )
            }
            Behaviour::EchoHeaders => {
                let shown = headers
                    .get("authorization")
                    .map_or("none", |it| it.to_str().unwrap());
                text(200, "application/json", good.replace("done", shown))
            }
            _ => self.refuse(behaviour, id, good),
        }
    }

    /// Says something on its own streams; waits for an answer when it asks.
    async fn speak(&self, behaviour: Behaviour) {
        let event = |text: &str| Bytes::from(format!("data: {text}\n\n"));
        let ask = r#"{"jsonrpc":"2.0","id":"ask","method":"sampling/createMessage","params":{}}"#;
        let news = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let chat = event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
        let say = |text: Bytes| {
            let streams = self.script().streams.clone();
            streams.iter().for_each(|it| drop(it.send(text.clone())));
        };
        match behaviour {
            Behaviour::AnnounceOnOwnStream => say(event(news)),
            Behaviour::EndOwnStream => self.script().streams.clear(),
            Behaviour::AskOnOwnStream | Behaviour::FloodOwnStream => {
                if behaviour == Behaviour::FloodOwnStream {
                    (0..ambit_gateway::limits::UPSTREAM_STRAY_MESSAGES_MAX)
                        .for_each(|_| say(chat.clone()));
                }
                say(event(ask));
                let heard = Arc::clone(&self.script().heard);
                heard.notified().await;
            }
            _ => {}
        }
    }

    fn own_stream(&self) -> Response<Body> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut script = self.script();
        if script.modern {
            return status(405);
        }
        script.streams.push(sender);
        script.streams_opened += 1;
        let mut response = text(200, "text/event-stream", String::new());
        *response.body_mut() = OwnStream(receiver).boxed();
        response
    }

    /// Returns how many of its own streams were opened so far.
    pub fn own_streams_opened(&self) -> usize {
        self.script().streams_opened
    }

    /// Answers in one piece, and not as it should.
    fn refuse(&self, behaviour: Behaviour, id: &Value, good: String) -> Response<Body> {
        match behaviour {
            Behaviour::Redirect => {
                let mut response = status(307);
                response
                    .headers_mut()
                    .insert("location", self.url.parse().unwrap());
                response
            }
            Behaviour::Broken => text(500, "text/plain", "stack trace canary".to_owned()),
            Behaviour::Refuse => error(400, id, -32602, "no"),
            Behaviour::Compressed => {
                let mut response = text(200, "application/json", good);
                response
                    .headers_mut()
                    .insert("content-encoding", "gzip".parse().unwrap());
                response
            }
            Behaviour::NotJson => text(200, "application/json", "done".to_owned()),
            Behaviour::DuplicateKeys => text(
                200,
                "application/json",
                good.replace("\"jsonrpc\"", "\"id\":1,\"jsonrpc\""),
            ),
            Behaviour::Notification => text(
                200,
                "application/json",
                r#"{"jsonrpc":"2.0","method":"notifications/message"}"#.to_owned(),
            ),
            Behaviour::AskForInput => {
                result(id, r#"{"resultType":"input_required","requestState":"x"}"#)
            }
            Behaviour::Error => error(200, id, -32602, "unknown tool"),
            Behaviour::ToolError => text(
                200,
                "application/json",
                good.replace("{\"content\"", "{\"isError\":true,\"content\""),
            ),
            Behaviour::LoseSessionOnce => {
                self.behave(Behaviour::Answer);
                status(404)
            }
            _ => status(501),
        }
    }
}

fn result(id: &Value, result: &str) -> Response<Body> {
    let text = format!(
        r#"{{"id":{},"jsonrpc":"2.0","result":{result}}}"#,
        id.to_canonical()
    );
    self::text(200, "application/json", text)
}

fn error(status: u16, id: &Value, code: i64, message: &str) -> Response<Body> {
    let id = id.to_canonical();
    let text =
        format!(r#"{{"error":{{"code":{code},"message":"{message}"}},"id":{id},"jsonrpc":"2.0"}}"#);
    self::text(status, "application/json", text)
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Full::default().map_err(|it| match it {}).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn text(status: u16, kind: &str, text: String) -> Response<Body> {
    let mut response = self::status(status);
    *response.body_mut() = Full::new(Bytes::from(text))
        .map_err(|it| match it {})
        .boxed();
    response
        .headers_mut()
        .insert("content-type", kind.parse().unwrap());
    response
}

struct OwnStream(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for OwnStream {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0
            .poll_recv(context)
            .map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A body that breaks off after `bytes`.
fn broken(bytes: Vec<u8>, kind: &str) -> Response<Body> {
    struct Frames(Vec<Result<Frame<Bytes>, std::io::Error>>);
    impl hyper::body::Body for Frames {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            std::task::Poll::Ready(self.0.pop())
        }
    }
    let frames = vec![
        Err(std::io::ErrorKind::BrokenPipe.into()),
        Ok(Frame::data(Bytes::from(bytes))),
    ];
    let mut response = status(200);
    *response.body_mut() = Frames(frames).boxed();
    response
        .headers_mut()
        .insert("content-type", kind.parse().unwrap());
    response
}

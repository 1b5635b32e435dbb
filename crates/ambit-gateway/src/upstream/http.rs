//! One task's conversation with an upstream over Streamable HTTP.
//!
//! Redirects are not followed, the agent's headers are not sent, and nothing that the upstream writes
//! into an error reaches anybody but the log of this process.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ambit_core::estate::CredentialUse;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{
    Answered, Call, Collector, Departure, UpstreamError,
    credential::Injected,
    pool::{Pool, Sender},
    sse::EventReader,
};
use crate::{
    Secrets,
    limits::UPSTREAM_ANSWER_BYTES_MAX,
    mcp::{
        era::{Era, HEADER_METHOD, HEADER_NAME, HEADER_SESSION, HEADER_VERSION, encoded},
        wire::{self, Id, Message, Response as Answer},
    },
};

/// One task's conversation.
pub(crate) struct HttpChannel {
    pool: Arc<Pool>,
    credential: Option<CredentialUse>,
    secrets: Secrets,
    session: Mutex<Option<HeaderValue>>,
    changed: Arc<AtomicBool>,
}

/// What goes into the head of one request.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// The era of the request.
    pub era: Era,
    /// The revision.
    pub version: &'a str,
    /// The method that is mirrored.
    pub method: &'a str,
}

impl HttpChannel {
    /// Returns a conversation that has not begun.
    pub(crate) fn new(
        pool: Arc<Pool>,
        credential: Option<CredentialUse>,
        secrets: Secrets,
        changed: Arc<AtomicBool>,
    ) -> Self {
        Self {
            pool,
            credential,
            secrets,
            session: Mutex::default(),
            changed,
        }
    }

    /// Returns an open connection.
    pub(crate) async fn connection(&self) -> Result<Sender, UpstreamError> {
        self.pool.connection().await
    }

    /// Sends the request `text` named `id` and reads its answer whole.
    pub(crate) async fn exchange(
        &self,
        head: Head<'_>,
        (id, text): (i64, String),
        call: &Call<'_>,
        departure: Option<Departure>,
    ) -> Result<Answered, UpstreamError> {
        let injected = Injected::fetch(self.credential.as_ref(), &self.secrets)?;
        let injected = injected.as_ref();
        let request = self.request(head, text, call, injected)?;
        let (response, sender) = self.pool.send(request, departure).await?;
        let (parts, body) = response.into_parts();
        if is_compressed(&parts.headers) {
            return Err(UpstreamError::Malformed("its answer is compressed"));
        }
        match parts.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if self.has_session() => return Err(UpstreamError::SessionLost),
            status => {
                return self
                    .read_refusal(status, body, sender, (id, injected))
                    .await;
            }
        }
        if call.method == "initialize" {
            self.remember_session(&parts.headers);
        }
        let mut collector = Collector::new(id, head.era, call.notices, &self.changed);
        match content_type(&parts.headers) {
            "application/json" => self.read_json(body, sender, (id, injected)).await,
            EVENT_STREAM => {
                self.read_stream(body, sender, (head, injected), &mut collector)
                    .await
            }
            _ => Err(UpstreamError::Malformed(
                "its answer is neither JSON nor an event stream",
            )),
        }
    }

    /// Sends a message that wants no answer, and does not insist.
    pub(crate) async fn tell(&self, head: Head<'_>, text: String) -> Result<(), UpstreamError> {
        let call = Call::new(head.method, &[]);
        let injected = Injected::fetch(self.credential.as_ref(), &self.secrets)?;
        let request = self.request(head, text, &call, injected.as_ref())?;
        let (response, sender) = self.pool.send(request, None).await?;
        let read = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect();
        if matches!(timeout(DRAIN_TIMEOUT, read).await, Ok(Ok(_))) {
            self.pool.keep(sender);
        }
        Ok(())
    }

    /// Asks for the stream on which the server speaks outside of any request. The connection ends when dropped.
    ///
    /// # Errors
    /// [`UpstreamError::Status`] or [`UpstreamError::Malformed`] from a server that has none.
    pub(crate) async fn listen(&self, head: Head<'_>) -> Result<(Incoming, Sender), UpstreamError> {
        let injected = Injected::fetch(self.credential.as_ref(), &self.secrets)?;
        let call = Call::new(head.method, &[]);
        let mut request = self.request(head, String::new(), &call, injected.as_ref())?;
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        let (response, sender) = self.pool.send(request, None).await?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(UpstreamError::Status(parts.status.as_u16()));
        }
        if content_type(&parts.headers) != EVENT_STREAM || is_compressed(&parts.headers) {
            return Err(UpstreamError::Malformed("it is no event stream"));
        }
        Ok((body, sender))
    }

    /// Remembers that the server said that its tools changed.
    pub(crate) fn tools_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Says whether the server has opened a session.
    pub(crate) fn has_session(&self) -> bool {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Ends the session, when there is one.
    pub(crate) async fn close(&self, head: Head<'_>) {
        if !self.has_session() {
            return;
        }
        let call = Call::new("", &[]);
        let Ok(injected) = Injected::fetch(self.credential.as_ref(), &self.secrets) else {
            return;
        };
        let Ok(mut request) = self.request(head, String::new(), &call, injected.as_ref()) else {
            return;
        };
        *request.method_mut() = Method::DELETE;
        let _ignored = timeout(CLOSE_TIMEOUT, self.pool.send(request, None)).await;
    }

    fn remember_session(&self, headers: &HeaderMap) {
        let session = headers.get(HEADER_SESSION).cloned();
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    fn request(
        &self,
        head: Head<'_>,
        text: String,
        call: &Call<'_>,
        injected: Option<&Injected>,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let mut request = Request::new(Full::new(Bytes::from(text)));
        *request.method_mut() = Method::POST;
        let path = self.pool.path().parse();
        *request.uri_mut() =
            path.map_err(|_| UpstreamError::Address("its path is no path".into()))?;
        let host = HeaderValue::from_str(self.pool.authority());
        let host = host.map_err(|_| UpstreamError::Address("its host is no host".into()))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("ambit/", env!("CARGO_PKG_VERSION"))),
        );
        if head.method != "initialize"
            && let Ok(version) = HeaderValue::from_str(head.version)
        {
            headers.insert(HEADER_VERSION, version);
        }
        match head.era {
            Era::Modern => {
                headers.extend(encoded(head.method).map(|it| (HEADER_METHOD, it)));
                headers.extend(call.name.and_then(encoded).map(|it| (HEADER_NAME, it)));
                headers.extend(call.parameter_headers.iter().cloned());
            }
            Era::Legacy => {
                let session = self
                    .session
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                headers.extend(session.map(|it| (HEADER_SESSION, it)));
            }
        }
        // Last, so that nothing above can take its place.
        if let Some(injected) = injected {
            injected.put(headers);
        }
        Ok(request)
    }

    async fn read_json(
        &self,
        body: Incoming,
        sender: Sender,
        (id, injected): (i64, Option<&Injected>),
    ) -> Result<Answered, UpstreamError> {
        let bytes = collect(body, UPSTREAM_ANSWER_BYTES_MAX).await?;
        self.pool.keep(sender);
        Injected::check(injected, &bytes)?;
        let message =
            wire::read(&bytes).map_err(|_| UpstreamError::Malformed("its answer is no message"))?;
        let Message::Response(answer) = message else {
            return Err(UpstreamError::Malformed("its answer is no response"));
        };
        answered(answer, id, bytes.len())
    }

    async fn read_stream(
        &self,
        mut body: Incoming,
        sender: Sender,
        (head, injected): (Head<'_>, Option<&Injected>),
        collector: &mut Collector<'_>,
    ) -> Result<Answered, UpstreamError> {
        let (mut reader, mut received) = (EventReader::default(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| UpstreamError::Closed)?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            received += data.len();
            for event in reader.push(data)? {
                Injected::check(injected, &event)?;
                let message = wire::read(&event)
                    .map_err(|_| UpstreamError::Malformed("an event is no message"))?;
                match collector.take(message)? {
                    super::Taken::Nothing => {}
                    super::Taken::Reply(text) => {
                        let head = Head { method: "", ..head };
                        let _ignored = timeout(DRAIN_TIMEOUT, self.tell(head, text)).await;
                    }
                    super::Taken::Answer(outcome) => {
                        self.drain(body, sender);
                        return Ok(Answered {
                            outcome,
                            received_bytes: received,
                        });
                    }
                }
            }
        }
        Err(UpstreamError::Closed)
    }

    /// Reads what follows the answer, which is the stream's end, so that the connection can be kept.
    fn drain(&self, body: Incoming, sender: Sender) {
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            let rest = Limited::new(body, REFUSAL_BYTES_MAX).collect();
            if matches!(timeout(DRAIN_TIMEOUT, rest).await, Ok(Ok(_))) {
                pool.keep(sender);
            }
        });
    }

    async fn read_refusal(
        &self,
        status: StatusCode,
        body: Incoming,
        sender: Sender,
        (id, injected): (i64, Option<&Injected>),
    ) -> Result<Answered, UpstreamError> {
        let Ok(bytes) = collect(body, REFUSAL_BYTES_MAX).await else {
            return Err(UpstreamError::Status(status.as_u16()));
        };
        self.pool.keep(sender);
        Injected::check(injected, &bytes)?;
        // A 5xx may come from anything on the way, whatever its body says.
        if let Ok(Message::Response(answer)) = wire::read(&bytes)
            && status.is_client_error()
            && answer.outcome.is_err()
            && answer.id.as_ref().is_none_or(|it| *it == Id::Integer(id))
        {
            return Ok(Answered {
                outcome: answer.outcome,
                received_bytes: bytes.len(),
            });
        }
        Err(UpstreamError::Status(status.as_u16()))
    }
}

impl fmt::Debug for HttpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpChannel")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

fn answered(answer: Answer, id: i64, received_bytes: usize) -> Result<Answered, UpstreamError> {
    if answer.id != Some(Id::Integer(id)) {
        return Err(UpstreamError::Malformed("it answers another request"));
    }
    Ok(Answered {
        outcome: answer.outcome,
        received_bytes,
    })
}

fn is_compressed(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|it| it != "identity")
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

async fn collect(body: Incoming, bytes_max: usize) -> Result<Bytes, UpstreamError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(UpstreamError::TooLong),
        Err(_) => Err(UpstreamError::Closed),
    }
}

/// The type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// The longest body of a refusal that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long the end of an answered stream is waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the end of a session is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

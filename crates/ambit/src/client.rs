//! The client of the control API, over the server's Unix socket.

use std::path::PathBuf;

use ambit_core::json::{JsonError, Value, parse_bounded};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::{
    config::places::{self, Places},
    problem::Exit,
};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A door to one server's control API.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why the control API gave no answer, or which one it gave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Nobody listens.
    #[error(
        "no Ambit server answers at {}; start one with `ambit dev DIR` or `ambit serve`, or name \
         its state directory with --state", socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The server's places are not known.
    #[error(
        "{} does not say where the server's estate is, so it can't be kept from the command; start \
         the server again, with this version", path.display()
    )]
    Places {
        /// The list.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the Ambit server broke the connection; look at its log and try again")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server answered something that is no JSON.
    #[error(
        "the Ambit server answered in a form that this client doesn't know; compare `ambit --version` on both sides"
    )]
    Form(#[source] Option<JsonError>),
    /// The server said no.
    #[error("{}", told(problem))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The RFC 9457 problem.
        problem: Value,
    },
}

impl Client {
    /// Returns a client of the server whose control socket is at `socket`.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Returns where the server's power lies. It must be out of a command's reach.
    pub(crate) fn places(&self) -> Result<Places, ApiError> {
        let unreachable = |source| ApiError::Unreachable {
            socket: self.socket.clone(),
            source,
        };
        std::os::unix::net::UnixStream::connect(&self.socket).map_err(unreachable)?;
        places::read(&self.socket).map_err(|source| ApiError::Places {
            path: places::beside(&self.socket),
            source,
        })
    }

    /// Reads `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        let bytes = self.exchange(Method::GET, path, None).await?;
        read(&bytes)
    }

    /// Reads `path` as it is, which need not be JSON.
    pub(crate) async fn get_bytes(&self, path: &str) -> Result<Bytes, ApiError> {
        self.exchange(Method::GET, path, None).await
    }

    /// Sends `body` to `path`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let bytes = self.exchange(Method::POST, path, Some(body)).await?;
        read(&bytes)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ApiError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ApiError::Unreachable {
                    socket: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let driving = tokio::spawn(connection);
        let text = body.map(Value::to_canonical).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "ambit")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let bytes = body.collect().await.map_err(ApiError::Broken)?.to_bytes();
        driving.abort();
        if status.is_success() {
            return Ok(bytes);
        }
        let problem = read(&bytes).unwrap_or_else(|_| {
            let title = format!("the server answered {status}");
            Value::object([("title", Value::from(title)), ("code", "failed".into())])
        });
        Err(ApiError::Refused {
            status: status.as_u16(),
            problem,
        })
    }
}

impl ApiError {
    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::Broken(_) => Exit::Unreachable,
            Self::Form(_) | Self::Places { .. } => Exit::Failure,
            Self::Refused { status, problem } => {
                match (problem.get("code").and_then(Value::as_str), status) {
                    (Some("check_failed"), _) => Exit::CheckFailed,
                    (Some("approval_required"), _) => Exit::Held,
                    (_, 401) => Exit::NotSignedIn,
                    (_, 403) => Exit::Denied,
                    (_, 400 | 422) => Exit::Usage,
                    (_, 502..=504) => Exit::Unreachable,
                    _ => Exit::Failure,
                }
            }
        }
    }
}

fn read(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    parse_bounded(bytes, ANSWER_BYTES_MAX).map_err(|error| ApiError::Form(Some(error)))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    ApiError::Broken(error.into())
}

/// Returns what a problem says, title first.
fn told(problem: &Value) -> String {
    let member = |name| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (title, detail) = (member("title"), member("detail"));
    match (title.is_empty(), detail.is_empty()) {
        (false, false) if title != detail => format!("{title}: {detail}"),
        (true, true) => "the server refused and did not say why; look at its log".to_owned(),
        (_, false) => detail.to_owned(),
        (_, true) => title.to_owned(),
    }
}

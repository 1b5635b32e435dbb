//! The client of the control API: over the server's Unix socket, or with a login over its public port.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ambit_core::json::{JsonError, Value, parse_bounded};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::{
    clock::Clock,
    config::places::{self, Places},
    login::{Channel, ChannelError, Login, LoginError, Sent},
    problem::Exit,
};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A door to one server's control API.
#[derive(Clone, Debug)]
pub(crate) struct Client(Way);

impl Client {
    /// Says whether the server is reached by its socket on this machine.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self.0, Way::Socket(_))
    }
}

/// How the server is reached.
#[derive(Clone, Debug)]
enum Way {
    Socket(PathBuf),
    Public {
        channel: Arc<Channel>,
        login: Box<Login>,
    },
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
    /// What needs a server on this machine was asked of one elsewhere.
    #[error(
        "this needs a server on this machine, and you are logged in at {0}; name the local one with `--state DIR` (usually \
         ~/.local/state/ambit), or run `ambit logout`"
    )]
    Elsewhere(String),
    /// The server elsewhere can't be reached.
    #[error(transparent)]
    Channel(#[from] ChannelError),
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
        Self(Way::Socket(socket))
    }

    /// Returns a client of the server at which `login` is good.
    pub(crate) fn by_login(login: Login, clock: Clock) -> Result<Self, LoginError> {
        let maker = login.maker()?;
        let channel = Channel::new(login.server(), maker, login.roots(), clock)?;
        Ok(Self(Way::Public {
            channel: Arc::new(channel),
            login: Box::new(login),
        }))
    }

    /// Returns where the server's power lies. It must be out of a command's reach.
    pub(crate) fn places(&self) -> Result<Places, ApiError> {
        let socket = match &self.0 {
            Way::Socket(socket) => socket,
            Way::Public { login, .. } => {
                return Err(ApiError::Elsewhere(login.server().to_owned()));
            }
        };
        let unreachable = |source| ApiError::Unreachable {
            socket: socket.clone(),
            source,
        };
        std::os::unix::net::UnixStream::connect(socket).map_err(unreachable)?;
        places::read(socket).map_err(|source| ApiError::Places {
            path: places::beside(socket),
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
        let (status, bytes) = match &self.0 {
            Way::Socket(socket) => by_socket(socket, method, path, body).await?,
            Way::Public { channel, login } => {
                let text = body.map(|it| (Bytes::from(it.to_canonical()), "application/json"));
                let came = channel
                    .send(Sent {
                        method,
                        path,
                        login: Some(login.text()),
                        body: text,
                        bytes_max: ANSWER_BYTES_MAX,
                    })
                    .await?;
                (came.status, came.body)
            }
        };
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

async fn by_socket(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), ApiError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ApiError::Unreachable {
            socket: socket.to_owned(),
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
    Ok((status, bytes))
}

impl ApiError {
    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::Broken(_) => Exit::Unreachable,
            Self::Channel(error) => error.exit(),
            Self::Elsewhere(_) => Exit::Usage,
            Self::Form(_) | Self::Places { .. } => Exit::Failure,
            Self::Refused { status, problem } => {
                let code = problem.get("code").and_then(Value::as_str);
                Exit::of_refusal(*status, code.unwrap_or_default())
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

//! What all roles share of HTTP: the request, kept connections, and what a role tells its parent.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use ambit_core::json::Value;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{Failure, whole};

/// A process in another role. It ends when this is dropped.
pub(crate) struct Role {
    child: Child,
    /// Closed when dropped: the role ends by itself, even if this process is killed.
    _leash: Option<ChildStdin>,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Role {
    /// Starts this program in another role and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let leash = child.stdin.take();
        let mut line = String::new();
        let said = child.stdout.take().ok_or("no output")?;
        BufReader::new(said).read_line(&mut line)?;
        let port = line.trim().strip_prefix("ready ");
        let port = port.ok_or_else(|| format!("the role {arguments:?} did not start"))?;
        Ok(Self {
            port: port.parse()?,
            child,
            _leash: leash,
        })
    }

    /// Returns the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self._leash = None;
        // A gateway closes its database first.
        let _ = self.child.wait();
    }
}

/// Tells the parent that this role listens on `port`, and returns when the parent is gone.
pub(crate) async fn until_parent_ends(port: u16) -> Result<(), Failure> {
    println!("ready {port}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Returns the measured request.
pub(crate) fn request(body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
    Ok(Request::post("/s/tickets/mcp")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .body(Full::new(body))?)
}

/// Returns the body of the measured request.
pub(crate) fn request_body() -> Bytes {
    let params = Value::object([
        ("name", "send_reply".into()),
        ("arguments", whole::arguments()),
    ]);
    let body = Value::object([
        ("jsonrpc", "2.0".into()),
        ("id", Value::Integer(7)),
        ("method", "tools/call".into()),
        ("params", params),
    ]);
    Bytes::from(body.to_canonical())
}

/// Connects to `port` of this machine.
pub(crate) async fn connect(port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Speaks HTTP on `stream`.
pub(crate) async fn speak<T>(stream: T) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Whoever sends next learns that it broke.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Sends the measured request and returns the answer's body.
pub(crate) async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    body: &Bytes,
) -> Result<Bytes, Failure> {
    sender.ready().await?;
    let response = sender.send_request(request(body.clone())?).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        return Err(format!("the answer is {status}: {text}").into());
    }
    Ok(bytes)
}

/// Refuses an answer that is not the upstream's.
pub(crate) fn expect_done(answer: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(answer);
    if text.contains("sent to kim") {
        return Ok(());
    }
    Err(format!("the call was not done: {text}").into())
}

/// Returns a path as text.
pub(crate) fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| "the path is no text".into())
}

//! The readers behind the doors without the doors, for tools that feed them any bytes at all (`fuzz/`).
//!
//! Nothing here is another reader: each function calls the one that the doors call.

use http::{Method, Request};

use crate::{connect, mcp::wire, upstream::sse::EventReader};

/// The bytes are not what the reader reads; the text says why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Unread(String);

/// Reads one MCP message and returns it in words that differ for different messages.
///
/// # Errors
/// The bytes are no MCP message.
pub fn message(bytes: &[u8]) -> Result<String, Unread> {
    match wire::read(bytes) {
        Ok(message) => Ok(format!("{message:?}")),
        Err(malformed) => Err(Unread(malformed.to_string())),
    }
}

/// Reads a stream of server-sent events in `pieces` and returns the data of each whole event.
///
/// # Errors
/// An event or the stream is beyond its maximum.
pub fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, Unread> {
    let mut reader = EventReader::default();
    let mut events = Vec::new();
    for piece in pieces {
        let fresh = reader.push(piece).map_err(|it| Unread(it.to_string()))?;
        events.extend(fresh);
    }
    Ok(events)
}

/// Reads the target of a CONNECT: a host and a port.
pub fn connect_target(target: &[u8]) -> Option<(String, u16)> {
    let request = Request::builder().method(Method::CONNECT).uri(target);
    connect::target(&request.body(()).ok()?)
}

//! The doors through which agents act: MCP, and CONNECT to declared model endpoints.
//!
//! An agent proves itself by the certificate of its connection, or at each request by an access token.
//!
//! Every protocol ends in one path: a request becomes an [`ambit_core::act::Act`], the engine decides and
//! records it, and only what the engine admitted goes upstream. Nothing here decides.
//!
//! **Architecture invariant:** nothing of an agent's reaches an upstream without a `Passage`.

mod body;
mod connect;
mod doors;
mod edge;
mod framing;
mod gateway;
mod inspect;
mod kept;
mod last_shown;
pub mod limits;
mod mcp;
mod open_files;
mod parting;
mod punctual;
pub mod reading;
mod reception;
mod sandbox;
mod seating;
mod seats;
mod serving;
mod tokens;
mod upstream;
mod visitor;

use std::sync::Arc;

use ambit_broker::Secret;

pub use crate::{
    body::Body,
    edge::Hosts,
    framing::{Arrival, Framing, Heard, Watched},
    gateway::{AcceptError, Answering, Face, Fallback, Gateway, GatewayConfig, Stopwatch, Unknown},
    inspect::{InspectError, inspect},
    kept::Kept,
    mcp::{era::Era, methods, refusal::Links, spans::CALL_SPANS},
    open_files::hand_nothing_over,
    punctual::{NotArrived, Punctual},
    reception::Peer,
    sandbox::SandboxPolicy,
    seating::Room,
    seats::{Notice, Seat, Seats},
    serving::serve_http,
    tokens::{TokenConfig, Verifiers},
    visitor::{Trusting, Visitor},
};

/// Gives the credential that is sealed under a name; none when there is none.
pub type Secrets = Arc<dyn Fn(&str) -> Option<Secret> + Send + Sync>;

/// Returns an error and its causes in one line, for the log of this process.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

//! Every named maximum of the doors.
//!
//! Counts and lengths have a test at them and one beyond, but for `STDIO_REQUESTS_WAITING_MAX`: beyond
//! it, who comes waits and nothing is refused. Spans of time are not tested at their length: tests do not wait for seconds.

use std::time::Duration;

use ambit_core::limits::{JSON_BYTES_MAX, TOOLS_PER_SERVER_MAX};

/// The longest body that an agent may send, in bytes.
pub const REQUEST_BODY_BYTES_MAX: usize = JSON_BYTES_MAX;
/// How long an agent may take to send the head of a request.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an agent may take to send the body of a request.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller may take to finish the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections of those who have proved who they are; for one more, the one that is idle longest of the instance
/// that has most ends.
pub const CONNECTIONS_MAX: usize = 3072;
/// The most of them that one instance has; for one more, its own that is idle longest ends.
pub const CONNECTIONS_PER_INSTANCE_MAX: usize = 512;
/// The most connections of those who have not yet proved who they are; for one more, the one that is idle longest of where
/// most come from ends.
pub const STRANGERS_MAX: usize = 1024;
/// The most of them that come from one address elsewhere; for one more, its own that is idle longest ends.
pub const STRANGERS_PER_ORIGIN_MAX: usize = 128;
/// How long a connection lasts over which nobody proves who they are.
pub const STRANGER_CONNECTION_TTL_MAX: Duration = Duration::from_secs(120);
/// How long an answer that is under way when the time of its connection is over may still take, and how long what was sent in
/// vain is read after the last answer.
pub const PARTING_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes that are read and dropped after the last answer.
pub const PARTING_BYTES_MAX: usize = 2 * REQUEST_BODY_BYTES_MAX;
/// The longest identifier of a JSON-RPC request, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 256;
/// The longest name of an MCP method, in bytes.
pub const METHOD_BYTES_MAX: usize = 128;
/// The longest resource URI or prompt name, in bytes.
pub const ITEM_NAME_BYTES_MAX: usize = 8 * 1024;
/// The most streams of changes that one task may keep open.
pub const STREAMS_PER_TASK_MAX: usize = 8;
/// The most agents whose last list of tools is remembered, so that it can be shown after their task's end.
pub const LAST_SHOWN_MAX: usize = 1024;
/// How often it is looked again, while an answer or a tunnel is under way, whether its peer is still who it proved to be.
/// What a bundle says is heard at once; that the estate registers a workload no more is found by this.
pub const PROVED_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// How often a stream of changes shows that it is alive and looks for changes.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// The most notifications that wait for one agent to read them; more are dropped.
pub const NOTIFICATIONS_WAITING_MAX: usize = 64;
/// The most access tokens that are remembered as verified; beyond, the one that ends first is verified anew.
pub const VERIFIED_TOKENS_MAX: usize = 4096;
/// The most DPoP proofs that are remembered, so that none is taken twice; beyond, none is taken until some have expired.
pub const PROOFS_REMEMBERED_MAX: usize = 400_000;
/// The most DPoP proofs of one task that are remembered, whichever keys its tokens are bound to; beyond, none of that task is
/// taken until some have expired.
pub const PROOFS_REMEMBERED_PER_TASK_MAX: usize = 50_000;

/// The longest answer of an upstream, in bytes.
pub const UPSTREAM_ANSWER_BYTES_MAX: usize = JSON_BYTES_MAX;
/// The most bytes of a stream that an upstream may send for one request, notifications included.
pub const UPSTREAM_STREAM_BYTES_MAX: usize = 4 * UPSTREAM_ANSWER_BYTES_MAX;
/// The most notifications that an upstream may send for one request.
pub const UPSTREAM_NOTIFICATIONS_MAX: usize = 1000;
/// The most messages that belong to no request, after which a stdio server is ended, and the own stream of an HTTP server.
pub const UPSTREAM_STRAY_MESSAGES_MAX: usize = 1000;
/// How often one conversation opens the own stream of a legacy HTTP server.
pub const LISTENINGS_MAX: usize = 64;
/// How long an upstream may take to answer one request.
pub const UPSTREAM_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection to an upstream may take.
pub const UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an upstream may take from nothing to its first list of tools.
pub const UPSTREAM_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stdio server may take to answer the probe for its era.
pub const UPSTREAM_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most idle connections that are kept for one upstream.
pub const UPSTREAM_IDLE_CONNECTIONS_MAX: usize = 64;
/// The most requests that wait for one stdio server.
pub const STDIO_REQUESTS_WAITING_MAX: usize = 256;
/// How much of a stdio server's last words is kept for its owner, in bytes.
pub const STDIO_COMPLAINT_BYTES_MAX: usize = 2048;
/// How long the end of a killed process is waited for.
pub const STDIO_KILL_TIMEOUT: Duration = Duration::from_secs(2);
/// The most stdio server processes at once, unless the operator sets another cap.
pub const STDIO_PROCESSES_MAX: usize = 64;
/// The most pages of one listing.
pub const LIST_PAGES_MAX: usize = 64;
/// The most items of one listing.
pub const LISTED_ITEMS_MAX: usize = 4096;
/// How long a call waits for a cold upstream before it is decided: a hold is answered in under 2 s.
pub const READY_PATIENCE: Duration = Duration::from_millis(1200);
/// How often the tools of a connected server are compared with their pins, in milliseconds.
pub const PINS_CHECKED_EVERY_MILLISECONDS: u64 = 60_000;
/// The most tools that a server may show when it is asked what it has.
pub const TOOLS_SHOWN_MAX: usize = TOOLS_PER_SERVER_MAX;

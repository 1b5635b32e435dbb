//! The control API: how people obtain and govern authority, and how a runner says that it is still there.
//!
//! Four routers, one list of routes ([`routes`]): [`people_router`] for the local socket, [`instance_router`]
//! for the runner's mutual TLS, [`operations_router`] for health and metrics on loopback, [`public_router`] for
//! anybody. Whatever goes wrong
//! is an RFC 9457 problem with a stable `code`. Bodies are read by the one strict parser.

mod approvals;
mod authority;
mod body;
mod browsers;
mod caller;
mod content;
mod cookies;
mod delegations;
mod device;
mod estate;
mod idempotency;
mod join;
mod log;
mod logins;
mod metrics;
mod openapi;
mod operations;
mod pages;
mod passkeys;
pub(crate) mod people;
mod presence;
mod problem;
mod proofs;
mod published;
mod revocations;
mod routes;
mod schemas;
mod secrets;
mod status;
mod tasks;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
};

use ambit_core::{ServerName, TaskId, json::Value};
use ambit_engine::{Clock, Handle};
use ambit_identity::{IssuingKeys, sign_in::FlowKey};
use axum::{Router, middleware::from_fn};
use tokio::sync::watch;

pub use self::{
    authority::{Keep, KeepKeys, rotate_if_due},
    body::{BODY_BYTES_MAX, ESTATE_BODY_BYTES_MAX},
    idempotency::{IDEMPOTENCY_ANSWER_BYTES_MAX, IDEMPOTENCY_KEPT_MAX, IDEMPOTENCY_KEY_AHEAD_MAX},
    join::JOIN_BYTES_MAX,
    log::RECORDS_PER_ANSWER_MAX,
    metrics::{METRICS, MeasureStorage, Metric, Storage},
    openapi::openapi,
    presence::{HEARTBEAT_EVERY, PRESENCES_MAX},
    problem::Problem,
    published::{PUBLISHED_READS_MAX, Parts, Published, PublishedLog},
    routes::{Asks, Door, Route, routes},
    status::CLOCK_BEHIND_TOLD,
    tasks::TASKS_PER_ANSWER_MAX,
};
pub(crate) use self::{
    body::{read_carried, read_whole},
    caller::Instance,
};
use self::{idempotency::Idempotency, presence::Presences};
use crate::{
    federation::{FederationParts, Federations},
    foreign::{Fetch, ForeignKeys},
    oauth::{FetchDocument, OAuth},
    people::{Sessions, SignIns},
    workload::Workloads,
};

/// Seals a credential under its name, with fresh random bytes.
pub type SealCredential =
    Arc<dyn Fn(&str, &[u8], [u8; 32]) -> Result<Vec<u8>, String> + Send + Sync>;

/// Asks a running server of the estate in force for its tools: what MCP `tools/list` returns.
pub type ListTools = Arc<dyn Fn(ServerName) -> ListedTools + Send + Sync>;

/// The tools of a running server, or why they can't be had.
pub type ListedTools = Pin<Box<dyn Future<Output = Result<Vec<Value>, NoTools>> + Send>>;

/// Why a running server's tools can't be had, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoTools {
    /// Its credential is not sealed, or can't be used: it was not asked.
    Credential(String),
    /// It gave no list.
    Failed(String),
}

impl From<String> for NoTools {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// The issuing keys, and who waits to hear that they changed.
pub type KeysInForce = Arc<watch::Sender<Arc<IssuingKeys>>>;

/// What the doors of people need.
#[derive(Clone)]
pub struct Control {
    /// The engine.
    pub handle: Handle,
    /// Where moments come from.
    pub clock: Clock,
    /// What signs the instances' certificates.
    pub keys: KeysInForce,
    /// Keeps them when they changed.
    pub keep_keys: KeepKeys,
    /// Where instances find the gateway, such as `https://127.0.0.1:8443`.
    pub gateway: String,
    /// Seals credentials for the gateway to inject.
    pub seal_credential: SealCredential,
    /// Asks running servers for their tools.
    pub list_tools: ListTools,
    /// Fetches what foreign issuers publish.
    pub fetch: Fetch,
    /// What it takes to believe foreign trust domains.
    pub federation: FederationParts,
    /// What anybody may read of the log.
    pub published: Published,
    /// How clients with access tokens name the gateway: scheme, host and port. Each of its routes is a resource
    /// ([`ambit_core::GatewayRoute`]). Nothing when it takes no tokens.
    pub gateway_url: Option<String>,
    /// Counts the requests to the gateway that identified nobody.
    pub strangers_refused: Arc<AtomicU64>,
    /// Looks at what the server's files take.
    pub measure_storage: MeasureStorage,
    /// Where people sign in.
    pub sign_ins: SignIns,
    /// The public URL, by which clients know the authorization server; without one there is none.
    pub issuer: Option<String>,
    /// Fetches the documents by which clients describe themselves, and the keys that these name.
    pub fetch_document: FetchDocument,
}

/// What all requests share.
pub(crate) struct Shared {
    control: Control,
    idempotency: Idempotency,
    presences: Presences,
    workloads: Workloads,
    foreign: ForeignKeys,
    federations: Federations,
    oauth: OAuth,
    rotating: Arc<tokio::sync::Mutex<()>>,
    sessions: Sessions,
    flows: FlowKey,
}

/// The doors, which share what they know of each other: who is present, what was answered.
#[derive(Clone)]
pub struct Doors(Arc<Shared>);

impl Doors {
    /// Makes the doors.
    pub fn new(control: Control) -> Self {
        let began = (control.clock)();
        Self(Arc::new(Shared {
            oauth: OAuth::new(&control),
            control,
            idempotency: Idempotency::new(began.now),
            presences: Presences::default(),
            workloads: Workloads::default(),
            foreign: ForeignKeys::default(),
            federations: Federations::default(),
            rotating: Arc::default(),
            sessions: Sessions::default(),
            flows: FlowKey::new(&began.chance),
        }))
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    pub(crate) fn workloads(&self) -> &Workloads {
        &self.0.workloads
    }
}

impl Shared {
    pub(crate) const fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) const fn oauth(&self) -> &OAuth {
        &self.oauth
    }

    pub(crate) const fn foreign(&self) -> &ForeignKeys {
        &self.foreign
    }

    pub(crate) const fn federations(&self) -> &Federations {
        &self.federations
    }
}

impl Control {
    /// Ends a live task that nobody serves ([`Handle::end_unserved`]). Waits until that was tried.
    pub(crate) async fn end_unserved(&self, task: TaskId) {
        if let Err(error) = self.handle.end_unserved(task).await {
            let error = crate::check::chain(&error);
            tracing::warn!(%task, error, "a task that nobody serves has not ended yet; it is tried again");
        }
    }

    /// Returns the time that the clocks of others are held against.
    pub(crate) fn wall(&self) -> ambit_core::Timestamp {
        (self.clock)().wall
    }

    /// Returns the issuing keys as of now.
    pub(crate) fn keys_in_force(&self) -> Arc<IssuingKeys> {
        self.keys.borrow().clone()
    }
}

/// The routes for people. Each request must carry [`ambit_identity::PeerCredentials`] as an extension, put there
/// by the listener of the Unix socket and by nobody else.
pub fn people_router(doors: &Doors) -> Router {
    routes::router(Door::People, doors.0.clone())
}

/// The routes for instances. Each request must carry [`ambit_identity::InstanceCaller`] as an extension, put
/// there by the listener that proved it.
pub fn instance_router(doors: &Doors) -> Router {
    routes::router(Door::Instance, doors.0.clone())
}

/// What the endpoints of the authorization server for instances answer to whoever is nobody by their connection: that, in
/// the words of OAuth. Nothing of a request is read but its head.
pub fn unknown_router() -> Router {
    routes::unknown_router()
}

/// The routes for health checks and metrics. They tell numbers only and belong on loopback.
pub fn operations_router(doors: &Doors) -> Router {
    routes::router(Door::Operations, doors.0.clone())
}

/// The route of the bundle alone, for the port where it is known by a SPIFFE ID (`https_spiffe`).
pub fn bundle_router(doors: &Doors) -> Router {
    routes::bundle_router(doors.0.clone())
}

/// The routes for anybody, on the public port. Nothing is decided. Who asks is not identified, but for people who sign in
/// and see who they are.
pub fn public_router(doors: &Doors) -> Router {
    routes::router(Door::Public, doors.0.clone()).layer(from_fn(browsers::in_pages))
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.control.fmt(f)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Control({})", self.gateway)
    }
}

#[cfg(test)]
mod tests;

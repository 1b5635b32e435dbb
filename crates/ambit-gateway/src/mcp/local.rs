//! What is answered here: nothing of it reads or changes anything but the connection.

use std::collections::BTreeMap;

use ambit_core::{Reason, json::Value};
use ambit_engine::Offers;

use super::{
    acts::Door,
    bridge,
    downstream::Visit,
    era::{LEGACY_VERSION, LEGACY_VERSIONS, MODERN_VERSION},
    methods::Local,
    refusal::Refusal,
    wire::{INVALID_PARAMS, Request, RpcError},
};
use crate::upstream::implementation;

/// Answers `request`, which asks for `what`.
///
/// # Errors
/// The task is not live, or the door leads to a server that it was not given.
pub(super) async fn answer(
    visit: &Visit,
    what: Local,
    request: &Request,
) -> Result<Value, RpcError> {
    let offers = offers(visit, &request.method).await?;
    match what {
        Local::Initialize => {
            // So that the first call finds its servers started; the client goes on meanwhile.
            let (visit, offers) = (visit.clone(), offers);
            tokio::spawn(async move { warm(&visit, &offers).await });
            initialize(request)
        }
        Local::Discover => Ok(discover()),
        // Log messages come with the calls that they are about, at whatever level the server has.
        Local::Ping | Local::SetLogLevel | Local::Listen => Ok(Value::object([])),
    }
}

/// Returns what the caller's task may see through its door.
///
/// # Errors
/// A recorded refusal: the task is not live, or was not given the door's server.
pub(super) async fn offers(visit: &Visit, method: &str) -> Result<Offers, RpcError> {
    let reason = match visit.doors.handle.offers(&visit.caller, visit.doors.now()) {
        Ok(offers) => match &visit.door {
            Door::One(server) if !offers.servers.iter().any(|it| it.server == *server) => {
                Reason::ServerNotGranted
            }
            Door::One(_) | Door::All => return Ok(offers),
        },
        Err(ambit_engine::EngineError::NoTask) => Reason::TaskEnded,
        Err(error) => return Err(Refusal::engine(&error).to_error(&visit.doors.links)),
    };
    let action = super::methods::recorded_name(method);
    match visit
        .doors
        .handle
        .refuse(&visit.caller, action, reason, (visit.doors.clock)())
        .await
    {
        Ok(denied) => Err(Refusal::denied(denied).to_error(&visit.doors.links)),
        Err(error) => Err(Refusal::engine(&error).to_error(&visit.doors.links)),
    }
}

/// Starts what the door leads to, and waits a little.
pub(super) async fn warm(visit: &Visit, offers: &Offers) {
    let only = match &visit.door {
        Door::One(server) => Some(server),
        Door::All => None,
    };
    visit.doors.warm_all(&visit.caller, offers, only).await;
}

fn initialize(request: &Request) -> Result<Value, RpcError> {
    let wanted = request
        .params
        .get("protocolVersion")
        .and_then(Value::as_str);
    let wanted =
        wanted.ok_or_else(|| RpcError::new(INVALID_PARAMS, "`protocolVersion` must be a text"))?;
    let version = LEGACY_VERSIONS
        .into_iter()
        .find(|it| *it == wanted)
        .unwrap_or(LEGACY_VERSION);
    Ok(Value::object([
        ("protocolVersion", version.into()),
        ("capabilities", capabilities()),
        ("serverInfo", implementation()),
        ("instructions", INSTRUCTIONS.into()),
    ]))
}

fn discover() -> Value {
    let versions: Value = [MODERN_VERSION]
        .into_iter()
        .chain(LEGACY_VERSIONS)
        .collect();
    let mut members = BTreeMap::from([
        ("supportedVersions".to_owned(), versions),
        ("capabilities".to_owned(), capabilities()),
        ("instructions".to_owned(), INSTRUCTIONS.into()),
    ]);
    bridge::complete(&mut members, true);
    Value::Object(members)
}

fn capabilities() -> Value {
    let none = || Value::object([]);
    Value::object([
        ("tools", Value::object([("listChanged", true.into())])),
        ("resources", none()),
        ("prompts", none()),
        ("completions", none()),
        ("logging", none()),
    ])
}

/// What a model reads about this door.
const INSTRUCTIONS: &str = "Every call through this server is decided by Ambit for the task at hand. A refused call \
    says why and whether trying again can help; a pending call needs a person's approval first.";

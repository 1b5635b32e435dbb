//! One message of an agent's, from its parsed form to the answer.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    Reason,
    act::{Act, Listing},
    json::Value,
};
use ambit_identity::InstanceCaller;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::{
    acts::{self, Door, Wanted},
    changes,
    era::{self, Era, META_LOG_LEVEL},
    listing, local,
    methods::{self, Decided, Local, Treatment},
    perform::{Conclusion, Wishes, perform},
    refusal::{Links, Refusal},
    wire::{
        self, HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY,
        Message, Request, RpcError, UNSUPPORTED_VERSION,
    },
};
use crate::{
    body::{self, Body, EventStream},
    doors::{Doors, MALFORMED},
    edge::Accepts,
    limits::NOTIFICATIONS_WAITING_MAX,
    upstream::Notice,
};

/// Who asks, through which door.
#[derive(Clone)]
pub(crate) struct Visit {
    /// What all doors share.
    pub doors: Arc<Doors>,
    /// Who asks, proved.
    pub caller: InstanceCaller,
    /// Through which door.
    pub door: Door,
}

/// Answers one POST.
pub(crate) async fn answer(
    visit: &Visit,
    headers: &HeaderMap,
    accepts: Accepts,
    body: &Bytes,
) -> Response<Body> {
    match wire::read(body) {
        Ok(Message::Request(request)) => {
            answer_request(visit, (headers, body.len()), accepts, request).await
        }
        Ok(Message::Notification { method, .. }) => notified(visit, &method).await,
        // Nothing is ever asked of an agent, so it has nothing to answer.
        Ok(Message::Response(_)) => refuse_quietly(visit, "response").await,
        Err(malformed) => {
            note(visit, MALFORMED, Reason::Malformed).await;
            body::json(
                StatusCode::BAD_REQUEST,
                wire::error_text(malformed.id.as_ref(), &malformed.to_error()),
            )
        }
    }
}

async fn answer_request(
    visit: &Visit,
    (headers, body_bytes): (&HeaderMap, usize),
    accepts: Accepts,
    request: Request,
) -> Response<Body> {
    let era = match era::of_request(headers, &request) {
        Ok(era) => era,
        Err(error) => {
            note(
                visit,
                methods::recorded_name(&request.method),
                Reason::Malformed,
            )
            .await;
            return fail(StatusCode::BAD_REQUEST, &request, &error);
        }
    };
    if era == Era::Legacy
        && request.method != "initialize"
        && headers.contains_key(era::HEADER_SESSION)
    {
        // Ambit gives out no sessions: this one is somebody else's, and the client knows to begin anew.
        let action = methods::recorded_name(&request.method);
        note(visit, action, Reason::NotFound).await;
        return fail(
            StatusCode::NOT_FOUND,
            &request,
            &RpcError::new(wire::INVALID_REQUEST, "unknown session"),
        );
    }
    match methods::find(&request.method, era).map(|it| it.treatment) {
        Some(Treatment::Decided(method)) => {
            decided(
                visit,
                (headers, body_bytes),
                accepts,
                era,
                (method, request),
            )
            .await
        }
        Some(Treatment::Listed) => reply(&request, era, listing::tools(visit, era, &request).await),
        Some(Treatment::Local(Local::Listen)) => changes::listen(visit, accepts, &request).await,
        Some(Treatment::Local(what)) => {
            reply(&request, era, local::answer(visit, what, &request).await)
        }
        Some(Treatment::Ignored | Treatment::Refused) | None => {
            note(
                visit,
                methods::recorded_name(&request.method),
                Reason::MethodNotAllowed,
            )
            .await;
            let error = RpcError::new(METHOD_NOT_FOUND, "this method is not offered").with(
                Value::object([("code", Reason::MethodNotAllowed.code().into())]),
            );
            reply(&request, era, Err(error))
        }
    }
}

async fn decided(
    visit: &Visit,
    (headers, body_bytes): (&HeaderMap, usize),
    accepts: Accepts,
    era: Era,
    (method, mut request): (Decided, Request),
) -> Response<Body> {
    let params = std::mem::take(&mut request.params);
    let wishes = Wishes {
        era,
        method,
        shared_door: visit.door == Door::All,
        notices: None,
        progress: false,
        log_level: log_level(era, &params),
    };
    let token = params
        .get("_meta")
        .and_then(|it| it.get("progressToken"))
        .cloned();
    let wanted = match acts::read(method, &visit.door, params, body_bytes) {
        Ok(wanted) => wanted,
        Err(reason) => return refused(visit, &request, &wishes, reason).await,
    };
    let act = match wanted {
        Wanted::ListOfAll(what) => {
            let listed = listing::of_all(visit, what, &wishes).await;
            return reply(&request, era, listed);
        }
        Wanted::Act(act) => act,
    };
    if era == Era::Modern
        && let Err(error) = mirrored(visit, headers, &act)
    {
        note(visit, act.action(), Reason::Malformed).await;
        return fail(StatusCode::BAD_REQUEST, &request, &error);
    }
    run(visit.clone(), accepts, request, act, (wishes, token)).await
}

/// Takes the act along in a task of its own: a legacy client that goes away does not stop it, and its end is
/// recorded in any case.
async fn run(
    visit: Visit,
    accepts: Accepts,
    request: Request,
    act: Act,
    (mut wishes, token): (Wishes, Option<Value>),
) -> Response<Body> {
    let (notices, mut noticed) = mpsc::channel(NOTIFICATIONS_WAITING_MAX);
    if accepts == Accepts::Events && wishes.method == Decided::CallTool {
        wishes.notices = Some(notices);
        wishes.progress = token.is_some();
    }
    let (mut end, mut ended) = oneshot::channel();
    // Boxed: the runtime moves what it is given several times, and this is several kilobytes.
    tokio::spawn(Box::pin(async move {
        let structured = !has_output_schema(&visit, &act);
        let conclusion = {
            let gone = async {
                match wishes.era {
                    Era::Modern => end.closed().await,
                    Era::Legacy => std::future::pending().await,
                }
            };
            perform(&visit.doors, &visit.caller, act, &wishes, gone).await
        };
        let status = match &conclusion {
            Conclusion::Error(error) => http_status(wishes.era, error.code),
            Conclusion::Done(_) | Conclusion::Refused(_) => StatusCode::OK,
        };
        let text = rendered(
            &visit.doors.links,
            &request,
            &wishes,
            conclusion,
            structured,
        );
        // The stream of notices must have ended when its last event comes.
        drop(wishes);
        let _agent_left = end.send((status, text));
    }));
    tokio::select! {
        // What the upstream said on the way comes before its answer, also when both are there already.
        biased;
        Some(notice) = noticed.recv() => {
            let first = shown(notice, token.as_ref());
            let render = move |it| shown(it, token.as_ref());
            body::events(EventStream::new(Some(first), noticed, render, Some(ended)))
        }
        text = &mut ended => match text {
            Ok((status, text)) => body::json(status, text),
            Err(_) => body::empty(StatusCode::INTERNAL_SERVER_ERROR),
        },
    }
}

/// Returns the bytes of the answer.
fn rendered(
    links: &Links,
    request: &Request,
    wishes: &Wishes,
    conclusion: Conclusion,
    structured: bool,
) -> String {
    match conclusion {
        Conclusion::Done(result) => wire::result_of_text(&request.id, &result),
        Conclusion::Error(error) => wire::error_text(Some(&request.id), &error),
        Conclusion::Refused(refusal) => refusal_text(links, request, wishes, &refusal, structured),
    }
}

fn refusal_text(
    links: &Links,
    request: &Request,
    wishes: &Wishes,
    refusal: &Refusal,
    structured: bool,
) -> String {
    if wishes.method != Decided::CallTool {
        return wire::error_text(Some(&request.id), &refusal.to_error(links));
    }
    let mut result = refusal.to_result(structured, links);
    if let (Era::Modern, Value::Object(members)) = (wishes.era, &mut result) {
        super::bridge::complete(members, false);
    }
    wire::result_text(&request.id, &result)
}

/// Records that a request never became an act, and says so as the method wants.
async fn refused(
    visit: &Visit,
    request: &Request,
    wishes: &Wishes,
    reason: Reason,
) -> Response<Body> {
    let action = methods::recorded_name(&request.method);
    let refusal = match visit
        .doors
        .handle
        .refuse(&visit.caller, action, reason, (visit.doors.clock)())
        .await
    {
        Ok(denied) => Refusal::denied(denied),
        Err(error) => Refusal::engine(&error),
    };
    if wishes.method != Decided::CallTool
        && matches!(reason, Reason::ArgumentsInvalid | Reason::TooLarge)
    {
        let error = RpcError {
            code: INVALID_PARAMS,
            ..refusal.to_error(&visit.doors.links)
        };
        return reply(request, wishes.era, Err(error));
    }
    body::json(
        StatusCode::OK,
        refusal_text(&visit.doors.links, request, wishes, &refusal, true),
    )
}

async fn notified(visit: &Visit, method: &str) -> Response<Body> {
    let known = [Era::Legacy, Era::Modern]
        .into_iter()
        .find_map(|era| methods::find(method, era));
    match known.map(|it| it.treatment) {
        Some(Treatment::Ignored) => body::empty(StatusCode::ACCEPTED),
        _ => refuse_quietly(visit, methods::recorded_name(method)).await,
    }
}

async fn refuse_quietly(visit: &Visit, action: &str) -> Response<Body> {
    note(visit, action, Reason::MethodNotAllowed).await;
    let error = RpcError::new(wire::INVALID_REQUEST, "this message is not offered");
    body::json(StatusCode::BAD_REQUEST, wire::error_text(None, &error))
}

/// Records a refusal of what never becomes an act.
pub(super) async fn note(visit: &Visit, action: &str, reason: Reason) {
    visit.doors.note(&visit.caller, action, reason).await;
}

/// Answers with a result or an error, with the HTTP status that the era wants.
pub(super) fn reply(
    request: &Request,
    era: Era,
    outcome: Result<Value, RpcError>,
) -> Response<Body> {
    match outcome {
        Ok(result) => body::json(StatusCode::OK, wire::result_text(&request.id, &result)),
        Err(error) => {
            let status = http_status(era, error.code);
            fail(status, request, &error)
        }
    }
}

/// Returns the HTTP status that goes with an error's code: the modern era asks for more than 200.
const fn http_status(era: Era, code: i64) -> StatusCode {
    match (era, code) {
        (Era::Modern, METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        (Era::Modern, HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY | UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

fn fail(status: StatusCode, request: &Request, error: &RpcError) -> Response<Body> {
    body::json(status, wire::error_text(Some(&request.id), error))
}

fn mirrored(visit: &Visit, headers: &HeaderMap, act: &Act) -> Result<(), RpcError> {
    let Act::CallTool {
        server,
        tool,
        arguments,
    } = act
    else {
        return Ok(());
    };
    let book = visit.doors.handle.book().ok();
    let definition = book
        .as_ref()
        .and_then(|it| it.estate().tool(server, tool))
        .map(|it| &it.definition);
    definition.map_or(Ok(()), |it| era::check_parameters(headers, it, arguments))
}

/// Some clients check structured content against the tool's output schema even when it tells of an error.
fn has_output_schema(visit: &Visit, act: &Act) -> bool {
    let (Some(server), Some(tool)) = (act.server(), act.tool()) else {
        return false;
    };
    let book = visit.doors.handle.book().ok();
    let tool = book.as_ref().and_then(|it| it.estate().tool(server, tool));
    tool.is_some_and(|it| it.definition.get("outputSchema").is_some())
}

/// Returns the least level of log messages wanted. A legacy agent is told what the server thinks worth telling, since
/// Ambit keeps nothing between its requests.
fn log_level(era: Era, params: &BTreeMap<String, Value>) -> Option<&'static str> {
    match era {
        Era::Legacy => Some(LEGACY_LOG_LEVEL),
        Era::Modern => {
            let wanted = era::meta(params, META_LOG_LEVEL)?.as_str()?;
            LOG_LEVELS.into_iter().find(|it| *it == wanted)
        }
    }
}

/// Returns a notice as an event; progress carries the agent's own token.
fn shown(notice: Notice, token: Option<&Value>) -> Bytes {
    let mut params = notice.params;
    if let (Value::Object(members), Some(token), "notifications/progress") =
        (&mut params, token, notice.method)
    {
        members.insert("progressToken".into(), token.clone());
    }
    body::event(&wire::notification_of(notice.method, params))
}

/// What a modern server is told when the agent is a legacy one.
const LEGACY_LOG_LEVEL: &str = "info";
/// The levels of log messages (RFC 5424, as MCP names them).
const LOG_LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Returns the listings that a door with many servers joins.
pub(super) const fn listing_method(what: Listing) -> Decided {
    match what {
        Listing::Resources => Decided::ListResources,
        Listing::ResourceTemplates => Decided::ListResourceTemplates,
        Listing::Prompts => Decided::ListPrompts,
    }
}

//! Streams of changes: `subscriptions/listen` of the modern era and the GET stream of the legacy one.
//!
//! They tell that the list of tools changed and that the task has ended; nothing of an upstream's.

use std::time::Duration;

use ambit_core::{Reason, TaskId, json::Value};
use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};

use super::{
    downstream::{Visit, note, reply},
    era::{Era, META_SUBSCRIPTION},
    listing, local,
    wire::{self, INVALID_PARAMS, Id, Request, RpcError},
};
use crate::{
    body::{self, Body, EventStream, HEARTBEAT},
    doors::StreamSeat,
    edge::Accepts,
    limits::STREAM_HEARTBEAT,
};

/// The action in the records of refused streams.
const LISTEN: &str = "subscriptions/listen";

/// Answers `subscriptions/listen`.
pub(super) async fn listen(visit: &Visit, accepts: Accepts, request: &Request) -> Response<Body> {
    let wanted = request
        .params
        .get("notifications")
        .filter(|it| it.as_object().is_some());
    let Some(wanted) = wanted else {
        note(visit, LISTEN, Reason::ArgumentsInvalid).await;
        let error = RpcError::new(INVALID_PARAMS, "`notifications` must be an object");
        return reply(request, Era::Modern, Err(error));
    };
    if accepts != Accepts::Events {
        note(visit, LISTEN, Reason::Malformed).await;
        return body::problem(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "a stream needs text/event-stream",
        );
    }
    let tools = wanted.get("toolsListChanged").and_then(Value::as_bool) == Some(true);
    let offers = match local::offers(visit, &request.method).await {
        Ok(offers) => offers,
        Err(error) => return reply(request, Era::Modern, Err(error)),
    };
    let agreed = if tools {
        Value::object([("toolsListChanged", true.into())])
    } else {
        Value::object([])
    };
    let mut params = subscribed(&request.id);
    if let Value::Object(members) = &mut params {
        members.insert("notifications".into(), agreed);
    }
    let first = wire::notification_of("notifications/subscriptions/acknowledged", params);
    let Some(seat) = visit.doors.seat(&visit.caller, offers.task.id) else {
        return crowded(visit).await;
    };
    let subscription = Subscription {
        id: Some(request.id.clone()),
        tools,
    };
    stream(
        visit,
        offers.task.id,
        seat,
        Some(body::event(&first)),
        subscription,
    )
}

/// Answers the GET of a legacy client.
pub(crate) async fn get(visit: &Visit, accepts: Accepts) -> Response<Body> {
    if accepts != Accepts::Events {
        note(visit, LISTEN, Reason::Malformed).await;
        return body::problem(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "a stream needs text/event-stream",
        );
    }
    let offers = match local::offers(visit, "notifications/tools/list_changed").await {
        Ok(offers) => offers,
        Err(error) => return body::json(StatusCode::FORBIDDEN, wire::error_text(None, &error)),
    };
    let Some(seat) = visit.doors.seat(&visit.caller, offers.task.id) else {
        return crowded(visit).await;
    };
    let subscription = Subscription {
        id: None,
        tools: true,
    };
    stream(visit, offers.task.id, seat, Some(HEARTBEAT), subscription)
}

struct Subscription {
    id: Option<Id>,
    tools: bool,
}

fn stream(
    visit: &Visit,
    task: TaskId,
    seat: StreamSeat,
    first: Option<Bytes>,
    subscription: Subscription,
) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(4);
    let visit = visit.clone();
    tokio::spawn(async move {
        let over = tokio::select! {
            () = visit.doors.handle.task_ended(task) => Over::Task,
            over = watch(&visit, &sender, &subscription) => over,
        };
        if let (Over::Task, Some(last)) = (over, subscription.last()) {
            let _agent_left = sender.send(last).await;
        }
        drop(seat);
    });
    body::events(EventStream::new(first, receiver, |it| it, None))
}

/// Sends signs of life and changes until the agent goes away or its task ends.
async fn watch(visit: &Visit, sender: &mpsc::Sender<Bytes>, subscription: &Subscription) -> Over {
    let mut beat = interval(STREAM_HEARTBEAT);
    let mut news = visit.doors.shown.subscribe();
    let mut before = None;
    let left = visit.caller.expires_at().since(visit.doors.now());
    // When the proof is over is told by the clock; this only wakes the stream up to look at it in time.
    let mut end = Box::pin(sleep(Duration::from_millis(left.as_millis())));
    let mut waits = true;
    loop {
        tokio::select! {
            () = sender.closed() => return Over::Agent,
            () = &mut end, if waits => waits = false,
            _ = beat.tick() => {}
            _ = news.changed() => {}
        }
        let now = visit.doors.now();
        if visit.caller.expires_at() <= now {
            return Over::Proof;
        }
        let Ok(offers) = visit.doors.handle.offers(&visit.caller, now) else {
            return Over::Task;
        };
        let now = Some(listing::shown(visit, &offers));
        let changed = before.is_some() && before != now;
        before = now;
        let next = if changed && subscription.tools {
            subscription.changed()
        } else {
            HEARTBEAT
        };
        if sender.send(next).await.is_err() {
            return Over::Agent;
        }
    }
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// The agent went away.
    Agent,
    /// The task ended.
    Task,
    /// The agent's certificate or token is over: it must come again with another.
    Proof,
}

impl Subscription {
    fn changed(&self) -> Bytes {
        let params = self
            .id
            .as_ref()
            .map_or_else(|| Value::object([]), subscribed);
        body::event(&wire::notification_of(
            "notifications/tools/list_changed",
            params,
        ))
    }

    /// Returns the graceful end that the modern era knows.
    fn last(&self) -> Option<Bytes> {
        let id = self.id.as_ref()?;
        let mut result = subscribed(id);
        if let Value::Object(members) = &mut result {
            members.insert("resultType".into(), "complete".into());
        }
        Some(body::event(&wire::result_text(id, &result)))
    }
}

fn subscribed(id: &Id) -> Value {
    Value::object([("_meta", Value::object([(META_SUBSCRIPTION, id.to_value())]))])
}

async fn crowded(visit: &Visit) -> Response<Body> {
    note(visit, LISTEN, Reason::Overloaded).await;
    body::problem(
        StatusCode::TOO_MANY_REQUESTS,
        "overloaded",
        "this task keeps enough streams open",
    )
}

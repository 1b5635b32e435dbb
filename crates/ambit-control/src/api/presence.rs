//! A runner's presence: one open answer. When it ends, so does the task.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use ambit_core::{InstanceId, TaskId};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body::Frame;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Control, Shared, caller::Instance, problem::Problem};
use crate::locked::locked;

/// How often a heartbeat is written: a runner that is gone is noticed at the next or the one after.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// How many runners can be present at once.
pub const PRESENCES_MAX: usize = 10_000;

/// The runners that are present.
#[derive(Default)]
pub(super) struct Presences(pub(super) Mutex<HashMap<InstanceId, TaskId>>);

/// The runner's presence: dropped when its connection ends, for whatever reason.
struct Presence {
    instance: InstanceId,
    task: TaskId,
    shared: Arc<Shared>,
}

/// An answer that goes on with heartbeats until the task ends.
struct Heartbeats {
    beat: Interval,
    ended: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    _presence: Presence,
}

pub(super) async fn presence(
    State(shared): State<Arc<Shared>>,
    Instance(caller): Instance,
) -> Result<Response, Problem> {
    let control = &shared.control;
    // Durable before the runner hears of it: a start of Ambit then knows for whom it waits.
    let task = control.handle.attend(&caller).await?;
    let presence = Presences::enter(&shared, caller.instance(), task)?;
    let mut beat = interval(HEARTBEAT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let heartbeats = Heartbeats {
        beat,
        ended: Box::pin(ended(control.clone(), task)),
        _presence: presence,
    };
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::new(heartbeats)).into_response())
}

async fn ended(control: Control, task: TaskId) {
    control.handle.task_ended(task).await;
}

impl Presences {
    /// Returns how many runners are present.
    pub(super) fn count(&self) -> u64 {
        locked(&self.0).len() as u64
    }

    fn enter(
        shared: &Arc<Shared>,
        instance: InstanceId,
        task: TaskId,
    ) -> Result<Presence, Problem> {
        let mut present = locked(&shared.presences.0);
        if present.contains_key(&instance) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "already_present",
                "the runner of this instance is present already",
            )
            .because("one instance has one runner"));
        }
        if present.len() >= PRESENCES_MAX {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many runners are present",
            )
            .because("try again when tasks have ended"));
        }
        present.insert(instance, task);
        Ok(Presence {
            instance,
            task,
            shared: shared.clone(),
        })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = locked(&self.shared.presences.0);
        present.remove(&self.instance);
        drop(present);
        // It is kept in mind until it is on the record; nobody waits.
        drop(self.shared.control.handle.end_unserved(self.task));
    }
}

impl http_body::Body for Heartbeats {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.beat
            .poll_tick(context)
            .map(|_| Some(Ok(Frame::data(Bytes::from_static(b"{}\n")))))
    }
}

//! Health and metrics: numbers for those who run Ambit. Names of agents, people and servers never stand here.

use std::sync::{Arc, atomic::Ordering};

use ambit_engine::EngineError;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Shared, problem::Problem};

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ambit can decide: an estate is in force, the log takes records, and there is room for them.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<&'static str, Problem> {
    shared
        .control
        .handle
        .ready()
        .map(|()| "ready\n")
        .map_err(|it| not_ready(&it))
}

fn not_ready(error: &EngineError) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_ready",
        "Ambit can't decide anything now",
    )
    .because(crate::check::chain(error))
}

/// Prometheus text (version 0.0.4).
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let control = &shared.control;
    let now = (control.clock)().now;
    let ready = control.handle.ready().is_ok();
    let left = control.keys_in_force().expires_at().since(now).as_millis() / 1000;
    let counted = [
        (
            "ambit_ready",
            "Whether an estate is in force and the log takes records.",
            u64::from(ready),
        ),
        (
            "ambit_runners_present",
            "Runners whose connection is open.",
            shared.presences.count(),
        ),
        (
            "ambit_authority_expires_in_seconds",
            "Seconds until the authority's own certificate ends.",
            left,
        ),
    ];
    let mut text = format!(
        "# HELP ambit_strangers_refused_total Requests to the gateway that identified nobody.\n\
         # TYPE ambit_strangers_refused_total counter\nambit_strangers_refused_total {}\n",
        control.strangers_refused.load(Ordering::Relaxed)
    );
    for (name, help, value) in counted {
        text.push_str(&format!(
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        ));
    }
    text.push_str(&format!(
        "# HELP ambit_build_info The version of this binary.\n# TYPE ambit_build_info gauge\nambit_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    ));
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

//! Health and metrics, for those who run Ambit.

use std::sync::Arc;

use ambit_engine::EngineError;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Shared, metrics, problem::Problem};

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
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::text(&shared)).into_response()
}

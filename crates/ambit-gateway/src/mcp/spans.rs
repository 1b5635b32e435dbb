//! Spans of calls, for traces: which tool, which decision, how it ended and how long each step took. No arguments and no
//! results; who reads traces reads of calls what the log's pseudonyms say, and no more.

use ambit_core::{act::Act, record::Status};
use ambit_engine::{Answer, EngineError};
use tracing::{Span, field::Empty, info_span};

/// The target of every span of a call. Nothing else has it.
pub const CALL_SPANS: &str = "ambit::call";

/// Returns the span of one call; the rest of its fields come later.
pub(super) fn call(act: &Act) -> Span {
    info_span!(
        target: CALL_SPANS,
        "call",
        otel.kind = "server",
        otel.status_code = Empty,
        ambit.action = act.action(),
        ambit.server = act.server().map(|it| it.as_str()),
        ambit.tool = act.tool().map(|it| it.as_str()),
        ambit.decision = Empty,
        ambit.outcome = Empty,
        ambit.reason = Empty,
        ambit.end = Empty,
    )
}

/// Returns the span of deciding, until the decision is durable.
pub(super) fn decide() -> Span {
    info_span!(target: CALL_SPANS, "decide")
}

/// Returns the span of the upstream's part.
pub(super) fn upstream() -> Span {
    info_span!(target: CALL_SPANS, "upstream", otel.kind = "client")
}

/// Returns the span of writing down how the act ended.
pub(super) fn record() -> Span {
    info_span!(target: CALL_SPANS, "record")
}

/// Tells the span of the call what was decided.
pub(super) fn answered(answer: &Result<Answer, EngineError>) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let (decision, outcome, reason) = match answer {
        Ok(Answer::Allowed(permit)) => (permit.value().decision(), "allow", None),
        Ok(Answer::Held(held)) => (held.decision, "hold", Some(held.reason)),
        Ok(Answer::Denied(denied)) => (denied.decision, "deny", Some(denied.reason)),
        Err(_) => {
            span.record("otel.status_code", "error");
            return;
        }
    };
    span.record("ambit.decision", decision.to_string());
    span.record("ambit.outcome", outcome);
    if let Some(reason) = reason {
        span.record("ambit.reason", reason.code());
    }
}

/// Tells the span of the call how the act ended.
pub(super) fn ended(status: Status) {
    let span = Span::current();
    span.record("ambit.end", status.as_str());
    if status == Status::Unknown {
        span.record("otel.status_code", "error");
    }
}

//! Problems on the wire (RFC 9457), each with a stable `code`.

use ambit_core::{Reason, json::Value};
use ambit_engine::{EngineError, Refusal};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::browsers::Told;
use crate::{estate::EstateProblem, story::beyond};

/// Why a request was not answered as asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: String,
    title: String,
    detail: Option<String>,
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem of this status, with a stable code and what happened in words.
    pub(crate) fn new(status: StatusCode, code: &str, title: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            title: title.into(),
            detail: None,
            members: Vec::new(),
        }
    }

    /// Adds why, and what to do.
    pub(crate) fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what came of it.
    pub(super) fn adding(self, words: &str) -> Self {
        let detail = match &self.detail {
            Some(detail) => format!("{detail}; {words}"),
            None => words.to_owned(),
        };
        self.because(detail)
    }

    /// The request itself can't be taken.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "the request can't be taken",
        )
        .because(detail)
    }

    /// There is no such thing; `advice` names where to look.
    pub(super) fn not_found(what: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        let title = format!("there is no {what}");
        Self::new(StatusCode::NOT_FOUND, "not_found", title).because(advice)
    }

    /// The estate does not hold.
    pub(super) fn check_failed(problems: &[EstateProblem]) -> Self {
        let problem = |it: &EstateProblem| {
            Value::object([
                ("path", it.path.as_str().into()),
                ("line", u64::from(it.line).into()),
                ("column", u64::from(it.column).into()),
                ("message", it.message.as_str().into()),
            ])
        };
        let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let mut found = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "check_failed",
            "the estate does not hold",
        )
        .because(listed.join("\n"));
        found
            .members
            .push(("problems", problems.iter().map(problem).collect()));
        found
    }

    /// Returns the stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the problem as it stands on the wire.
    pub fn to_value(&self) -> Value {
        let mut members = vec![
            ("type", format!("urn:ambit:problem:{}", self.code).into()),
            ("title", self.title.as_str().into()),
            ("status", u64::from(self.status.as_u16()).into()),
            ("code", self.code.as_str().into()),
        ];
        members.extend(self.detail.as_deref().map(|it| ("detail", it.into())));
        members.extend(self.members.clone());
        Value::object(members)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = self.to_value().to_canonical();
        let mut response = (self.status, text).into_response();
        response.extensions_mut().insert(Told {
            title: self.title,
            detail: self.detail,
        });
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied {
                denied,
                explanation,
            } => {
                let said = denied.reason.for_person();
                let title = format!("denied: {said}");
                let mut problem = Self::new(status_of(denied.reason), denied.reason.code(), title);
                problem.detail = beyond(said, &explanation);
                let decision = denied.decision.to_string();
                problem.members.push(("decision", decision.into()));
                problem
            }
            Refusal::NotFound(detail) => {
                let advice = Reason::NotFound.next_step();
                let (what, advice) = detail.split_once("; ").unwrap_or((&detail, advice));
                Self::new(StatusCode::NOT_FOUND, "not_found", what).because(advice)
            }
            Refusal::Conflict(detail) => {
                let (what, advice) = detail.split_once("; ").unwrap_or((&detail, ""));
                let problem = Self::new(StatusCode::CONFLICT, "conflict", what);
                match advice.is_empty() {
                    true => problem,
                    false => problem.because(advice),
                }
            }
            Refusal::Invalid(detail) => Self::invalid(detail),
            Refusal::Failed(error) => error.into(),
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let (status, code) = match &error {
            EngineError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            EngineError::TooFast { .. } => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            EngineError::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            EngineError::Stopped(_) => (StatusCode::SERVICE_UNAVAILABLE, "log_stopped"),
            EngineError::NoEstate => (StatusCode::CONFLICT, "no_estate"),
            EngineError::NoTask => (StatusCode::CONFLICT, "task_ended"),
            EngineError::EstateMissing(_)
            | EngineError::Archive(_)
            | EngineError::Custody(_)
            | EngineError::Row(_)
            | EngineError::Fold(_)
            | EngineError::Log(_)
            | EngineError::Scope(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        }
        Self::new(status, code, "Ambit could not do it").because(crate::check::chain(&error))
    }
}

impl From<ambit_engine::ArchiveError> for Problem {
    fn from(error: ambit_engine::ArchiveError) -> Self {
        EngineError::from(error).into()
    }
}

fn status_of(reason: Reason) -> StatusCode {
    if matches!(reason, Reason::NotFound | Reason::TaskUnknown) {
        StatusCode::NOT_FOUND
    } else if matches!(
        reason,
        Reason::WrongState | Reason::TaskEnded | Reason::TaskExpired
    ) {
        StatusCode::CONFLICT
    } else if reason == Reason::Overloaded {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::FORBIDDEN
    }
}

#[cfg(test)]
mod tests {
    use ambit_core::DecisionId;
    use ambit_engine::Denied;

    use super::*;

    #[test]
    fn a_denial_says_nothing_twice() {
        let check = |reason: Reason, explanation: &str, title: &str, detail: Option<&str>| {
            let denied = Denied {
                decision: DecisionId::from_bits(1),
                reason,
            };
            let refusal = Refusal::Denied {
                denied,
                explanation: explanation.to_owned(),
            };
            let problem = Problem::from(refusal).to_value();
            assert_eq!(problem.get("title").and_then(Value::as_str), Some(title));
            assert_eq!(problem.get("detail").and_then(Value::as_str), detail);
        };
        check(
            Reason::BindingTooWeak,
            "the caller's proof is too weak for this: end that task (rules: weak-proof)",
            "denied: the caller's proof is too weak for this",
            Some("end that task (rules: weak-proof)"),
        );
        check(
            Reason::PersonRevoked,
            "this person was revoked",
            "denied: this person was revoked",
            None,
        );
    }
}

//! Telling an agent that something did not happen, in a form that reaches its model.
//!
//! A tool's refusal is a *result* with `isError`: measured with real clients, it is the only form that
//! all of them pass on and survive. Other methods get a JSON-RPC error whose `data` has the same members.

use std::sync::Arc;

use ambit_core::{ApprovalId, DecisionId, Reason, Remedy, Timestamp, json::Value, record::Status};
use ambit_engine::{Denied, EngineError, Held};

use super::wire::RpcError;
use crate::upstream::UpstreamError;

/// Something did not happen, or not yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    standing: Standing,
    code: &'static str,
    remedy: Remedy,
    why: &'static str,
    decision: Option<DecisionId>,
    approval: Option<(ApprovalId, Timestamp)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Refused,
    Pending,
    Failed,
    Unknown,
}

/// Where people read about a refusal: the pages of the public port, when there is one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Links {
    base: Option<Arc<str>>,
}

impl Links {
    /// Returns links below `base`, such as `https://ambit.example.org`.
    pub fn below(base: &str) -> Self {
        let base = Some(base.trim_end_matches('/').into());
        Self { base }
    }

    /// Returns no links: refusals name commands.
    pub const fn none() -> Self {
        Self { base: None }
    }
}

/// The member of a result's `_meta` with the machine-readable form.
pub(crate) const META_REFUSAL: &str = "ambit/refusal";
/// The JSON-RPC code of a refusal of what is no tool call; outside the ranges that others reserve.
pub(crate) const REFUSED: i64 = -31_001;
/// The JSON-RPC code of a hold of what is no tool call.
pub(crate) const PENDING: i64 = -31_002;
/// The JSON-RPC code when something permitted did not work.
pub(crate) const FAILED: i64 = -31_003;

impl Refusal {
    /// Returns the refusal for a denial.
    pub(crate) fn denied(denied: Denied) -> Self {
        Self {
            standing: Standing::Refused,
            code: denied.reason.code(),
            remedy: denied.reason.remedy(),
            why: denied.reason.for_agent(),
            decision: Some(denied.decision),
            approval: None,
        }
    }

    /// Returns the refusal for a hold.
    pub(crate) fn held(held: Held) -> Self {
        Self {
            standing: Standing::Pending,
            code: held.reason.code(),
            remedy: Remedy::AwaitApproval,
            why: held.reason.for_agent(),
            decision: Some(held.decision),
            approval: Some((held.approval, held.expires_at)),
        }
    }

    /// Returns the refusal when the authority ended while the act was under way, for `reason`.
    pub(crate) fn cut(decision: DecisionId, reason: Reason) -> Self {
        Self {
            standing: Standing::Unknown,
            ..Self::denied(Denied { decision, reason })
        }
    }

    /// Returns the refusal for an act that was permitted and did not work.
    pub(crate) fn failed(decision: DecisionId, error: &UpstreamError) -> Self {
        let standing = match error.status() {
            Status::Unknown => Standing::Unknown,
            Status::Done | Status::Failed | Status::NotSent => Standing::Failed,
        };
        let remedy = match (standing, error) {
            (
                _,
                UpstreamError::TooManyProcesses
                | UpstreamError::Unreachable(_)
                | UpstreamError::Late
                | UpstreamError::SessionLost,
            ) => Remedy::RetryLater,
            (Standing::Unknown, _) => Remedy::None,
            _ => Remedy::AskOwner,
        };
        let (code, why) = (error.code(), error.for_agent());
        Self {
            standing,
            code,
            remedy,
            why,
            decision: Some(decision),
            approval: None,
        }
    }

    /// Returns the refusal when the engine could not answer. Nothing of its words reaches the agent.
    pub(crate) fn engine(error: &EngineError) -> Self {
        let (code, remedy, why) = match error {
            EngineError::NoSpace => (
                "no_space",
                Remedy::RetryLater,
                "there is no space to write the decision down, so nothing is done",
            ),
            EngineError::Busy | EngineError::TooFast { .. } => {
                ("overloaded", Remedy::RetryLater, "too much is under way")
            }
            EngineError::NoTask => {
                let reason = Reason::TaskEnded;
                (reason.code(), reason.remedy(), reason.for_agent())
            }
            EngineError::Stopped(_)
            | EngineError::NoEstate
            | EngineError::EstateMissing(_)
            | EngineError::Archive(_)
            | EngineError::Custody(_)
            | EngineError::Row(_)
            | EngineError::Fold(_)
            | EngineError::Log(_)
            | EngineError::Scope(_) => (
                "log_unavailable",
                Remedy::AskOwner,
                "the decision can't be written down, so nothing is done",
            ),
        };
        Self {
            standing: Standing::Refused,
            code,
            remedy,
            why,
            decision: None,
            approval: None,
        }
    }

    /// Returns the result of `tools/call` that says so. With `structured` the members are in `structuredContent` too:
    /// some clients check that against the tool's output schema even when the result is an error.
    pub(crate) fn to_result(&self, structured: bool, links: &Links) -> Value {
        let (text, mut members) = (self.text(links), self.members(links));
        // Some clients show a model only the structured form: the words are in both.
        if let Value::Object(members) = &mut members {
            members.insert("message".into(), text.as_str().into());
        }
        let text = Value::object([("type", "text".into()), ("text", text.into())]);
        let mut result = vec![
            ("content", Value::Array(vec![text])),
            ("isError", true.into()),
            ("_meta", Value::object([(META_REFUSAL, members.clone())])),
        ];
        if structured {
            result.push(("structuredContent", members));
        }
        Value::object(result)
    }

    /// Returns the JSON-RPC error that says so.
    pub(crate) fn to_error(&self, links: &Links) -> RpcError {
        let code = match self.standing {
            Standing::Refused => REFUSED,
            Standing::Pending => PENDING,
            Standing::Failed | Standing::Unknown => FAILED,
        };
        RpcError::new(code, self.text(links)).with(self.members(links))
    }

    /// Returns the stable code.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    fn members(&self, links: &Links) -> Value {
        let mut members = vec![
            ("status", self.standing.as_str().into()),
            ("code", self.code.into()),
            ("remedy", self.remedy.code().into()),
        ];
        members.extend(self.decision.map(|it| ("decision", it.to_string().into())));
        if let Some((approval, expires_at)) = self.approval {
            members.push(("approval", approval.to_string().into()));
            members.push(("expires_at", expires_at.to_string().into()));
        }
        members.extend(self.link(links).map(|it| ("link", it.into())));
        Value::object(members)
    }

    /// Returns where a person reads what to do about it.
    fn link(&self, links: &Links) -> Option<String> {
        let base = links.base.as_ref()?;
        match (self.approval, self.decision) {
            (Some((approval, _)), _) => Some(format!("{base}/approvals/{approval}")),
            (None, Some(decision)) => Some(format!("{base}/decisions/{decision}")),
            (None, None) => None,
        }
    }

    fn text(&self, links: &Links) -> String {
        let mut text = format!("{} ({}): {}.", self.standing.heading(), self.code, self.why);
        if let Some((approval, expires_at)) = self.approval {
            text.push_str(&format!(
                " Do not retry now: once a person has approved {approval}, call again with identical arguments \
                 (the request expires at {expires_at})."
            ));
        } else {
            text.push(' ');
            text.push_str(advice(self.standing, self.remedy));
        }
        if let Some(link) = self.link(links) {
            // The link to an approval does not name the decision.
            if let (Some(_), Some(decision)) = (self.approval, self.decision) {
                text.push_str(&format!(" Decision: {decision}."));
            }
            text.push_str(&format!(" For people: {link}"));
            return text;
        }
        let approval = self
            .approval
            .map(|(it, _)| format!("`ambit approvals show {it}`"));
        let decision = self.decision.map(|it| format!("`ambit log why {it}`"));
        let commands: Vec<String> = approval.into_iter().chain(decision).collect();
        if !commands.is_empty() {
            text.push_str(&format!(" For people: {}.", commands.join(", ")));
        }
        text
    }
}

impl Standing {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::Pending => "Pending approval",
            Self::Failed => "Permitted but not done",
            Self::Unknown => "Outcome unknown",
        }
    }
}

/// Returns what the model should do next, in one sentence.
const fn advice(standing: Standing, remedy: Remedy) -> &'static str {
    match (standing, remedy) {
        (Standing::Unknown, _) => "Do not retry: it may or may not have happened. Tell your user.",
        (_, Remedy::None) => "Do not retry; nothing you can do changes this.",
        (_, Remedy::ChangeArguments) => "Do not retry unchanged; other arguments may be allowed.",
        (_, Remedy::AwaitApproval) => "Do not retry before a person has approved it.",
        (_, Remedy::NewTask) => "Do not retry; a person must start a new task.",
        (_, Remedy::AskOwner) => "Do not retry; only its owner can change this. Tell your user.",
        (_, Remedy::RetryLater) => "The identical call may work a little later.",
        (_, Remedy::NewToken) => "The identical call may work with another access token.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_whose_and_what_next() {
        let decision = DecisionId::from_bits(1);
        let refusal = Refusal::denied(Denied {
            decision,
            reason: Reason::ToolNotGranted,
        });
        let links = Links::none();
        let result = refusal.to_result(true, &links);
        assert_eq!(result.get("isError"), Some(&true.into()));
        assert_eq!(
            result.get("structuredContent").unwrap().get("code"),
            Some(&"tool_not_granted".into())
        );
        let text = refusal.text(&links);
        assert_eq!(
            result.get("structuredContent").unwrap().get("message"),
            Some(&text.as_str().into())
        );
        assert!(
            text.starts_with(
                "Refused (tool_not_granted): the task does not name this tool. Do not retry"
            ),
            "{text}"
        );
        assert!(
            text.contains(&format!("ambit log why {decision}")),
            "{text}"
        );
        let plain = refusal.to_result(false, &links);
        assert!(plain.get("structuredContent").is_none());
    }

    #[test]
    fn a_hold_names_the_approval() {
        let (decision, approval) = (DecisionId::from_bits(1), ApprovalId::from_bits(2));
        let expires_at = Timestamp::from_millis(0);
        let held = Held {
            decision,
            approval,
            expires_at,
            reason: Reason::ApprovalRequired,
        };
        let error = Refusal::held(held).to_error(&Links::none());
        assert_eq!(error.code, PENDING);
        assert!(
            error.message.contains("identical arguments"),
            "{}",
            error.message
        );
        assert_eq!(
            error.data.unwrap().get("approval"),
            Some(&approval.to_string().into())
        );
    }

    #[test]
    fn where_there_is_a_public_port_the_link_stands_for_the_command() {
        let (decision, approval) = (DecisionId::from_bits(1), ApprovalId::from_bits(2));
        let reason = Reason::ToolNotGranted;
        let denied = Refusal::denied(Denied { decision, reason });
        let held = Refusal::held(Held {
            decision,
            approval,
            expires_at: Timestamp::from_millis(0),
            reason: Reason::ApprovalRequired,
        });
        let links = Links::below("https://ambit.example.org/");
        let check = |refusal: &Refusal, link: &str| {
            let text = refusal.text(&links);
            assert!(text.ends_with(&format!(" For people: {link}")), "{text}");
            assert!(text.contains(&decision.to_string()), "{text}");
            assert!(!text.contains('`'), "{text}");
            assert!(refusal.text(&Links::none()).contains("`ambit "));
            let result = refusal.to_result(true, &links);
            let structured = result.get("structuredContent").unwrap();
            assert_eq!(structured.get("link"), Some(&link.into()));
            let data = refusal.to_error(&links).data.unwrap();
            assert_eq!(data.get("link"), Some(&link.into()));
            let plain = refusal.to_error(&Links::none()).data.unwrap();
            assert_eq!(plain.get("link"), None);
        };
        check(
            &denied,
            &format!("https://ambit.example.org/decisions/{decision}"),
        );
        check(
            &held,
            &format!("https://ambit.example.org/approvals/{approval}"),
        );
        let nameless = Refusal::engine(&EngineError::Busy);
        assert_eq!(nameless.link(&links), None);
        assert!(!nameless.text(&links).contains("For people"));
    }

    #[test]
    fn an_upstream_never_speaks_through_a_refusal() {
        let decision = DecisionId::from_bits(1);
        let error = UpstreamError::Start("canary".into());
        let text = Refusal::failed(decision, &error)
            .to_result(true, &Links::none())
            .to_canonical();
        assert!(
            !text.contains("canary") && text.contains("server_not_started"),
            "{text}"
        );
        let unknown = Refusal::failed(decision, &UpstreamError::Closed).text(&Links::none());
        assert!(
            unknown.starts_with("Outcome unknown") && unknown.contains("Do not retry"),
            "{unknown}"
        );
    }
}

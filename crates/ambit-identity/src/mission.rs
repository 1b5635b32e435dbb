//! Hashes that name a task's authority on the wire, as Mission-Bound Authorization writes them
//! (draft-mcguinness-oauth-mission, Integrity Anchors).
//!
//! The log names a task's authority by the digest of its canonical authorization details. The wire
//! form binds the same details to their issuer and kind; it is derived at the edge and never kept.

use std::fmt;

use ambit_core::{Digest, json::Value};

use crate::jose::base64url;

/// What an anchor is over: no value of one kind has the anchor of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnchorKind {
    /// What a task was declared to be.
    Intent,
    /// The authorization details that a task holds.
    AuthoritySet,
    /// The authorization details that somebody asked for.
    ProposedAuthority,
    /// One of the details that a task holds.
    AuthorityEntry,
}

/// The hash of a value, its kind and its issuer: `sha-256:` and base64url.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchor(Digest);

impl Anchor {
    /// Returns the anchor of `value`, as `issuer` vouches for it.
    pub fn of(kind: AnchorKind, issuer: &str, value: Value) -> Self {
        let envelope = Value::object([
            ("iss", issuer.into()),
            ("typ", kind.as_str().into()),
            ("value", value),
        ]);
        Self(Digest::of(envelope.to_canonical().as_bytes()))
    }
}

impl AnchorKind {
    /// Returns the word in the member `typ`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "mission-intent",
            Self::AuthoritySet => "mission-authority-set",
            Self::ProposedAuthority => "mission-proposed-authority",
            Self::AuthorityEntry => "mission-authority-entry",
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha-256:{}", base64url::encode(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the draft's appendix, Integrity Anchor Test Vectors.
    #[test]
    fn anchors_are_those_of_the_draft() {
        let check = |kind, value: &str, expect: &str| {
            let value = ambit_core::json::parse(value.as_bytes()).unwrap();
            let anchor = Anchor::of(kind, "https://as.example.com", value);
            assert_eq!(anchor.to_string(), format!("sha-256:{expect}"), "{kind:?}");
        };
        check(
            AnchorKind::Intent,
            r#"{"goal":"Reconcile Q3 invoices","resources":["https://erp.example.com"],
                "expires_at":"2026-12-31T23:59:59Z"}"#,
            "6mIFoCz79uCHNzKLfBpBwqFjoFXdpmpuc65486IqimQ",
        );
        check(
            AnchorKind::AuthoritySet,
            r#"[{"type":"mission_resource_access","resource":"https://erp.example.com",
                "actions":["invoices.read"]},
               {"type":"mission_resource_access","resource":"https://erp.example.com",
                "actions":["journal-entries.write"],
                "constraints":{"max_amount":{"amount":"500.00","currency":"USD"}}}]"#,
            "vUCCfjGulit9u0qJ0Z6pQSNerZtXMqRlfJNCr4PzLro",
        );
        check(
            AnchorKind::Intent,
            r#"{"goal":"Reconcile Q3 invoices","resources":["https://erp.example.com"],
                "expires_at":"2026-12-31T23:59:59Z",
                "controls":{"acr":"urn:example:acr:mfa","max_derivations":20}}"#,
            "DHUg4zS3HHnWtXlO6hu9sTN_jX4LyjZ4tOJiTDAvWAI",
        );
        check(
            AnchorKind::AuthoritySet,
            r#"[{"type":"mission_resource_access","resource":"https://erp.example.com",
                "actions":["invoices.read"],"delegation":{"max_depth":2,
                "allowed_delegates":[{"sub_profile":"ai_agent"},{"sub":"s6BhdRkqt3"}]}}]"#,
            "notrA9wZaP3I5Gx8UzN0mfzUjHYPeX4Ri_B3ilh7BbA",
        );
        check(
            AnchorKind::ProposedAuthority,
            r#"[{"type":"mission_resource_access","resource":"https://erp.example.com",
                "actions":["invoices.*"]},
               {"type":"mission_resource_access","resource":"https://erp.example.com",
                "actions":["journal-entries.write"],
                "constraints":{"max_amount":{"amount":"1000.00","currency":"USD"}}}]"#,
            "udzftXYQy0pvYNxz4KgtmyL_EV8ry4DhIbBFfwILEBA",
        );
        check(
            AnchorKind::AuthorityEntry,
            r#"{"type":"mission_resource_access","resource":"https://erp.example.com",
                "actions":["invoices.read"],"constraints":{
                "resource_issued_after":"2026-07-01T00:00:00Z",
                "resource_issued_before":"2026-09-30T23:59:59Z"},
                "delegation":{"max_depth":2,"allowed_delegates":[{"sub_profile":"ai_agent"}]}}"#,
            "OUrwTnuirT29YxQmMSyiJce8W1PfGryvrVViQ1lJCqQ",
        );
    }
}

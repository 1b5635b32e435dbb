//! Names that people give to things in the estate. Parsed once; nobody asks again.

use std::{borrow::Borrow, fmt, marker::PhantomData, str::FromStr};

use crate::limits::{NAME_BYTES_MAX, TOOL_NAME_BYTES_MAX};

/// The name of one thing of kind `K`.
pub struct Name<K> {
    text: std::sync::Arc<str>,
    kind: PhantomData<fn() -> K>,
}

/// A kind of thing that people name.
pub trait Named {
    /// What the thing is called in messages.
    const WHAT: &'static str;
    /// The rule of the spelling, in words.
    const RULE: &'static str;
    /// Says whether `text` keeps the rule.
    fn is_well_spelled(text: &str) -> bool;
}

/// The text breaks the spelling rule of its kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no name for {what}: {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// The name of an agent.
pub type AgentName = Name<AgentKind>;
/// The name of a client of the authorization server that the estate declares.
pub type ClientName = Name<ClientKind>;
/// The name of a foreign trust domain in the estate.
pub type FederationName = Name<FederationKind>;
/// The name by which policies mean some people.
pub type GroupName = Name<GroupKind>;
/// The name of an issuer of workload tokens.
pub type IssuerName = Name<IssuerKind>;
/// The name of a server.
pub type ServerName = Name<ServerKind>;
/// The name of a template.
pub type TemplateName = Name<TemplateKind>;
/// The name of a tool, as its server spells it.
pub type ToolName = Name<ToolKind>;

/// The kind of [`AgentName`].
#[derive(Debug)]
pub enum AgentKind {}
/// The kind of [`ClientName`].
#[derive(Debug)]
pub enum ClientKind {}
/// The kind of [`FederationName`].
#[derive(Debug)]
pub enum FederationKind {}
/// The kind of [`GroupName`].
#[derive(Debug)]
pub enum GroupKind {}
/// The kind of [`IssuerName`].
#[derive(Debug)]
pub enum IssuerKind {}
/// The kind of [`ServerName`].
#[derive(Debug)]
pub enum ServerKind {}
/// The kind of [`TemplateName`].
#[derive(Debug)]
pub enum TemplateKind {}
/// The kind of [`ToolName`].
#[derive(Debug)]
pub enum ToolKind {}

impl Named for AgentKind {
    const WHAT: &'static str = "an agent";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for ClientKind {
    const WHAT: &'static str = "a client";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for FederationKind {
    const WHAT: &'static str = "a foreign trust domain";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for GroupKind {
    const WHAT: &'static str = "a group";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for IssuerKind {
    const WHAT: &'static str = "an issuer";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for ServerKind {
    const WHAT: &'static str = "a server";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for TemplateKind {
    const WHAT: &'static str = "a template";
    const RULE: &'static str = SLUG_RULE;
    fn is_well_spelled(text: &str) -> bool {
        is_slug(text)
    }
}
impl Named for ToolKind {
    const WHAT: &'static str = "a tool";
    const RULE: &'static str = "write 1 to 128 letters, digits, `_`, `-`, `.` or `/`";
    fn is_well_spelled(text: &str) -> bool {
        (1..=TOOL_NAME_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"_-./".contains(&it))
    }
}

impl<K> Name<K> {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<K: Named> FromStr for Name<K> {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if K::is_well_spelled(text) {
            return Ok(Self {
                text: text.into(),
                kind: PhantomData,
            });
        }
        let text = text.chars().take(TOOL_NAME_BYTES_MAX).collect();
        Err(InvalidName {
            text,
            what: K::WHAT,
            rule: K::RULE,
        })
    }
}

impl<K> fmt::Display for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl<K> fmt::Debug for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
// Derives would ask the same of `K`, which is never there as a value.
impl<K> Clone for Name<K> {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
            kind: PhantomData,
        }
    }
}
impl<K> PartialEq for Name<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl<K> Eq for Name<K> {}
impl<K> PartialOrd for Name<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Name<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}
impl<K> std::hash::Hash for Name<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
/// Lets a map keyed by names be asked with a text.
impl<K> Borrow<str> for Name<K> {
    fn borrow(&self) -> &str {
        &self.text
    }
}

/// Says whether `text` is 1 to 63 lowercase letters, digits and inner hyphens: it never holds the
/// `__` that joins a server's name to a tool's.
pub(crate) fn is_slug(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

const SLUG_RULE: &str = "write 1 to 63 lowercase letters, digits and inner hyphens";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rule() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for text in ["a", "ticket-bot", "b2", longest.as_str()] {
            assert!(text.parse::<ServerName>().is_ok(), "{text}");
        }
        let beyond = "a".repeat(NAME_BYTES_MAX + 1);
        for text in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a b",
            "ä",
            "a/b",
            "..",
            beyond.as_str(),
        ] {
            assert!(text.parse::<ServerName>().is_err(), "{text}");
        }
        let longest = "T".repeat(TOOL_NAME_BYTES_MAX);
        assert!(longest.parse::<ToolName>().is_ok());
        assert!(format!("{longest}T").parse::<ToolName>().is_err());
        assert!("rm -rf".parse::<ToolName>().is_err());
    }
}

//! The one table of MCP methods: what Ambit does with each. What is not here is refused.

use super::era::Era;

/// A method and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// What Ambit does with it.
    pub treatment: Treatment,
    /// In which eras it exists.
    pub eras: Eras,
}

/// What Ambit does with a method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Treatment {
    /// It becomes an act: decided, recorded, performed, recorded.
    Decided(Decided),
    /// It is answered from what the task's owner accepted; nothing goes upstream.
    Listed,
    /// It is answered here; it reads and changes nothing but the connection.
    Local(Local),
    /// It is a notification that changes nothing here.
    Ignored,
    /// It is refused, and the refusal is recorded.
    Refused,
}

/// The methods that become acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decided {
    /// `tools/call`.
    CallTool,
    /// `resources/read`.
    ReadResource,
    /// `prompts/get`.
    GetPrompt,
    /// `completion/complete`.
    Complete,
    /// `resources/list`.
    ListResources,
    /// `resources/templates/list`.
    ListResourceTemplates,
    /// `prompts/list`.
    ListPrompts,
}

/// The methods that are answered here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Local {
    /// `initialize`.
    Initialize,
    /// `server/discover`.
    Discover,
    /// `ping`.
    Ping,
    /// `logging/setLevel`.
    SetLogLevel,
    /// `subscriptions/listen`.
    Listen,
}

/// In which eras a method exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Eras {
    /// In both.
    Both,
    /// Up to 2025-11-25.
    Legacy,
    /// From 2026-07-28.
    Modern,
}

/// Every method that Ambit knows.
pub const METHODS: [Method; 33] = [
    row(
        "tools/call",
        Treatment::Decided(Decided::CallTool),
        Eras::Both,
    ),
    row(
        "resources/read",
        Treatment::Decided(Decided::ReadResource),
        Eras::Both,
    ),
    row(
        "prompts/get",
        Treatment::Decided(Decided::GetPrompt),
        Eras::Both,
    ),
    row(
        "completion/complete",
        Treatment::Decided(Decided::Complete),
        Eras::Both,
    ),
    row(
        "resources/list",
        Treatment::Decided(Decided::ListResources),
        Eras::Both,
    ),
    row(
        "resources/templates/list",
        Treatment::Decided(Decided::ListResourceTemplates),
        Eras::Both,
    ),
    row(
        "prompts/list",
        Treatment::Decided(Decided::ListPrompts),
        Eras::Both,
    ),
    row("tools/list", Treatment::Listed, Eras::Both),
    row(
        "initialize",
        Treatment::Local(Local::Initialize),
        Eras::Legacy,
    ),
    row(
        "server/discover",
        Treatment::Local(Local::Discover),
        Eras::Modern,
    ),
    row("ping", Treatment::Local(Local::Ping), Eras::Legacy),
    row(
        "logging/setLevel",
        Treatment::Local(Local::SetLogLevel),
        Eras::Legacy,
    ),
    row(
        "subscriptions/listen",
        Treatment::Local(Local::Listen),
        Eras::Modern,
    ),
    row(
        "notifications/initialized",
        Treatment::Ignored,
        Eras::Legacy,
    ),
    row("notifications/cancelled", Treatment::Ignored, Eras::Both),
    row("notifications/progress", Treatment::Ignored, Eras::Legacy),
    row(
        "notifications/roots/list_changed",
        Treatment::Ignored,
        Eras::Legacy,
    ),
    row("resources/subscribe", Treatment::Refused, Eras::Legacy),
    row("resources/unsubscribe", Treatment::Refused, Eras::Legacy),
    row("tasks/get", Treatment::Refused, Eras::Both),
    row("tasks/update", Treatment::Refused, Eras::Modern),
    row("tasks/result", Treatment::Refused, Eras::Legacy),
    row("tasks/list", Treatment::Refused, Eras::Legacy),
    row("tasks/cancel", Treatment::Refused, Eras::Both),
    // What only a server may ask of a client. An agent that asks it is confused or lying.
    row("sampling/createMessage", Treatment::Refused, Eras::Both),
    row("elicitation/create", Treatment::Refused, Eras::Both),
    row("roots/list", Treatment::Refused, Eras::Both),
    row("notifications/message", Treatment::Refused, Eras::Both),
    row(
        "notifications/tools/list_changed",
        Treatment::Refused,
        Eras::Both,
    ),
    row(
        "notifications/resources/list_changed",
        Treatment::Refused,
        Eras::Both,
    ),
    row(
        "notifications/resources/updated",
        Treatment::Refused,
        Eras::Both,
    ),
    row(
        "notifications/prompts/list_changed",
        Treatment::Refused,
        Eras::Both,
    ),
    row(
        "notifications/elicitation/complete",
        Treatment::Refused,
        Eras::Both,
    ),
];

/// Returns what becomes of the method `name` in `era`; none for methods that the era does not know.
pub fn find(name: &str, era: Era) -> Option<&'static Method> {
    METHODS
        .iter()
        .find(|it| it.name == name && it.eras.include(era))
}

/// Returns the name under which a refused method is recorded: known names as they are, others as one word,
/// because an agent chooses what stands there.
pub fn recorded_name(name: &str) -> &'static str {
    METHODS
        .iter()
        .find(|it| it.name == name)
        .map_or("unknown_method", |it| it.name)
}

impl Eras {
    /// Says whether `era` is among these.
    pub fn include(self, era: Era) -> bool {
        match self {
            Self::Both => true,
            Self::Legacy => era == Era::Legacy,
            Self::Modern => era == Era::Modern,
        }
    }
}

const fn row(name: &'static str, treatment: Treatment, eras: Eras) -> Method {
    Method {
        name,
        treatment,
        eras,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_stands_once_and_unknown_ones_are_not_found() {
        let names: std::collections::BTreeSet<_> = METHODS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), METHODS.len());
        for method in METHODS {
            assert!(
                find(method.name, Era::Legacy).is_some()
                    || find(method.name, Era::Modern).is_some()
            );
        }
        assert!(find("tools/Call", Era::Legacy).is_none());
        assert!(find("initialize", Era::Modern).is_none());
        assert!(find("server/discover", Era::Legacy).is_none());
        assert_eq!(recorded_name("rm -rf"), "unknown_method");
    }
}

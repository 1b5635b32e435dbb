//! What a decision on a person's act depends upon, gathered once and kept in the record.

use ambit_core::{
    AgentName, PersonId, TemplateName, Timestamp,
    act::{Governance, Target},
    estate::{Approver, Containment, Owned, Starters, Template},
    json::Value,
};

use super::{PersonRequest, WeakBinding};

/// What a decision on a person's act depends upon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PersonFacts {
    pub(super) at: Timestamp,
    pub(super) person: PersonId,
    pub(super) action: String,
    pub(super) roles: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) words: Vec<(&'static str, String)>,
    pub(super) named: Vec<(Named, String)>,
}

/// What policies are shown by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Named {
    /// The agent of the task that is touched or started, or the agent that is touched itself.
    Agent,
    /// The template of the task that is touched or started.
    Template,
}

const WORDS: [&str; 9] = [
    "person",
    "subject",
    OWNER,
    "starter",
    "approver",
    "containment",
    "agent",
    "named",
    "binding",
];

/// The word that is left out where nobody's own is touched: records from before owners could do anything lack it.
const OWNER: &str = "owner";
const NONE: &str = "none";

impl PersonFacts {
    pub(super) fn gather(request: &PersonRequest<'_>) -> Self {
        let touched = &request.touched;
        let template = touched.template;
        let word = |name: &str| match name {
            "person" => request.standing.as_str(),
            "subject" => match touched.subject {
                None => NONE,
                Some(subject) if subject == request.person => "self",
                Some(_) => "other",
            },
            OWNER => owner(request),
            "starter" => template.map_or(NONE, |it| starter(it, request.alias)),
            "approver" => template.map_or(NONE, |it| match it.approver {
                Approver::Anyone => "anyone",
                Approver::AnotherPerson => "another_person",
            }),
            "containment" => template.map_or(NONE, |it| match it.containment {
                Containment::Required => "required",
                Containment::Optional => "optional",
            }),
            "agent" => agent(request),
            "named" if template.is_some() => "found",
            "named" => "missing",
            "binding" => match request.weak_binding {
                WeakBinding::No => "strong",
                WeakBinding::UncontainedAgentOnSameUser => "uncontained_agent_on_same_user",
            },
            _ => "",
        };
        let known = request.book.estate().people.get(request.alias);
        let groups = known.map(|it| it.groups.iter().map(ToString::to_string).collect());
        Self {
            at: request.at,
            person: request.person,
            action: request.act.action().to_owned(),
            roles: request
                .roles
                .iter()
                .map(|it| it.as_str().to_owned())
                .collect(),
            groups: groups.unwrap_or_default(),
            words: WORDS.map(|name| (name, word(name).to_owned())).to_vec(),
            named: named(request),
        }
    }

    pub(crate) fn action(&self) -> &str {
        &self.action
    }

    pub(crate) fn roles(&self) -> String {
        self.roles.join(", ")
    }

    pub(crate) fn to_value(&self) -> Value {
        let words = self.words.iter();
        let words = words.filter(|(name, word)| *name != OWNER || word != NONE);
        let words = words.map(|(name, word)| (*name, word.as_str().into()));
        let mut members = vec![
            ("kind", "person".into()),
            ("at", self.at.as_millis().into()),
            ("person", self.person.to_string().into()),
            ("action", self.action.as_str().into()),
            ("roles", self.roles.iter().map(String::as_str).collect()),
            ("words", Value::object(words)),
        ];
        if !self.groups.is_empty() {
            let groups = self.groups.iter().map(String::as_str).collect();
            members.push((GROUPS, groups));
        }
        for (it, name) in &self.named {
            members.push((it.as_str(), name.as_str().into()));
        }
        Value::object(members)
    }

    /// Reads the recorded form; none when it is not exactly that.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let text = |it: &Value| it.as_str().map(str::to_owned);
        let texts = |it: &Value| it.as_array()?.iter().map(text).collect::<Option<Vec<_>>>();
        let words = value.get("words")?;
        let word = |name| match words.get(name) {
            None if name == OWNER => Some(NONE.to_owned()),
            found => text(found?),
        };
        let at = u64::try_from(value.get("at")?.as_integer()?).ok()?;
        let named = Named::ALL
            .into_iter()
            .filter_map(|it| Some((it, text(value.get(it.as_str())?)?)));
        let facts = Self {
            at: Timestamp::from_millis(at),
            person: value.get("person")?.as_str()?.parse().ok()?,
            action: text(value.get("action")?)?,
            roles: texts(value.get("roles")?)?,
            groups: value.get(GROUPS).map_or(Some(Vec::new()), texts)?,
            words: WORDS
                .into_iter()
                .map(|name| Some((name, word(name)?)))
                .collect::<Option<_>>()?,
            named: named.collect(),
        };
        (facts.to_value() == *value).then_some(facts)
    }
}

const GROUPS: &str = "groups";

impl Named {
    const ALL: [Self; 2] = [Self::Agent, Self::Template];

    /// Returns the name of the fact.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "of_agent",
            Self::Template => "of_template",
        }
    }
}

fn starter(template: &Template, alias: &str) -> &'static str {
    match &template.starters {
        Starters::AnyStarter => "listed",
        Starters::Only(aliases) if aliases.contains(alias) => "listed",
        Starters::Only(_) => "not_listed",
    }
}

fn agent(request: &PersonRequest<'_>) -> &'static str {
    let Governance::StartTask { template, agent } = &request.act else {
        return NONE;
    };
    let listed = request
        .book
        .estate()
        .agents
        .get(agent)
        .is_some_and(|it| it.templates.contains(template));
    if listed { "may" } else { "may_not" }
}

/// Returns the agent and the template that the act is about, of those that it is about.
fn about<'a>(request: &'a PersonRequest<'_>) -> (Option<&'a AgentName>, Option<&'a TemplateName>) {
    match &request.act {
        Governance::StartTask { template, agent } => (Some(agent), Some(template)),
        Governance::Revoke { target } | Governance::Reinstate { target } => match target {
            Target::Agent(name) => (Some(name), None),
            Target::Task(_) | Target::Instance(_) => request.touched.of.unzip(),
            Target::Person(_) | Target::Server(_) => (None, None),
        },
        Governance::EndTask { .. }
        | Governance::DecideApproval { .. }
        | Governance::OpenSealed { .. }
        | Governance::SettleAct { .. } => request.touched.of.unzip(),
        Governance::ApplyEstate { .. }
        | Governance::SealCredential { .. }
        | Governance::InspectServer { .. }
        | Governance::RotateKeys { .. }
        | Governance::OpenLogin
        | Governance::EndLogin { .. }
        | Governance::OfferEnrolment { .. }
        | Governance::RemovePasskey { .. }
        | Governance::Inspect => (None, None),
    }
}

fn named(request: &PersonRequest<'_>) -> Vec<(Named, String)> {
    let (agent, template) = about(request);
    let agent = agent.map(|it| (Named::Agent, it.to_string()));
    let template = template.map(|it| (Named::Template, it.to_string()));
    agent.into_iter().chain(template).collect()
}

/// Says whether the person owns what the act is about, by the estate in force.
fn owner(request: &PersonRequest<'_>) -> &'static str {
    let estate = request.book.estate();
    let (agent, template) = about(request);
    let agent = agent.and_then(|it| estate.agents.get(it));
    let template = template.and_then(|it| estate.templates.get(it));
    let server = match &request.act {
        Governance::InspectServer { server } => estate.servers.get(server),
        Governance::Revoke { target } | Governance::Reinstate { target } => match target {
            Target::Server(name) => estate.servers.get(name),
            Target::Task(_) | Target::Instance(_) | Target::Agent(_) | Target::Person(_) => None,
        },
        // Nothing of its own: whoever owns anything looks after it.
        Governance::Inspect | Governance::OpenLogin => {
            return match estate.owned_by(request.alias) {
                Owned::Something => "self",
                Owned::Nothing => NONE,
            };
        }
        Governance::StartTask { .. }
        | Governance::EndTask { .. }
        | Governance::DecideApproval { .. }
        | Governance::ApplyEstate { .. }
        | Governance::SealCredential { .. }
        | Governance::RotateKeys { .. }
        | Governance::EndLogin { .. }
        | Governance::OfferEnrolment { .. }
        | Governance::RemovePasskey { .. }
        | Governance::OpenSealed { .. }
        | Governance::SettleAct { .. } => None,
    };
    let owners = [
        agent.map(|it| &it.owner),
        template.map(|it| &it.owner),
        server.map(|it| &it.owner),
    ];
    let mut owners = owners.into_iter().flatten().peekable();
    if owners.peek().is_none() {
        return NONE;
    }
    if owners.any(|it| it == request.alias) {
        "self"
    } else {
        "other"
    }
}

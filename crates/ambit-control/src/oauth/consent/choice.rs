//! What a person may let a client do, and what they typed.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, GatewayRoute, Millis, ServerName, TemplateName,
    estate::{Agent, Containment, Estate, LeastBinding, Parameter, ParameterKind, Template},
    json::{self, Value},
    limits::{PARAMETERS_MAX, TASK_TTL_MAX},
};
use ambit_policy::{ParameterProblem, Standing, SubjectStanding, check_parameter};
use axum::{
    body::Body,
    http::{HeaderMap, header},
};

use super::super::ClientAgents;
use crate::api::read_carried;

/// The shortest task that a person can consent to.
pub(super) const CONSENT_TASK_TTL_MIN: Millis = Millis::from_seconds(60);
/// The most members of the form: every parameter, and what the page itself asks.
pub const CONSENT_FIELDS_MAX: usize = PARAMETERS_MAX + 8;

/// A task that the person may start for the client.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) agent: &'a Agent,
    pub(super) template: &'a Template,
}

/// What is offered to one person.
pub(super) struct Choices<'a> {
    pub(super) all: Vec<Choice<'a>>,
    /// How many more there are that no client from elsewhere can have.
    pub(super) contained: usize,
}

/// What a person typed: each member once, as it came.
#[derive(Clone, Default)]
pub(super) struct Typed(BTreeMap<String, String>);

/// What a person decided, whole and checked.
pub(super) struct Decided {
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) ttl: Millis,
}

/// What is wrong with what was typed, by the member.
pub(super) type Problems = BTreeMap<String, String>;

/// Returns the tasks that the person `alias` may start for a client that comes with nothing of ours, where they would
/// be of use at `route`. Whether one starts is decided when it does.
pub(super) fn choices<'a>(
    estate: &'a Estate,
    alias: &str,
    (agents, route): (&ClientAgents, &GatewayRoute),
) -> Choices<'a> {
    let mut found = Choices {
        all: Vec::new(),
        contained: 0,
    };
    let is_for = |it: &&Agent| match agents {
        ClientAgents::Any => true,
        ClientAgents::Only(names) => names.contains(&it.name),
    };
    for agent in estate.agents.values().filter(is_for) {
        let templates = agent
            .templates
            .iter()
            .filter_map(|it| estate.templates.get(it));
        let of_theirs = templates.filter(|it| {
            let who = (Some(alias), &it.name);
            SubjectStanding::of(Standing::Live, estate, who) == SubjectStanding::Live
        });
        for template in of_theirs.filter(|it| is_of_use(it, route)) {
            if template.containment == Containment::Required
                || template.binding == LeastBinding::Mtls
            {
                found.contained += 1;
            } else {
                found.all.push(Choice { agent, template });
            }
        }
    }
    found
}

impl<'a> Choices<'a> {
    /// Returns the choice of this agent and template.
    pub(super) fn find(&self, agent: &AgentName, template: &TemplateName) -> Option<Choice<'a>> {
        let mut all = self.all.iter();
        all.find(|it| it.agent.name == *agent && it.template.name == *template)
            .copied()
    }

    /// Returns the only choice of this template.
    pub(super) fn only_of(&self, template: &TemplateName) -> Option<Choice<'a>> {
        let mut of = self.all.iter().filter(|it| it.template.name == *template);
        match (of.next(), of.next()) {
            (Some(only), None) => Some(*only),
            _ => None,
        }
    }

    /// Returns the template of this name, when there is a choice of it.
    pub(super) fn template(&self, name: &TemplateName) -> Option<&'a Template> {
        let mut of = self.all.iter().map(|it| it.template);
        of.find(|it| it.name == *name)
    }

    /// Returns the only choice.
    pub(super) fn only(&self) -> Option<Choice<'a>> {
        match self.all.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }
}

fn is_of_use(template: &Template, route: &GatewayRoute) -> bool {
    let names = |server: &ServerName| {
        template.reads.contains(server) || template.tools.keys().any(|(it, _)| it == server)
    };
    match route {
        GatewayRoute::All => true,
        GatewayRoute::One(server) => names(server),
    }
}

/// How long a task may live, and does when the person says nothing else.
pub(super) struct Lives {
    /// Some spans, the one that the client asked for, and the template's own, which is the longest.
    pub(super) all: Vec<Millis>,
    /// What the client asked for, when the template gives that.
    pub(super) asked: Option<Millis>,
    /// What stands there before the person picks another.
    pub(super) usual: Millis,
}

impl Lives {
    /// Returns the spans of such a task for which a client asked for `asked`.
    pub(super) fn of(template: &Template, asked: Option<Millis>) -> Self {
        let longest = template.ttl.min(TASK_TTL_MAX);
        let given = asked.map(|it| it.max(CONSENT_TASK_TTL_MIN).min(longest));
        let steps = [900, 3600, 4 * 3600, 8 * 3600, 24 * 3600, 3 * 24 * 3600];
        let steps = steps.into_iter().map(Millis::from_seconds);
        let steps = steps.filter(|it| *it < longest);
        let all: BTreeSet<Millis> = steps.chain([longest]).chain(given).collect();
        Self {
            all: all.into_iter().collect(),
            asked: asked.filter(|it| given == Some(*it)),
            usual: given.unwrap_or(longest.min(Millis::from_seconds(3600))),
        }
    }
}

impl Typed {
    /// Reads the form that a browser sent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, &'static str> {
        let kind = headers.get(header::CONTENT_TYPE);
        if kind.is_none_or(|it| it.as_bytes() != b"application/x-www-form-urlencoded") {
            return Err("send the form as a browser does");
        }
        let bytes = read_carried(body).await;
        let bytes = bytes.map_err(|_| "the form did not arrive; send it again")?;
        Self::parse(&bytes)
    }

    /// Reads members.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut found = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if found.len() >= CONSENT_FIELDS_MAX {
                return Err("the form has too many fields");
            }
            // Browsers send lines with CR LF.
            let value = value.replace("\r\n", "\n");
            if found.insert(name.into_owned(), value).is_some() {
                return Err("a field stands twice; begin again");
            }
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Fills a field.
    pub(super) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// Returns what was typed for a parameter.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.get(&field(name))
    }

    /// Fills a form with what the client has in mind, where a person would see all of it.
    pub(super) fn suggested(template: &Template, wanted: &BTreeMap<String, Value>) -> Self {
        let mut found = BTreeMap::new();
        for (name, parameter) in &template.parameters {
            let value = wanted.get(name).or(parameter.default.as_ref());
            if let Some(text) = value.and_then(plain) {
                found.insert(field(name), text);
            }
        }
        Self(found)
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// What is wrong, for each field.
    pub(super) fn decide(&self, template: &Template, lives: &Lives) -> Result<Decided, Problems> {
        let (mut parameters, mut problems) = (BTreeMap::new(), Problems::new());
        for (name, parameter) in &template.parameters {
            let given = given(self.parameter(name), &parameter.kind);
            match check_parameter(name, parameter, given.as_ref()) {
                Ok(value) => {
                    parameters.insert(name.clone(), value.clone());
                }
                Err(problem) => {
                    problems.insert(field(name), words(&problem, parameter));
                }
            }
        }
        let ttl = self.get(EXPIRY).parse::<Millis>();
        let ttl = ttl.ok().filter(|it| lives.all.contains(it));
        let ttl = ttl.filter(|it| *it >= CONSENT_TASK_TTL_MIN || *it == template.ttl);
        match ttl {
            Some(ttl) if problems.is_empty() => Ok(Decided { parameters, ttl }),
            Some(_) => Err(problems),
            None => {
                problems.insert(EXPIRY.to_owned(), "Pick one of these.".to_owned());
                Err(problems)
            }
        }
    }
}

/// The name of a parameter's member, so that none is taken for one of the page's own.
pub(super) fn field(parameter: &str) -> String {
    format!("p.{parameter}")
}

/// Returns the value that a text stands for; nothing when nothing was typed. What is no number stays a text, which does
/// not fit.
fn given(text: &str, kind: &ParameterKind) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    Some(match kind {
        ParameterKind::Integer { .. } => match json::parse(text.trim().as_bytes()) {
            Ok(number @ Value::Integer(_)) => number,
            Ok(_) | Err(_) => Value::from(text),
        },
        ParameterKind::Boolean => match text {
            "true" => Value::from(true),
            "false" => Value::from(false),
            other => Value::from(other),
        },
        ParameterKind::Text { .. } | ParameterKind::Under { .. } => Value::from(text),
    })
}

/// Returns a value as a person would type it. A text with something hidden in it is left out: nobody would see what they
/// agree to.
fn plain(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        let lines = text.split('\n').map(|it| it.replace('\\', ""));
        let is_plain = lines
            .into_iter()
            .all(|it| crate::visible::visible(&it) == it);
        return is_plain.then(|| text.to_owned());
    }
    let number = value.as_integer().map(|it| it.to_string());
    number.or_else(|| value.as_bool().map(|it| it.to_string()))
}

fn words(problem: &ParameterProblem, parameter: &Parameter) -> String {
    match problem {
        ParameterProblem::Missing { .. } => "Give this; it has no usual value.".to_owned(),
        ParameterProblem::Unfit { wanted, .. } => format!("This does not fit; give {wanted}."),
        ParameterProblem::Unknown { .. } => parameter.description.clone(),
    }
}

/// The member for how long the task lives.
pub(super) const EXPIRY: &str = "expiry";
/// The member for which version of the estate the page showed.
pub(super) const SHOWN: &str = "shown";

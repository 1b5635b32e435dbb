//! The task that a client has in mind, as one `ambit_task` of its authorization details (RFC 9396).
//!
//! A client writes it short: a template, and what it knows beside that. Or it sends back what a token of such a task
//! carries, as this server said it. What is no bound of any task is refused at once; what is another one than the template
//! in force has, before the person is asked: who is not signed in learns no bounds of templates.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, Millis, TemplateName,
    json::{self, Value},
    limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX, PART_BYTES_MAX},
};
use ambit_policy::{WantedBounds, WantedProblem};

use super::OAuthError;

/// A task that a client has in mind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// From which template.
    pub(super) template: TemplateName,
    /// For which agent, when it says.
    pub(super) agent: Option<AgentName>,
    /// The parameters, unchecked.
    pub(super) parameters: BTreeMap<String, Value>,
    /// How long it shall live, when it says; the template may give less.
    pub(super) ttl: Option<Millis>,
    /// The bounds that it names; the template must have the same.
    pub(super) bounds: WantedBounds,
}

impl Wanted {
    /// Returns how many bytes of text it holds, about.
    pub(super) fn weight(&self) -> usize {
        let all = self.parameters.iter();
        let all = all.map(|(name, value)| name.len() + value.as_str().map_or(8, str::len));
        all.sum::<usize>() + self.bounds.weight()
    }
}

/// Reads the one task that a client has in mind.
pub(super) fn wanted(text: &str) -> Result<Wanted, OAuthError> {
    let wrong = |what: String| OAuthError::new("invalid_authorization_details", what);
    let value = json::parse_bounded(text.as_bytes(), PART_BYTES_MAX);
    let value = value.map_err(|error| wrong(format!("authorization_details: {error}")))?;
    let details = value.as_array().unwrap_or_default();
    let at_server = |it: &&Value| it.get("server").is_some();
    let (servers, tasks): (Vec<&Value>, Vec<&Value>) = details.iter().partition(at_server);
    let besides = ["agent", "parameters"];
    let mut found = Vec::new();
    for task in tasks {
        let members = task.as_object().ok_or(WantedProblem::NotDetail);
        let members = members.map_err(|it| refused(&it))?;
        let bounds = WantedBounds::read((members, besides.as_slice()), &servers);
        found.push((members, bounds.map_err(|it| refused(&it))?));
    }
    match (found.pop(), found.pop()) {
        (Some((members, bounds)), None) => read(members, bounds).map_err(wrong),
        (Some(_) | None, _) => Err(wrong("name one task".to_owned())),
    }
}

/// Says why bounds that a client names are refused (RFC 9396 section 5).
pub(super) fn refused(problem: &WantedProblem) -> OAuthError {
    OAuthError::new("invalid_authorization_details", problem.to_string())
}

fn read(members: &BTreeMap<String, Value>, bounds: WantedBounds) -> Result<Wanted, String> {
    let word = |name: &str| members.get(name).and_then(Value::as_str);
    let template = word("template").and_then(|it| it.parse().ok());
    let template = template.ok_or("`template` names a template")?;
    let agent = match members.get("agent") {
        None => None,
        Some(_) => {
            let agent = word("agent").and_then(|it| it.parse().ok());
            Some(agent.ok_or("`agent` names an agent")?)
        }
    };
    let parameters = match members.get("parameters") {
        None => BTreeMap::new(),
        Some(Value::Object(parameters)) => scalars(parameters)?,
        Some(_) => return Err("`parameters` is an object".to_owned()),
    };
    let ttl = match members.get("ttl_seconds") {
        None => None,
        Some(value) => {
            let seconds = value.as_integer().and_then(|it| u32::try_from(it).ok());
            let seconds = seconds.filter(|it| *it > 0);
            let seconds = seconds.ok_or("`ttl_seconds` is a whole number of seconds")?;
            Some(Millis::from_seconds(seconds.into()))
        }
    };
    Ok(Wanted {
        template,
        agent,
        parameters,
        ttl,
        bounds,
    })
}

/// Returns parameters as a template's can be: few, named, and each one value.
fn scalars(parameters: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, String> {
    if parameters.len() > PARAMETERS_MAX {
        return Err(format!("a task has at most {PARAMETERS_MAX} parameters"));
    }
    let fits = |it: &Value| match it {
        Value::Array(_) | Value::Object(_) => false,
        Value::String(text) => text.len() <= PARAMETER_BYTES_MAX,
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) => true,
    };
    if parameters.values().all(fits) {
        return Ok(parameters.clone());
    }
    Err(format!(
        "a parameter is one value, and as a text at most {PARAMETER_BYTES_MAX} bytes long"
    ))
}

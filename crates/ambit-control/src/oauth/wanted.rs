//! The task that a client has in mind, as one `ambit_task` of its authorization details (RFC 9396).
//!
//! A client writes it short: a template, and what it knows beside that. Or it sends back what a token of such a task
//! carries, as this server said it: then what bounds the task is read over, for the template in force bounds it, and the
//! person sees by what.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, Millis, TemplateName,
    json::{self, Value},
    limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX, PART_BYTES_MAX},
};
use ambit_policy::{AUTHORIZATION_DETAIL_TYPE, BOUNDS_OF_SERVER, BOUNDS_OF_TASK};

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
}

impl Wanted {
    /// Returns how many bytes of text it holds, about.
    pub(super) fn weight(&self) -> usize {
        let all = self.parameters.iter();
        let all = all.map(|(name, value)| name.len() + value.as_str().map_or(8, str::len));
        all.sum()
    }
}

/// Reads the one task that a client has in mind.
pub(super) fn wanted(text: &str) -> Result<Wanted, OAuthError> {
    let wrong = |what: String| OAuthError::new("invalid_authorization_details", what);
    let value = json::parse_bounded(text.as_bytes(), PART_BYTES_MAX);
    let value = value.map_err(|error| wrong(format!("authorization_details: {error}")))?;
    let details = value.as_array().unwrap_or_default();
    let mut tasks = Vec::new();
    for detail in details {
        let members = members(detail).map_err(wrong)?;
        if !members.contains_key("server") {
            tasks.push(members);
        }
    }
    let [members] = tasks.as_slice() else {
        return Err(wrong("name one task".to_owned()));
    };
    read(members).map_err(wrong)
}

/// Returns the members of one detail, each of them known.
fn members(detail: &Value) -> Result<&BTreeMap<String, Value>, String> {
    let members = detail.as_object().ok_or("a detail is an object")?;
    let of_server = members.contains_key("server");
    let is_known = |name: &str| match of_server {
        true => BOUNDS_OF_SERVER.contains(&name),
        false => BOUNDS_OF_TASK.contains(&name) || ["agent", "parameters"].contains(&name),
    };
    if let Some(name) = members.keys().find(|it| !is_known(it)) {
        let name = crate::visible::visible(name);
        return Err(format!("a wanted task has no member `{name}`"));
    }
    let kind = members.get("type").and_then(Value::as_str);
    if kind != Some(AUTHORIZATION_DETAIL_TYPE) {
        return Err(format!("the type must be {AUTHORIZATION_DETAIL_TYPE}"));
    }
    Ok(members)
}

fn read(members: &BTreeMap<String, Value>) -> Result<Wanted, String> {
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

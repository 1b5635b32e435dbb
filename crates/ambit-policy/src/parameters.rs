//! Parameters: the owner's words, checked against the template when a task starts.

use std::collections::BTreeMap;

use ambit_core::{
    estate::{Parameter, ParameterKind, Template},
    json::Value,
    limits::PARAMETER_BYTES_MAX,
};

use crate::constraints::{is_https_url, path_is_under, url_is_under};

/// The parameters do not fit the template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParameterProblem {
    /// The template has no such parameter.
    #[error("template `{template}` has no parameter `{name}`; it has {known}")]
    Unknown {
        /// The template.
        template: String,
        /// The name that was given.
        name: String,
        /// The names that the template has.
        known: String,
    },
    /// A parameter without a default was not given.
    #[error("parameter `{name}` is missing; give it: {description}")]
    Missing {
        /// The parameter.
        name: String,
        /// What it is for.
        description: String,
    },
    /// A value does not fit.
    #[error("parameter `{name}` does not fit; give {wanted}{hint}")]
    Unfit {
        /// The parameter.
        name: String,
        /// What would fit, in words.
        wanted: String,
        /// What to write on a command line, when a text was read as something else; or nothing.
        hint: String,
    },
}

/// Checks `given` against the template's parameters and fills in defaults.
///
/// # Errors
///
/// An unknown name, a missing value, or a value (given or default) that does not fit its kind.
pub fn check_parameters(
    template: &Template,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, ParameterProblem> {
    if let Some(name) = given
        .keys()
        .find(|it| !template.parameters.contains_key(*it))
    {
        let known: Vec<&str> = template.parameters.keys().map(String::as_str).collect();
        return Err(ParameterProblem::Unknown {
            template: template.name.to_string(),
            name: name.chars().take(64).collect(),
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
        });
    }
    let mut checked = BTreeMap::new();
    for (name, parameter) in &template.parameters {
        let value = check_parameter(name, parameter, given.get(name))?;
        checked.insert(name.clone(), value.clone());
    }
    Ok(checked)
}

/// Checks what is given for one parameter, and returns its default when nothing is.
///
/// # Errors
///
/// A missing value, or one (given or default) that does not fit its kind.
pub fn check_parameter<'a>(
    name: &str,
    parameter: &'a Parameter,
    given: Option<&'a Value>,
) -> Result<&'a Value, ParameterProblem> {
    let value = given.or(parameter.default.as_ref());
    let value = value.ok_or_else(|| ParameterProblem::Missing {
        name: name.to_owned(),
        description: parameter.description.clone(),
    })?;
    if !fits(value, &parameter.kind) {
        return Err(ParameterProblem::Unfit {
            name: name.to_owned(),
            wanted: wanted(&parameter.kind),
            hint: as_text(name, value, &parameter.kind),
        });
    }
    Ok(value)
}

fn fits(value: &Value, kind: &ParameterKind) -> bool {
    let text = value.as_str().filter(|it| it.len() <= PARAMETER_BYTES_MAX);
    match kind {
        ParameterKind::Text { bytes_max, one_of } => text.is_some_and(|it| {
            it.len() <= *bytes_max && (one_of.is_empty() || one_of.iter().any(|own| own == it))
        }),
        ParameterKind::Integer { min, max } => value
            .as_integer()
            .is_some_and(|it| (*min..=*max).contains(&it)),
        ParameterKind::Boolean => value.as_bool().is_some(),
        ParameterKind::Under { prefix } if prefix.starts_with('/') => {
            text.is_some_and(|it| path_is_under(it, prefix))
        }
        ParameterKind::Under { prefix } => {
            text.is_some_and(|it| is_https_url(it) && url_is_under(it, prefix))
        }
    }
}

/// Says how to give as a text what was read as something else, when a text would fit.
fn as_text(name: &str, value: &Value, kind: &ParameterKind) -> String {
    let is_text = value.as_str().is_some();
    let text = value.to_canonical();
    if is_text || text.len() > SHOWN_BYTES_MAX || !fits(&Value::from(text.as_str()), kind) {
        return String::new();
    }
    let read = match value {
        Value::Integer(_) | Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
        Value::String(_) | Value::Array(_) | Value::Object(_) => "JSON",
    };
    let quoted = Value::from(text.as_str()).to_canonical();
    format!("; {text} is read as {read}, so write it in quotes: --param '{name}={quoted}'")
}

/// How long a value may be to be shown again.
const SHOWN_BYTES_MAX: usize = 64;

fn wanted(kind: &ParameterKind) -> String {
    match kind {
        ParameterKind::Text { bytes_max, one_of } if one_of.is_empty() => {
            format!(
                "a text of at most {} bytes",
                bytes_max.min(&PARAMETER_BYTES_MAX)
            )
        }
        ParameterKind::Text { one_of, .. } => format!("one of {}", one_of.join(", ")),
        ParameterKind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        ParameterKind::Boolean => "true or false".to_owned(),
        ParameterKind::Under { prefix } if prefix.starts_with('/') => {
            format!("an absolute path under {prefix}")
        }
        ParameterKind::Under { prefix } => format!("an https URL under {prefix}"),
    }
}

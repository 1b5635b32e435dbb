//! Constraints: what arguments must keep, after real parsing.
//!
//! A path or URL is taken apart as its grammar says and compared part by part. Whatever two readers could
//! take differently (dot segments, doubled slashes, backslashes, control and invisible characters,
//! encoded separators, user names in URLs) is refused, not repaired. What a path means to the server that
//! opens it (symbolic links, mounts) is beyond this check.

mod location;

use std::collections::BTreeMap;

use ambit_core::{
    estate::{ArgumentPath, Constraint, Prefix},
    json::Value,
};

pub(crate) use self::location::is_https_url;
pub use self::location::{path_is_under, url_is_under};
use crate::facts::Broken;

/// The most broken constraints that one decision names: they must fit into one leaf of the log.
pub(crate) const BROKEN_MAX: usize = 16;
/// The longest text of a template or schema that one decision quotes, in characters.
pub(crate) const QUOTE_MAX: usize = 200;

/// Returns `text`, cut to [`QUOTE_MAX`] characters.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= QUOTE_MAX {
        return text.to_owned();
    }
    let kept = text.chars().take(QUOTE_MAX - 1);
    kept.chain(['\u{2026}']).collect()
}

/// Returns the first [`BROKEN_MAX`] constraints that `arguments` break, in the order of their paths.
pub(crate) fn broken_bounds(
    constraints: &BTreeMap<ArgumentPath, Constraint>,
    arguments: &Value,
    parameters: &BTreeMap<String, Value>,
) -> Vec<Broken> {
    constraints
        .iter()
        .filter(|(path, constraint)| !keeps(arguments, &path.0, constraint, parameters))
        .take(BROKEN_MAX)
        .map(|(path, constraint)| Broken {
            path: shortened(&path.to_string()),
            clause: shortened(&clause(constraint)),
        })
        .collect()
}

/// Returns the constraint in words. Values of parameters are not in it: they are the owner's words.
pub(crate) fn clause(constraint: &Constraint) -> String {
    let list = |values: &[Value]| {
        let texts = values.iter().map(Value::to_canonical);
        texts.collect::<Vec<_>>().join(", ")
    };
    match constraint {
        Constraint::EqualsParameter(name) => format!("equal to parameter `{name}`"),
        Constraint::OneOf(values) => format!("one of {}", list(values)),
        Constraint::Between { min, max } => match (min, max) {
            (Some(min), Some(max)) => format!("between {min} and {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => "a number".to_owned(),
        },
        Constraint::PathUnder(prefix) => format!("a path under {}", prefix_words(prefix)),
        Constraint::UrlUnder(prefix) => format!("a URL under {}", prefix_words(prefix)),
        Constraint::BytesMax(max) => format!("a text of at most {max} bytes"),
        Constraint::Absent => "absent".to_owned(),
    }
}

fn prefix_words(prefix: &Prefix) -> String {
    match prefix {
        Prefix::Literal(text) => format!("`{text}`"),
        Prefix::Parameter(name) => format!("parameter `{name}`"),
    }
}

fn keeps(
    value: &Value,
    path: &[String],
    constraint: &Constraint,
    parameters: &BTreeMap<String, Value>,
) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return keeps_here(value, constraint, parameters);
    };
    if step == "[]" {
        return match value {
            Value::Array(items) => items
                .iter()
                .all(|it| keeps(it, rest, constraint, parameters)),
            // Not a list: nothing that the path could mean is known to be within bounds.
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => false,
        };
    }
    match (value.get(step), value) {
        (Some(member), _) => keeps(member, rest, constraint, parameters),
        (None, Value::Object(_)) => *constraint == Constraint::Absent,
        (None, _) => false,
    }
}

fn keeps_here(
    value: &Value,
    constraint: &Constraint,
    parameters: &BTreeMap<String, Value>,
) -> bool {
    match constraint {
        Constraint::EqualsParameter(name) => parameters.get(name) == Some(value),
        Constraint::OneOf(values) => values.contains(value),
        Constraint::Between { min, max } => is_between(value, *min, *max),
        Constraint::PathUnder(prefix) => is_under(value, prefix, parameters, path_is_under),
        Constraint::UrlUnder(prefix) => is_under(value, prefix, parameters, url_is_under),
        Constraint::BytesMax(max) => value.as_str().is_some_and(|it| it.len() <= *max),
        Constraint::Absent => false,
    }
}

/// Says whether everything that keeps `narrower` keeps `wider`, as far as that can be shown. `narrower` names no
/// parameter; those that `wider` names have the values of `parameters`.
pub(crate) fn is_within(
    narrower: &Constraint,
    wider: &Constraint,
    parameters: &BTreeMap<String, Value>,
) -> bool {
    match (narrower, wider) {
        (Constraint::OneOf(values), _) => values.iter().all(|it| keeps_here(it, wider, parameters)),
        (
            Constraint::Between { min, max },
            Constraint::Between {
                min: least,
                max: most,
            },
        ) => {
            let above = least.is_none_or(|least| min.is_some_and(|it| it >= least));
            let below = most.is_none_or(|most| max.is_some_and(|it| it <= most));
            above && below
        }
        (Constraint::PathUnder(Prefix::Literal(narrow)), Constraint::PathUnder(_))
        | (Constraint::UrlUnder(Prefix::Literal(narrow)), Constraint::UrlUnder(_)) => {
            keeps_here(&Value::from(narrow.as_str()), wider, parameters)
        }
        (Constraint::BytesMax(less), Constraint::BytesMax(more)) => less <= more,
        (Constraint::Absent, Constraint::Absent) => true,
        (
            Constraint::EqualsParameter(_)
            | Constraint::Between { .. }
            | Constraint::PathUnder(_)
            | Constraint::UrlUnder(_)
            | Constraint::BytesMax(_)
            | Constraint::Absent,
            _,
        ) => false,
    }
}

fn is_between(value: &Value, min: Option<f64>, max: Option<f64>) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        reason = "integers of a JSON value lie within 2^53, where f64 is exact"
    )]
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            return false;
        }
    };
    // Written so that a bound that is not a number is never kept.
    min.is_none_or(|it| number >= it) && max.is_none_or(|it| number <= it)
}

fn is_under(
    value: &Value,
    prefix: &Prefix,
    parameters: &BTreeMap<String, Value>,
    rule: fn(&str, &str) -> bool,
) -> bool {
    let prefix = match prefix {
        Prefix::Literal(text) => Some(text.as_str()),
        Prefix::Parameter(name) => parameters.get(name).and_then(Value::as_str),
    };
    match (value.as_str(), prefix) {
        (Some(text), Some(prefix)) => rule(text, prefix),
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests;

//! Constraints in words, and which of two leaves more room.

use ambit_core::estate::{Constraint, Prefix};

use super::Direction;

/// Says what an argument must keep, as the end of a sentence that begins with its path.
pub(super) fn describe(constraint: &Constraint) -> String {
    match constraint {
        Constraint::EqualsParameter(name) => format!("equals parameter {name}"),
        Constraint::OneOf(values) => {
            let values: Vec<String> = values.iter().map(|it| it.to_canonical()).collect();
            format!("is one of {}", values.join(", "))
        }
        Constraint::Between { min, max } => match (min, max) {
            (Some(min), Some(max)) => format!("is from {min} to {max}"),
            (Some(min), None) => format!("is at least {min}"),
            (None, Some(max)) => format!("is at most {max}"),
            (None, None) => "is a number".to_owned(),
        },
        Constraint::PathUnder(prefix) => format!("is a path under {}", prefix_words(prefix)),
        Constraint::UrlUnder(prefix) => format!("is a URL under {}", prefix_words(prefix)),
        Constraint::BytesMax(bytes) => format!("is a text of at most {bytes} bytes"),
        Constraint::Absent => "is absent".to_owned(),
    }
}

/// Says which way the change from `old` to `new` goes; when that is not plain, [`Direction::Alters`].
pub(super) fn direction(old: &Constraint, new: &Constraint) -> Direction {
    match (implies(new, old), implies(old, new)) {
        (true, _) => Direction::Narrows,
        (false, true) => Direction::Widens,
        (false, false) => Direction::Alters,
    }
}

/// Says whether every argument that keeps `left` surely keeps `right`.
fn implies(left: &Constraint, right: &Constraint) -> bool {
    match (left, right) {
        (left, right) if left == right => true,
        (Constraint::OneOf(left), Constraint::OneOf(right)) => {
            left.iter().all(|it| right.contains(it))
        }
        (
            Constraint::Between { min, max },
            Constraint::Between {
                min: least,
                max: most,
            },
        ) => {
            least.is_none_or(|least| min.is_some_and(|it| it >= least))
                && most.is_none_or(|most| max.is_some_and(|it| it <= most))
        }
        (Constraint::PathUnder(left), Constraint::PathUnder(right))
        | (Constraint::UrlUnder(left), Constraint::UrlUnder(right)) => is_under(left, right),
        (Constraint::BytesMax(left), Constraint::BytesMax(right)) => left <= right,
        _ => false,
    }
}

fn is_under(left: &Prefix, right: &Prefix) -> bool {
    let (Prefix::Literal(left), Prefix::Literal(right)) = (left, right) else {
        return false;
    };
    let right = right.trim_end_matches('/');
    left.strip_prefix(right)
        .is_some_and(|it| it.is_empty() || it.starts_with('/'))
}

fn prefix_words(prefix: &Prefix) -> String {
    match prefix {
        Prefix::Literal(text) => text.clone(),
        Prefix::Parameter(name) => format!("parameter {name}"),
    }
}

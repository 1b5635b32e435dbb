//! `[parameters.NAME]`: the values that the person who starts a task gives.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    estate::{Parameter, ParameterKind},
    json::{INTEGER_MAX, Value},
    limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX},
};

use super::super::document::{Field, Section};

/// The parameters of a template as far as they could be read.
pub(super) struct Parameters {
    /// Every name, of the broken ones too.
    pub(super) names: BTreeSet<String>,
    known: Option<BTreeMap<String, Parameter>>,
}

impl Parameters {
    /// Returns the parameters, when all could be read.
    pub(super) fn into_known(self) -> Option<BTreeMap<String, Parameter>> {
        self.known
    }
}

/// Reads the parameters; no key means none.
pub(super) fn read(field: Option<Field<'_>>) -> Parameters {
    let section = field.and_then(|it| it.section("`parameters`"));
    let fields: Vec<Field<'_>> = section.iter().flat_map(Section::fields).collect();
    let read: Vec<Option<(String, Parameter)>> = fields.iter().map(parameter).collect();
    let mut known = read.into_iter().collect();
    if let Some(field) = field.filter(|_| fields.len() > PARAMETERS_MAX) {
        field.problem(format!(
            "a template has at most {PARAMETERS_MAX} parameters"
        ));
        known = None;
    }
    Parameters {
        names: fields.iter().map(|it| it.key.to_owned()).collect(),
        known: known.filter(|_| field.is_none() || section.is_some()),
    }
}

fn parameter(field: &Field<'_>) -> Option<(String, Parameter)> {
    let is_word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    let fits = (1..=63).contains(&field.key.len()) && field.key.bytes().all(is_word);
    if !fits {
        field.problem(format!(
            "`{}` is no name for a parameter; write 1 to 63 lowercase letters, digits and `_`",
            field.key
        ));
    }
    let mut section = field.section("a parameter")?;
    let description = section.required("description", r#"description = "what it is for""#);
    let description = description.and_then(|it| it.words());
    let kind = section.required("type", r#"type = "text""#);
    let kind = kind.and_then(|it| it.word(&KINDS));
    let kind = kind.and_then(|it| kind_of(it, &mut section));
    let default = section.optional("default");
    // Without a readable type nobody knows which keys belong here.
    let kind = kind?;
    section.finish();
    let default = match default {
        Some(field) => Some(default_of(&field, &kind)?),
        None => None,
    };
    let parameter = Parameter {
        description: description?,
        kind,
        default,
    };
    fits.then(|| (field.key.to_owned(), parameter))
}

fn kind_of(word: KindWord, section: &mut Section<'_>) -> Option<ParameterKind> {
    match word {
        KindWord::Boolean => Some(ParameterKind::Boolean),
        KindWord::Integer => {
            let min = section.required("min", "min = 0");
            let max = section.required("max", "max = 1000");
            let bound = |it: Field<'_>| it.integer(-INTEGER_MAX, INTEGER_MAX);
            let (min, max_value) = (min.and_then(bound)?, max.and_then(bound)?);
            if min > max_value {
                max?.problem("no number fits; write a `max` that is not below `min`");
                return None;
            }
            Some(ParameterKind::Integer {
                min,
                max: max_value,
            })
        }
        KindWord::Under => {
            let prefix = section.required("prefix", r#"prefix = "/srv/reports""#)?;
            let text = prefix.text()?;
            if !text.starts_with('/') && !text.starts_with("https://") {
                prefix.problem("a prefix is an absolute path or begins with `https://`");
                return None;
            }
            Some(ParameterKind::Under {
                prefix: text.to_owned(),
            })
        }
        KindWord::Text => text_kind(section),
    }
}

fn text_kind(section: &mut Section<'_>) -> Option<ParameterKind> {
    let bytes_max = section.optional("bytes_max");
    let one_of = section.optional("one_of");
    let most = i64::try_from(PARAMETER_BYTES_MAX).ok()?;
    let bytes_max = match bytes_max {
        Some(field) => usize::try_from(field.integer(1, most)?).ok()?,
        None => TEXT_BYTES,
    };
    let one_of = match one_of {
        Some(field) => {
            let items = field.items()?;
            let texts: Vec<&str> = items.iter().map(Field::text).collect::<Option<_>>()?;
            if texts.is_empty() || texts.iter().any(|it| it.len() > bytes_max) {
                field.problem("name at least one text, each within `bytes_max`");
                return None;
            }
            texts.into_iter().map(str::to_owned).collect()
        }
        None => Vec::new(),
    };
    Some(ParameterKind::Text { bytes_max, one_of })
}

fn default_of(field: &Field<'_>, kind: &ParameterKind) -> Option<Value> {
    let value = field.json()?;
    let fits = match (kind, &value) {
        (ParameterKind::Boolean, Value::Bool(_)) => true,
        (ParameterKind::Integer { min, max }, Value::Integer(number)) => {
            (min..=max).contains(&number)
        }
        (ParameterKind::Text { bytes_max, one_of }, Value::String(text)) => {
            text.len() <= *bytes_max && (one_of.is_empty() || one_of.contains(text))
        }
        (ParameterKind::Under { prefix }, Value::String(text)) => text.starts_with(prefix),
        _ => false,
    };
    if !fits {
        field.problem("the default does not fit the parameter itself; change one of the two");
    }
    fits.then_some(value)
}

#[derive(Clone, Copy)]
enum KindWord {
    Text,
    Integer,
    Boolean,
    Under,
}

const KINDS: [(&str, KindWord); 4] = [
    ("text", KindWord::Text),
    ("integer", KindWord::Integer),
    ("boolean", KindWord::Boolean),
    ("under", KindWord::Under),
];

/// The longest text of a parameter whose template names no other, in bytes.
const TEXT_BYTES: usize = 1024;

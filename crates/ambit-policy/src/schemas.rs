//! Arguments against the JSON Schema of the tool's pinned definition.

use std::collections::HashMap;

use ambit_core::{ServerName, ToolName, estate::Estate, json::Value, limits::ARGUMENTS_BYTES_MAX};
use jsonschema::{PatternOptions, Validator};

use crate::{PolicyProblem, constraints::shortened};

/// How often a schema's pattern may backtrack before the arguments are refused.
pub(crate) const PATTERN_BACKTRACKS_MAX: usize = 100_000;

/// One validator for each tool of the estate.
#[derive(Debug)]
pub(crate) struct ArgumentSchemas(HashMap<ServerName, HashMap<ToolName, Validator>>);

/// What came of checking arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fit {
    /// They fit.
    Valid,
    /// They break the schema at this place of the schema.
    Invalid(String),
    /// They are longer than [`ARGUMENTS_BYTES_MAX`].
    Oversize,
    /// No schema is known.
    Unknown,
}

impl ArgumentSchemas {
    /// Compiles the `inputSchema` of every tool, without ever reading beyond it.
    pub(crate) fn compile(estate: &Estate, problems: &mut Vec<PolicyProblem>) -> Self {
        let mut all = HashMap::new();
        for server in estate.servers.values() {
            let mut tools = HashMap::new();
            for tool in server.tools.values() {
                match validator(&tool.definition) {
                    Ok(validator) => {
                        tools.insert(tool.name.clone(), validator);
                    }
                    Err(message) => problems.push(PolicyProblem {
                        path: format!("servers/{}.toml", server.name),
                        line: 1,
                        column: 1,
                        message: format!("tool `{}`: {message}", tool.name),
                    }),
                }
            }
            all.insert(server.name.clone(), tools);
        }
        Self(all)
    }

    pub(crate) fn check(&self, server: &ServerName, tool: &ToolName, arguments: &Value) -> Fit {
        if exceeds_maximum(arguments) {
            return Fit::Oversize;
        }
        let Some(validator) = self.0.get(server).and_then(|it| it.get(tool)) else {
            return Fit::Unknown;
        };
        match validator.validate(&to_serde(arguments)) {
            Ok(()) => Fit::Valid,
            Err(broken) => Fit::Invalid(shortened(&broken.schema_path().to_string())),
        }
    }
}

/// Says whether the canonical form is longer than [`ARGUMENTS_BYTES_MAX`].
pub(crate) fn exceeds_maximum(arguments: &Value) -> bool {
    // Escapes make a byte of text at most six bytes of JSON, so most arguments need no encoding here.
    let mut room = ARGUMENTS_BYTES_MAX;
    !surely_fits(arguments, &mut room) && arguments.to_canonical().len() > ARGUMENTS_BYTES_MAX
}

fn surely_fits(value: &Value, room: &mut usize) -> bool {
    let own = match value {
        Value::Null | Value::Bool(_) => 8,
        Value::Integer(_) | Value::Number(_) => 32,
        Value::String(text) => text.len().saturating_mul(6).saturating_add(8),
        Value::Array(_) | Value::Object(_) => 8,
    };
    let Some(left) = room.checked_sub(own) else {
        return false;
    };
    *room = left;
    match value {
        Value::Array(items) => items.iter().all(|it| surely_fits(it, room)),
        Value::Object(members) => members.iter().all(|(name, it)| {
            let name_bytes = name.len().saturating_mul(6).saturating_add(8);
            let left = room.checked_sub(name_bytes);
            *room = left.unwrap_or(0);
            left.is_some() && surely_fits(it, room)
        }),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::String(_) => {
            true
        }
    }
}

fn validator(definition: &Value) -> Result<Validator, String> {
    let schema = definition
        .get("inputSchema")
        .ok_or("the definition has no `inputSchema`; inspect the server and accept it whole")?;
    if schema.as_object().is_none() {
        return Err("`inputSchema` is not an object; inspect the server again".to_owned());
    }
    jsonschema::options()
        .offline()
        .should_validate_formats(false)
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(PATTERN_BACKTRACKS_MAX))
        .build(&to_serde(schema))
        .map_err(|cause| format!("`inputSchema` can't be compiled: {cause}"))
}

fn to_serde(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Integer(number) => (*number).into(),
        Value::Number(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_serde).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, it)| (name.clone(), to_serde(it)))
            .collect(),
    }
}

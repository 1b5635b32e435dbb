//! `[tools.SERVER.TOOL]`: leave to use one tool within bounds.

use std::collections::BTreeMap;

use ambit_core::{
    ServerName, ToolName,
    estate::{ArgumentPath, Bound, Constraint, Prefix, Server, Tool, ToolGrant},
    json::Value,
    limits::ARGUMENTS_BYTES_MAX,
};

use super::{
    super::{
        Known,
        document::{Field, Section},
        problem::suggest,
    },
    CALLS_MAX,
    parameters::Parameters,
};

type Grants = BTreeMap<(ServerName, ToolName), ToolGrant>;

/// Reads the grants; no key means none.
pub(super) fn read(
    field: Option<Field<'_>>,
    parameters: &Parameters,
    known: &Known<'_>,
    servers: &BTreeMap<ServerName, Server>,
) -> Option<Grants> {
    let Some(field) = field else {
        return Some(Grants::new());
    };
    let mut grants = Some(Grants::new());
    for server_at in field.section("`tools`")?.fields() {
        let granted = of_server(&server_at, parameters, known, servers);
        grants = grants.zip(granted).map(|(mut all, granted)| {
            all.extend(granted);
            all
        });
    }
    grants
}

fn of_server(
    field: &Field<'_>,
    parameters: &Parameters,
    known: &Known<'_>,
    servers: &BTreeMap<ServerName, Server>,
) -> Option<Grants> {
    if !known.servers.contains(field.key) {
        let hint = suggest(field.key, known.servers.iter().copied());
        field.problem(format!("there is no server `{}`; {hint}", field.key));
        return None;
    }
    let name: ServerName = field.parsed_key()?;
    let section = field.section("the tools of a server")?;
    // A server that could not be read has its own problems.
    let server = servers.get(&name)?;
    let granted = |it: Field<'_>| {
        let grant = grant(&it, server, parameters)?;
        Some(((name.clone(), it.parsed_key()?), grant))
    };
    let grants: Vec<Option<_>> = section.fields().map(granted).collect();
    grants.into_iter().collect()
}

fn grant(field: &Field<'_>, server: &Server, parameters: &Parameters) -> Option<ToolGrant> {
    let Some(tool) = server.tools.get(field.key) else {
        let hint = suggest(field.key, server.tools.keys().map(ToolName::as_str));
        field.problem(format!(
            "server `{}` has no tool `{}`; {hint}",
            server.name, field.key
        ));
        return None;
    };
    let mut section = field.section("a grant")?;
    let calls_max = section.optional("calls_max");
    let approval = section.optional("approval");
    let arguments = section.optional("arguments");
    section.finish();
    let calls_max = match calls_max {
        Some(field) => field.count(CALLS_MAX).map(Some),
        None => Some(None),
    };
    let approval = approval.map_or(Some(Bound::Free), |it| {
        it.word(&[("free", Bound::Free), ("held", Bound::Held)])
    });
    let arguments = match arguments {
        Some(field) => constraints(&field, tool, parameters),
        None => Some(BTreeMap::new()),
    };
    Some(ToolGrant {
        arguments: arguments?,
        calls_max: calls_max?,
        approval: approval?,
    })
}

fn constraints(
    field: &Field<'_>,
    tool: &Tool,
    parameters: &Parameters,
) -> Option<BTreeMap<ArgumentPath, Constraint>> {
    let section = field.section("`arguments`")?;
    let read = |it: Field<'_>| {
        let path = ArgumentPath::parse(it.key);
        let schema = tool.definition.get("inputSchema")?;
        if let Err(hint) = reach(schema, schema, &path.0) {
            it.problem(format!("the tool has no argument `{}`; {hint}", it.key));
            return None;
        }
        Some((path, constraint(&it, parameters)?))
    };
    let read: Vec<Option<_>> = section.fields().map(read).collect();
    read.into_iter().collect()
}

/// Says whether the schema knows the path. A schema that leaves members open knows every path below.
fn reach(root: &Value, schema: &Value, path: &[String]) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        return Ok(());
    };
    let schema = follow(root, schema);
    if step == "[]" {
        return schema
            .get("items")
            .map_or(Ok(()), |it| reach(root, it, rest));
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    match properties.get(step) {
        Some(property) => reach(root, property, rest),
        None => Err(suggest(step, properties.keys().map(String::as_str))),
    }
}

/// Follows one reference within the same schema.
fn follow<'v>(root: &'v Value, schema: &'v Value) -> &'v Value {
    let pointer = schema.get("$ref").and_then(Value::as_str);
    let Some(steps) = pointer.and_then(|it| it.strip_prefix("#/")) else {
        return schema;
    };
    let target = steps.split('/').try_fold(root, |at, step| at.get(step));
    target.unwrap_or(schema)
}

fn constraint(field: &Field<'_>, parameters: &Parameters) -> Option<Constraint> {
    let mut section = field.section("a constraint")?;
    let equals = section.optional("equals_parameter");
    let one_of = section.optional("one_of");
    let (min, max) = (section.optional("min"), section.optional("max"));
    let path_under = prefix(&mut section, "path_under", "path_under_parameter");
    let url_under = prefix(&mut section, "url_under", "url_under_parameter");
    let bytes_max = section.optional("bytes_max");
    let absent = section.optional("absent");
    section.finish();
    let given = [
        equals,
        one_of,
        min.or(max),
        path_under,
        url_under,
        bytes_max,
        absent,
    ];
    if given.iter().flatten().count() != 1 {
        field.problem(ONE_CONSTRAINT);
        return None;
    }
    if let Some(name) = equals {
        return parameter(&name, parameters).map(Constraint::EqualsParameter);
    }
    if let Some(values) = one_of {
        return values_of(&values).map(Constraint::OneOf);
    }
    if min.is_some() || max.is_some() {
        return between(min, max);
    }
    if let Some(prefix) = path_under {
        return prefix_of(&prefix, parameters, "/").map(Constraint::PathUnder);
    }
    if let Some(prefix) = url_under {
        return prefix_of(&prefix, parameters, "https://").map(Constraint::UrlUnder);
    }
    if let Some(bytes) = bytes_max {
        let most = i64::try_from(ARGUMENTS_BYTES_MAX).ok()?;
        let bytes = usize::try_from(bytes.integer(0, most)?).ok()?;
        return Some(Constraint::BytesMax(bytes));
    }
    let absent = absent?;
    if absent.truth()? {
        return Some(Constraint::Absent);
    }
    absent.problem("leave the argument out of `arguments` when it is free");
    None
}

fn prefix<'a>(
    section: &mut Section<'a>,
    literal: &'static str,
    parameter: &'static str,
) -> Option<Field<'a>> {
    let (literal, parameter) = (section.optional(literal), section.optional(parameter));
    if let (Some(_), Some(parameter)) = (literal, parameter) {
        parameter.problem("a prefix is written here or is a parameter; keep one");
    }
    literal.or(parameter)
}

fn prefix_of(field: &Field<'_>, parameters: &Parameters, begins: &str) -> Option<Prefix> {
    if field.key.ends_with("_parameter") {
        return parameter(field, parameters).map(Prefix::Parameter);
    }
    let text = field.text()?;
    if !text.starts_with(begins) {
        field.problem(format!(
            "`{text}` is no prefix here; it begins with `{begins}`"
        ));
        return None;
    }
    Some(Prefix::Literal(text.to_owned()))
}

fn parameter(field: &Field<'_>, parameters: &Parameters) -> Option<String> {
    let names = parameters.names.iter().map(String::as_str);
    field.one_of("parameter", names).map(str::to_owned)
}

fn values_of(field: &Field<'_>) -> Option<Vec<Value>> {
    let values: Vec<Option<Value>> = field.items()?.iter().map(Field::json).collect();
    let values: Vec<Value> = values.into_iter().collect::<Option<_>>()?;
    if values.is_empty() {
        field.problem("nothing would fit; name at least one value");
        return None;
    }
    Some(values)
}

fn between(min: Option<Field<'_>>, max: Option<Field<'_>>) -> Option<Constraint> {
    let bound = |it: Option<Field<'_>>| match it {
        Some(field) => field.number().map(Some),
        None => Some(None),
    };
    let (least, most) = (bound(min)?, bound(max)?);
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        max?.problem("no number fits; write a `max` that is not below `min`");
        return None;
    }
    Some(Constraint::Between {
        min: least,
        max: most,
    })
}

const ONE_CONSTRAINT: &str = "an argument keeps one constraint: `equals_parameter`, `one_of`, `min` and `max`, `path_under`, `path_under_parameter`, `url_under`, `url_under_parameter`, `bytes_max` or `absent`";

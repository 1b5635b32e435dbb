//! The tools of a server: what the owner reviewed, and what it means.

use std::collections::BTreeMap;

use ambit_core::{
    Digest, ServerName, ToolName,
    estate::{Effect, Mode, Role, Tool},
    json::{self, JsonError, Value},
    limits::TOOLS_PER_SERVER_MAX,
};

use super::super::{
    document::{Field, Section, Source},
    files::{EstateFiles, FILE_BYTES_MAX},
    problem::{Problems, suggest},
};

/// The accepted definitions of one server by the tools' names.
pub(super) type Definitions = BTreeMap<String, Value>;

/// Reads `servers/NAME.tools.json`: `{"tools": […]}`, as MCP `tools/list` returns it.
pub(super) fn definitions(
    server: &ServerName,
    files: &EstateFiles,
    problems: &Problems,
) -> Option<Definitions> {
    let path = format!("servers/{server}.tools.json");
    let Some(text) = files.text(&path) else {
        return Some(Definitions::new());
    };
    let value = match json::parse_bounded(text.as_bytes(), FILE_BYTES_MAX) {
        Ok(value) => value,
        Err(error) => {
            problems.add_at(&path, place_of(&error), error.to_string());
            return None;
        }
    };
    let only_member = value.as_object().filter(|it| it.len() == 1);
    let Some(tools) = only_member.and_then(|it| it.get("tools")?.as_array()) else {
        problems.add_whole(
            &path,
            "write `{\"tools\": […]}` with what `tools/list` returned",
        );
        return None;
    };
    if tools.len() > TOOLS_PER_SERVER_MAX {
        let message = format!("a server has at most {TOOLS_PER_SERVER_MAX} tools; accept fewer");
        problems.add_whole(&path, message);
        return None;
    }
    let mut found = Definitions::new();
    for tool in tools {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or("");
        if let Err(error) = name.parse::<ToolName>() {
            problems.add_whole(&path, error.to_string());
        } else if tool.get("inputSchema").and_then(Value::as_object).is_none() {
            problems.add_whole(&path, format!("tool `{name}` has no `inputSchema` object"));
        } else if found.insert(name.to_owned(), tool.clone()).is_some() {
            problems.add_whole(&path, format!("tool `{name}` is there twice; keep one"));
        }
    }
    Some(found)
}

/// Reads the tools, each against its definition. `definitions` is nothing when they could not be read.
pub(super) fn read(
    section: Option<&Section<'_>>,
    server: &ServerName,
    definitions: Option<&Definitions>,
    source: &Source<'_>,
) -> Option<BTreeMap<ToolName, Tool>> {
    let fields: Vec<Field<'_>> = section.into_iter().flat_map(Section::fields).collect();
    let read = |it| tool(it, server, definitions).map(|it| (it.name.clone(), it));
    let tools: Vec<Option<(ToolName, Tool)>> = fields.iter().map(read).collect();
    for name in definitions.into_iter().flat_map(BTreeMap::keys) {
        if !fields.iter().any(|it| it.key == name) {
            source.problem(
                0,
                format!(
                    "servers/{server}.tools.json defines `{name}`, which nobody accepted here; write `[tools.{}]` or remove its definition",
                    crate::inspect::key(name)
                ),
            );
        }
    }
    tools.into_iter().collect()
}

fn tool(field: &Field<'_>, server: &ServerName, definitions: Option<&Definitions>) -> Option<Tool> {
    let name: Option<ToolName> = field.parsed_key();
    let mut section = field.section("a tool")?;
    let mode = section.required("mode", r#"mode = "read""#);
    let effect = section.required("effect", r#"effect = "none""#);
    let digest = section.required("digest", r#"digest = "sha256:…""#);
    let roles = section.optional("roles");
    let result_labels = super::labels(&mut section, "result_labels");
    let result_trust = super::trust(&mut section, "result_trust");
    section.finish();
    let mode = mode.and_then(|it| it.word(&MODES));
    let effect = effect.and_then(|effect| {
        let value = effect.word(&EFFECTS)?;
        keeps_mode(&effect, mode?, value).then_some(value)
    });
    let definition = definition(field, server, definitions?)?;
    let pin = Tool::pin_of(definition);
    let pinned = digest.is_some_and(|it| is_pinned(&it, server, pin));
    let roles = match roles {
        Some(field) => roles_of(&field, definition),
        None => Some(BTreeMap::new()),
    };
    Some(Tool {
        name: name?,
        mode: mode?,
        effect: effect?,
        roles: roles?,
        result_labels: result_labels?,
        result_trust: result_trust?,
        definition: definition.clone(),
        pin: pinned.then_some(pin)?,
    })
}

fn definition<'d>(
    field: &Field<'_>,
    server: &ServerName,
    definitions: &'d Definitions,
) -> Option<&'d Value> {
    let found = definitions.get(field.key);
    if found.is_none() {
        field.problem(format!(
            "servers/{server}.tools.json does not define `{}`; {}",
            field.key,
            suggest(field.key, definitions.keys().map(String::as_str))
        ));
    }
    found
}

/// A tool that changes something has an effect, and one that only looks has none.
fn keeps_mode(effect_at: &Field<'_>, mode: Mode, effect: Effect) -> bool {
    let fits = (mode == Mode::Read) == (effect == Effect::None);
    if !fits && mode == Mode::Read {
        effect_at.problem(
            "a tool that reads changes nothing; write `effect = \"none\"`, or another mode",
        );
    } else if !fits {
        effect_at.problem(
            "a tool that acts has an effect; write `effect = \"reversible\"` or `\"irreversible\"`",
        );
    }
    fits
}

fn is_pinned(field: &Field<'_>, server: &ServerName, pin: Digest) -> bool {
    let Some(text) = field.text() else {
        return false;
    };
    let fits = text == pin.to_string();
    if !fits {
        field.problem(format!(
            "the definition in servers/{server}.tools.json has another digest; review it, then write `digest = \"{pin}\"` (`ambit server inspect {server}` shows what the server offers now)"
        ));
    }
    fits
}

fn roles_of(field: &Field<'_>, definition: &Value) -> Option<BTreeMap<String, Role>> {
    let section = field.section("`roles`")?;
    let properties = definition
        .get("inputSchema")
        .and_then(|it| it.get("properties")?.as_object());
    let role = |it: Field<'_>| {
        let names = properties.into_iter().flat_map(BTreeMap::keys);
        if !names.clone().any(|name| name == it.key) {
            let hint = suggest(it.key, names.map(String::as_str));
            it.problem(format!("the tool has no argument `{}`; {hint}", it.key));
            return None;
        }
        Some((it.key.to_owned(), it.word(&ROLES)?))
    };
    let roles: Vec<Option<(String, Role)>> = section.fields().map(role).collect();
    roles.into_iter().collect()
}

fn place_of(error: &JsonError) -> (u32, u32) {
    let JsonError::Refused(error) = error else {
        return (1, 1);
    };
    let clamp = |it: usize| u32::try_from(it.max(1)).unwrap_or(u32::MAX);
    (clamp(error.line()), clamp(error.column()))
}

const MODES: [(&str, Mode); 4] = [
    (Mode::Read.as_str(), Mode::Read),
    (Mode::Write.as_str(), Mode::Write),
    (Mode::Send.as_str(), Mode::Send),
    (Mode::Execute.as_str(), Mode::Execute),
];

const EFFECTS: [(&str, Effect); 3] = [
    (Effect::None.as_str(), Effect::None),
    (Effect::Reversible.as_str(), Effect::Reversible),
    (Effect::Irreversible.as_str(), Effect::Irreversible),
];

const ROLES: [(&str, Role); 6] = [
    (Role::Destination.as_str(), Role::Destination),
    (Role::Selector.as_str(), Role::Selector),
    (Role::Amount.as_str(), Role::Amount),
    (Role::Secret.as_str(), Role::Secret),
    (Role::Content.as_str(), Role::Content),
    (Role::Command.as_str(), Role::Command),
];

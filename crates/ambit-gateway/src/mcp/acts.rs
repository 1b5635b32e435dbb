//! Reading acts out of requests: every member is known, or the request is refused.

use std::collections::BTreeMap;

use ambit_core::{
    Reason, ServerName, ToolName,
    act::{Act, Listing},
    json::Value,
    limits::ARGUMENTS_BYTES_MAX,
};

use super::{bridge, methods::Decided};
use crate::limits::ITEM_NAME_BYTES_MAX;

/// Through which door a request came.
pub(crate) use ambit_core::GatewayRoute as Door;

/// What a request wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Wanted {
    /// One act.
    Act(Act),
    /// This listing of each of the task's servers.
    ListOfAll(Listing),
}

/// Reads what `method` with `params` wants done; they were read from a body of `body_bytes` bytes.
///
/// # Errors
/// The reason that is recorded: a member is missing, unknown, of the wrong kind or too long, or names no server.
pub(crate) fn read(
    method: Decided,
    door: &Door,
    mut params: BTreeMap<String, Value>,
    body_bytes: usize,
) -> Result<Wanted, Reason> {
    params.remove("_meta");
    let wanted = match method {
        Decided::CallTool => {
            let name = text(&mut params, "name")?;
            let (server, tool) = named(door, &name, bridge::split, Reason::ToolUnknown)?;
            let tool: ToolName = tool.parse().map_err(|_| Reason::ToolUnknown)?;
            let arguments = arguments(&mut params, body_bytes)?;
            Wanted::Act(Act::CallTool {
                server,
                tool,
                arguments,
            })
        }
        Decided::ReadResource => {
            let uri = text(&mut params, "uri")?;
            let (server, uri) = named(door, &uri, bridge::split_uri, Reason::ItemUnknown)?;
            Wanted::Act(Act::ReadResource { server, uri })
        }
        Decided::GetPrompt => {
            let name = text(&mut params, "name")?;
            let (server, prompt) = named(door, &name, bridge::split, Reason::ItemUnknown)?;
            let arguments = arguments(&mut params, body_bytes)?;
            Wanted::Act(Act::GetPrompt {
                server,
                prompt,
                arguments,
            })
        }
        Decided::Complete => Wanted::Act(complete(door, &mut params, body_bytes)?),
        Decided::ListResources => listing(door, Listing::Resources, &mut params)?,
        Decided::ListResourceTemplates => listing(door, Listing::ResourceTemplates, &mut params)?,
        Decided::ListPrompts => listing(door, Listing::Prompts, &mut params)?,
    };
    // What was not read was not decided: it may not pass (`task`, `inputResponses`, `requestState`, …).
    if params.is_empty() {
        Ok(wanted)
    } else {
        Err(Reason::ArgumentsInvalid)
    }
}

fn listing(
    door: &Door,
    what: Listing,
    params: &mut BTreeMap<String, Value>,
) -> Result<Wanted, Reason> {
    // Ambit gives every listing whole, so that no cursor of its own exists.
    if params.remove("cursor").is_some() {
        return Err(Reason::ArgumentsInvalid);
    }
    Ok(match door {
        Door::One(server) => Wanted::Act(Act::List {
            server: server.clone(),
            what,
        }),
        Door::All => Wanted::ListOfAll(what),
    })
}

fn complete(
    door: &Door,
    params: &mut BTreeMap<String, Value>,
    body_bytes: usize,
) -> Result<Act, Reason> {
    let Some(Value::Object(mut reference)) = params.remove("ref") else {
        return Err(Reason::ArgumentsInvalid);
    };
    let (member, split): (_, Split) = match reference.get("type").and_then(Value::as_str) {
        Some("ref/prompt") => ("name", bridge::split),
        Some("ref/resource") => ("uri", bridge::split_uri),
        _ => return Err(Reason::ArgumentsInvalid),
    };
    let name = text(&mut reference, member)?;
    let (server, own) = named(door, &name, split, Reason::ItemUnknown)?;
    reference.insert(member.to_owned(), own.into());
    if reference
        .keys()
        .any(|it| !["type", "name", "uri", "title"].contains(&it.as_str()))
    {
        return Err(Reason::ArgumentsInvalid);
    }
    let mut parameters = BTreeMap::from([("ref".to_owned(), Value::Object(reference))]);
    for member in ["argument", "context"] {
        match params.remove(member) {
            Some(value @ Value::Object(_)) => {
                parameters.insert(member.to_owned(), value);
            }
            None => {}
            Some(_) => return Err(Reason::ArgumentsInvalid),
        }
    }
    let parameters = bounded(Value::Object(parameters), body_bytes)?;
    Ok(Act::Complete { server, parameters })
}

type Split = fn(&str) -> Option<(ServerName, &str)>;

/// Returns which server a name is of, and the server's own name for it; `unknown` when no server stands in it.
fn named(
    door: &Door,
    text: &str,
    split: Split,
    unknown: Reason,
) -> Result<(ServerName, String), Reason> {
    match door {
        Door::One(server) => Ok((server.clone(), text.to_owned())),
        Door::All => {
            let (server, own) = split(text).ok_or(unknown)?;
            Ok((server, own.to_owned()))
        }
    }
}

fn text(params: &mut BTreeMap<String, Value>, member: &str) -> Result<String, Reason> {
    match params.remove(member) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= ITEM_NAME_BYTES_MAX => {
            Ok(text)
        }
        _ => Err(Reason::ArgumentsInvalid),
    }
}

fn arguments(params: &mut BTreeMap<String, Value>, body_bytes: usize) -> Result<Value, Reason> {
    match params.remove("arguments") {
        None => Ok(Value::object([])),
        Some(arguments @ Value::Object(_)) => bounded(arguments, body_bytes),
        Some(_) => Err(Reason::ArgumentsInvalid),
    }
}

fn bounded(value: Value, body_bytes: usize) -> Result<Value, Reason> {
    let is_short = body_bytes.saturating_mul(CANONICAL_GROWTH_MAX) <= ARGUMENTS_BYTES_MAX;
    if is_short || value.to_canonical().len() <= ARGUMENTS_BYTES_MAX {
        return Ok(value);
    }
    Err(Reason::TooLarge)
}

/// How much longer than what was read its canonical form can be: `9e15` becomes sixteen digits.
const CANONICAL_GROWTH_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use ambit_core::json;

    fn check(method: Decided, door: &Door, text: &str) -> Result<String, &'static str> {
        let Value::Object(params) = json::parse(text.as_bytes()).unwrap() else {
            panic!("no object")
        };
        match read(method, door, params, text.len()) {
            Ok(Wanted::Act(act)) => Ok(act.to_value().to_canonical()),
            Ok(Wanted::ListOfAll(what)) => Ok(format!("all {}", what.as_str())),
            Err(reason) => Err(reason.code()),
        }
    }

    #[test]
    fn a_request_becomes_one_act_or_none() {
        let (one, all) = (Door::One("files".parse().unwrap()), Door::All);
        for (method, door, text, expected) in REQUESTS {
            let door = if *door == '1' { &one } else { &all };
            let (method, expected) = (*method, *expected);
            let got = check(method, door, text);
            assert_eq!(got.as_deref(), expected.as_ref().map(|it| *it), "{text}");
        }
    }

    #[test]
    fn arguments_and_names_end_at_their_maxima() {
        let one = Door::One("s".parse().unwrap());
        let fit = |bytes: usize| {
            let text = format!(
                r#"{{"name":"t","arguments":{{"a":"{}"}}}}"#,
                "x".repeat(bytes - r#"{"a":""}"#.len())
            );
            check(Decided::CallTool, &one, &text).is_ok()
        };
        assert!(fit(ARGUMENTS_BYTES_MAX));
        assert!(!fit(ARGUMENTS_BYTES_MAX + 1));
        let named = |bytes: usize| {
            check(
                Decided::ReadResource,
                &one,
                &format!(r#"{{"uri":"{}"}}"#, "u".repeat(bytes)),
            )
        };
        assert!(named(ITEM_NAME_BYTES_MAX).is_ok());
        assert!(named(ITEM_NAME_BYTES_MAX + 1).is_err());
    }

    const CALL: &str =
        r#"{"action":"call_tool","arguments":{"a":1},"server":"files","tool":"read"}"#;

    type Row = (
        Decided,
        char,
        &'static str,
        Result<&'static str, &'static str>,
    );
    const REQUESTS: &[Row] = &[
        (
            Decided::CallTool,
            '1',
            r#"{"name":"read","arguments":{"a":1},"_meta":{"x":1}}"#,
            Ok(CALL),
        ),
        (
            Decided::CallTool,
            '*',
            r#"{"name":"files__read","arguments":{"a":1}}"#,
            Ok(CALL),
        ),
        (
            Decided::CallTool,
            '*',
            r#"{"name":"read"}"#,
            Err("tool_unknown"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"name":"rm -rf"}"#,
            Err("tool_unknown"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"name":""}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"arguments":{}}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"name":"read","arguments":[]}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"name":"read","task":{}}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"name":"read","requestState":"x"}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::CallTool,
            '1',
            r#"{"name":"read","inputResponses":{}}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::ReadResource,
            '*',
            r#"{"uri":"ambit:files:file:///x"}"#,
            Ok(r#"{"action":"read_resource","server":"files","uri":"file:///x"}"#),
        ),
        (
            Decided::ReadResource,
            '*',
            r#"{"uri":"file:///x"}"#,
            Err("item_unknown"),
        ),
        (
            Decided::GetPrompt,
            '*',
            r#"{"name":"p"}"#,
            Err("item_unknown"),
        ),
        (
            Decided::Complete,
            '*',
            r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}"#,
            Err("item_unknown"),
        ),
        (
            Decided::ReadResource,
            '1',
            r#"{"uri":7}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::GetPrompt,
            '*',
            r#"{"name":"files__p"}"#,
            Ok(r#"{"action":"get_prompt","arguments":{},"prompt":"p","server":"files"}"#),
        ),
        (
            Decided::Complete,
            '*',
            r#"{"ref":{"type":"ref/prompt","name":"files__p"},"argument":{"name":"a","value":"b"}}"#,
            Ok(
                r#"{"action":"complete","parameters":{"argument":{"name":"a","value":"b"},"ref":{"name":"p","type":"ref/prompt"}},"server":"files"}"#,
            ),
        ),
        (
            Decided::Complete,
            '1',
            r#"{"ref":{"type":"ref/other","name":"p"}}"#,
            Err("arguments_invalid"),
        ),
        (
            Decided::ListPrompts,
            '1',
            "{}",
            Ok(r#"{"action":"list","server":"files","what":"prompts"}"#),
        ),
        (Decided::ListResources, '*', "{}", Ok("all resources")),
        (
            Decided::ListResourceTemplates,
            '*',
            r#"{"cursor":"x"}"#,
            Err("arguments_invalid"),
        ),
    ];
}

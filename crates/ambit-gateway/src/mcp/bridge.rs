//! Carrying results from one era to the other, and from one server to a door with many.

use std::collections::BTreeMap;

use ambit_core::{ServerName, json::Value};

use super::{
    era::{Era, META_SERVER},
    methods::Decided,
    wire::{INVALID_PARAMS, MISSING_CLIENT_CAPABILITY, RESOURCE_NOT_FOUND, RpcError},
};
use crate::upstream::{UpstreamError, implementation};

/// What stands between a server's name and a tool's or prompt's at the door with many servers. No server's name
/// holds an underscore.
pub(crate) const SEPARATOR: &str = "__";
/// What precedes a server's name and a resource's own URI at the door with many servers.
pub(crate) const URI_PREFIX: &str = "ambit:";

/// Turns a result of an upstream of either era into one for an agent of `era`.
///
/// # Errors
/// [`UpstreamError::InputRequired`] when the server asks for input, [`UpstreamError::Malformed`] for results that are
/// no objects or of a kind that nobody knows.
pub(crate) fn result(result: Value, era: Era, method: Decided) -> Result<Value, UpstreamError> {
    let Value::Object(mut members) = result else {
        return Err(UpstreamError::Malformed("a result is no object"));
    };
    match members.remove("resultType").as_ref().map(|it| it.as_str()) {
        None | Some(Some("complete")) => {}
        Some(Some("input_required")) => return Err(UpstreamError::InputRequired),
        Some(_) => return Err(UpstreamError::Malformed("a result is of an unknown kind")),
    }
    members.remove("ttlMs");
    members.remove("cacheScope");
    remove_server_name(&mut members);
    match era {
        Era::Legacy => {
            // Up to 2025-11-25 structured content is an object; the text beside it says the same.
            if members
                .get("structuredContent")
                .is_some_and(|it| it.as_object().is_none())
            {
                members.remove("structuredContent");
            }
        }
        Era::Modern => complete(
            &mut members,
            method != Decided::CallTool && method != Decided::GetPrompt,
        ),
    }
    Ok(Value::Object(members))
}

/// Adds what a modern result of Ambit's own must have.
pub(crate) fn complete(members: &mut BTreeMap<String, Value>, cacheable: bool) {
    members.insert("resultType".into(), "complete".into());
    if cacheable {
        // What a task may see is its own and may change with the next decision.
        members.insert("ttlMs".into(), Value::Integer(0));
        members.insert("cacheScope".into(), "private".into());
    }
    let meta = members
        .entry("_meta".into())
        .or_insert_with(|| Value::object([]));
    if let Value::Object(meta) = meta {
        meta.insert(META_SERVER.into(), implementation());
    }
}

/// Turns an error of an upstream into one for an agent of `era`: one sentence of it, without data but the names of
/// the capabilities that a modern server misses.
pub(crate) fn error(error: &RpcError, era: Era) -> RpcError {
    let message: String = error.message.chars().take(ERROR_CHARACTERS_MAX).collect();
    match (error.code, era) {
        (RESOURCE_NOT_FOUND, Era::Modern) => RpcError::new(INVALID_PARAMS, message),
        (MISSING_CLIENT_CAPABILITY, Era::Modern) => {
            RpcError::new(MISSING_CLIENT_CAPABILITY, message).with(missing(error.data.as_ref()))
        }
        (code, _) => RpcError::new(code, message),
    }
}

/// Returns which of the capabilities that MCP names are missed.
fn missing(data: Option<&Value>) -> Value {
    let required = data.and_then(|it| it.get("requiredCapabilities"));
    let named = |it: &&str| match required {
        Some(Value::Object(members)) => members.contains_key(*it),
        Some(Value::Array(items)) => items.iter().any(|item| item.as_str() == Some(*it)),
        _ => false,
    };
    let named = CLIENT_CAPABILITIES.into_iter().filter(named);
    Value::object([(
        "requiredCapabilities",
        Value::object(named.map(|it| (it, Value::object([])))),
    )])
}

/// Returns `text` of `server` as the door with many servers shows it.
pub(crate) fn joined(server: &ServerName, text: &str) -> String {
    format!("{server}{SEPARATOR}{text}")
}

/// Returns the resource `uri` of `server` as the door with many servers shows it.
pub(crate) fn joined_uri(server: &ServerName, uri: &str) -> String {
    format!("{URI_PREFIX}{server}:{uri}")
}

/// Reads a tool's or prompt's name at the door with many servers.
pub(crate) fn split(text: &str) -> Option<(ServerName, &str)> {
    let (server, own) = text.split_once(SEPARATOR)?;
    Some((server.parse().ok()?, own))
}

/// Reads a resource's URI at the door with many servers.
pub(crate) fn split_uri(text: &str) -> Option<(ServerName, &str)> {
    let (server, own) = text.strip_prefix(URI_PREFIX)?.split_once(':')?;
    Some((server.parse().ok()?, own))
}

/// Renames what `result` of `server` names, for the door with many servers.
pub(crate) fn rename(result: &mut Value, server: &ServerName, method: Decided) {
    let Value::Object(members) = result else {
        return;
    };
    match method {
        Decided::CallTool => each(members, "content", |it| rename_content(it, server)),
        Decided::ReadResource => each(members, "contents", |it| rename_uri(it, "uri", server)),
        Decided::ListResources => each(members, "resources", |it| rename_uri(it, "uri", server)),
        Decided::ListResourceTemplates => {
            each(members, "resourceTemplates", |it| {
                rename_uri(it, "uriTemplate", server)
            });
        }
        Decided::ListPrompts => each(members, "prompts", |it| rename_name(it, server)),
        Decided::GetPrompt => each(members, "messages", |it| {
            if let Some(content) = member(it, "content") {
                rename_content(content, server);
            }
        }),
        Decided::Complete => {}
    }
}

/// Puts the server's name before an item's own.
pub(crate) fn rename_name(item: &mut Value, server: &ServerName) {
    if let Some(Value::String(name)) = member(item, "name") {
        *name = joined(server, name);
    }
}

fn rename_content(content: &mut Value, server: &ServerName) {
    match content.get("type").and_then(Value::as_str) {
        Some("resource_link") => rename_uri(content, "uri", server),
        Some("resource") => {
            if let Some(resource) = member(content, "resource") {
                rename_uri(resource, "uri", server);
            }
        }
        _ => {}
    }
}

fn rename_uri(item: &mut Value, name: &str, server: &ServerName) {
    if let Some(Value::String(uri)) = member(item, name) {
        *uri = joined_uri(server, uri);
    }
}

fn member<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if let Value::Object(members) = value {
        members.get_mut(name)
    } else {
        None
    }
}

fn each(members: &mut BTreeMap<String, Value>, name: &str, mut change: impl FnMut(&mut Value)) {
    if let Some(Value::Array(items)) = members.get_mut(name) {
        items.iter_mut().for_each(&mut change);
    }
}

fn remove_server_name(members: &mut BTreeMap<String, Value>) {
    if let Some(Value::Object(meta)) = members.get_mut("_meta") {
        meta.remove(META_SERVER);
        if meta.is_empty() {
            members.remove("_meta");
        }
    }
}

/// What a modern client may declare.
const CLIENT_CAPABILITIES: [&str; 3] = ["elicitation", "roots", "sampling"];
/// How much of an upstream's error an agent reads, in characters.
const ERROR_CHARACTERS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use ambit_core::json;

    fn check(text: &str, era: Era, method: Decided, expected: &str) {
        let got = match result(json::parse(text.as_bytes()).unwrap(), era, method) {
            Ok(value) => value.to_canonical(),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(
            got.replace(env!("CARGO_PKG_VERSION"), "V"),
            expected,
            "{text}"
        );
    }

    #[test]
    fn results_cross_between_the_eras() {
        let name =
            r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"ambit","version":"V"}}"#;
        let modern = format!(r#"{{{name},"content":[],"resultType":"complete"}}"#);
        check(
            r#"{"content":[]}"#,
            Era::Legacy,
            Decided::CallTool,
            r#"{"content":[]}"#,
        );
        check(r#"{"content":[]}"#, Era::Modern, Decided::CallTool, &modern);
        check(&modern, Era::Legacy, Decided::CallTool, r#"{"content":[]}"#);
        check(&modern, Era::Modern, Decided::CallTool, &modern);
        let list = format!(
            r#"{{{name},"cacheScope":"private","prompts":[],"resultType":"complete","ttlMs":0}}"#
        );
        let cached = r#"{"cacheScope":"public","prompts":[],"resultType":"complete","ttlMs":9000}"#;
        check(cached, Era::Modern, Decided::ListPrompts, &list);
        check(
            cached,
            Era::Legacy,
            Decided::ListPrompts,
            r#"{"prompts":[]}"#,
        );
        check(
            r#"{"content":[],"structuredContent":[1]}"#,
            Era::Legacy,
            Decided::CallTool,
            r#"{"content":[]}"#,
        );
        check(
            r#"{"resultType":"input_required","requestState":"x"}"#,
            Era::Modern,
            Decided::CallTool,
            "input_not_offered",
        );
        check(
            r#"{"resultType":"task"}"#,
            Era::Modern,
            Decided::CallTool,
            "answer_malformed",
        );
        check("[]", Era::Legacy, Decided::CallTool, "answer_malformed");
    }

    #[test]
    fn a_name_at_the_shared_door_splits_where_it_was_joined() {
        let server: ServerName = "files".parse().unwrap();
        for own in ["read", "_read", "a__b"] {
            assert_eq!(split(&joined(&server, own)), Some((server.clone(), own)));
        }
        assert_eq!(
            split_uri(&joined_uri(&server, "file:///a:b")),
            Some((server.clone(), "file:///a:b"))
        );
        for text in ["read", "A__b", "__b"] {
            assert_eq!(split(text), None, "{text}");
        }
        assert_eq!(split_uri("file:///a"), None);
        let mut value = json::parse(
            br#"{"content":[{"type":"resource_link","uri":"u:1"},{"type":"text","text":"u:1"}]}"#,
        )
        .unwrap();
        rename(&mut value, &server, Decided::CallTool);
        let text = value.to_canonical();
        assert!(
            text.contains("ambit:files:u:1") && text.contains(r#""text":"u:1""#),
            "{text}"
        );
    }
}

//! The two eras of MCP and how a request says to which it belongs.
//!
//! *Legacy* revisions open with `initialize`; *modern* ones (2026-07-28 and later) carry version and
//! capabilities in each request's `_meta` and mirror method and name into headers. Source: MCP
//! 2026-07-28, "Versioning and Compatibility" and "Streamable HTTP".

use std::collections::BTreeMap;

use ambit_core::json::{INTEGER_MAX, Value};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::wire::{HEADER_MISMATCH, INVALID_PARAMS, Request, RpcError, UNSUPPORTED_VERSION};

/// Which family of revisions a peer speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Era {
    /// Up to 2025-11-25: a handshake, then requests.
    Legacy,
    /// From 2026-07-28: every request stands alone.
    Modern,
}

/// The modern revision that Ambit speaks.
pub(crate) const MODERN_VERSION: &str = "2026-07-28";
/// The legacy revision that Ambit prefers.
pub(crate) const LEGACY_VERSION: &str = "2025-11-25";
/// The legacy revisions that a peer may speak with Ambit; nothing that Ambit uses differs between them.
pub(crate) const LEGACY_VERSIONS: [&str; 3] = [LEGACY_VERSION, "2025-06-18", "2025-03-26"];

/// The member of `_meta` with the revision.
pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` with the client's name.
pub(crate) const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// The member of `_meta` with what the client can do.
pub(crate) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The member of `_meta` with the least level of log messages wanted.
pub(crate) const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The member of `_meta` with the server's name.
pub(crate) const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";
/// The member of `_meta` that ties a notification to its subscription.
pub(crate) const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The header with the revision.
pub(crate) const HEADER_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The header that mirrors the method.
pub(crate) const HEADER_METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The header that mirrors the tool, prompt or resource.
pub(crate) const HEADER_NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The header with the session of a legacy peer.
pub(crate) const HEADER_SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// What precedes the name of a header that mirrors an argument.
pub(crate) const HEADER_PARAMETER_PREFIX: &str = "mcp-param-";

/// Says to which era `request` belongs and checks what that era asks of headers and `_meta`.
///
/// # Errors
/// A JSON-RPC error to be sent with HTTP 400: headers and body differ, a member is missing, or the
/// revision is not spoken here.
pub(crate) fn of_request(headers: &HeaderMap, request: &Request) -> Result<Era, RpcError> {
    let version = single(headers, &HEADER_VERSION)?;
    let claimed = meta(&request.params, META_VERSION);
    if claimed.is_none() && version != Some(MODERN_VERSION) {
        // Mirrored headers are compared whenever they are there: somebody on the way may trust them.
        mirrored(headers, request, Demand::WhereGiven)?;
        return match version {
            None => Ok(Era::Legacy),
            Some(version) if LEGACY_VERSIONS.contains(&version) => Ok(Era::Legacy),
            Some(version) => Err(unsupported(version)),
        };
    }
    let Some(version) = version else {
        return Err(mismatch("the header MCP-Protocol-Version is missing"));
    };
    let Some(claimed) = claimed.and_then(Value::as_str) else {
        return Err(RpcError::new(
            INVALID_PARAMS,
            format!("`_meta` lacks the text `{META_VERSION}`"),
        ));
    };
    if claimed != version {
        return Err(mismatch("MCP-Protocol-Version differs from the body"));
    }
    if version != MODERN_VERSION {
        return Err(unsupported(version));
    }
    mirrored(headers, request, Demand::Always)?;
    if meta(&request.params, META_CAPABILITIES)
        .and_then(Value::as_object)
        .is_none()
    {
        let message = format!("`_meta` lacks the object `{META_CAPABILITIES}`");
        return Err(RpcError::new(INVALID_PARAMS, message));
    }
    Ok(Era::Modern)
}

/// Returns the member `name` of the parameters' `_meta`.
pub(crate) fn meta<'a>(params: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a Value> {
    params.get("_meta")?.get(name)
}

/// Checks the headers that mirror arguments of a tool (`x-mcp-header`) against the body.
///
/// # Errors
/// [`HEADER_MISMATCH`] when one is missing, left over or different.
pub(crate) fn check_parameters(
    headers: &HeaderMap,
    definition: &Value,
    arguments: &Value,
) -> Result<(), RpcError> {
    for (name, value) in mirrored_arguments(definition, arguments) {
        let given = single(headers, &name)?.map(decoded).transpose()?;
        match given {
            Some(given) if same(&given, value) => {}
            _ => {
                return Err(mismatch(&format!(
                    "the header {name} does not match the body"
                )));
            }
        }
    }
    Ok(())
}

/// Returns the headers that mirror arguments of a tool, ready to send.
pub(crate) fn parameter_headers(
    definition: &Value,
    arguments: &Value,
) -> Vec<(HeaderName, HeaderValue)> {
    mirrored_arguments(definition, arguments)
        .into_iter()
        .filter_map(|(name, value)| Some((name, encoded(&text_of(value)?)?)))
        .collect()
}

/// Returns `text` as a header value, in the Base64 form when it could not be read back otherwise.
pub(crate) fn encoded(text: &str) -> Option<HeaderValue> {
    let plain = text.bytes().all(|it| (0x20..0x7f).contains(&it))
        && text.trim() == text
        && !(text.starts_with(BASE64_PREFIX) && text.ends_with(BASE64_SUFFIX));
    if plain {
        return HeaderValue::from_str(text).ok();
    }
    let text = format!("{BASE64_PREFIX}{}{BASE64_SUFFIX}", STANDARD.encode(text));
    HeaderValue::from_str(&text).ok()
}

/// Returns the error for a revision that is not spoken here.
pub(crate) fn unsupported(requested: &str) -> RpcError {
    let supported: Value = [MODERN_VERSION]
        .into_iter()
        .chain(LEGACY_VERSIONS)
        .collect();
    let requested: String = requested.chars().take(32).collect();
    RpcError::new(UNSUPPORTED_VERSION, "unsupported protocol version").with(Value::object([
        ("supported", supported),
        ("requested", requested.into()),
    ]))
}

#[derive(Clone, Copy)]
enum Demand {
    Always,
    WhereGiven,
}

const BASE64_PREFIX: &str = "=?base64?";
const BASE64_SUFFIX: &str = "?=";

fn mirrored(headers: &HeaderMap, request: &Request, demand: Demand) -> Result<(), RpcError> {
    match (single(headers, &HEADER_METHOD)?, demand) {
        (Some(method), _) if method == request.method => {}
        (None, Demand::WhereGiven) => {}
        (None, Demand::Always) => return Err(mismatch("the header Mcp-Method is missing")),
        (Some(_), _) => return Err(mismatch("Mcp-Method differs from the body")),
    }
    let member = match request.method.as_str() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return Ok(()),
    };
    let body = request.params.get(member).and_then(Value::as_str);
    match (
        single(headers, &HEADER_NAME)?.map(decoded).transpose()?,
        demand,
    ) {
        (Some(name), _) if Some(name.as_str()) == body => Ok(()),
        (None, Demand::WhereGiven) => Ok(()),
        (None, Demand::Always) => Err(mismatch("the header Mcp-Name is missing")),
        (Some(_), _) => Err(mismatch("Mcp-Name differs from the body")),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(mismatch(&format!("the header {name} comes twice")));
    }
    let text = value
        .to_str()
        .map_err(|_| mismatch(&format!("the header {name} is not ASCII")))?;
    Ok(Some(text))
}

fn decoded(text: &str) -> Result<String, RpcError> {
    let inner = text
        .strip_prefix(BASE64_PREFIX)
        .and_then(|it| it.strip_suffix(BASE64_SUFFIX));
    let Some(inner) = inner else {
        return Ok(text.to_owned());
    };
    let bytes = STANDARD
        .decode(inner)
        .map_err(|_| mismatch("a header is not Base64"))?;
    String::from_utf8(bytes).map_err(|_| mismatch("a header is not UTF-8"))
}

fn mismatch(message: &str) -> RpcError {
    RpcError::new(HEADER_MISMATCH, format!("header mismatch: {message}"))
}

/// Finds each property with `x-mcp-header` along chains of `properties` that has a value in `arguments`.
fn mirrored_arguments<'a>(
    definition: &Value,
    arguments: &'a Value,
) -> Vec<(HeaderName, &'a Value)> {
    let mut found = Vec::new();
    if let Some(schema) = definition.get("inputSchema") {
        collect(schema, arguments, &mut found);
    }
    found
}

fn collect<'a>(schema: &Value, arguments: &'a Value, found: &mut Vec<(HeaderName, &'a Value)>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        let Some(value) = arguments.get(name).filter(|it| **it != Value::Null) else {
            continue;
        };
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            let header = format!("{HEADER_PARAMETER_PREFIX}{}", header.to_ascii_lowercase());
            if let Ok(header) = HeaderName::from_bytes(header.as_bytes()) {
                found.push((header, value));
            }
        }
        collect(property, value, found);
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Numbers are compared as numbers: `42.0` is `42` (Streamable HTTP, "Server Validation").
fn same(given: &str, value: &Value) -> bool {
    if let Value::Integer(number) = value
        && number.abs() <= INTEGER_MAX
    {
        let whole = given.split_once('.').map_or(given, |(whole, rest)| {
            if rest.bytes().all(|it| it == b'0') {
                whole
            } else {
                given
            }
        });
        return whole.parse() == Ok(*number);
    }
    text_of(value).as_deref() == Some(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ambit_core::json;

    fn check(headers: &[(&str, &str)], body: &str) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let Ok(super::super::wire::Message::Request(request)) =
            super::super::wire::read(body.as_bytes())
        else {
            panic!("no request: {body}");
        };
        match of_request(&map, &request) {
            Ok(era) => format!("{era:?}"),
            Err(error) => error.code.to_string(),
        }
    }

    #[test]
    fn a_request_belongs_to_one_era_or_is_refused() {
        let legacy = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
        let meta = |version: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","_meta":{{"{META_VERSION}":"{version}","{META_CAPABILITIES}":{{}}}}}}}}"#
            )
        };
        let (modern, odd) = (meta(MODERN_VERSION), meta("1900-01-01"));
        let bare = modern.replace(META_CAPABILITIES, "x");
        let version = ("mcp-protocol-version", MODERN_VERSION);
        let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "a"));
        for (headers, body, expected) in [
            (vec![], legacy, "Legacy"),
            (
                vec![("mcp-protocol-version", "2025-11-25")],
                legacy,
                "Legacy",
            ),
            (
                vec![("mcp-protocol-version", "2025-06-18")],
                legacy,
                "Legacy",
            ),
            (
                vec![("mcp-protocol-version", "1999-01-01")],
                legacy,
                "-32022",
            ),
            (vec![("mcp-method", "ping")], legacy, "-32020"),
            (vec![("mcp-name", "b")], legacy, "-32020"),
            (vec![version], legacy, "-32602"),
            (vec![version, method, name], &modern, "Modern"),
            (
                vec![version, method, ("mcp-name", "=?base64?YQ==?=")],
                &modern,
                "Modern",
            ),
            (
                vec![version, method, ("mcp-name", "=?base64?%%?=")],
                &modern,
                "-32020",
            ),
            (vec![version, method], &modern, "-32020"),
            (vec![version, name], &modern, "-32020"),
            (vec![method, name], &modern, "-32020"),
            (vec![version, version, method, name], &modern, "-32020"),
            (
                vec![version, ("mcp-method", "ping"), name],
                &modern,
                "-32020",
            ),
            (vec![version, method, ("mcp-name", "b")], &modern, "-32020"),
            (
                vec![("mcp-protocol-version", "2025-11-25"), method, name],
                &modern,
                "-32020",
            ),
            (
                vec![("mcp-protocol-version", "1900-01-01"), method, name],
                &odd,
                "-32022",
            ),
            (vec![version, method, name], &bare, "-32602"),
        ] {
            assert_eq!(check(&headers, body), expected, "{headers:?} {body}");
        }
    }

    #[test]
    fn mirrored_arguments_must_match() {
        let definition = json::parse(
            br#"{"inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}}"#,
        )
        .unwrap();
        let check = |arguments: &str, headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            check_parameters(
                &map,
                &definition,
                &json::parse(arguments.as_bytes()).unwrap(),
            )
            .is_ok()
        };
        assert!(check("{}", &[]));
        assert!(check(r#"{"region":null}"#, &[]));
        assert!(check(r#"{"region":"eu"}"#, &[("mcp-param-region", "eu")]));
        assert!(!check(r#"{"region":"eu"}"#, &[("mcp-param-region", "us")]));
        assert!(!check(r#"{"region":"eu"}"#, &[]));
        assert!(check(r#"{"deep":{"n":42}}"#, &[("mcp-param-n", "42.0")]));
        assert!(!check(r#"{"deep":{"n":42}}"#, &[("mcp-param-n", "43")]));
        let sent = parameter_headers(
            &definition,
            &json::parse("{\"region\":\" é\"}".as_bytes()).unwrap(),
        );
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1, "=?base64?IMOp?=");
    }
}

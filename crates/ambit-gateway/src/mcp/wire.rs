//! JSON-RPC messages of MCP, read strictly and written canonically.
//!
//! Source: MCP 2025-11-25 and 2026-07-28, "Base Protocol"; JSON-RPC 2.0. Batches, unknown members
//! and identifiers that are not a short text or a whole number are refused.

use std::collections::BTreeMap;

use ambit_core::json::{self, JsonError, Value};

use crate::limits::{METHOD_BYTES_MAX, REQUEST_ID_BYTES_MAX};

/// One message, whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification {
        /// What happened.
        method: String,
        /// The parameters, an object.
        params: BTreeMap<String, Value>,
    },
    /// Answers a request.
    Response(Response),
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// Names the request until it is answered.
    pub(crate) id: Id,
    /// What is wanted.
    pub(crate) method: String,
    /// The parameters, an object.
    pub(crate) params: BTreeMap<String, Value>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Response {
    /// Which request it answers; none when the other side could not read it.
    pub(crate) id: Option<Id>,
    /// The result, or why there is none.
    pub(crate) outcome: Result<Value, RpcError>,
}

/// What names a request.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Id {
    /// A whole number.
    Integer(i64),
    /// A text of at most [`REQUEST_ID_BYTES_MAX`] bytes.
    Text(String),
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RpcError {
    /// The code.
    pub(crate) code: i64,
    /// One sentence.
    pub(crate) message: String,
    /// Whatever else the sender says.
    pub(crate) data: Option<Value>,
}

/// The bytes are no MCP message.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Malformed {
    /// The request's name, when it could be read.
    pub(crate) id: Option<Id>,
    /// What is wrong.
    #[source]
    pub(crate) problem: WireError,
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// Not JSON with one reading.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A batch, or a bare value.
    #[error("a message is one JSON object; batches are not accepted")]
    NotAnObject,
    /// The member `jsonrpc` is not `"2.0"`.
    #[error("`jsonrpc` must be \"2.0\"")]
    Version,
    /// A member that no message has.
    #[error("a message has no member `{0}`")]
    UnknownMember(String),
    /// Members that do not belong together, or too few of them.
    #[error("a message is a request, a notification, a result or an error, and only one of them")]
    Shape,
    /// The identifier is neither.
    #[error("`id` must be a whole number or a text of at most {REQUEST_ID_BYTES_MAX} bytes")]
    Id,
    /// The method's name.
    #[error("`method` must be a text of at most {METHOD_BYTES_MAX} bytes")]
    Method,
    /// The parameters.
    #[error("`params` must be an object")]
    Params,
    /// The error object.
    #[error("`error` must have a whole `code` and a text `message`")]
    Error,
}

/// JSON-RPC: the text is not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: the JSON is no request.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: there is no such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: the parameters do not fit.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// MCP up to 2025-11-25: there is no such resource.
pub(crate) const RESOURCE_NOT_FOUND: i64 = -32002;
/// MCP 2026-07-28: headers and body differ.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28: the client lacks a capability.
pub(crate) const MISSING_CLIENT_CAPABILITY: i64 = -32021;
/// MCP 2026-07-28: the revision is not spoken here.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

/// Reads one message.
///
/// # Errors
/// [`Malformed`] with the request's name, as far as that could be read.
pub(crate) fn read(bytes: &[u8]) -> Result<Message, Malformed> {
    let value = json::parse(bytes).map_err(|error| Malformed {
        id: None,
        problem: error.into(),
    })?;
    from_value(value)
}

/// Takes `value` as one message.
///
/// # Errors
/// As [`read`].
pub(crate) fn from_value(value: Value) -> Result<Message, Malformed> {
    let Value::Object(mut members) = value else {
        return Err(Malformed {
            id: None,
            problem: WireError::NotAnObject,
        });
    };
    let id = match members.remove("id") {
        None => Ok(None),
        Some(value) => Id::from_value(value).map(Some),
    };
    // An error answer to an unreadable request may say `"id": null` (JSON-RPC 2.0 §5).
    let id = match id {
        Err(Value::Null) if members.contains_key("error") => None,
        Err(_) => {
            return Err(Malformed {
                id: None,
                problem: WireError::Id,
            });
        }
        Ok(id) => id,
    };
    shape(id.clone(), members).map_err(|problem| Malformed { id, problem })
}

impl Id {
    /// Takes `value` as an identifier, or gives it back.
    pub(crate) fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Integer(number) => Ok(Self::Integer(number)),
            Value::String(text) if text.len() <= REQUEST_ID_BYTES_MAX => Ok(Self::Text(text)),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => Err(other),
        }
    }

    /// Returns the identifier as JSON.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::String(text.clone()),
        }
    }
}

impl RpcError {
    /// Returns an error with nothing but code and message.
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Returns the same error with `data`.
    #[must_use]
    pub(crate) fn with(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }
}

impl Malformed {
    /// Returns the JSON-RPC error that says so.
    pub(crate) fn to_error(&self) -> RpcError {
        let code = match self.problem {
            WireError::Json(_) => PARSE_ERROR,
            WireError::Params => INVALID_PARAMS,
            WireError::NotAnObject
            | WireError::Version
            | WireError::UnknownMember(_)
            | WireError::Shape
            | WireError::Id
            | WireError::Method
            | WireError::Error => INVALID_REQUEST,
        };
        RpcError::new(code, self.problem.to_string())
    }
}

/// Returns the bytes of a request whose parameters are already canonical JSON, in order of name.
pub(crate) fn request_text(id: i64, method: &str, params: &[(&str, &str)]) -> String {
    let mut text =
        String::with_capacity(128 + params.iter().map(|it| it.1.len() + 16).sum::<usize>());
    text.push_str("{\"id\":");
    text.push_str(&id.to_string());
    text.push_str(",\"jsonrpc\":\"2.0\",\"method\":");
    text.push_str(&quoted(method));
    push_params(&mut text, params);
    text
}

/// Returns the bytes of a notification.
pub(crate) fn notification_text(method: &str, params: &[(&str, &str)]) -> String {
    let mut text = String::from("{\"jsonrpc\":\"2.0\",\"method\":");
    text.push_str(&quoted(method));
    push_params(&mut text, params);
    text
}

/// Returns the bytes of a notification whose parameters are `params`.
pub(crate) fn notification_of(method: &str, params: Value) -> String {
    Value::object([
        ("jsonrpc", "2.0".into()),
        ("method", method.into()),
        ("params", params),
    ])
    .to_canonical()
}

/// Returns the bytes of an answer with `result`.
pub(crate) fn result_text(id: &Id, result: &Value) -> String {
    result_of_text(id, &result.to_canonical())
}

/// Returns the bytes of an answer whose result is already canonical JSON.
pub(crate) fn result_of_text(id: &Id, result: &str) -> String {
    let mut text = String::with_capacity(result.len() + 64);
    text.push_str("{\"id\":");
    text.push_str(&id.to_value().to_canonical());
    text.push_str(",\"jsonrpc\":\"2.0\",\"result\":");
    text.push_str(result);
    text.push('}');
    text
}

/// Returns the bytes of an answer with `error`; without `id` when the request could not be read.
pub(crate) fn error_text(id: Option<&Id>, error: &RpcError) -> String {
    let mut inner = BTreeMap::from([
        ("code".to_owned(), Value::Integer(error.code)),
        ("message".to_owned(), Value::from(error.message.as_str())),
    ]);
    if let Some(data) = &error.data {
        inner.insert("data".to_owned(), data.clone());
    }
    let mut members = BTreeMap::from([
        ("error".to_owned(), Value::Object(inner)),
        ("jsonrpc".to_owned(), "2.0".into()),
    ]);
    if let Some(id) = id {
        members.insert("id".to_owned(), id.to_value());
    }
    Value::Object(members).to_canonical()
}

/// Returns `text` as a JSON text.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_canonical()
}

fn push_params(text: &mut String, params: &[(&str, &str)]) {
    let mut separator = ",\"params\":{";
    for (name, value) in params {
        text.push_str(separator);
        text.push_str(&quoted(name));
        text.push(':');
        text.push_str(value);
        separator = ",";
    }
    text.push_str(if params.is_empty() { "}" } else { "}}" });
}

fn shape(id: Option<Id>, mut members: BTreeMap<String, Value>) -> Result<Message, WireError> {
    if members.remove("jsonrpc").as_ref().and_then(Value::as_str) != Some("2.0") {
        return Err(WireError::Version);
    }
    let method = members.remove("method");
    let params = members.remove("params");
    let result = members.remove("result");
    let error = members.remove("error");
    if let Some((name, _)) = members.pop_first() {
        return Err(WireError::UnknownMember(name.chars().take(64).collect()));
    }
    match (id, method, params, result, error) {
        (id, Some(method), params, None, None) => called(id, method, params),
        (Some(id), None, None, Some(result), None) => Ok(Message::Response(Response {
            id: Some(id),
            outcome: Ok(result),
        })),
        (id, None, None, None, Some(error)) => Ok(Message::Response(Response {
            id,
            outcome: Err(error_of(error)?),
        })),
        _ => Err(WireError::Shape),
    }
}

fn called(id: Option<Id>, method: Value, params: Option<Value>) -> Result<Message, WireError> {
    let Value::String(method) = method else {
        return Err(WireError::Method);
    };
    if method.is_empty() || method.len() > METHOD_BYTES_MAX {
        return Err(WireError::Method);
    }
    let params = match params {
        None => BTreeMap::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(WireError::Params),
    };
    Ok(match id {
        Some(id) => Message::Request(Request { id, method, params }),
        None => Message::Notification { method, params },
    })
}

fn error_of(value: Value) -> Result<RpcError, WireError> {
    let Value::Object(mut members) = value else {
        return Err(WireError::Error);
    };
    let code = members.remove("code").and_then(|it| it.as_integer());
    let (Some(code), Some(Value::String(message))) = (code, members.remove("message")) else {
        return Err(WireError::Error);
    };
    Ok(RpcError {
        code,
        message,
        data: members.remove("data"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match read(text.as_bytes()) {
            Ok(Message::Request(it)) => format!("request {:?} {}", it.id, it.method),
            Ok(Message::Notification { method, .. }) => format!("notification {method}"),
            Ok(Message::Response(it)) => format!("response {:?} {}", it.id, it.outcome.is_ok()),
            Err(it) => format!("{} {:?}", it.to_error().code, it.id),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_message_has_one_reading_or_none() {
        for (text, expected) in MESSAGES {
            check(text, expected);
        }
        assert!(read(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}").is_err());
    }

    #[test]
    fn names_end_at_their_maxima() {
        let check = |id: usize, method: usize| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":"{}","method":"{}"}}"#,
                "i".repeat(id),
                "m".repeat(method)
            );
            read(text.as_bytes()).is_ok()
        };
        assert!(check(REQUEST_ID_BYTES_MAX, METHOD_BYTES_MAX));
        assert!(!check(REQUEST_ID_BYTES_MAX + 1, METHOD_BYTES_MAX));
        assert!(!check(REQUEST_ID_BYTES_MAX, METHOD_BYTES_MAX + 1));
    }

    #[test]
    fn what_is_written_is_canonical_and_reads_back() {
        let text = request_text(
            7,
            "tools/call",
            &[("arguments", "{\"a\":1}"), ("name", "\"t\"")],
        );
        assert_eq!(
            text,
            r#"{"id":7,"jsonrpc":"2.0","method":"tools/call","params":{"arguments":{"a":1},"name":"t"}}"#
        );
        assert_eq!(json::parse(text.as_bytes()).unwrap().to_canonical(), text);
        for text in [
            request_text(7, "ping", &[]),
            notification_text("notifications/initialized", &[]),
            result_text(&Id::Text("é\"".into()), &Value::object([])),
            error_text(None, &RpcError::new(-1, "no").with(Value::Null)),
        ] {
            assert!(read(text.as_bytes()).is_ok(), "{text}");
            assert_eq!(json::parse(text.as_bytes()).unwrap().to_canonical(), text);
        }
    }

    const MESSAGES: &[(&str, &str)] = &[
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            "request Integer(1) ping",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#,
            "request Text(\"a\") ping",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
            "notification notifications/x",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            "response Some(Integer(1)) true",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#,
            "response None false",
        ),
        (
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}"#,
            "response None false",
        ),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            "-32600 None",
        ),
        ("[]", "-32600 None"),
        ("\"x\"", "-32600 None"),
        ("{", "-32700 None"),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\u{1}\"}",
            "-32700 None",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            "-32700 None",
        ),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            "-32600 Some(Integer(1))",
        ),
        (r#"{"id":1,"method":"ping"}"#, "-32600 Some(Integer(1))"),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            "-32600 None",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            "-32600 None",
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            "-32600 None",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            "-32600 Some(Integer(1))",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
            "-32600 Some(Integer(1))",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}"#,
            "-32602 Some(Integer(1))",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","x":1}"#,
            "-32600 Some(Integer(1))",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            "-32600 Some(Integer(1))",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            "-32600 Some(Integer(1))",
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, "-32600 None"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "-32600 Some(Integer(1))"),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#,
            "-32600 Some(Integer(1))",
        ),
    ];
}

//! Guesses from names and annotations, always towards more care.

use ambit_core::{
    estate::{Effect, Mode, Role},
    json::Value,
};

/// Guesses how a tool touches the world. A server's word for "read only" is believed only when its name agrees.
pub(super) fn guess_mode(name: &str, definition: &Value) -> Mode {
    let hint = |hint| {
        definition
            .get("annotations")
            .and_then(|it| it.get(hint)?.as_bool())
    };
    let words = words_of(name);
    let has = |list: &[&str]| words.iter().any(|it| list.contains(&it.as_str()));
    if has(&EXECUTING) {
        Mode::Execute
    } else if has(&SENDING) {
        Mode::Send
    } else if has(&WRITING) {
        Mode::Write
    } else if hint("readOnlyHint") == Some(true) || has(&READING) && hint("readOnlyHint").is_none()
    {
        Mode::Read
    } else if hint("openWorldHint") == Some(true) {
        Mode::Send
    } else {
        Mode::Write
    }
}

pub(super) fn guess_effect(mode: Mode, definition: &Value) -> Effect {
    let destructive = definition
        .get("annotations")
        .and_then(|it| it.get("destructiveHint")?.as_bool());
    match mode {
        Mode::Read => Effect::None,
        Mode::Write if destructive == Some(false) => Effect::Reversible,
        Mode::Write | Mode::Send | Mode::Execute => Effect::Irreversible,
    }
}

/// Guesses what an argument means for control. An unknown text of a sending tool is where something goes.
pub(super) fn guess_role(name: &str, schema: &Value, mode: Mode) -> Option<Role> {
    let words = words_of(name);
    let has = |list: &[&str]| words.iter().any(|it| list.contains(&it.as_str()));
    let is_text = schema.get("type").and_then(Value::as_str) == Some("string");
    if has(&["password", "secret", "token", "apikey", "credential"]) {
        Some(Role::Secret)
    } else if has(&["command", "cmd", "script", "code", "sql", "shell"]) {
        Some(Role::Command)
    } else if has(&[
        "to",
        "cc",
        "bcc",
        "recipient",
        "recipients",
        "url",
        "uri",
        "host",
        "email",
        "channel",
        "destination",
    ]) {
        Some(Role::Destination)
    } else if has(&[
        "amount", "price", "cents", "total", "quantity", "count", "limit",
    ]) {
        Some(Role::Amount)
    } else if has(&[
        "body",
        "content",
        "text",
        "message",
        "subject",
        "description",
        "title",
        "comment",
    ]) {
        Some(Role::Content)
    } else if has(&[
        "id", "path", "file", "name", "key", "query", "repo", "branch", "ticket",
    ]) {
        Some(Role::Selector)
    } else {
        (mode == Mode::Send && is_text).then_some(Role::Destination)
    }
}

/// Cuts `sendReply`, `send_reply` and `send-reply` into their words.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        let breaks =
            !character.is_ascii_alphanumeric() || was_lower && character.is_ascii_uppercase();
        if breaks {
            words.push(String::new());
        }
        if let Some(word) = words
            .last_mut()
            .filter(|_| character.is_ascii_alphanumeric())
        {
            word.push(character.to_ascii_lowercase());
        }
        was_lower = character.is_ascii_lowercase();
    }
    words
}

const READING: [&str; 12] = [
    "get", "list", "read", "search", "find", "show", "describe", "fetch", "query", "status",
    "diff", "log",
];
const WRITING: [&str; 16] = [
    "write", "create", "update", "delete", "remove", "close", "open", "set", "add", "edit", "move",
    "commit", "reset", "checkout", "insert", "put",
];
const SENDING: [&str; 10] = [
    "send", "post", "publish", "mail", "reply", "pay", "refund", "transfer", "push", "upload",
];
const EXECUTING: [&str; 7] = ["run", "exec", "execute", "eval", "shell", "spawn", "invoke"];

#[cfg(test)]
mod tests {
    use ambit_core::json;

    use super::*;

    #[test]
    fn modes_are_guessed_towards_more_care() {
        let check = |name: &str, annotations: &str, expected| {
            let text = format!(r#"{{"annotations":{annotations}}}"#);
            let definition = json::parse(text.as_bytes()).unwrap();
            assert_eq!(guess_mode(name, &definition), expected, "{name}");
        };
        check("get_ticket", "{}", Mode::Read);
        check("getTicket", r#"{"readOnlyHint":true}"#, Mode::Read);
        check("get_ticket", r#"{"readOnlyHint":false}"#, Mode::Write);
        check("delete_all", r#"{"readOnlyHint":true}"#, Mode::Write);
        check("sendMail", r#"{"readOnlyHint":true}"#, Mode::Send);
        check("run_query", r#"{"readOnlyHint":true}"#, Mode::Execute);
        check("frobnicate", "{}", Mode::Write);
        check("frobnicate", r#"{"openWorldHint":true}"#, Mode::Send);
    }
}

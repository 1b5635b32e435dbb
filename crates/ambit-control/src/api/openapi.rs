//! The OpenAPI document (3.1), made from the list of routes.

use ambit_core::id::{Kind, kind};
use serde_json::{Map, Value, json};

use super::{
    routes::{Asks, Door, Route, routes},
    schemas::{Member, Need, Schema, Shape, schemas},
};

/// Returns the OpenAPI document of the control API. It is checked in as `docs/reference/openapi.json`.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in routes() {
        // OpenAPI has no parameter that spans segments: the tile's name is told as one.
        let path = route.path.replace("{*", "{");
        let here = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = here {
            methods.insert(route.method.to_lowercase(), operation(route));
        }
    }
    let schemas: Map<String, Value> = schemas()
        .map(|it| (it.name.to_owned(), schema(it, Others::of(it))))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ambit control API",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "How people obtain and govern authority.",
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://ambit", "description": "The local control socket" }],
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": security_schemes() },
    })
}

fn operation(route: &Route) -> Value {
    let (tag, asks) = match route.asks {
        Asks::Person(action) => ("people", format!("Decided as `{action}`.")),
        Asks::OwnTask => (
            "instances",
            "The instance's own task must be live.".to_owned(),
        ),
        Asks::WaitingTask => (
            "anybody",
            "On the public port, whose URL the operator chooses. A task must wait for the token, which is spent.".to_owned(),
        ),
        Asks::Client => (
            "clients",
            "On the public port. The client proves itself; whatever goes wrong is the JSON of RFC 6749 §5.2.".to_owned(),
        ),
        Asks::Nothing if route.door == Door::Public => (
            "anybody",
            "On the public port, whose URL the operator chooses. Nothing is decided: whoever asks is not identified."
                .to_owned(),
        ),
        Asks::WhoItIs => (
            "sign-in",
            "On the public port. Nothing is decided: people prove who they are, by cookies of one browser.".to_owned(),
        ),
        Asks::Nothing => (
            "operations",
            "Nothing is decided: it tells numbers only.".to_owned(),
        ),
    };
    let mut operation = json!({
        "operationId": route.name,
        "tags": [tag],
        "summary": route.summary,
        "description": asks,
        "responses": responses(route),
    });
    let parameters = parameters(route);
    if let Value::Object(members) = &mut operation {
        if !parameters.is_empty() {
            members.insert("parameters".to_owned(), Value::Array(parameters));
        }
        if let Some(security) = security(route) {
            members.insert("security".to_owned(), security);
        }
        if let Some(request) = route.request {
            let kind = if takes_a_form(route) {
                "application/x-www-form-urlencoded"
            } else {
                "application/json"
            };
            let content = json!({ kind: { "schema": reference(request) } });
            let body = json!({ "required": true, "content": content });
            members.insert("requestBody".to_owned(), body);
        }
    }
    operation
}

/// Says with what whoever asks proves who they are, where OpenAPI has a word for it: it has none for the credentials of a
/// local peer, nor for an assertion in a form.
fn security(route: &Route) -> Option<Value> {
    match (route.door, route.asks) {
        (Door::People, _) => Some(json!([{ "login": [] }, {}])),
        (Door::Public, Asks::Person(_)) => Some(json!([{ "session": [] }])),
        (Door::Instance, _) if TAKE_TOKENS.contains(&route.name) => {
            Some(json!([{ "svid": [] }, { "token": [] }]))
        }
        (Door::Instance, _) => Some(json!([{ "svid": [] }])),
        (Door::Public | Door::Operations, _) => None,
    }
}

/// The routes of an instance's own task at which a token will do.
const TAKE_TOKENS: [&str; 3] = ["complete_task", "delegate_own", "withdraw_own"];

fn security_schemes() -> Value {
    json!({
        "svid": { "type": "mutualTLS", "description": "The instance's X509-SVID." },
        "token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "at+jwt",
            "description": "An access token for the whole gateway, bound to the certificate (RFC 8705); one bound by DPoP \
    is shown with that scheme and a proof (RFC 9449).",
        },
        "login": {
            "type": "http", "scheme": "dpop",
            "description": "On the public port: the login of a command line, with a proof by its key. The local socket needs none.",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "__Host-ambit-session",
            "description": "The session of a person's browser.",
        },
    })
}

fn speaks_oauth(route: &Route) -> bool {
    route.path.starts_with("/oauth/")
}

/// Says whether a request is a form: of a client, or of a page.
fn takes_a_form(route: &Route) -> bool {
    speaks_oauth(route) || is_page(route)
}

fn responses(route: &Route) -> Value {
    let done = json!({ "description": "It was done.", "content": answer(route.answer) });
    let refused = refusal(route);
    if !is_page(route) {
        // RFC 9126 §2.2 wants another status than the rest.
        let status = if route.name == "oauth_par" {
            "201"
        } else {
            "200"
        };
        return json!({ status: done, "default": refused });
    }
    let place = json!({ "required": true, "schema": { "type": "string" } });
    let elsewhere = json!({
        "description": "The browser goes on elsewhere: to sign in, to the next page, or back to who sent it.",
        "headers": { "Location": place },
    });
    json!({ "200": done, "303": elsewhere, "default": refused })
}

/// Says whether a browser shows to a person whatever comes back.
fn is_page(route: &Route) -> bool {
    let is_asked = route.answer == "text/html" && route.asks != Asks::Nothing;
    is_asked || matches!(route.asks, Asks::WhoItIs)
}

fn refusal(route: &Route) -> Value {
    if is_page(route) {
        return json!({
            "description": "It was not done: a page says why, and what to do.",
            "content": { "text/html": { "schema": { "type": "string" } } },
        });
    }
    if speaks_oauth(route) {
        return json!({
            "description": "It was not done: the error of RFC 6749 §5.2, with what to do.",
            "content": { "application/json": { "schema": reference("OAuthRefusal") } },
        });
    }
    json!({
        "description": "It was not done: a problem (RFC 9457) with a stable `code`.",
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    })
}

fn parameters(route: &Route) -> Vec<Value> {
    let names = route
        .path
        .split('/')
        .filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    let mut found: Vec<Value> = names
        .map(|it| it.trim_start_matches('*'))
        .map(|it| json!({ "name": it, "in": "path", "required": true, "schema": named(it) }))
        .collect();
    if route.name == "records" {
        let from = json!({ "type": "integer", "minimum": 0 });
        found.push(json!({ "name": "from", "in": "query", "schema": from }));
        let count = json!({
            "type": "integer", "minimum": 1, "maximum": super::RECORDS_PER_ANSWER_MAX,
        });
        found.push(json!({ "name": "count", "in": "query", "schema": count }));
    }
    if route.name == "list_approvals" {
        found.push(json!({ "name": "ended", "in": "query", "schema": { "type": "boolean" } }));
    }
    if route.name == "list_tasks" {
        let count =
            json!({ "type": "integer", "minimum": 1, "maximum": super::TASKS_PER_ANSWER_MAX });
        found.push(json!({ "name": "ended", "in": "query", "schema": { "type": "boolean" } }));
        found.push(json!({ "name": "before", "in": "query", "schema": named("task") }));
        found.push(json!({ "name": "count", "in": "query", "schema": count }));
    }
    if route.takes_a_key() {
        let key = json!({ "type": "string", "format": "uuid", "pattern": UUID_V7 });
        found.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": key, "description": IDEMPOTENCY_KEY,
        }));
    }
    found
}

/// Returns what a parameter of this name may be: an identifier, where it has the name of what it identifies.
fn named(parameter: &str) -> Value {
    let prefix = match parameter {
        "task" => kind::Task::PREFIX,
        "decision" => kind::Decision::PREFIX,
        "approval" => kind::Approval::PREFIX,
        "delegation" => kind::Delegation::PREFIX,
        "login" => kind::Login::PREFIX,
        "passkey" => kind::Passkey::PREFIX,
        "server" | "reference" => return json!({ "type": "string", "pattern": NAME }),
        _ => return json!({ "type": "string" }),
    };
    // 26 digits of base 32 hold 130 bits: the first is at most 7.
    let pattern = format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$");
    json!({ "type": "string", "pattern": pattern })
}

/// A name of the estate.
const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const UUID_V7: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";

fn answer(answer: &str) -> Value {
    if answer == "application/json" {
        json!({ answer: { "schema": { "type": "object" } } })
    } else if answer.contains('/') {
        json!({ answer: { "schema": { "type": "string" } } })
    } else {
        json!({ "application/json": { "schema": reference(answer) } })
    }
}

/// What else an object may have.
#[derive(Clone, Copy)]
enum Others {
    Refused,
    /// RFC 6749 §3.2: a server ignores parameters that it does not know.
    Ignored,
}

impl Others {
    fn of(schema: &Schema) -> Self {
        let mut forms = routes().filter(|it| takes_a_form(it));
        match forms.any(|it| it.request == Some(schema.name)) {
            true => Self::Ignored,
            false => Self::Refused,
        }
    }
}

fn schema(schema: &Schema, others: Others) -> Value {
    let properties: Map<String, Value> = schema
        .members
        .iter()
        .map(|Member(name, it, _)| ((*name).to_owned(), shape(it)))
        .collect();
    let required: Vec<&str> = schema
        .members
        .iter()
        .filter(|Member(_, _, need)| *need == Need::Always)
        .map(|Member(name, ..)| *name)
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": match others {
            Others::Refused => json!(false),
            // Each parameter comes once.
            Others::Ignored => json!({ "type": "string" }),
        },
    })
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Time => json!({ "type": "string", "format": "date-time" }),
        Shape::Count => count(INTEGER_MAX),
        Shape::UpTo(max) => count(*max),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Identifier(of) => named(of),
        Shape::SomeText => json!({ "type": "string", "minLength": 1 }),
        Shape::SomeCounts(max) => json!({
            "type": "array", "items": count(INTEGER_MAX), "minItems": 1, "maxItems": max,
        }),
        Shape::Objects => json!({ "type": "array", "items": { "type": "object" } }),
        Shape::Object => json!({ "type": "object" }),
        Shape::Scalars => json!({
            "type": "object", "additionalProperties": { "type": ["string", "integer", "boolean"] },
        }),
        Shape::MapOf(name) => json!({ "type": "object", "additionalProperties": reference(name) }),
        Shape::SomeValues => json!({ "type": "array", "items": {}, "minItems": 1 }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Anything => json!({}),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::Of(name) => reference(name),
        Shape::ListOf(name) => json!({ "type": "array", "items": reference(name) }),
        Shape::Truth => json!({ "type": "boolean" }),
        Shape::TextOrNull => json!({ "type": ["string", "null"] }),
    }
}

fn count(max: u64) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": max })
}

/// The greatest integer that JSON has for everybody (RFC 7493 section 2.2).
const INTEGER_MAX: u64 = (1 << 53) - 1;

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

const IDEMPOTENCY_KEY: &str = "A UUID of version 7 (RFC 9562). The same request with the same key is done once and \
gets the same answer. The server remembers the newest keys of each local user and of each person with a login, since it started; an older key is refused \
(`idempotency_key_too_old`), so that neither a restart nor forgetting repeats an act.";

const DESCRIPTION: &str = "People are identified on the local socket by the operating system, on the public port by a \
login that is bound to a key (RFC 9449), instances by their X509-SVID. Every route asks for a decision, which is recorded. Bodies are JSON with one reading: duplicate and \
unknown keys are refused.";

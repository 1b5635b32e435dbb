//! Requests for a person's consent, pushed beforehand (RFC 9126) or carried by the person's browser.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ambit_core::{
    AgentName, Digest, Millis, TemplateName, Timestamp,
    json::{self, Value},
};
use ambit_identity::jose::base64url;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{KnownClient, OAuthError, Server, client::Client, error::json, form::Form, locked};
use crate::api::Shared;

/// How long a pushed request waits for its person.
pub const PUSHED_TTL: Millis = Millis::from_seconds(90);
/// The most pushed requests that wait at once.
pub const PUSHED_MAX: usize = 10_000;
/// The longest `state`, in bytes.
const STATE_BYTES_MAX: usize = 2048;

/// A request for a person's consent, its client known and its address one that the client declared.
#[derive(Clone, Debug)]
pub struct AuthorizeRequest {
    /// Who asks (`client_id`).
    pub client_id: String,
    /// The client's name, for people.
    pub client_name: String,
    /// Where the person is sent back to.
    pub redirect_uri: String,
    /// What the client wants back unchanged.
    pub state: Option<String>,
    /// Where the token shall be used.
    pub audience: String,
    /// The task that the client has in mind; the person decides.
    pub wanted: Option<Wanted>,
    /// The base64url SHA-256 of the secret that redeems the code (PKCE, S256).
    pub(super) challenge: String,
    /// The key to which the code is bound, when the client named one (RFC 9449 §10).
    pub(super) key: Option<Digest>,
}

/// A task that a client has in mind: one `ambit_task` in its `authorization_details`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// From which template.
    pub template: TemplateName,
    /// For which agent, when it says.
    pub agent: Option<AgentName>,
    /// The parameters, unchecked.
    pub parameters: BTreeMap<String, Value>,
}

/// The requests that wait for their person.
#[derive(Default)]
pub(super) struct Pushed(HashMap<Digest, (AuthorizeRequest, Timestamp)>);

impl Pushed {
    fn keep(
        &mut self,
        request: AuthorizeRequest,
        name: &str,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        self.0.retain(|_, (_, until)| *until > now);
        if self.0.len() >= PUSHED_MAX {
            return Err(OAuthError::unavailable(
                "too many requests wait for a person; try again in a minute",
            ));
        }
        let until = now.plus(PUSHED_TTL);
        self.0.insert(Digest::of(name.as_bytes()), (request, until));
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        request_uri: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<AuthorizeRequest, OAuthError> {
        let unknown = || {
            OAuthError::request(
                "the request_uri is unknown, was used, or is over; push the request again",
            )
        };
        let name = Digest::of(request_uri.as_bytes());
        let (request, until) = self.0.remove(&name).ok_or_else(unknown)?;
        if until <= now || request.client_id != client_id {
            return Err(unknown());
        }
        Ok(request)
    }
}

/// `POST /oauth/par`.
pub(crate) async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match pushed(&shared, request).await {
        Ok(value) => {
            let mut response = json(&value);
            *response.status_mut() = StatusCode::CREATED;
            response
        }
        Err(error) => error.into_response(),
    }
}

async fn pushed(shared: &Shared, request: Request) -> Result<Value, OAuthError> {
    let server = shared.server()?;
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    let moment = (server.control.clock)();
    let client = server
        .client(&head.headers, &form, None, moment.now)
        .await?;
    let Client::Known { id, client, .. } = client else {
        return Err(OAuthError::new(
            "unauthorized_client",
            "an instance has its task already; it asks for a token with client_credentials",
        ));
    };
    if form.get("request_uri").is_some() {
        return Err(OAuthError::request("a pushed request names no request_uri"));
    }
    let request = read(server, &form, &id, &client)?;
    let name = format!("{URN}{}", base64url::encode(moment.chance));
    locked(&server.oauth.pushed).keep(request, &name, moment.now)?;
    let lives = PUSHED_TTL.as_millis() / 1000;
    Ok(Value::object([
        ("request_uri", name.into()),
        ("expires_in", lives.into()),
    ]))
}

/// Reads the parameters of a request for consent.
pub(super) fn read(
    server: Server<'_>,
    form: &Form,
    client_id: &str,
    client: &KnownClient,
) -> Result<AuthorizeRequest, OAuthError> {
    let redirect_uri = form.required("redirect_uri")?;
    if !client.redirect_uris.iter().any(|it| it == redirect_uri) {
        return Err(OAuthError::request(
            "redirect_uri is none that the client declared; they are compared letter by letter",
        ));
    }
    if form.required("client_id")? != client_id {
        return Err(OAuthError::request("client_id is another client"));
    }
    if form.required("response_type")? != "code" {
        return Err(OAuthError::new(
            "unsupported_response_type",
            "ask for response_type=code",
        ));
    }
    if form.get("request").is_some() {
        return Err(OAuthError::new(
            "request_not_supported",
            "send the parameters themselves, or push them",
        ));
    }
    let state = form.get("state").map(str::to_owned);
    if state.as_ref().is_some_and(|it| it.len() > STATE_BYTES_MAX) {
        return Err(OAuthError::request("`state` is too long"));
    }
    Ok(AuthorizeRequest {
        client_id: client_id.to_owned(),
        client_name: client.name.clone(),
        redirect_uri: redirect_uri.to_owned(),
        state,
        audience: server.place(form)?.url,
        wanted: form.get("authorization_details").map(wanted).transpose()?,
        challenge: challenge(form)?,
        key: form.get("dpop_jkt").map(thumbprint).transpose()?,
    })
}

fn challenge(form: &Form) -> Result<String, OAuthError> {
    let refused = || {
        OAuthError::request(
            "send a code_challenge of 43 characters with code_challenge_method=S256 (RFC 7636)",
        )
    };
    if form.get("code_challenge_method") != Some("S256") {
        return Err(refused());
    }
    let challenge = form.get("code_challenge").ok_or_else(refused)?;
    let bytes = base64url::decode(challenge).map_err(|_| refused())?;
    if bytes.len() == 32 {
        return Ok(challenge.to_owned());
    }
    Err(refused())
}

fn thumbprint(text: &str) -> Result<Digest, OAuthError> {
    let bytes = base64url::decode(text).ok();
    let bytes = bytes.and_then(|it| it.try_into().ok());
    bytes.map(Digest::from_bytes).ok_or_else(|| {
        OAuthError::request("dpop_jkt is the base64url SHA-256 thumbprint of a key (RFC 9449 §10)")
    })
}

/// Reads the one task that a client has in mind.
fn wanted(text: &str) -> Result<Wanted, OAuthError> {
    let wrong = |what: String| OAuthError::new("invalid_authorization_details", what);
    let value = json::parse(text.as_bytes());
    let value = value.map_err(|error| wrong(format!("authorization_details: {error}")))?;
    let Some([detail]) = value.as_array() else {
        return Err(wrong("name one task".to_owned()));
    };
    let members = detail
        .as_object()
        .ok_or_else(|| wrong("a detail is an object".to_owned()))?;
    for name in members.keys() {
        if !["type", "template", "agent", "parameters"].contains(&name.as_str()) {
            let name = crate::visible::visible(name);
            return Err(wrong(format!("a wanted task has no member `{name}`")));
        }
    }
    let kind = ambit_policy::AUTHORIZATION_DETAIL_TYPE;
    let word = |name: &str| members.get(name).and_then(Value::as_str);
    if word("type") != Some(kind) {
        return Err(wrong(format!("the type must be {kind}")));
    }
    let template = word("template").and_then(|it| it.parse().ok());
    let template = template.ok_or_else(|| wrong("`template` names a template".to_owned()))?;
    let agent = match members.get("agent") {
        None => None,
        Some(_) => {
            let agent = word("agent").and_then(|it| it.parse().ok());
            Some(agent.ok_or_else(|| wrong("`agent` names an agent".to_owned()))?)
        }
    };
    let parameters = match members.get("parameters") {
        None => BTreeMap::new(),
        Some(Value::Object(parameters)) => parameters.clone(),
        Some(_) => return Err(wrong("`parameters` is an object".to_owned())),
    };
    Ok(Wanted {
        template,
        agent,
        parameters,
    })
}

const URN: &str = "urn:ietf:params:oauth:request_uri:";

//! What a token is worth (RFC 7662), and giving it up (RFC 7009).

use std::sync::Arc;

use ambit_core::{
    SpiffeId, Timestamp,
    json::Value,
    task::Task,
    token::{IssuedToken, KeyBinding, Reach},
};
use ambit_engine::TokenStanding;
use ambit_identity::{InstanceCaller, jose::base64url};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};

use super::{
    OAuthError, Server, claimed::refused_sender, error::json, form::Form, grants::refresh_standing,
    keyring::LiveToken, sent::Good,
};
use crate::api::{Instance, Shared};

/// `POST /oauth/introspect`: a client asks about a token of its own. Of any other it hears that it is not active.
pub(crate) async fn introspect(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match introspected(&shared, None, request).await {
        Ok(value) => json(&value),
        Err(error) => error.into_response(),
    }
}

/// `POST /oauth/revoke`: a client gives up a token of its own; with a refresh token, all that came of its grant.
pub(crate) async fn revoke(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match revoked(&shared, None, request).await {
        Ok(()) => json(&Value::Object(std::collections::BTreeMap::new())),
        Err(error) => error.into_response(),
    }
}

/// `POST /oauth/mtls/introspect`: as [`introspect`], for an instance with its certificate (RFC 8705 §5).
pub(crate) async fn introspect_mtls(
    State(shared): State<Arc<Shared>>,
    Instance(caller): Instance,
    request: Request,
) -> Response {
    match introspected(&shared, Some(&caller), request).await {
        Ok(value) => json(&value),
        Err(error) => error.into_response(),
    }
}

/// `POST /oauth/mtls/revoke`: as [`revoke`], for an instance with its certificate (RFC 8705 §5).
pub(crate) async fn revoke_mtls(
    State(shared): State<Arc<Shared>>,
    Instance(caller): Instance,
    request: Request,
) -> Response {
    match revoked(&shared, Some(&caller), request).await {
        Ok(()) => json(&Value::Object(std::collections::BTreeMap::new())),
        Err(error) => error.into_response(),
    }
}

async fn introspected(
    shared: &Shared,
    by_certificate: Option<&InstanceCaller>,
    request: Request,
) -> Result<Value, OAuthError> {
    let server = shared.server()?;
    let (form, client, now) = asked((server, by_certificate), request).await?;
    let text = form.required("token")?;
    let inactive = Value::object([("active", false.into())]);
    if let Some(live) = server.live_token(text, now)? {
        let own = live.issued.client == client;
        return Ok(if own { server.told(&live) } else { inactive });
    }
    match refresh_standing(server, text)? {
        TokenStanding::Live(issued, task) if issued.client == client => {
            Ok(Value::object(common(server, &issued, &task)))
        }
        TokenStanding::Live(..) | TokenStanding::Over => Ok(inactive),
    }
}

async fn revoked(
    shared: &Shared,
    by_certificate: Option<&InstanceCaller>,
    request: Request,
) -> Result<(), OAuthError> {
    let server = shared.server()?;
    let (form, client, now) = asked((server, by_certificate), request).await?;
    let text = form.required("token")?;
    let handle = &server.control.handle;
    // What the estate does not let it do now may be let again: it is given up all the same.
    let ended = match server.issued_token(text, now)? {
        Some(issued) => handle.give_up_token(&client, issued.id, Reach::Token).await,
        None => handle.give_up_refresh(&client, text).await,
    };
    ended.map_err(OAuthError::refused)
}

async fn asked(
    (server, by_certificate): (Server<'_>, Option<&InstanceCaller>),
    request: Request,
) -> Result<(Form, String, Timestamp), OAuthError> {
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    let now = (server.control.clock)().now;
    let client = server.client(&head, &form, by_certificate, now).await?;
    // Nothing is given here: who asks holds the token that it asks about, and a key is not proved. One that says to be
    // good once was good for this.
    if let Some(assertion) = client.assertion()
        && assertion.good == Good::Once
    {
        let sent = server.oauth.sent(assertion, None, server.control.wall());
        sent.map_err(|error| refused_sender(error, OAuthError::client))?
            .gave();
    }
    Ok((form, client.name()?, now))
}

impl Server<'_> {
    fn told(&self, live: &LiveToken) -> Value {
        let grant = live.token.grant();
        let kind = match grant.binding {
            KeyBinding::Dpop { .. } => "DPoP",
            KeyBinding::Mtls { .. } | KeyBinding::Bearer => "Bearer",
        };
        let mission = Value::object([
            ("id", grant.mission.id.as_str().into()),
            ("root", grant.mission.root.as_str().into()),
            ("issuer", self.issuer.into()),
            (
                "authority_hash",
                grant.mission.authority_hash.as_str().into(),
            ),
            ("expires_at", grant.mission.expires_at.as_str().into()),
        ]);
        let members = [
            ("token_type", kind.into()),
            ("act", act(&grant.actors)),
            ("mission", mission),
            ("authorization_details", grant.authorization_details.clone()),
        ];
        let common = common(*self, &live.issued, &live.task);
        Value::object(common.into_iter().chain(members))
    }
}

/// Returns what is told of every token.
fn common(server: Server<'_>, token: &IssuedToken, task: &Task) -> Vec<(&'static str, Value)> {
    let mut members = vec![
        ("active", true.into()),
        ("iss", server.issuer.into()),
        ("jti", token.id.to_string().into()),
        ("sub", task.subject.to_string().into()),
        ("client_id", token.client.as_str().into()),
        ("aud", token.audience.as_str().into()),
        ("exp", (token.expires_at.as_millis() / 1000).into()),
    ];
    let confirmed = |method, digest: ambit_core::Digest| {
        let digest = base64url::encode(digest.as_bytes());
        ("cnf", Value::object([(method, digest.into())]))
    };
    match token.binding {
        KeyBinding::Mtls { certificate } => members.push(confirmed("x5t#S256", certificate)),
        KeyBinding::Dpop { thumbprint } => members.push(confirmed("jkt", thumbprint)),
        KeyBinding::Bearer => {}
    }
    members
}

fn act(actors: &[SpiffeId]) -> Value {
    let nest = |inner: Option<Value>, actor: &SpiffeId| {
        let subject = ("sub", Value::from(actor.to_string()));
        let inner = inner.map(|it| ("act", it));
        Some(Value::object([subject].into_iter().chain(inner)))
    };
    let nested = actors.iter().rev().fold(None, nest);
    nested.unwrap_or(Value::Null)
}

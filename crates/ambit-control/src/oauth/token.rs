//! The token endpoint.

use std::sync::Arc;

use ambit_core::{
    Timestamp,
    json::Value,
    token::{Grant, KeyBinding},
};
use ambit_engine::TokenGrant;
use ambit_identity::{
    InstanceCaller,
    mission::{Anchor, AnchorKind},
    token::access::{AccessGrant, Mission},
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};

use super::{
    Circle, OAuthError, Server,
    claimed::{refused_sender, shown_workload},
    device::DEVICE_GRANT,
    error::{json, put_nonce},
    exchange::{ACCESS_TOKEN, TOKEN_EXCHANGE},
    form::{Form, JWT_BEARER},
    grants::{Asking, grant, refuse_unknown},
    metadata::{MTLS_TOKEN, TOKEN},
};
use crate::{
    api::{Instance, Shared},
    carried::OnlyAnswer,
};

/// `POST /oauth/token`.
pub(crate) async fn token(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    answer(&shared, None, request).await
}

/// `POST /oauth/mtls/token`: as [`token`], for an instance with its certificate (RFC 8705 §5).
pub(crate) async fn token_mtls(
    State(shared): State<Arc<Shared>>,
    Instance(caller): Instance,
    request: Request,
) -> Response {
    answer(&shared, Some(&caller), request).await
}

async fn answer(
    shared: &Shared,
    by_certificate: Option<&InstanceCaller>,
    request: Request,
) -> Response {
    match granted(shared, by_certificate, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn granted(
    shared: &Shared,
    by_certificate: Option<&InstanceCaller>,
    request: Request,
) -> Result<Response, OAuthError> {
    let server = shared.server()?;
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    server.check_grant_type(&form)?;
    let now = (server.control.clock)().now;
    let url = match by_certificate {
        None => format!("{}{TOKEN}", server.issuer),
        Some(_) => server.mtls_url(MTLS_TOKEN),
    };
    // Before anything is used up: who lacks a nonce comes again with the same assertion.
    let proof = server.proof(&head.headers, &url, now)?;
    if by_certificate.is_none() && form.get("grant_type") == Some(DEVICE_GRANT) {
        return server.device_token(&form, proof.as_ref(), now);
    }
    let client = server.client(&head, &form, by_certificate, now).await?;
    let workload = shown_workload(server, (&form, &client)).await?;
    let circle = match &workload {
        Some(_) => Circle::Clients,
        None => client.circle(),
    };
    // What nobody gets anything for is used up for nothing, and takes room of others.
    server.check_cheap(&form)?;
    let proved = proof.as_ref().map(|it| (circle, it));
    let binding = server.binding((&form, &client), proved, by_certificate, now)?;
    let asking = Asking {
        form: &form,
        client: &client,
        binding,
        workload: workload.as_ref(),
    };
    // Whoever can show the same assertion again: the key that was proved beside it keeps it.
    let sent = client
        .assertion()
        .map(|it| server.oauth.sent(it, binding.key(), server.control.wall()));
    let sent = sent.transpose();
    let sent = sent.map_err(|error| refused_sender(error, OAuthError::client))?;
    let granted = grant(server, asking).await?;
    let only = only_answer(server, &granted);
    if let Some(sent) = sent {
        sent.gave();
    }
    let now = (server.control.clock)().now;
    let mut response = json(&server.signed(&granted, now)?);
    if let Some(only) = only {
        response.extensions_mut().insert(only);
    }
    put_nonce(&mut response, Some(&server.nonce(now)));
    Ok(response)
}

/// Of what was given for something that is spent there is no other answer: a code, a delegation.
fn only_answer(server: Server<'_>, granted: &TokenGrant) -> Option<OnlyAnswer> {
    match granted.access().grant {
        Grant::AuthorizationCode | Grant::TokenExchange => {
            let handle = &server.control.handle;
            Some(OnlyAnswer::of_task(handle, granted.task().id))
        }
        Grant::ClientCredentials | Grant::RefreshToken | Grant::JwtBearer => None,
    }
}

impl Server<'_> {
    /// Refuses a form that no grant is given for, as far as that is seen without spending anything. Other things that are
    /// wrong beside a code end what it gave, and are looked at with it.
    fn check_cheap(&self, form: &Form) -> Result<(), OAuthError> {
        refuse_unknown(form)?;
        match form.required("grant_type")? {
            "authorization_code" => form.required("code").map(drop),
            "refresh_token" => {
                form.required("refresh_token")?;
                let place = form.get("resource").map(|it| self.read_place(it));
                place.transpose().map(drop)
            }
            "client_credentials" | JWT_BEARER | TOKEN_EXCHANGE => self.place(form).map(drop),
            // No other comes here.
            _ => Ok(()),
        }
    }

    /// Signs what was granted. Its record is durable already.
    fn signed(&self, granted: &TokenGrant, now: Timestamp) -> Result<Value, OAuthError> {
        let (task, issued) = (granted.task(), granted.access());
        let whole = granted.authorization_details();
        let anchor = Anchor::of(
            AnchorKind::AuthoritySet,
            self.issuer,
            whole.as_ref().clone(),
        );
        let details = self.read_place(&issued.audience)?.of(&granted.carried());
        let token = self.keyring()?.issuer.issue(
            &AccessGrant {
                token_id: issued.id.to_string(),
                subject: task.subject.to_string(),
                client_id: issued.client.clone(),
                audience: issued.audience.clone(),
                actors: granted
                    .line()
                    .iter()
                    .map(|it| it.spiffe_id.clone())
                    .collect(),
                mission: Mission::new(&task.id, anchor, task.expires_at).under(&granted.root().id),
                authorization_details: details.clone(),
                binding: issued.binding,
                expires_at: issued.expires_at,
            },
            now,
        );
        let token = token.map_err(|error| OAuthError::failed(&error))?;
        let kind = match issued.binding {
            KeyBinding::Dpop { .. } => "DPoP",
            KeyBinding::Mtls { .. } | KeyBinding::Bearer => "Bearer",
        };
        let lives = issued.expires_at.since(now).as_millis() / 1000;
        let refresh = granted.refresh().map(|it| ("refresh_token", it.into()));
        let members = [
            ("access_token", token.into()),
            ("token_type", kind.into()),
            ("expires_in", lives.into()),
            ("authorization_details", details),
        ];
        let exchanged = (issued.grant == Grant::TokenExchange)
            .then(|| ("issued_token_type", ACCESS_TOKEN.into()));
        Ok(Value::object(
            members.into_iter().chain(refresh).chain(exchanged),
        ))
    }
}

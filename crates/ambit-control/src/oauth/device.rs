//! `ambit login`: a command line asks for a login, and a person says yes in a browser (RFC 8628).
//!
//! The one client of this flow is Ambit's own command line. What it gets is no token of a task but a login: the routes
//! of people take it on the public port.

use std::sync::Arc;

use ambit_core::{Timestamp, json::Value};
use ambit_identity::dpop::Proof;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};

use super::{
    Circle, OAuthError, Server,
    device_codes::{DEVICE_CODE_TTL, DEVICE_POLL_EVERY, NotYet},
    error::{json, put_nonce},
    form::Form,
    locked, origin_of,
};
use crate::api::Shared;

/// The name of Ambit's own command line as a client.
pub const COMMAND_LINE: &str = "ambit-cli";
/// The grant (RFC 8628 §3.4).
pub(super) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(super) const DEVICE_AUTHORIZATION: &str = "/oauth/device_authorization";
/// Where people answer.
pub(crate) const DEVICE_PAGE: &str = "/device";

/// `POST /oauth/device_authorization`.
pub(crate) async fn device_authorization(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Response {
    match begun(&shared, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn begun(shared: &Shared, request: Request) -> Result<Response, OAuthError> {
    let server = shared.server()?;
    server.check_people()?;
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    let moment = (server.control.clock)();
    let url = format!("{}{DEVICE_AUTHORIZATION}", server.issuer);
    let proof = server.proof(&head.headers, &url, moment.now)?;
    check_client(&form)?;
    // Not used up: whoever sends it again gets a code that is of no use without the key.
    let key = server.shown(proof.as_ref(), moment.now)?.thumbprint();
    let origin = origin_of(&head.extensions);
    let device = form.get("device").unwrap_or("a command line");
    let begun = locked(&server.oauth.devices).begin((key, origin), device, &moment);
    let begun = begun.map_err(|error| OAuthError::unavailable(error.to_string()))?;
    let page = format!("{}{DEVICE_PAGE}", server.issuer);
    let complete = format!("{page}?user_code={}", begun.user_code);
    let mut response = json(&Value::object([
        ("device_code", begun.device_code.into()),
        ("user_code", begun.user_code.into()),
        ("verification_uri", page.into()),
        ("verification_uri_complete", complete.into()),
        ("expires_in", (DEVICE_CODE_TTL.as_millis() / 1000).into()),
        ("interval", (DEVICE_POLL_EVERY.as_millis() / 1000).into()),
    ]));
    put_nonce(&mut response, Some(&server.nonce(moment.now)));
    Ok(response)
}

impl Server<'_> {
    /// A login is always bound to a key.
    fn shown<'a>(&self, proof: Option<&'a Proof>, now: Timestamp) -> Result<&'a Proof, OAuthError> {
        proof.ok_or_else(|| {
            let what = "a login is bound to a key; send a DPoP proof (RFC 9449)";
            OAuthError::new("invalid_dpop_proof", what).with_nonce(self.nonce(now))
        })
    }

    /// Answers a command line that waits (RFC 8628 §3.5).
    pub(super) fn device_token(
        &self,
        form: &Form,
        proof: Option<&Proof>,
        now: Timestamp,
    ) -> Result<Response, OAuthError> {
        check_client(form)?;
        let code = form.required("device_code")?;
        let proof = self.shown(proof, now)?;
        let nonce = self.nonce(now);
        // Only who has a code takes room among the proofs.
        let waits = locked(&self.oauth.devices).find(code, proof.thumbprint());
        waits.map_err(|why| not_yet(why).with_nonce(nonce.clone()))?;
        let key = self.proved_key((Circle::Strangers, proof), None, now)?;
        let grant = locked(&self.oauth.devices).poll(code, key, now);
        let grant = grant.map_err(|why| not_yet(why).with_nonce(nonce.clone()))?;
        let lives = grant.login().expires_at.since(now).as_millis() / 1000;
        let mut response = json(&Value::object([
            ("access_token", grant.text().into()),
            ("token_type", "DPoP".into()),
            ("expires_in", lives.into()),
        ]));
        put_nonce(&mut response, Some(&nonce));
        Ok(response)
    }
}

fn not_yet(why: NotYet) -> OAuthError {
    match why {
        NotYet::Unknown => OAuthError::grant(
            "the device_code is unknown, over, or of another key; run `ambit login` again",
        ),
        NotYet::Pending => OAuthError::new(
            "authorization_pending",
            "nobody has answered in the browser yet; ask again after the interval",
        ),
        NotYet::SlowDown => OAuthError::new(
            "slow_down",
            "that was too soon; wait longer from now on, by the interval",
        ),
        NotYet::Expired => OAuthError::new(
            "expired_token",
            "nobody answered in time; run `ambit login` again",
        ),
        NotYet::Refused => OAuthError::new("access_denied", "the person said no in the browser"),
    }
}

fn check_client(form: &Form) -> Result<(), OAuthError> {
    match form.get("client_id") {
        Some(COMMAND_LINE) => Ok(()),
        Some(_) | None => Err(OAuthError::client(format!(
            "only Ambit's own command line logs people in so; its client_id is `{COMMAND_LINE}`"
        ))),
    }
}

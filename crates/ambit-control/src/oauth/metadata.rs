//! What is offered, and by which keys its answers are verified: exactly what is implemented.

use std::sync::Arc;

use ambit_core::json::Value;
use ambit_identity::{dpop, jose::Algorithm};
use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    OAuthError, Server,
    authorize::AUTHORIZE,
    device::{DEVICE_AUTHORIZATION, DEVICE_GRANT},
    exchange::TOKEN_EXCHANGE,
    form::JWT_BEARER,
};
use crate::{api::Shared, people::SignIns};

pub(super) const TOKEN: &str = "/oauth/token";
pub(super) const MTLS_TOKEN: &str = "/oauth/mtls/token";
pub(super) const PUSH: &str = "/oauth/par";
const INTROSPECT: &str = "/oauth/introspect";
const REVOKE: &str = "/oauth/revoke";
const JWKS: &str = "/oauth/jwks";

/// `GET /.well-known/oauth-authorization-server` (RFC 8414).
pub(crate) async fn authorization_server(State(shared): State<Arc<Shared>>) -> Response {
    answer(shared.server().map(|it| Value::object(offered(it))))
}

/// `GET /.well-known/openid-configuration`: the same, for clients that look there (OpenID Connect Discovery 1.0 §4).
/// There are no ID tokens; the members that discovery wants say what would sign them.
pub(crate) async fn openid_configuration(State(shared): State<Arc<Shared>>) -> Response {
    let own = [
        ("subject_types_supported", list(["public"])),
        (
            "id_token_signing_alg_values_supported",
            list([Algorithm::Es256.as_str()]),
        ),
    ];
    answer(
        shared
            .server()
            .map(|it| Value::object(offered(it).into_iter().chain(own))),
    )
}

/// `GET /oauth/jwks`.
pub(crate) async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    let keys = shared.server().and_then(|it| it.keyring());
    answer(keys.map(|it| it.jwks.clone()))
}

impl Server<'_> {
    /// Returns where instances get tokens with their certificates (RFC 8705 section 5): at the gateway, by the name that
    /// clients use.
    pub(super) fn mtls_token_url(&self) -> String {
        let gateway = self.control.gateway_url.as_deref();
        let gateway = gateway.unwrap_or(&self.control.gateway);
        format!("{gateway}{MTLS_TOKEN}")
    }
}

fn offered(server: Server<'_>) -> Vec<(&'static str, Value)> {
    let mut all = members(server);
    all.extend(by_consent(server));
    all
}

/// What is offered to clients of people, where people sign in here.
fn by_consent(server: Server<'_>) -> Vec<(&'static str, Value)> {
    let at = |path: &str| Value::from(format!("{}{path}", server.issuer));
    match &server.control.sign_ins {
        SignIns::Nowhere => vec![("response_types_supported", list([]))],
        SignIns::At(_) | SignIns::WithPasskeys(_) => vec![
            ("authorization_endpoint", at(AUTHORIZE)),
            ("pushed_authorization_request_endpoint", at(PUSH)),
            ("response_types_supported", list(["code"])),
            ("response_modes_supported", list(["query"])),
            ("code_challenge_methods_supported", list(["S256"])),
            (
                "authorization_response_iss_parameter_supported",
                true.into(),
            ),
            ("client_id_metadata_document_supported", true.into()),
            ("device_authorization_endpoint", at(DEVICE_AUTHORIZATION)),
        ],
    }
}

/// The grants that are offered.
fn grants(server: Server<'_>) -> Value {
    let people = match &server.control.sign_ins {
        SignIns::Nowhere => [].as_slice(),
        SignIns::At(_) | SignIns::WithPasskeys(_) => &["authorization_code", DEVICE_GRANT],
    };
    [
        "client_credentials",
        "refresh_token",
        JWT_BEARER,
        TOKEN_EXCHANGE,
    ]
    .iter()
    .chain(people)
    .copied()
    .collect()
}

fn members(server: Server<'_>) -> Vec<(&'static str, Value)> {
    let at = |path: &str| Value::from(format!("{}{path}", server.issuer));
    let methods = || list(["private_key_jwt", "spiffe_jwt", "none"]);
    let algorithms = || -> Value { Algorithm::ALL.iter().map(|it| it.as_str()).collect() };
    let mtls = Value::from(server.mtls_token_url());
    vec![
        ("issuer", server.issuer.into()),
        ("token_endpoint", at(TOKEN)),
        ("jwks_uri", at(JWKS)),
        ("introspection_endpoint", at(INTROSPECT)),
        ("revocation_endpoint", at(REVOKE)),
        ("grant_types_supported", grants(server)),
        (
            "token_endpoint_auth_methods_supported",
            list(["private_key_jwt", "spiffe_jwt", "spiffe_x509", "none"]),
        ),
        (
            "token_endpoint_auth_signing_alg_values_supported",
            algorithms(),
        ),
        ("introspection_endpoint_auth_methods_supported", methods()),
        (
            "introspection_endpoint_auth_signing_alg_values_supported",
            algorithms(),
        ),
        ("revocation_endpoint_auth_methods_supported", methods()),
        (
            "revocation_endpoint_auth_signing_alg_values_supported",
            algorithms(),
        ),
        (
            "dpop_signing_alg_values_supported",
            dpop::ALGORITHMS.iter().map(|it| it.as_str()).collect(),
        ),
        ("tls_client_certificate_bound_access_tokens", true.into()),
        (
            "mtls_endpoint_aliases",
            Value::object([("token_endpoint", mtls)]),
        ),
        (
            "authorization_details_types_supported",
            list([ambit_policy::AUTHORIZATION_DETAIL_TYPE]),
        ),
    ]
}

fn list<const N: usize>(words: [&str; N]) -> Value {
    words.into_iter().collect()
}

fn answer(value: Result<Value, OAuthError>) -> Response {
    let value = match value {
        Ok(value) => value,
        Err(error) => return error.into_response(),
    };
    let kind = HeaderValue::from_static("application/json");
    let keep = HeaderValue::from_static("public, max-age=300");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)];
    (headers, value.to_canonical()).into_response()
}

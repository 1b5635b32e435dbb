//! Every way to be refused by the authorization server, with the standard's word for it.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::{
    super::public_router,
    booth::{Booth, CLIENT},
    clients::{BY_KEY, JWT_BEARER, assertion, declare},
    delegations::{ACCESS, EXCHANGE},
    doors::text,
    oauth::{Agent, Answered, PLACE, form, send},
    people::US,
};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const TOKEN: &str = "/oauth/token";
const PAR: &str = "/oauth/par";
const CHALLENGE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const BACK: (&str, &str) = ("redirect_uri", "https://app.example/cb");
const NAMED: (&str, &str) = ("client_id", CLIENT);
const CODE: (&str, &str) = ("response_type", "code");
const HERE: (&str, &str) = ("resource", PLACE);
/// Stands for an assertion of the desk's.
const DESK: (&str, &str) = ("client_assertion", "DESK");
const KIND: (&str, &str) = ("client_assertion_type", BY_KEY);

type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

/// Where, with what, the code (RFC 6749 §5.2 unless another is named), and what the description says.
const REFUSED: &[Row] = &[
    (TOKEN, &[], "invalid_request", "`grant_type` is missing"),
    (
        TOKEN,
        &[("grant_type", "password")],
        "unsupported_grant_type",
        "the metadata lists",
    ),
    (
        TOKEN,
        &[("grant_type", "client_credentials")],
        "invalid_client",
        "nobody asks",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            ("client_id", "nobody"),
        ],
        "invalid_client",
        "is unknown",
    ),
    (
        TOKEN,
        &[("grant_type", "client_credentials"), ("client_secret", "x")],
        "invalid_client",
        "no secrets",
    ),
    (
        TOKEN,
        &[("grant_type", "client_credentials"), KIND],
        "invalid_client",
        "belong together",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            ("client_assertion", "a.b.c"),
        ],
        "invalid_client",
        "belong together",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:x"),
            ("client_assertion", "a.b.c"),
        ],
        "invalid_client",
        "client_assertion_type must be",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            KIND,
            ("client_assertion", "a.b.c"),
        ],
        "invalid_client",
        "the client assertion is refused",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            KIND,
            ("client_assertion", "x"),
        ],
        "invalid_client",
        "RFC 7515 section 7.1",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            KIND,
            DESK,
            ("client_id", "page"),
        ],
        "invalid_client",
        "another client",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            ("client_id", "page"),
            HERE,
        ],
        "unauthorized_client",
        "a person's consent",
    ),
    // RFC 8707 §2.
    (
        TOKEN,
        &[("grant_type", "client_credentials"), KIND, DESK],
        "invalid_target",
        "as `resource`",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            KIND,
            DESK,
            ("resource", "https://elsewhere/mcp"),
        ],
        "invalid_target",
        "no route of this gateway",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            KIND,
            DESK,
            ("audience", PLACE),
        ],
        "invalid_target",
        "RFC 8707",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "client_credentials"),
            KIND,
            DESK,
            HERE,
            ("scope", "all"),
        ],
        "invalid_scope",
        "no scopes",
    ),
    (
        TOKEN,
        &[("grant_type", "client_credentials"), KIND, DESK, HERE],
        "invalid_grant",
        "no task waits",
    ),
    // RFC 6749 §4.1.3, §6.
    (
        TOKEN,
        &[("grant_type", "authorization_code"), NAMED],
        "invalid_request",
        "`code` is missing",
    ),
    (
        TOKEN,
        &[("grant_type", "authorization_code"), NAMED, ("code", "x")],
        "invalid_grant",
        "ask the person again",
    ),
    (
        TOKEN,
        &[("grant_type", "refresh_token"), NAMED],
        "invalid_request",
        "`refresh_token` is missing",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "refresh_token"),
            NAMED,
            ("refresh_token", "x"),
        ],
        "invalid_grant",
        "ask the person again",
    ),
    (
        TOKEN,
        &[
            ("grant_type", "refresh_token"),
            NAMED,
            ("refresh_token", "x"),
            ("authorization_details", "[]"),
        ],
        "invalid_authorization_details",
        "leave authorization_details out",
    ),
    // RFC 7523 §3.1.
    (
        TOKEN,
        &[("grant_type", JWT_BEARER), HERE],
        "invalid_request",
        "`assertion` is missing",
    ),
    (
        TOKEN,
        &[("grant_type", JWT_BEARER), HERE, ("assertion", "a.b.c")],
        "invalid_grant",
        "the workload token is refused",
    ),
    // RFC 8693 §2.2.2.
    (
        TOKEN,
        &[("grant_type", EXCHANGE), KIND, DESK, HERE],
        "invalid_request",
        "`subject_token` is missing",
    ),
    (
        TOKEN,
        &[("grant_type", EXCHANGE), ("client_id", "page"), HERE],
        "unauthorized_client",
        "proves nothing",
    ),
    (
        TOKEN,
        &[
            ("grant_type", EXCHANGE),
            KIND,
            DESK,
            HERE,
            ("subject_token", "x"),
            ("subject_token_type", ACCESS),
        ],
        "invalid_request",
        "worth nothing",
    ),
    // RFC 8628 §3.5.
    (
        TOKEN,
        &[("grant_type", DEVICE)],
        "invalid_client",
        "ambit-cli",
    ),
    (
        TOKEN,
        &[
            ("grant_type", DEVICE),
            ("client_id", "ambit-cli"),
            ("device_code", "x"),
        ],
        "invalid_grant",
        "ambit login",
    ),
    // RFC 9126 §2.3, RFC 6749 §4.1.2.1.
    (
        PAR,
        &[NAMED],
        "invalid_request",
        "`redirect_uri` is missing",
    ),
    (
        PAR,
        &[NAMED, ("redirect_uri", "https://evil.example/cb")],
        "invalid_request",
        "none that the client declared",
    ),
    (
        PAR,
        &[NAMED, BACK, HERE],
        "invalid_request",
        "`response_type` is missing",
    ),
    (
        PAR,
        &[NAMED, BACK, HERE, ("response_type", "token")],
        "unsupported_response_type",
        "response_type=code",
    ),
    (
        PAR,
        &[NAMED, BACK, HERE, CODE, ("request", "x")],
        "request_not_supported",
        "themselves",
    ),
    (
        PAR,
        &[NAMED, BACK, HERE, CODE, ("scope", "all")],
        "invalid_scope",
        "no scopes",
    ),
    (
        PAR,
        &[NAMED, BACK, HERE, CODE],
        "invalid_request",
        "code_challenge_method=S256",
    ),
    (
        PAR,
        &[
            NAMED,
            BACK,
            HERE,
            CODE,
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("dpop_jkt", "x"),
        ],
        "invalid_request",
        "RFC 9449 section 10",
    ),
    (
        PAR,
        &[
            NAMED,
            BACK,
            HERE,
            CODE,
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("authorization_details", "[9007199254740993]"),
        ],
        "invalid_authorization_details",
        "beyond +-(2^53 - 1)",
    ),
    (
        PAR,
        &[KIND, DESK],
        "invalid_request",
        "`redirect_uri` is missing",
    ),
    // RFC 7662 §2.3, RFC 7009 §2.2.1.
    (
        "/oauth/introspect",
        &[("token", "x")],
        "invalid_client",
        "nobody asks",
    ),
    (
        "/oauth/introspect",
        &[KIND, DESK],
        "invalid_request",
        "`token` is missing",
    ),
    (
        "/oauth/revoke",
        &[("token", "x")],
        "invalid_client",
        "nobody asks",
    ),
    (
        "/oauth/revoke",
        &[KIND, DESK],
        "invalid_request",
        "`token` is missing",
    ),
    // RFC 8628 §3.2, for the one client that there is.
    (
        "/oauth/device_authorization",
        &[("client_id", "x")],
        "invalid_client",
        "ambit-cli",
    ),
];

/// Asks with a fresh proof where one helps.
async fn ask((booth, agent): (&Booth, &Agent), path: &str, body: &str) -> Answered {
    let now = booth.desk.office.world.clock.now();
    let shown = path == TOKEN || path == PAR || path.ends_with("device_authorization");
    let send = async |nonce: Option<&str>| {
        let mut request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        if shown {
            request = request.header("dpop", agent.proof(&format!("{US}{path}"), nonce, now));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        send(public_router(&booth.desk.doors), request).await
    };
    let first = send(None).await;
    if first.error() != "use_dpop_nonce" {
        return first;
    }
    send(first.nonce()).await
}

/// Holds a refusal against what RFC 6749 §5.2 asks of every one.
#[track_caller]
pub(super) fn check(got: &Answered, what: &str, (error, says): (&str, &str)) {
    assert_eq!(got.error(), error, "{what}: {:?}", got.value);
    let told = text(&got.value, "error_description");
    assert!(told.contains(says), "{what}: no `{says}` in: {told}");
    let plain = |it: char| (' '..='~').contains(&it) && !['"', '\\', '?'].contains(&it);
    assert!(told.chars().all(plain), "{what}: {told}");
    let status = match error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    assert_eq!(got.status, status, "{what}");
}

/// Every refusal has the standard's code, its status, and a description that helps.
#[tokio::test]
async fn every_refusal_has_the_standards_code_and_says_what_to_do() {
    refuse_all().await;
}

/// Has everything in the table refused.
pub(super) async fn refuse_all() {
    let (booth, agent) = (Booth::open_with(declare).await, Agent::new(9));
    for (path, members, error, says) in REFUSED {
        let desk = assertion(&booth.desk.office, 21, "desk", US);
        let filled = members.iter().map(|(name, value)| match (*name, *value) {
            DESK => (*name, desk.as_str()),
            other => other,
        });
        let body = form(&filled.collect::<Vec<_>>());
        let got = ask((&booth, &agent), path, &body).await;
        check(&got, &format!("{path} {members:?}"), (error, says));
    }
}

/// RFC 6749 §5.2: whoever tried `Authorization` is answered by the scheme that it tried; nobody else is.
#[tokio::test]
async fn who_tries_a_secret_hears_the_scheme_again() {
    let booth = Booth::open_with(declare).await;
    let tried = async |tried: Option<&str>| {
        let mut request =
            Request::post(TOKEN).header("content-type", "application/x-www-form-urlencoded");
        if let Some(tried) = tried {
            request = request.header("authorization", tried);
        }
        let body = form(&[("grant_type", "client_credentials")]);
        let request = request.body(Body::from(body)).unwrap();
        send(public_router(&booth.desk.doors), request).await
    };
    for (with, scheme) in [
        (Some("Basic eDp5"), Some("Basic realm=\"ambit\"")),
        (Some("bearer x"), Some("Bearer realm=\"ambit\"")),
        (Some("Odd\u{e9}"), Some("Basic realm=\"ambit\"")),
        (Some(""), Some("Basic realm=\"ambit\"")),
        (None, None),
    ] {
        let got = tried(with).await;
        let says = if with.is_some() {
            "no secrets"
        } else {
            "nobody asks"
        };
        check(&got, "secrets", ("invalid_client", says));
        assert_eq!(got.header("www-authenticate"), scheme, "{with:?}");
    }
}

/// RFC 8705 §5: metadata and proofs name the gateway as clients do, whatever address it listens on.
#[tokio::test]
async fn the_alias_for_certificates_is_where_clients_find_the_gateway() {
    let name = "https://tools.example.org";
    let doors = |it: crate::api::Control| crate::api::Control {
        gateway: "https://0.0.0.0:7420".to_owned(),
        gateway_url: Some(name.to_owned()),
        ..it
    };
    let booth = Booth::open_at(doors, |_| ());
    let path = "/.well-known/oauth-authorization-server";
    let request = Request::get(path).body(Body::empty()).unwrap();
    let got = send(public_router(&booth.desk.doors), request).await;
    let alias = got.value.get("mtls_endpoint_aliases").unwrap();
    assert_eq!(
        text(alias, "token_endpoint"),
        format!("{name}/oauth/mtls/token")
    );
}

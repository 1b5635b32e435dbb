//! The one list of routes: the routers, the OpenAPI document and the tests are made from it.

mod door;
mod instance;
mod local;
mod unknown;

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::{MethodRouter, get, post},
};

use crate::{
    carried::{Carrying, carried},
    oauth::{self, FORM_BYTES_MAX},
    people::SignIns,
};

pub use self::door::{Asks, Door};
pub(super) use self::unknown::unknown_router;
use super::{
    JOIN_BYTES_MAX, Shared, authority, device,
    idempotency::once,
    join,
    logins::by_login,
    operations, pages, passkeys,
    people::{self, PERSON_FORM_BYTES_MAX},
    problem::Problem,
    published,
};

/// One route.
pub struct Route {
    /// Its name, unique.
    pub name: &'static str,
    /// Behind which door.
    pub door: Door,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// The decision that it asks for.
    pub asks: Asks,
    /// What it does, in words.
    pub summary: &'static str,
    /// The schema of its request, when it has a body.
    pub request: Option<&'static str>,
    /// The longest body of a request, in bytes: of a longer one nothing is done, and nothing is read where its length is said.
    pub body_bytes_max: usize,
    /// The schema of its answer, or its media type when it is not JSON.
    pub answer: &'static str,
    handler: fn() -> MethodRouter<Arc<Shared>>,
}

/// Returns every route.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    let all = local::ROUTES.iter().chain(instance::ROUTES);
    all.chain(OTHERS)
}

/// The routes for everybody, and of operations.
const OTHERS: &[Route] = &[
    Route {
        name: "healthz",
        door: Door::Operations,
        method: "GET",
        path: "/healthz",
        asks: Asks::Nothing,
        summary: "The process answers.",
        request: None,
        body_bytes_max: 0,
        answer: "text/plain",
        handler: || get(operations::healthz),
    },
    Route {
        name: "readyz",
        door: Door::Operations,
        method: "GET",
        path: "/readyz",
        asks: Asks::Nothing,
        summary: "An estate is in force and the log takes records.",
        request: None,
        body_bytes_max: 0,
        answer: "text/plain",
        handler: || get(operations::readyz),
    },
    Route {
        name: "metrics",
        door: Door::Operations,
        method: "GET",
        path: "/metrics",
        asks: Asks::Nothing,
        summary: "Numbers in Prometheus text.",
        request: None,
        body_bytes_max: 0,
        answer: "text/plain",
        handler: || get(operations::metrics),
    },
    Route {
        name: "published_log",
        door: Door::Public,
        method: "GET",
        path: "/log/{*path}",
        asks: Asks::Nothing,
        summary: "The log as C2SP tlog-tiles lays it out: `checkpoint`, `tile/L/N[.p/W]`. A log that a recovery opened is below its number, such as `2/checkpoint`.",
        request: None,
        body_bytes_max: 0,
        answer: "application/octet-stream",
        handler: || get(published::log),
    },
    Route {
        name: "spiffe_bundle",
        door: Door::Public,
        method: "GET",
        path: "/spiffe/bundle",
        asks: Asks::Nothing,
        summary: "The trust bundle, as other trust domains fetch it (SPIFFE Federation, `https_web`).",
        request: None,
        body_bytes_max: 0,
        answer: "application/json",
        handler: || get(authority::bundle),
    },
    Route {
        name: "join",
        door: Door::Public,
        method: "POST",
        path: "/v1/join",
        asks: Asks::WaitingTask,
        summary: "Makes whoever shows the join token of a waiting task, or a workload token of its agent, and signs a request with its key, the task's instance.",
        request: Some("Join"),
        body_bytes_max: JOIN_BYTES_MAX,
        answer: "JoinedTask",
        handler: || post(join::join),
    },
    Route {
        name: "decision_page",
        door: Door::Public,
        method: "GET",
        path: "/decisions/{decision}",
        asks: Asks::Nothing,
        summary: "Says what a decision's identifier is and what to do next, the same for every identifier.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(pages::decision),
    },
    Route {
        name: "approval_page",
        door: Door::Public,
        method: "GET",
        path: "/approvals/{approval}",
        asks: Asks::Nothing,
        summary: "Says what an approval's identifier is and what to do next, the same for every identifier.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(pages::approval),
    },
    Route {
        name: "account_page",
        door: Door::Public,
        method: "GET",
        path: "/account",
        asks: Asks::WhoItIs,
        summary: "Shows who is signed in in this browser.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(people::account),
    },
    Route {
        name: "begin_sign_in",
        door: Door::Public,
        method: "GET",
        path: "/sign-in",
        asks: Asks::WhoItIs,
        summary: "Sends the browser to the provider to sign in (OpenID Connect, code with PKCE), or asks it for a passkey; afterwards to the path `to`.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(people::begin),
    },
    Route {
        name: "end_sign_in",
        door: Door::Public,
        method: "GET",
        path: "/sign-in/callback",
        asks: Asks::WhoItIs,
        summary: "Takes the provider's answer and opens a session of this browser.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(people::callback),
    },
    Route {
        name: "sign_in_key",
        door: Door::Public,
        method: "GET",
        path: "/sign-in/jwks",
        asks: Asks::Nothing,
        summary: "The key by which Ambit proves to be the provider's client (`private_key_jwt`), for the provider to fetch.",
        request: None,
        body_bytes_max: 0,
        answer: "JwkSet",
        handler: || get(people::client_key),
    },
    Route {
        name: "sign_out",
        door: Door::Public,
        method: "POST",
        path: "/sign-out",
        asks: Asks::WhoItIs,
        summary: "Ends the session of this browser.",
        request: Some("SignOut"),
        body_bytes_max: PERSON_FORM_BYTES_MAX,
        answer: "text/html",
        handler: || post(people::sign_out),
    },
    Route {
        name: "sign_in_with_passkey",
        door: Door::Public,
        method: "POST",
        path: "/sign-in/passkey",
        asks: Asks::WhoItIs,
        summary: "Takes the browser's answer by a passkey and opens a session of this browser (WebAuthn).",
        request: Some("PasskeyProof"),
        body_bytes_max: PERSON_FORM_BYTES_MAX,
        answer: "text/html",
        handler: || post(passkeys::sign_in),
    },
    Route {
        name: "enrolment_page",
        door: Door::Public,
        method: "GET",
        path: "/enroll",
        asks: Asks::WhoItIs,
        summary: "Shows whoever has the link of an enrolment for whom it is.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(passkeys::enrol_page),
    },
    Route {
        name: "enrol",
        door: Door::Public,
        method: "POST",
        path: "/enroll",
        asks: Asks::WhoItIs,
        summary: "Registers a passkey and spends the link.",
        request: Some("NewPasskey"),
        body_bytes_max: PERSON_FORM_BYTES_MAX,
        answer: "text/html",
        handler: || post(passkeys::enrol),
    },
    Route {
        name: "passkey_script",
        door: Door::Public,
        method: "GET",
        path: "/passkey.js",
        asks: Asks::Nothing,
        summary: "The script that asks the browser for a passkey.",
        request: None,
        body_bytes_max: 0,
        answer: "text/javascript",
        handler: || get(passkeys::script),
    },
    Route {
        name: "device_page",
        door: Door::Public,
        method: "GET",
        path: "/device",
        asks: Asks::WhoItIs,
        summary: "Shows whose the code of a command line is, to whoever is signed in (RFC 8628).",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(device::show),
    },
    Route {
        name: "answer_device",
        door: Door::Public,
        method: "POST",
        path: "/device",
        asks: Asks::Person("open_login"),
        summary: "Lets a command line act in the name of whoever is signed in, or does not.",
        request: Some("CodeAnswer"),
        body_bytes_max: PERSON_FORM_BYTES_MAX,
        answer: "text/html",
        handler: || post(device::answer),
    },
    Route {
        name: "end_own_login",
        door: Door::Public,
        method: "POST",
        path: "/account/logins/end",
        asks: Asks::Person("end_login"),
        summary: "Ends a login of whoever is signed in.",
        request: Some("LoginEnd"),
        body_bytes_max: PERSON_FORM_BYTES_MAX,
        answer: "text/html",
        handler: || post(people::end_login),
    },
    Route {
        name: "oauth_metadata",
        door: Door::Public,
        method: "GET",
        path: "/.well-known/oauth-authorization-server",
        asks: Asks::Nothing,
        summary: "What the authorization server offers (RFC 8414).",
        request: None,
        body_bytes_max: 0,
        answer: "ServerMetadata",
        handler: || get(oauth::authorization_server),
    },
    Route {
        name: "openid_metadata",
        door: Door::Public,
        method: "GET",
        path: "/.well-known/openid-configuration",
        asks: Asks::Nothing,
        summary: "The same, where clients of OpenID Connect look.",
        request: None,
        body_bytes_max: 0,
        answer: "ServerMetadata",
        handler: || get(oauth::openid_configuration),
    },
    Route {
        name: "oauth_jwks",
        door: Door::Public,
        method: "GET",
        path: "/oauth/jwks",
        asks: Asks::Nothing,
        summary: "The keys by which access tokens are verified (RFC 7517).",
        request: None,
        body_bytes_max: 0,
        answer: "JwkSet",
        handler: || get(oauth::jwks),
    },
    Route {
        name: "oauth_token",
        door: Door::Public,
        method: "POST",
        path: "/oauth/token",
        asks: Asks::Client,
        summary: "Issues a token under a live task: `client_credentials`, `authorization_code`, `refresh_token`, a workload token (RFC 7523), or in exchange for a delegator's token and its delegation (RFC 8693).",
        request: Some("TokenRequest"),
        body_bytes_max: FORM_BYTES_MAX,
        answer: "TokenAnswer",
        handler: || post(oauth::token),
    },
    Route {
        name: "oauth_par",
        door: Door::Public,
        method: "POST",
        path: "/oauth/par",
        asks: Asks::Client,
        summary: "Takes a request for a person's consent beforehand (RFC 9126).",
        request: Some("PushedRequest"),
        body_bytes_max: FORM_BYTES_MAX,
        answer: "PushedAnswer",
        handler: || post(oauth::push),
    },
    Route {
        name: "oauth_authorize",
        door: Door::Public,
        method: "GET",
        path: "/oauth/authorize",
        asks: Asks::WhoItIs,
        summary: "Takes a person's browser that a client sent, to sign in and then to the consent page (RFC 6749 §4.1, code with PKCE).",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(oauth::authorize),
    },
    Route {
        name: "consent_page",
        door: Door::Public,
        method: "GET",
        path: "/oauth/consent",
        asks: Asks::WhoItIs,
        summary: "Asks the person who is signed in whether to start a task for a client, and which.",
        request: None,
        body_bytes_max: 0,
        answer: "text/html",
        handler: || get(oauth::show),
    },
    Route {
        name: "consent",
        door: Door::Public,
        method: "POST",
        path: "/oauth/consent",
        asks: Asks::Person("start_task"),
        summary: "Takes the person's answer: starts one task for the client and sends the browser back with a code, or says no.",
        request: Some("Consent"),
        body_bytes_max: FORM_BYTES_MAX,
        answer: "text/html",
        handler: || post(oauth::decide),
    },
    Route {
        name: "oauth_device",
        door: Door::Public,
        method: "POST",
        path: "/oauth/device_authorization",
        asks: Asks::Client,
        summary: "Lets Ambit's own command line wait for a person's yes (RFC 8628).",
        request: Some("DeviceRequest"),
        body_bytes_max: FORM_BYTES_MAX,
        answer: "DeviceAnswer",
        handler: || post(oauth::device_authorization),
    },
    Route {
        name: "oauth_introspect",
        door: Door::Public,
        method: "POST",
        path: "/oauth/introspect",
        asks: Asks::Client,
        summary: "Says what a token of the client is worth now (RFC 7662).",
        request: Some("TokenText"),
        body_bytes_max: FORM_BYTES_MAX,
        answer: "Introspection",
        handler: || post(oauth::introspect),
    },
    Route {
        name: "oauth_revoke",
        door: Door::Public,
        method: "POST",
        path: "/oauth/revoke",
        asks: Asks::Client,
        summary: "Gives up a token of the client (RFC 7009).",
        request: Some("TokenText"),
        body_bytes_max: FORM_BYTES_MAX,
        answer: "Nothing",
        handler: || post(oauth::revoke),
    },
];

impl Route {
    /// Says whether it is reached through `door`. The routes of people are on the public port too, for logins.
    fn is_behind(&self, door: Door) -> bool {
        self.door == door || (door == Door::Public && self.door == Door::People)
    }

    /// Says whether something may begin by it that must be carried to its end, whoever asked and left: a presence does, too.
    fn may_begin_something(&self) -> bool {
        self.method == "POST" || self.door == Door::Instance
    }

    /// Says whether it honours an `Idempotency-Key`: every act of a person does. What is opened is not kept in memory for a
    /// second answer, and opening it again does no harm.
    pub(super) fn takes_a_key(&self) -> bool {
        let looks = [Asks::Person("inspect"), Asks::Person("open_sealed")];
        self.door == Door::People && self.method == "POST" && !looks.contains(&self.asks)
    }
}

/// Returns the router of one door.
pub(super) fn router(door: Door, shared: Arc<Shared>) -> Router {
    // Where nobody signs in, nobody has a login either.
    let has_logins = !matches!(shared.control().sign_ins, SignIns::Nowhere);
    let here = routes().filter(|it| it.is_behind(door) && (it.door == door || has_logins));
    router_of(door, here, shared)
}

/// Returns the router of the bundle alone, for a port that is known by its SPIFFE ID.
pub(super) fn bundle_router(shared: Arc<Shared>) -> Router {
    let here = routes().filter(|it| it.name == "spiffe_bundle");
    router_of(Door::Public, here, shared)
}

fn router_of(
    door: Door,
    here: impl Iterator<Item = &'static Route>,
    shared: Arc<Shared>,
) -> Router {
    let carrying = Carrying::default();
    let router = here.fold(Router::new(), |router, it| {
        let mut methods = (it.handler)();
        if it.takes_a_key() {
            methods = methods.layer(from_fn_with_state(Arc::clone(&shared), once));
        }
        if it.may_begin_something() {
            let carrying = (carrying.clone(), it.body_bytes_max);
            methods = methods.layer(from_fn_with_state(carrying, carried));
        }
        // Outside: of somebody without a login nothing is read.
        if door == Door::Public && it.door == Door::People {
            methods = methods.layer(from_fn_with_state(Arc::clone(&shared), by_login));
        }
        router.route(it.path, methods)
    });
    router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::not_found(
        format!("route {}", crate::visible::visible(uri.path())),
        "the OpenAPI document lists the routes",
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{method} is not offered at {}",
            crate::visible::visible(uri.path())
        ),
    )
    .because("see the list of routes in the OpenAPI document")
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

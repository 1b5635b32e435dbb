//! The one list of routes: the routers, the OpenAPI document and the tests are made from it.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::{MethodRouter, get, post},
};

use crate::oauth;

use super::{
    Shared, approvals, authority, estate, idempotency::once, join, log, operations, pages, people,
    presence, problem::Problem, published, revocations, secrets, status, tasks,
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
    /// The schema of its answer, or its media type when it is not JSON.
    pub answer: &'static str,
    handler: fn() -> MethodRouter<Arc<Shared>>,
}

/// Behind which door a route is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// People, on the local socket.
    People,
    /// Runs of agents, over mutual TLS.
    Instance,
    /// Those who operate Ambit, on loopback.
    Operations,
    /// Anybody, on the public port.
    Public,
}

/// Which decision a route asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asks {
    /// One on a person's act, by the word of [`ambit_core::act::Governance::action`].
    Person(&'static str),
    /// That the instance's own task is live: it can only end itself.
    OwnTask,
    /// That a task waits for the token that is shown: it is spent.
    WaitingTask,
    /// That the client proves itself and, for a token, that a live task stands behind it.
    Client,
    /// None: it tells only what its door's onlookers may know.
    Nothing,
    /// None: people prove who they are, and are told nothing but that.
    WhoItIs,
}

/// Every route.
pub const ROUTES: &[Route] = &[
    Route {
        name: "start_task",
        door: Door::People,
        method: "POST",
        path: "/v1/tasks",
        asks: Asks::Person("start_task"),
        summary: "Starts a task and certifies the instance that serves it.",
        request: Some("StartTask"),
        answer: "StartedTask",
        handler: || post(tasks::start),
    },
    Route {
        name: "list_tasks",
        door: Door::People,
        method: "GET",
        path: "/v1/tasks",
        asks: Asks::Person("inspect"),
        summary: "Lists the live tasks; with `ended=true` those that have ended, newest first, `count` of them that started before the task `before`.",
        request: None,
        answer: "Tasks",
        handler: || get(tasks::list),
    },
    Route {
        name: "show_task",
        door: Door::People,
        method: "GET",
        path: "/v1/tasks/{task}",
        asks: Asks::Person("inspect"),
        summary: "Shows one live task.",
        request: None,
        answer: "Task",
        handler: || get(tasks::show),
    },
    Route {
        name: "end_task",
        door: Door::People,
        method: "POST",
        path: "/v1/tasks/{task}/end",
        asks: Asks::Person("end_task"),
        summary: "Ends a task, and with it everything issued under it.",
        request: Some("EndTask"),
        answer: "EndedTask",
        handler: || post(tasks::end),
    },
    Route {
        name: "list_approvals",
        door: Door::People,
        method: "GET",
        path: "/v1/approvals",
        asks: Asks::Person("inspect"),
        summary: "Lists the acts that wait, or waited, for a person.",
        request: None,
        answer: "Approvals",
        handler: || get(approvals::list),
    },
    Route {
        name: "show_approval",
        door: Door::People,
        method: "GET",
        path: "/v1/approvals/{approval}",
        asks: Asks::Person("inspect"),
        summary: "Shows one exact act, whole.",
        request: None,
        answer: "Approval",
        handler: || get(approvals::show),
    },
    Route {
        name: "decide_approval",
        door: Door::People,
        method: "POST",
        path: "/v1/approvals/{approval}/decide",
        asks: Asks::Person("decide_approval"),
        summary: "Says yes, once, or no to one exact act. Saying the same again changes nothing.",
        request: Some("DecideApproval"),
        answer: "DecidedApproval",
        handler: || post(approvals::decide),
    },
    Route {
        name: "revoke",
        door: Door::People,
        method: "POST",
        path: "/v1/revocations",
        asks: Asks::Person("revoke"),
        summary: "Takes authority away and returns when that is in effect at every door.",
        request: Some("Revoke"),
        answer: "Revocation",
        handler: || post(revocations::revoke),
    },
    Route {
        name: "reinstate",
        door: Door::People,
        method: "POST",
        path: "/v1/reinstatements",
        asks: Asks::Person("reinstate"),
        summary: "Lifts the ban of an agent, a person or a server, for tasks that start from then on.",
        request: Some("Reinstate"),
        answer: "Reinstatement",
        handler: || post(revocations::reinstate),
    },
    Route {
        name: "plan_estate",
        door: Door::People,
        method: "POST",
        path: "/v1/estate/plan",
        asks: Asks::Person("inspect"),
        summary: "Checks an estate and says what it would change.",
        request: Some("Estate"),
        answer: "Plan",
        handler: || post(estate::plan),
    },
    Route {
        name: "apply_estate",
        door: Door::People,
        method: "POST",
        path: "/v1/estate/apply",
        asks: Asks::Person("apply_estate"),
        summary: "Checks an estate, its decision tables too, and puts it in force.",
        request: Some("Estate"),
        answer: "AppliedEstate",
        handler: || post(estate::apply),
    },
    Route {
        name: "inspect_server",
        door: Door::People,
        method: "POST",
        path: "/v1/servers/{server}/inspect",
        asks: Asks::Person("inspect_server"),
        summary: "Asks a running server for its tools and proposes its registry files.",
        request: None,
        answer: "Proposal",
        handler: || post(estate::inspect),
    },
    Route {
        name: "seal_credential",
        door: Door::People,
        method: "POST",
        path: "/v1/secrets/{reference}",
        asks: Asks::Person("seal_credential"),
        summary: "Seals a credential for the gateway to inject. It never comes out again.",
        request: Some("Secret"),
        answer: "SealedSecret",
        handler: || post(secrets::seal),
    },
    Route {
        name: "show_authority",
        door: Door::People,
        method: "GET",
        path: "/v1/authority",
        asks: Asks::Person("inspect"),
        summary: "Shows the issuing keys of the trust domain: prepared, active, retired.",
        request: None,
        answer: "Authority",
        handler: || get(authority::show),
    },
    Route {
        name: "rotate_keys",
        door: Door::People,
        method: "POST",
        path: "/v1/authority/rotate",
        asks: Asks::Person("rotate_keys"),
        summary: "Takes a step in the rotation of the issuing keys.",
        request: Some("RotateKeys"),
        answer: "Authority",
        handler: || post(authority::rotate),
    },
    Route {
        name: "checkpoint",
        door: Door::People,
        method: "GET",
        path: "/v1/log/checkpoint",
        asks: Asks::Person("inspect"),
        summary: "The newest signed checkpoint (C2SP tlog-checkpoint).",
        request: None,
        answer: "text/plain",
        handler: || get(log::checkpoint),
    },
    Route {
        name: "tile",
        door: Door::People,
        method: "GET",
        path: "/v1/log/tile/{*tile}",
        asks: Asks::Person("inspect"),
        summary: "A hash tile or entry bundle (C2SP tlog-tiles).",
        request: None,
        answer: "application/octet-stream",
        handler: || get(log::tile),
    },
    Route {
        name: "records",
        door: Door::People,
        method: "GET",
        path: "/v1/log/records",
        asks: Asks::Person("inspect"),
        summary: "Records in order, `count` of them from the index `from`.",
        request: None,
        answer: "Records",
        handler: || get(log::records),
    },
    Route {
        name: "trace",
        door: Door::People,
        method: "GET",
        path: "/v1/log/trace/{task}",
        asks: Asks::Person("inspect"),
        summary: "Tells a task's story in words; what nobody knows comes first.",
        request: None,
        answer: "Trace",
        handler: || get(log::trace),
    },
    Route {
        name: "why",
        door: Door::People,
        method: "GET",
        path: "/v1/log/why/{decision}",
        asks: Asks::Person("inspect"),
        summary: "Says why a decision is what it is: rule, facts, and what would change it.",
        request: None,
        answer: "Why",
        handler: || get(log::why),
    },
    Route {
        name: "status",
        door: Door::People,
        method: "GET",
        path: "/v1/status",
        asks: Asks::Person("inspect"),
        summary: "Says how Ambit is.",
        request: None,
        answer: "Status",
        handler: || get(status::status),
    },
    Route {
        name: "presence",
        door: Door::Instance,
        method: "GET",
        path: "/v1/presence",
        asks: Asks::OwnTask,
        summary: "Goes on with heartbeats; when the connection ends, so does the task.",
        request: None,
        answer: "application/x-ndjson",
        handler: || get(presence::presence),
    },
    Route {
        name: "complete_task",
        door: Door::Instance,
        method: "POST",
        path: "/v1/task/complete",
        asks: Asks::OwnTask,
        summary: "Ends the instance's own task as completed.",
        request: None,
        answer: "EndedTask",
        handler: || post(tasks::complete),
    },
    Route {
        name: "healthz",
        door: Door::Operations,
        method: "GET",
        path: "/healthz",
        asks: Asks::Nothing,
        summary: "The process answers.",
        request: None,
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
        answer: "text/html",
        handler: || get(people::account),
    },
    Route {
        name: "begin_sign_in",
        door: Door::Public,
        method: "GET",
        path: "/sign-in",
        asks: Asks::WhoItIs,
        summary: "Sends the browser to the provider to sign in, and afterwards to the path `to` (OpenID Connect, code with PKCE).",
        request: None,
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
        answer: "text/html",
        handler: || get(people::callback),
    },
    Route {
        name: "sign_out",
        door: Door::Public,
        method: "POST",
        path: "/sign-out",
        asks: Asks::WhoItIs,
        summary: "Ends the session of this browser.",
        request: None,
        answer: "text/html",
        handler: || post(people::sign_out),
    },
    Route {
        name: "oauth_metadata",
        door: Door::Public,
        method: "GET",
        path: "/.well-known/oauth-authorization-server",
        asks: Asks::Nothing,
        summary: "What the authorization server offers (RFC 8414).",
        request: None,
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
        answer: "JwkSet",
        handler: || get(oauth::jwks),
    },
    Route {
        name: "oauth_token",
        door: Door::Public,
        method: "POST",
        path: "/oauth/token",
        asks: Asks::Client,
        summary: "Issues a token under a live task: `client_credentials`, `authorization_code`, `refresh_token`.",
        request: Some("TokenRequest"),
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
        answer: "PushedAnswer",
        handler: || post(oauth::push),
    },
    Route {
        name: "oauth_introspect",
        door: Door::Public,
        method: "POST",
        path: "/oauth/introspect",
        asks: Asks::Client,
        summary: "Says what a token of the client is worth now (RFC 7662).",
        request: Some("TokenText"),
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
        answer: "Nothing",
        handler: || post(oauth::revoke),
    },
    Route {
        name: "oauth_token_mtls",
        door: Door::Instance,
        method: "POST",
        path: "/oauth/mtls/token",
        asks: Asks::OwnTask,
        summary: "As `/oauth/token`, for an instance with its certificate (RFC 8705).",
        request: Some("TokenRequest"),
        answer: "TokenAnswer",
        handler: || post(oauth::token_mtls),
    },
];

impl Route {
    /// Says whether it honours an `Idempotency-Key`: every act of a person does.
    pub(super) fn takes_a_key(&self) -> bool {
        self.door == Door::People && self.method == "POST" && self.asks != Asks::Person("inspect")
    }
}

/// Returns the router of one door.
pub(super) fn router(door: Door, shared: Arc<Shared>) -> Router {
    let here = ROUTES.iter().filter(|it| it.door == door);
    let router = here.fold(Router::new(), |router, it| {
        let mut methods = (it.handler)();
        if it.takes_a_key() {
            methods = methods.layer(from_fn_with_state(Arc::clone(&shared), once));
        }
        router.route(it.path, methods)
    });
    router
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::not_found(format!("route {}", crate::visible::visible(uri.path())))
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

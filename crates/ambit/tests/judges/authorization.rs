//! What the suite of MCP has about authorization, and which clients of others judge the other side of it here.
//!
//! Each run of such a client says what it saw; it must be what this table has for it, and the reference is made from the
//! table.

use std::{collections::BTreeSet, fmt::Write, fs, process::Command};

use ambit_core::json::Value;

use crate::world::{succeed, tool, workspace};

/// A run of a client of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Run {
    /// It proves itself by its key, of its own accord.
    CredentialsOfOauth4webapi,
    CredentialsOfAuthlib,
    CredentialsOfRmcp,
    /// It shows a workload token.
    WorkloadOfOauth4webapi,
    /// A person consents in a browser to a client that has a document.
    ConsentToSdk,
    ConsentToPython,
    ConsentToRmcp,
    ConsentToOpenidconnect,
    ConsentToOpenidClient,
    ConsentToOauth4webapi,
    ConsentToSuite,
    /// The same, to one that the estate declares.
    DeclaredSdk,
}

use Run::{
    ConsentToOauth4webapi, ConsentToOpenidClient, ConsentToOpenidconnect, ConsentToPython,
    ConsentToRmcp, ConsentToSdk, ConsentToSuite, CredentialsOfAuthlib, CredentialsOfOauth4webapi,
    CredentialsOfRmcp, DeclaredSdk, WorkloadOfOauth4webapi,
};

impl Run {
    const fn library(self) -> &'static str {
        match self {
            CredentialsOfOauth4webapi | WorkloadOfOauth4webapi | ConsentToOauth4webapi => {
                "`oauth4webapi`"
            }
            CredentialsOfAuthlib => "Authlib",
            CredentialsOfRmcp | ConsentToRmcp => "`rmcp`",
            ConsentToSdk | DeclaredSdk => "`@modelcontextprotocol/sdk`",
            ConsentToPython => "`mcp`",
            ConsentToOpenidconnect => "`openidconnect`",
            ConsentToOpenidClient => "`openid-client`",
            ConsentToSuite => "the suite",
        }
    }
}

/// Each scenario for clients, the other side of it here, and the runs that judge that.
const SCENARIOS: &[(&str, &str, &[Run])] = &[
    (
        "auth/metadata-default",
        "the metadata of route and server at their well-known places",
        &[
            CredentialsOfOauth4webapi,
            WorkloadOfOauth4webapi,
            ConsentToSdk,
            DeclaredSdk,
            ConsentToPython,
            ConsentToRmcp,
        ],
    ),
    (
        "auth/metadata-var1",
        "none more: an issuer here has no path",
        &[],
    ),
    (
        "auth/metadata-var2",
        "none more: an issuer here has no path",
        &[],
    ),
    (
        "auth/metadata-var3",
        "none more: an issuer here has no path",
        &[],
    ),
    (
        "auth/basic-cimd",
        "a client that is known by its document",
        &[
            ConsentToSdk,
            ConsentToPython,
            ConsentToRmcp,
            ConsentToOpenidconnect,
            ConsentToOpenidClient,
            ConsentToOauth4webapi,
            ConsentToSuite,
        ],
    ),
    (
        "auth/scope-from-www-authenticate",
        "none: there are no scopes, and no challenge names one; what a token allows is its task",
        &[],
    ),
    (
        "auth/scope-from-scopes-supported",
        "none: the metadata has no `scopes_supported`",
        &[],
    ),
    (
        "auth/scope-omitted-when-undefined",
        "a request without `scope`",
        &[
            ConsentToSdk,
            DeclaredSdk,
            ConsentToPython,
            ConsentToRmcp,
            ConsentToOpenidconnect,
            ConsentToOauth4webapi,
            ConsentToSuite,
        ],
    ),
    (
        "auth/scope-step-up",
        "none: more authority is another task, to which a person consents",
        &[],
    ),
    ("auth/scope-retry-limit", "none, for the same reason", &[]),
    (
        "auth/token-endpoint-auth-basic",
        "none: clients have no secrets here, and the metadata offers no such method",
        &[],
    ),
    (
        "auth/token-endpoint-auth-post",
        "none, for the same reason",
        &[],
    ),
    (
        "auth/token-endpoint-auth-none",
        "a public client with PKCE",
        &[
            ConsentToSdk,
            DeclaredSdk,
            ConsentToPython,
            ConsentToRmcp,
            ConsentToOpenidconnect,
            ConsentToOpenidClient,
            ConsentToOauth4webapi,
            ConsentToSuite,
        ],
    ),
    (
        "auth/pre-registration",
        "a client that the estate declares",
        &[
            CredentialsOfOauth4webapi,
            CredentialsOfAuthlib,
            CredentialsOfRmcp,
            DeclaredSdk,
        ],
    ),
    (
        "auth/2025-03-26-oauth-metadata-backcompat",
        "none: clients of that revision are told of the authorization server by the challenge too",
        &[],
    ),
    (
        "auth/2025-03-26-oauth-endpoint-fallback",
        "none: no endpoint lies at a default place",
        &[],
    ),
    (
        "auth/resource-mismatch",
        "the metadata of a route names that route alone",
        &[ConsentToSdk, DeclaredSdk, ConsentToPython, ConsentToRmcp],
    ),
    (
        "auth/offline-access-scope",
        "none: who may refresh is told by the refresh token that comes",
        &[],
    ),
    (
        "auth/offline-access-not-supported",
        "`offline_access` is not offered, and not asked for",
        &[
            ConsentToSdk,
            DeclaredSdk,
            ConsentToPython,
            ConsentToRmcp,
            ConsentToOpenidconnect,
            ConsentToOauth4webapi,
            ConsentToSuite,
        ],
    ),
    (
        "auth/authorization-server-migration",
        "none: a route has one authorization server, Ambit itself",
        &[],
    ),
    (
        "auth/iss-supported",
        "`iss` in the way back (RFC 9207), as the metadata says; the same answer with another is refused",
        &[ConsentToOpenidClient, ConsentToOauth4webapi],
    ),
    ("auth/iss-not-advertised", "none: it is advertised", &[]),
    (
        "auth/iss-supported-missing",
        "none: it is never missing",
        &[],
    ),
    (
        "auth/iss-wrong-issuer",
        "none: it is what the metadata says, letter by letter",
        &[],
    ),
    ("auth/iss-unexpected", "none: it is advertised", &[]),
    (
        "auth/iss-normalized",
        "none: the issuer is written in one way everywhere",
        &[],
    ),
    (
        "auth/metadata-issuer-mismatch",
        "the metadata has the issuer at whose URL it was found",
        &[
            ConsentToOpenidconnect,
            ConsentToOpenidClient,
            ConsentToOauth4webapi,
        ],
    ),
    (
        "auth/client-credentials-jwt",
        "`private_key_jwt` for the issuer alone",
        &[
            CredentialsOfOauth4webapi,
            CredentialsOfAuthlib,
            CredentialsOfRmcp,
        ],
    ),
    (
        "auth/client-credentials-basic",
        "none: clients have no secrets here",
        &[],
    ),
    (
        "auth/enterprise-managed-authorization",
        "none: no ID-JAG is taken; a workload token of a declared issuer is (RFC 7523)",
        &[],
    ),
    (
        "auth/dpop",
        "tokens that are bound by DPoP, and proofs that the library makes",
        &[
            CredentialsOfOauth4webapi,
            WorkloadOfOauth4webapi,
            ConsentToOpenidClient,
            ConsentToOauth4webapi,
        ],
    ),
    (
        "auth/dpop-nonce",
        "the nonce that both servers ask for",
        &[CredentialsOfOauth4webapi, WorkloadOfOauth4webapi],
    ),
    (
        "auth/wif-jwt-bearer",
        "a workload token for an access token (RFC 7523 §2.1), which `jose` signs",
        &[WorkloadOfOauth4webapi],
    ),
];

/// Holds what a run says that it judged against the table.
#[track_caller]
pub(crate) fn judged(run: Run, told: &Value) {
    let said = told.get("judged").and_then(Value::as_array).unwrap();
    let said: BTreeSet<_> = said.iter().filter_map(Value::as_str).collect();
    assert_eq!(said, scenarios(run), "left: {run:?} says, right: the table");
}

/// Returns what the table has for a run.
pub(crate) fn scenarios(run: Run) -> BTreeSet<&'static str> {
    let rows = SCENARIOS.iter().filter(|(_, _, runs)| runs.contains(&run));
    rows.map(|(name, ..)| *name).collect()
}

fn listed(what: &str) -> Vec<String> {
    let mut suite = Command::new(tool("conformance"));
    let told = suite.args(["list", what]).output().unwrap();
    let told = succeed(&told, &["list"]);
    let lines = told.lines().filter_map(|it| it.trim().strip_prefix("- "));
    let names = lines.filter_map(|it| it.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The table is the suite's own list, and the reference is the table.
#[test]
fn the_reference_says_who_judges_each_scenario_of_authorization() {
    let known = listed("--client").into_iter();
    let known: Vec<_> = known.filter(|it| it.starts_with("auth/")).collect();
    assert!(known.len() > 20, "{known:?}");
    let names: Vec<_> = SCENARIOS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, known, "left: the table, right: the suite");
    let mut rows = String::new();
    for (name, side, runs) in SCENARIOS {
        let mut libraries: Vec<_> = runs.iter().map(|it| it.library()).collect();
        libraries.sort_unstable();
        libraries.dedup();
        let libraries = if libraries.is_empty() {
            "nobody".to_owned()
        } else {
            libraries.join(", ")
        };
        writeln!(rows, "| `{name}` | {side} | {libraries} |").unwrap();
    }
    stand(&rows, |it| it.starts_with("| `auth/"));
}

/// What of the suite is not run stands in the reference, with the reason.
#[test]
fn the_reference_lists_what_of_the_suite_is_not_run() {
    let run = |revision| listed_for(revision).into_iter();
    let run: BTreeSet<_> = run("2025-11-25").chain(run("2026-07-28")).collect();
    let servers = listed("--server")
        .into_iter()
        .filter(|it| !run.contains(it));
    let clients = listed("--client").into_iter();
    let clients = clients.filter(|it| !it.starts_with("auth/"));
    let mut rows = String::new();
    for (kind, name) in servers
        .map(|it| ("servers", it))
        .chain(clients.map(|it| ("clients", it)))
    {
        let reason = reason(kind, &name);
        writeln!(rows, "| for {kind} | `{name}` | {reason} |").unwrap();
    }
    stand(&rows, |it| it.starts_with("| for "));
    // Both of these are run.
    let all = ["metadata-endpoint", "code-grant"];
    let servers = listed("--authorization");
    assert_eq!(servers.len(), all.len(), "{servers:?}");
    assert!(
        all.iter()
            .zip(&servers)
            .all(|(it, name)| name.ends_with(it))
    );
}

fn listed_for(revision: &str) -> Vec<String> {
    let mut suite = Command::new(tool("conformance"));
    suite.args(["list", "--server", "--requirements", revision]);
    let told = succeed(&suite.output().unwrap(), &["list"]);
    let lines = told.lines().filter_map(|it| it.trim().strip_prefix("- "));
    let names = lines.filter_map(|it| it.split(' ').next());
    names.map(str::to_owned).collect()
}

fn reason(kind: &str, name: &str) -> &'static str {
    match (kind, name) {
        (_, it) if it.starts_with("sep-2640-") => {
            "an extension about skills, which the reference server has not: through Ambit they are resources, decided as such"
        }
        ("clients", _) => {
            "Ambit is a client of its upstreams alone, with no program of its own that the suite could start; the suite's \
             other half judges it in the middle of a client and a server"
        }
        _ => panic!("say why `{name}` of the scenarios for {kind} is not run"),
    }
}

/// Checks that these rows, and no others of their kind, stand in the reference.
#[track_caller]
fn stand(rows: &str, ours: impl Fn(&str) -> bool) {
    let reference = fs::read_to_string(workspace().join("docs/reference/conformance.md")).unwrap();
    let found = reference.lines().filter(|it| ours(it));
    let found: String = found.map(|it| format!("{it}\n")).collect();
    assert_eq!(
        found, rows,
        "write these rows into docs/reference/conformance.md:\n{rows}"
    );
}

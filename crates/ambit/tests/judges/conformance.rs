//! The MCP conformance suite, direct and through Ambit: whatever Ambit makes worse is listed here with its reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    process::Command,
};

use ambit_core::json::{self, Value};

use crate::world::{Beside, Upstream, World, judge, succeed, tool, workspace};

/// How a check of the suite went, the better the smaller.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Outcome {
    Passed,
    /// The suite had nothing to check, and says so or says nothing.
    #[default]
    Silent,
    Warned,
    Failed,
}

/// The worst outcome of each check, by scenario and check.
type Outcomes = BTreeMap<(String, String), Outcome>;

/// A check that goes worse through Ambit, as the design wants it.
struct Exception {
    scenario: &'static str,
    checks: &'static [(&'static str, Outcome)],
    reason: &'static str,
}

const NOTHING_ASKED: &str = "A server asks nothing of an agent through Ambit: its questions are denied, \
    because an answer would carry what nobody decided.";
const NO_SUBSCRIPTION: &str =
    "A subscription would carry changes past the decision: resources are read again instead.";
const NO_SESSION: &str = "Ambit gives out no sessions; the protocol leaves them to the server. Each request is \
    decided for itself.";

const OF_2025_11_25: &[Exception] = &[
    Exception {
        scenario: "elicitation-sep1034-defaults",
        checks: &[
            ("elicitation-sep1034-boolean-default", Outcome::Silent),
            ("elicitation-sep1034-enum-default", Outcome::Silent),
            ("elicitation-sep1034-general", Outcome::Failed),
            ("elicitation-sep1034-integer-default", Outcome::Silent),
            ("elicitation-sep1034-number-default", Outcome::Silent),
            ("elicitation-sep1034-string-default", Outcome::Silent),
        ],
        reason: NOTHING_ASKED,
    },
    Exception {
        scenario: "elicitation-sep1330-enums",
        checks: &[
            ("elicitation-sep1330-general", Outcome::Failed),
            ("elicitation-sep1330-legacy-enumnames", Outcome::Silent),
            ("elicitation-sep1330-titled-multi", Outcome::Silent),
            ("elicitation-sep1330-titled-single", Outcome::Silent),
            ("elicitation-sep1330-untitled-multi", Outcome::Silent),
            ("elicitation-sep1330-untitled-single", Outcome::Silent),
        ],
        reason: NOTHING_ASKED,
    },
    Exception {
        scenario: "tools-call-elicitation",
        checks: &[("tools-call-elicitation", Outcome::Failed)],
        reason: NOTHING_ASKED,
    },
    Exception {
        scenario: "tools-call-sampling",
        checks: &[("tools-call-sampling", Outcome::Failed)],
        reason: NOTHING_ASKED,
    },
    Exception {
        scenario: "resources-subscribe",
        checks: &[("resources-subscribe", Outcome::Failed)],
        reason: NO_SUBSCRIPTION,
    },
    Exception {
        scenario: "resources-unsubscribe",
        checks: &[("resources-unsubscribe", Outcome::Failed)],
        reason: NO_SUBSCRIPTION,
    },
    Exception {
        scenario: "server-initialize",
        checks: &[("server-session-id-visible-ascii", Outcome::Silent)],
        reason: NO_SESSION,
    },
    Exception {
        scenario: "server-session-lifecycle",
        checks: &[
            ("server-session-delete-accepted", Outcome::Silent),
            ("server-session-initialized-accepted", Outcome::Silent),
            ("server-session-terminated-returns-404", Outcome::Silent),
        ],
        reason: NO_SESSION,
    },
    Exception {
        scenario: "server-sse-multiple-streams",
        checks: &[
            ("server-accepts-multiple-post-streams", Outcome::Silent),
            ("server-sse-multiple-streams-session", Outcome::Warned),
            ("server-sse-streams-functional", Outcome::Silent),
        ],
        reason: NO_SESSION,
    },
    Exception {
        scenario: "server-sse-polling",
        checks: &[("server-sse-polling-session", Outcome::Warned)],
        reason: NO_SESSION,
    },
];

const OF_2026_07_28: &[Exception] = &[
    Exception {
        scenario: "input-required-result-validate-input",
        checks: &[("sep-2322-validate-input-responses", Outcome::Warned)],
        reason: "Ambit refuses every call with `inputResponses`, valid or not, in the form that reaches the model: \
            a result with `isError`. The suite looks for an error of the protocol.",
    },
    Exception {
        scenario: "sep-2164-resource-not-found",
        checks: &[("sep-2164-data-uri", Outcome::Warned)],
        reason: "What an upstream puts into an error's `data` is not passed on: nobody declared what it may hold.",
    },
];

#[test]
fn revision_2025_11_25_is_kept_but_for_what_the_design_refuses() {
    check("2025-11-25", OF_2025_11_25);
}

#[test]
fn revision_2026_07_28_is_kept_but_for_what_the_design_refuses() {
    check("2026-07-28", OF_2026_07_28);
}

/// Every exception stands in the reference, and nothing else does.
#[test]
fn the_reference_lists_the_exceptions() {
    let mut table = String::new();
    for (revision, exceptions) in [("2025-11-25", OF_2025_11_25), ("2026-07-28", OF_2026_07_28)] {
        for exception in exceptions {
            for (check, outcome) in exception.checks {
                let (scenario, reason) = (exception.scenario, exception.reason);
                let outcome = outcome.word();
                writeln!(
                    table,
                    "| {revision} | `{scenario}` | `{check}` | {outcome} | {reason} |"
                )
                .unwrap();
            }
        }
    }
    let path = workspace().join("docs/reference/conformance.md");
    let reference = fs::read_to_string(path).unwrap_or_default();
    let rows = reference.lines().filter(|it| it.starts_with("| 20"));
    let rows: String = rows.map(|it| format!("{it}\n")).collect();
    assert_eq!(
        rows, table,
        "write these rows into docs/reference/conformance.md:\n{table}"
    );
}

/// Runs the suite of `revision` against the reference server, and through Ambit with an upstream of each era.
fn check(revision: &str, exceptions: &[Exception]) {
    let (_both, url) = reference_server("both");
    let (_legacy, legacy_url) = reference_server("legacy");
    let upstreams = [
        Upstream::http("both", &url),
        Upstream::http("legacy", &legacy_url),
    ];
    let world = World::start(&upstreams, "");
    grant_all(&world);
    let direct = direct(&world, &url.replace("127.0.0.1", "localhost"), revision);
    assert!(direct.values().filter(|it| **it == Outcome::Passed).count() >= PASSED_MIN);
    let listed: BTreeMap<_, _> = exceptions
        .iter()
        .flat_map(|it| {
            it.checks
                .iter()
                .map(|check| (it.scenario.to_owned(), check))
        })
        .map(|(scenario, (check, outcome))| ((scenario, (*check).to_owned()), *outcome))
        .collect();
    for era in ["both", "legacy"] {
        let through = through(&world, era, revision);
        assert_eq!(
            worse(&direct, &through),
            listed,
            "upstream of era {era}; left: found, right: listed"
        );
    }
}

/// A suite that reaches nothing would make nothing worse.
const PASSED_MIN: usize = 70;

fn reference_server(era: &str) -> (Beside, String) {
    let mut command = Command::new(tool("python"));
    command
        .arg(judge("servers/conformance_server.py"))
        .args(["--era", era]);
    let (server, line) = Beside::start(command);
    (server, line.strip_prefix("LISTENING ").unwrap().to_owned())
}

/// Grants every tool of both upstreams, and reading the rest: the suite is to see Ambit, not a narrow task.
fn grant_all(world: &World) {
    let mut grants = "reads = [\"both\", \"legacy\"]\n".to_owned();
    for server in ["both", "legacy"] {
        let registry =
            fs::read_to_string(world.path(&format!("estate/servers/{server}.toml"))).unwrap();
        let tools = registry.lines().filter_map(|it| it.strip_prefix("[tools."));
        tools.for_each(|it| writeln!(grants, "[tools.{server}.{it}").unwrap());
    }
    world.grant(&grants);
}

fn direct(world: &World, url: &str, revision: &str) -> Outcomes {
    let to = world.path("direct");
    let mut command = Command::new(tool("conformance"));
    command
        .args(["server", "--url", url, "--requirements", revision, "-o"])
        .arg(&to);
    // The exit code tells of failures too: those are read from the files.
    command.output().unwrap();
    read(&to)
}

fn through(world: &World, server: &str, revision: &str) -> Outcomes {
    let conformance = tool("conformance");
    let arguments = [conformance.to_str().unwrap(), server, revision];
    let output = world.run(SUITE, &arguments).output().unwrap();
    succeed(&output, &arguments);
    read(&world.path(&format!("work/{server}")))
}

/// Runs the suite inside: it wants a name, not an address. Its own exit code tells of failures, not of Ambit.
const SUITE: &str = "url=http://localhost:${AMBIT_MCP_URL#http://127.0.0.1:}; \
    \"$1\" server --url \"${url%/mcp}/s/$2/mcp\" --requirements \"$3\" -o \"$2\" >/dev/null 2>&1; test -d \"$2\"";

/// Reads what the suite wrote: a folder for each scenario, named with its end, and in it the checks.
fn read(folder: &Path) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = name.strip_prefix("server-").unwrap();
        let (scenario, _) = name.split_at(name.len() - "-2026-01-01T00-00-00-000Z".len());
        let checks = json::parse(&fs::read(path.join("checks.json")).unwrap()).unwrap();
        for check in checks.as_array().unwrap() {
            let member = |name| check.get(name).and_then(Value::as_str).unwrap();
            let outcome = Outcome::read(member("status"));
            let key = (scenario.to_owned(), member("id").to_owned());
            let worst = outcomes.entry(key).or_insert(outcome);
            *worst = outcome.max(*worst);
        }
    }
    outcomes
}

/// Returns the checks that went worse `through` than `direct`, and how. One that was not made is silent.
fn worse(direct: &Outcomes, through: &Outcomes) -> Outcomes {
    let keys: BTreeSet<_> = direct.keys().chain(through.keys()).collect();
    let of = |outcomes: &Outcomes, key| outcomes.get(key).copied().unwrap_or_default();
    let changed = keys
        .into_iter()
        .filter(|it| of(through, it) > of(direct, it));
    changed.map(|it| (it.clone(), of(through, it))).collect()
}

impl Outcome {
    fn read(status: &str) -> Self {
        match status {
            "SUCCESS" => Self::Passed,
            "INFO" | "SKIPPED" => Self::Silent,
            "WARNING" => Self::Warned,
            "FAILURE" => Self::Failed,
            other => panic!("the suite knows a status `{other}` that this test does not"),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Silent => "not checked",
            Self::Warned => "warning",
            Self::Failed => "failed",
        }
    }
}

//! Parts of tasks, taken and given on by tokens that the server really gave: who may use them, for what, until when.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use ambit_core::{
    Digest, Timestamp,
    json::{self, Value},
};
use ambit_identity::{
    SvidKey,
    jose::{KeyUse, Signer, SigningKey, base64url},
};

use crate::{
    life::{check, with_free_template},
    world::World,
};

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;
const READ: &str = r#"[{"type":"ambit_task","server":"notes","datatypes":["tools"]}]"#;
const NOTE: &str = "the note itself";

/// A server with three agents that take parts of each other, and one run of each with an SVID of its own.
struct Team {
    world: World,
    /// How clients name the gateway, and how the server names its endpoints there.
    gateway: String,
    endpoints: String,
    /// The tasks of `a`, `b` and `c`, and the instance of `b`.
    tasks: [String; 3],
    taker: String,
    now: Timestamp,
    key: Signer,
    proofs: AtomicU64,
}

/// What comes with a request beside its body.
#[derive(Clone, Copy)]
struct Shown<'a> {
    /// Whose certificate.
    run: Option<&'a str>,
    token: Option<&'a str>,
    by: By,
}

/// How a token is bound, or shall be.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Certificate,
    Proof,
}

impl Team {
    fn start() -> Self {
        let world = World::start(None);
        let estate = with_free_template(&world);
        let template = Path::new(&estate).join("templates/free.toml");
        let free = fs::read_to_string(&template).unwrap();
        let deep = "\n[delegation]\nto = [\"second\", \"third\"]\ndepth_max = 2\n";
        fs::write(template, format!("{free}{deep}")).unwrap();
        let reader = fs::read_to_string(Path::new(&estate).join("agents/reader.toml")).unwrap();
        for name in ["second", "third"] {
            let agent = format!("{reader}parts_of = [\"free\"]\n");
            fs::write(format!("{estate}/agents/{name}.toml"), agent).unwrap();
        }
        check(&world, &["apply", &estate], 0, &[]);
        world.seal("notes-token", "of-the-server");
        let started = [("reader", "a"), ("second", "b"), ("third", "c")].map(|(agent, run)| {
            let start = ["task", "start", "free", "--for", agent, "--svid", run];
            let output = world.ambit(&[&start[..], &["-o", "json"]].concat());
            json::parse(&output.stdout).unwrap()
        });
        let text =
            |it: &Value, name: &str| it.get(name).and_then(Value::as_str).unwrap().to_owned();
        let named = text(&started[0], "gateway");
        let gateway = format!("https://localhost:{}", named.rsplit(':').next().unwrap());
        let svid = fs::metadata(world.directory.path().join("work/c/svid.pem")).unwrap();
        let since = svid.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        let key = SvidKey::generate([7; 32]).unwrap();
        let key = SigningKey::from_svid_key(&key, KeyUse::Unstated).unwrap();
        Self {
            endpoints: endpoints(&gateway),
            gateway,
            tasks: started.each_ref().map(|it| text(it, "task")),
            taker: text(&started[1], "instance"),
            now: Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap()),
            key: Signer::with_embedded_key(Arc::new(key), "dpop+jwt"),
            proofs: AtomicU64::new(0),
            world,
        }
    }

    /// Posts to a path of the gateway, with a proof where the token wants one. Returns head and body of what comes back.
    fn post(&self, path: &str, shown: Shown<'_>, more: &[&str]) -> String {
        let first = self.posted(path, shown, more, None);
        if shown.by == By::Certificate || !first.contains("use_dpop_nonce") {
            return first;
        }
        let mut lines = first.lines();
        let nonce = lines
            .find_map(|it| it.strip_prefix("dpop-nonce: "))
            .unwrap();
        self.posted(path, shown, more, Some(nonce.trim()))
    }

    fn posted(&self, path: &str, shown: Shown<'_>, more: &[&str], nonce: Option<&str>) -> String {
        let work = self.world.directory.path().join("work");
        let url = format!("{}{path}", self.gateway);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-m", "10", "--cacert"])
            .arg(work.join("a/bundle.pem"));
        if let Some(run) = shown.run {
            let files = work.join(run);
            curl.arg("--cert")
                .arg(files.join("svid.pem"))
                .arg("--key")
                .arg(files.join("key.pem"));
        }
        let scheme = if shown.by == By::Proof {
            "DPoP"
        } else {
            "Bearer"
        };
        if let Some(token) = shown.token {
            curl.args(["-H", &format!("authorization: {scheme} {token}")]);
        }
        if shown.by == By::Proof {
            let named = if path.starts_with("/oauth") {
                &format!("{}{path}", self.endpoints)
            } else {
                &url
            };
            curl.args([
                "-H",
                &format!("dpop: {}", self.proof(named, shown.token, nonce)),
            ]);
        }
        let output = curl.args(more).arg(url).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn proof(&self, url: &str, token: Option<&str>, nonce: Option<&str>) -> String {
        let number = self.proofs.fetch_add(1, Ordering::Relaxed);
        let ath = token.map(|it| base64url::encode(Digest::of(it.as_bytes()).as_bytes()));
        let claims = [
            ("htm", "POST".into()),
            ("htu", url.into()),
            ("jti", format!("proof-{number}").into()),
            ("iat", (self.now.as_millis() / 1000).into()),
        ];
        let ath = ath.map(|it| ("ath", it.into()));
        let nonce = nonce.map(|it| ("nonce", it.into()));
        let claims = claims.into_iter().chain(ath).chain(nonce);
        self.key.sign(&Value::object(claims)).unwrap()
    }

    fn form(&self, run: &str, by: By, path: &str, members: &[(&str, &str)]) -> String {
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let members = members.iter().flat_map(|it| ["--data-urlencode", it]);
        let shown = Shown {
            run: Some(run),
            token: None,
            by,
        };
        self.post(path, shown, &members.collect::<Vec<_>>())
    }

    /// Returns a token of the own task of `run`, bound to its certificate.
    fn own_token(&self, run: &str) -> String {
        let place = format!("{}/mcp", self.gateway);
        let members = [("grant_type", "client_credentials"), ("resource", &place)];
        let came = self.form(run, By::Certificate, "/oauth/mtls/token", &members);
        member(&came, "access_token")
    }

    /// Has `run` exchange a token and a delegation at the endpoint for certificates.
    fn exchange(&self, run: &str, by: By, (subject, delegation): (&str, &str)) -> String {
        let place = format!("{}/mcp", self.gateway);
        let members = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", subject),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("delegation", delegation),
            ("resource", &place),
        ];
        self.form(run, by, "/oauth/mtls/token", &members)
    }

    fn refresh(&self, run: &str, by: By, text: &str) -> String {
        let members = [("grant_type", "refresh_token"), ("refresh_token", text)];
        self.form(run, by, "/oauth/mtls/token", &members)
    }

    /// Returns a delegation of the task of `a` to the second agent.
    fn given(&self) -> String {
        let to = [
            "task",
            "delegate",
            &self.tasks[0],
            "--to",
            "second",
            "--read",
            "notes",
        ];
        let bounds = ["--calls", "5", "--for", "5m", "--depth", "1"];
        let said = check(&self.world, &[&to[..], &bounds].concat(), 0, &["dlg_"]);
        said.split_whitespace().next().unwrap().to_owned()
    }

    /// Has `b` take a part of the task of `a`, and returns its tokens: to act with, and to go on with.
    fn taken(&self, by: By) -> (String, String) {
        let (subject, delegation) = (self.own_token("a"), self.given());
        let came = self.exchange("b", by, (&subject, &delegation));
        (
            member(&came, "access_token"),
            member(&came, "refresh_token"),
        )
    }

    fn call(&self, run: Option<&str>, by: By, token: Option<&str>) -> String {
        let shown = Shown { run, token, by };
        let headers = [
            "-H",
            "content-type: application/json",
            "-H",
            "accept: application/json, text/event-stream",
            "-H",
            "mcp-protocol-version: 2025-11-25",
        ];
        let call = CALL.replace("note", "notes__note");
        self.post("/mcp", shown, &[&headers[..], &["-d", &call]].concat())
    }

    /// Posts to a route of the run's own task.
    fn task(&self, path: &str, shown: Shown<'_>, body: &str) -> String {
        let headers = ["-H", "content-type: application/json"];
        let path = format!("/v1/task/{path}");
        self.post(&path, shown, &[&headers[..], &["-d", body]].concat())
    }

    fn states(&self) -> String {
        check(
            &self.world,
            &["task", "list", "--all", "-o", "json"],
            0,
            &[],
        )
    }
}

/// Returns where the endpoints for certificates are, as the metadata of the authorization server say.
fn endpoints(gateway: &str) -> String {
    let read = |url: &str| {
        let output = Command::new("curl")
            .args(["-sS", "-k", "-m", "10", url])
            .output();
        json::parse(&output.unwrap().stdout).unwrap()
    };
    let resource = read(&format!(
        "{gateway}/.well-known/oauth-protected-resource/mcp"
    ));
    let issuers = resource
        .get("authorization_servers")
        .and_then(Value::as_array);
    let issuer = issuers.unwrap().first().and_then(Value::as_str).unwrap();
    let metadata = read(&format!("{issuer}/.well-known/oauth-authorization-server"));
    let token = metadata
        .get("mtls_endpoint_aliases")
        .unwrap()
        .get("token_endpoint");
    let token = token.and_then(Value::as_str).unwrap();
    token.strip_suffix("/oauth/mtls/token").unwrap().to_owned()
}

/// Returns a member of the answer's JSON.
#[track_caller]
fn member(came: &str, name: &str) -> String {
    let (_, body) = came.split_once("\r\n\r\n").unwrap();
    let body = json::parse(body.as_bytes()).unwrap();
    let member = body.get(name).and_then(Value::as_str);
    assert!(member.is_some(), "no {name} in {came}");
    member.unwrap().to_owned()
}

/// Returns what a token says, which only its issuer can have said.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    json::parse(&base64url::decode(claims).unwrap()).unwrap()
}

#[track_caller]
fn says(came: &str, status: u16, part: &str) {
    assert!(came.starts_with(&format!("HTTP/1.1 {status}")), "{came}");
    assert!(came.contains(part), "no `{part}` in: {came}");
}

/// Gives a part on, asking for so many calls.
fn part_for(agent: &str, calls: u32) -> String {
    let bounds = format!(r#"{{"type":"ambit_task","calls_max":{calls},"may_emit":[]}}"#);
    let details = READ.replacen('[', &format!("[{bounds},"), 1);
    format!(
        r#"{{"to":"{agent}","authorization_details":{details},"ttl_seconds":60,"depth_left":0}}"#
    )
}

/// What was taken at the endpoint for certificates is used over the taker's certificate, or by its proofs, and by nobody
/// else.
#[test]
fn a_part_that_was_taken_by_token_is_used_as_it_is_bound() {
    let team = Team::start();
    let (token, _) = team.taken(By::Certificate);
    let by = By::Certificate;
    says(&team.call(Some("b"), by, Some(&token)), 200, NOTE);
    // ASI03: the token alone, or beside the certificate of somebody else, is worth nothing.
    says(&team.call(None, by, Some(&token)), 401, "invalid_token");
    says(
        &team.call(Some("a"), by, Some(&token)),
        401,
        "invalid_token",
    );

    // Whoever took it asks about it and gives it up by the same certificate, and nobody else does.
    let about = |run, path: &str| team.form(run, by, path, &[("token", &token)]);
    let (introspect, revoke) = ("/oauth/mtls/introspect", "/oauth/mtls/revoke");
    says(&about("b", introspect), 200, "\"active\":true");
    says(&about("a", introspect), 200, "\"active\":false");
    says(&about("a", revoke), 400, "invalid_grant");
    says(&about("b", revoke), 200, "");
    says(&about("b", introspect), 200, "\"active\":false");
    says(&team.call(Some("b"), by, Some(&token)), 401, "given up");

    let (token, _) = team.taken(By::Proof);
    let by = By::Proof;
    says(&team.call(Some("b"), by, Some(&token)), 200, NOTE);
    says(&team.call(None, by, Some(&token)), 200, NOTE);
    says(
        &team.call(Some("a"), by, Some(&token)),
        401,
        "invalid_token",
    );
    // The part ends with the task of which it is one.
    check(
        &team.world,
        &["revoke", "task", &team.tasks[0], "--reason", "odd"],
        0,
        &[],
    );
    says(&team.call(Some("b"), by, Some(&token)), 200, "task_ended");
    says(&team.call(Some("b"), By::Certificate, None), 200, NOTE);
}

/// ASI10, NHI01: who was revoked acts no further in the parts that it took, and gets no tokens of them.
#[test]
fn asi10_a_revoked_run_acts_no_further_in_the_parts_that_it_took() {
    let team = Team::start();
    let (bound, next) = team.taken(By::Certificate);
    let (proved, _) = team.taken(By::Proof);
    says(
        &team.call(Some("b"), By::Certificate, Some(&bound)),
        200,
        NOTE,
    );
    let revoke = ["revoke", "instance", &team.taker, "--reason", "compromised"];
    check(&team.world, &revoke, 0, &[]);
    for came in [
        team.call(Some("b"), By::Certificate, None),
        team.call(Some("b"), By::Certificate, Some(&bound)),
        team.call(None, By::Proof, Some(&proved)),
    ] {
        says(&came, 200, "task_ended");
    }
    says(
        &team.refresh("b", By::Certificate, &next),
        400,
        "invalid_grant",
    );
    // Who gave the part goes on.
    says(&team.call(Some("a"), By::Certificate, None), 200, NOTE);
}

/// ASI03: beside a certificate, a request is of whom its token names, or of nobody.
#[test]
fn asi03_a_token_at_the_routes_of_a_task_is_never_overlooked() {
    let team = Team::start();
    let (token, _) = team.taken(By::Certificate);
    let shown = |token| Shown {
        run: Some("b"),
        token: Some(token),
        by: By::Certificate,
    };
    // Nothing that is no token of the run falls back to its certificate.
    let another = team.own_token("a");
    for route in ["complete", "delegations"] {
        for other in ["garbage", &another] {
            says(
                &team.task(route, shown(other), &part_for("third", 1)),
                401,
                "invalid_token",
            );
        }
    }
    // More than the part has, though the run's own task has it.
    says(
        &team.task("delegations", shown(&token), &part_for("third", 9)),
        403,
        "delegation_exceeds",
    );
    says(&team.task("complete", shown(&token), ""), 200, "completed");
    says(
        &team.call(Some("b"), By::Certificate, Some(&token)),
        200,
        "task_ended",
    );
    // The run's own task is what it was.
    says(&team.call(Some("b"), By::Certificate, None), 200, NOTE);
    // What it takes a certificate for, a token is of no use for.
    let (token, _) = team.taken(By::Certificate);
    let exchange = "delegations/dlg_0/exchange";
    says(
        &team.task(exchange, shown(&token), r#"{"contained":"none","csr":""}"#),
        403,
        "svid_required",
    );
}

/// A gives a part to B, B of it to C, with tokens alone: C can do less than B, and B's end is C's and not A's.
#[test]
fn a_chain_of_parts_comes_about_by_tokens_alone() {
    let team = Team::start();
    let (second, _) = team.taken(By::Proof);
    let shown = |token| Shown {
        run: None,
        token: Some(token),
        by: By::Proof,
    };
    let given = team.task("delegations", shown(&second), &part_for("third", 2));
    says(&given, 200, "dlg_");
    let delegation = member(&given, "delegation");
    let came = team.exchange("c", By::Proof, (&second, &delegation));
    let third = member(&came, "access_token");
    // The person, and the task that the person started, are the same all along the chain.
    let first = claims(&team.own_token("a"));
    for token in [&second, &third] {
        let claims = claims(token);
        assert_eq!(claims.get("sub"), first.get("sub"));
        assert_eq!(root(&claims), Some(team.tasks[0].as_str()));
    }
    assert_eq!(root(&first), Some(team.tasks[0].as_str()));
    for _ in 0..2 {
        says(&team.call(Some("c"), By::Proof, Some(&third)), 200, NOTE);
    }
    says(
        &team.call(Some("c"), By::Proof, Some(&third)),
        200,
        "budget_exhausted",
    );
    says(&team.call(Some("b"), By::Proof, Some(&second)), 200, NOTE);
    says(&team.task("complete", shown(&second), ""), 200, "completed");
    says(
        &team.call(Some("c"), By::Proof, Some(&third)),
        200,
        "task_ended",
    );
    says(&team.call(Some("a"), By::Certificate, None), 200, NOTE);
    for task in &team.tasks {
        assert!(team.states().contains(task.as_str()));
    }
}

fn root(claims: &Value) -> Option<&str> {
    claims.get("mission")?.get("root")?.as_str()
}

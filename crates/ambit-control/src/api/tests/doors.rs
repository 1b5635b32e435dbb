//! An office with all its doors, and requests to them.

use std::{
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use ambit_core::{
    estate::{Estate, OidcSubject, PersonRole},
    json,
    json::Value as Json,
};
use ambit_identity::{IssuingKeys, PairChance, PeerCredentials, SvidKey};
use ambit_testkit::{World, office};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::{
    Control, Doors, Keep, Parts, Published, PublishedLog, Route, openapi, people_router,
};
use crate::{estate::EstateFiles, foreign::Fetch, people::SignIns};

/// An office with all its doors: ana may do everything, ben approves, eve is nobody.
pub(super) struct Office {
    pub(super) doors: Doors,
    pub(super) world: World,
    pub(super) sealed: Arc<Mutex<Vec<String>>>,
    /// What was kept of issuing keys, in its order.
    pub(super) kept: Arc<Mutex<Vec<&'static str>>>,
    /// Which way of keeping the issuing keys fails, when one does.
    pub(super) keeping_fails: Arc<Mutex<Option<&'static str>>>,
    _sequencer: JoinHandle<()>,
}

pub(super) const ANA: u32 = 1001;
/// Where people sign in, and its name for ana.
pub(super) const PROVIDER: &str = "https://id.example.org";
pub(super) const ANA_SUBJECT: &str = "248289761001";
pub(super) const BEN: u32 = 1002;
pub(super) const EVE: u32 = 1003;
pub(super) const STRANGER: u32 = 4711;

impl Office {
    pub(super) fn open() -> Self {
        let fetch: Fetch = Arc::new(|_| Box::pin(async { Err("not here".to_owned()) }));
        Self::open_with(fetch, |_| ())
    }

    /// Opens an office whose estate was changed, and which fetches documents so.
    pub(super) fn open_with(fetch: Fetch, change: impl FnOnce(&mut Estate)) -> Self {
        let mut estate = office(&[]);
        change(&mut estate);
        let ana = estate.people.get_mut("ana").unwrap();
        ana.oidc = Some(OidcSubject {
            issuer: PROVIDER.to_owned(),
            subject: ANA_SUBJECT.to_owned(),
        });
        let mut world = World::new(estate, 1);
        let sequencer = world.take_sequencer();
        let sequencer = std::thread::spawn(move || sequencer.run());
        let sealed = Arc::new(Mutex::new(Vec::new()));
        let seals = sealed.clone();
        let keeping_fails = Arc::new(Mutex::new(None));
        let fails = keeping_fails.clone();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = kept.clone();
        let chance = PairChance {
            x509: [7; 32],
            jwt: [8; 32],
        };
        let domain = "example.org".parse().unwrap();
        let keys = IssuingKeys::create(domain, chance, world.clock.now()).unwrap();
        let control = Control {
            gateway_url: Some("https://127.0.0.1:1".to_owned()),
            federation: crate::federation::FederationParts::offline(),
            strangers_refused: Arc::default(),
            measure_storage: Arc::new(crate::api::Storage::default),
            handle: world.handle.clone(),
            clock: world.clock.to_clock(),
            keep_keys: Arc::new(move |keep| {
                let step = match keep {
                    Keep::Beside { .. } => "beside",
                    Keep::InForce(_) => "in force",
                    Keep::NotTaken => "not taken",
                };
                keeps.lock().unwrap().push(step);
                match *fails.lock().unwrap() {
                    Some(failing) if failing == step => Err("the disk is full".to_owned()),
                    Some(_) | None => Ok(()),
                }
            }),
            keys: Arc::new(tokio::sync::watch::Sender::new(Arc::new(keys))),
            gateway: "https://127.0.0.1:1".to_owned(),
            seal_credential: Arc::new(move |reference, secret, _| {
                seals.lock().unwrap().push(reference.to_owned());
                Ok(secret.iter().rev().copied().collect())
            }),
            list_tools: Arc::new(|_| {
                let tool = json::parse(br#"{"name":"get_ticket","inputSchema":{"type":"object"}}"#);
                Box::pin(async move { Ok(vec![tool.unwrap()]) })
            }),
            sign_ins: SignIns::Nowhere,
            fetch,
            published: Published::Log(PublishedLog::new(
                Arc::clone(&world.archive),
                "example.org/log",
                Parts::Hashes,
            )),
            issuer: Some("https://ambit.example.org".to_owned()),
            fetch_document: Arc::new(|_, _| Box::pin(async { Err("not here".to_owned()) })),
        };
        Self {
            doors: Doors::new(control),
            world,
            sealed,
            kept,
            keeping_fails,
            _sequencer: sequencer,
        }
    }

    /// Returns the estate in force.
    pub(super) fn estate(&self) -> Estate {
        let book = self.world.handle.book().unwrap();
        book.estate().as_ref().clone()
    }

    /// Puts an estate in force, as ana.
    pub(super) async fn apply(&self, estate: Estate) {
        let book = ambit_testkit::compile(estate);
        let (ana, moment) = (self.world.person("ana"), self.world.clock.moment());
        let applied = self
            .world
            .handle
            .apply(&ana, book, Vec::new(), moment)
            .await;
        applied.unwrap();
    }

    /// Sends a request as the local user `uid` and returns the status and the JSON answer.
    pub(super) async fn ask(
        &self,
        uid: u32,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Json) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .extension(PeerCredentials {
                uid,
                gid: uid,
                pid: None,
            })
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(people_router(&self.doors), request).await
    }

    pub(super) async fn send(&self, router: Router, request: Request<Body>) -> (StatusCode, Json) {
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = json::parse(&bytes)
            .unwrap_or_else(|_| Json::from(String::from_utf8_lossy(&bytes).into_owned()));
        (status, value)
    }

    /// Starts a task as ana and returns the answer.
    pub(super) async fn start(&self) -> Json {
        let (status, answer) = self.ask(ANA, "POST", "/v1/tasks", &start_body("T-1")).await;
        assert_eq!(status, StatusCode::OK, "{answer:?}");
        answer
    }

    /// Decides on an act of the task that ana started.
    pub(super) async fn act(
        &self,
        task: &Json,
        tool: &str,
        arguments: Json,
    ) -> ambit_engine::Answer {
        let chain = ambit_identity::Svid::from_pem(text(task, "svid")).unwrap();
        let domain = "example.org".parse().unwrap();
        let bundle =
            ambit_identity::TrustBundle::from_pem(domain, text(task, "bundle"), 0).unwrap();
        let now = self.world.clock.now();
        let caller = ambit_identity::identify_instance(chain.chain(), &bundle, now).unwrap();
        let act = ambit_core::act::Act::CallTool {
            server: "tickets".parse().unwrap(),
            tool: tool.parse().unwrap(),
            arguments,
        };
        self.world
            .handle
            .decide(&caller, act, self.world.clock.moment())
            .await
            .unwrap()
    }

    pub(super) fn caller(&self, task: &Json) -> ambit_identity::InstanceCaller {
        let chain = ambit_identity::Svid::from_pem(text(task, "svid")).unwrap();
        let domain = "example.org".parse().unwrap();
        let bundle =
            ambit_identity::TrustBundle::from_pem(domain, text(task, "bundle"), 0).unwrap();
        ambit_identity::identify_instance(chain.chain(), &bundle, self.world.clock.now()).unwrap()
    }
}

pub(super) fn start_body(ticket: &str) -> String {
    let key = SvidKey::generate([5; 32]).unwrap();
    let csr = STANDARD.encode(key.signing_request().unwrap());
    format!(
        r#"{{"template":"answer","agent":"clerk","contained":"namespaces","csr":"{csr}","parameters":{{"ticket":"{ticket}","customer":"kim@example.org"}}}}"#
    )
}

pub(super) fn text<'a>(value: &'a Json, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Json::as_str)
        .unwrap_or_else(|| panic!("no {member} in {value:?}"))
}

/// Holds an answer against the schema that the OpenAPI document has for it.
#[track_caller]
pub(super) fn fits(schema: &str, answer: &Json) {
    let mut document = openapi();
    document["$ref"] = serde_json::json!(format!("#/components/schemas/{schema}"));
    let answer: serde_json::Value = serde_json::from_str(&answer.to_canonical()).unwrap();
    let validator = jsonschema::validator_for(&document).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&answer)
        .map(|it| it.to_string())
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:?}\n{answer:#}");
}

/// Returns a request to each route of people that is well formed, so that only the decision is left.
pub(super) fn well_formed(route: &Route) -> (String, String) {
    let id = |prefix: &str| format!("{prefix}_{}", "0".repeat(26));
    let path = route
        .path
        .replace("{task}", &id("task"))
        .replace("{login}", &id("login"))
        .replace("{passkey}", &id("pk"))
        .replace("{person}", "ben")
        .replace("{approval}", &id("apr"))
        .replace("{decision}", &id("dec"))
        .replace("{delegation}", &id("dlg"))
        .replace("{server}", "tickets")
        .replace("{reference}", "tickets")
        .replace("{*tile}", "0/000");
    let body = match route.request {
        None => String::new(),
        Some("StartTask") => start_body("T-1"),
        Some("EndTask") => r#"{"end":"cancelled"}"#.to_owned(),
        Some("DecideApproval") => r#"{"verdict":"approved"}"#.to_owned(),
        Some("Revoke" | "Reinstate") => {
            r#"{"target":{"kind":"agent","id":"clerk"},"reason":"test"}"#.to_owned()
        }
        Some("Delegate") => concat!(
            r#"{"to":"clerk","authorization_details":[{"type":"ambit_task","server":"tickets","#,
            r#""datatypes":["tools"]}]}"#
        )
        .to_owned(),
        Some("ExchangeDelegation") => {
            let start = ambit_core::json::parse(start_body("T-1").as_bytes()).unwrap();
            let csr = start.get("csr").unwrap().clone();
            Json::object([("contained", "namespaces".into()), ("csr", csr)]).to_canonical()
        }
        Some("RotateKeys") => r#"{"step":"prepare"}"#.to_owned(),
        Some("OpenSealed") => r#"{"records":[0]}"#.to_owned(),
        Some("SettleAct") => r#"{"settlement":"happened","reason":"test"}"#.to_owned(),
        Some("Estate") => estate_body(),
        Some("Secret") => r#"{"secret":"hunter2"}"#.to_owned(),
        Some(other) => panic!("write a request for {other}"),
    };
    (path, body)
}

pub(super) fn estate_body() -> String {
    estate_of(&[("ana", ANA, &PersonRole::ALL)])
}

/// Returns a request with the demo's estate and these people.
pub(super) fn estate_of(people: &[(&str, u32, &[PersonRole])]) -> String {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
    let mut files = EstateFiles::collect(std::path::Path::new(dir)).unwrap();
    for (alias, unix_uid, roles) in people {
        files = files.with_person(alias, *unix_uid, roles);
    }
    let archive = String::from_utf8(files.archive()).unwrap();
    Json::object([("archive", archive.into())]).to_canonical()
}

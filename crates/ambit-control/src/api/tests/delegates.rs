//! Clients and workloads from elsewhere as delegates: they take parts with their own proven identity.

use ambit_core::{
    Digest, Millis,
    claim::ClaimProof,
    delegation::Lineage,
    estate::{
        BundleSource, ClientKeys, Containment, Estate, Federation, Issuer, IssuerKeys,
        SvidRegistration, TokenRegistration,
        claim_rules::{ClaimRule, ClaimRules, Wanted},
    },
    json::Value as Json,
    record::{Actor, Body as Fact},
};
use ambit_identity::Carrier;
use ambit_testkit::{compile, delegating_office};
use axum::http::StatusCode;

use super::{
    clients::{
        BUILDS, BY_KEY, MAIN, assertion, client, nothing, refused, send, set, workload_token,
    },
    delegations::{ACCESS, CLOSE, EXCHANGE, by_run, part},
    doors::{ANA, Office, fits, start_body, text},
    federation::{self, BOOKS, partner},
    oauth::{Agent, Answered, ISSUER, PLACE, SPIFFE, form, post, svid},
};
use crate::{api::public_router, federation::refresh_bundles};

/// `desk` is a run of the helper by key 21, `other` of the archivist by key 22, `kiosk` of nobody by key 23, and `page` is
/// public; so are builds and the partner's workloads runs of the helper.
fn declare(estate: &mut Estate) {
    *estate = delegating_office(2, &[]);
    for template in estate.templates.values_mut() {
        template.containment = Containment::Optional;
    }
    let of = |name: &str, keys: ClientKeys, runs: Option<&str>| {
        client(name, keys, |it| {
            it.runs = runs.map(|it| it.parse().unwrap());
            it.agents = ["helper", "archivist"].map(|it| it.parse().unwrap()).into();
        })
    };
    let clients = [
        of("desk", ClientKeys::Given(set(&[21])), Some("helper")),
        of("other", ClientKeys::Given(set(&[22])), Some("archivist")),
        of("kiosk", ClientKeys::Given(set(&[23])), None),
        of("page", ClientKeys::Public, None),
    ];
    estate.clients = clients.map(|it| (it.name.clone(), it)).into();
    let issuer = Issuer {
        name: "builds".parse().unwrap(),
        issuer: BUILDS.to_owned(),
        audience: ISSUER.to_owned(),
        keys: IssuerKeys::Given(set(&[31])),
    };
    let federation = Federation {
        name: "partner".parse().unwrap(),
        trust_domain: "partner.example".parse().unwrap(),
        source: BundleSource::Given(partner(20).bundle().to_document()),
    };
    let main = Wanted::OneOf(vec![MAIN.to_owned()]);
    let rule = ClaimRule::new(vec!["sub".to_owned()], main).unwrap();
    let helper = estate.agents.get_mut("helper").unwrap();
    helper.tokens = vec![TokenRegistration {
        issuer: issuer.name.clone(),
        claims: ClaimRules::new(vec![rule]).unwrap(),
    }];
    helper.svids = vec![SvidRegistration {
        federation: federation.name.clone(),
        path: Wanted::OneOf(vec!["/ns/books".to_owned()]),
    }];
    estate.issuers = [(issuer.name.clone(), issuer)].into();
    estate.federations = [(federation.name.clone(), federation)].into();
}

/// A task of ana's clerk, without containment, and the key of a delegate.
struct Scene {
    office: Office,
    root: Json,
    clerk: Agent,
    key: Agent,
}

/// How a delegate proves itself.
#[derive(Clone, Copy, Debug)]
enum By {
    Client(&'static str, u8),
    Token,
    Svid,
    Name(&'static str),
}

impl Scene {
    async fn open() -> Self {
        let office = Office::open_with(nothing(), declare);
        refresh_bundles(&office.doors).await;
        let root = start(&office).await;
        Self {
            office,
            root,
            clerk: Agent::new(9),
            key: Agent::new(11),
        }
    }

    async fn given(&self, to: &str) -> String {
        let path = "/v1/task/delegations";
        let (status, given) = by_run(&self.office, &self.root, path, part(to, CLOSE, 1)).await;
        assert_eq!(status, StatusCode::OK, "{given:?}");
        text(&given, "delegation").to_owned()
    }

    /// Returns a token of the task that delegates.
    async fn subject(&self) -> String {
        let assertion = svid(&self.office, &self.root, &[ISSUER]);
        let members = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", SPIFFE),
            ("client_assertion", assertion.as_str()),
            ("resource", PLACE),
        ];
        let got = send(&self.office, Some(&self.clerk), &members).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        text(&got.value, "access_token").to_owned()
    }

    fn proof(&self, by: By) -> Vec<(&'static str, String)> {
        let office = &self.office;
        let (kind, assertion) = match by {
            By::Client(name, seed) => (BY_KEY, assertion(office, seed, name, ISSUER)),
            By::Token => (BY_KEY, workload_token(office, 31, MAIN)),
            By::Svid => {
                let id = format!("{:?}", office.world.clock.moment().chance);
                let id: String = id.chars().take(60).collect();
                let svid = federation::svid(office, &partner(20), BOOKS, &[ISSUER], &id);
                (SPIFFE, svid)
            }
            By::Name(name) => return vec![("client_id", name.to_owned())],
        };
        vec![
            ("client_assertion_type", kind.to_owned()),
            ("client_assertion", assertion),
        ]
    }

    async fn ask(&self, by: By, more: &[(&str, &str)]) -> Answered {
        let proof = self.proof(by);
        let mut members: Vec<_> = proof
            .iter()
            .map(|(name, it)| (*name, it.as_str()))
            .collect();
        members.extend_from_slice(more);
        send(&self.office, Some(&self.key), &members).await
    }

    async fn exchange(&self, by: By, delegation: &str, subject: &str) -> Answered {
        let more = [
            ("grant_type", EXCHANGE),
            ("resource", PLACE),
            ("subject_token", subject),
            ("subject_token_type", ACCESS),
            ("delegation", delegation),
        ];
        self.ask(by, &more).await
    }

    async fn told(&self, by: By, token: &str) -> Json {
        let proof = self.proof(by);
        let mut members: Vec<_> = proof
            .iter()
            .map(|(name, it)| (*name, it.as_str()))
            .collect();
        members.push(("token", token));
        let router = public_router(&self.office.doors);
        let got = post(router, "/oauth/introspect", form(&members), &[]).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        fits("Introspection", &got.value);
        got.value
    }

    async fn apply(&self, change: impl FnOnce(&mut Estate)) {
        let world = &self.office.world;
        let mut estate = Estate::clone(world.handle.book().unwrap().estate());
        change(&mut estate);
        estate.digest = Digest::of(&world.clock.moment().chance);
        // At the socket, whoever has an agent without containment could be that agent.
        let ana = world.signed_in("ana", Carrier::Browser);
        let moment = world.clock.moment();
        let applied = world
            .handle
            .apply(&ana, compile(estate), Vec::new(), moment);
        applied.await.unwrap();
    }
}

/// Starts a task of the clerk that runs without containment.
async fn start(office: &Office) -> Json {
    let body = start_body("T-1").replace(r#""namespaces""#, r#""none""#);
    let (status, answer) = office.ask(ANA, "POST", "/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer:?}");
    answer
}

const DESK: By = By::Client("desk", 21);

/// Each kind of delegate takes a part with its own proof, acts in the delegator's stead, and goes on by refreshing.
#[tokio::test]
async fn delegates_from_elsewhere_take_parts_as_themselves() {
    for (by, name, proof) in [
        (DESK, "desk", ClaimProof::Client),
        (By::Svid, BOOKS, ClaimProof::Svid),
    ] {
        let scene = Scene::open().await;
        let (mine, subject) = (scene.given("helper").await, scene.subject().await);
        let got = scene.exchange(by, &mine, &subject).await;
        assert_eq!(got.status, StatusCode::OK, "{by:?}: {:?}", got.value);
        fits("TokenAnswer", &got.value);
        let told = scene.told(by, text(&got.value, "access_token")).await;
        assert_eq!(text(&told, "client_id"), name);
        let act = told.get("act").unwrap();
        assert!(text(act, "sub").contains("/agent/helper/"), "{act:?}");
        let above = act.get("act").unwrap();
        assert_eq!(text(above, "sub"), text(&scene.root, "spiffe_id"));
        let details = told.get("authorization_details").unwrap().to_canonical();
        assert!(details.contains("close_ticket") && !details.contains("refund"));
        // It serves the child from now on, and no other task.
        let more = [("grant_type", "client_credentials"), ("resource", PLACE)];
        let own = scene.ask(by, &more).await;
        assert_eq!(own.status, StatusCode::OK, "{:?}", own.value);
        let own = scene.told(by, text(&own.value, "access_token")).await;
        assert_eq!(own.get("mission"), told.get("mission"));
        let refresh = text(&got.value, "refresh_token");
        let more = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let again = scene.ask(by, &more).await;
        assert_eq!(again.status, StatusCode::OK, "{:?}", again.value);
        is_written(&scene, proof);
    }
}

/// The record says who took the part, that the child is theirs, and in whose stead they act.
fn is_written(scene: &Scene, wanted: ClaimProof) {
    let (mut by, mut claimed, mut child) = (None, None, None);
    for record in scene.office.world.records() {
        match record.body {
            Fact::DelegationSpent { task, mandate, .. } => {
                assert!(matches!(task.lineage, Lineage::Child { depth: 1, .. }));
                (by, child) = (Some(mandate.by), Some(task.id));
            }
            Fact::TaskClaimed {
                task,
                proof,
                workload,
                footing,
            } => {
                assert_eq!((Some(task), proof), (child, wanted));
                assert!(footing.registration.is_some(), "it stands on the estate");
                claimed = Some(Actor::Workload(workload));
            }
            _ => {}
        }
    }
    assert!(by.is_some());
    assert_eq!(by, claimed);
}

/// A workload token proves its holder as a client, too.
#[tokio::test]
async fn the_holder_of_a_workload_token_takes_a_part() {
    let scene = Scene::open().await;
    let (mine, subject) = (scene.given("helper").await, scene.subject().await);
    let got = scene.exchange(By::Token, &mine, &subject).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let told = scene
        .told(By::Token, text(&got.value, "access_token"))
        .await;
    assert_eq!(told.get("active"), Some(&Json::Bool(true)), "{told:?}");
}

/// ASI03, NHI: whoever is not the very delegate takes nothing, and spends nothing.
#[tokio::test]
async fn asi03_no_other_client_takes_a_delegation() {
    let scene = Scene::open().await;
    let (mine, subject) = (scene.given("helper").await, scene.subject().await);
    for (by, error, says) in [
        (
            By::Client("other", 22),
            "invalid_request",
            "delegate_mismatch",
        ),
        (By::Client("kiosk", 23), "unauthorized_client", "`runs = "),
        (By::Name("page"), "unauthorized_client", "proves nothing"),
        (
            By::Name("desk"),
            "invalid_client",
            "signed with one of them",
        ),
        (By::Client("desk", 22), "invalid_client", "is refused"),
    ] {
        let got = scene.exchange(by, &mine, &subject).await;
        assert_eq!(got.error(), error, "{by:?}: {:?}", got.value);
        refused(&got, error, says);
    }
    // A subject of another task: whoever holds both.
    let office = &scene.office;
    let another = start(office).await;
    let assertion = svid(office, &another, &[ISSUER]);
    let members = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", assertion.as_str()),
        ("resource", PLACE),
    ];
    let spliced = send(office, Some(&Agent::new(12)), &members).await;
    let spliced = text(&spliced.value, "access_token").to_owned();
    let got = scene.exchange(DESK, &mine, &spliced).await;
    refused(&got, "invalid_request", "delegate_mismatch");
    // An actor token that is not its own, also before it serves anything.
    let more = [
        ("grant_type", EXCHANGE),
        ("resource", PLACE),
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS),
        ("actor_token", subject.as_str()),
        ("actor_token_type", ACCESS),
        ("delegation", mine.as_str()),
    ];
    refused(
        &scene.ask(DESK, &more).await,
        "invalid_request",
        "another actor",
    );
    // A run that was named before is none that it becomes.
    let spiffe_id = text(&scene.root, "spiffe_id").replace("/clerk/", "/helper/");
    let named = format!(
        r#"{{"to":"helper","spiffe_id":"{spiffe_id}","authorization_details":[{CLOSE}],"depth_left":0}}"#
    );
    let (_, given) = by_run(office, &scene.root, "/v1/task/delegations", named).await;
    let got = scene
        .exchange(DESK, text(&given, "delegation"), &subject)
        .await;
    refused(&got, "invalid_request", "delegate_mismatch");
    // None of it spent anything; once it is spent, it is.
    let got = scene.exchange(DESK, &mine, &subject).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let got = scene.exchange(DESK, &mine, &subject).await;
    refused(&got, "invalid_request", "delegation_used");
}

/// Rule 3: what the delegate's own policy and containment do not allow, no delegation gives.
#[tokio::test]
async fn asi03_a_delegate_client_stays_below_its_agent() {
    let scene = Scene::open().await;
    let (mine, subject) = (scene.given("helper").await, scene.subject().await);
    scene
        .apply(|it| {
            let helper = it.agents.get_mut("helper").unwrap();
            helper.parts_of.clear();
        })
        .await;
    let got = scene.exchange(DESK, &mine, &subject).await;
    refused(&got, "invalid_request", "delegate_not_listed");
    // A part of a task that runs contained is for who runs contained.
    let scene = Scene::open().await;
    let contained = scene.office.start().await;
    let path = "/v1/task/delegations";
    let (_, given) = by_run(&scene.office, &contained, path, part("helper", CLOSE, 0)).await;
    let assertion = svid(&scene.office, &contained, &[ISSUER]);
    let members = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", assertion.as_str()),
        ("resource", PLACE),
    ];
    let subject = send(&scene.office, Some(&scene.clerk), &members).await;
    let subject = text(&subject.value, "access_token");
    let got = scene
        .exchange(DESK, text(&given, "delegation"), subject)
        .await;
    refused(&got, "invalid_request", "containment_required");
}

/// ASI03: what the estate takes from the delegate client ends what it took, at the next use; what ends above ends it, too.
#[tokio::test]
async fn asi03_a_delegate_client_ends_with_what_it_rests_upon() {
    let taken = async |scene: &Scene| {
        let (mine, subject) = (scene.given("helper").await, scene.subject().await);
        let got = scene.exchange(DESK, &mine, &subject).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        let token = text(&got.value, "access_token").to_owned();
        (token, text(&got.value, "refresh_token").to_owned())
    };
    let scene = Scene::open().await;
    let (token, refresh) = taken(&scene).await;
    assert_eq!(
        scene.told(DESK, &token).await.get("active"),
        Some(&Json::Bool(true))
    );
    scene
        .apply(|it| it.clients.get_mut("desk").unwrap().runs = None)
        .await;
    assert_eq!(
        scene.told(DESK, &token).await.get("active"),
        Some(&Json::Bool(false))
    );
    let more = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];
    refused(
        &scene.ask(DESK, &more).await,
        "invalid_grant",
        "its task has ended",
    );

    let scene = Scene::open().await;
    let (token, _) = taken(&scene).await;
    let path = format!("/v1/tasks/{}/end", text(&scene.root, "task"));
    let (status, _) = scene
        .office
        .ask(ANA, "POST", &path, r#"{"end":"completed"}"#)
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        scene.told(DESK, &token).await.get("active"),
        Some(&Json::Bool(false))
    );
    scene.office.world.clock.advance(Millis::from_seconds(1));
    let more = [("grant_type", "client_credentials"), ("resource", PLACE)];
    refused(
        &scene.ask(DESK, &more).await,
        "invalid_grant",
        "no task waits",
    );
}

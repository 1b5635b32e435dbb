use std::{collections::BTreeMap, error::Error as _, sync::Mutex};

use ambit_core::{
    IssuerName,
    claim::ClaimProof,
    estate::{
        TokenRegistration,
        claim_rules::{ClaimRule, ClaimRules, Pattern, Wanted},
    },
    json::Value,
};
use ambit_engine::{Claim, StartTask, Waits};
use ambit_identity::{
    IssuingKeys, PairChance, Proved, SvidKey,
    jose::{KeyUse, Signer, SigningKey},
};
use ambit_testkit::{World, office};

use super::*;
use crate::{api::Published, check::chain};

const ISSUER: &str = "https://token.example.com";
const KEYS: &str = "https://keys.example.com/jwks";
const DISCOVERY: &str = "https://token.example.com/.well-known/openid-configuration";
const AUDIENCE: &str = "https://ambit.example.org";

/// An office that believes one issuer, whose documents are here.
struct Desk {
    world: World,
    control: Control,
    foreign: Arc<ForeignKeys>,
    published: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    fn open(keys: IssuerKeys) -> Self {
        let mut estate = office(&[]);
        let name: IssuerName = "builds".parse().unwrap();
        let pattern = Pattern::new("repo:example/books:ref:*").unwrap();
        let rule = ClaimRule::new(vec!["sub".to_owned()], Wanted::Pattern(pattern)).unwrap();
        let clerk = estate.agents.values_mut().next().unwrap();
        clerk.tokens = vec![TokenRegistration {
            issuer: name.clone(),
            claims: ClaimRules::new(vec![rule]).unwrap(),
        }];
        let issuer = Issuer {
            name: name.clone(),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            keys,
        };
        estate.issuers.insert(name, issuer);
        let world = World::new(estate, 1);
        let chance = PairChance {
            x509: [7; 32],
            jwt: [8; 32],
        };
        let issuing =
            IssuingKeys::create("example.org".parse().unwrap(), chance, world.clock.now());
        let published = Arc::new(Mutex::new(BTreeMap::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (documents, heard) = (published.clone(), asked.clone());
        let fetch: Fetch = Arc::new(move |url| {
            let found: Option<String> = documents.lock().unwrap().get(&url).cloned();
            heard.lock().unwrap().push(url);
            Box::pin(async move { found.map(String::into_bytes).ok_or("it is down".to_owned()) })
        });
        let control = Control {
            issuer: None,
            fetch_document: Arc::new(|_| Box::pin(std::future::ready(Err(String::new())))),
            handle: world.handle.clone(),
            clock: world.clock.to_clock(),
            keep_keys: Arc::new(|_| Ok(())),
            keys: Arc::new(tokio::sync::watch::Sender::new(Arc::new(issuing.unwrap()))),
            gateway: "https://127.0.0.1:1".to_owned(),
            seal_credential: Arc::new(|_, _, _| Err("not here".to_owned())),
            list_tools: Arc::new(|_| Box::pin(async { Err("not here".to_owned().into()) })),
            gateway_url: None,
            federation: crate::federation::FederationParts::offline(),
            strangers_refused: Arc::default(),
            measure_storage: Arc::new(crate::api::Storage::default),
            sign_ins: crate::people::SignIns::Nowhere,
            fetch,
            published: Published::Nothing,
        };
        Self {
            world,
            control,
            foreign: Arc::default(),
            published,
            asked,
        }
    }

    fn publish(&self, url: &str, text: impl Into<String>) {
        self.published
            .lock()
            .unwrap()
            .insert(url.to_owned(), text.into());
    }

    /// Returns which addresses were asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn token(&self, seed: u8, issuer: &str, subject: &str) -> String {
        let seconds = i64::try_from(self.world.clock.now().as_millis() / 1000).unwrap();
        let claims = Value::object([
            ("iss", issuer.into()),
            ("aud", AUDIENCE.into()),
            ("sub", subject.into()),
            ("iat", Value::Integer(seconds)),
            ("exp", Value::Integer(seconds + 300)),
        ]);
        Signer::new(Arc::new(signing(seed)), Some("JWT"))
            .sign(&claims)
            .unwrap()
    }

    /// Identifies the holder, and says what came of it.
    fn identify(&mut self, token: &str) -> Result<Claimant, String> {
        let (foreign, control, token) =
            (self.foreign.clone(), self.control.clone(), token.to_owned());
        let found = self
            .world
            .run(async move { foreign.identify(&control, &token).await });
        found.map(|it| it.claimant).map_err(|error| {
            assert!(error.source().is_none() || matches!(error, ForeignTokenError::Token(_)));
            chain(&error)
        })
    }

    #[track_caller]
    fn refused(&mut self, token: &str, part: &str) {
        let found = self.identify(token).unwrap_err();
        assert!(found.contains(part), "`{part}` not in {found}");
    }
}

fn signing(seed: u8) -> SigningKey {
    let key = SvidKey::generate([seed; 32]).unwrap();
    SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap()
}

fn set(seeds: &[u8]) -> String {
    let keys = seeds.iter().map(|it| signing(*it).public().to_value());
    Value::object([("keys", keys.collect())]).to_canonical()
}

const MAIN: &str = "repo:example/books:ref:main";

#[test]
fn a_token_of_a_trusted_issuer_claims_the_task_of_its_agent() {
    let mut desk = Desk::open(IssuerKeys::Given(set(&[1])));
    let token = desk.token(1, ISSUER, MAIN);
    let claimant = desk.identify(&token).unwrap();
    let agent = "clerk".parse().unwrap();
    assert_eq!(*claimant.proved(), Proved::Agent(agent, ClaimProof::Token));
    desk.refused(
        &desk.token(1, ISSUER, "repo:example/other:ref:main"),
        "nearest is agent `clerk`",
    );
    desk.refused(
        &desk.token(1, "https://other.example", MAIN),
        "trusts no such issuer",
    );
    desk.refused(
        &desk.token(2, ISSUER, MAIN),
        "the workload token is refused",
    );
    desk.refused("a.b.c", "the workload token is refused");
    assert!(desk.asked().is_empty());
    let ask = StartTask {
        template: "answer".parse().unwrap(),
        agent: "clerk".parse().unwrap(),
        parameters: [("ticket", "T-1"), ("customer", "kim@example.org")]
            .map(|(name, it)| (name.to_owned(), it.into()))
            .into(),
        contained: ambit_core::task::Contained::Namespaces,
    };
    let (handle, ana, moment) = (
        desk.world.handle.clone(),
        desk.world.person("ana"),
        desk.world.clock.moment(),
    );
    let claims = desk.world.run(async move {
        let started = handle
            .start_waiting_task(&ana, ask, Waits::ForAgent, moment)
            .await;
        let task = started.unwrap().task.id;
        let first = handle.claim(claimant.clone()).await.unwrap();
        let second = handle.claim(claimant).await.unwrap();
        (task, first, second)
    });
    let (task, Claim::New(first), Claim::Known(second)) = claims else {
        panic!("{claims:?}");
    };
    assert!(first.id == task && second.id == task);
}

#[test]
fn keys_are_found_kept_and_asked_for_again() {
    let mut desk = Desk::open(IssuerKeys::Discovered);
    desk.refused(&desk.token(1, ISSUER, MAIN), "it is down");
    desk.publish(
        DISCOVERY,
        format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#),
    );
    desk.publish(KEYS, set(&[1]));
    desk.refused(&desk.token(1, ISSUER, MAIN), "less than a minute ago");
    assert_eq!(desk.asked(), [DISCOVERY]);
    desk.world.clock.advance(ISSUER_ASKED_EVERY);
    desk.identify(&desk.token(1, ISSUER, MAIN)).unwrap();
    desk.identify(&desk.token(1, ISSUER, MAIN)).unwrap();
    assert_eq!(desk.asked(), [DISCOVERY, KEYS]);
    // It signs with another key: asked for once a minute, however many tokens come.
    desk.publish(KEYS, set(&[1, 2]));
    desk.refused(
        &desk.token(2, ISSUER, MAIN),
        "the workload token is refused",
    );
    assert!(desk.asked().is_empty());
    desk.world.clock.advance(ISSUER_ASKED_EVERY);
    desk.identify(&desk.token(2, ISSUER, MAIN)).unwrap();
    desk.refused(
        &desk.token(3, ISSUER, MAIN),
        "the workload token is refused",
    );
    assert_eq!(desk.asked(), [DISCOVERY, KEYS]);
    // A key that is withdrawn counts no more once the keys are asked for again.
    desk.publish(KEYS, set(&[2]));
    desk.world.clock.advance(ISSUER_KEYS_TTL);
    desk.refused(
        &desk.token(1, ISSUER, MAIN),
        "the workload token is refused",
    );
    assert_eq!(desk.asked(), [DISCOVERY, KEYS]);
    // It is down: what is known counts for a day, and not for longer.
    desk.published.lock().unwrap().clear();
    desk.world
        .clock
        .advance(Millis::new(ISSUER_KEYS_STALE_MAX.as_millis() - 1));
    desk.identify(&desk.token(2, ISSUER, MAIN)).unwrap();
    desk.world.clock.advance(ISSUER_ASKED_EVERY);
    desk.refused(&desk.token(2, ISSUER, MAIN), "it is down");
}

#[test]
fn a_discovery_document_is_its_issuers_own() {
    for (document, part) in [
        (
            r#"{"issuer":"https://evil.example","jwks_uri":"https://keys.example.com/jwks"}"#,
            "another issuer's",
        ),
        (
            r#"{"issuer":"https://token.example.com","jwks_uri":"http://keys.example.com/jwks"}"#,
            "begins with https",
        ),
        (
            r#"{"issuer":"https://token.example.com"}"#,
            "begins with https",
        ),
        ("[]", "another issuer's"),
        ("no", "JSON"),
    ] {
        let mut desk = Desk::open(IssuerKeys::Discovered);
        desk.publish(DISCOVERY, document);
        desk.publish(KEYS, set(&[1]));
        desk.refused(&desk.token(1, ISSUER, MAIN), part);
        assert_eq!(desk.asked(), [DISCOVERY]);
    }
}

/// Who shows tokens pays for verifying a signature, never for parsing keys again.
#[tokio::test]
async fn keys_are_parsed_once() {
    let set = |seeds: &[u8]| {
        let keys = seeds.iter().map(|seed| {
            let key = ambit_identity::SvidKey::generate([*seed; 32]).unwrap();
            let key = ambit_identity::jose::SigningKey::from_svid_key(&key, KeyUse::Signature);
            key.unwrap().public().to_value()
        });
        Value::object([("keys", keys.collect())]).to_canonical()
    };
    let (one, other) = (set(&[1]), set(&[1, 2]));
    let answer = one.clone();
    let fetch: Fetch = Arc::new(move |_| {
        let answer = answer.clone().into_bytes();
        Box::pin(async move { Ok(answer) })
    });
    let published = PublishedKeys::default();
    let now = Timestamp::from_millis(1_800_000_000_000);
    let current = async |from| {
        let keys = published.current((&fetch, now), "desk", from, Freshness::Usual);
        keys.await.unwrap()
    };
    for from in [KeySource::Given(&one), KeySource::At("https://a.example/k")] {
        let (first, again) = (current(from).await, current(from).await);
        assert_eq!(first.keys().len(), 1);
        assert!(std::ptr::eq(first.keys(), again.keys()), "{from:?}");
    }
    assert_eq!(current(KeySource::Given(&other)).await.keys().len(), 2);
    assert_eq!(current(KeySource::Given(&one)).await.keys().len(), 1);
}

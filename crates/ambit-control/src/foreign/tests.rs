use std::{collections::BTreeMap, error::Error as _, sync::Mutex};

use ambit_core::{
    IssuerName, Reason,
    claim::ClaimProof,
    estate::{
        Agent, TokenRegistration,
        claim_rules::{ClaimRule, ClaimRules, Pattern, Wanted},
    },
    json::Value,
};
use ambit_engine::{Answer, Claim, StartTask, Waits};
use ambit_identity::{
    IssuingKeys, PairChance, Proved, SvidKey,
    jose::{KeyUse, Signer, SigningKey},
};
use ambit_testkit::{World, compile, office};
use futures_util::FutureExt;

use super::*;
use crate::{api::Published, check::chain, heard::Heard};

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
    /// Where keys are asked for.
    runtime: tokio::runtime::Runtime,
}

impl Desk {
    fn open(keys: IssuerKeys) -> Self {
        let mut estate = office(&[]);
        let name: IssuerName = "builds".parse().unwrap();
        let pattern = Pattern::new("repo:example/books:ref:refs/heads/*").unwrap();
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
            Box::pin(async move {
                // An answer takes its time.
                tokio::task::yield_now().await;
                found.map(String::into_bytes).ok_or("it is down".to_owned())
            })
        });
        let control = Control {
            issuer: None,
            fetch_document: Arc::new(|_, _| Box::pin(std::future::ready(Err(String::new())))),
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
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
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

    /// Shows a token and hangs up.
    fn hang_up(&self, token: &str) {
        let mut asking = Box::pin(self.foreign.identify(&self.control, token));
        self.runtime.block_on(std::future::poll_fn(|context| {
            assert!(asking.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        }));
    }

    /// Identifies the holder, and says what came of it.
    fn identify(&mut self, token: &str) -> Result<Claimant, String> {
        let found = self.foreign.identify(&self.control, token);
        let found = self.runtime.block_on(found);
        found.map(|it| it.claimant).map_err(|error| {
            assert!(error.source().is_none() || matches!(error, ForeignTokenError::Token(_)));
            chain(&error)
        })
    }

    /// Returns the estate in force.
    fn estate(&self) -> Estate {
        let book = self.world.handle.book().unwrap();
        book.estate().as_ref().clone()
    }

    /// Puts `estate` in force, and returns the tasks that ended.
    fn apply(&mut self, estate: Estate) -> Vec<ambit_core::TaskId> {
        let digest = ambit_core::Digest::of(format!("{estate:?}").as_bytes());
        let book = compile(Estate { digest, ..estate });
        let (handle, ana, moment) = (
            self.world.handle.clone(),
            self.world.person("ana"),
            self.world.clock.moment(),
        );
        let applied = async move { handle.apply(&ana, book, Vec::new(), moment).await };
        self.world.run(applied).unwrap().ended
    }

    /// Starts a task of the clerk, which `claimant` claims.
    fn claims(&mut self, claimant: Claimant) -> Arc<ambit_core::task::Task> {
        let ask = StartTask {
            template: "answer".parse().unwrap(),
            agent: "clerk".parse().unwrap(),
            parameters: [("ticket", "T-1"), ("customer", "kim@example.org")]
                .map(|(name, it)| (name.to_owned(), it.into()))
                .into(),
            contained: ambit_core::task::Contained::Namespaces,
        };
        let (handle, ana, moment) = (
            self.world.handle.clone(),
            self.world.person("ana"),
            self.world.clock.moment(),
        );
        let claims = self.world.run(async move {
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
        first
    }

    #[track_caller]
    fn refused(&mut self, token: &str, part: &str) {
        let found = self.identify(token).unwrap_err();
        assert!(found.contains(part), "`{part}` not in {found}");
    }

    /// Expects that the keys can't be had, and `why` in the log alone.
    #[track_caller]
    fn keyless(&mut self, token: &str, why: &str) {
        let log = Heard::begin();
        let found = self.identify(token).unwrap_err();
        let told = "the keys of the token's issuer can't be had now; try again in a minute";
        assert_eq!(found, told);
        let log = log.take();
        assert!(log.contains(why), "`{why}` not in {log}");
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

const MAIN: &str = "repo:example/books:ref:refs/heads/main";

#[test]
fn a_token_of_a_trusted_issuer_claims_the_task_of_its_agent() {
    let mut desk = Desk::open(IssuerKeys::Given(set(&[1])));
    let token = desk.token(1, ISSUER, MAIN);
    let claimant = desk.identify(&token).unwrap();
    let agent = "clerk".parse().unwrap();
    assert_eq!(*claimant.proved(), Proved::Agent(agent, ClaimProof::Token));
    desk.refused(
        &desk.token(1, ISSUER, "repo:example/other:ref:refs/heads/main"),
        "sub `repo:example/other:ref:refs/heads/main`; ask who runs Ambit",
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
    desk.claims(claimant);
}

fn rule(name: &str, wanted: &str) -> ClaimRule {
    let wanted = Wanted::OneOf(vec![wanted.to_owned()]);
    ClaimRule::new(vec![name.to_owned()], wanted).unwrap()
}

/// Who asks hears what was seen of it; who operates Ambit reads which registration came nearest, and in what it differs.
#[test]
fn the_log_names_the_nearest_registration_and_nobody_else_hears_it() {
    let mut desk = Desk::open(IssuerKeys::Given(set(&[1])));
    let mut estate = desk.estate();
    let clerk = estate.agents.values().next().unwrap().clone();
    let agent = |name: &str, rules| Agent {
        name: name.parse().unwrap(),
        tokens: vec![TokenRegistration {
            issuer: "builds".parse().unwrap(),
            claims: ClaimRules::new(rules).unwrap(),
        }],
        ..clerk.clone()
    };
    let near = vec![rule("sub", MAIN), rule("ref", "main"), rule("iat", "now")];
    let agents = [
        agent("alpha", vec![rule("sub", "some/other")]),
        agent("reader", near),
        agent("zeta", vec![rule("sub", "nothing-like-it")]),
    ];
    estate.agents.clear();
    let agents = agents.map(|it| (it.name.clone(), it));
    estate.agents.extend(agents);
    desk.apply(estate);
    let heard = Heard::begin();
    let told = desk.identify(&desk.token(1, ISSUER, MAIN)).unwrap_err();
    let log = heard.take();
    let nearest = "nearest is agent `reader`: claim `ref` should be `main` and is missing, claim `iat` should be `now` and is no text";
    assert!(log.contains(nearest), "{log}");
    assert!(told.contains(&format!("sub `{MAIN}`")), "{told}");
    for secret in ["reader", "alpha", "zeta", "`ref`"] {
        assert!(!told.contains(secret), "{secret} is told: {told}");
    }
}

/// NHI01, improper offboarding: a workload of an issuer that is registered no more loses its task with the apply.
#[test]
fn nhi01_a_token_that_is_registered_no_more_loses_its_task() {
    type Change = fn(&mut Estate);
    let rows: [(&str, Change, bool); 6] = [
        ("nothing", |_| (), false),
        (
            "the registration",
            |it| it.agents.values_mut().for_each(|it| it.tokens.clear()),
            true,
        ),
        (
            "another one",
            |it| {
                let claims = ClaimRules::new(vec![rule("sub", "another")]).unwrap();
                for it in it.agents.values_mut().flat_map(|it| &mut it.tokens) {
                    it.claims = claims.clone();
                }
            },
            true,
        ),
        ("the issuer", |it| it.issuers.clear(), true),
        (
            "its audience",
            |it| {
                let issuers = it.issuers.values_mut();
                issuers.for_each(|it| it.audience.push('/'));
            },
            true,
        ),
        (
            "its keys",
            |it| {
                let issuers = it.issuers.values_mut();
                issuers.for_each(|it| it.keys = IssuerKeys::Given(set(&[2])));
            },
            true,
        ),
    ];
    for (what, change, ends) in rows {
        let mut desk = Desk::open(IssuerKeys::Given(set(&[1])));
        let claimant = desk.identify(&desk.token(1, ISSUER, MAIN)).unwrap();
        let task = desk.claims(claimant);
        let caller = desk.world.instance(&task);
        let mut estate = desk.estate();
        change(&mut estate);
        let ended = desk.apply(estate);
        let act = |id: &str| Value::object([("id", id.into())]);
        let answer = desk.world.call(&caller, "get_ticket", act("T-1"));
        let refused = matches!(&answer, Answer::Denied(it) if it.reason == Reason::TaskEnded);
        assert_eq!(refused, ends, "{what}: {answer:?}");
        assert_eq!(ended == [task.id], ends, "{what}");
    }
}

#[test]
fn keys_are_found_kept_and_asked_for_again() {
    let mut desk = Desk::open(IssuerKeys::Discovered);
    desk.keyless(&desk.token(1, ISSUER, MAIN), "it is down");
    desk.publish(
        DISCOVERY,
        format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#),
    );
    desk.publish(KEYS, set(&[1]));
    desk.keyless(&desk.token(1, ISSUER, MAIN), "");
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
    desk.keyless(&desk.token(2, ISSUER, MAIN), "it is down");
}

/// ASI08: a stranger who names an issuer and hangs up keeps nobody from its keys, and has it asked no more often.
#[test]
fn asi08_who_has_keys_asked_for_and_leaves_keeps_them_from_nobody() {
    let mut desk = Desk::open(IssuerKeys::At(KEYS.to_owned()));
    desk.publish(KEYS, set(&[1]));
    let stranger = desk.token(9, ISSUER, MAIN);
    desk.hang_up(&stranger);
    desk.identify(&desk.token(1, ISSUER, MAIN)).unwrap();
    assert_eq!(desk.asked(), [KEYS]);
    // One is missing: who asks for it and leaves takes it from nobody, either.
    desk.publish(KEYS, set(&[1, 2]));
    desk.world.clock.advance(ISSUER_ASKED_EVERY);
    desk.hang_up(&stranger);
    desk.identify(&desk.token(2, ISSUER, MAIN)).unwrap();
    assert_eq!(desk.asked(), [KEYS]);
}

/// ASI08: a stranger who names an unknown key has newer ones asked for; nobody waits for that who needs none of them.
#[tokio::test]
async fn asi08_who_has_newer_keys_asked_for_keeps_nobody_waiting() {
    let published = PublishedKeys::default();
    let answers: Fetch = Arc::new(|_| Box::pin(async { Ok(set(&[1]).into_bytes()) }));
    let hangs: Fetch = Arc::new(|_| Box::pin(std::future::pending()));
    let now = Timestamp::from_millis(1_800_000_000_000);
    let ask = async |fetch: &Fetch, at, wanted| {
        let from = KeySource::At(KEYS);
        published.current((fetch, at), "builds", from, wanted).await
    };
    assert!(ask(&answers, now, Freshness::Usual).await.is_ok());
    let later = now.plus(ISSUER_ASKED_EVERY);
    let newer = ask(&hangs, later, Freshness::New).now_or_never();
    assert!(newer.is_none(), "it is asked for");
    tokio::task::yield_now().await;
    let usual = ask(&hangs, later, Freshness::Usual).now_or_never();
    assert!(usual.expect("at once").is_ok());
}

/// Another address was not asked, whatever was before.
#[test]
fn another_place_is_asked_at_once() {
    let published = PublishedKeys::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let fetch: Fetch = Arc::new(|url| {
        let found = (url == KEYS).then(|| set(&[1]).into_bytes());
        Box::pin(async move { found.ok_or("it is down".to_owned()) })
    });
    let now = Timestamp::from_millis(1_800_000_000_000);
    let ask = |at| {
        let from = KeySource::At(at);
        let found = published.current((&fetch, now), "builds", from, Freshness::Usual);
        runtime.block_on(found)
    };
    assert_eq!(ask("https://other.example/jwks").unwrap_err(), "it is down");
    assert!(
        ask("https://other.example/jwks")
            .unwrap_err()
            .contains("less than a minute")
    );
    assert!(ask(KEYS).is_ok());
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
        desk.keyless(&desk.token(1, ISSUER, MAIN), part);
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

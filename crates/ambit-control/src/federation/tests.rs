use std::sync::Mutex as StdMutex;

use ambit_core::{
    Digest, TrustDomain,
    claim::ClaimProof,
    estate::{Federation, SvidRegistration},
    json::{self, Value},
};
use ambit_identity::{IssuingKeys, PairChance, Proved, token::jwt_svid::JwtSvidIssuance};
use ambit_testkit::{World, office};

use super::*;
use crate::{api::Published, foreign::ForeignKeys};

mod records;
mod vouching;

const URL: &str = "https://partner.example/bundle";
const ISSUER: &str = "https://ambit.example.org";
const WORKLOAD: &str = "spiffe://partner.example/ns/books";

type Shared<T> = Arc<StdMutex<T>>;

/// An office that believes one foreign trust domain, whose endpoint is here.
struct Desk {
    world: World,
    control: Control,
    doors: Doors,
    published: Shared<Result<String, String>>,
    asked: Shared<Vec<BundleAsk>>,
    kept: Shared<BTreeMap<FederationName, String>>,
    estate: Estate,
}

fn domain() -> TrustDomain {
    "partner.example".parse().unwrap()
}

fn partner(chance: u8) -> IssuingKeys {
    let chance = PairChance {
        x509: [chance; 32],
        jwt: [chance + 1; 32],
    };
    let began = Timestamp::from_millis(ambit_testkit::TestClock::new(1).now().as_millis());
    IssuingKeys::create(domain(), chance, began).unwrap()
}

/// Returns the document of `keys` with another sequence and hint.
fn document(keys: &IssuingKeys, sequence: i64, hint: i64) -> String {
    let text = keys.bundle().to_document();
    let mut value = json::parse(text.as_bytes()).unwrap();
    let Value::Object(members) = &mut value else {
        panic!("{text}");
    };
    members.insert("spiffe_sequence".to_owned(), Value::Integer(sequence));
    members.insert("spiffe_refresh_hint".to_owned(), Value::Integer(hint));
    value.to_canonical()
}

impl Desk {
    fn open(source: BundleSource) -> Self {
        Self::open_with(source, Shared::default())
    }

    fn open_with(source: BundleSource, kept: Shared<BTreeMap<FederationName, String>>) -> Self {
        let mut estate = office(&[]);
        let name: FederationName = "partner".parse().unwrap();
        estate.federations.insert(
            name.clone(),
            Federation {
                name: name.clone(),
                trust_domain: domain(),
                source,
            },
        );
        let clerk = estate.agents.values_mut().next().unwrap();
        clerk.svids = vec![SvidRegistration {
            federation: name,
            path: ambit_core::estate::claim_rules::Wanted::OneOf(vec!["/ns/books".to_owned()]),
        }];
        let world = World::new(estate.clone(), 1);
        let chance = PairChance {
            x509: [7; 32],
            jwt: [8; 32],
        };
        let own = IssuingKeys::create("example.org".parse().unwrap(), chance, world.clock.now());
        let published: Shared<Result<String, String>> =
            Arc::new(StdMutex::new(Err("it is down".to_owned())));
        let asked = Shared::<Vec<BundleAsk>>::default();
        let (documents, heard) = (published.clone(), asked.clone());
        let (reads, keeps) = (kept.clone(), kept.clone());
        let federation = FederationParts {
            fetch: Arc::new(move |ask| {
                heard.lock().unwrap().push(ask);
                let found = documents.lock().unwrap().clone();
                Box::pin(async move { found.map(String::into_bytes) })
            }),
            read: Arc::new(move |name| reads.lock().unwrap().get(name).cloned()),
            keep: Arc::new(move |name, text| {
                keeps.lock().unwrap().insert(name.clone(), text.to_owned());
                Ok(())
            }),
            in_force: Arc::default(),
        };
        let control = Control {
            issuer: Some(ISSUER.to_owned()),
            fetch_document: Arc::new(|_, _| Box::pin(std::future::ready(Err(String::new())))),
            handle: world.handle.clone(),
            clock: world.clock.to_clock(),
            keep_keys: Arc::new(|_| Ok(())),
            keys: Arc::new(watch::Sender::new(Arc::new(own.unwrap()))),
            gateway: "https://127.0.0.1:1".to_owned(),
            seal_credential: Arc::new(|_, _, _| Err("not here".to_owned())),
            list_tools: Arc::new(|_| Box::pin(async { Err("not here".to_owned().into()) })),
            gateway_url: None,
            federation,
            strangers_refused: Arc::default(),
            measure_storage: Arc::new(crate::api::Storage::default),
            sign_ins: crate::people::SignIns::Nowhere,
            fetch: Arc::new(|_| Box::pin(async { Err("not here".to_owned()) })),
            published: Published::Nothing,
        };
        Self {
            doors: Doors::new(control.clone()),
            world,
            control,
            published,
            asked,
            kept,
            estate,
        }
    }

    fn publish(&self, document: impl Into<String>) {
        *self.published.lock().unwrap() = Ok(document.into());
    }

    fn is_down(&self) {
        *self.published.lock().unwrap() = Err("it is down".to_owned());
    }

    /// Refreshes what is due and returns how often the endpoint was asked.
    fn refresh(&mut self) -> usize {
        let doors = self.doors.clone();
        self.world.run(async move { refresh_bundles(&doors).await });
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }

    /// Puts the estate in force.
    fn apply(&mut self) {
        let book = ambit_policy::PolicyBook::compile(Arc::new(self.estate.clone())).unwrap();
        let (handle, ana, moment) = (
            self.world.handle.clone(),
            self.world.person("ana"),
            self.world.clock.moment(),
        );
        let applied = self.world.run(async move {
            let book = Arc::new(book);
            handle.apply(&ana, book, Vec::new(), moment).await
        });
        applied.unwrap();
    }

    fn after(&mut self, pause: Millis) -> usize {
        self.world.clock.advance(pause);
        self.refresh()
    }

    /// Returns the sequence of the bundle that is believed.
    fn believed(&self) -> Option<u64> {
        Some(self.control.federated().bundle(&domain())?.sequence())
    }

    fn token(&self, keys: &IssuingKeys, id: &str, audience: &str) -> String {
        let now = self.world.clock.now();
        let ask = JwtSvidIssuance {
            spiffe_id: &id.parse().unwrap(),
            audiences: &[audience.to_owned()],
            token_id: "t-1",
            now,
            expires_at: now.plus(Millis::from_seconds(300)),
        };
        keys.issue_jwt(&ask).unwrap()
    }

    fn identify(&mut self, token: String) -> Result<ambit_identity::Claimant, String> {
        let control = self.control.clone();
        let found = self.world.run(async move {
            let foreign = ForeignKeys::default();
            foreign.identify(&control, &token).await
        });
        found.map(|it| it.claimant).map_err(|error| chain(&error))
    }
}

fn web() -> BundleSource {
    BundleSource::Web {
        url: URL.to_owned(),
    }
}

fn spiffe(first: &IssuingKeys) -> BundleSource {
    BundleSource::Spiffe {
        url: URL.to_owned(),
        endpoint: "spiffe://partner.example/spire/server".parse().unwrap(),
        first: Some(document(first, 1, 300)),
    }
}

#[test]
fn a_bundle_is_asked_for_when_it_wants_to_be() {
    let keys = partner(20);
    let check = |hint: i64, pause: Millis| {
        let mut desk = Desk::open(web());
        desk.publish(document(&keys, 5, hint));
        assert_eq!((desk.refresh(), desk.believed()), (1, Some(5)));
        let early = Millis::new(pause.as_millis() - 1);
        assert_eq!(desk.after(early), 0, "{hint}");
        assert_eq!(desk.after(Millis::new(1)), 1, "{hint}");
    };
    check(300, Millis::from_seconds(300));
    check(60, BUNDLE_REFRESH_MIN);
    check(59, BUNDLE_REFRESH_MIN);
    check(0, BUNDLE_REFRESH_MIN);
    check(3600, BUNDLE_REFRESH_MAX);
    check(3601, BUNDLE_REFRESH_MAX);
    check(9_007_199_254_740_991, BUNDLE_REFRESH_MAX);
    let mut desk = Desk::open(web());
    desk.publish(
        document(&keys, 5, 7)
            .replace(",\"spiffe_refresh_hint\":7", "")
            .replace("\"spiffe_refresh_hint\":7,", ""),
    );
    assert_eq!(desk.refresh(), 1);
    let early = Millis::new(BUNDLE_REFRESH_DEFAULT.as_millis() - 1);
    assert_eq!((desk.after(early), desk.after(Millis::new(1))), (0, 1));
}

#[test]
fn the_last_good_bundle_counts_for_a_day() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    assert_eq!((desk.refresh(), desk.believed()), (1, None));
    desk.publish(document(&keys, 5, 300));
    assert_eq!(desk.refresh(), 0, "who failed is left alone for a while");
    assert_eq!(desk.after(BUNDLE_REFRESH_MIN), 1);
    for broken in [
        "",
        "[]",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":7}",
        "{\"keys\":[],\"spiffe_sequence\":-1}",
        // An older one, or another under the same number (bundle rollback).
        &document(&keys, 4, 300),
        &document(&partner(30), 5, 300),
        &keys
            .bundle()
            .to_document()
            .replace("\"spiffe_sequence\"", "\"sequence\""),
    ] {
        desk.publish(broken);
        desk.after(BUNDLE_REFRESH_DEFAULT);
        assert_eq!(desk.believed(), Some(5), "{broken}");
    }
    // The operators revoke everything: that is newer.
    desk.publish("{\"keys\":[],\"spiffe_sequence\":6}");
    desk.after(BUNDLE_REFRESH_DEFAULT);
    assert_eq!(desk.believed(), Some(6));
    desk.is_down();
    let almost = Millis::new(BUNDLE_STALE_MAX.as_millis() - 1);
    desk.after(almost);
    assert_eq!(desk.believed(), Some(6));
    desk.after(Millis::new(1));
    assert_eq!(desk.believed(), None);
}

#[test]
fn a_restart_keeps_the_bundle_and_its_sequence() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.publish(document(&keys, 5, 300));
    desk.refresh();
    let kept = desk.kept.clone();
    let mut again = Desk::open_with(web(), kept.clone());
    again.refresh();
    assert_eq!(again.believed(), Some(5));
    again.publish(document(&keys, 4, 300));
    again.after(BUNDLE_REFRESH_MIN);
    assert_eq!(again.believed(), Some(5), "an older one after a restart");
    let mut late = Desk::open_with(web(), kept.clone());
    late.after(BUNDLE_STALE_MAX);
    assert_eq!(late.believed(), None);
    // What is kept of another source counts for nothing, nor does what is not whole.
    let mut moved = Desk::open_with(spiffe(&keys), kept.clone());
    moved.refresh();
    assert_eq!(moved.believed(), None);
    let name: FederationName = "partner".parse().unwrap();
    for broken in [
        "",
        "{}",
        "[]",
        "{\"source\":\"\",\"said_at\":1,\"document\":\"\"}",
    ] {
        kept.lock().unwrap().insert(name.clone(), broken.to_owned());
        let mut desk = Desk::open_with(web(), kept.clone());
        desk.refresh();
        assert_eq!(desk.believed(), None, "{broken}");
    }
}

#[test]
fn what_was_kept_is_so_long() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.publish(document(&keys, 5, 300));
    desk.refresh();
    let name: FederationName = "partner".parse().unwrap();
    let text = desk.kept.lock().unwrap()[&name].clone();
    for (bytes, believed) in [(KEPT_BYTES_MAX, Some(5)), (KEPT_BYTES_MAX + 1, None)] {
        let long = format!("{text}{}", " ".repeat(bytes - text.len()));
        let kept = Shared::new(StdMutex::new(BTreeMap::from([(name.clone(), long)])));
        let mut again = Desk::open_with(web(), kept);
        again.is_down();
        again.refresh();
        assert_eq!(again.believed(), believed, "{bytes}");
    }
}

#[test]
fn what_can_not_be_kept_is_not_believed() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.control.federation.keep = Arc::new(|_, _| Err("the disk is full".to_owned()));
    desk.doors = Doors::new(desk.control.clone());
    desk.publish(document(&keys, 5, 300));
    assert_eq!((desk.refresh(), desk.believed()), (1, None));
}

#[test]
fn an_endpoint_is_proved_by_the_newest_bundle() {
    let (first, second) = (partner(20), partner(30));
    let mut desk = Desk::open(spiffe(&first));
    let proof = |desk: &mut Desk| {
        let doors = desk.doors.clone();
        desk.world.run(async move { refresh_bundles(&doors).await });
        let asked = std::mem::take(&mut *desk.asked.lock().unwrap());
        let [ask] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        let EndpointProof::SpiffeId { endpoint, bundle } = &ask.proof else {
            panic!("{ask:?}");
        };
        assert_eq!(
            endpoint.to_string(),
            "spiffe://partner.example/spire/server"
        );
        bundle.to_document()
    };
    desk.publish(document(&second, 2, 300));
    assert_eq!(proof(&mut desk), document(&first, 1, 300));
    // The first bundle believes nobody by itself, and counts no more once there is another.
    assert_eq!(desk.believed(), Some(2));
    desk.world.clock.advance(BUNDLE_REFRESH_DEFAULT);
    assert_eq!(proof(&mut desk), document(&second, 2, 300));
}

#[test]
fn the_bundle_in_the_estate_counts_as_long_as_it_is_there() {
    let keys = partner(20);
    let mut desk = Desk::open(BundleSource::Given(document(&keys, 1, 300)));
    assert_eq!((desk.refresh(), desk.believed()), (0, Some(1)));
    // The estate changes: what it has no more is believed no more.
    desk.estate.federations.clear();
    for agent in desk.estate.agents.values_mut() {
        agent.svids.clear();
    }
    desk.estate.digest = Digest::of(b"another");
    desk.apply();
    desk.refresh();
    assert_eq!(desk.believed(), None);
}

#[test]
fn the_bundle_in_the_estate_does_not_age() {
    let keys = partner(20);
    let mut desk = Desk::open(BundleSource::Given(document(&keys, 1, 300)));
    desk.refresh();
    let twice = Millis::new(2 * BUNDLE_STALE_MAX.as_millis());
    assert_eq!((desk.after(twice), desk.believed()), (0, Some(1)));
}

#[test]
fn a_jwt_svid_of_a_foreign_domain_is_an_agent() {
    let keys = partner(20);
    let mut desk = Desk::open(BundleSource::Given(document(&keys, 1, 300)));
    desk.refresh();
    let token = desk.token(&keys, WORKLOAD, ISSUER);
    let claimant = desk.identify(token).unwrap();
    let agent = "clerk".parse().unwrap();
    assert_eq!(*claimant.proved(), Proved::Agent(agent, ClaimProof::Svid));
    let mut refused = |keys: &IssuingKeys, id: &str, audience: &str, part: &str| {
        let token = desk.token(keys, id, audience);
        let error = desk.identify(token).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(
        &keys,
        "spiffe://partner.example/ns/other",
        ISSUER,
        "it names spiffe://partner.example/ns/other; ask who runs Ambit",
    );
    refused(
        &keys,
        WORKLOAD,
        "https://other.example",
        "the audience that is addressed here",
    );
    refused(
        &partner(30),
        WORKLOAD,
        ISSUER,
        "the workload token is refused",
    );
}

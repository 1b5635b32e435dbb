//! Connections that outlive what proved who is at their other end: the roots of a trust domain leave its bundle, or the
//! estate believes the domain no more. What is under way ends, and the next request is refused.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ambit_core::{
    Millis, Timestamp, TrustDomain,
    estate::{BundleSource, Estate, Federation, SvidRegistration, claim_rules::Wanted},
    record::Body as Fact,
};
use ambit_engine::{StartTask, Waits};
use ambit_gateway::{Face, Trusting};
use ambit_identity::{
    Authority, BelievedBundle, Clients, FederatedBundles, Issuance, SvidKey, TlsClock, TrustBundle,
    Trusted, tls,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::stand::{Stand, allow_endpoint};

/// How long may pass until what is over ends, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
pub const WORKLOAD: &str = "spiffe://partner.example/agent/books/inst_01j9z3k4m5n6p7q8r9s0t1v2w3";

/// A gateway behind TLS whose trust can change.
struct Scene {
    stand: Stand,
    own: Authority,
    partner: Authority,
    trusted: Trust,
    address: SocketAddr,
}

/// Whom a gateway believes, to be changed.
#[derive(Clone)]
pub struct Trust(Arc<watch::Sender<Trusted>>);

impl Trust {
    pub fn of(own: &Authority, federated: Arc<FederatedBundles>) -> Self {
        Self(Arc::new(watch::Sender::new(Trusted {
            bundle: Arc::new(own.bundle().clone()),
            federated,
        })))
    }

    pub fn change(&self, change: impl FnOnce(&mut Trusted)) {
        self.0.send_modify(change);
    }
}

fn federation() -> Arc<Federation> {
    Arc::new(Federation {
        name: "partner".parse().unwrap(),
        trust_domain: "partner.example".parse().unwrap(),
        source: BundleSource::Web {
            url: "https://partner.example/bundle".to_owned(),
        },
    })
}

pub fn believe_partner(estate: &mut Estate) {
    let federation = federation();
    estate
        .federations
        .insert(federation.name.clone(), (*federation).clone());
    for agent in estate.agents.values_mut() {
        agent.svids = vec![SvidRegistration {
            federation: federation.name.clone(),
            path: Wanted::OneOf(vec![
                WORKLOAD
                    .trim_start_matches("spiffe://partner.example")
                    .to_owned(),
            ]),
        }];
    }
}

pub fn trusting(trusted: &Trust) -> Trusting {
    let (held, heard) = (trusted.clone(), trusted.clone());
    Trusting {
        now: Arc::new(move || held.0.borrow().clone()),
        changed: Arc::new(move || {
            let mut heard = heard.0.subscribe();
            Box::pin(async move {
                let _ = heard.changed().await;
            })
        }),
    }
}

/// Returns what believes the partner by `bundle`, which a key left at the given time.
pub fn believing(bundle: &TrustBundle, keys_left_at: Option<Timestamp>) -> Arc<FederatedBundles> {
    let own: TrustDomain = "example.org".parse().unwrap();
    let all = [BelievedBundle {
        federation: federation(),
        bundle: Arc::new(bundle.clone()),
        keys_left_at,
    }];
    Arc::new(FederatedBundles::new(&own, all).unwrap())
}

impl Scene {
    async fn open(model: u16) -> Self {
        let now = ambit_testkit::TestClock::new(1).now();
        let authority = |domain: &str, chance: u8| {
            Authority::create(domain.parse().unwrap(), [chance; 32], now).unwrap()
        };
        let (own, partner) = (authority("example.org", 1), authority("partner.example", 2));
        let trusted = Trust::of(&own, believing(partner.bundle(), None));
        let trusting = trusting(&trusted);
        let change = |estate: &mut Estate| {
            believe_partner(estate);
            allow_endpoint(estate, model);
        };
        let stand = Stand::configured(false, change, |config| {
            config.tokens = None;
            config.trusting = Some(trusting);
        });
        let stand = stand.await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut scene = Self {
            address: listener.local_addr().unwrap(),
            stand,
            own,
            partner,
            trusted,
        };
        let face = scene.face();
        let gateway = scene.stand.gateway.clone();
        tokio::spawn(async move {
            let face = Arc::new(move || Some(face.clone()));
            gateway
                .serve_tls(listener, face, std::future::pending())
                .await;
        });
        scene.expect().await;
        scene
    }

    fn clock(&self) -> TlsClock {
        let clock = self.stand.world.clock.clone();
        let others = clock.clone();
        TlsClock::new(move || clock.now()).with_wall(move || others.wall())
    }

    fn face(&self) -> Face {
        let clock = &self.stand.world.clock;
        let key = SvidKey::generate(clock.chance()).unwrap();
        let (now, until) = (clock.now(), clock.now().plus(Millis::from_seconds(3600)));
        let svid = self.own.gateway_svid(&key, now, until, [3; 16]).unwrap();
        let trusted = self.trusted.0.borrow().clone();
        let tls = tls::gateway_config((&svid, &key), trusted, Clients::WithSvid, self.clock());
        Face {
            tls: Arc::new(tls.unwrap()),
        }
    }

    /// Starts a task that waits for the partner's workload.
    async fn expect(&mut self) {
        let parameters = [
            ("ticket", ambit_core::json::Value::from("T-1")),
            ("customer", "kim@example.org".into()),
        ];
        let ask = StartTask {
            template: "answer".parse().unwrap(),
            agent: "clerk".parse().unwrap(),
            parameters: parameters.map(|(name, it)| (name.to_owned(), it)).into(),
            contained: ambit_core::task::Contained::Namespaces,
        };
        let world = &self.stand.world;
        let (ana, moment) = (world.person("ana"), world.clock.moment());
        let waits = Waits::ForAgent;
        let started = world.handle.start_waiting_task(&ana, ask, waits, moment);
        started.await.unwrap();
    }

    /// Connects with an SVID by `issuer`.
    async fn connect(&self, issuer: &Authority, id: &str) -> TlsStream<TcpStream> {
        let clock = &self.stand.world.clock;
        let key = SvidKey::generate(clock.chance()).unwrap();
        // Whoever issues it has a clock of its own.
        let now = clock.wall();
        let svid = issuer.issue(&Issuance {
            key: &key.proved().unwrap(),
            spiffe_id: &id.parse().unwrap(),
            now,
            expires_at: now.plus(Millis::from_seconds(600)),
            chance: [4; 16],
        });
        let bundle = Arc::new(self.own.bundle().clone());
        let config = tls::runner_config(&svid.unwrap(), &key, bundle, self.clock()).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(tls::server_name(), stream).await.unwrap()
    }

    /// Changes whom the gateway believes.
    fn believe(&self, federated: Arc<FederatedBundles>) {
        self.trusted.change(|it| it.federated = federated);
    }

    async fn visit(&self) -> TlsStream<TcpStream> {
        self.connect(&self.partner, WORKLOAD).await
    }
}

async fn send(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Asks something small on a connection that stays open, and returns the status.
async fn ping(stream: &mut TlsStream<TcpStream>) -> u16 {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let head = send(
        stream,
        &format!(
            "POST /s/tickets/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ping}",
            ping.len()
        ),
    )
    .await;
    let length = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head.get(9..12).unwrap().parse().unwrap()
}

async fn listen(stream: &mut TlsStream<TcpStream>) {
    let head = send(
        stream,
        "GET /s/tickets/mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

/// Reads until the other side has no more to say; the text has the chunked form.
async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut seen = Vec::new();
    let ends = async {
        while !seen.ends_with(b"0\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => seen.push(byte),
                Err(_closed) => break,
            }
        }
    };
    timeout(PATIENCE, ends).await.unwrap();
    String::from_utf8(seen).unwrap()
}

fn rekeyed(scene: &Scene) -> Arc<FederatedBundles> {
    let now = scene.stand.world.clock.now();
    let domain = "partner.example".parse().unwrap();
    let other = Authority::create(domain, [9; 32], now).unwrap();
    believing(other.bundle(), Some(now))
}

/// NHI07, a root that was taken back: requests on a connection that is open already.
#[tokio::test]
async fn nhi07_a_root_that_left_the_bundle_proves_no_further_request() {
    let scene = Scene::open(1).await;
    let mut visitor = scene.visit().await;
    assert_eq!(ping(&mut visitor).await, 200);
    for gone in [rekeyed(&scene), Arc::default()] {
        scene.believe(gone);
        assert_eq!(ping(&mut visitor).await, 403);
        // Whom the bundle proves again is served again, on the same connection.
        scene.believe(believing(scene.partner.bundle(), None));
        assert_eq!(ping(&mut visitor).await, 200);
    }
}

/// ASI03: a clock that was ahead for a moment shuts nobody of a foreign trust domain out, with an SVID of before or a new one;
/// and an SVID whose time has come by the partner's own clock is over.
#[tokio::test]
async fn asi03_partners_come_in_after_a_clock_was_ahead_for_a_moment() {
    let scene = Scene::open(1).await;
    let mut before = scene.visit().await;
    assert_eq!(ping(&mut before).await, 200);
    let clock = &scene.stand.world.clock;
    clock.step_forward_and_back(Millis::from_seconds(700));
    assert_eq!(ping(&mut before).await, 200);
    let mut after = scene.visit().await;
    assert_eq!(ping(&mut after).await, 200);
    clock.advance(Millis::from_seconds(600));
    // It is looked at again because the bundle is another one.
    scene.believe(believing(scene.partner.bundle(), None));
    assert_eq!(ping(&mut after).await, 403);
}

/// NHI07: the stream of changes ends when nobody vouches for its reader.
#[tokio::test]
async fn nhi07_a_stream_ends_with_the_root_of_its_reader() {
    for way in [rekeyed, |_: &Scene| Arc::default()] {
        let scene = Scene::open(1).await;
        let mut visitor = scene.visit().await;
        listen(&mut visitor).await;
        scene.believe(way(&scene));
        rest(&mut visitor).await;
    }
}

/// NHI07: a tunnel carries nothing for whom nobody vouches.
#[tokio::test]
async fn nhi07_a_tunnel_ends_with_the_root_of_who_opened_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let scene = Scene::open(port).await;
    let mut visitor = scene.visit().await;
    let target = format!("127.0.0.1:{port}");
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let head = send(&mut visitor, &head).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (mut model, _) = listener.accept().await.unwrap();
    scene.believe(Arc::default());
    let mut left = Vec::new();
    let ended = timeout(PATIENCE, model.read_to_end(&mut left)).await;
    ended.unwrap().unwrap();
    let outcome = tokio::task::spawn_blocking(move || {
        scene.stand.records(1, |it| match it {
            Fact::Performed(performed) => Some(performed.status.as_str()),
            _ => None,
        })
    });
    assert_eq!(outcome.await.unwrap(), ["unknown"]);
}

/// NHI07: the same of our own roots, as when a key was stolen and others took the place of all.
#[tokio::test]
async fn nhi07_what_a_replaced_key_signed_acts_no_more_on_an_open_connection() {
    let scene = Scene::open(1).await;
    let id = scene.stand.caller.spiffe_id().to_string();
    let mut instance = scene.connect(&scene.own, &id).await;
    let mut listener = scene.connect(&scene.own, &id).await;
    assert_eq!(ping(&mut instance).await, 200);
    listen(&mut listener).await;
    let now = scene.stand.world.clock.now();
    let fresh = Authority::create("example.org".parse().unwrap(), [11; 32], now).unwrap();
    let fresh = Arc::new(fresh.bundle().clone());
    scene.trusted.change(|it| it.bundle = fresh);
    assert_eq!(ping(&mut instance).await, 403);
    rest(&mut listener).await;
}

/// What is under way ends as well when the estate registers the workload no more; the bundles say nothing of that.
#[tokio::test]
async fn a_stream_ends_when_its_reader_is_registered_no_more() {
    let scene = Scene::open(1).await;
    let mut visitor = scene.visit().await;
    listen(&mut visitor).await;
    let mut estate = ambit_testkit::office(&[]);
    estate.digest = ambit_core::Digest::of(b"another");
    let book = ambit_testkit::compile(estate);
    let world = &scene.stand.world;
    let (ana, moment) = (world.person("ana"), world.clock.moment());
    let applied = world.handle.apply(&ana, book, Vec::new(), moment);
    applied.await.unwrap();
    // The look that is due every few seconds, now.
    scene.trusted.change(|_| {});
    rest(&mut visitor).await;
}

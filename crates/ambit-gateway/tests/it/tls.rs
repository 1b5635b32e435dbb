//! The accept loop: who proves to be an instance is served, nobody else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ambit_core::{Millis, TrustDomain};
use ambit_gateway::{Face, Fallback, Gateway, GatewayConfig, Room, SandboxPolicy, Trusting};
use ambit_identity::{Authority, Clients, Issuance, SvidKey, TlsClock, WebIssuance, tls};
use ambit_testkit::{World, office};
use http_body_util::BodyExt;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::mint::Mint;

struct Party {
    authority: Authority,
    world: World,
}

impl Party {
    fn new(chance: u8) -> Self {
        let world = World::new(office(&[]), 1);
        let trust_domain: TrustDomain = "example.org".parse().unwrap();
        let authority = Authority::create(trust_domain, [chance; 32], world.clock.now()).unwrap();
        Self { authority, world }
    }

    fn clock(&self) -> TlsClock {
        let clock = self.world.clock.clone();
        TlsClock::new(move || clock.now())
    }

    fn chance(&self) -> [u8; 16] {
        *self.world.clock.chance().first_chunk().unwrap()
    }

    fn face(&self) -> Face {
        let key = SvidKey::generate(self.world.clock.chance()).unwrap();
        let now = self.world.clock.now();
        let expires_at = now.plus(Millis::from_seconds(600));
        let svid = self
            .authority
            .gateway_svid(&key, now, expires_at, self.chance())
            .unwrap();
        let bundle = Arc::new(self.authority.bundle().clone());
        let tls =
            tls::gateway_config((&svid, &key), bundle, Clients::WithSvid, self.clock()).unwrap();
        Face { tls: Arc::new(tls) }
    }

    /// Returns a face that shows `host` to those who ask for it.
    fn face_for(&self, host: &str) -> Face {
        let key = SvidKey::generate(self.world.clock.chance()).unwrap();
        let now = self.world.clock.now();
        let expires_at = now.plus(Millis::from_seconds(600));
        let svid = self
            .authority
            .gateway_svid(&key, now, expires_at, self.chance())
            .unwrap();
        let web = self.authority.web_identity(&WebIssuance {
            key: &key,
            host,
            now,
            expires_at,
            chance: self.chance(),
        });
        let web = web.unwrap();
        let bundle = Arc::new(self.authority.bundle().clone());
        let clients = Clients::AlsoWithout { web: &web };
        let tls = tls::gateway_config((&svid, &key), bundle, clients, self.clock()).unwrap();
        Face { tls: Arc::new(tls) }
    }

    fn trusting(&self) -> Trusting {
        let bundle = Arc::new(self.authority.bundle().clone());
        Trusting {
            now: Arc::new(move || Arc::clone(&bundle).into()),
            changed: Arc::new(|| Box::pin(std::future::pending())),
        }
    }

    /// Returns an ordinary client, which trusts the authority and knows hosts.
    fn web_client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.bundle().to_pem();
        for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_details(provider, Arc::new(self.clock()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    fn runner(&mut self) -> ClientConfig {
        let (started, _) = self.world.start();
        let key = SvidKey::generate(self.world.clock.chance()).unwrap();
        let svid = self.authority.issue(&Issuance {
            key: &key.proved().unwrap(),
            spiffe_id: &started.task.spiffe_id,
            now: self.world.clock.now(),
            expires_at: self.world.clock.now().plus(Millis::from_seconds(600)),
            chance: self.chance(),
        });
        let bundle = Arc::new(self.authority.bundle().clone());
        tls::runner_config(&svid.unwrap(), &key, bundle, self.clock()).unwrap()
    }
}

async fn ask(config: ClientConfig, address: SocketAddr, path: &str) -> std::io::Result<String> {
    ask_named(config, address, tls::server_name(), path).await
}

async fn ask_as(
    config: ClientConfig,
    address: SocketAddr,
    host: &str,
    path: &str,
) -> std::io::Result<String> {
    let name = host.to_owned().try_into().unwrap();
    ask_named(config, address, name, path).await
}

async fn ask_named(
    config: ClientConfig,
    address: SocketAddr,
    name: ServerName<'static>,
    path: &str,
) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ping}",
        ping.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn only_an_instance_of_the_trust_domain_is_served() {
    let (mut home, mut abroad) = (Party::new(1), Party::new(2));
    let (runner, stranger) = (home.runner(), abroad.runner());
    let mut config = GatewayConfig::new(SandboxPolicy::Refused);
    let fallback: Fallback = Arc::new(|_, caller| {
        Box::pin(async move {
            let text = http_body_util::Full::from(format!("caller {}", caller.spiffe_id()));
            http::Response::new(text.boxed())
        })
    });
    config.fallback = Some(fallback);
    config.trusting = Some(home.trusting());
    let (handle, clock) = (home.world.handle.clone(), home.world.clock.to_clock());
    let gateway = Gateway::new(config, handle, clock, Arc::new(|_| None));
    let sequencer = home.world.take_sequencer();
    std::thread::spawn(move || sequencer.run());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let face = home.face();
    let serving = tokio::spawn(async move {
        let stop = async {
            let _stop = stopped.await;
        };
        gateway
            .serve_tls(listener, Arc::new(move || Some(face.clone())), stop)
            .await;
    });
    let answer = ask(runner.clone(), address, "/mcp").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"result\":{}}"),
        "{answer}"
    );
    let answer = ask(runner, address, "/v1/presence").await.unwrap();
    assert!(
        answer.contains("caller spiffe://example.org/agent/clerk/"),
        "{answer}"
    );
    // Another authority of the same name is another authority.
    assert!(ask(stranger, address, "/mcp").await.is_err());
    stop.send(()).unwrap();
    serving.await.unwrap();
}

/// Serves `gateway` as `localhost` for as long as the test lasts, and returns where.
async fn serve(home: &Party, gateway: Gateway) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let face = home.face_for("localhost");
    tokio::spawn(async move {
        let face = Arc::new(move || Some(face.clone()));
        gateway
            .serve_tls(listener, face, std::future::pending())
            .await;
    });
    address
}

#[tokio::test]
async fn who_knows_hosts_is_shown_a_host_and_needs_a_token() {
    let mut home = Party::new(1);
    let (runner, abroad) = (home.runner(), Party::new(2).runner());
    let mint = Mint::new(1);
    let mut config = GatewayConfig::new(SandboxPolicy::Refused);
    config.tokens = Some(mint.config());
    config.trusting = Some(home.trusting());
    config.strangers_refused = Arc::clone(&mint.strangers);
    let (handle, clock) = (home.world.handle.clone(), home.world.clock.to_clock());
    let gateway = Gateway::new(config, handle, clock, Arc::new(|_| None));
    let sequencer = home.world.take_sequencer();
    std::thread::spawn(move || sequencer.run());
    let address = serve(&home, gateway.clone()).await;
    let answer = ask_as(home.web_client(), address, "localhost", "/mcp")
        .await
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Bearer "),
        "{answer}"
    );
    // The runner is served as before, by SPIFFE ID on both sides; a certificate of others is none.
    let answer = ask(runner, address, "/mcp").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(ask(abroad, address, "/mcp").await.is_err());
    // Who asks for another host, or trusts another authority, does not go on.
    assert!(
        ask_as(home.web_client(), address, "elsewhere.example", "/mcp")
            .await
            .is_err()
    );
    assert!(
        ask_as(Party::new(3).web_client(), address, "localhost", "/mcp")
            .await
            .is_err()
    );
    assert_eq!(mint.strangers.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// Opens a connection without a certificate, asks for something public over it, and keeps it.
async fn stays(
    config: ClientConfig,
    address: SocketAddr,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = b"GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn asi08_strangers_keep_no_instance_from_the_gateway() {
    let mut home = Party::new(1);
    let (runner, other) = (home.runner(), home.runner());
    let mint = Mint::new(1);
    let mut config = GatewayConfig::new(SandboxPolicy::Refused);
    assert_eq!(config.room, Room::default());
    config.room = Room {
        strangers: 4,
        proved: 1,
    };
    config.tokens = Some(mint.config());
    config.trusting = Some(home.trusting());
    let (handle, clock) = (home.world.handle.clone(), home.world.clock.to_clock());
    let gateway = Gateway::new(config, handle, clock, Arc::new(|_| None));
    let sequencer = home.world.take_sequencer();
    std::thread::spawn(move || sequencer.run());
    let address = serve(&home, gateway).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(stays(home.web_client(), address).await);
    }
    for config in [runner, other] {
        let answer = ask(config, address, "/mcp").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // Those who were idle longest have made room, and hear it long before their time is over.
    let mut rest = Vec::new();
    let ended = timeout(HEARD_WITHIN, strangers[0].read_to_end(&mut rest)).await;
    ended.unwrap().unwrap();
    // One more stranger is served as well.
    let again = stays(home.web_client(), address).await;
    drop(again);
}

/// Less than it takes a connection on which nothing comes to end by itself.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Whoever is refused before all of the request has come hears why, however much is still sent, and that nothing else is
/// answered there.
#[tokio::test]
async fn a_refusal_is_heard_by_who_still_sends() {
    let home = Party::new(1);
    let mint = Mint::new(1);
    let mut config = GatewayConfig::new(SandboxPolicy::Refused);
    config.tokens = Some(mint.config());
    let (handle, clock) = (home.world.handle.clone(), home.world.clock.to_clock());
    let gateway = Gateway::new(config, handle, clock, Arc::new(|_| None));
    let address = serve(&home, gateway).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(home.web_client()));
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let body = vec![b' '; 1_000_000];
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    stream.write_all(&body).await.unwrap();
    stream.flush().await.unwrap();
    // It ends as TLS does, and not as if somebody had cut it.
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

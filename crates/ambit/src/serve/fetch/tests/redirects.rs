//! Endpoints that were good yesterday and lead elsewhere today: nothing is followed, not even once.

use std::sync::Mutex;

use ambit_control::{
    federation::{BundleAsk, EndpointProof},
    people::Ask,
};
use ambit_core::{Millis, Timestamp, TrustDomain};
use ambit_identity::{
    IssuingKeys, PairChance, SvidKey, TlsClock,
    tls::{bundle_client_config, bundle_server_config},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{super::*, networks, provider};
use crate::clock::Clock;

/// How many hops the longest chain has; whoever follows ten of them is not saved by counting.
const HOPS: usize = 11;

/// An endpoint that sends whoever asks elsewhere, and what was asked of it.
struct Rogue {
    keys: IssuingKeys,
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    fetcher: Fetcher,
    clock: Clock,
}

impl Rogue {
    /// Serves `status` with a location that `leads` returns for the path that was asked, over TLS or without.
    async fn open(
        scheme: Scheme,
        status: u16,
        leads: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        let (keys, tls) = tls(now);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let how = (status, &leads, &*written);
                match scheme {
                    Scheme::Plain => answer(stream, how).await,
                    Scheme::Tls => answer(tls.accept(stream).await.unwrap(), how).await,
                }
            }
        });
        let endpoint = keys.trust_domain().gateway();
        let client = bundle_client_config(
            endpoint,
            Arc::clone(keys.bundle()),
            TlsClock::new(move || now),
        );
        let inner = networks(&["127.0.0.0/8", "::1/128"]);
        let bounds = OutboundConfig {
            inner_networks: inner.clone(),
            client_document_networks: inner,
            client_document_ports: vec![port],
            roots: None,
        };
        let scheme = if scheme == Scheme::Plain {
            "http"
        } else {
            "https"
        };
        Self {
            keys,
            url: format!("{scheme}://localhost:{port}/hop/0"),
            asked,
            fetcher: Fetcher::new(Some(Arc::new(client.unwrap())), &bounds),
            clock,
        }
    }

    /// Asks as each of those does who fetch what others publish, and returns what each was told.
    async fn fetched(&self) -> Vec<Result<usize, String>> {
        let url = || self.url.clone();
        let bundle = async |proof| {
            let ask = BundleAsk { url: url(), proof };
            self.fetcher.bundles(&self.clock)(ask)
                .await
                .map(|it| it.len())
        };
        let spiffe = EndpointProof::SpiffeId {
            endpoint: self.keys.trust_domain().gateway(),
            bundle: Arc::clone(self.keys.bundle()),
        };
        vec![
            self.fetcher.documents()(url()).await.map(|it| it.len()),
            self.fetcher.client_documents()(url(), 1024)
                .await
                .map(|it| it.bytes.len()),
            bundle(EndpointProof::Host).await,
            bundle(spiffe).await,
        ]
    }
}

fn tls(now: Timestamp) -> (IssuingKeys, TlsAcceptor) {
    let domain: TrustDomain = "partner.example".parse().unwrap();
    let chance = PairChance {
        x509: [3; 32],
        jwt: [4; 32],
    };
    let keys = IssuingKeys::create(domain, chance, now).unwrap();
    let key = SvidKey::generate([5; 32]).unwrap();
    let svid = keys.gateway_svid(&key, now, now.plus(Millis::from_seconds(600)), [6; 16]);
    let config = bundle_server_config((&svid.unwrap(), &key), TlsClock::new(move || now));
    (keys, TlsAcceptor::from(Arc::new(config.unwrap())))
}

/// Answers one request, and writes down its path.
async fn answer<S>(
    mut stream: S,
    (status, leads, asked): (u16, &impl Fn(&str) -> String, &Mutex<Vec<String>>),
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    while !request.windows(4).any(|it| it == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).await.unwrap();
        request.extend_from_slice(&bytes[..read]);
    }
    let path = String::from_utf8(request).unwrap();
    let path = path.split(' ').nth(1).unwrap().to_owned();
    let (location, body) = (leads(&path), "{\"keys\":[]}");
    asked.lock().unwrap().push(path);
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    // Who was told enough hangs up.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Checks that all who fetch refuse the redirect, and that each asked once and nowhere else.
async fn check(status: u16, leads: impl Fn(&str) -> String + Send + Sync + 'static) {
    let rogue = Rogue::open(Scheme::Tls, status, leads).await;
    let told = rogue.fetched().await;
    for told in &told {
        let told = told.as_ref().unwrap_err();
        assert!(told.contains(&format!("the answer is {status}")), "{told}");
        assert!(told.contains("nothing is followed"), "{told}");
    }
    assert_eq!(*rogue.asked.lock().unwrap(), vec!["/hop/0"; told.len()]);
}

#[tokio::test]
async fn asi04_no_endpoint_leads_anywhere() {
    for to in [
        "http://localhost/",
        "http://127.0.0.1:1/",
        "https://127.0.0.1:1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data",
        "https://elsewhere.example/bundle",
        "//elsewhere.example/bundle",
        "file:///etc/passwd",
        "/hop/1",
        "",
    ] {
        check(302, move |_| to.to_owned()).await;
    }
    for status in [300, 301, 303, 305, 307, 308] {
        check(status, |_| "/hop/1".to_owned()).await;
    }
}

#[tokio::test]
async fn asi04_a_chain_of_hops_is_left_at_the_first() {
    check(302, |path| {
        let hop: usize = path.strip_prefix("/hop/").unwrap().parse().unwrap();
        assert!(hop < HOPS, "somebody went the whole way");
        format!("/hop/{}", hop + 1)
    })
    .await;
}

/// What the same endpoint gives without a redirect is taken: the refusals above are for the redirect alone.
#[tokio::test]
async fn an_endpoint_that_leads_nowhere_is_read() {
    let rogue = Rogue::open(Scheme::Tls, 200, |_| "/hop/1".to_owned()).await;
    assert_eq!(rogue.fetched().await, vec![Ok(11); 4]);
}

/// The provider of people is asked over plain HTTP here; whoever asked hears the status, and refuses it.
#[tokio::test]
async fn asi04_the_provider_of_people_leads_nowhere() {
    let rogue = Rogue::open(Scheme::Plain, 307, |_| "/hop/1".to_owned()).await;
    for form in [None, Some("code=1".to_owned())] {
        let url = rogue.url.clone();
        let fetched = provider(None)(Ask { url, form }).await.unwrap();
        assert_eq!(fetched.status, 307);
    }
    assert_eq!(*rogue.asked.lock().unwrap(), vec!["/hop/0"; 2]);
}

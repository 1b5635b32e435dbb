use ambit_control::people::{Ask, PROVIDER_ANSWER_BYTES_MAX};
use ambit_gateway::Secrets;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::config::{Network, SignInConfig};

mod redirects;

/// A fetcher that knows nobody, as far as `ambit.toml` says nothing else.
fn offline() -> Fetcher {
    Fetcher::new(None, &OutboundConfig::default())
}

fn networks(texts: &[&str]) -> Vec<Network> {
    let of = |it: &&str| Network::try_from((*it).to_owned()).unwrap();
    texts.iter().map(of).collect()
}

fn provider(secret: Option<&str>) -> ambit_control::people::Fetch {
    let config = SignInConfig {
        issuer: "http://127.0.0.1:1".to_owned(),
        client_id: "a:b".to_owned(),
        secret: secret.map(str::to_owned),
        key: None,
    };
    let secrets: Secrets = Arc::new(|reference| {
        let known = reference == "id-secret";
        known.then(|| ambit_broker::Secret::new(b"s 1").unwrap())
    });
    offline().provider(&config, &secrets)
}

/// Answers one request with `answer` and returns the request.
async fn serve(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x?y", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|it| it == b"\r\n\r\n") {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            request.extend_from_slice(&bytes[..read]);
        }
        // Who stops reading at a maximum hangs up.
        let _ = stream.write_all(answer.as_bytes()).await;
        String::from_utf8(request).unwrap()
    });
    (url, serving)
}

async fn check(answer: String, wanted: Result<(u16, usize), &str>) {
    let (url, serving) = serve(answer).await;
    let found = provider(None)(Ask { url, form: None }).await;
    match (found, wanted) {
        (Ok(found), Ok(wanted)) => assert_eq!((found.status, found.body.len()), wanted),
        (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
        (found, wanted) => panic!("{found:?}, wanted {wanted:?}"),
    }
    let request = serving.await.unwrap();
    assert!(request.starts_with("GET /x?y HTTP/1.1\r\n"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn an_answer_is_whole_bounded_and_from_where_it_was_asked() {
    let of = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}",
            "x".repeat(bytes)
        )
    };
    check(of(2), Ok((200, 2))).await;
    let most = PROVIDER_ANSWER_BYTES_MAX;
    check(of(most), Ok((200, most))).await;
    check(of(most + 1), Err("more than 262144 bytes")).await;
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
    check(cut.to_owned(), Err("broke off")).await;
    let elsewhere =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    check(elsewhere.to_owned(), Ok((302, 0))).await;
    let head = |bytes: usize| {
        let start = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: ";
        let padding = "x".repeat(bytes - start.len() - 4);
        format!("{start}{padding}\r\n\r\n")
    };
    check(head(FETCHED_HEAD_BYTES_MAX - 1), Ok((200, 0))).await;
    check(head(FETCHED_HEAD_BYTES_MAX + 1), Err("can't be read")).await;
}

#[tokio::test]
async fn the_client_proves_itself_only_with_a_form() {
    let (url, serving) = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let form = Some("code=1".to_owned());
    let ask = Ask { url, form };
    provider(Some("id-secret"))(ask).await.unwrap();
    let request = serving.await.unwrap();
    // `a%3Ab:s+1` (RFC 6749 §2.3.1).
    assert!(
        request.contains("authorization: Basic YSUzQWI6cysx\r\n"),
        "{request}"
    );
    let ask = Ask {
        url: "http://127.0.0.1:1/".to_owned(),
        form: Some(String::new()),
    };
    let error = provider(Some("other"))(ask).await.unwrap_err();
    assert!(error.contains("ambit secret set other"), "{error}");
}

#[tokio::test]
async fn plain_requests_stay_on_this_machine() {
    for url in [
        "http://192.0.2.1/",
        "ftp://127.0.0.1/",
        "127.0.0.1",
        "",
        "file:///etc/passwd",
        "https://user@127.0.0.1/",
    ] {
        let ask = Ask {
            url: url.to_owned(),
            form: None,
        };
        let error = provider(None)(ask).await.unwrap_err();
        assert!(error.contains("no address that"), "{url}: {error}");
    }
}

/// Asks as for an issuer of the estate, and as for a stranger's document.
async fn check_document(url: &str, bounds: &OutboundConfig, parts: [&str; 2]) {
    let fetcher = Fetcher::new(None, bounds);
    let of_estate = fetcher.documents()(url.to_owned()).await;
    let of_stranger = fetcher.client_documents()(url.to_owned(), 1).await;
    let told = [of_estate.unwrap_err(), of_stranger.unwrap_err()];
    for (told, part) in told.iter().zip(parts) {
        assert!(told.contains(part), "{url}: no `{part}` in {told}");
    }
}

#[tokio::test]
async fn asi04_what_leads_inside_is_not_fetched() {
    for (url, part) in [
        ("http://example.com/", "https://HOST"),
        ("http://127.0.0.1/", "https://HOST"),
        ("https://user@example.com/", "https://HOST"),
        ("file:///etc/passwd", "https://HOST"),
        ("", "https://HOST"),
        ("https://127.0.0.1/", "no public address"),
        ("https://[::1]:443/", "no public address"),
        ("https://[::ffff:127.0.0.1]/", "no public address"),
        ("https://localhost/", "no public address"),
        ("https://169.254.169.254/latest", "no public address"),
    ] {
        check_document(url, &OutboundConfig::default(), [part; 2]).await;
    }
}

/// What the operator named for the one is reached for it, and nothing beside it.
#[tokio::test]
async fn asi04_strangers_reach_no_network_and_no_port_of_the_estates() {
    let inner = || networks(&["127.0.0.0/8"]);
    let usual = OutboundConfig::default;
    let check = async |url: &str, bounds: OutboundConfig, parts: [&str; 2]| {
        check_document(url, &bounds, parts).await;
    };
    let of_estate = || OutboundConfig {
        inner_networks: inner(),
        ..usual()
    };
    let of_strangers = |client_document_ports: &[u16]| OutboundConfig {
        client_document_networks: inner(),
        client_document_ports: client_document_ports.to_vec(),
        ..usual()
    };
    let (closed, not_public) = ("can't be reached", "no public address");
    let other_port = "at another port than those of `outbound.client_document_ports`";
    check("https://127.0.0.1:1/", of_estate(), [closed, other_port]).await;
    check("https://127.0.0.1/", of_estate(), ["", not_public]).await;
    check("https://[::1]:1/", of_estate(), [not_public, other_port]).await;
    check("http://127.0.0.1:1/", of_estate(), ["https://HOST"; 2]).await;
    check(
        "https://127.0.0.1:1/",
        of_strangers(&[443]),
        [not_public, other_port],
    )
    .await;
    check(
        "https://127.0.0.1:1/",
        of_strangers(&[2, 1]),
        [not_public, closed],
    )
    .await;
    check(
        "https://127.0.0.1/",
        of_strangers(&[1]),
        [not_public, other_port],
    )
    .await;
    check("https://[::1]:1/", of_strangers(&[1]), [not_public; 2]).await;
    // A port that was named opens no network.
    let at = OutboundConfig {
        client_document_ports: vec![1],
        ..usual()
    };
    check("https://127.0.0.1:1/", at, [not_public; 2]).await;
}

#[tokio::test]
async fn a_document_comes_from_where_it_was_asked() {
    // Over plain HTTP on loopback, which a document never is: the status is looked at all the same.
    let answer = "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
    let (url, serving) = serve(answer.to_owned()).await;
    let wanted = Wanted {
        url,
        reach: Reach::Named,
        bytes_max: 1,
        form: None,
    };
    let answer = offline().fetch(wanted).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    serving.await.unwrap();
}

#[tokio::test]
async fn the_answer_to_what_is_posted_has_a_maximum() {
    let post = async |bytes: usize| {
        let body = "x".repeat(bytes);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{body}");
        let (url, serving) = serve(answer).await;
        let sent = Bytes::from_static(b"a-body");
        let posted = offline().post(&url, "a/kind", sent).await;
        (posted, serving.await.unwrap())
    };
    let (answer, request) = post(POSTED_ANSWER_BYTES_MAX).await;
    assert_eq!(answer.unwrap().body.len(), POSTED_ANSWER_BYTES_MAX);
    assert!(request.starts_with("POST "), "{request}");
    assert!(request.contains("content-type: a/kind\r\n"), "{request}");
    assert!(request.contains("content-length: 6\r\n"), "{request}");
    let (answer, _) = post(POSTED_ANSWER_BYTES_MAX + 1).await;
    assert!(matches!(answer, Err(FetchError::Body(..))), "{answer:?}");
    let fetcher = offline();
    let away = fetcher.post("http://192.0.2.1/", "a/kind", Bytes::new());
    assert!(matches!(away.await, Err(FetchError::Address(_))));
}

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn door(secret: Option<&str>) -> Arc<Door> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Door::new(
        Uplink::new(nowhere, Arc::new(config)),
        4000,
        secret.map(str::to_owned),
    )
}

fn ask(
    secret: Option<&str>,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> Result<Errand, Refused> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    door(secret).errand(request.method(), request.uri(), request.headers())
}

#[test]
fn only_mcp_from_the_command_itself_is_passed_on() {
    let pass = |path: &str| Ok(Errand::PassOn(path.parse().unwrap()));
    let own = ("host", "127.0.0.1:4000");
    let check = |uri: &str, headers: &[(&str, &str)], wanted| {
        assert_eq!(ask(None, "POST", uri, headers), wanted, "{uri} {headers:?}");
    };
    check("/mcp", &[own], pass("/mcp"));
    check(
        "/s/files/mcp",
        &[("host", "LOCALHOST:4000")],
        pass("/s/files/mcp"),
    );
    check(
        "/mcp",
        &[own, ("origin", "http://localhost:4000")],
        pass("/mcp"),
    );
    check("/mcp", &[], Err(Refused::Host));
    check("/mcp", &[own, own], Err(Refused::Host));
    check("/mcp", &[("host", "127.0.0.1:4001")], Err(Refused::Host));
    check("/mcp", &[("host", "evil.example")], Err(Refused::Host));
    check(
        "/mcp",
        &[own, ("origin", "http://evil.example")],
        Err(Refused::Origin),
    );
    check("/mcp", &[own, ("origin", "null")], Err(Refused::Origin));
    check("/v1/presence", &[own], Err(Refused::Path));
    let given = "/v1/task/delegations";
    check(given, &[own], pass(given));
    let back = "/v1/task/delegations/dlg_1/withdraw";
    check(back, &[own], pass(back));
    for other in [
        "/v1/task/delegations/dlg_1/exchange",
        "/v1/task/delegations//withdraw",
        "/v1/task/delegations/a/b/withdraw",
        "/v1/task/delegationswithdraw",
        "/v1/task/complete",
    ] {
        check(other, &[own], Err(Refused::Path));
    }
    check("/s//mcp", &[own], Err(Refused::Path));
    check("/s/a/b/mcp", &[own], Err(Refused::Path));
    check("/", &[own], Err(Refused::Path));
    check(
        "http://127.0.0.1:4000/mcp",
        &[own],
        Err(Refused::PlainProxy),
    );
    check(
        "http://evil.example/",
        &[("host", "evil.example")],
        Err(Refused::PlainProxy),
    );
}

#[test]
fn on_the_host_the_secret_is_needed() {
    let own = ("host", "127.0.0.1:4000");
    let basic = format!("Basic {}", base64(b"ambit:abc"));
    let check = |method: &str, uri: &str, headers: &[(&str, &str)], wanted| {
        assert_eq!(
            ask(Some("abc"), method, uri, headers),
            wanted,
            "{method} {uri}"
        );
    };
    check(
        "POST",
        "/abc/mcp",
        &[own],
        Ok(Errand::PassOn("/mcp".parse().unwrap())),
    );
    check("POST", "/mcp", &[own], Err(Refused::Secret));
    check("POST", "/abd/mcp", &[own], Err(Refused::Secret));
    check("POST", "/abcx/mcp", &[own], Err(Refused::Path));
    let proxy = ("proxy-authorization", basic.as_str());
    check("CONNECT", "model.example:443", &[proxy], Ok(Errand::Tunnel));
    check("CONNECT", "model.example:443", &[], Err(Refused::Secret));
    let wrong = ("proxy-authorization", "Basic YW1iaXQ6YWJk");
    check(
        "CONNECT",
        "model.example:443",
        &[wrong],
        Err(Refused::Secret),
    );
}

#[test]
fn headers_of_one_connection_stay_there() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("proxy-authorization", "Basic x"),
        ("host", "a"),
        ("mcp-session-id", "s"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    strip(&mut headers);
    let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["mcp-session-id"]);
}

/// Sends a request that the door refuses by itself, and reads that it did.
async fn is_answered(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /elsewhere HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_refusal(stream).await;
}

async fn read_refusal(stream: &mut TcpStream) {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 403");
}

#[tokio::test]
async fn one_connection_too_many_waits_for_another_s_end() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(door(None).serve(listener));
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).await.unwrap();
        is_answered(&mut stream).await;
        streams.push(stream);
    }
    let mut beyond = TcpStream::connect(address).await.unwrap();
    beyond
        .write_all(b"GET /elsewhere HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), beyond.readable()).await;
    assert!(
        early.is_err(),
        "it is not served while all places are taken"
    );
    drop(streams.pop());
    read_refusal(&mut beyond).await;
    serving.abort();
}

#[tokio::test]
async fn a_body_with_two_lengths_goes_no_further() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(door(None).serve(listener));
    let lengths = ["Content-Length: 4", "Transfer-Encoding: chunked"];
    // No gateway is there, so what goes further ends with 502.
    let check = async |framing: &[&str], body: &str, wanted: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let framing = framing.join("\r\n");
        let head = format!("POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n{framing}\r\n\r\n");
        let request = head + body;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(str::from_utf8(&start).unwrap(), wanted, "{framing}");
    };
    let [length, chunked] = lengths;
    check(&[length], "null", "HTTP/1.1 502").await;
    let body = "4\r\nnull\r\n0\r\n\r\n";
    check(&[chunked], body, "HTTP/1.1 502").await;
    check(&[length, chunked], body, "HTTP/1.1 400").await;
    check(&[chunked, length], body, "HTTP/1.1 400").await;
    serving.abort();
}

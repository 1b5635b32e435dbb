//! Strangers on a port of their own: what they may do at once, how long, and how much.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const PATIENT: Patience = Patience {
    handshake: HANDSHAKE_TIMEOUT,
    head: PUBLIC_HEAD_TIMEOUT,
    body: PUBLIC_BODY_TIMEOUT,
    connection: CONNECTION_TTL_MAX,
};
const SHORT: Duration = Duration::from_millis(20);

fn router() -> Router {
    let read = async |body: axum::body::Body| match axum::body::to_bytes(body, 100).await {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => error.to_string(),
    };
    Router::new().route("/", get(|| async { "hello" }).post(read))
}

/// Opens a connection that is served with `patience`.
fn open(patience: Patience) -> DuplexStream {
    let (ours, theirs) = duplex(1024 * 1024);
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    tokio::spawn(async move {
        let seats = Seats::new(1, Origin::crowd);
        let seat = seats.take(Origin::of(peer), 1, &Notice::default());
        let over = sleep(patience.connection);
        connection(theirs, (peer, Arc::new(seat)), router(), (patience, over)).await;
    });
    ours
}

/// Sends `text` and returns all that comes back until the connection ends.
async fn exchange(text: &str, patience: Patience) -> String {
    let mut stream = open(patience);
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn request(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn an_answer_is_dressed() {
    let answer = exchange(&request(""), PATIENT).await;
    for part in [
        "200 OK",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "hello",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
}

#[tokio::test]
async fn a_head_has_its_maximum() {
    let check = async |headers: String, status: &str| {
        let answer = exchange(&request(&headers), PATIENT).await;
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.contains(status), "{line}");
    };
    let others = request("x: \r\n").len();
    let filled = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes - others));
    check(filled(PUBLIC_HEAD_BYTES_MAX), "200 OK").await;
    check(filled(PUBLIC_HEAD_BYTES_MAX + 1), "431").await;
    // Host and connection are two of them.
    check("x: y\r\n".repeat(PUBLIC_HEADERS_MAX - 2), "200 OK").await;
    check("x: y\r\n".repeat(PUBLIC_HEADERS_MAX - 1), "431").await;
}

#[tokio::test]
async fn a_connection_carries_so_many_requests() {
    let one = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = exchange(&one.repeat(REQUESTS_PER_CONNECTION_MAX + 1), PATIENT).await;
    assert_eq!(
        answer.matches("200 OK").count(),
        REQUESTS_PER_CONNECTION_MAX
    );
    assert_eq!(answer.matches("connection: close").count(), 1);
}

#[tokio::test]
async fn slow_strangers_are_not_waited_for() {
    let patience = Patience {
        head: SHORT,
        ..PATIENT
    };
    let mut stream = open(patience);
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.contains("200"), "{answer}");
    // Nothing at all, and nothing after a first request.
    let idle = exchange("", patience).await;
    assert_eq!(idle, "");
    let idle = exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n", patience).await;
    assert!(idle.contains("200 OK"), "{idle}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let patience = Patience {
        body: SHORT,
        ..PATIENT
    };
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n";
    let mut stream = open(patience);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"ab").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("did not arrive in time"), "{answer}");
    let whole = exchange(
        &format!("{head}abc"),
        Patience {
            head: SHORT,
            ..PATIENT
        },
    )
    .await;
    assert!(whole.contains("3 bytes"), "{whole}");
}

/// A port on the loopback, and its seats.
async fn port(patience: Patience) -> (SocketAddr, Seats<Origin>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving {
        patience,
        ..Serving::new(None, router(), Guests::Anybody, STRANGERS_MAX)
    };
    let seats = serving.seats.clone();
    tokio::spawn(accept(listener, serving));
    (address, seats)
}

#[tokio::test]
async fn asi08_who_sits_still_keeps_nobody_from_the_public_port() {
    let (address, seats) = port(PATIENT).await;
    let greet = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let answered = async |stream: &mut TcpStream| {
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 200");
    };
    let mut inside = Vec::new();
    for _ in 0..STRANGERS_MAX {
        let mut stream = greet().await;
        answered(&mut stream).await;
        inside.push(stream);
    }
    assert_eq!(seats.taken(), STRANGERS_MAX);
    let mut beyond = greet().await;
    answered(&mut beyond).await;
    assert_eq!(seats.taken(), STRANGERS_MAX);
    // Whoever was idle longest was let go.
    let mut rest = Vec::new();
    inside[0].read_to_end(&mut rest).await.unwrap();
    inside[1]
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
}

/// Whoever is refused before all of the request has come hears why, however much is still sent.
#[tokio::test]
async fn a_refusal_is_heard_by_who_still_sends() {
    let (address, _seats) = port(PATIENT).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    stream.write_all(&vec![b' '; 1_000_000]).await.unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_connection_ends_in_time_whatever_is_under_way() {
    let (address, seats) = port(Patience {
        connection: SHORT,
        ..PATIENT
    })
    .await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    assert_eq!(stream.read_to_end(&mut nothing).await.unwrap(), 0);
    while seats.taken() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_port_of_one_user_is_theirs_on_both_loopbacks() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, listeners) = both_loopbacks(any).await.unwrap();
    // Nobody else can be `localhost` at that port.
    for place in ["127.0.0.1", "[::1]"] {
        let taken = TcpListener::bind(format!("{place}:{}", address.port())).await;
        assert!(taken.is_err(), "{place}");
    }
    let other = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let Ok(other) = TcpListener::bind(other).await else {
        // Without IPv6 there is one loopback.
        return;
    };
    assert_eq!(listeners.len(), 2);
    let taken = SocketAddr::from(([127, 0, 0, 1], other.local_addr().unwrap().port()));
    let (address, _) = both_loopbacks(taken).await.unwrap();
    assert_ne!(address, taken);
}

#[tokio::test]
async fn a_port_of_one_user_serves_that_user() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(
        listener,
        Serving::new(None, router(), Guests::ThisUser, STRANGERS_MAX),
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request("").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("hello"), "{answer}");
}

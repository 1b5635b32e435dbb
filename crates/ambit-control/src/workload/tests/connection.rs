//! Connections on which nothing comes, or not what must.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::timeout,
};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SHORT: Duration = Duration::from_millis(20);
/// For what must come, however slow the machine is.
const LONG: Duration = Duration::from_secs(10);

/// Reads a connection on which `said` came, with little patience.
async fn read(said: &[u8]) -> Connection<()> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut connection = Connection::within((SHORT, LONG), theirs, process(CLERK, 7).peer, ());
    ours.write_all(said).await.unwrap();
    let mut bytes = vec![0; said.len()];
    let read = connection.read_exact(&mut bytes).await.unwrap();
    assert_eq!(read, said.len());
    let mut more = [0];
    let more = timeout(SHORT * 5, connection.read(&mut more)).await;
    match said == PREFACE {
        // Whoever has begun may be silent.
        true => assert!(more.is_err(), "{more:?}"),
        false => assert_eq!(more.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut),
    }
    drop(ours);
    connection
}

#[tokio::test]
async fn a_client_begins_in_time_or_not_at_all() {
    read(b"").await;
    read(&PREFACE[..1]).await;
    read(&PREFACE[..PREFACE.len() - 1]).await;
    let begun = read(PREFACE).await;
    assert!(
        begun.begins_within.is_none(),
        "an idle connection holds no timer"
    );
}

/// Its place goes to others, and nobody else waits for it (OWASP ASI: resource exhaustion).
#[tokio::test]
async fn who_says_nothing_loses_its_place() {
    let desk = Desk::open();
    for said in [&b""[..], b"GET / HTTP/1.1\r\n", &PREFACE[..10]] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (place, freed) = oneshot::channel::<()>();
        let connection = Connection::within((SHORT, LONG), theirs, process(CLERK, 7).peer, place);
        let serving = tokio::spawn({
            let doors = desk.doors.clone();
            async move { serve(&doors, tokio_stream::once(Ok(connection))).await }
        });
        ours.write_all(said).await.unwrap();
        let freed = timeout(LONG, freed).await.expect("its place is free");
        assert!(freed.is_err(), "the place was dropped");
        let mut answer = Vec::new();
        // What the library says of the protocol may come first.
        let _ = timeout(LONG, ours.read_to_end(&mut answer)).await.unwrap();
        serving.await.unwrap();
    }
}

//! Clients that do not read, give no room, never finish, or are too many: each is bounded, and others are none the worse
//! (OWASP ASI: resource exhaustion).

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    super::serving::{KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT, Pace, serve_at},
    *,
};

const SHORT: Duration = Duration::from_millis(30);
/// For what must come, however slow the machine is.
const LONG: Duration = Duration::from_secs(20);
const PATIENT: Pace = Pace {
    keepalive_every: LONG,
    keepalive_timeout: LONG,
    request_within: LONG,
};
/// The beginning of a connection: the preface and empty SETTINGS.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The service as a listener feeds it, over sockets of the kernel.
struct Served {
    desk: Desk,
    connections: mpsc::Sender<io::Result<Connection<oneshot::Sender<()>>>>,
}

impl Served {
    fn open(pace: Pace) -> Self {
        let desk = Desk::open();
        let (connections, receiver) = mpsc::channel(8);
        let doors = desk.doors.clone();
        tokio::spawn(async move { serve_at(pace, &doors, ReceiverStream::new(receiver)).await });
        Self { desk, connections }
    }

    /// Connects `made` with what `prepare` does to the server's end, and returns the client's end and what resolves when
    /// the connection's place is free again.
    async fn connect(
        &self,
        made: &Made,
        patience: Duration,
        prepare: impl FnOnce(&UnixStream),
    ) -> (UnixStream, oneshot::Receiver<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        prepare(&theirs);
        let (place, freed) = oneshot::channel();
        let connection = Connection::within((LONG, patience), theirs, made.peer.clone(), place);
        assert!(self.connections.send(Ok(connection)).await.is_ok());
        (ours, freed)
    }

    /// Connects `made` by a client of HTTP/2 whose calls have windows of `window` bytes.
    async fn client(&self, made: &Made, window: u32) -> Client {
        let (ours, freed) = self.connect(made, LONG, |_| {}).await;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let (sender, mut connection) = builder.handshake::<_, Bytes>(ours).await.unwrap();
        let (widen, mut wider) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut connection => return,
                    Some(window) = wider.recv() => connection.set_initial_window_size(window).unwrap(),
                }
            }
        });
        Client {
            sender,
            widen,
            freed,
        }
    }
}

struct Client {
    sender: SendRequest<Bytes>,
    widen: mpsc::Sender<u32>,
    freed: oneshot::Receiver<()>,
}

impl Client {
    /// Begins a call whose message is `said`.
    async fn begin(&self, name: &str, said: Option<&[u8]>) -> Call {
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("http://localhost/SpiffeWorkloadAPI/{name}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("workload.spiffe.io", "true")
            .body(())
            .unwrap();
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        match said {
            Some(said) => body.send_data(Bytes::copy_from_slice(said), true).unwrap(),
            None => body.send_data(Bytes::from_static(&[0, 0]), false).unwrap(),
        }
        Call {
            answer: Some(answer),
            body: None,
            read: Vec::new(),
            _unfinished: body,
        }
    }
}

struct Call {
    answer: Option<h2::client::ResponseFuture>,
    body: Option<RecvStream>,
    read: Vec<u8>,
    _unfinished: h2::SendStream<Bytes>,
}

impl Call {
    /// Returns the next message, or the status in the end.
    async fn next<T: Message + Default>(&mut self) -> Result<T, Status> {
        if let Some(answer) = self.answer.take() {
            let (head, body) = timeout(LONG, answer).await.unwrap().unwrap().into_parts();
            if let Some(status) = Status::from_header_map(&head.headers) {
                return Err(status);
            }
            self.body = Some(body);
        }
        let body = self.body.as_mut().unwrap();
        loop {
            if let Some(length) = self.read.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    let message: Vec<u8> = self.read.drain(..5 + length).collect();
                    return Ok(T::decode(&message[5..]).unwrap());
                }
            }
            match timeout(LONG, body.data()).await.expect("something is said") {
                Some(data) => {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    self.read.extend(data);
                }
                None => {
                    let trailers = body.trailers().await.unwrap().unwrap();
                    return Err(Status::from_header_map(&trailers).unwrap());
                }
            }
        }
    }

    async fn bundle(&mut self) -> Vec<u8> {
        let said = self.next::<X509BundlesResponse>().await.unwrap();
        said.bundles["spiffe://example.org"].clone()
    }
}

const EMPTY: Option<&[u8]> = Some(&[0, 0, 0, 0, 0]);

fn current(desk: &Desk) -> Vec<u8> {
    let keys = desk.doors.control().keys_in_force();
    let roots = keys.bundle().roots().iter();
    roots.flat_map(|it| it.iter().copied()).collect()
}

/// Its socket is full, and it reads nothing: what is said to it is not kept. That it does not answer to pings would not end
/// it, since the transport first wants to say goodbye.
#[tokio::test]
async fn who_reads_nothing_is_cut_off_in_time() {
    let served = Served::open(PATIENT);
    let fill = |theirs: &UnixStream| while theirs.try_write(&[0; 4096]).is_ok() {};
    let clerk = process(CLERK, 7);
    let (mut ours, freed) = served.connect(&clerk, SHORT, fill).await;
    ours.write_all(BEGINNING).await.unwrap();
    let freed = timeout(LONG, freed).await.expect("it is cut off");
    assert!(freed.is_err(), "its place is free");
    // The patience of a listener is a named one.
    let (_, theirs) = UnixStream::pair().unwrap();
    let connection = Connection::new(theirs, clerk.peer, ());
    assert_eq!(connection.patience, READ_TIMEOUT);
}

/// Half-open: nothing comes from the other side any more, not even an answer to whether it is there.
#[tokio::test]
async fn who_does_not_answer_is_cut_off_and_others_are_not() {
    let served = Served::open(Pace {
        keepalive_every: SHORT,
        keepalive_timeout: SHORT * 10,
        ..PATIENT
    });
    let there = served.client(&process(CLERK, 8), 65_535).await;
    let mut call = there.begin("FetchX509Bundles", EMPTY).await;
    call.bundle().await;
    let (mut ours, freed) = served.connect(&process(CLERK, 7), LONG, |_| {}).await;
    ours.write_all(BEGINNING).await.unwrap();
    let freed = timeout(LONG, freed).await.expect("it is cut off");
    assert!(freed.is_err());
    let now = served.desk.now();
    served
        .desk
        .rotate(|keys| keys.prepare(pair(20), now).unwrap());
    assert_eq!(call.bundle().await, current(&served.desk));
    assert_eq!(
        (PACE.keepalive_every, PACE.keepalive_timeout),
        (KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT)
    );
    drop(there.freed);
}

/// A client that is there and gives no room for what is said holds one message of each call, and delays nobody.
#[tokio::test]
async fn who_gives_no_room_is_told_the_newest_alone_once_it_does() {
    let served = Served::open(PATIENT);
    served.desk.expect().await;
    let (stuck, free) = (
        served.client(&process(CLERK, 7), 0).await,
        served.client(&process(CLERK, 8), 65_535).await,
    );
    let mut waiting = stuck.begin("FetchX509Bundles", EMPTY).await;
    let mut reading = free.begin("FetchX509Bundles", EMPTY).await;
    reading.bundle().await;
    let now = served.desk.now();
    for seed in 0..40 {
        served
            .desk
            .rotate(|keys| keys.replace(pair(100 + 2 * seed), now).unwrap());
        assert_eq!(reading.bundle().await, current(&served.desk), "at once");
    }
    stuck.widen.send(65_535).await.unwrap();
    let first = waiting.bundle().await;
    let newest = current(&served.desk);
    let heard = match first == newest {
        true => first,
        false => waiting.bundle().await,
    };
    assert_eq!(heard, newest, "41 changes, two messages at most");
}

#[tokio::test]
async fn a_request_is_whole_in_time_or_none() {
    let served = Served::open(Pace {
        request_within: SHORT,
        ..PATIENT
    });
    let client = served.client(&process(CLERK, 7), 65_535).await;
    for name in ["FetchX509Bundles", "FetchJWTSVID"] {
        let mut call = client.begin(name, None).await;
        let status = call.next::<X509BundlesResponse>().await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    // The connection goes on.
    let mut call = client.begin("FetchX509Bundles", EMPTY).await;
    call.bundle().await;
    // One byte more than a message may have is refused before it came.
    let long = u32::try_from(REQUEST_BYTES_MAX + 1).unwrap().to_be_bytes();
    let long = [&[0][..], &long].concat();
    let mut call = client.begin("ValidateJWTSVID", Some(&long)).await;
    let status = call.next::<ValidateJwtSvidResponse>().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

/// Many processes of one user ask and ask: so many wait, the next are refused, and another user is served.
#[tokio::test]
async fn asi08_a_flood_of_attestations_takes_nothing_from_others() {
    let desk = Desk::open();
    let (looking, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = tokio::sync::watch::Sender::new(false);
    let flooder = |pid: u32| {
        let mut made = process(STRANGER, pid);
        let (looking, most, gate) = (looking.clone(), most.clone(), gate.clone());
        made.peer.look = Arc::new(move |_| {
            let (looking, most, mut open) = (looking.clone(), most.clone(), gate.subscribe());
            Box::pin(async move {
                most.fetch_max(looking.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _ = open.wait_for(|it| *it).await;
                looking.fetch_sub(1, Ordering::SeqCst);
                Err("it has ended".to_owned())
            })
        });
        made
    };
    let ask = |made: Made| {
        let doors = desk.doors.clone();
        async move { instances::attest(&doors, &made.peer, turns::Asks::Anew).await }
    };
    let mut waiting = Vec::new();
    for pid in 0..u32::try_from(CALLS_LOOKED_AT_PER_USER_MAX).unwrap() {
        let mut call = Box::pin(ask(flooder(pid)));
        assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
        waiting.push(call);
    }
    assert_eq!(most.load(Ordering::SeqCst), LOOKS_PER_USER_MAX);
    let refused = ask(flooder(9999)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("wait before asking again"));
    let attested = ask(process(CLERK, 7)).await.unwrap();
    assert_eq!(attested.agent().as_str(), "clerk");
    // Whoever gives up makes room for one more.
    drop(waiting.pop());
    let mut next = Box::pin(ask(flooder(9999)));
    assert!(futures_util::FutureExt::now_or_never(&mut next).is_none());
    // A stream that is open already waits, and is not refused.
    let made = flooder(1);
    let mut again = Box::pin(instances::attest(
        &desk.doors,
        &made.peer,
        turns::Asks::Again,
    ));
    assert!(futures_util::FutureExt::now_or_never(&mut again).is_none());
    gate.send_replace(true);
    for call in waiting {
        assert_eq!(call.await.unwrap_err().code(), Code::PermissionDenied);
    }
    assert_eq!(most.load(Ordering::SeqCst), LOOKS_PER_USER_MAX);
}

/// A client that goes away takes its calls with it, whatever they wait for.
#[tokio::test]
async fn what_a_client_left_behind_is_let_go() {
    let served = Served::open(PATIENT);
    let client = served.client(&process(CLERK, 7), 65_535).await;
    let mut calls = Vec::new();
    for _ in 0..STREAMS_PER_CONNECTION_MAX {
        let mut call = client.begin("FetchX509Bundles", EMPTY).await;
        call.bundle().await;
        calls.push(call);
    }
    // One more waits for one of them.
    let mut more = client.begin("FetchX509Bundles", EMPTY).await;
    let mut heard = Box::pin(more.bundle());
    assert!(timeout(SHORT, &mut heard).await.is_err());
    calls.pop();
    heard.await;
    drop(more);
    let Client { sender, freed, .. } = client;
    drop((sender, calls));
    assert!(timeout(LONG, freed).await.unwrap().is_err());
}

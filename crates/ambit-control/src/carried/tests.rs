//! Who has places, and what becomes of what began.

use std::{
    future::{pending, poll_fn},
    io,
    net::Ipv4Addr,
    pin::pin,
    sync::atomic::AtomicUsize,
};

use axum::{
    Router, body,
    http::{Request as Ask, header},
    middleware::from_fn_with_state,
    routing::post,
};
use tokio::{
    sync::{Notify, Semaphore},
    task::unconstrained,
};
use tower::ServiceExt;

use super::{
    place::{
        CARRIED_FOR_STRANGERS_MAX, CARRIED_MAX, CARRIED_PER_ASKER_MAX, CARRIED_UNSHARED_MAX,
        SHARES_KEPT_MAX,
    },
    *,
};

type Asking = Pin<Box<dyn Future<Output = Result<(), BrokeOff>>>>;

/// A door whose requests begin and then wait until they are let.
#[derive(Default)]
struct Busy {
    carrying: Carrying,
    begun: Arc<AtomicUsize>,
    let_on: Arc<Notify>,
}

impl Busy {
    fn ask(&self, asker: Asker) -> Asking {
        let (begun, let_on) = (Arc::clone(&self.begun), Arc::clone(&self.let_on));
        let carrying = self.carrying.clone();
        Box::pin(async move {
            let work = async move {
                begun.fetch_add(1, Ordering::Relaxed);
                let_on.notified().await;
            };
            carrying.to_its_end(asker, work).await
        })
    }

    /// Has `asker` ask so often, and returns how many began.
    async fn crowd(&self, all: &mut Vec<Asking>, asker: &Asker, count: usize) -> usize {
        let before = self.begun();
        for _ in 0..count {
            let mut one = self.ask(asker.clone());
            assert!(!once(&mut one).await);
            all.push(one);
        }
        self.begun() - before
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

async fn once<F: Future + Unpin>(future: &mut F) -> bool {
    // Of a crowd each has its own connection's turn.
    let mut future = pin!(unconstrained(future));
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

fn address(number: usize) -> Asker {
    let [.., high, low] = number.to_be_bytes();
    Asker::From(Origin::Address(Ipv4Addr::new(192, 0, high, low)))
}

fn instance(name: &str) -> Asker {
    Asker::Instance(format!("spiffe://a.example/agent/{name}").parse().unwrap())
}

#[tokio::test]
async fn what_began_goes_on_and_what_waits_begins_nothing() {
    let door = Busy::default();
    let mut all = Vec::new();
    for user in 0..CARRIED_MAX / CARRIED_PER_ASKER_MAX {
        let asker = Asker::User(u32::try_from(user).unwrap());
        let begun = door.crowd(&mut all, &asker, CARRIED_PER_ASKER_MAX).await;
        assert_eq!(begun, CARRIED_PER_ASKER_MAX);
    }
    assert_eq!(door.begun(), CARRIED_MAX);
    let mut beyond = door.ask(Asker::User(99));
    assert!(!once(&mut beyond).await);
    // The askers leave, and those that had begun are not less under way.
    drop((all, beyond));
    tokio::task::yield_now().await;
    let mut last = door.ask(Asker::User(99));
    assert!(!once(&mut last).await);
    assert_eq!(door.begun(), CARRIED_MAX);
    door.let_on.notify_waiters();
    while door.begun() <= CARRIED_MAX {
        assert!(!once(&mut last).await);
        tokio::task::yield_now().await;
    }
    door.let_on.notify_waiters();
    assert_eq!(last.await, Ok(()));
    while door.carrying.0.free() < CARRIED_MAX {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn asi08_one_asker_s_requests_keep_no_other_waiting() {
    let door = Busy::default();
    let mut all = Vec::new();
    let most = CARRIED_PER_ASKER_MAX;
    assert_eq!(door.crowd(&mut all, &instance("a"), most + 1).await, most);
    let others = [instance("b"), Asker::User(1), address(1), Asker::Anybody];
    for other in others {
        assert_eq!(door.crowd(&mut all, &other, 1).await, 1, "{other:?}");
    }
    assert!(!once(all.get_mut(most).unwrap()).await, "beyond its share");
    assert_eq!(door.begun(), most + 4);
}

/// ASI08: strangers of many origins, or from this machine, leave a quarter of the places to those who are known.
#[tokio::test]
async fn asi08_strangers_leave_places_to_who_is_known() {
    let known = [
        instance("a"),
        Asker::User(1),
        Asker::Login(LoginId::from_bits(1)),
    ];
    let door = Busy::default();
    let mut all = Vec::new();
    for origin in 0..8 {
        door.crowd(&mut all, &address(origin), CARRIED_PER_ASKER_MAX)
            .await;
    }
    assert_eq!(door.begun(), CARRIED_FOR_STRANGERS_MAX);
    assert_eq!(door.crowd(&mut all, &address(99), 1).await, 0);
    for asker in &known {
        assert_eq!(door.crowd(&mut all, asker, 1).await, 1, "{asker:?}");
    }
    // Behind a proxy here everybody is one, who leaves some to strangers elsewhere.
    let door = Busy::default();
    for asker in [Asker::From(Origin::Here), Asker::Anybody] {
        door.crowd(&mut all, &asker, CARRIED_UNSHARED_MAX).await;
    }
    assert_eq!(door.begun(), CARRIED_UNSHARED_MAX);
    assert_eq!(door.crowd(&mut all, &address(1), 1).await, 1);
    // All networks of a site are one.
    let door = Busy::default();
    for network in 0..=CARRIED_PER_ASKER_MAX {
        let asker = Asker::From(Origin::Network(network as u64));
        door.crowd(&mut all, &asker, 1).await;
    }
    assert_eq!(door.begun(), CARRIED_PER_ASKER_MAX);
}

/// ASI08: who waits for what a stranger publishes holds no place, and ends when its asker leaves, then or before.
#[tokio::test]
async fn asi08_who_waits_for_others_holds_no_place() {
    let carrying = Carrying::default();
    let (came, over) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let ask = |origin: usize| {
        let (carrying, came, over) = (carrying.clone(), Arc::clone(&came), Arc::clone(&over));
        let work = async move {
            let _ended = Counted(over);
            aside(came.notified()).await;
            pending::<()>().await;
        };
        Box::pin(async move { carrying.to_its_end(address(origin), work).await })
    };
    let mut waiting: Vec<_> = (0..2 * CARRIED_MAX).map(|it| ask(it % 8)).collect();
    for one in &mut waiting {
        assert!(!once(one).await);
    }
    assert_eq!(carrying.0.free(), CARRIED_MAX);
    // What came is looked at within a place again.
    came.notify_one();
    for one in &mut waiting {
        assert!(!once(one).await);
    }
    assert_eq!(carrying.0.free(), CARRIED_MAX - 1);
    // That one may have begun something now; of the others nothing is left.
    drop(waiting);
    tokio::task::yield_now().await;
    assert_eq!(over.load(Ordering::Relaxed), 2 * CARRIED_MAX - 1);
    assert_eq!(carrying.0.free(), CARRIED_MAX - 1);
}

/// Nobody waits for what goes aside after its asker left.
#[tokio::test]
async fn what_goes_aside_alone_ends() {
    let carrying = Carrying::default();
    let (go_on, over) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let work = {
        let (go_on, over) = (Arc::clone(&go_on), Arc::clone(&over));
        async move {
            let _ended = Counted(over);
            go_on.notified().await;
            aside(pending::<()>()).await;
        }
    };
    let mut asking = Box::pin(carrying.to_its_end(Asker::User(1), work));
    assert!(!once(&mut asking).await);
    drop(asking);
    tokio::task::yield_now().await;
    assert_eq!(over.load(Ordering::Relaxed), 0, "it goes on alone");
    go_on.notify_one();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert_eq!(over.load(Ordering::Relaxed), 1);
    assert_eq!(carrying.0.free(), CARRIED_MAX);
}

/// Counts when it is let go of.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An asker may leave at every point at which the work waits: each step is done once, none is lost, and nobody polls it
/// while somebody else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asker_who_leaves_anywhere_loses_nothing() {
    const STEPS: usize = 5;
    for leaves_after in 0..=STEPS {
        let carrying = Carrying::default();
        let (steps, polled) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let gate = Arc::new(Semaphore::new(0));
        let work = {
            let (steps, gate) = (Arc::clone(&steps), Arc::clone(&gate));
            async move {
                for _ in 0..STEPS {
                    gate.acquire().await.unwrap().forget();
                    steps.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let mut work = Box::pin(work);
        let alone = poll_fn(move |context| {
            assert!(!polled.swap(true, Ordering::SeqCst), "polled twice at once");
            let told = work.as_mut().poll(context);
            polled.store(false, Ordering::SeqCst);
            told
        });
        let mut asking = Box::pin(carrying.to_its_end(Asker::User(1), alone));
        for step in 0..leaves_after {
            assert!(!once(&mut asking).await);
            gate.add_permits(1);
            let is_over = once(&mut asking).await;
            assert_eq!(is_over, step + 1 == STEPS);
            assert_eq!(steps.load(Ordering::SeqCst), step + 1);
        }
        if leaves_after == 0 {
            assert!(!once(&mut asking).await);
        }
        // It is woken as its asker leaves: whichever comes first, it goes on.
        gate.add_permits(STEPS - leaves_after);
        drop(asking);
        while carrying.0.free() < CARRIED_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(steps.load(Ordering::SeqCst), STEPS, "{leaves_after}");
    }
}

#[tokio::test]
async fn what_breaks_off_says_so() {
    let carrying = Carrying::default();
    let broken = carrying.to_its_end(Asker::Anybody, async { panic!("for a test") });
    assert_eq!(pin!(broken).await, Err::<(), _>(BrokeOff));
    // So does what breaks off after it waited, or as it is let go of; and each gives its place back.
    let later = carrying.to_its_end(Asker::Anybody, async {
        tokio::task::yield_now().await;
        panic!("for a test")
    });
    assert_eq!(pin!(later).await, Err::<(), _>(BrokeOff));
    let last = Bomb;
    let work = poll_fn(move |_| {
        let _kept = &last;
        Poll::Ready(())
    });
    assert_eq!(
        carrying.to_its_end(Asker::Anybody, work).await,
        Err(BrokeOff)
    );
    assert_eq!(carrying.0.free(), CARRIED_MAX);
    // Alone it takes nobody with it.
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let mut asking = Box::pin(carrying.to_its_end(Asker::Anybody, async move {
        waits.notified().await;
        panic!("for a test")
    }));
    let told: Poll<Result<(), BrokeOff>> =
        poll_fn(|it| Poll::Ready(asking.as_mut().poll(it))).await;
    assert!(told.is_pending());
    drop(asking);
    go_on.notify_one();
    while carrying.0.free() < CARRIED_MAX {
        tokio::task::yield_now().await;
    }
}

/// Panics when it is let go of.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("for a test");
    }
}

#[tokio::test]
async fn so_many_shares_are_remembered() {
    let places = Places::default();
    let ask = |user: usize| drop(places.place(Asker::User(u32::try_from(user).unwrap())));
    (0..SHARES_KEPT_MAX).for_each(ask);
    assert_eq!(places.shares_kept(), SHARES_KEPT_MAX);
    // Of those who have something here nothing is forgotten.
    let first = places.place(Asker::User(0));
    ask(SHARES_KEPT_MAX);
    assert_eq!(places.shares_kept(), 2);
    drop(first);
}

fn router(carrying: &Carrying) -> Router {
    let layer = from_fn_with_state((carrying.clone(), 8), carried);
    let read = async |body: String| body;
    Router::new().route("/", post(read).layer(layer))
}

/// A request of which half is there holds no place.
#[tokio::test]
async fn asi08_a_half_sent_request_holds_no_place() {
    let carrying = Carrying::default();
    let router = router(&carrying);
    let ask = |body: Body| {
        let request = Ask::post("/").body(body).unwrap();
        Box::pin(router.clone().oneshot(request))
    };
    let half = || Body::from_stream(tokio_stream::pending::<Result<&[u8], io::Error>>());
    let mut halves: Vec<_> = (0..=CARRIED_MAX).map(|_| ask(half())).collect();
    for one in &mut halves {
        assert!(!once(one).await);
    }
    assert_eq!(carrying.0.free(), CARRIED_MAX);
    let answer = ask(Body::from("12345678")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// What is too long, late or cut off is said to be that.
#[tokio::test]
async fn a_body_that_is_not_read_is_told_as_what_it_is() {
    let router = router(&Carrying::default());
    let check = async |body: Body, expected: StatusCode, code: &str| {
        let answer = router.clone().oneshot(Ask::post("/").body(body).unwrap());
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), expected, "{code}");
        let text = body::to_bytes(answer.into_body(), 1024).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains(code), "{text}");
    };
    let failing = |kind: io::ErrorKind| {
        Body::from_stream(tokio_stream::once(Err::<&[u8], _>(io::Error::from(kind))))
    };
    let in_parts = |parts: &'static [&'static str]| {
        let parts = parts.iter().map(|it| Ok::<_, io::Error>(it.as_bytes()));
        Body::from_stream(tokio_stream::iter(parts))
    };
    check(in_parts(&["1234", "5678"]), StatusCode::OK, "12345678").await;
    let (too_long, large) = (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    check(in_parts(&["1234", "56789"]), too_long, large).await;
    check(Body::from("123456789"), too_long, large).await;
    let (late, slow) = (StatusCode::REQUEST_TIMEOUT, "body_too_slow");
    check(failing(io::ErrorKind::TimedOut), late, slow).await;
    let cut = failing(io::ErrorKind::UnexpectedEof);
    check(cut, StatusCode::BAD_REQUEST, "body_incomplete").await;
}

/// Whoever announces too much need not send it, and holds nothing by it.
#[tokio::test]
async fn asi08_of_what_is_announced_as_too_long_nothing_is_read() {
    let announced = Announced(9);
    let ask = Ask::post("/").header(header::CONTENT_LENGTH, "9");
    let answer = router(&Carrying::default()).oneshot(ask.body(Body::new(announced)).unwrap());
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// A body that says how long it is, and must not be asked for more.
struct Announced(u64);

impl http_body::Body for Announced {
    type Data = body::Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<body::Bytes>, io::Error>>> {
        panic!("it was read");
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

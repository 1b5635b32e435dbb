//! Documents at their limits.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::sync::watch;

use super::{shelf::Found, *};
use crate::{foreign::ISSUER_ASKED_EVERY, heard::Heard};

const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);
const ID: &str = "https://app.example/client.json";

fn document(id: &str, more: &str) -> Vec<u8> {
    format!(r#"{{"client_id":"{id}","redirect_uris":["https://app.example/cb"]{more}}}"#)
        .into_bytes()
}

#[test]
fn a_document_ends_at_its_maxima() {
    let check = |bytes: &[u8], part: &str| match read(ID, bytes) {
        Ok(_) => assert_eq!(part, "", "{}", String::from_utf8_lossy(bytes)),
        Err(why) => {
            let why = why.to_string();
            assert!(!part.is_empty() && why.contains(part), "{why}");
        }
    };
    let padded = |length: usize| {
        let bare = document(ID, r#","x":"""#).len() - 1;
        document(ID, &format!(r#","x":"{}""#, "a".repeat(length - bare - 1)))
    };
    assert_eq!(
        padded(CLIENT_DOCUMENT_BYTES_MAX).len(),
        CLIENT_DOCUMENT_BYTES_MAX
    );
    check(&padded(CLIENT_DOCUMENT_BYTES_MAX), "");
    check(&padded(CLIENT_DOCUMENT_BYTES_MAX + 1), "can't be read");
    let several = |count: usize| {
        let all: Vec<_> = (0..count)
            .map(|it| format!("\"https://app.example/{it}\""))
            .collect();
        format!(
            r#"{{"client_id":"{ID}","redirect_uris":[{}]}}"#,
            all.join(",")
        )
        .into_bytes()
    };
    check(&several(REDIRECTS_MAX), "");
    check(&several(REDIRECTS_MAX + 1), "redirect_uris");
    let named = |count: usize| -> String {
        let name = "n".repeat(count);
        let named = document(ID, &format!(r#","client_name":"{name}""#));
        read(ID, &named).unwrap().name().to_owned()
    };
    assert_eq!(named(CLIENT_NAME_MAX), "n".repeat(CLIENT_NAME_MAX));
    assert_eq!(
        named(CLIENT_NAME_MAX + 1),
        format!("{}\u{2026}", "n".repeat(CLIENT_NAME_MAX))
    );
    for proof in [
        r#","token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}"#,
        r#","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://app.example/k""#,
        r#","jwks":{"keys":[]}"#,
        r#","token_endpoint_auth_method":"none","jwks":{"keys":[]}"#,
    ] {
        check(&document(ID, proof), "");
    }
    let both = r#","jwks":{"keys":[]},"jwks_uri":"https://app.example/k""#;
    check(&document(ID, both), "both");
    check(
        &document(ID, r#","jwks_uri":"http://app.example/k""#),
        "https://",
    );
    check(
        &document(
            ID,
            r#","jwks":{"keys":[{"kty":"EC","crv":"P-256","d":"AA"}]}"#,
        ),
        "no use",
    );
}

/// Hosts that answer with a public client's document, once they are let.
struct Hosts {
    documents: Documents,
    asked: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
    fetch: FetchDocument,
}

impl Hosts {
    /// Opens hosts whose documents have `more`.
    fn open(more: &'static str) -> Self {
        Self::open_with(more, "")
    }

    /// Opens hosts that say so of how long their documents may be kept.
    fn open_with(more: &'static str, cache_control: &'static str) -> Self {
        let (open, opened) = watch::channel(true);
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        Self {
            documents: Documents::default(),
            asked,
            open,
            fetch: Arc::new(move |url, _| {
                count.fetch_add(1, Ordering::SeqCst);
                let mut opened = opened.clone();
                Box::pin(async move {
                    let waited = opened.wait_for(|it| *it).await;
                    waited.map_err(|error| error.to_string())?;
                    if url.contains("nothing") {
                        return Err("a detail of the network".to_owned());
                    }
                    Ok(FetchedDocument {
                        bytes: document(&url, more),
                        cache_control: cache_control.to_owned(),
                    })
                })
            }),
        }
    }

    /// Opens hosts that let whoever asks wait.
    fn closed() -> Self {
        let hosts = Self::open("");
        hosts.open.send_replace(false);
        hosts
    }

    async fn find(&self, id: &str, asker: &Inquirer, wanted: Freshness, now: Timestamp) -> Found {
        let found = self.documents.find((id, asker), &self.fetch, wanted, now);
        found.await
    }

    /// Has somebody ask and leave while it is fetched: what there is no room for is said at once.
    async fn ask(&self, id: &str, asker: &Inquirer) -> Option<NotKnown> {
        let asked = self.find(id, asker, Freshness::Usual, NOW).now_or_never();
        tokio::task::yield_now().await;
        asked.and_then(Result::err)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn person(name: &(impl ToString + ?Sized)) -> Inquirer {
    Inquirer::Person(name.to_string())
}

fn stranger(network: usize) -> Inquirer {
    Inquirer::Stranger(Origin::Network((network as u64) << 16))
}

fn id(host: usize, document: usize) -> String {
    format!("https://app-{host}.example/{document}.json")
}

#[tokio::test]
async fn so_many_documents_are_remembered() {
    let hosts = Hosts::open("");
    let find = async |number: usize, now: Timestamp| {
        let asker = person(&number);
        hosts
            .find(&id(number, 1), &asker, Freshness::Usual, now)
            .await
            .unwrap();
        hosts.asked()
    };
    for number in 0..CLIENT_DOCUMENTS_MAX {
        let later = NOW.plus(Millis::new(number as u64));
        assert_eq!(find(number, later).await, number + 1);
    }
    // One that a person let in stays.
    hosts.documents.let_in(&id(1, 1));
    let later = NOW.plus(Millis::new(CLIENT_DOCUMENTS_MAX as u64));
    assert_eq!(
        find(0, later).await,
        CLIENT_DOCUMENTS_MAX,
        "it is remembered"
    );
    find(CLIENT_DOCUMENTS_MAX, later).await;
    assert_eq!(find(1, later).await, CLIENT_DOCUMENTS_MAX + 1);
    let fetched = find(0, later).await;
    assert_eq!(fetched, CLIENT_DOCUMENTS_MAX + 2, "the oldest went");
    assert_eq!(find(1, later).await, CLIENT_DOCUMENTS_MAX + 2);
}

/// One whose key is missing is asked for again, and not all the time.
#[tokio::test]
async fn a_key_that_is_missing_is_looked_for_once_a_minute() {
    let hosts = Hosts::open("");
    let find = async |wanted, now| {
        hosts.find(ID, &person("ana"), wanted, now).await.unwrap();
        hosts.asked()
    };
    assert_eq!(find(Freshness::Usual, NOW).await, 1);
    assert_eq!(find(Freshness::New, NOW).await, 1);
    let later = NOW.plus(ISSUER_ASKED_EVERY);
    assert_eq!(find(Freshness::Usual, later).await, 1);
    assert_eq!(find(Freshness::New, later).await, 2);
}

/// ASI04: whoever names an address hears nothing of what is there, and nobody asks again for a minute.
#[tokio::test]
async fn asi04_of_what_can_not_be_had_strangers_hear_one_sentence() {
    let log = Heard::begin();
    let hosts = Hosts::open("");
    let nothing = "https://app.example/nothing.json";
    let at = |millis| NOW.plus(Millis::new(millis));
    let span = CLIENT_ASKED_EVERY.as_millis();
    let mut told = Vec::new();
    for (now, asked) in [(at(0), 1), (at(span - 1), 1), (at(span), 2)] {
        told.push(
            hosts
                .find(nothing, &stranger(1), Freshness::Usual, now)
                .await
                .unwrap_err()
                .to_string(),
        );
        assert_eq!(hosts.asked(), asked);
    }
    // What is no client's document says no more, nor what is no set of keys.
    let other: FetchDocument = Arc::new(|_, _| {
        let bytes = br#"{"client_id":"secret","keys":"secret"}"#.to_vec();
        let cache_control = String::new();
        Box::pin(async {
            Ok(FetchedDocument {
                bytes,
                cache_control,
            })
        })
    });
    let documents = Documents::default();
    told.push(
        documents
            .find((ID, &stranger(1)), &other, Freshness::Usual, NOW)
            .await
            .unwrap_err()
            .to_string(),
    );
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    for detail in ["network", "secret", "client_id than"] {
        assert!(!told[0].contains(detail), "{told:?}");
    }
    let log = log.take();
    for detail in ["a detail of the network", nothing, "another client_id"] {
        assert!(log.contains(detail), "{log}");
    }
}

/// ASI04: the second address, of keys, tells as little as the first.
#[tokio::test]
async fn asi04_of_keys_that_can_not_be_had_strangers_hear_one_sentence() {
    let mut told = Vec::new();
    for jwks in [
        "https://inner.example/nothing",
        "https://inner.example/else",
    ] {
        let more = format!(r#","jwks_uri":"{jwks}""#);
        let hosts = Hosts::open(more.leak());
        let log = Heard::begin();
        told.push(
            hosts
                .find(ID, &stranger(1), Freshness::Usual, NOW)
                .await
                .unwrap_err()
                .to_string(),
        );
        assert_eq!(hosts.asked(), 2);
        assert!(!log.take().is_empty());
    }
    assert_eq!(told[0], told[1]);
    assert!(!told[0].contains("detail"), "{told:?}");
}

/// ASI08: hosts that let Ambit wait keep those out who have so many there, and nobody else.
#[tokio::test]
async fn asi08_fetches_are_shared_out() {
    let busy = Some(NotKnown::Busy);
    let hosts = Hosts::closed();
    // One origin, at many hosts.
    for number in 0..CLIENT_DOCUMENTS_PER_ASKER_MAX {
        assert_eq!(hosts.ask(&id(number, 1), &stranger(1)).await, None);
    }
    assert_eq!(hosts.ask(&id(100, 1), &stranger(1)).await, busy);
    assert_eq!(hosts.ask(&id(100, 1), &stranger(2)).await, None);
    // One host, for many origins.
    for number in 2..=CLIENT_FETCHES_PER_HOST_MAX {
        assert_eq!(hosts.ask(&id(100, number), &stranger(2)).await, None);
    }
    assert_eq!(hosts.ask(&id(100, 99), &stranger(3)).await, busy);
    // What is asked for already costs nothing.
    let asked = hosts.asked();
    assert_eq!(hosts.ask(&id(100, 1), &stranger(3)).await, None);
    assert_eq!(hosts.asked(), asked);
    // All of them together.
    for number in asked..CLIENT_FETCHES_MAX {
        assert_eq!(hosts.ask(&id(number, 2), &stranger(number)).await, None);
    }
    assert_eq!(hosts.ask(&id(200, 1), &stranger(200)).await, busy);
    let here = Inquirer::Stranger(Origin::Here);
    assert_eq!(hosts.ask(&id(200, 1), &here).await, busy);
    // People have places of their own, and so have the clients that they let in.
    let most = CLIENT_DOCUMENTS_PER_ASKER_MAX;
    for number in 0..CLIENT_FETCHES_MAX {
        let asker = person(&(number / most));
        assert_eq!(hosts.ask(&id(number, 3), &asker).await, None, "{number}");
        if number == most - 1 {
            assert_eq!(hosts.ask(&id(200, 1), &asker).await, busy);
        }
    }
    assert_eq!(hosts.ask(&id(200, 1), &person("ana")).await, busy);
    assert_eq!(hosts.asked(), 2 * CLIENT_FETCHES_MAX);
    // What came in is there for whoever asks next, though everybody left.
    hosts.open.send_replace(true);
    while locked(&hosts.documents.0).under_way() > 0 {
        tokio::task::yield_now().await;
    }
    hosts
        .find(&id(0, 1), &stranger(300), Freshness::Usual, NOW)
        .await
        .unwrap();
    assert_eq!(hosts.asked(), 2 * CLIENT_FETCHES_MAX);
    // A minute later there is room for more.
    let later = NOW.plus(CLIENT_ASKED_EVERY);
    hosts
        .find(&id(300, 1), &stranger(1), Freshness::Usual, later)
        .await
        .unwrap();
}

/// ASI08: a client that a person let act is looked up again though strangers take all their places.
#[tokio::test]
async fn asi08_strangers_keep_no_client_out_that_a_person_let_in() {
    let hosts = Hosts::open("");
    hosts
        .find(ID, &person("ana"), Freshness::Usual, NOW)
        .await
        .unwrap();
    hosts.documents.let_in(ID);
    hosts.open.send_replace(false);
    let later = NOW.plus(CLIENT_DOCUMENT_TTL);
    for number in 0..CLIENT_FETCHES_MAX {
        let (id, asker) = (id(number, 1), stranger(number));
        let found = hosts.find(&id, &asker, Freshness::Usual, later);
        assert!(found.now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let asker = stranger(999);
    let mut found = Box::pin(hosts.find(ID, &asker, Freshness::Usual, later));
    assert!(found.as_mut().now_or_never().is_none(), "it is under way");
    hosts.open.send_replace(true);
    found.await.unwrap();
}

/// ASI08: many documents whose keys are at one host are no flood there.
#[tokio::test]
async fn asi08_keys_take_a_place_at_their_host() {
    let hosts = Hosts::open(r#","jwks_uri":"https://keys.example/set""#);
    let (open, fetch) = (&hosts.open, Arc::clone(&hosts.fetch));
    // The documents come at once; the keys let whoever asks wait.
    let documents: FetchDocument = Arc::new(move |url, most| match url.contains("keys.") {
        true => fetch(url, most),
        false => Box::pin(std::future::ready(Ok(FetchedDocument {
            bytes: document(&url, r#","jwks_uri":"https://keys.example/set""#),
            cache_control: String::new(),
        }))),
    });
    open.send_replace(false);
    let all = Documents::default();
    let find = async |number: usize| {
        let (id, asker) = (id(number, 1), stranger(number));
        let found = all.find((&id, &asker), &documents, Freshness::Usual, NOW);
        let mut found = Box::pin(found);
        for _ in 0..8 {
            if let Some(found) = found.as_mut().now_or_never() {
                return Some(found.map(drop));
            }
            tokio::task::yield_now().await;
        }
        None
    };
    for number in 0..CLIENT_FETCHES_PER_HOST_MAX {
        assert_eq!(find(number).await, None);
    }
    let one_more = find(CLIENT_FETCHES_PER_HOST_MAX).await;
    assert_eq!(one_more, Some(Err(NotKnown::Busy)));
}

/// ASI08: what may not be kept is fetched no oftener for it: each fetch counts, whatever came of it.
#[tokio::test]
async fn asi08_what_may_not_be_kept_is_fetched_few_times_a_minute() {
    for keep in ["no-store", "max-age=0", "private, no-cache"] {
        let hosts = Hosts::open_with("", keep);
        let at = |millis: u64| NOW.plus(Millis::new(millis));
        let pause = CLIENT_DOCUMENT_PAUSE.as_millis();
        let find = async |network, now| {
            let asker = stranger(network);
            let found = hosts.find(ID, &asker, Freshness::Usual, now).await;
            (found.map(drop).err(), hosts.asked())
        };
        for turn in 0..100 {
            assert_eq!(find(turn, NOW).await, (None, 1), "{keep} {turn}");
        }
        // So long it is one document, whoever asks; a person has it fetched.
        assert_eq!(find(1, at(pause - 1)).await, (None, 1));
        assert_eq!(find(1, at(pause)).await, (None, 2));
        let ana = person("ana");
        let found = hosts.find(ID, &ana, Freshness::Usual, at(pause)).await;
        assert_eq!((found.map(drop).err(), hosts.asked()), (None, 3));
        // One origin has it fetched so often, and another still may.
        let most = CLIENT_DOCUMENTS_PER_ASKER_MAX as u64;
        let mut told = Vec::new();
        for turn in 2..=most + 1 {
            told.push(find(1, at(turn * pause)).await.0);
        }
        assert_eq!(told.pop(), Some(Some(NotKnown::Busy)), "{keep}");
        assert!(told.iter().all(Option::is_none), "{told:?}");
        let asked = hosts.asked();
        assert_eq!(find(300, at((most + 1) * pause)).await, (None, asked + 1));
        // A minute after the first there is room again.
        let later = at(pause + CLIENT_ASKED_EVERY.as_millis());
        assert_eq!(find(1, later).await, (None, asked + 2));
    }
}

/// ASI08: nor is one that a person let in fetched without a pause for strangers.
#[tokio::test]
async fn asi08_a_client_that_was_let_in_is_fetched_after_a_pause() {
    let hosts = Hosts::open_with("", "no-store");
    let ana = person("ana");
    let first = hosts.find(ID, &ana, Freshness::Usual, NOW).await;
    assert!(first.is_ok());
    hosts.documents.let_in(ID);
    for turn in 0..100 {
        let later = NOW.plus(Millis::new(turn * CLIENT_DOCUMENT_PAUSE.as_millis() / 10));
        let found = hosts.find(ID, &stranger(1), Freshness::New, later).await;
        assert!(found.is_ok(), "{turn}");
    }
    assert_eq!(hosts.asked(), 10);
}

/// ASI08: all strangers together have so many fetched within a minute; people have theirs.
#[tokio::test]
async fn asi08_all_strangers_have_so_many_documents_fetched() {
    let hosts = Hosts::open("");
    let find = async |number: usize, asker: &Inquirer| {
        let id = id(number, 1);
        let found = hosts.find(&id, asker, Freshness::Usual, NOW).await;
        found.map(drop).err()
    };
    let most = CLIENT_DOCUMENTS_FOR_STRANGERS_MAX;
    for number in 0..most {
        assert_eq!(find(number, &stranger(number)).await, None, "{number}");
    }
    let busy = Some(NotKnown::Busy);
    assert_eq!(find(most, &stranger(most)).await, busy);
    let here = Inquirer::Stranger(Origin::Here);
    assert_eq!(find(most, &here).await, busy);
    assert_eq!(find(most, &person("ana")).await, None);
}

/// ASI08: one host has its places however its name is written.
#[tokio::test]
async fn asi08_a_host_has_no_more_places_by_other_names() {
    let hosts = Hosts::closed();
    let names = ["a.example", "a.example:443", "a.example.", "a.example.:443"];
    let ask = async |host: &str, number: usize| {
        let id = format!("https://{host}/{number}.json");
        hosts.ask(&id, &stranger(number)).await
    };
    assert_eq!(names.len(), CLIENT_FETCHES_PER_HOST_MAX);
    for (number, name) in names.into_iter().enumerate() {
        assert_eq!(ask(name, number).await, None, "{name}");
    }
    for name in names {
        assert_eq!(ask(name, 9).await, Some(NotKnown::Busy), "{name}");
    }
    assert_eq!(ask("b.example", 9).await, None);
}

/// A fetch that broke off keeps nobody out.
#[tokio::test]
async fn a_fetch_that_broke_off_is_begun_again() {
    let hosts = Hosts::open("");
    let panics: FetchDocument = Arc::new(|_, _| panic!("it breaks off"));
    assert_eq!(
        hosts
            .documents
            .find((ID, &person("ana")), &panics, Freshness::Usual, NOW)
            .await
            .unwrap_err(),
        NotKnown::Busy
    );
    hosts
        .find(ID, &person("ana"), Freshness::Usual, NOW)
        .await
        .unwrap();
}

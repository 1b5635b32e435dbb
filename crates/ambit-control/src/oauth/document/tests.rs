//! Documents at their limits.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

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
        Err(why) => assert!(!part.is_empty() && why.contains(part), "{why}"),
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
    let named = |count: usize| {
        let name = "n".repeat(count);
        read(ID, &document(ID, &format!(r#","client_name":"{name}""#)))
            .unwrap()
            .name
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

fn fetching(count: Arc<AtomicUsize>) -> FetchDocument {
    Arc::new(move |url| {
        count.fetch_add(1, Ordering::SeqCst);
        let bytes = document(&url, "");
        Box::pin(async move {
            Ok(FetchedDocument {
                bytes,
                cache_control: String::new(),
            })
        })
    })
}

fn no_keys() -> Fetch {
    Arc::new(|_| Box::pin(async { Err("none".to_owned()) }))
}

#[tokio::test]
async fn so_many_documents_are_remembered() {
    let (documents, count) = (Documents::new(), Arc::<AtomicUsize>::default());
    let (fetch, keys) = (fetching(Arc::clone(&count)), no_keys());
    let find = async |number: usize, now: Timestamp| {
        let id = format!("https://app.example/{number}");
        let found = documents
            .find(&id, (&fetch, &keys), Freshness::Usual, now)
            .await;
        found.unwrap();
        count.load(Ordering::SeqCst)
    };
    for number in 0..CLIENT_DOCUMENTS_MAX {
        let later = NOW.plus(Millis::new(number as u64));
        assert_eq!(find(number, later).await, number + 1);
    }
    let later = NOW.plus(Millis::new(CLIENT_DOCUMENTS_MAX as u64));
    assert_eq!(
        find(0, later).await,
        CLIENT_DOCUMENTS_MAX,
        "it is remembered"
    );
    find(CLIENT_DOCUMENTS_MAX, later).await;
    let fetched = find(1, later).await;
    assert_eq!(fetched, CLIENT_DOCUMENTS_MAX + 1, "the oldest went");
    assert_eq!(find(0, later).await, CLIENT_DOCUMENTS_MAX + 2);
}

/// One whose key is missing is asked for again, and not all the time.
#[tokio::test]
async fn a_key_that_is_missing_is_looked_for_once_a_minute() {
    let (documents, count) = (Documents::new(), Arc::<AtomicUsize>::default());
    let (fetch, keys) = (fetching(Arc::clone(&count)), no_keys());
    let find = async |wanted, now| {
        documents
            .find(ID, (&fetch, &keys), wanted, now)
            .await
            .unwrap();
        count.load(Ordering::SeqCst)
    };
    assert_eq!(find(Freshness::Usual, NOW).await, 1);
    assert_eq!(find(Freshness::New, NOW).await, 1);
    let later = NOW.plus(ISSUER_ASKED_EVERY);
    assert_eq!(find(Freshness::Usual, later).await, 1);
    assert_eq!(find(Freshness::New, later).await, 2);
}

/// ASI08: strangers who name one document after another make no flood of requests.
#[tokio::test]
async fn asi08_so_many_documents_are_fetched_at_once() {
    let documents = Arc::new(Documents::new());
    let (open, opened) = tokio::sync::watch::channel(false);
    let fetch: FetchDocument = Arc::new(move |url| {
        let mut opened = opened.clone();
        Box::pin(async move {
            let waited = opened.wait_for(|it| *it).await;
            waited.map_err(|error| error.to_string())?;
            Ok(FetchedDocument {
                bytes: document(&url, ""),
                cache_control: String::new(),
            })
        })
    });
    let start = |number: usize| {
        let (documents, fetch) = (Arc::clone(&documents), Arc::clone(&fetch));
        tokio::spawn(async move {
            let id = format!("https://app.example/{number}");
            let found = documents
                .find(&id, (&fetch, &no_keys()), Freshness::Usual, NOW)
                .await;
            found.map(|_| ())
        })
    };
    let waiting: Vec<_> = (0..CLIENT_FETCHES_MAX).map(start).collect();
    while documents.fetching.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = start(CLIENT_FETCHES_MAX).await.unwrap().unwrap_err();
    assert!(refused.contains("try again"), "{refused}");
    open.send(true).unwrap();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
}

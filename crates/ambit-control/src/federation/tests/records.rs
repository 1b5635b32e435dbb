//! What the log tells of bundles: changes, and nothing else.

use ambit_core::{
    bundle::{BundleFact, BundleProfile, BundleRefusal},
    record::{Body, Record},
};

use super::*;

impl Desk {
    /// Returns what the log says of bundles, in short.
    fn told(&self) -> Vec<String> {
        let records = self.world.records();
        records.iter().filter_map(fact).map(short).collect()
    }
}

fn fact(record: &Record) -> Option<&BundleFact> {
    let Body::Bundle(fact) = &record.body else {
        return None;
    };
    Some(fact)
}

fn short(fact: &BundleFact) -> String {
    let number = |it: &Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
    assert_eq!(*fact.trust_domain(), domain());
    match fact {
        BundleFact::Believed {
            profile,
            sequence,
            before,
            ..
        } => {
            assert_eq!(*profile, BundleProfile::Web);
            format!("{} after {}", number(sequence), number(before))
        }
        BundleFact::Refused {
            why,
            sequence,
            before,
            document,
            ..
        } => {
            assert_eq!(document.is_none(), *why == BundleRefusal::Unavailable);
            let (why, sequence, before) = (why.as_str(), number(sequence), number(before));
            format!("{why} {sequence}, {before} stays")
        }
        BundleFact::Lapsed { sequence, .. } => format!("{} lapsed", number(sequence)),
    }
}

#[test]
fn what_is_believed_is_on_the_record_before_it_is() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    let text = document(&keys, 5, 300);
    desk.publish(text.clone());
    desk.refresh();
    let digest = Digest::of(text.as_bytes());
    let records = desk.world.records();
    let found = records.iter().find_map(fact);
    let expected = BundleFact::Believed {
        trust_domain: domain(),
        profile: BundleProfile::Web,
        document: digest,
        sequence: Some(5),
        before: None,
    };
    assert_eq!(found, Some(&expected));
    // The same again is no change, however often it is said, nor is a restart.
    for _ in 0..5 {
        desk.after(BUNDLE_REFRESH_DEFAULT);
    }
    assert_eq!(desk.told(), ["5 after -"]);
    let mut again = Desk::open_with(web(), desk.kept.clone());
    again.publish(text);
    again.refresh();
    assert!(again.told().is_empty());
    again.publish(document(&keys, 9, 300));
    again.after(BUNDLE_REFRESH_DEFAULT);
    assert_eq!(again.told(), ["9 after 5"]);
}

#[test]
fn what_is_refused_is_told_once_for_each_reason() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.refresh();
    assert_eq!(desk.told(), ["unavailable -, - stays"]);
    desk.publish(document(&keys, 5, 60));
    desk.after(BUNDLE_REFRESH_MIN);
    // An endpoint that says something else each minute, for an hour: what is told stays little.
    for round in 0..60 {
        match round % 4 {
            0 => desk.publish(document(&keys, 4, 60)),
            1 => desk.publish(document(&keys, 5, 60)),
            2 => desk.publish(format!("{{\"keys\":{round}}}")),
            _ => desk.is_down(),
        }
        desk.after(BUNDLE_REFRESH_MIN);
        assert_eq!(desk.believed(), Some(5));
    }
    let mut expected = vec![
        "unavailable -, - stays",
        "5 after -",
        "rollback 4, 5 stays",
        "malformed -, 5 stays",
        "unavailable -, 5 stays",
    ];
    assert_eq!(desk.told(), expected);
    // Another document that is believed begins anew.
    desk.publish(document(&keys, 6, 60));
    desk.after(BUNDLE_REFRESH_MIN);
    desk.publish(document(&keys, 4, 60));
    desk.after(BUNDLE_REFRESH_MIN);
    expected.extend(["6 after 5", "rollback 4, 6 stays"]);
    assert_eq!(desk.told(), expected);
}

#[test]
fn a_bundle_that_grew_too_old_is_told_to_be_over_and_to_be_back() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.publish(document(&keys, 5, 300));
    desk.refresh();
    desk.is_down();
    desk.after(BUNDLE_STALE_MAX);
    assert_eq!(desk.believed(), None);
    desk.after(BUNDLE_REFRESH_MIN);
    desk.after(BUNDLE_REFRESH_MIN);
    let lapsed = ["5 after -", "5 lapsed", "unavailable -, 5 stays"];
    assert_eq!(desk.told(), lapsed);
    desk.publish(document(&keys, 5, 300));
    desk.after(BUNDLE_REFRESH_MIN);
    assert_eq!(desk.believed(), Some(5));
    assert_eq!(desk.told().last().map(String::as_str), Some("5 after 5"));
}

#[test]
fn what_can_not_be_written_down_is_not_believed() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.publish(document(&keys, 5, 300));
    drop(desk.world.take_sequencer());
    futures_util::FutureExt::now_or_never(refresh_bundles(&desk.doors)).unwrap();
    assert_eq!(desk.asked.lock().unwrap().len(), 1);
    assert_eq!(desk.believed(), None);
    assert!(desk.kept.lock().unwrap().is_empty());
}

/// One endpoint that takes its time does not keep what another one took back in force.
#[test]
fn a_slow_endpoint_holds_up_no_other_domain() {
    let keys = partner(20);
    let mut desk = Desk::open(web());
    desk.publish(document(&keys, 5, 300));
    desk.refresh();
    let name: FederationName = "slow".parse().unwrap();
    desk.estate.federations.insert(
        name.clone(),
        Federation {
            name,
            trust_domain: "slow.example".parse().unwrap(),
            source: BundleSource::Web {
                url: "https://slow.example/bundle".to_owned(),
            },
        },
    );
    desk.estate.digest = Digest::of(b"another");
    desk.apply();
    let published = desk.published.clone();
    desk.control.federation.fetch = Arc::new(move |ask| {
        let found = published.lock().unwrap().clone();
        let is_slow = ask.url.contains("slow");
        Box::pin(async move {
            if is_slow {
                std::future::pending::<()>().await;
            }
            found.map(String::into_bytes)
        })
    });
    desk.doors = Doors::new(desk.control.clone());
    desk.publish("{\"keys\":[],\"spiffe_sequence\":6}");
    desk.world.clock.advance(BUNDLE_REFRESH_DEFAULT);
    let doors = desk.doors.clone();
    let control = desk.control.clone();
    desk.world.run(async move {
        let mut news = control.federation.in_force.subscribe();
        let is_new = news.wait_for(|it| {
            let bundle = it.bundle(&domain());
            bundle.is_some_and(|it| it.sequence() == 6)
        });
        tokio::select! {
            () = refresh_bundles(&doors) => panic!("the slow one answered"),
            found = is_new => drop(found.unwrap()),
        }
    });
}

//! What a trust domain said before: whether it still counts.

use super::*;

impl Desk {
    /// Says whether a word that the domain gave at `since` still counts.
    #[track_caller]
    fn vouches(&self, since: Timestamp, expected: &str) {
        let found = self.control.federated();
        let found = found.vouches(&WORKLOAD.parse().unwrap(), since, &self.estate);
        match found {
            Ok(agent) => assert_eq!((agent.as_str(), expected), ("clerk", "")),
            Err(error) => {
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains(expected), "{error}");
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}

const GONE: &str = "does not believe partner.example as it did";

#[test]
fn nhi07_what_was_said_before_a_key_left_counts_no_more() {
    let (old, new) = (partner(20), partner(30));
    let mut desk = Desk::open(web());
    let before = desk.now();
    desk.vouches(before, GONE);
    desk.publish(document(&old, 5, 60));
    desk.refresh();
    desk.vouches(before, "");
    // A key more takes nothing back; one less does.
    let both = old.prepare(
        PairChance {
            x509: [40; 32],
            jwt: [41; 32],
        },
        desk.now(),
    );
    desk.publish(document(&both.unwrap(), 6, 60));
    desk.after(BUNDLE_REFRESH_MIN);
    desk.vouches(before, "");
    desk.publish(document(&new, 7, 60));
    desk.after(BUNDLE_REFRESH_MIN);
    desk.vouches(before, GONE);
    desk.vouches(desk.now(), GONE);
    let after = desk.now().plus(Millis::new(1));
    desk.vouches(after, "");
    // Also after a restart, and when the same is said again.
    let mut again = Desk::open_with(web(), desk.kept.clone());
    again.world.clock.advance(Millis::from_seconds(130));
    again.publish(document(&new, 7, 60));
    again.refresh();
    again.vouches(before, GONE);
    again.vouches(after, "");
}

#[test]
fn nhi07_another_source_of_the_bundle_takes_back_what_was_said() {
    let (old, new) = (partner(20), partner(30));
    let mut desk = Desk::open(BundleSource::Given(document(&old, 1, 300)));
    desk.refresh();
    let before = desk.now();
    desk.vouches(before, "");
    for source in [BundleSource::Given(document(&new, 1, 300)), web()] {
        desk.world.clock.advance(Millis::from_seconds(10));
        for federation in desk.estate.federations.values_mut() {
            federation.source = source.clone();
        }
        desk.estate.digest = Digest::of(format!("{source}").as_bytes());
        desk.apply();
        desk.publish(document(&old, 1, 300));
        desk.refresh();
        desk.vouches(before, GONE);
        desk.vouches(desk.now().plus(Millis::new(1)), "");
    }
    // The estate registers the workload no more.
    for agent in desk.estate.agents.values_mut() {
        agent.svids.clear();
    }
    desk.vouches(desk.now().plus(Millis::new(1)), "no agent is registered");
}

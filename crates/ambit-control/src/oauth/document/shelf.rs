//! Which documents were asked for, by whom, and what came: kept for a while, fetched once at a time, and shared out.

use std::collections::{BTreeMap, VecDeque};

use ambit_core::{Millis, Timestamp, origin::Share};
use tokio::sync::watch;

use super::{Fetched, Inquirer, KnownClient, NotKnown, host};
use crate::foreign::{Freshness, ISSUER_ASKED_EVERY};

/// The most documents that are remembered.
pub const CLIENT_DOCUMENTS_MAX: usize = 1024;
/// The most documents that are fetched at once for people and for clients that one let act, and as many for all others.
pub const CLIENT_FETCHES_MAX: usize = 32;
/// The most of them that come from one host.
pub const CLIENT_FETCHES_PER_HOST_MAX: usize = 4;
/// The most fetches of documents that one person, or one origin of strangers, causes within [`CLIENT_ASKED_EVERY`], whatever
/// comes of them. All IPv6 networks of one site (48 bits) are one origin.
pub const CLIENT_DOCUMENTS_PER_ASKER_MAX: usize = 8;
/// The most that all strangers cause within [`CLIENT_ASKED_EVERY`].
pub const CLIENT_DOCUMENTS_FOR_STRANGERS_MAX: usize = 1024;
/// How long no stranger has a document fetched again, also one that may not be kept: whoever asks within it hears what the
/// last fetch found, as those do who ask while it is under way.
pub const CLIENT_DOCUMENT_PAUSE: Millis = Millis::from_seconds(2);
/// How long nobody asks again for a document that could not be had.
pub const CLIENT_ASKED_EVERY: Millis = Millis::from_seconds(60);

/// What came of a fetch.
pub(super) type Found = Result<KnownClient, NotKnown>;

/// The documents that were asked for.
#[derive(Default)]
pub(super) struct Shelf {
    entries: BTreeMap<String, Entry>,
    /// Who caused the fetches that are counted, and when.
    caused: VecDeque<(Timestamp, Inquirer)>,
}

/// What it takes to settle a fetch. Dropped before, the fetch broke off.
pub(super) struct Fetching {
    since: Timestamp,
    found: watch::Sender<Option<Found>>,
}

/// What there is of a document.
pub(super) enum Look {
    /// It is kept.
    Known(Box<KnownClient>),
    /// It is being fetched.
    UnderWay(watch::Receiver<Option<Found>>),
    /// Whoever looks fetches it.
    Fetch(Fetching, watch::Receiver<Option<Found>>),
}

struct Entry {
    client: Whose,
    kept: Option<Kept>,
    /// When it was asked for last, and what came.
    at: Timestamp,
    came: Came,
}

struct Kept {
    client: KnownClient,
    since: Timestamp,
    until: Timestamp,
}

enum Came {
    UnderWay(Flight),
    Refused(NotKnown),
    /// A document that may not be kept.
    Passing(Box<KnownClient>),
    /// A document that is kept, or nobody looked in the end.
    Nothing,
}

struct Flight {
    lane: Lane,
    hosts: Vec<String>,
    found: watch::Receiver<Option<Found>>,
}

/// Whose client a document describes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Whose {
    /// Nobody's yet.
    Strange,
    /// A person let it act.
    LetIn,
}

/// For whom documents are fetched: who fills the one takes no place of the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lane {
    People,
    Strangers,
}

impl Shelf {
    /// Says what there is of a document, and takes the place of a fetch where one is needed. One of whose keys is missing is
    /// asked for again, but not all the time.
    pub(super) fn look(
        &mut self,
        (client_id, asker): (&str, &Inquirer),
        wanted: Freshness,
        now: Timestamp,
    ) -> Result<Look, NotKnown> {
        let entry = self.entries.get(client_id);
        let kept = entry.and_then(|it| it.kept(now));
        if let Some(kept) = kept
            && (wanted == Freshness::Usual || now.since(kept.since) < ISSUER_ASKED_EVERY)
        {
            return Ok(Look::Known(Box::new(kept.client.clone())));
        }
        match entry.map(|it| (&it.came, now.since(it.at))) {
            Some((Came::UnderWay(flight), _)) if flight.is_live() => {
                return Ok(Look::UnderWay(flight.found.clone()));
            }
            Some((Came::Refused(why), age)) if age < CLIENT_ASKED_EVERY => {
                let kept = kept.map(|it| Look::Known(Box::new(it.client.clone())));
                return kept.ok_or_else(|| why.clone());
            }
            Some((came, age)) if age < CLIENT_DOCUMENT_PAUSE && is_stranger(asker) => {
                return match came {
                    Came::Passing(client) => Ok(Look::Known(client.clone())),
                    Came::UnderWay(_) | Came::Refused(_) | Came::Nothing => Err(NotKnown::Busy),
                };
            }
            Some(_) | None => {}
        }
        let client = entry.map_or(Whose::Strange, |it| it.client);
        let lane = self.room((client, asker), &host(client_id), now)?;
        Ok(self.begin(client_id, lane, now))
    }

    /// Takes a place at another host for a fetch that is under way.
    pub(super) fn goes_on_to(&mut self, client_id: &str, host: &str) -> Result<(), NotKnown> {
        let flight = self.entries.get(client_id).and_then(Entry::flight);
        let Some(flight) = flight.filter(|it| !it.hosts.iter().any(|it| it == host)) else {
            return Ok(());
        };
        self.check_host(flight.lane, host)?;
        if let Some(Came::UnderWay(flight)) = self.entries.get_mut(client_id).map(|it| &mut it.came)
        {
            flight.hosts.push(host.to_owned());
        }
        Ok(())
    }

    /// Keeps what a fetch found as long as that is believed, and a refusal for [`CLIENT_ASKED_EVERY`]; tells who waits.
    pub(super) fn settle(
        &mut self,
        client_id: &str,
        fetching: Fetching,
        found: Result<Fetched, NotKnown>,
    ) {
        let Fetching {
            since: now,
            found: waiting,
        } = fetching;
        if let Some(entry) = self.entries.get_mut(client_id) {
            entry.came = match &found {
                Ok((client, ttl)) => {
                    entry.kept = ttl.map(|ttl| Kept {
                        client: client.clone(),
                        since: now,
                        until: now.plus(ttl),
                    });
                    match ttl {
                        Some(_) => Came::Nothing,
                        None => Came::Passing(Box::new(client.clone())),
                    }
                }
                Err(NotKnown::Busy) => Came::Nothing,
                Err(why @ NotKnown::Refused(_)) => Came::Refused(why.clone()),
            };
        }
        // Everybody may have left.
        let _ = waiting.send(Some(found.map(|(client, _)| client)));
    }

    /// Remembers that a person let this client act.
    pub(super) fn let_in(&mut self, client_id: &str) {
        if let Some(entry) = self.entries.get_mut(client_id) {
            entry.client = Whose::LetIn;
        }
    }

    /// Says in whose lane there is room to fetch a document for `asker`, and counts it.
    fn room(
        &mut self,
        (client, asker): (Whose, &Inquirer),
        host: &str,
        now: Timestamp,
    ) -> Result<Lane, NotKnown> {
        self.forget_caused(now);
        let (lane, share) = match (client, asker) {
            (_, Inquirer::Person(_)) => (Lane::People, self.share(asker)),
            // There are only so many of those, and each is fetched once at a time, and after a pause.
            (Whose::LetIn, Inquirer::Stranger(_)) => (Lane::People, Share::Free),
            (Whose::Strange, Inquirer::Stranger(_)) => (Lane::Strangers, self.share(asker)),
        };
        let flights = self.flights().filter(|it| it.lane == lane).count();
        if share == Share::Taken || flights >= CLIENT_FETCHES_MAX {
            return Err(NotKnown::Busy);
        }
        self.check_host(lane, host)?;
        match (client, asker) {
            (Whose::LetIn, Inquirer::Stranger(_)) => {}
            (_, Inquirer::Person(_)) | (Whose::Strange, Inquirer::Stranger(_)) => {
                self.caused.push_back((now, counted(asker)));
            }
        }
        Ok(lane)
    }

    /// Says whether `asker` may cause one more fetch.
    fn share(&self, asker: &Inquirer) -> Share {
        let asker = counted(asker);
        let taken = self.caused.iter().filter(|(_, by)| *by == asker).count();
        let most = CLIENT_DOCUMENTS_PER_ASKER_MAX;
        match asker {
            Inquirer::Person(_) if taken < most => Share::Free,
            Inquirer::Person(_) => Share::Taken,
            Inquirer::Stranger(origin) => {
                let all = self.caused.iter().filter(|(_, by)| is_stranger(by));
                match all.count() < CLIENT_DOCUMENTS_FOR_STRANGERS_MAX {
                    true => origin.share(taken, most),
                    false => Share::Taken,
                }
            }
        }
    }

    fn forget_caused(&mut self, now: Timestamp) {
        self.caused
            .retain(|(at, _)| now.since(*at) < CLIENT_ASKED_EVERY);
    }

    fn check_host(&self, lane: Lane, host: &str) -> Result<(), NotKnown> {
        let of_lane = self.flights().filter(|it| it.lane == lane);
        let there = of_lane.filter(|it| it.hosts.iter().any(|it| it == host));
        match there.count() < CLIENT_FETCHES_PER_HOST_MAX {
            true => Ok(()),
            false => Err(NotKnown::Busy),
        }
    }

    fn begin(&mut self, client_id: &str, lane: Lane, now: Timestamp) -> Look {
        self.make_room(client_id, now);
        let (sender, found) = watch::channel(None);
        let came = Came::UnderWay(Flight {
            lane,
            hosts: vec![host(client_id)],
            found: found.clone(),
        });
        match self.entries.get_mut(client_id) {
            Some(entry) => (entry.at, entry.came) = (now, came),
            None => {
                let entry = Entry {
                    client: Whose::Strange,
                    kept: None,
                    at: now,
                    came,
                };
                self.entries.insert(client_id.to_owned(), entry);
            }
        }
        let fetching = Fetching {
            since: now,
            found: sender,
        };
        Look::Fetch(fetching, found)
    }

    /// Forgets what is of no use any more, and for one more the one that is believed the shortest: of strangers first.
    fn make_room(&mut self, client_id: &str, now: Timestamp) {
        self.entries.retain(|_, it| it.is_of_use(now));
        if self.entries.contains_key(client_id) || self.entries.len() < CLIENT_DOCUMENTS_MAX {
            return;
        }
        let settled = self.entries.iter().filter(|(_, it)| it.flight().is_none());
        let first = settled.min_by_key(|(_, it)| {
            let until = it.kept.as_ref().map_or(it.at, |it| it.until);
            (it.client, until)
        });
        let first = first.map(|(id, _)| id.clone());
        first.and_then(|it| self.entries.remove(&it));
    }

    fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.entries.values().filter_map(Entry::flight)
    }
}

impl Entry {
    fn kept(&self, now: Timestamp) -> Option<&Kept> {
        self.kept.as_ref().filter(|it| now < it.until)
    }

    fn flight(&self) -> Option<&Flight> {
        match &self.came {
            Came::UnderWay(flight) if flight.is_live() => Some(flight),
            Came::UnderWay(_) | Came::Refused(_) | Came::Passing(_) | Came::Nothing => None,
        }
    }

    fn is_of_use(&self, now: Timestamp) -> bool {
        self.client == Whose::LetIn
            || self.flight().is_some()
            || self.kept(now).is_some()
            || now.since(self.at) < CLIENT_ASKED_EVERY
    }
}

impl Flight {
    /// One whose fetching was dropped will never be settled.
    fn is_live(&self) -> bool {
        self.found.has_changed().is_ok()
    }
}

/// Returns as whom somebody is counted.
fn counted(asker: &Inquirer) -> Inquirer {
    match asker {
        Inquirer::Person(name) => Inquirer::Person(name.clone()),
        Inquirer::Stranger(origin) => Inquirer::Stranger(origin.crowd()),
    }
}

const fn is_stranger(asker: &Inquirer) -> bool {
    match asker {
        Inquirer::Person(_) => false,
        Inquirer::Stranger(_) => true,
    }
}

#[cfg(test)]
impl Shelf {
    /// Returns how many fetches are under way.
    pub(super) fn under_way(&self) -> usize {
        self.flights().count()
    }
}

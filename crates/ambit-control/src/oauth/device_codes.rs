//! Command lines that wait for a person's yes (RFC 8628), in memory and for a short while.

use std::collections::BTreeMap;

use ambit_core::{
    Digest, Millis, Timestamp,
    origin::{Origin, Share},
};
use ambit_engine::{LoginGrant, Moment};
use ambit_identity::jose::base64url;
use tokio::sync::watch;

use crate::visible::visible;

/// How long a person may take to say yes.
pub const DEVICE_CODE_TTL: Millis = Millis::from_seconds(600);
/// How many command lines wait at once.
pub const DEVICE_CODES_MAX: usize = 4096;
/// How many of them come from one origin.
pub const DEVICE_CODES_PER_ORIGIN_MAX: usize = 64;
/// How long a command line waits between two questions; each that comes too soon adds as much.
pub const DEVICE_POLL_EVERY: Millis = Millis::from_seconds(2);
/// How many characters of a code people type: of 20 letters each, so 34 bits.
pub const USER_CODE_CHARACTERS: usize = 8;
/// How many wrong codes one person may type within [`DEVICE_CODE_TTL`], and as many more may come by links.
pub const WRONG_CODES_PER_PERSON_MAX: usize = 10;
/// The longest name that a command line gives itself, in characters.
pub const DEVICE_NAME_CHARACTERS_MAX: usize = 80;

/// The command lines that wait.
#[derive(Default)]
pub(crate) struct DeviceCodes {
    waiting: BTreeMap<Digest, Waiting>,
    wrong: BTreeMap<(String, Entered), Vec<Timestamp>>,
}

/// How a code came.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Entered {
    /// With a form of ours, which the person sent.
    ByForm,
    /// With a link, which any page can have the person's browser follow: it takes none of the tries with forms.
    ByLink,
}

struct Waiting {
    user_code: String,
    /// The key that its login will be bound to.
    key: Digest,
    device: String,
    origin: Origin,
    until: Timestamp,
    next_poll_at: Timestamp,
    poll_every: Millis,
    standing: Standing,
}

enum Standing {
    /// Nobody has answered.
    Open,
    /// This person is saying yes just now. It is closed when that is over, however.
    UnderWay(String, watch::Receiver<()>),
    Refused,
    /// This person said yes.
    Granted(String, LoginGrant),
}

/// The answer of one person that is under way: to be settled. Dropped otherwise, somebody may try again.
pub(crate) struct Answering {
    user_code: String,
    person: String,
    _open: watch::Sender<()>,
}

/// Whether a person said yes to a command line before.
pub(crate) enum Before {
    No,
    /// They are saying it just now; this ends with that.
    UnderWay(watch::Receiver<()>),
    Yes,
}

/// What a command line is told when it begins.
pub(crate) struct Begun {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
}

/// What a person sees of a command line before they answer.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    /// The code, as it is shown.
    pub(crate) user_code: String,
    /// What the command line says of itself.
    pub(crate) device: String,
    /// The key that its login will be bound to.
    pub(crate) key: Digest,
}

/// Too many command lines wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TooManyWait {
    #[error("{DEVICE_CODES_MAX} command lines wait for a person; try again in some minutes")]
    InAll,
    #[error(
        "{DEVICE_CODES_PER_ORIGIN_MAX} command lines of this network wait for a person; try again in some minutes"
    )]
    FromThere,
}

/// Why a command line has no login yet, or never will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotYet {
    Unknown,
    Pending,
    SlowDown,
    Expired,
    Refused,
}

/// Why a typed code leads nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum WrongCode {
    #[error(
        "no command line waits with this code, or no longer; compare it with what the terminal shows"
    )]
    Unknown,
    #[error("too many wrong codes were typed; wait ten minutes and run `ambit login` again")]
    TooMany,
}

impl DeviceCodes {
    /// Lets a command line wait that proved to hold `key` and calls itself `device`.
    pub(crate) fn begin(
        &mut self,
        (key, origin): (Digest, Origin),
        device: &str,
        moment: &Moment,
    ) -> Result<Begun, TooManyWait> {
        let now = moment.now;
        // What is over stays for a moment, so that its command line hears that it is.
        self.waiting.retain(|_, it| now < it.until.plus(REMEMBERED));
        if self.waiting.len() >= DEVICE_CODES_MAX {
            return Err(TooManyWait::InAll);
        }
        let theirs = self.waiting.values().filter(|it| it.origin == origin);
        if origin.share(theirs.count(), DEVICE_CODES_PER_ORIGIN_MAX) == Share::Taken {
            return Err(TooManyWait::FromThere);
        }
        let user_code = self.fresh_code(&moment.chance).ok_or(TooManyWait::InAll)?;
        let secret = Digest::of_parts(&[b"ambit device code v1\0", &moment.chance]);
        let device_code = base64url::encode(secret.as_bytes());
        let device: String = device.chars().take(DEVICE_NAME_CHARACTERS_MAX).collect();
        let waiting = Waiting {
            user_code: user_code.clone(),
            key,
            origin,
            device: visible(&device),
            until: now.plus(DEVICE_CODE_TTL),
            next_poll_at: now,
            poll_every: DEVICE_POLL_EVERY,
            standing: Standing::Open,
        };
        self.waiting
            .insert(Digest::of(device_code.as_bytes()), waiting);
        Ok(Begun {
            device_code,
            user_code: shown(&user_code),
        })
    }

    /// Says whether a command line has this code, which was given to the holder of `key`.
    pub(crate) fn find(&self, device_code: &str, key: Digest) -> Result<(), NotYet> {
        let found = self.waiting.get(&Digest::of(device_code.as_bytes()));
        let found = found.filter(|it| it.key == key);
        found.map(|_| ()).ok_or(NotYet::Unknown)
    }

    /// Answers the command line that asks with its code and proved to hold `key`. A yes or a no is told once.
    pub(crate) fn poll(
        &mut self,
        device_code: &str,
        key: Digest,
        now: Timestamp,
    ) -> Result<LoginGrant, NotYet> {
        let name = Digest::of(device_code.as_bytes());
        let found = self.waiting.get_mut(&name).filter(|it| it.key == key);
        let found = found.ok_or(NotYet::Unknown)?;
        if now < found.next_poll_at {
            let millis = found.poll_every.as_millis() + DEVICE_POLL_EVERY.as_millis();
            found.poll_every = Millis::new(millis);
            found.next_poll_at = now.plus(found.poll_every);
            return Err(NotYet::SlowDown);
        }
        // Networks are faster at times than at others.
        let least = found.poll_every.as_millis().saturating_sub(JITTER_MILLIS);
        found.next_poll_at = now.plus(Millis::new(least));
        match &found.standing {
            Standing::Open | Standing::UnderWay(..) if now < found.until => Err(NotYet::Pending),
            Standing::Open | Standing::UnderWay(..) => {
                self.waiting.remove(&name);
                Err(NotYet::Expired)
            }
            Standing::Refused => {
                self.waiting.remove(&name);
                Err(NotYet::Refused)
            }
            Standing::Granted(_, grant) => {
                let grant = grant.clone();
                self.waiting.remove(&name);
                Ok(grant)
            }
        }
    }

    /// Returns the command line whose code `person` typed, or came with.
    pub(crate) fn look(
        &mut self,
        person: &str,
        (typed, entered): (&str, Entered),
        now: Timestamp,
    ) -> Result<Claimed, WrongCode> {
        self.wrong.retain(|_, at| {
            at.retain(|it| now < it.plus(DEVICE_CODE_TTL));
            !at.is_empty()
        });
        let tries = (person.to_owned(), entered);
        let wrong = self.wrong.get(&tries).map_or(0, Vec::len);
        if wrong >= WRONG_CODES_PER_PERSON_MAX {
            return Err(WrongCode::TooMany);
        }
        let code = plain(typed);
        match self.open(&code, now) {
            Some(found) => Ok(Claimed {
                user_code: shown(&found.user_code),
                device: found.device.clone(),
                key: found.key,
            }),
            None => {
                self.wrong.entry(tries).or_default().push(now);
                Err(WrongCode::Unknown)
            }
        }
    }

    /// Says whether `person` said yes to the command line of this code before: who clicks twice means one yes.
    pub(crate) fn before(&self, person: &str, typed: &str, now: Timestamp) -> Before {
        let code = plain(typed);
        let mut waiting = self.waiting.values().filter(|it| now < it.until);
        let Some(found) = waiting.find(|it| it.user_code == code) else {
            return Before::No;
        };
        match &found.standing {
            Standing::UnderWay(by, settled) if by == person && settled.has_changed().is_ok() => {
                Before::UnderWay(settled.clone())
            }
            Standing::Granted(by, _) if by == person => Before::Yes,
            Standing::Open | Standing::UnderWay(..) | Standing::Refused | Standing::Granted(..) => {
                Before::No
            }
        }
    }

    /// Takes the command line of this code, so that one person answers it once.
    pub(crate) fn take(
        &mut self,
        person: &str,
        user_code: &str,
        now: Timestamp,
    ) -> Result<Answering, WrongCode> {
        let code = plain(user_code);
        let found = self.open(&code, now).ok_or(WrongCode::Unknown)?;
        let (open, settled) = watch::channel(());
        found.standing = Standing::UnderWay(person.to_owned(), settled);
        Ok(Answering {
            user_code: code,
            person: person.to_owned(),
            _open: open,
        })
    }

    /// Says no to the command line of this code.
    pub(crate) fn refuse(&mut self, user_code: &str, now: Timestamp) -> Result<(), WrongCode> {
        let found = self.open(&plain(user_code), now);
        found.ok_or(WrongCode::Unknown)?.standing = Standing::Refused;
        Ok(())
    }

    /// Ends what [`take`](Self::take) began: with a login, or with nothing, and then somebody may try again.
    pub(crate) fn settle(&mut self, answering: Answering, grant: Option<LoginGrant>) {
        let mut taken = self
            .waiting
            .values_mut()
            .filter(|it| matches!(it.standing, Standing::UnderWay(..)));
        if let Some(found) = taken.find(|it| it.user_code == answering.user_code) {
            let yes = |it| Standing::Granted(answering.person, it);
            found.standing = grant.map_or(Standing::Open, yes);
        }
    }

    fn open(&mut self, code: &str, now: Timestamp) -> Option<&mut Waiting> {
        let mut open = self.waiting.values_mut().filter(|it| now < it.until);
        open.find(|it| {
            let open = match &it.standing {
                Standing::Open => true,
                // An answer that broke off is none.
                Standing::UnderWay(_, settled) => settled.has_changed().is_err(),
                Standing::Refused | Standing::Granted(..) => false,
            };
            open && it.user_code == code
        })
    }

    /// Returns a code that nobody has: none in the rare case that several draws are taken.
    fn fresh_code(&self, chance: &[u8; 32]) -> Option<String> {
        (0..DRAWS)
            .map(|draw| {
                letters(&Digest::of_parts(&[
                    b"ambit user code v1\0",
                    &[draw],
                    chance,
                ]))
            })
            .find(|code| {
                code.len() == USER_CODE_CHARACTERS
                    && self.waiting.values().all(|it| it.user_code != *code)
            })
    }
}

/// Returns letters, each as likely as the others: bytes that would favour some are left out.
fn letters(chance: &Digest) -> String {
    let fair = chance.as_bytes().iter().filter(|it| **it < FAIR_BELOW);
    let letters = fair.filter_map(|it| LETTERS.get(usize::from(it % 20)));
    let letters = letters.map(|it| char::from(*it));
    letters.take(USER_CODE_CHARACTERS).collect()
}

/// Returns a code as people read it: in two halves.
fn shown(code: &str) -> String {
    let half = USER_CODE_CHARACTERS / 2;
    let (first, second): (Vec<_>, Vec<_>) = code.chars().enumerate().partition(|it| it.0 < half);
    let text = |half: Vec<(usize, char)>| half.into_iter().map(|it| it.1).collect::<String>();
    format!("{}-{}", text(first), text(second))
}

/// Returns a code as it is compared, however it was typed.
fn plain(typed: &str) -> String {
    let letters = typed.chars().filter(char::is_ascii_alphabetic);
    let letters = letters.take(USER_CODE_CHARACTERS + 1);
    letters.map(|it| it.to_ascii_uppercase()).collect()
}

/// Without vowels no code is a word, and none of these is taken for a digit (RFC 8628 §6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// The largest multiple of 20 that a byte can reach.
const FAIR_BELOW: u8 = 240;
const DRAWS: u8 = 8;
const JITTER_MILLIS: u64 = 500;
const REMEMBERED: Millis = Millis::from_seconds(60);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);

    fn at(millis: u64) -> Timestamp {
        NOW.plus(Millis::new(millis))
    }

    fn key() -> Digest {
        Digest::of(b"key")
    }

    fn moment(now: Timestamp, chance: [u8; 32]) -> Moment {
        let wall = now;
        Moment { now, wall, chance }
    }

    fn begin(codes: &mut DeviceCodes, number: u64, now: Timestamp) -> Result<Begun, TooManyWait> {
        let chance = *Digest::of(&number.to_be_bytes()).as_bytes();
        codes.begin((key(), Origin::Here), "a laptop", &moment(now, chance))
    }

    /// One stranger keeps no other command line out. ASI08.
    #[test]
    fn asi08_an_origin_has_its_share() {
        let mut codes = DeviceCodes::default();
        let mut begin = |network, number: usize| {
            let chance = *Digest::of(&number.to_be_bytes()).as_bytes();
            let moment = moment(NOW, chance);
            let begun = codes.begin((key(), Origin::Network(network)), "a laptop", &moment);
            begun.map(drop)
        };
        for number in 0..DEVICE_CODES_PER_ORIGIN_MAX {
            assert_eq!(begin(1, number), Ok(()));
        }
        assert_eq!(begin(1, 1_000), Err(TooManyWait::FromThere));
        assert_eq!(begin(2, 1_000), Ok(()));
    }

    #[test]
    fn as_many_wait_as_there_is_room_for() {
        let mut codes = DeviceCodes::default();
        let mut seen = BTreeSet::new();
        for number in 0..DEVICE_CODES_MAX as u64 {
            let begun = begin(&mut codes, number, NOW).unwrap();
            assert_eq!(begun.device_code.len(), 43);
            assert_eq!(begun.user_code.len(), USER_CODE_CHARACTERS + 1);
            assert!(seen.insert(begun.user_code));
        }
        assert!(begin(&mut codes, 1 << 32, NOW).is_err());
        let over = DEVICE_CODE_TTL.as_millis() + REMEMBERED.as_millis();
        assert!(begin(&mut codes, 1 << 32, at(over - 1)).is_err());
        assert!(begin(&mut codes, 1 << 32, at(over)).is_ok());
    }

    #[test]
    fn a_command_line_asks_in_time_and_with_its_own_key() {
        let mut codes = DeviceCodes::default();
        let begun = begin(&mut codes, 1, NOW).unwrap();
        let mut poll = |key: Digest, millis, wanted: NotYet| {
            let found = codes.poll(&begun.device_code, key, at(millis));
            assert_eq!(found.err(), Some(wanted), "{millis}");
        };
        poll(Digest::of(b"other"), 0, NotYet::Unknown);
        poll(key(), 0, NotYet::Pending);
        poll(key(), 1_400, NotYet::SlowDown);
        // It is to wait twice as long now.
        poll(key(), 4_000, NotYet::SlowDown);
        poll(key(), 10_000, NotYet::Pending);
        let last = DEVICE_CODE_TTL.as_millis();
        poll(key(), last - 1, NotYet::Pending);
        poll(key(), last + 10_000, NotYet::Expired);
        poll(key(), last + 20_000, NotYet::Unknown);
    }

    /// Guessing: somebody who signed in could look for others' codes. ASI03.
    #[test]
    fn few_wrong_codes_are_heard() {
        let mut codes = DeviceCodes::default();
        let begun = begin(&mut codes, 1, NOW).unwrap();
        let lower = begun.user_code.to_lowercase().replace('-', " ");
        let mut look =
            |who: &str, code: &str, entered, now| codes.look(who, (code, entered), now).map(drop);
        let (form, link) = (Entered::ByForm, Entered::ByLink);
        assert_eq!(look("ana", &lower, form, NOW), Ok(()));
        let (good, too_many) = (begun.user_code, Err(WrongCode::TooMany));
        // Links that somebody else wrote take no tries of the person's own.
        for (entered, others) in [(link, Ok(())), (form, too_many)] {
            for number in 0..WRONG_CODES_PER_PERSON_MAX as u64 {
                let found = look("ana", "BBBB-BBBB", entered, at(number));
                assert_eq!(found, Err(WrongCode::Unknown));
            }
            assert_eq!(look("ana", &good, entered, at(20)), too_many);
            let other = if entered == link { form } else { link };
            assert_eq!(look("ana", &good, other, at(20)), others);
        }
        assert_eq!(look("ben", &good, form, at(20)), Ok(()));
        let later = DEVICE_CODE_TTL.as_millis();
        let begun = begin(&mut codes, 2, at(later)).unwrap();
        let found = codes.look("ana", (&begun.user_code, form), at(later));
        assert!(found.is_ok());
    }

    #[test]
    fn one_person_answers_once() {
        let mut codes = DeviceCodes::default();
        let begun = begin(&mut codes, 1, NOW).unwrap();
        let take = |codes: &mut DeviceCodes| codes.take("ana", &begun.user_code, NOW);
        let answering = take(&mut codes).unwrap();
        assert_eq!(take(&mut codes).err(), Some(WrongCode::Unknown));
        assert_eq!(codes.refuse(&begun.user_code, NOW), Err(WrongCode::Unknown));
        let before = |codes: &DeviceCodes, who: &str| match codes.before(who, &begun.user_code, NOW)
        {
            Before::No => "no",
            Before::UnderWay(_) => "under way",
            Before::Yes => "yes",
        };
        assert_eq!(before(&codes, "ana"), "under way");
        assert_eq!(before(&codes, "ben"), "no");
        // An answer that breaks off is none.
        drop(answering);
        assert_eq!(before(&codes, "ana"), "no");
        let answering = take(&mut codes).unwrap();
        codes.settle(answering, None);
        codes.refuse(&begun.user_code, NOW).unwrap();
        let found = codes.poll(&begun.device_code, key(), NOW);
        assert_eq!(found.err(), Some(NotYet::Refused));
        let found = codes.poll(&begun.device_code, key(), at(60_000));
        assert_eq!(found.err(), Some(NotYet::Unknown));
    }

    #[test]
    fn a_name_is_only_text_and_short() {
        let mut codes = DeviceCodes::default();
        let long = format!("\u{202e}{}", "a".repeat(DEVICE_NAME_CHARACTERS_MAX));
        let moment = Moment {
            now: NOW,
            wall: NOW,
            chance: [1; 32],
        };
        let begun = codes.begin((key(), Origin::Here), &long, &moment).unwrap();
        let shown = (begun.user_code.as_str(), Entered::ByForm);
        let claimed = codes.look("ana", shown, NOW).unwrap();
        assert!(!claimed.device.contains('\u{202e}'), "{}", claimed.device);
        assert!(claimed.device.ends_with('a') && claimed.device.matches('a').count() < 81);
    }
}

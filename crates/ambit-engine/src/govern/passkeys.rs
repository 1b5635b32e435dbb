//! Passkeys: an administrator lets a person register one, who has the link does, and it is taken away again.

use std::fmt;

use ambit_core::{
    Digest, PasskeyId, PersonId, Timestamp,
    act::{Governance, Target},
    limits::{ENROLMENT_TTL, PASSKEYS_PER_PERSON_MAX},
    proof::{Enrolment, Passkey, ProofFact},
    record::Body,
};
use ambit_identity::{
    PersonCaller,
    jose::base64url,
    passkey::{NewKey, PasskeySignIn},
};
use ambit_policy::{Standing, Touched};
use zeroize::Zeroizing;

use super::{Asked, Inspection, pseudonym};
use crate::{EngineError, Handle, Moment, Refusal, desk::Desk, moment::Chance};

/// An enrolment and its secret, for the person alone. Made only once its record is durable.
pub struct OfferedEnrolment {
    /// For whom and until when.
    pub enrolment: Enrolment,
    /// What its link carries: 43 characters, good once.
    pub secret: Zeroizing<String>,
}

/// An enrolment that nobody used yet, by its secret.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// For whom.
    pub person: PersonId,
    /// That person's alias.
    pub alias: String,
}

/// The passkey that whoever shows an enrolment's secret registers.
#[derive(Clone, Debug)]
pub struct NewPasskey {
    /// The enrolment's secret.
    pub secret: String,
    /// The key, proved.
    pub key: NewKey,
}

/// There is no such passkey or enrolment, or no longer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoPasskey {
    /// The link is unknown, was used, or its time is over.
    #[error(
        "the link is over or was used; ask an administrator for another (`ambit people enroll`)"
    )]
    Enrolment,
    /// The passkey is unknown here.
    #[error(
        "the passkey is not registered here, or was removed; ask an administrator to enrol you"
    )]
    Unknown,
    /// The person has too many.
    #[error(
        "{PASSKEYS_PER_PERSON_MAX} passkeys are registered for this person, the most there may be; have one removed"
    )]
    TooMany,
    /// The passkey is registered already.
    #[error("the passkey is registered already; sign in with it")]
    Twice,
    /// The count was reached before: two have the key.
    #[error(
        "the authenticator counts fewer uses than before, so there is a copy of the passkey; have it removed"
    )]
    Copied,
    /// Authority was taken from the person.
    #[error("the person is banned here; ask an administrator")]
    Banned,
    /// The engine could not answer.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

impl Handle {
    /// Lets whoever gets the secret register a passkey for a person of the estate, once, within [`ENROLMENT_TTL`]. One
    /// that was offered before is over.
    ///
    /// # Errors
    /// [`Refusal`] when the caller may not, or the estate has no such person.
    pub async fn offer_enrolment(
        &self,
        caller: &PersonCaller,
        alias: String,
        moment: Moment,
    ) -> Result<OfferedEnrolment, Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| offer(desk, asked, &alias);
        self.govern(caller, moment, take).await
    }

    /// Returns for whom an enrolment is.
    ///
    /// # Errors
    /// [`NoPasskey::Enrolment`] when there is none of this secret.
    pub fn enrolment(&self, secret: &str, now: Timestamp) -> Result<Enrolled, NoPasskey> {
        let live = self.shared.read()?;
        let found = enrolment(&live.state, secret, now).ok_or(NoPasskey::Enrolment)?;
        let person = found.person;
        let alias = live.aliases.get(&person).ok_or(NoPasskey::Enrolment)?;
        Ok(Enrolled {
            person,
            alias: alias.clone(),
        })
    }

    /// Registers a passkey, and with it spends the enrolment.
    ///
    /// # Errors
    /// [`NoPasskey`] when the enrolment is over, or the passkey can't be one more.
    pub async fn register_passkey(
        &self,
        new: NewPasskey,
        moment: Moment,
    ) -> Result<Passkey, NoPasskey> {
        self.shared.running()?;
        let mut chance = Chance::new(moment.chance);
        let registered = self.turn(move |desk| {
            let result = register(desk, new, &mut chance);
            Box::new(move |committed| committed.map_err(NoPasskey::Failed).and(result))
        });
        registered.await?
    }

    /// Returns the passkey by its authenticator's name for it, in base64url.
    ///
    /// # Errors
    /// [`NoPasskey::Unknown`] when there is none.
    pub fn passkey_of(&self, credential: &str) -> Result<Passkey, NoPasskey> {
        let live = self.shared.read()?;
        let mut all = live.state.passkeys.values().map(|it| &it.passkey);
        let found = all.find(|it| it.credential == credential);
        found.cloned().ok_or(NoPasskey::Unknown)
    }

    /// Refuses to let a person in who is banned, however they prove who they are.
    ///
    /// # Errors
    /// [`NoPasskey::Banned`] when the person is.
    pub fn may_sign_in(&self, caller: &PersonCaller) -> Result<(), NoPasskey> {
        let live = self.shared.read()?;
        let person = live.person(caller.alias());
        let standing = person.map(|it| live.state.standing(&Target::Person(it)));
        match standing {
            Some(Standing::Revoked) => Err(NoPasskey::Banned),
            Some(Standing::Live) | None => Ok(()),
        }
    }

    /// Returns whose passkey it is, by alias.
    ///
    /// # Errors
    /// [`NoPasskey::Unknown`] when it is nobody's any more.
    pub fn passkey_holder(&self, id: PasskeyId) -> Result<String, NoPasskey> {
        let live = self.shared.read()?;
        let entry = live.state.passkeys.get(&id).ok_or(NoPasskey::Unknown)?;
        let alias = live.aliases.get(&entry.passkey.person);
        alias.cloned().ok_or(NoPasskey::Unknown)
    }

    /// Writes down that somebody signed in with a passkey, and how far it counts. Two sign-ins at once with one count are
    /// one too many.
    ///
    /// # Errors
    /// [`NoPasskey`] when the passkey is gone, was used with that count, or its person is banned.
    pub async fn use_passkey(&self, sign_in: &PasskeySignIn) -> Result<(), NoPasskey> {
        self.shared.running()?;
        let (id, count) = (sign_in.passkey(), sign_in.sign_count());
        let used = self.turn(move |desk| {
            let result = use_one(desk, id, count);
            Box::new(move |committed| committed.map_err(NoPasskey::Failed).and(result))
        });
        used.await?
    }

    /// Takes a passkey away, and with it every login that it opened.
    ///
    /// # Errors
    /// [`Refusal`] when there is none, or the caller may not.
    pub async fn remove_passkey(
        &self,
        caller: &PersonCaller,
        id: PasskeyId,
        moment: Moment,
    ) -> Result<(), Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let found = desk.live.state.passkeys.get(&id);
            let touched = Touched {
                subject: found.map(|it| it.passkey.person),
                ..Touched::NOTHING
            };
            let permit = asked.permit(desk, Governance::RemovePasskey { passkey: id }, touched)?;
            if touched.subject.is_none() {
                return Err(Refusal::NotFound(format!(
                    "there is no {id}; see `ambit people passkeys list`"
                )));
            }
            let warrant = permit.warrant();
            let fact = ProofFact::PasskeyRemoved {
                passkey: id,
                warrant,
            };
            desk.write(Body::Proof(Box::new(fact)))?;
            Ok(())
        };
        self.govern(caller, moment, take).await
    }

    /// Returns every passkey and whose it is, by alias, oldest first.
    pub fn passkeys(&self, _: &Inspection) -> Result<Vec<(Passkey, String)>, EngineError> {
        let live = self.shared.read()?;
        let named = |it: &Passkey| {
            let alias = live.aliases.get(&it.person).cloned();
            (it.clone(), alias.unwrap_or_else(|| it.person.to_string()))
        };
        let all = live.state.passkeys.values();
        Ok(all.map(|it| named(&it.passkey)).collect())
    }

    /// Returns who has a passkey and is not banned, by alias.
    pub fn passkey_holders(&self) -> Result<Vec<String>, EngineError> {
        let live = self.shared.read()?;
        let people = live.state.passkeys.values().map(|it| it.passkey.person);
        let able = people
            .filter(|it| live.state.standing(&Target::Person(*it)) == Standing::Live)
            .filter_map(|it| live.aliases.get(&it).cloned());
        Ok(able.collect())
    }
}

fn offer(desk: &mut Desk<'_>, asked: &mut Asked, alias: &str) -> Result<OfferedEnrolment, Refusal> {
    let act = Governance::OfferEnrolment {
        alias: alias.to_owned(),
    };
    let known = desk.live.person(alias);
    let touched = Touched {
        subject: known,
        ..Touched::NOTHING
    };
    let permit = asked.permit(desk, act, touched)?;
    if !desk.live.book()?.estate().people.contains_key(alias) {
        return Err(Refusal::NotFound(format!(
            "the estate has no person `{alias}`; write `[people.{alias}]` into estate.toml and apply it"
        )));
    }
    let person = pseudonym(desk, &mut asked.chance, alias)?;
    if desk.live.state.standing(&Target::Person(person)) == Standing::Revoked {
        return Err(Refusal::Conflict(format!(
            "{alias} is banned here; lift the ban first (`ambit reinstate person`)"
        )));
    }
    let secret = Zeroizing::new(base64url::encode(asked.chance.draw::<32>()));
    let enrolment = Enrolment {
        person,
        secret: Digest::of(secret.as_bytes()),
        expires_at: desk.at().plus(ENROLMENT_TTL),
    };
    let fact = ProofFact::EnrolmentOffered {
        enrolment: enrolment.clone(),
        warrant: permit.warrant(),
    };
    desk.write(Body::Proof(Box::new(fact)))?;
    Ok(OfferedEnrolment { enrolment, secret })
}

fn enrolment<'a>(state: &'a crate::State, secret: &str, now: Timestamp) -> Option<&'a Enrolment> {
    // Digests of 32 random bytes tell nothing by how long they compare.
    let digest = Digest::of(secret.as_bytes());
    let mut all = state.enrolments.values().map(|it| &it.enrolment);
    all.find(|it| it.secret == digest && now < it.expires_at)
}

fn register(
    desk: &mut Desk<'_>,
    new: NewPasskey,
    chance: &mut Chance,
) -> Result<Passkey, NoPasskey> {
    let at = desk.at();
    let state = &desk.live.state;
    let found = enrolment(state, &new.secret, at).ok_or(NoPasskey::Enrolment)?;
    let (person, secret) = (found.person, found.secret);
    if state.standing(&Target::Person(person)) == Standing::Revoked {
        return Err(NoPasskey::Banned);
    }
    let mut all = state.passkeys.values().map(|it| &it.passkey);
    if all.any(|it| it.credential == new.key.credential()) {
        return Err(NoPasskey::Twice);
    }
    if state.passkeys_of(person).count() >= PASSKEYS_PER_PERSON_MAX {
        return Err(NoPasskey::TooMany);
    }
    let passkey = new.key.of_person(chance.id(at), person);
    let fact = ProofFact::PasskeyRegistered {
        passkey: passkey.clone(),
        enrolment: secret,
    };
    desk.write(Body::Proof(Box::new(fact)))?;
    Ok(passkey)
}

fn use_one(desk: &mut Desk<'_>, id: PasskeyId, sign_count: u32) -> Result<(), NoPasskey> {
    let state = &desk.live.state;
    let entry = state.passkeys.get(&id).ok_or(NoPasskey::Unknown)?;
    let (person, before) = (entry.passkey.person, entry.passkey.sign_count);
    if state.standing(&Target::Person(person)) == Standing::Revoked {
        return Err(NoPasskey::Banned);
    }
    if (sign_count > 0 || before > 0) && sign_count <= before {
        return Err(NoPasskey::Copied);
    }
    let fact = ProofFact::PasskeyUsed {
        passkey: id,
        sign_count,
    };
    desk.write(Body::Proof(Box::new(fact)))?;
    Ok(())
}

impl fmt::Debug for OfferedEnrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfferedEnrolment({})", self.enrolment.person)
    }
}

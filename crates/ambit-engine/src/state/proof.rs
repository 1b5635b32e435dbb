//! What people prove who they are with, as the fold knows it.
//!
//! A login is here as long as it can be worth something: it leaves with its end, its passkey or a ban of its person, and
//! when its time has passed, with the next login of that person. Passkeys stay until somebody removes them.

use ambit_core::{
    Digest, LoginId, PersonId, Timestamp,
    proof::{Enrolment, Login, LoginBy, Passkey, ProofFact},
};

use super::{
    FoldError, State,
    fold::{inconsistent, missing},
    rows::RowKey,
};

/// A login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoginEntry {
    /// The leaf that opened it.
    pub leaf: u64,
    /// The login.
    pub login: Login,
}

/// A passkey.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PasskeyEntry {
    /// The leaf that registered it.
    pub leaf: u64,
    /// The passkey, with its count as of its last use.
    pub passkey: Passkey,
}

/// An enrolment that nobody used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EnrolmentEntry {
    pub(crate) leaf: u64,
    pub(crate) enrolment: Enrolment,
}

impl State {
    /// Iterates over the logins of a person that are not over, oldest first.
    pub(crate) fn logins_of(
        &self,
        person: PersonId,
        now: Timestamp,
    ) -> impl Iterator<Item = &LoginEntry> {
        let all = self.logins.values();
        all.filter(move |it| it.login.person == person && now < it.login.expires_at)
    }

    /// Iterates over the passkeys of a person, oldest first.
    pub(crate) fn passkeys_of(&self, person: PersonId) -> impl Iterator<Item = &PasskeyEntry> {
        let all = self.passkeys.values();
        all.filter(move |it| it.passkey.person == person)
    }

    pub(super) fn prove(
        &mut self,
        (index, at): (u64, Timestamp),
        fact: &ProofFact,
    ) -> Result<(), FoldError> {
        match fact {
            ProofFact::LoginOpened { login, .. } => self.open_login((index, at), login),
            ProofFact::LoginEnded { login, .. } => {
                self.logins
                    .remove(login)
                    .ok_or_else(|| missing(index, login))?;
                self.touch(RowKey::Login(*login));
                Ok(())
            }
            ProofFact::EnrolmentOffered { enrolment, .. } => {
                self.expect_person(index, enrolment.person)?;
                let entry = EnrolmentEntry {
                    leaf: index,
                    enrolment: enrolment.clone(),
                };
                self.enrolments.insert(enrolment.person, entry);
                self.touch(RowKey::Enrolment(enrolment.person));
                Ok(())
            }
            ProofFact::PasskeyRegistered { passkey, enrolment } => {
                self.register(index, passkey, *enrolment)
            }
            ProofFact::PasskeyUsed {
                passkey,
                sign_count,
            } => {
                let entry = self.passkeys.get_mut(passkey);
                let entry = entry.ok_or_else(|| missing(index, passkey))?;
                entry.passkey.sign_count = *sign_count;
                self.touch(RowKey::Passkey(*passkey));
                Ok(())
            }
            ProofFact::PasskeyRemoved { passkey, .. } => {
                self.passkeys
                    .remove(passkey)
                    .ok_or_else(|| missing(index, passkey))?;
                self.touch(RowKey::Passkey(*passkey));
                let by = LoginBy::Passkey { passkey: *passkey };
                self.drop_logins(|it| it.by == by);
                Ok(())
            }
        }
    }

    /// Drops what a person who is banned could prove with later: a link, and logins. Passkeys alone give nothing.
    pub(super) fn drop_proofs(&mut self, person: PersonId) {
        self.drop_logins(|it| it.person == person);
        if self.enrolments.remove(&person).is_some() {
            self.touch(RowKey::Enrolment(person));
        }
    }

    fn open_login(
        &mut self,
        (index, at): (u64, Timestamp),
        login: &Login,
    ) -> Result<(), FoldError> {
        self.expect_person(index, login.person)?;
        if self.logins.contains_key(&login.id) {
            return Err(twice(index, &login.id));
        }
        if let LoginBy::Passkey { passkey } = login.by
            && !self.passkeys.contains_key(&passkey)
        {
            return Err(missing(index, &passkey));
        }
        let person = login.person;
        self.drop_logins(|it| it.person == person && it.expires_at <= at);
        let entry = LoginEntry {
            leaf: index,
            login: login.clone(),
        };
        self.logins.insert(login.id, entry);
        self.touch(RowKey::Login(login.id));
        Ok(())
    }

    fn register(
        &mut self,
        index: u64,
        passkey: &Passkey,
        enrolment: Digest,
    ) -> Result<(), FoldError> {
        let offered = self.enrolments.get(&passkey.person);
        if offered.is_none_or(|it| it.enrolment.secret != enrolment) {
            return Err(inconsistent(index, "a passkey spends its own enrolment"));
        }
        if self.passkeys.contains_key(&passkey.id) {
            return Err(twice(index, &passkey.id));
        }
        self.enrolments.remove(&passkey.person);
        self.touch(RowKey::Enrolment(passkey.person));
        let entry = PasskeyEntry {
            leaf: index,
            passkey: passkey.clone(),
        };
        self.passkeys.insert(passkey.id, entry);
        self.touch(RowKey::Passkey(passkey.id));
        Ok(())
    }

    fn drop_logins(&mut self, over: impl Fn(&Login) -> bool) {
        let all = self.logins.values().filter(|it| over(&it.login));
        let all: Vec<LoginId> = all.map(|it| it.login.id).collect();
        for id in all {
            self.logins.remove(&id);
            self.touch(RowKey::Login(id));
        }
    }

    fn expect_person(&self, index: u64, person: PersonId) -> Result<(), FoldError> {
        if self.people.contains(&person) {
            return Ok(());
        }
        Err(missing(index, &person))
    }
}

fn twice(index: u64, what: &impl ToString) -> FoldError {
    FoldError::Twice {
        index,
        what: what.to_string(),
    }
}

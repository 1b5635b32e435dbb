//! Requests that wait for one person's answer, in one browser.

use std::collections::HashMap;

use ambit_core::{Digest, Millis, Timestamp};
use ambit_engine::Moment;
use ambit_identity::jose::base64url;
use tokio::sync::watch;

use super::super::{OAuthError, pushed::AuthorizeRequest};
use crate::people::Session;

/// How long a person may take to answer.
pub const CONSENT_TTL: Millis = Millis::from_seconds(900);
/// The most requests that wait for an answer.
pub const CONSENTS_MAX: usize = 1024;
/// The most of them in one browser; one more takes the oldest's place.
pub const CONSENTS_PER_SESSION_MAX: usize = 8;

/// The requests that people look at. A restart forgets them.
#[derive(Default)]
pub(crate) struct Consents(HashMap<Digest, Entry>);

struct Entry {
    request: AuthorizeRequest,
    session: Digest,
    until: Timestamp,
    standing: Standing,
}

enum Standing {
    Waiting,
    /// It is being answered. It is closed when that is settled.
    UnderWay(watch::Receiver<()>),
    /// It was answered, and whoever answered left before hearing where to go.
    Unheard(String),
}

/// How a request was answered before.
pub(super) enum Before {
    /// Not at all, or whoever answered heard where to go.
    No,
    /// Just now; this ends with that.
    UnderWay(watch::Receiver<()>),
    /// It leads somewhere, and nobody heard where.
    Unheard,
}

/// A request that was answered, until it is known whether anybody hears the answer.
pub(super) struct Settling {
    key: Digest,
    _open: watch::Sender<()>,
}

impl Consents {
    /// Keeps a request for the session that came with it, and returns its name: 43 characters.
    pub(in crate::oauth) fn open(
        &mut self,
        request: AuthorizeRequest,
        session: &Session,
        moment: &Moment,
    ) -> Result<String, OAuthError> {
        let (now, session) = (moment.now, of(session));
        self.0.retain(|_, it| it.until > now);
        let own = self.0.iter().filter(|(_, it)| it.session == session);
        let own: Vec<_> = own.map(|(key, it)| (it.until, *key)).collect();
        if own.len() >= CONSENTS_PER_SESSION_MAX
            && let Some((_, oldest)) = own.iter().min()
        {
            self.0.remove(oldest);
        }
        if self.0.len() >= CONSENTS_MAX {
            return Err(OAuthError::unavailable(
                "too many people are being asked; try again in a minute",
            ));
        }
        let name = base64url::encode(moment.chance);
        let until = now.plus(CONSENT_TTL);
        let entry = Entry {
            request,
            session,
            until,
            standing: Standing::Waiting,
        };
        self.0.insert(Digest::of(name.as_bytes()), entry);
        Ok(name)
    }

    /// Returns the request of this name, when it waits in this session.
    pub(super) fn find(
        &self,
        name: &str,
        session: &Session,
        now: Timestamp,
    ) -> Result<AuthorizeRequest, NotWaiting> {
        let entry = self.0.get(&Digest::of(name.as_bytes()));
        let entry = entry.filter(|it| it.until > now && it.session == of(session));
        let entry = entry.filter(|it| matches!(it.standing, Standing::Waiting));
        entry.map(|it| it.request.clone()).ok_or(NotWaiting)
    }

    /// Says how this session answered the request of this name before: who clicks twice means one answer.
    pub(super) fn before(&self, name: &str, session: &Session, now: Timestamp) -> Before {
        let entry = self.0.get(&Digest::of(name.as_bytes()));
        let entry = entry.filter(|it| it.until > now && it.session == of(session));
        match entry.map_or(&Standing::Waiting, |it| &it.standing) {
            Standing::Waiting => Before::No,
            Standing::UnderWay(settled) => match settled.has_changed() {
                Ok(_) => Before::UnderWay(settled.clone()),
                // It broke off.
                Err(_) => Before::No,
            },
            Standing::Unheard(_) => Before::Unheard,
        }
    }

    /// Takes the answer that nobody heard, so that one hears it.
    pub(super) fn take_unheard(
        &mut self,
        name: &str,
        session: &Session,
        now: Timestamp,
    ) -> Option<(String, Settling)> {
        let key = Digest::of(name.as_bytes());
        let entry = self.0.get_mut(&key);
        let entry = entry.filter(|it| it.until > now && it.session == of(session))?;
        let Standing::Unheard(redirect) = &entry.standing else {
            return None;
        };
        let redirect = redirect.clone();
        Some((redirect, entry.settling(key)))
    }

    /// Takes the request of this name, so that it is answered once.
    pub(super) fn take(
        &mut self,
        name: &str,
        session: &Session,
        now: Timestamp,
    ) -> Result<(AuthorizeRequest, Settling), NotWaiting> {
        let request = self.find(name, session, now)?;
        let key = Digest::of(name.as_bytes());
        let entry = self.0.get_mut(&key).ok_or(NotWaiting)?;
        Ok((request, entry.settling(key)))
    }

    /// Lets a request wait on: the answer was no answer.
    pub(super) fn put_back(&mut self, taken: &Settling) {
        if let Some(entry) = self.0.get_mut(&taken.key) {
            entry.standing = Standing::Waiting;
        }
    }

    /// Forgets a request: its answer was heard.
    pub(super) fn heard(&mut self, taken: &Settling) {
        self.0.remove(&taken.key);
    }

    /// Keeps where the browser is to be sent, as long as the code lives: nobody heard it.
    pub(super) fn unheard(&mut self, taken: &Settling, redirect: &str, until: Timestamp) {
        if let Some(entry) = self.0.get_mut(&taken.key) {
            entry.standing = Standing::Unheard(redirect.to_owned());
            entry.until = entry.until.min(until);
        }
    }
}

impl Entry {
    fn settling(&mut self, key: Digest) -> Settling {
        let (open, settled) = watch::channel(());
        self.standing = Standing::UnderWay(settled);
        Settling { key, _open: open }
    }
}

/// No such request waits here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotWaiting;

/// Names a session. What it is made of is secret and stays so.
fn of(session: &Session) -> Digest {
    Digest::of_parts(&[b"ambit consent v1\0", session.csrf().as_bytes()])
}

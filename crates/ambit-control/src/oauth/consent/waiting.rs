//! Requests that wait for one person's answer, in one browser.

use std::collections::HashMap;

use ambit_core::{Digest, Millis, Timestamp};
use ambit_engine::Moment;
use ambit_identity::jose::base64url;

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
        entry.map(|it| it.request.clone()).ok_or(NotWaiting)
    }

    /// Takes the request of this name, so that it is answered once.
    pub(super) fn take(
        &mut self,
        name: &str,
        session: &Session,
        now: Timestamp,
    ) -> Result<Taken, NotWaiting> {
        self.find(name, session, now)?;
        let key = Digest::of(name.as_bytes());
        self.0
            .remove(&key)
            .map(|it| Taken(key, it))
            .ok_or(NotWaiting)
    }

    /// Lets a request wait on: the answer was no answer.
    pub(super) fn put_back(&mut self, taken: Taken) {
        self.0.insert(taken.0, taken.1);
    }
}

/// A request that was taken to be answered.
pub(super) struct Taken(Digest, Entry);

impl Taken {
    pub(super) fn into_request(self) -> AuthorizeRequest {
        self.1.request
    }
}

/// No such request waits here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotWaiting;

/// Names a session. What it is made of is secret and stays so.
fn of(session: &Session) -> Digest {
    Digest::of_parts(&[b"ambit consent v1\0", session.csrf().as_bytes()])
}

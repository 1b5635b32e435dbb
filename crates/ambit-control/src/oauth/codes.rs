//! Authorization codes: short, for one client, one address and one secret, once.

use std::collections::HashMap;

use ambit_core::{Digest, Millis, TaskId, Timestamp, TokenId, token::KeyBinding};
use ambit_engine::{ClientLeave, Moment};
use ambit_identity::jose::base64url;

use super::{OAuthError, form::Form, pushed::AuthorizeRequest};

/// How long a code can be redeemed.
pub const CODE_TTL: Millis = Millis::from_seconds(60);
/// The most codes that are remembered at once.
pub const CODES_MAX: usize = 10_000;
/// The lengths of a PKCE secret, in characters (RFC 7636 §4.1).
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

/// A code, and where to send the person who consented.
pub(super) struct AuthorizationCode {
    /// The client's address, with the code, the state and the issuer (RFC 9207).
    pub(super) redirect: String,
    /// What names the code here.
    pub(super) digest: Digest,
}

/// The codes that wait or were redeemed a moment ago.
#[derive(Default)]
pub(super) struct Codes(HashMap<Digest, Entry>);

struct Entry {
    request: AuthorizeRequest,
    /// The task that was started for it.
    task: TaskId,
    /// Gone once it was redeemed, or tried wrongly.
    leave: Option<ClientLeave>,
    /// What it gave.
    given: Option<TokenId>,
    until: Timestamp,
}

/// A code that was redeemed.
pub(super) struct Redeemed {
    pub(super) leave: ClientLeave,
    /// The task that was started for it: whoever does not get its tokens now gets none.
    pub(super) task: TaskId,
    pub(super) audience: String,
}

/// A code is refused, and what must end with it.
pub(super) struct CodeRefused {
    pub(super) error: OAuthError,
    pub(super) ends: Ends,
}

/// What ends with a code that is refused.
pub(super) enum Ends {
    /// Nothing: who showed it has no part in it.
    Nothing,
    /// What it gave before, whose family this token began, and the task: somebody else has the code too.
    Given(Box<(TaskId, TokenId)>),
    /// The task that was started for it, of which nobody has a token now.
    Task(TaskId),
}

impl Codes {
    pub(super) fn issue(
        &mut self,
        issuer: &str,
        request: AuthorizeRequest,
        (leave, task): (ClientLeave, TaskId),
        moment: &Moment,
    ) -> Result<AuthorizationCode, OAuthError> {
        let now = moment.now;
        // One that was redeemed is remembered for a while, so that showing it again is noticed.
        self.0.retain(|_, it| it.until.plus(REMEMBERED) > now);
        if self.0.len() >= CODES_MAX {
            return Err(OAuthError::unavailable(
                "too many codes wait to be redeemed; try again in a minute",
            ));
        }
        let code = base64url::encode(moment.chance);
        let redirect = request.back.answer(issuer, &[("code", &code)]);
        let digest = Digest::of(code.as_bytes());
        let entry = Entry {
            request,
            task,
            leave: Some(leave),
            given: None,
            until: now.plus(CODE_TTL),
        };
        self.0.insert(digest, entry);
        Ok(AuthorizationCode { redirect, digest })
    }

    /// Redeems a code. Whatever is wrong with the request uses it up: it may have been stolen.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        form: &Form,
        (client, binding): (&str, KeyBinding),
        now: Timestamp,
    ) -> Result<Redeemed, CodeRefused> {
        let refused = |what: &str, ends| CodeRefused {
            error: OAuthError::grant(what),
            ends,
        };
        let unknown = "the code is unknown, over, or was used; ask the person again";
        let Some(entry) = self.0.get_mut(&Digest::of(code.as_bytes())) else {
            return Err(refused(unknown, Ends::Nothing));
        };
        // Of another client's code nothing is told, and nothing is ended by a stranger.
        if entry.request.client_id != client {
            return Err(refused(unknown, Ends::Nothing));
        }
        let Some(leave) = entry.leave.take() else {
            // Until something was given it is being redeemed right now, by somebody who has the code too.
            let ends = match entry.given {
                None => Ends::Task(entry.task),
                Some(first) => Ends::Given(Box::new((entry.task, first))),
            };
            return Err(refused(unknown, ends));
        };
        if entry.until <= now {
            return Err(refused(unknown, Ends::Task(entry.task)));
        }
        if let Err(what) = fits(&entry.request, form, binding) {
            return Err(refused(what, Ends::Task(entry.task)));
        }
        Ok(Redeemed {
            leave,
            task: entry.task,
            audience: entry.request.audience.clone(),
        })
    }

    /// Takes a code back that nobody redeemed, and returns the task that was started for it.
    pub(super) fn abandon(&mut self, code: Digest) -> Option<TaskId> {
        let entry = self.0.get_mut(&code)?;
        entry.leave.take().map(|_| entry.task)
    }

    /// Remembers what a code gave.
    pub(super) fn gave(&mut self, code: &str, token: TokenId) {
        if let Some(entry) = self.0.get_mut(&Digest::of(code.as_bytes())) {
            entry.given = Some(token);
        }
    }
}

#[cfg(test)]
impl Codes {
    /// Fills it with codes that were redeemed, until there are so many.
    pub(crate) fn fill(&mut self, count: usize, like: &AuthorizeRequest, until: Timestamp) {
        for number in self.0.len()..count {
            let entry = Entry {
                request: like.clone(),
                task: TaskId::from_bits(1),
                leave: None,
                given: None,
                until,
            };
            self.0.insert(Digest::of(&number.to_be_bytes()), entry);
        }
    }
}

/// Holds what a client shows beside its code against what it said when it asked for consent.
fn fits(request: &AuthorizeRequest, form: &Form, binding: KeyBinding) -> Result<(), &'static str> {
    // OAuth 2.1 leaves it out: the secret of PKCE ties the code to whoever asked.
    let redirect = request.back.redirect.as_str();
    if form.get("redirect_uri").is_some_and(|it| it != redirect) {
        return Err(
            "redirect_uri is not the one of the request, letter by letter; ask the person again",
        );
    }
    let verifier = form.get("code_verifier").unwrap_or_default();
    let digest = base64url::encode(Digest::of(verifier.as_bytes()).as_bytes());
    if !VERIFIER.contains(&verifier.len()) || digest != request.challenge {
        return Err("code_verifier is not the secret of code_challenge; ask the person again");
    }
    if request.key.is_some() && request.key != binding.key() {
        return Err("the proof is by another key than dpop_jkt named; ask the person again");
    }
    Ok(())
}

/// How long after its time a code is remembered.
const REMEMBERED: Millis = Millis::from_seconds(600);

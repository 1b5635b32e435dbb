//! Authorization codes: short, for one client, one address and one secret, once.

use std::{collections::HashMap, fmt};

use ambit_core::{Digest, Millis, Timestamp, TokenId, token::KeyBinding};
use ambit_engine::{ClientLeave, Moment};
use ambit_identity::jose::base64url;

use super::{AuthorizeRequest, OAuthError, form::Form};

/// How long a code can be redeemed.
pub const CODE_TTL: Millis = Millis::from_seconds(60);
/// The most codes that are remembered at once.
pub const CODES_MAX: usize = 10_000;
/// The lengths of a PKCE secret, in characters (RFC 7636 §4.1).
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

/// Where to send a person who consented.
#[derive(Clone)]
pub struct AuthorizationCode {
    /// The client's address, with the code, the state and the issuer (RFC 9207).
    pub redirect: String,
}

/// The codes that wait or were redeemed a moment ago.
#[derive(Default)]
pub(super) struct Codes(HashMap<Digest, Entry>);

struct Entry {
    request: AuthorizeRequest,
    /// Gone once it was redeemed, or tried wrongly.
    leave: Option<ClientLeave>,
    /// What it gave.
    given: Option<TokenId>,
    until: Timestamp,
}

/// A code that was redeemed.
pub(super) struct Redeemed {
    pub(super) leave: ClientLeave,
    pub(super) audience: String,
}

/// A code is refused; what it gave before must end.
pub(super) struct CodeRefused {
    pub(super) error: OAuthError,
    pub(super) given: Option<TokenId>,
}

impl Codes {
    pub(super) fn issue(
        &mut self,
        issuer: &str,
        request: AuthorizeRequest,
        leave: ClientLeave,
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
        let redirect = redirect(issuer, &request, &[("code", &code)]);
        let entry = Entry {
            request,
            leave: Some(leave),
            given: None,
            until: now.plus(CODE_TTL),
        };
        self.0.insert(Digest::of(code.as_bytes()), entry);
        Ok(AuthorizationCode { redirect })
    }

    /// Redeems a code. Whatever is wrong with the request uses it up: it may have been stolen.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        form: &Form,
        (client, binding): (&str, KeyBinding),
        now: Timestamp,
    ) -> Result<Redeemed, CodeRefused> {
        let refused = |what: &str, given| CodeRefused {
            error: OAuthError::grant(what),
            given,
        };
        let unknown = "the code is unknown, over, or was used; ask the person again";
        let Some(entry) = self.0.get_mut(&Digest::of(code.as_bytes())) else {
            return Err(refused(unknown, None));
        };
        // Of another client's code nothing is told, and nothing is ended by a stranger.
        if entry.request.client_id != client {
            return Err(refused(unknown, None));
        }
        let Some(leave) = entry.leave.take() else {
            return Err(refused(unknown, entry.given));
        };
        if entry.until <= now {
            return Err(refused(unknown, None));
        }
        let request = &entry.request;
        if form.get("redirect_uri") != Some(request.redirect_uri.as_str()) {
            let what = "redirect_uri is not the one of the request, letter by letter; ask the person again";
            return Err(refused(what, None));
        }
        let verifier = form.get("code_verifier").unwrap_or_default();
        let digest = base64url::encode(Digest::of(verifier.as_bytes()).as_bytes());
        if !VERIFIER.contains(&verifier.len()) || digest != request.challenge {
            let what = "code_verifier is not the secret of code_challenge; ask the person again";
            return Err(refused(what, None));
        }
        if request.key.is_some() && request.key != binding.key() {
            let what = "the proof is by another key than dpop_jkt named; ask the person again";
            return Err(refused(what, None));
        }
        Ok(Redeemed {
            leave,
            audience: request.audience.clone(),
        })
    }

    /// Remembers what a code gave.
    pub(super) fn gave(&mut self, code: &str, token: TokenId) {
        if let Some(entry) = self.0.get_mut(&Digest::of(code.as_bytes())) {
            entry.given = Some(token);
        }
    }
}

/// Returns where to send a person for whom a request can't be granted.
pub(super) fn refused(issuer: &str, request: &AuthorizeRequest, error: &str, why: &str) -> String {
    redirect(
        issuer,
        request,
        &[("error", error), ("error_description", why)],
    )
}

fn redirect(issuer: &str, request: &AuthorizeRequest, members: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(members);
    if let Some(state) = &request.state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", issuer);
    let query = query.finish();
    let address = &request.redirect_uri;
    let sign = if address.contains('?') { '&' } else { '?' };
    format!("{address}{sign}{query}")
}

impl fmt::Debug for AuthorizationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizationCode(..)")
    }
}

/// How long after its time a code is remembered.
const REMEMBERED: Millis = Millis::from_seconds(600);

//! Logins: a person lets a command line act in their name for a while, and takes that back.

use std::fmt;

use ambit_core::{
    Digest, LoginId, Timestamp,
    act::Governance,
    limits::{LOGIN_TTL, LOGINS_PER_PERSON_MAX},
    proof::{Login, LoginBy, ProofFact},
    record::Body,
};
use ambit_identity::{PersonCaller, SignedIn, login};
use ambit_policy::Touched;
use zeroize::Zeroizing;

use super::Asked;
use crate::{EngineError, Handle, Moment, Refusal, desk::Desk};

/// What a login shall be.
#[derive(Clone, Debug)]
pub struct LoginAsk {
    /// SHA-256 over the key with which its requests will be signed (RFC 7638), proved.
    pub key: Digest,
    /// How the person who lets it signed in.
    pub sign_in: SignedIn,
}

/// A login and its text, for its holder alone. Made only once its record is durable.
#[derive(Clone)]
pub struct LoginGrant {
    login: Login,
    text: Zeroizing<String>,
}

/// There is no such login, or no longer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoLogin {
    /// It is unknown, or was ended, or the person is no longer known.
    #[error("there is no such login, or no longer; run `ambit login`")]
    Unknown,
    /// The engine could not answer.
    #[error(transparent)]
    Failed(#[from] EngineError),
}

impl Handle {
    /// Lets a command line act in the caller's name for [`LOGIN_TTL`]. One more than [`LOGINS_PER_PERSON_MAX`] ends the
    /// oldest.
    ///
    /// # Errors
    /// [`Refusal`] when the caller may not, or the engine can't answer.
    pub async fn open_login(
        &self,
        caller: &PersonCaller,
        ask: LoginAsk,
        moment: Moment,
    ) -> Result<LoginGrant, Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| open(desk, asked, &ask);
        self.govern(caller, moment, take).await
    }

    /// Ends a login before its time: one's own, or anybody's for whom that is allowed.
    ///
    /// # Errors
    /// [`Refusal`] when there is none, or the caller may not.
    pub async fn end_login(
        &self,
        caller: &PersonCaller,
        id: LoginId,
        moment: Moment,
    ) -> Result<(), Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let found = desk.live.state.logins.get(&id).map(|it| it.login.person);
            let touched = Touched {
                subject: found,
                ..Touched::NOTHING
            };
            let permit = asked.permit(desk, Governance::EndLogin { login: id }, touched)?;
            if found.is_none() {
                return Err(Refusal::NotFound(format!(
                    "there is no {id}, or no longer; your account's page lists your logins"
                )));
            }
            let warrant = Some(permit.warrant());
            let fact = ProofFact::LoginEnded { login: id, warrant };
            desk.write(Body::Proof(Box::new(fact)))?;
            Ok(())
        };
        self.govern(caller, moment, take).await
    }

    /// Returns a login and whose it is, by alias. Whether it is over is asked of the login.
    ///
    /// # Errors
    /// [`NoLogin`] when there is none.
    pub fn login(&self, id: LoginId) -> Result<(Login, String), NoLogin> {
        let live = self.shared.read()?;
        let entry = live.state.logins.get(&id).ok_or(NoLogin::Unknown)?;
        let alias = live.aliases.get(&entry.login.person);
        let alias = alias.ok_or(NoLogin::Unknown)?;
        Ok((entry.login.clone(), alias.clone()))
    }

    /// Returns the caller's own logins that are not over, oldest first.
    pub fn own_logins(
        &self,
        caller: &PersonCaller,
        now: Timestamp,
    ) -> Result<Vec<Login>, EngineError> {
        let live = self.shared.read()?;
        let Some(person) = live.person(caller.alias()) else {
            return Ok(Vec::new());
        };
        let all = live.state.logins_of(person, now);
        Ok(all.map(|it| it.login.clone()).collect())
    }
}

impl LoginGrant {
    /// Returns the login.
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Returns its text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn open(desk: &mut Desk<'_>, asked: &mut Asked, ask: &LoginAsk) -> Result<LoginGrant, Refusal> {
    let permit = asked.permit(desk, Governance::OpenLogin, Touched::NOTHING)?;
    let (person, at) = (permit.by(), desk.at());
    let secret = Zeroizing::new(asked.chance.draw::<32>());
    let by = match &ask.sign_in {
        SignedIn::Provider(sign_in) => LoginBy::Provider {
            subject: login::subject(&secret, sign_in),
        },
        SignedIn::Passkey(sign_in) => LoginBy::Passkey {
            passkey: sign_in.passkey(),
        },
    };
    if let LoginBy::Passkey { passkey } = by
        && !desk.live.state.passkeys.contains_key(&passkey)
    {
        let what = "the passkey was removed; sign in again";
        return Err(Refusal::NotFound(what.to_owned()));
    }
    let standing: Vec<LoginId> = desk
        .live
        .state
        .logins_of(person, at)
        .map(|it| it.login.id)
        .collect();
    let over = (standing.len() + 1).saturating_sub(LOGINS_PER_PERSON_MAX);
    for id in standing.into_iter().take(over) {
        let fact = ProofFact::LoginEnded {
            login: id,
            warrant: None,
        };
        desk.write(Body::Proof(Box::new(fact)))?;
    }
    let login = Login {
        id: asked.chance.id(at),
        person,
        key: ask.key,
        secret: Digest::of(secret.as_slice()),
        by,
        expires_at: at.plus(LOGIN_TTL),
    };
    let fact = ProofFact::LoginOpened {
        login: login.clone(),
        warrant: permit.warrant(),
    };
    desk.write(Body::Proof(Box::new(fact)))?;
    let text = login::text(login.id, &secret);
    Ok(LoginGrant { login, text })
}

impl fmt::Debug for LoginGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginGrant({})", self.login.id)
    }
}

//! Logins of command lines: a secret and a key, both of which come with every request.

use std::{collections::BTreeMap, fmt};

use ambit_core::{
    Digest, LoginId, Timestamp,
    estate::Person,
    proof::{Login, LoginBy},
};
use zeroize::Zeroizing;

use crate::{
    Carrier, IdentityError, PersonCaller, PersonProof, dpop::Proof, jose::base64url,
    token::id_token::SignIn,
};

/// The text of a login, as a request shows it: its name and its secret.
pub struct ShownLogin {
    id: LoginId,
    secret: Zeroizing<[u8; 32]>,
    text: Digest,
}

/// The holder of a login's secret and of its key sent one request.
///
/// Made only by [`ShownLogin::prove`]. Who of the estate that is, is asked with [`identify`](Self::identify).
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::login::ProvedLogin { ..todo!() };
/// ```
#[derive(Clone)]
pub struct ProvedLogin {
    login: Login,
    holder: String,
    secret: Zeroizing<[u8; 32]>,
}

/// A login is not proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// There is none of this text, or its time is over, or it was ended.
    #[error("the login is over or was ended; run `ambit login`")]
    Over,
    /// The proof is by another key, or for another text.
    #[error("the login is bound to another key; run `ambit login` where it is used")]
    OtherKey,
}

/// Returns the text of a login, for its holder alone.
pub fn text(id: LoginId, secret: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(format!("{id}.{}", base64url::encode(secret)))
}

/// Returns what a login that is opened by a provider's word keeps of that: nobody without the secret can try names.
pub fn subject(secret: &[u8; 32], sign_in: &SignIn) -> Digest {
    commitment(secret, sign_in.issuer(), sign_in.subject())
}

impl ShownLogin {
    /// Reads the text that a request shows.
    ///
    /// # Errors
    /// [`LoginError::Over`] when it is no such text.
    pub fn read(text: &str) -> Result<Self, LoginError> {
        let (id, secret) = text.split_once('.').ok_or(LoginError::Over)?;
        let secret = base64url::decode(secret).map(Zeroizing::new);
        let secret = secret.map_err(|_| LoginError::Over)?;
        let secret = <[u8; 32]>::try_from(secret.as_slice()).map_err(|_| LoginError::Over)?;
        Ok(Self {
            id: id.parse().map_err(|_| LoginError::Over)?,
            secret: Zeroizing::new(secret),
            text: Digest::of(text.as_bytes()),
        })
    }

    /// Returns the login's name.
    pub const fn id(&self) -> LoginId {
        self.id
    }

    /// Says whether the secret is that of `login`, which is not over. Digests of random bytes tell nothing by how long
    /// they compare.
    ///
    /// # Errors
    /// [`LoginError::Over`] when it is not.
    pub fn check(&self, login: &Login, now: Timestamp) -> Result<(), LoginError> {
        let same = login.id == self.id && login.secret == Digest::of(self.secret.as_slice());
        if same && now < login.expires_at {
            return Ok(());
        }
        Err(LoginError::Over)
    }

    /// Takes `proof`, which came with the text, as that of the key of `login`. `holder` is whose login it is by the live
    /// state, by alias.
    ///
    /// # Errors
    /// [`LoginError`] when the secret, the time or the key is not the login's.
    pub fn prove(
        self,
        login: Login,
        holder: String,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<ProvedLogin, LoginError> {
        self.check(&login, now)?;
        if proof.thumbprint() != login.key || !proof.is_made_for(self.text) {
            return Err(LoginError::OtherKey);
        }
        Ok(ProvedLogin {
            login,
            holder,
            secret: self.secret,
        })
    }
}

impl ProvedLogin {
    /// Returns the login.
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Identifies the person among those of an estate. The proof that opened the login must still be that person's.
    ///
    /// # Errors
    /// [`IdentityError::StaleLogin`] when it is not, or the estate does not have the person.
    pub fn identify(
        &self,
        people: &BTreeMap<String, Person>,
    ) -> Result<PersonCaller, IdentityError> {
        let stale = IdentityError::StaleLogin {
            login: self.login.id,
        };
        let Some(person) = people.get(&self.holder) else {
            return Err(stale);
        };
        if let LoginBy::Provider { subject } = self.login.by {
            let now = person.oidc.as_ref();
            let now = now.map(|it| commitment(&self.secret, &it.issuer, &it.subject));
            if now != Some(subject) {
                return Err(stale);
            }
        }
        Ok(PersonCaller {
            alias: self.holder.clone(),
            proof: PersonProof::SignIn {
                carrier: Carrier::KeyFile,
            },
        })
    }
}

fn commitment(secret: &[u8; 32], issuer: &str, subject: &str) -> Digest {
    let issuer_bytes = (issuer.len() as u64).to_be_bytes();
    Digest::of_parts(&[
        b"ambit login subject v1\0",
        secret,
        &issuer_bytes,
        issuer.as_bytes(),
        subject.as_bytes(),
    ])
}

impl fmt::Debug for ShownLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownLogin({})", self.id)
    }
}

impl fmt::Debug for ProvedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProvedLogin({})", self.login.id)
    }
}

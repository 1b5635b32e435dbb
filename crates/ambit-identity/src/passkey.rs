//! Passkeys (WebAuthn Level 3): what a browser answers, held against what was asked.
//!
//! A registration carries no attestation: whoever has the link of the enrolment claims the key, and nobody vouches for
//! the device. So nothing in it is signed, and the browser's own reading of the key (`getPublicKey`, §5.2.1.1) is as
//! good as its encoding in CBOR; no CBOR is read here. An assertion is a signature over bytes of a fixed layout.

use std::fmt;

use ambit_core::{
    Digest, PasskeyId, PersonId,
    json::{self, Value},
    limits::{CREDENTIAL_ID_BYTES_MAX, PASSKEY_KEY_BYTES_MAX},
    proof::{Passkey, PasskeyAlgorithm, PasskeyKept},
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};

use crate::jose::base64url;

/// The longest client data that is read, in bytes.
pub const CLIENT_DATA_BYTES_MAX: usize = 4096;
/// The longest authenticator data that is read, in bytes.
pub const AUTHENTICATOR_DATA_BYTES_MAX: usize = 4096;
/// The longest signature that is read, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 1024;

/// Who we are to authenticators: the origin of the public port, and its host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelyingParty {
    id: String,
    origin: String,
}

/// What a browser answers to `navigator.credentials.create`, each in base64url.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// `rawId`.
    pub credential: &'a str,
    /// `clientDataJSON`.
    pub client_data: &'a str,
    /// `getAuthenticatorData()`.
    pub authenticator_data: &'a str,
    /// `getPublicKey()`.
    pub public_key: &'a str,
    /// `getPublicKeyAlgorithm()`, in decimal digits.
    pub algorithm: &'a str,
}

/// What a browser answers to `navigator.credentials.get`, each in base64url.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// `rawId`.
    pub credential: &'a str,
    /// `clientDataJSON`.
    pub client_data: &'a str,
    /// `authenticatorData`.
    pub authenticator_data: &'a str,
    /// `signature`.
    pub signature: &'a str,
    /// `userHandle`.
    pub user_handle: &'a str,
}

/// A key that answered to our challenge, as its authenticator describes it.
///
/// Made only by [`RelyingParty::registered`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::passkey::NewKey { ..todo!() };
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewKey {
    credential: String,
    algorithm: PasskeyAlgorithm,
    public_key: String,
    sign_count: u32,
    kept: PasskeyKept,
}

/// Somebody signed in with a passkey, in this browser, a moment ago, and their device verified who they are.
///
/// Made only by [`RelyingParty::asserted`]. Whose passkey it is, is asked of the live state at every request.
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::passkey::PasskeySignIn { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct PasskeySignIn {
    passkey: PasskeyId,
    sign_count: u32,
}

/// A browser's answer does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasskeyError {
    /// A part is no base64url, too long, or not of its layout.
    #[error(
        "the browser's answer has a `{0}` that can't be read; try again, or with another browser"
    )]
    Unreadable(&'static str),
    /// The answer is of another kind.
    #[error("the browser answered another question; begin again")]
    Kind,
    /// The answer is to another challenge.
    #[error("the answer is not to this sign-in; begin again")]
    Challenge,
    /// The answer was made for another site.
    #[error(
        "the answer was made for another site; type the address of this one yourself and begin again"
    )]
    Origin,
    /// The authenticator signed for another site.
    #[error("the passkey is of another site")]
    RelyingParty,
    /// Nobody was there.
    #[error("nobody touched the authenticator; begin again")]
    NotPresent,
    /// The device did not verify who was there.
    #[error(
        "the device did not verify you; use one with a fingerprint, a face or a PIN, and begin again"
    )]
    NotVerified,
    /// Its flags contradict each other, or what was registered.
    #[error(
        "the authenticator contradicts itself or its registration; have the passkey removed and register another"
    )]
    Contradiction,
    /// The key can't be used.
    #[error("the passkey's key is of a kind that is not taken; use another authenticator")]
    Key,
    /// The signature is wrong.
    #[error("the signature does not hold; begin again")]
    Signature,
    /// The passkey does not say whose it is, or says that it is somebody else's.
    #[error(
        "the passkey does not say that it is this person's; have it removed and register another"
    )]
    OtherPerson,
    /// The authenticator counts less than it counted before: two have the key.
    #[error(
        "the authenticator counts fewer uses than before, so there is a copy of the passkey; have it removed \
         (`ambit people passkeys remove`) and register another"
    )]
    Copied,
}

/// A URL has no host that passkeys can be bound to.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "passkeys are bound to a host's name, and `{0}` has an address or none; write a name into public.url"
)]
pub struct NoHostName(String);

impl RelyingParty {
    /// Takes the public URL: scheme, host and port. Authenticators bind passkeys to the host.
    ///
    /// # Errors
    /// [`NoHostName`] when the host is an address (WebAuthn §5.1.3, an effective domain is a name).
    pub fn of(public_url: &str) -> Result<Self, NoHostName> {
        let none = || NoHostName(public_url.to_owned());
        let url = fluent_uri::Uri::parse(public_url).map_err(|_| none())?;
        let host = url.authority().ok_or_else(none)?.host().to_owned();
        let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
        if host.is_empty() || is_address {
            return Err(none());
        }
        Ok(Self {
            id: host,
            origin: public_url.to_owned(),
        })
    }

    /// Returns the name to which authenticators bind passkeys (RP ID).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Verifies the answer to a request for a new key (WebAuthn §7.1, without attestation).
    ///
    /// # Errors
    /// [`PasskeyError`] when it is not to `challenge`, for this site, by a device that verified its user.
    pub fn registered(
        &self,
        answer: &Registration<'_>,
        challenge: &str,
    ) -> Result<NewKey, PasskeyError> {
        self.check_client_data(answer.client_data, "webauthn.create", challenge)?;
        let bytes = decode(
            "authenticatorData",
            answer.authenticator_data,
            AUTHENTICATOR_DATA_BYTES_MAX,
        )?;
        let data = self.authenticator_data(&bytes)?;
        let credential = decode("rawId", answer.credential, CREDENTIAL_ID_BYTES_MAX)?;
        if data.credential()? != credential.as_slice() || credential.is_empty() {
            return Err(PasskeyError::Contradiction);
        }
        let algorithm = PasskeyAlgorithm::ALL
            .into_iter()
            .find(|it| it.cose().to_string() == answer.algorithm)
            .ok_or(PasskeyError::Key)?;
        let key = decode("publicKey", answer.public_key, PASSKEY_KEY_BYTES_MAX)?;
        ParsedPublicKey::new(implementation(algorithm), key).map_err(|_| PasskeyError::Key)?;
        Ok(NewKey {
            credential: answer.credential.to_owned(),
            algorithm,
            public_key: answer.public_key.to_owned(),
            sign_count: data.sign_count,
            kept: data.kept,
        })
    }

    /// Verifies the answer to a request for a signature of `passkey` (WebAuthn §7.2).
    ///
    /// # Errors
    /// [`PasskeyError`] when it is not to `challenge`, for this site, by that passkey, in a device that verified its
    /// user, or the passkey was copied.
    pub fn asserted(
        &self,
        answer: &Assertion<'_>,
        challenge: &str,
        passkey: &Passkey,
    ) -> Result<PasskeySignIn, PasskeyError> {
        let client_data = self.check_client_data(answer.client_data, "webauthn.get", challenge)?;
        let bytes = decode(
            "authenticatorData",
            answer.authenticator_data,
            AUTHENTICATOR_DATA_BYTES_MAX,
        )?;
        let data = self.authenticator_data(&bytes)?;
        let handle = user_handle(passkey.person);
        // Nobody said beforehand who signs in, so the passkey must (§7.2, step 6).
        if answer.user_handle != handle {
            return Err(PasskeyError::OtherPerson);
        }
        if answer.credential != passkey.credential || data.kept != passkey.kept {
            return Err(PasskeyError::Contradiction);
        }
        let key = decode("publicKey", &passkey.public_key, PASSKEY_KEY_BYTES_MAX)?;
        let key = ParsedPublicKey::new(implementation(passkey.algorithm), key);
        let key = key.map_err(|_| PasskeyError::Key)?;
        let signature = decode("signature", answer.signature, SIGNATURE_BYTES_MAX)?;
        let signed = [bytes.as_slice(), Digest::of(&client_data).as_bytes()].concat();
        key.verify_sig(&signed, &signature)
            .map_err(|_| PasskeyError::Signature)?;
        let counts = data.sign_count > 0 || passkey.sign_count > 0;
        if counts && data.sign_count <= passkey.sign_count {
            return Err(PasskeyError::Copied);
        }
        Ok(PasskeySignIn {
            passkey: passkey.id,
            sign_count: data.sign_count,
        })
    }

    /// Checks what the browser says that it did, and returns its bytes.
    fn check_client_data(
        &self,
        text: &str,
        kind: &str,
        challenge: &str,
    ) -> Result<Vec<u8>, PasskeyError> {
        let name = "clientDataJSON";
        let bytes = decode(name, text, CLIENT_DATA_BYTES_MAX)?;
        let value = json::parse_bounded(&bytes, CLIENT_DATA_BYTES_MAX);
        let value = value.map_err(|_| PasskeyError::Unreadable(name))?;
        let member = |name: &str| value.get(name).and_then(Value::as_str);
        if member("type") != Some(kind) {
            return Err(PasskeyError::Kind);
        }
        if member("challenge") != Some(challenge) {
            return Err(PasskeyError::Challenge);
        }
        let framed = value.get("crossOrigin").map(Value::as_bool);
        let framed = !matches!(framed, None | Some(Some(false)));
        if member("origin") != Some(&self.origin) || framed || value.get("topOrigin").is_some() {
            return Err(PasskeyError::Origin);
        }
        Ok(bytes)
    }

    /// Reads authenticator data (WebAuthn §6.1): the site's hash, flags, a count, and what belongs to a new key.
    fn authenticator_data<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<AuthenticatorData<'a>, PasskeyError> {
        let short = || PasskeyError::Unreadable("authenticatorData");
        let (site, rest) = bytes.split_first_chunk::<32>().ok_or_else(short)?;
        let ([flags], rest) = rest.split_first_chunk::<1>().ok_or_else(short)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        if site != Digest::of(self.id.as_bytes()).as_bytes() {
            return Err(PasskeyError::RelyingParty);
        }
        if flags & USER_PRESENT == 0 {
            return Err(PasskeyError::NotPresent);
        }
        if flags & USER_VERIFIED == 0 {
            return Err(PasskeyError::NotVerified);
        }
        let kept = match (flags & BACKUP_ELIGIBLE != 0, flags & BACKED_UP != 0) {
            (true, _) => PasskeyKept::Synced,
            (false, false) => PasskeyKept::Device,
            (false, true) => return Err(PasskeyError::Contradiction),
        };
        Ok(AuthenticatorData {
            flags: *flags,
            sign_count: u32::from_be_bytes(*count),
            kept,
            rest,
        })
    }
}

impl NewKey {
    /// Returns the passkey that the key becomes: named, and somebody's.
    pub fn of_person(self, id: PasskeyId, person: PersonId) -> Passkey {
        Passkey {
            id,
            person,
            credential: self.credential,
            algorithm: self.algorithm,
            public_key: self.public_key,
            sign_count: self.sign_count,
            kept: self.kept,
        }
    }

    /// Returns the authenticator's name for the key, in base64url.
    pub fn credential(&self) -> &str {
        &self.credential
    }
}

impl PasskeySignIn {
    /// Returns the passkey.
    pub const fn passkey(&self) -> PasskeyId {
        self.passkey
    }

    /// Returns how often its authenticator says that it signed.
    pub const fn sign_count(&self) -> u32 {
        self.sign_count
    }
}

/// Returns what authenticators keep as the user's name (`user.id`), in base64url: the pseudonym.
pub fn user_handle(person: PersonId) -> String {
    base64url::encode(person.to_string())
}

struct AuthenticatorData<'a> {
    flags: u8,
    sign_count: u32,
    kept: PasskeyKept,
    rest: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Returns the authenticator's name for a new key (WebAuthn §6.5.1).
    fn credential(&self) -> Result<&'a [u8], PasskeyError> {
        let short = || PasskeyError::Unreadable("authenticatorData");
        if self.flags & ATTESTED_CREDENTIAL == 0 {
            return Err(short());
        }
        let (_model, rest) = self.rest.split_first_chunk::<16>().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let length = usize::from(u16::from_be_bytes(*length));
        rest.get(..length).ok_or_else(short)
    }
}

impl fmt::Display for RelyingParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

fn decode(name: &'static str, text: &str, bytes_max: usize) -> Result<Vec<u8>, PasskeyError> {
    let unreadable = PasskeyError::Unreadable(name);
    if text.len() > bytes_max.div_ceil(3) * 4 {
        return Err(unreadable);
    }
    let bytes = base64url::decode(text).map_err(|_| unreadable)?;
    if bytes.len() > bytes_max {
        return Err(unreadable);
    }
    Ok(bytes)
}

fn implementation(algorithm: PasskeyAlgorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        PasskeyAlgorithm::Es256 => &ECDSA_P256_SHA256_ASN1,
        PasskeyAlgorithm::EdDsa => &ED25519,
        PasskeyAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
    }
}

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED_CREDENTIAL: u8 = 0x40;

#[cfg(test)]
mod tests;

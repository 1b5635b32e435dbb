//! An authenticator that does as it is told: what a person's device and browser answer, right or wrong.

use std::collections::BTreeMap;

use ambit_core::{Digest, json::Value};
use ambit_identity::{SvidKey, jose::base64url, passkey::Registration};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};

/// A device with one passkey, and the browser that it is used in (WebAuthn Level 3).
#[derive(Debug)]
pub struct Authenticator {
    pair: EcdsaKeyPair,
    public_key: Vec<u8>,
    /// The device's name for the passkey.
    pub credential: String,
    /// Where the browser is.
    pub origin: String,
    /// For which host the device signs.
    pub site: String,
    /// Members of the client data that the browser writes instead.
    pub client_data: Vec<(&'static str, Value)>,
    /// What the device says of itself and its user (§6.1); whether a key is new is added.
    pub flags: u8,
    /// How often it signed.
    pub sign_count: u32,
    /// Whose passkey the device says that it is, in base64url.
    pub user_handle: String,
}

/// What a browser puts into the form of a page, by the form's names.
#[derive(Clone, Debug)]
pub struct FormAnswer(BTreeMap<&'static str, String>);

/// Somebody was there, and the device verified who.
pub const VERIFIED: u8 = 0x05;
/// Somebody was there.
pub const PRESENT: u8 = 0x01;

impl Authenticator {
    /// Makes one at the site with this URL, whose key is made of `chance`.
    pub fn new(credential: &str, chance: u8, url: &str) -> Self {
        let key = SvidKey::generate([chance; 32]).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.pkcs8());
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        Self {
            pair: pair.expect("a key that the library made"),
            public_key: key.public_key_der(),
            credential: credential.to_owned(),
            origin: url.to_owned(),
            site: host.split(':').next().unwrap_or_default().to_owned(),
            client_data: Vec::new(),
            flags: VERIFIED,
            sign_count: 0,
            user_handle: String::new(),
        }
    }

    /// Makes the key (`navigator.credentials.create`).
    pub fn create(&self, challenge: &str) -> FormAnswer {
        let length = u16::try_from(self.credential.len()).expect("a short name");
        let begin = self.data(self.flags | NEW_KEY);
        let data = [
            begin.as_slice(),
            &[0; 16],
            &length.to_be_bytes(),
            self.credential.as_bytes(),
            b"\xa5",
        ];
        FormAnswer(BTreeMap::from([
            ("credential", base64url::encode(&self.credential)),
            (
                "client_data",
                base64url::encode(self.client_data("webauthn.create", challenge)),
            ),
            ("authenticator_data", base64url::encode(data.concat())),
            ("public_key", base64url::encode(&self.public_key)),
            ("algorithm", "-7".to_owned()),
        ]))
    }

    /// Signs once (`navigator.credentials.get`). It counts only when it is told to.
    pub fn get(&self, challenge: &str) -> FormAnswer {
        let client_data = self.client_data("webauthn.get", challenge);
        let data = self.data(self.flags);
        let signed = [data.as_slice(), Digest::of(&client_data).as_bytes()].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed);
        FormAnswer(BTreeMap::from([
            ("credential", base64url::encode(&self.credential)),
            ("client_data", base64url::encode(client_data)),
            ("authenticator_data", base64url::encode(data)),
            (
                "signature",
                base64url::encode(signature.expect("a signature")),
            ),
            ("user_handle", self.user_handle.clone()),
        ]))
    }

    fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let usual = [
            ("type", Value::from(kind)),
            ("challenge", challenge.into()),
            ("origin", self.origin.as_str().into()),
            ("crossOrigin", false.into()),
        ];
        let own = self.client_data.iter().cloned();
        let members = usual.into_iter().chain(own);
        let members: BTreeMap<String, Value> = members
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Value::Object(members).to_canonical().into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let site = Digest::of(self.site.as_bytes());
        let count = self.sign_count.to_be_bytes();
        [site.as_bytes().as_slice(), &[flags], &count].concat()
    }
}

impl FormAnswer {
    /// Returns the form's fields.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Puts something else into a field.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.insert(name, value.into());
    }

    /// Returns what it says of a new key.
    pub fn registration(&self) -> Registration<'_> {
        let field = |name| self.0.get(name).map_or("", String::as_str);
        Registration {
            credential: field("credential"),
            client_data: field("client_data"),
            authenticator_data: field("authenticator_data"),
            public_key: field("public_key"),
            algorithm: field("algorithm"),
        }
    }
}

/// The data end with a new key (§6.1, attested credential data).
const NEW_KEY: u8 = 0x40;

use ambit_core::PersonId;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};

use super::*;
use crate::SvidKey;

const URL: &str = "https://ambit.example.org";
const CHALLENGE: &str = "Y2hhbGxlbmdl";
const CREDENTIAL: &[u8] = b"credential";

/// An authenticator that does as it is told.
struct Authenticator {
    pair: EcdsaKeyPair,
    public_key: String,
    client_data: Vec<(&'static str, Value)>,
    site: &'static str,
    flags: u8,
    sign_count: u32,
}

impl Authenticator {
    fn new() -> Self {
        let key = SvidKey::generate([7; 32]).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.pkcs8());
        Self {
            pair: pair.unwrap(),
            public_key: base64url::encode(key.public_key_der()),
            client_data: Vec::new(),
            site: "ambit.example.org",
            flags: USER_PRESENT | USER_VERIFIED,
            sign_count: 1,
        }
    }

    fn client_data(&self, kind: &str) -> Vec<u8> {
        let mut members = std::collections::BTreeMap::new();
        for (name, value) in [
            ("type", Value::from(kind)),
            ("challenge", CHALLENGE.into()),
            ("origin", URL.into()),
            ("crossOrigin", false.into()),
        ] {
            members.insert(name.to_owned(), value);
        }
        for (name, value) in &self.client_data {
            members.insert((*name).to_owned(), value.clone());
        }
        Value::Object(members).to_canonical().into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let site = Digest::of(self.site.as_bytes());
        let count = self.sign_count.to_be_bytes();
        [site.as_bytes(), [flags].as_slice(), &count].concat()
    }

    fn register(&self) -> Result<NewKey, PasskeyError> {
        let length = u16::try_from(CREDENTIAL.len()).unwrap().to_be_bytes();
        let data = self.data(self.flags | ATTESTED_CREDENTIAL);
        let data = [&data, [0; 16].as_slice(), &length, CREDENTIAL, b"\xa5"].concat();
        party().registered(
            &Registration {
                credential: &base64url::encode(CREDENTIAL),
                client_data: &base64url::encode(self.client_data("webauthn.create")),
                authenticator_data: &base64url::encode(data),
                public_key: &self.public_key,
                algorithm: "-7",
            },
            CHALLENGE,
        )
    }

    fn assert(&self, passkey: &Passkey, handle: &str) -> Result<PasskeySignIn, PasskeyError> {
        let client_data = self.client_data("webauthn.get");
        let data = self.data(self.flags);
        let signed = [data.as_slice(), Digest::of(&client_data).as_bytes()].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        party().asserted(
            &Assertion {
                credential: &base64url::encode(CREDENTIAL),
                client_data: &base64url::encode(client_data),
                authenticator_data: &base64url::encode(data),
                signature: &base64url::encode(signature),
                user_handle: handle,
            },
            CHALLENGE,
            passkey,
        )
    }
}

fn party() -> RelyingParty {
    RelyingParty::of(URL).unwrap()
}

fn passkey() -> Passkey {
    let key = Authenticator::new().register().unwrap();
    key.of_person(PasskeyId::from_bits(1), PersonId::from_bits(2))
}

#[test]
fn passkeys_are_bound_to_a_host_with_a_name() {
    let check = |url: &str, wanted: Option<&str>| {
        let found = RelyingParty::of(url).ok();
        assert_eq!(found.as_ref().map(RelyingParty::id), wanted, "{url}");
    };
    check("https://ambit.example.org", Some("ambit.example.org"));
    check("https://ambit.example.org:8443", Some("ambit.example.org"));
    check("http://localhost:7422", Some("localhost"));
    for url in ["https://127.0.0.1", "http://[::1]:9", "https://", "x", ""] {
        check(url, None);
    }
}

#[test]
fn a_registration_is_for_this_page_by_a_verified_user() {
    let key = Authenticator::new().register().unwrap();
    assert_eq!(key.credential(), base64url::encode(CREDENTIAL));
    let check = |change: &dyn Fn(&mut Authenticator), wanted: PasskeyError| {
        let mut authenticator = Authenticator::new();
        change(&mut authenticator);
        assert_eq!(authenticator.register().err(), Some(wanted));
    };
    check(
        &|it| it.client_data.push(("type", "webauthn.get".into())),
        PasskeyError::Kind,
    );
    check(&|it| it.flags = USER_PRESENT, PasskeyError::NotVerified);
    check(&|it| it.public_key = "AAAA".to_owned(), PasskeyError::Key);
    check(&|it| it.flags |= BACKED_UP, PasskeyError::Contradiction);
}

/// NHI04, ASI03: answers made elsewhere, for elsewhere, or before.
#[test]
fn nhi04_an_assertion_is_for_this_sign_in_by_a_verified_user() {
    let passkey = passkey();
    let own = user_handle(passkey.person);
    let check = |change: &dyn Fn(&mut Authenticator), wanted: Result<u32, PasskeyError>| {
        let mut authenticator = Authenticator::new();
        authenticator.sign_count = 2;
        change(&mut authenticator);
        let found = authenticator.assert(&passkey, &own);
        assert_eq!(found.map(|it| it.sign_count()), wanted);
    };
    check(&|_| {}, Ok(2));
    let client = |name: &'static str, value: Value, wanted| {
        check(
            &|it| it.client_data.push((name, value.clone())),
            Err(wanted),
        );
    };
    client("type", "webauthn.create".into(), PasskeyError::Kind);
    client("challenge", "b3RoZXI".into(), PasskeyError::Challenge);
    for origin in [
        "https://ambit.example.org.evil.example",
        "http://ambit.example.org",
        "https://ambit.example.org:444",
        "https://ambit.example.org/",
    ] {
        client("origin", origin.into(), PasskeyError::Origin);
    }
    client("crossOrigin", true.into(), PasskeyError::Origin);
    client("crossOrigin", "false".into(), PasskeyError::Origin);
    client("topOrigin", URL.into(), PasskeyError::Origin);
    check(
        &|it| it.site = "evil.example",
        Err(PasskeyError::RelyingParty),
    );
    check(
        &|it| it.flags = USER_PRESENT,
        Err(PasskeyError::NotVerified),
    );
    check(
        &|it| it.flags = USER_VERIFIED,
        Err(PasskeyError::NotPresent),
    );
    check(
        &|it| it.flags |= BACKUP_ELIGIBLE,
        Err(PasskeyError::Contradiction),
    );
    for count in [0, 1] {
        check(&|it| it.sign_count = count, Err(PasskeyError::Copied));
    }
    let other = Authenticator::new();
    for somebody in [user_handle(PersonId::from_bits(3)), String::new()] {
        let found = other.assert(&passkey, &somebody).err();
        assert_eq!(found, Some(PasskeyError::OtherPerson), "{somebody}");
    }
    let mut of_another_key = passkey.clone();
    let key = SvidKey::generate([8; 32]).unwrap();
    of_another_key.public_key = base64url::encode(key.public_key_der());
    of_another_key.sign_count = 0;
    let found = other.assert(&of_another_key, &own).err();
    assert_eq!(found, Some(PasskeyError::Signature));
}

#[test]
fn an_authenticator_that_does_not_count_never_does() {
    let mut passkey = passkey();
    passkey.sign_count = 0;
    let mut authenticator = Authenticator::new();
    let own = user_handle(passkey.person);
    authenticator.sign_count = 0;
    assert!(authenticator.assert(&passkey, &own).is_ok());
    authenticator.sign_count = 1;
    assert!(authenticator.assert(&passkey, &own).is_ok());
}

#[test]
fn every_part_has_a_longest_length() {
    let check = |bytes: usize, max: usize, wanted: bool| {
        let text = base64url::encode(vec![0; bytes]);
        assert_eq!(decode("part", &text, max).is_ok(), wanted, "{bytes}");
    };
    for max in [
        CLIENT_DATA_BYTES_MAX,
        AUTHENTICATOR_DATA_BYTES_MAX,
        SIGNATURE_BYTES_MAX,
        CREDENTIAL_ID_BYTES_MAX,
        PASSKEY_KEY_BYTES_MAX,
    ] {
        check(max, max, true);
        check(max + 1, max, false);
    }
}

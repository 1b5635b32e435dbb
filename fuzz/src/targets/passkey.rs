//! Answers of browsers about passkeys: what is accepted is an answer to our challenge, for our host, of a device that verified
//! its user; and no signature that nobody made holds.

use std::sync::OnceLock;

use ambit_core::{
    Digest, PasskeyId, PersonId,
    json::{self, Value},
    proof::Passkey,
};
use ambit_identity::{
    SvidKey,
    jose::base64url,
    passkey::{Assertion, PasskeyError, Registration, RelyingParty, user_handle},
};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "passkey",
    run,
    seeds,
    words: &[
        "\"type\":\"webauthn.get\"",
        "\"type\":\"webauthn.create\"",
        "\"crossOrigin\":true",
        "\"topOrigin\":",
        "\"challenge\":\"Y2hhbGxlbmdl\"",
        "\"origin\":\"https://ambit.example.org\"",
    ],
};

const URL: &str = "https://ambit.example.org";
const HOST: &str = "ambit.example.org";
const CHALLENGE: &str = "Y2hhbGxlbmdl";
const CREDENTIAL: &[u8] = b"credential";
/// Somebody was there, and was verified.
const VERIFIED: u8 = 0x05;

/// The public key of every answer, in base64url.
fn public_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = SvidKey::generate([5; 32]).expect("a key");
        base64url::encode(key.public_key_der())
    })
}

/// The client data come before the first line break, the authenticator data after it.
fn run(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|it| *it == b'\n') else {
        return;
    };
    let (client_data, rest) = bytes.split_at(at);
    let data = rest.strip_prefix(b"\n").unwrap_or(rest);
    let party = RelyingParty::of(URL).expect("a host with a name");
    let texts = [CREDENTIAL, client_data, data].map(base64url::encode);
    let [credential, client_text, data_text] = &texts;
    let made = party.registered(
        &Registration {
            credential,
            client_data: client_text,
            authenticator_data: data_text,
            public_key: public_key(),
            algorithm: "-7",
        },
        CHALLENGE,
    );
    let Ok(key) = made else {
        return;
    };
    let said = json::parse(client_data).expect("it was read");
    for (name, wanted) in [("challenge", CHALLENGE), ("origin", URL)] {
        assert_eq!(said.get(name).and_then(Value::as_str), Some(wanted));
    }
    let host = Digest::of(HOST.as_bytes());
    assert!(data.starts_with(host.as_bytes()), "for our host");
    let flags = data.get(32).copied().unwrap_or_default();
    assert_eq!(flags & VERIFIED, VERIFIED, "by a verified user");
    assert!(data.windows(CREDENTIAL.len()).any(|it| it == CREDENTIAL));
    check_no_signature(
        &party,
        key.of_person(PasskeyId::from_bits(1), PersonId::from_bits(2)),
        data,
    );
}

/// Nobody signed, so nothing holds, however the rest of it is.
fn check_no_signature(party: &RelyingParty, mut passkey: Passkey, data: &[u8]) {
    passkey.sign_count = 0;
    let signed = party.asserted(
        &Assertion {
            credential: &passkey.credential,
            client_data: &base64url::encode(client_data("webauthn.get")),
            authenticator_data: &base64url::encode(data),
            signature: &base64url::encode(data),
            user_handle: &user_handle(passkey.person),
        },
        CHALLENGE,
        &passkey,
    );
    let error = signed.expect_err("nobody signed");
    let known = [
        PasskeyError::Signature,
        PasskeyError::Unreadable("signature"),
    ];
    assert!(known.contains(&error), "{error}");
}

fn client_data(kind: &str) -> String {
    Value::object([
        ("type", Value::from(kind)),
        ("challenge", CHALLENGE.into()),
        ("origin", URL.into()),
        ("crossOrigin", false.into()),
    ])
    .to_canonical()
}

fn seeds() -> Vec<Vec<u8>> {
    let host = Digest::of(HOST.as_bytes());
    let length = u16::try_from(CREDENTIAL.len())
        .unwrap_or_default()
        .to_be_bytes();
    let counted = [0, 0, 0, 1];
    let (create, get) = (client_data("webauthn.create"), client_data("webauthn.get"));
    let new = [
        create.as_bytes(),
        b"\n",
        host.as_bytes(),
        &[VERIFIED | 0x40],
        &counted,
        &[0; 16],
        &length,
        CREDENTIAL,
        b"\xa5",
    ];
    let used = [
        get.as_bytes(),
        b"\n",
        host.as_bytes(),
        &[VERIFIED],
        &counted,
    ];
    vec![new.concat(), used.concat()]
}

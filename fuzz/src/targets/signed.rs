//! Every kind of token with one key: what is bred is signed, so that it is read and not only refused.

use std::sync::OnceLock;

use ambit_identity::{
    SvidKey,
    dpop::{self, ProvedRequest},
    jose::{Algorithm, JwkSet, KeyUse, Profile, SigningKey, VerifyingKeys, base64url},
    sign_in::{Flow, FlowKey},
    token::{
        access::{self, AccessVerifier},
        assertion::{self, ClientKeys},
        id_token::{self, IdTokenIssuer},
        jwt_svid::{self, JwtSvidKeys},
        workload_token::{self, WorkloadIssuer},
    },
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

use super::site::{NOW, trust_domain};

/// Who issues, and whom it is for.
pub(super) const ISSUER: &str = "https://ambit.example.org";
pub(super) const AUDIENCE: &str = "https://ambit.example.org/mcp";

/// A kind of token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Access,
    Svid,
    SvidAssertion,
    Assertion,
    Workload,
    Id,
    Proof,
}

/// What a token that was taken says.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Said {
    /// Whose it is.
    pub(super) subject: String,
    /// What names it.
    pub(super) token_id: Option<String>,
    /// Until when it counts, in milliseconds, where that is told.
    pub(super) until: Option<u64>,
}

struct World {
    pair: EcdsaKeyPair,
    /// The key as it is published, and as a proof carries it.
    key_id: String,
    embedded: String,
    access: AccessVerifier,
    svids: JwtSvidKeys,
    client: ClientKeys,
    workload: WorkloadIssuer,
    provider: IdTokenIssuer,
    flow: Flow,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Access,
        Self::Svid,
        Self::SvidAssertion,
        Self::Assertion,
        Self::Workload,
        Self::Id,
        Self::Proof,
    ];

    pub(super) const fn profile(self) -> Profile {
        match self {
            Self::Access => access::PROFILE,
            Self::Svid | Self::SvidAssertion => jwt_svid::PROFILE,
            Self::Assertion => assertion::PROFILE,
            Self::Workload => workload_token::PROFILE,
            Self::Id => id_token::PROFILE,
            Self::Proof => dpop::PROFILE,
        }
    }

    /// Reads a token, whoever signed it.
    pub(super) fn read(self, token: &str) -> Option<Said> {
        let world = world();
        let said = |subject: &dyn ToString, token_id: Option<&str>, until| {
            let (subject, token_id) = (subject.to_string(), token_id.map(str::to_owned));
            Some(Said {
                subject,
                token_id,
                until,
            })
        };
        match self {
            Self::Access => {
                let read = world.access.verify(token, AUDIENCE, NOW).ok()?;
                let grant = read.grant();
                let until = Some(grant.expires_at.as_millis());
                said(&grant.subject, Some(&grant.token_id), until)
            }
            Self::Svid => {
                let read = jwt_svid::verify(token, &world.svids, AUDIENCE, NOW).ok()?;
                let until = Some(read.expires_at().as_millis());
                said(read.spiffe_id(), read.token_id(), until)
            }
            Self::SvidAssertion => {
                let read = assertion::verify_jwt_spiffe(token, &world.svids, ISSUER, NOW).ok()?;
                let until = Some(read.expires_at().as_millis());
                said(read.spiffe_id(), read.token_id(), until)
            }
            Self::Assertion => {
                let read = assertion::verify_private_key_jwt(token, &world.client, ISSUER, NOW);
                let read = read.ok()?;
                let until = Some(read.expires_at().as_millis());
                said(&read.client_id(), Some(read.token_id()), until)
            }
            Self::Workload => {
                let read = world.workload.verify(token, NOW).ok()?;
                let until = Some(read.expires_at().as_millis());
                said(&read.subject(), read.token_id(), until)
            }
            Self::Id => {
                let read = world.provider.verify(token, &world.flow, NOW).ok()?;
                said(&read.subject(), None, None)
            }
            Self::Proof => {
                let read = dpop::verify(token, &request()).ok()?;
                let until = Some(read.remember_until().as_millis());
                said(&read.thumbprint(), Some(read.token_id()), until)
            }
        }
    }

    /// Returns the header and the claims of a good token.
    pub(super) fn good(self) -> (String, String) {
        let (iat, kid) = (NOW.as_millis() / 1000, &world().key_id);
        let (exp, nonce) = (iat + 60, world().flow.nonce());
        let named = |typ: &str| format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{typ}"}}"#);
        let dated = |rest: &str| format!(r#"{{"iat":{iat},"exp":{exp},{rest}}}"#);
        match self {
            Self::Access => (
                named("at+jwt"),
                dated(&format!(
                    r#""iss":"{ISSUER}","sub":"p","client_id":"c","aud":"{AUDIENCE}","jti":"t","act":{{"sub":"spiffe://example.org/a"}},"mission":{{"id":"t","root":"t","issuer":"{ISSUER}","authority_hash":"h","expires_at":"e"}},"authorization_details":[{{"type":"ambit_task"}}]"#
                )),
            ),
            Self::Svid => {
                let rest = format!(r#""sub":"spiffe://example.org/a","aud":["{AUDIENCE}","x"]"#);
                (named("JWT"), dated(&rest))
            }
            Self::SvidAssertion => {
                let rest = format!(r#""sub":"spiffe://example.org/a","aud":"{ISSUER}","jti":"t""#);
                (named("JOSE"), dated(&rest))
            }
            Self::Assertion => {
                let rest = format!(r#""iss":"c","sub":"c","aud":"{ISSUER}","jti":"t","nbf":0"#);
                (named("client-authentication+jwt"), dated(&rest))
            }
            Self::Workload => {
                let rest = format!(r#""iss":"i","sub":"s","aud":"{ISSUER}","job":{{"share":0.5}}"#);
                (named("JWT"), dated(&rest))
            }
            Self::Id => {
                let rest = format!(r#""iss":"i","sub":"s","aud":"ambit","nonce":"{nonce}""#);
                (named("JWT"), dated(&rest))
            }
            Self::Proof => {
                let jwk = &world().embedded;
                let header = format!(r#"{{"alg":"ES256","typ":"dpop+jwt","jwk":{jwk}}}"#);
                let rest = format!(r#""htm":"POST","htu":"{ISSUER}/oauth/token","jti":"t""#);
                (header, dated(&rest))
            }
        }
    }
}

/// Signs whatever header and claims.
pub(super) fn sign(header: &[u8], claims: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        base64url::encode(header),
        base64url::encode(claims)
    );
    let signature = world().pair.sign(&SystemRandom::new(), signed.as_bytes());
    let signature = base64url::encode(signature.expect("a signature"));
    format!("{signed}.{signature}")
}

/// The request that every proof is for.
pub(super) const fn request() -> ProvedRequest<'static> {
    ProvedRequest {
        method: "POST",
        url: "https://ambit.example.org/oauth/token",
        access_token: None,
        nonces: None,
        now: NOW,
        wall: NOW,
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let secret = SvidKey::generate([1; 32]).expect("a key").pkcs8();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &secret);
        let set = |key_use| {
            let key = SigningKey::from_pkcs8(&secret, key_use).expect("a key");
            JwkSet::new(vec![key.public().clone()]).expect("one key")
        };
        let (signing, svids) = (set(KeyUse::Signature), set(KeyUse::JwtSvid));
        let keys = VerifyingKeys::new(&signing, &[KeyUse::Signature], &[Algorithm::Es256]);
        let keys = keys.expect("one key");
        let [key] = signing.keys() else {
            unreachable!("one key");
        };
        let client_id = "c".to_owned();
        World {
            pair: pair.expect("a key"),
            key_id: key.key_id().expect("a name").to_owned(),
            embedded: key.bare().to_value().to_canonical(),
            access: AccessVerifier::new(ISSUER.to_owned(), keys.clone()),
            svids: JwtSvidKeys::new(trust_domain(), &svids).expect("one key"),
            workload: WorkloadIssuer::with_keys("i".to_owned(), ISSUER.to_owned(), keys.clone()),
            provider: IdTokenIssuer::new("i".to_owned(), "ambit".to_owned(), &signing)
                .expect("one key"),
            flow: FlowKey::new(&[5; 32])
                .begin([6; 32], "/", NOW)
                .expect("a path of ours"),
            client: ClientKeys { client_id, keys },
        }
    })
}

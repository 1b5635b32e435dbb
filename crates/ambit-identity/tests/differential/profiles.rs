//! Every kind of token that is read: a good one of it, who verifies it here, and by which rules others judge it.

use ambit_core::{Timestamp, json::Value};
use ambit_identity::{
    dpop::{self, ProvedRequest},
    jose::{Algorithm, JwkSet, KeyUse, VerifyingKeys},
    sign_in::{Flow, FlowKey},
    token::{
        access::{self, AccessVerifier},
        assertion::{self, ClientKeys},
        id_token::{self, IdTokenIssuer},
        jwt_svid::{self, JwtSvidKeys},
        workload_token::{self, WorkloadIssuer},
    },
};

use crate::keys::{self, Ring};

pub(crate) const ISSUER: &str = "https://ambit.example.org";
pub(crate) const AUDIENCE: &str = "https://ambit.example.org/mcp";
/// 2026-11-22T00:00:00Z.
pub(crate) const NOW_SECONDS: u64 = 1_795_305_600;
/// How long a good token is good.
pub(crate) const TTL_SECONDS: u64 = 240;

const CLIENT: &str = "https://app.example/client";
const FOREIGN_ISSUER: &str = "https://tokens.example";
const PROVIDER: &str = "https://id.example.org";
const DIGEST: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// A kind of token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// An access token of ours.
    Access,
    /// A JWT-SVID of our own trust domain.
    OwnSvid,
    /// A JWT-SVID of another one.
    ForeignSvid,
    /// A JWT-SVID by which a client proves itself.
    SvidAssertion,
    /// What a client signs with a key of its own.
    Assertion,
    /// A token of another issuer.
    WorkloadToken,
    /// A provider's word that somebody signed in.
    IdToken,
    /// A DPoP proof.
    Proof,
}

/// Who reads one kind of token, signed with one algorithm, at one time.
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) algorithm: Algorithm,
    pub(crate) now_seconds: u64,
    pub(crate) ring: &'static Ring,
    verifier: Verifier,
}

enum Verifier {
    Access(AccessVerifier),
    Svid(JwtSvidKeys),
    SvidAssertion(JwtSvidKeys),
    Assertion(ClientKeys),
    WorkloadToken(WorkloadIssuer),
    IdToken(IdTokenIssuer),
    Proof,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Access,
        Self::OwnSvid,
        Self::ForeignSvid,
        Self::SvidAssertion,
        Self::Assertion,
        Self::WorkloadToken,
        Self::IdToken,
        Self::Proof,
    ];

    /// All but proofs, which say neither when they end nor for whom they are.
    pub(crate) const BUT_PROOF: &[Self] = &[
        Self::Access,
        Self::OwnSvid,
        Self::ForeignSvid,
        Self::SvidAssertion,
        Self::Assertion,
        Self::WorkloadToken,
        Self::IdToken,
    ];

    /// Returns every algorithm that this kind may be signed with: our own SVIDs are signed with one.
    pub(crate) const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Access => access::PROFILE.algorithms,
            Self::OwnSvid => &[Algorithm::Es256],
            Self::ForeignSvid | Self::SvidAssertion => jwt_svid::PROFILE.algorithms,
            Self::Assertion => assertion::PROFILE.algorithms,
            Self::WorkloadToken => workload_token::PROFILE.algorithms,
            Self::IdToken => id_token::PROFILE.algorithms,
            Self::Proof => dpop::PROFILE.algorithms,
        }
    }

    const fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Access => Some(ISSUER),
            Self::OwnSvid | Self::ForeignSvid | Self::SvidAssertion | Self::Proof => None,
            Self::Assertion => Some(CLIENT),
            Self::WorkloadToken => Some(FOREIGN_ISSUER),
            Self::IdToken => Some(PROVIDER),
        }
    }

    pub(crate) const fn audience(self) -> Option<&'static str> {
        match self {
            Self::Access | Self::OwnSvid | Self::ForeignSvid => Some(AUDIENCE),
            Self::SvidAssertion | Self::Assertion | Self::WorkloadToken => Some(ISSUER),
            Self::IdToken => Some("ambit"),
            Self::Proof => None,
        }
    }

    /// Returns the `typ` of a good token.
    pub(crate) const fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Proof => "dpop+jwt",
            Self::OwnSvid
            | Self::ForeignSvid
            | Self::SvidAssertion
            | Self::Assertion
            | Self::WorkloadToken
            | Self::IdToken => "JWT",
        }
    }

    /// Returns how far another clock may lie from ours.
    pub(crate) const fn leeway_seconds(self) -> u64 {
        match self {
            Self::Access => 5,
            Self::OwnSvid
            | Self::ForeignSvid
            | Self::SvidAssertion
            | Self::Assertion
            | Self::WorkloadToken
            | Self::IdToken => 30,
            Self::Proof => 60,
        }
    }

    /// Returns the claims that this kind has no use without.
    pub(crate) const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Access => &[
                "iss",
                "sub",
                "aud",
                "exp",
                "iat",
                "jti",
                "client_id",
                "act",
                "mission",
                "authorization_details",
            ],
            Self::OwnSvid | Self::ForeignSvid | Self::SvidAssertion => &["sub", "aud", "exp"],
            Self::Assertion => &["iss", "sub", "aud", "exp", "jti"],
            Self::WorkloadToken => &["iss", "sub", "aud", "exp"],
            Self::IdToken => &["iss", "sub", "aud", "exp", "iat", "nonce"],
            Self::Proof => &["htm", "htu", "iat", "jti"],
        }
    }

    /// Says whether this kind reads a claim; others mean nothing to it. An access token has no others.
    pub(crate) fn reads(self, claim: &str) -> bool {
        let also: &[&str] = match self {
            Self::Access => return true,
            Self::OwnSvid | Self::ForeignSvid | Self::SvidAssertion => &["iss", "jti", "iat"],
            Self::Assertion => &["iat"],
            Self::WorkloadToken => &["iat", "jti"],
            Self::IdToken => &["azp"],
            Self::Proof => &["exp", "ath", "nonce"],
        };
        claim == "nbf" || also.contains(&claim) || self.required().contains(&claim)
    }

    /// Returns the claims of a good token.
    pub(crate) fn claims(self, now: u64) -> String {
        let exp = now + TTL_SECONDS;
        match self {
            Self::Access => format!(
                r#"{{"iss":"{ISSUER}","sub":"person_1","client_id":"spiffe://example.org/agent/a/1",
        "aud":"{AUDIENCE}","jti":"t","iat":{now},"exp":{exp},"act":{{"sub":"spiffe://example.org/agent/a/1"}},
        "mission":{{"id":"task_1","root":"task_1","issuer":"{ISSUER}","authority_hash":"h","expires_at":"e"}},
        "authorization_details":[{{"type":"ambit_task"}}],"cnf":{{"jkt":"{DIGEST}"}}}}"#
            ),
            Self::OwnSvid => format!(
                r#"{{"sub":"spiffe://example.org/agent/a/1","aud":"{AUDIENCE}","jti":"t","iat":{now},"exp":{exp}}}"#
            ),
            Self::ForeignSvid => format!(
                r#"{{"sub":"spiffe://partner.example/ns/a","aud":["{AUDIENCE}"],"iat":{now},"exp":{exp}}}"#
            ),
            Self::SvidAssertion => format!(
                r#"{{"sub":"spiffe://partner.example/ns/a","aud":"{ISSUER}","jti":"t","iat":{now},"exp":{exp}}}"#
            ),
            Self::Assertion => format!(
                r#"{{"iss":"{CLIENT}","sub":"{CLIENT}","aud":"{ISSUER}","jti":"t","iat":{now},"exp":{exp}}}"#
            ),
            Self::WorkloadToken => format!(
                r#"{{"iss":"{FOREIGN_ISSUER}","sub":"repo:app","aud":"{ISSUER}","jti":"t","iat":{now},"exp":{exp},
        "job":{{"ref":"main","attempt":1,"share":0.5}}}}"#
            ),
            Self::IdToken => format!(
                r#"{{"iss":"{PROVIDER}","sub":"248289761001","aud":"ambit","iat":{now},"exp":{exp},"nonce":"{}"}}"#,
                flow().nonce()
            ),
            Self::Proof => {
                format!(r#"{{"htm":"POST","htu":"{ISSUER}/oauth/token","jti":"t","iat":{now}}}"#)
            }
        }
    }
}

impl Site {
    /// Returns who reads `kind`, signed with `algorithm`, at `now_seconds`.
    pub(crate) fn new(kind: Kind, algorithm: Algorithm, now_seconds: u64) -> Self {
        let ring = keys::ring(algorithm);
        let use_word = match kind {
            Kind::OwnSvid | Kind::ForeignSvid | Kind::SvidAssertion => "jwt-svid",
            Kind::Access | Kind::Assertion | Kind::WorkloadToken | Kind::IdToken | Kind::Proof => {
                "sig"
            }
        };
        let set = JwkSet::from_value(&key_set(ring, algorithm, use_word)).unwrap();
        assert_eq!((set.keys().len(), set.ignored()), (3, 0));
        let svids = |domain: &str| JwtSvidKeys::new(domain.parse().unwrap(), &set).unwrap();
        let parsed = |algorithms| VerifyingKeys::new(&set, &[KeyUse::Signature], algorithms);
        let keys = parsed(kind.algorithms()).unwrap();
        let verifier = match kind {
            Kind::Access => Verifier::Access(AccessVerifier::new(ISSUER.to_owned(), keys)),
            Kind::OwnSvid => Verifier::Svid(svids("example.org")),
            Kind::ForeignSvid => Verifier::Svid(svids("partner.example")),
            Kind::SvidAssertion => Verifier::SvidAssertion(svids("partner.example")),
            Kind::Assertion => Verifier::Assertion(ClientKeys {
                client_id: CLIENT.to_owned(),
                keys,
            }),
            Kind::WorkloadToken => Verifier::WorkloadToken(WorkloadIssuer::with_keys(
                FOREIGN_ISSUER.to_owned(),
                ISSUER.to_owned(),
                keys,
            )),
            Kind::IdToken => Verifier::IdToken(
                IdTokenIssuer::new(PROVIDER.to_owned(), "ambit".to_owned(), &set).unwrap(),
            ),
            Kind::Proof => Verifier::Proof,
        };
        Self {
            kind,
            algorithm,
            now_seconds,
            ring,
            verifier,
        }
    }

    /// Returns a site for each kind with each of its algorithms.
    pub(crate) fn all(now_seconds: u64) -> Vec<Self> {
        let of = |kind: Kind| kind.algorithms().iter().map(move |it| (kind, *it));
        let pairs = Kind::ALL.into_iter().flat_map(of);
        pairs
            .map(|(kind, algorithm)| Self::new(kind, algorithm, now_seconds))
            .collect()
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?} {}", self.kind, self.algorithm)
    }

    /// Asks Ambit.
    pub(crate) fn accepts(&self, token: &str) -> Result<(), String> {
        let now = Timestamp::from_millis(self.now_seconds * 1000);
        let refused = match &self.verifier {
            Verifier::Access(it) => it.verify(token, AUDIENCE, now).err(),
            Verifier::Svid(keys) => jwt_svid::verify(token, keys, AUDIENCE, now).err(),
            Verifier::SvidAssertion(keys) => {
                assertion::verify_jwt_spiffe(token, keys, ISSUER, now).err()
            }
            Verifier::Assertion(client) => {
                assertion::verify_private_key_jwt(token, client, ISSUER, now).err()
            }
            Verifier::WorkloadToken(it) => it.verify(token, now).err(),
            Verifier::IdToken(it) => it.verify(token, &flow(), now).err(),
            Verifier::Proof => {
                let url = format!("{ISSUER}/oauth/token");
                let request = ProvedRequest {
                    method: "POST",
                    url: &url,
                    access_token: None,
                    nonces: None,
                    now,
                    wall: now,
                };
                let read = dpop::verify(token, &request);
                return read.map(drop).map_err(|error| format!("{error:?}"));
            }
        };
        refused.map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// Returns the header of a good token.
    pub(crate) fn header(&self) -> String {
        let (alg, typ) = (self.algorithm, self.kind.typ());
        if self.kind == Kind::Proof {
            let jwk = self.ring.own.jwk([]).to_canonical();
            return format!(r#"{{"alg":"{alg}","typ":"{typ}","jwk":{jwk}}}"#);
        }
        format!(r#"{{"alg":"{alg}","kid":"now","typ":"{typ}"}}"#)
    }

    pub(crate) fn claims(&self) -> String {
        self.kind.claims(self.now_seconds)
    }

    /// Returns by which rules others judge this kind: those that they have names for.
    pub(crate) fn rules(&self) -> Value {
        let kind = self.kind;
        let or_null = |it: Option<&str>| it.map_or(Value::Null, Value::from);
        let typ = matches!(kind, Kind::Access | Kind::Proof).then_some(kind.typ());
        let embedded = kind == Kind::Proof;
        Value::object([
            (
                "algorithms",
                kind.algorithms().iter().map(|it| it.as_str()).collect(),
            ),
            ("audience", or_null(kind.audience())),
            ("embedded", Value::Bool(embedded)),
            ("issuer", or_null(kind.issuer())),
            ("jwks", self.published()),
            ("leeway", kind.leeway_seconds().into()),
            ("now", self.now_seconds.into()),
            ("required", kind.required().iter().copied().collect()),
            ("typ", or_null(typ)),
        ])
    }

    /// Returns the keys as others take them: none but SPIFFE knows the use `jwt-svid`.
    pub(crate) fn published(&self) -> Value {
        key_set(self.ring, self.algorithm, "sig")
    }
}

/// The key that signs, the older one, and one for another algorithm.
fn key_set(ring: &Ring, algorithm: Algorithm, use_word: &str) -> Value {
    let second = another(algorithm);
    let member = |name, it: Algorithm| {
        [
            ("alg", Value::from(it.as_str())),
            ("kid", Value::from(name)),
            ("use", Value::from(use_word)),
        ]
    };
    let list = vec![
        ring.own.jwk(member("now", algorithm)),
        ring.older.jwk(member("older", algorithm)),
        keys::ring(second).own.jwk(member("second", second)),
    ];
    Value::object([("keys", Value::Array(list))])
}

/// Returns an algorithm whose keys are of another kind.
pub(crate) const fn another(algorithm: Algorithm) -> Algorithm {
    match algorithm {
        Algorithm::Es256 | Algorithm::EdDsa => Algorithm::Rs256,
        Algorithm::Es384
        | Algorithm::Es512
        | Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => Algorithm::Es256,
    }
}

fn flow() -> Flow {
    let began = Timestamp::from_millis(NOW_SECONDS * 1000);
    FlowKey::new(&[5; 32]).begin([6; 32], "/", began).unwrap()
}

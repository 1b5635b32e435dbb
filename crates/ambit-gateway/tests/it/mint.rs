//! An authorization server in a struct: it signs what it is told, also what none would.

use std::sync::{Arc, Mutex, atomic::AtomicU64};

use ambit_core::{
    Digest, Millis, SpiffeId, TaskId, Timestamp,
    json::{self, Value},
};
use ambit_gateway::TokenConfig;
use ambit_identity::{
    KeyBinding, SvidKey,
    jose::{Algorithm, JwkSet, KeyUse, Signer, SigningKey, VerifyingKeys, base64url},
    mission::{Anchor, AnchorKind},
    token::access::{AccessGrant, AccessIssuer, AccessVerifier, Mission},
};

pub const GATEWAY: &str = "https://gate.example:7420";
pub const ISSUER: &str = "https://ambit.example";
pub const ONE: &str = "https://gate.example:7420/s/tickets/mcp";
pub const ALL: &str = "https://gate.example:7420/mcp";

pub struct Mint {
    key: Arc<SigningKey>,
    /// Who takes its tokens; tests put others in its place.
    pub verifier: Arc<Mutex<Option<Arc<AccessVerifier>>>>,
    /// How many requests identified nobody.
    pub strangers: Arc<AtomicU64>,
}

/// The key of a client that makes DPoP proofs.
pub struct Prover {
    signer: Signer,
    pub thumbprint: Digest,
}

/// What a proof says; a test changes what it wants.
pub struct Proof<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub token: &'a str,
    pub id: &'a str,
    pub nonce: Option<&'a str>,
    pub at: Timestamp,
}

impl Mint {
    pub fn new(chance: u8) -> Self {
        let key = signing_key(chance, KeyUse::JwtSvid);
        let verifier = Some(Arc::new(verifier(&key)));
        Self {
            key,
            verifier: Arc::new(Mutex::new(verifier)),
            strangers: Arc::default(),
        }
    }

    pub fn config(&self) -> TokenConfig {
        let verifier = Arc::clone(&self.verifier);
        TokenConfig {
            url: GATEWAY.to_owned(),
            issuer: ISSUER.to_owned(),
            trust_domain: "example.org".parse().unwrap(),
            verifiers: Arc::new(move || verifier.lock().unwrap().clone()),
            nonce_chance: [7; 32],
        }
    }

    pub fn issue(&self, grant: &AccessGrant, now: Timestamp) -> String {
        let issuer = AccessIssuer::new(ISSUER.to_owned(), Arc::clone(&self.key));
        issuer.issue(grant, now).unwrap()
    }

    /// Puts the verifier of other keys in place.
    pub fn rotate(&self, chance: u8) {
        let other = verifier(&signing_key(chance, KeyUse::JwtSvid));
        *self.verifier.lock().unwrap() = Some(Arc::new(other));
    }
}

/// Returns a grant for `actor` at the door of one server, bound as `binding` says.
pub fn grant(actor: &SpiffeId, task: TaskId, binding: KeyBinding, now: Timestamp) -> AccessGrant {
    let expires_at = now.plus(Millis::from_seconds(300));
    let anchor = Anchor::of(AnchorKind::AuthoritySet, ISSUER, Value::Array(Vec::new()));
    AccessGrant {
        token_id: "tok_1".to_owned(),
        subject: "someone".to_owned(),
        client_id: actor.to_string(),
        audience: ONE.to_owned(),
        actors: vec![actor.clone()],
        mission: Mission::new(&task, anchor, expires_at),
        authorization_details: json::parse(br#"[{"type":"ambit_task"}]"#).unwrap(),
        binding,
        expires_at,
    }
}

impl Prover {
    pub fn new(chance: u8) -> Self {
        let key = signing_key(chance, KeyUse::Unstated);
        Self {
            thumbprint: key.public().thumbprint(),
            signer: Signer::with_embedded_key(key, "dpop+jwt"),
        }
    }

    pub fn prove(&self, proof: &Proof<'_>) -> String {
        let digest = Digest::of(proof.token.as_bytes());
        let nonce = proof.nonce.map(|it| ("nonce", it.into()));
        let claims = [
            ("htm", proof.method.into()),
            ("htu", proof.url.into()),
            ("ath", base64url::encode(digest.as_bytes()).into()),
            ("jti", proof.id.into()),
            ("iat", (proof.at.as_millis() / 1000).into()),
        ];
        let claims = Value::object(claims.into_iter().chain(nonce));
        self.signer.sign(&claims).unwrap()
    }
}

fn signing_key(chance: u8, key_use: KeyUse) -> Arc<SigningKey> {
    let key = SvidKey::generate([chance; 32]).unwrap();
    Arc::new(SigningKey::from_svid_key(&key, key_use).unwrap())
}

fn verifier(key: &SigningKey) -> AccessVerifier {
    let keys = JwkSet::new(vec![key.public().clone()]).unwrap();
    let keys = VerifyingKeys::new(&keys, &[KeyUse::JwtSvid], &[Algorithm::Es256]).unwrap();
    AccessVerifier::new(ISSUER.to_owned(), keys)
}

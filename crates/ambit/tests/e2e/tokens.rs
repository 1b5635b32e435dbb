//! A client that knows hosts and no SPIFFE IDs, as it comes from elsewhere: it finds out what to bring, and brings a token.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use ambit_core::{
    Digest, Millis, TaskId, Timestamp,
    json::{self, Value},
};
use ambit_identity::{
    IssuingKeys, KeyBinding, Svid, SvidKey,
    jose::{KeyUse, Signer, SigningKey, base64url},
    mission::{Anchor, AnchorKind},
    token::access::{AccessGrant, Mission},
};

use crate::{life::apply_free_template, world::World};

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"note","arguments":{}}}"#;

/// A server with a task, and the client to which the task was given.
struct Client {
    world: World,
    gateway: String,
    issuer: String,
    task: TaskId,
    started_at: Timestamp,
    keys: PathBuf,
}

impl Client {
    fn start() -> Self {
        let world = World::start(None);
        apply_free_template(&world);
        world.seal("notes-token", "of-the-server");
        let start = ["task", "start", "free", "--for", "reader"];
        let output = world.ambit(&[&start[..], &["--svid", "svid", "-o", "json"]].concat());
        let answer = json::parse(&output.stdout).unwrap();
        let text = |name| answer.get(name).and_then(Value::as_str).unwrap();
        let port = text("gateway").rsplit(':').next().unwrap();
        let keys = world.directory.path().join("work/svid");
        let mut client = Self {
            gateway: format!("https://localhost:{port}"),
            issuer: String::new(),
            task: text("task").parse().unwrap(),
            started_at: written_at(&keys.join("svid.pem")),
            keys,
            world,
        };
        let metadata = client.curl(&[], &client.metadata());
        let (_, document) = metadata.split_once("\r\n\r\n").unwrap();
        let document = json::parse(document.as_bytes()).unwrap();
        let resource = document.get("resource").and_then(Value::as_str);
        assert_eq!(resource, Some(client.resource().as_str()));
        let issuers = document
            .get("authorization_servers")
            .and_then(Value::as_array);
        client.issuer = issuers
            .unwrap()
            .first()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        client
    }

    fn resource(&self) -> String {
        format!("{}/s/notes/mcp", self.gateway)
    }

    fn metadata(&self) -> String {
        let path = "/.well-known/oauth-protected-resource/s/notes/mcp";
        format!("{}{path}", self.gateway)
    }

    fn file(&self, name: &str) -> String {
        self.keys.join(name).display().to_string()
    }

    /// Returns head and body of what comes back.
    fn curl(&self, arguments: &[&str], url: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-m", "10", "--cacert"])
            .arg(self.file("bundle.pem"));
        let output = curl.args(arguments).arg(url).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn call(&self, arguments: &[&str]) -> String {
        let usual = [
            "-H",
            "content-type: application/json",
            "-H",
            "accept: application/json, text/event-stream",
            "-H",
            "mcp-protocol-version: 2025-11-25",
            "-d",
            CALL,
        ];
        self.curl(&[&usual[..], arguments].concat(), &self.resource())
    }

    fn svid(&self) -> Svid {
        Svid::from_pem(&fs::read_to_string(self.file("svid.pem")).unwrap()).unwrap()
    }

    fn signing_key(&self) -> SigningKey {
        let key = SvidKey::from_pem(&fs::read_to_string(self.file("key.pem")).unwrap()).unwrap();
        SigningKey::from_svid_key(&key, KeyUse::Unstated).unwrap()
    }

    /// Returns the name of a token that the server issued, on the record.
    fn issued(&self) -> String {
        let (chain, key) = (self.file("svid.pem"), self.file("key.pem"));
        let resource = format!("resource={}", self.resource());
        let asks = [
            "--cert",
            &chain,
            "--key",
            &key,
            "-d",
            "grant_type=client_credentials",
            "--data-urlencode",
            &resource,
        ];
        let came = self.curl(&asks, &format!("{}/oauth/mtls/token", self.gateway));
        let (_, body) = came.split_once("\r\n\r\n").unwrap();
        let body = json::parse(body.as_bytes()).unwrap();
        let token = body.get("access_token").and_then(Value::as_str);
        assert!(token.is_some(), "{came}");
        let claims = token.unwrap().split('.').nth(1);
        let claims = json::parse(&base64url::decode(claims.unwrap()).unwrap()).unwrap();
        claims
            .get("jti")
            .and_then(Value::as_str)
            .unwrap()
            .to_owned()
    }

    /// Signs a token as the server would, with the server's own key, under a name that the log knows.
    fn token(&self, binding: KeyBinding) -> String {
        let path = self.world.state().join("keys/authority.pem");
        let domain = "ambit.internal".parse().unwrap();
        let keys = IssuingKeys::from_text(&domain, &fs::read_to_string(path).unwrap()).unwrap();
        let anchor = Anchor::of(AnchorKind::AuthoritySet, &self.issuer, Value::Null);
        let expires_at = self.started_at.plus(Millis::from_seconds(600));
        let actor = self.svid().spiffe_id().clone();
        let grant = AccessGrant {
            token_id: self.issued(),
            subject: "someone".to_owned(),
            client_id: actor.to_string(),
            audience: self.resource(),
            actors: vec![actor],
            mission: Mission::new(&self.task, anchor, expires_at),
            authorization_details: json::parse(br#"[{"type":"ambit_task"}]"#).unwrap(),
            binding,
            expires_at,
        };
        let issuer = keys.access_issuer(self.issuer.clone());
        issuer.issue(&grant, self.started_at).unwrap()
    }

    fn proof(&self, token: &str, nonce: &str) -> String {
        let signer = Signer::with_embedded_key(self.signing_key().into(), "dpop+jwt");
        let claims = Value::object([
            ("htm", "POST".into()),
            ("htu", self.resource().into()),
            (
                "ath",
                base64url::encode(Digest::of(token.as_bytes()).as_bytes()).into(),
            ),
            ("jti", "proof-1".into()),
            ("iat", (self.started_at.as_millis() / 1000).into()),
            ("nonce", nonce.into()),
        ]);
        signer.sign(&claims).unwrap()
    }
}

/// Returns when a file was written, as the clock of this machine has it.
fn written_at(path: &Path) -> Timestamp {
    let at = fs::metadata(path).unwrap().modified().unwrap();
    let since = at.duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn check(came: &str, status: u16, part: &str) {
    assert!(came.starts_with(&format!("HTTP/1.1 {status}")), "{came}");
    assert!(came.contains(part), "no `{part}` in: {came}");
}

#[test]
fn a_client_from_elsewhere_brings_a_token() {
    let client = Client::start();
    let came = client.call(&[]);
    check(
        &came,
        401,
        &format!(
            "www-authenticate: Bearer resource_metadata=\"{}\"",
            client.metadata()
        ),
    );
    let nonce = came.lines().find_map(|it| it.strip_prefix("dpop-nonce: "));
    let nonce = nonce.unwrap().trim().to_owned();

    // Bound to the certificate of the connection.
    let certificate = client.svid().certificate();
    let token = client.token(KeyBinding::Mtls { certificate });
    let bearer = format!("authorization: Bearer {token}");
    let (chain, key) = (client.file("svid.pem"), client.file("key.pem"));
    let certified = ["--cert", &chain, "--key", &key, "-H", &bearer];
    check(&client.call(&certified), 200, "the note itself");
    check(&client.call(&["-H", &bearer]), 401, "invalid_token");

    // Bound by DPoP: the proof is good once.
    let thumbprint = client.signing_key().public().thumbprint();
    let token = client.token(KeyBinding::Dpop { thumbprint });
    let by_dpop = format!("authorization: DPoP {token}");
    let proof = format!("dpop: {}", client.proof(&token, &nonce));
    let proved = ["-H", &by_dpop, "-H", &proof];
    check(&client.call(&proved), 200, "the note itself");
    check(&client.call(&proved), 401, "invalid_dpop_proof");
    check(&client.call(&["-H", &by_dpop]), 401, "invalid_dpop_proof");

    // Bound to nothing: this estate takes none.
    let loose = format!("authorization: Bearer {}", client.token(KeyBinding::Bearer));
    check(&client.call(&["-H", &loose]), 403, "insufficient_scope");
    assert_eq!(
        client
            .world
            .upstream
            .calls
            .load(std::sync::atomic::Ordering::SeqCst),
        2
    );
}

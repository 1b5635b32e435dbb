//! A stand with a client from elsewhere, and what it sends and hears.

use ambit_core::{
    Millis, Timestamp,
    estate::Estate,
    json::Value,
    record::{Answer, Body},
    token::{Grant, Reach, RestsOn},
};
use ambit_engine::{Refreshable, TokenAsk, TokenBy};
use ambit_gateway::{GatewayConfig, Peer};
use ambit_identity::{InstanceCaller, KeyBinding, token::access::AccessGrant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{DOOR, READ};
use crate::{
    mint::{ONE, Proof, Prover, grant},
    stand::Stand,
};

/// A stand with a client that holds a key, and what it last heard.
pub(super) struct Scene {
    pub(super) stand: Stand,
    pub(super) key: Prover,
    /// The name of a token that was issued, on the record, for the stand's task.
    pub(super) token_id: String,
}

/// What a client sends.
#[derive(Clone)]
pub(super) struct Sent<'a> {
    pub(super) path: &'a str,
    pub(super) headers: Vec<(&'a str, String)>,
    pub(super) body: &'a str,
}

/// An answer as it came.
pub(super) struct Came {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Scene {
    /// Gives the newest token up, as its client.
    pub(super) async fn give_up(&self) {
        let client = self.stand.caller.spiffe_id().to_string();
        let (handle, id) = (&self.stand.world.handle, self.token_id.parse().unwrap());
        handle
            .give_up_token(&client, id, Reach::Token)
            .await
            .unwrap();
    }

    pub(super) async fn new(change: impl FnOnce(&mut Estate)) -> Self {
        Self::configured(change, |_| {}).await
    }

    pub(super) async fn configured(
        change: impl FnOnce(&mut Estate),
        configure: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let stand = Stand::configured(false, change, configure).await;
        let ask = TokenAsk {
            client: Some(stand.caller.spiffe_id().to_string()),
            audience: ONE.to_owned(),
            binding: stand.caller.binding(),
            ttl: Millis::from_seconds(300),
            refreshable: Refreshable::No,
            grant: Grant::ClientCredentials,
            parent: None,
            details: None,
            rests_on: RestsOn::default(),
        };
        let (by, moment) = (TokenBy::Instance(&stand.caller), stand.world.clock.moment());
        let issued = stand
            .world
            .handle
            .issue_token(by, ask, moment)
            .await
            .unwrap();
        Self {
            token_id: issued.access().id.to_string(),
            stand,
            key: Prover::new(40),
        }
    }

    /// Takes a token of the stand's task that carries these authorization details alone.
    pub(super) async fn narrowed(&mut self, details: &str) {
        let ask = TokenAsk {
            client: Some(self.stand.caller.spiffe_id().to_string()),
            audience: ONE.to_owned(),
            binding: self.stand.caller.binding(),
            ttl: Millis::from_seconds(300),
            refreshable: Refreshable::No,
            grant: Grant::ClientCredentials,
            parent: None,
            details: Some(ambit_core::json::parse(details.as_bytes()).unwrap()),
            rests_on: RestsOn::default(),
        };
        let world = &self.stand.world;
        let (by, moment) = (TokenBy::Instance(&self.stand.caller), world.clock.moment());
        let issued = world.handle.issue_token(by, ask, moment).await.unwrap();
        self.token_id = issued.access().id.to_string();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.stand.world.clock.now()
    }

    pub(super) fn dpop(&self) -> KeyBinding {
        KeyBinding::Dpop {
            thumbprint: self.key.thumbprint,
        }
    }

    pub(super) fn grant(&self, binding: KeyBinding) -> AccessGrant {
        let actor = self.stand.caller.spiffe_id();
        AccessGrant {
            token_id: self.token_id.clone(),
            ..grant(actor, self.stand.task, binding, self.now())
        }
    }

    pub(super) fn token(&self, binding: KeyBinding) -> String {
        self.stand.mint.issue(&self.grant(binding), self.now())
    }

    /// Returns what the log says of refusals: the action, the reason, and how whoever asked came.
    pub(super) fn refusals(&self) -> Vec<String> {
        self.stand.records(0, |it| {
            let Body::Decided(decided) = it else {
                return None;
            };
            let Answer::Deny { reason } = decided.answer else {
                return None;
            };
            let by = decided.facts.get("binding").and_then(Value::as_str);
            let by = by.unwrap_or_default();
            Some(format!("{} {reason} {by}", decided.action))
        })
    }

    pub(super) async fn send(&self, peer: Peer, sent: &Sent<'_>) -> Came {
        self.send_as("POST", peer, sent).await
    }

    /// Sends a request and returns the connection, of which nothing was read yet.
    pub(super) async fn begin(&self, method: &str, peer: Peer, sent: &Sent<'_>) -> DuplexStream {
        let (mut client, door) = duplex(256 * 1024);
        let gateway = self.stand.gateway.clone();
        tokio::spawn(async move { gateway.serve_connection(door, peer).await });
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nHost: gate.example:7420\r\nConnection: close\r\n\
             Accept: application/json\r\nContent-Length: {}\r\n",
            sent.path,
            sent.body.len()
        );
        if !sent.headers.iter().any(|it| it.0 == "Content-Type") {
            request.push_str("Content-Type: application/json\r\n");
        }
        for (name, value) in &sent.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("\r\n{}", sent.body));
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    pub(super) async fn send_as(&self, method: &str, peer: Peer, sent: &Sent<'_>) -> Came {
        let mut client = self.begin(method, peer, sent).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Came {
            status: head.get(9..12).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Returns a fresh nonce of the gateway.
    pub(super) async fn nonce(&self) -> String {
        let came = self.send(Peer::Stranger, &sent(&[])).await;
        came.header("dpop-nonce").unwrap().to_owned()
    }

    /// Calls with a DPoP-bound token and a proof over it that `change` made otherwise than it should be.
    pub(super) async fn prove(&self, token: &str, change: impl FnOnce(&mut Proof<'_>)) -> Came {
        let nonce = self.nonce().await;
        let mut proof = Proof {
            method: "POST",
            url: ONE,
            token,
            id: "p-1",
            nonce: Some(&nonce),
            at: self.now(),
        };
        change(&mut proof);
        let proof = self.key.prove(&proof);
        self.send(Peer::Stranger, &proved(token, &proof)).await
    }
}

impl Came {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|it| it.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn challenges(&self) -> Vec<&str> {
        let lines = self.head.lines();
        let lines = lines.filter_map(|it| it.strip_prefix("www-authenticate: "));
        lines.collect()
    }

    /// Checks the status and that the answer says `part`: in its challenges or its body.
    pub(super) fn check(&self, status: u16, part: &str) {
        let said = format!("{} {}", self.challenges().join(" "), self.body);
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        let found = said
            .to_ascii_lowercase()
            .contains(&part.to_ascii_lowercase());
        assert!(found, "no `{part}` in: {said}");
        assert_eq!(self.header("access-control-allow-origin"), None);
    }
}

pub(super) fn sent<'a>(headers: &[(&'a str, String)]) -> Sent<'a> {
    Sent {
        path: DOOR,
        headers: headers.to_vec(),
        body: READ,
    }
}

pub(super) fn bearer(token: &str) -> Sent<'static> {
    sent(&[("Authorization", format!("Bearer {token}"))])
}

pub(super) fn proved(token: &str, proof: &str) -> Sent<'static> {
    sent(&[
        ("Authorization", format!("DPoP {token}")),
        ("DPoP", proof.to_owned()),
    ])
}

pub(super) fn certified(caller: &InstanceCaller) -> Peer {
    Peer::Instance(caller.clone())
}

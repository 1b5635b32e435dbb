//! What an access token costs a request whose token was verified before: the same request with and without one.

use std::{sync::Arc, time::Instant};

use ambit_core::token::{Grant, RestsOn};
use ambit_engine::{Refreshable, TokenAsk, TokenBy};
use ambit_gateway::{Gateway, GatewayConfig, Peer, SandboxPolicy, TokenConfig};
use ambit_identity::{
    InstanceCaller, SvidKey,
    jose::{Algorithm, JwkSet, KeyUse, SigningKey, VerifyingKeys},
    mission::{Anchor, AnchorKind},
    token::access::{AccessGrant, AccessIssuer, AccessVerifier, Mission},
};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;

use crate::{
    Failure,
    http::speak,
    options::Options,
    spread::{Spread, verdict},
    whole::{self, Kept, Whole},
};

/// Prints what a token costs that was verified before.
pub(crate) fn report(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let whole = Whole::open(&Kept::Memory, whole::estate(10, 1)?).await?;
        let task = whole.start(1).await?.pop().ok_or("no task")?;
        let caller = whole.caller(&task)?;
        let issuer = SigningKey::from_svid_key(&SvidKey::generate([8; 32])?, KeyUse::Signature)?;
        let issuer = Arc::new(issuer);
        let token = token(&whole, &caller, &issuer).await?;
        let (plain, taking) = (
            gateway(&whole, None),
            gateway(&whole, Some(verifier(&issuer)?)),
        );
        let mut bare = open(&plain, &caller).await?;
        let mut bearing = open(&taking, &caller).await?;
        for round in 0..=options.rounds {
            // As long, so that carrying it counts on both sides.
            let first = batch(&mut bare, ("x-padding", &token)).await?;
            let second = batch(&mut bearing, ("authorization", &token)).await?;
            if round > 0 {
                without.push(first);
                with.push(second);
            }
        }
        Ok::<_, Failure>(())
    })?;
    runtime.shutdown_background();
    let cost = Spread::new(
        with.iter()
            .zip(&without)
            .map(|(with, without)| with - without)
            .collect(),
    );
    println!(
        "a token that was verified before, bound to the certificate of the connection: {cost} µs (a request of {} µs without it); \
         bar 5 µs: {}",
        Spread::new(without),
        verdict(cost.median() <= 5.0)
    );
    Ok(())
}

/// Has a token issued, on the record, that is bound to the caller's certificate.
async fn token(
    whole: &Whole,
    caller: &InstanceCaller,
    key: &Arc<SigningKey>,
) -> Result<String, Failure> {
    let moment = (whole.clock)();
    let now = moment.now;
    let ask = TokenAsk {
        client: Some(caller.spiffe_id().to_string()),
        audience: format!("{URL}/mcp"),
        binding: caller.binding(),
        ttl: ambit_core::limits::ACCESS_TOKEN_TTL,
        refreshable: Refreshable::No,
        grant: Grant::ClientCredentials,
        parent: None,
        details: None,
        rests_on: RestsOn::default(),
    };
    let granted = whole
        .handle
        .issue_token(TokenBy::Instance(caller), ask, moment)
        .await?;
    let (task, issued) = (granted.task(), granted.access());
    let details = granted.authorization_details();
    let anchor = Anchor::of(AnchorKind::AuthoritySet, ISSUER, details.as_ref().clone());
    let issuer = AccessIssuer::new(ISSUER.to_owned(), Arc::clone(key));
    Ok(issuer.issue(
        &AccessGrant {
            token_id: issued.id.to_string(),
            subject: task.subject.to_string(),
            client_id: issued.client.clone(),
            audience: issued.audience.clone(),
            actors: vec![task.spiffe_id.clone()],
            mission: Mission::new(&task.id, anchor, task.expires_at),
            authorization_details: granted.carried().as_ref().clone(),
            binding: issued.binding,
            expires_at: issued.expires_at,
        },
        now,
    )?)
}

fn verifier(key: &Arc<SigningKey>) -> Result<Arc<AccessVerifier>, Failure> {
    let set = JwkSet::new(vec![key.public().clone()])?;
    let keys = VerifyingKeys::new(&set, &[KeyUse::Signature], &[Algorithm::Es256])?;
    Ok(Arc::new(AccessVerifier::new(ISSUER.to_owned(), keys)))
}

fn gateway(whole: &Whole, verifier: Option<Arc<AccessVerifier>>) -> Gateway {
    let mut config = GatewayConfig::new(SandboxPolicy::Refused);
    config.tokens = verifier.map(|verifier| TokenConfig {
        url: URL.to_owned(),
        issuer: ISSUER.to_owned(),
        trust_domain: whole.authority.trust_domain().clone(),
        verifiers: Arc::new(move || Some(Arc::clone(&verifier))),
        nonce_chance: [4; 32],
    });
    Gateway::new(
        config,
        whole.handle.clone(),
        whole.clock.clone(),
        Arc::new(|_| None),
    )
}

/// Opens a connection of the instance, in memory.
async fn open(
    gateway: &Gateway,
    caller: &InstanceCaller,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (gateway, peer) = (gateway.clone(), Peer::Instance(caller.clone()));
    tokio::spawn(async move { gateway.serve_connection(theirs, peer).await });
    speak(ours).await
}

/// Sends many notifications that change nothing, and returns how long one took, in µs.
async fn batch(
    sender: &mut SendRequest<Full<Bytes>>,
    (name, token): (&str, &str),
) -> Result<f64, Failure> {
    let body = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request::post("/mcp")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .header(name, format!("Bearer {token}"))
            .body(Full::new(body.clone()))?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(
                format!("the answer is {status}: {}", String::from_utf8_lossy(&body)).into(),
            );
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS))
}

/// How the gateway is named here.
const URL: &str = "https://localhost:1";
/// Who signs the token.
const ISSUER: &str = "https://localhost:2";
/// How many requests one batch has.
const REQUESTS: u32 = 5000;

//! What an access token costs a request at the gateway when the token was verified before, by what it is bound to.
//!
//! The same bytes are sent on two connections in memory. On the one the connection says who calls, on the other the token
//! does. A token that is bound to a DPoP key comes with a proof that is new each time; what verifying and remembering that
//! costs by itself is measured in the same round, and told apart.

use std::{hint::black_box, sync::Arc, time::Instant};

use ambit_core::{
    estate::{BearerTokens, Estate, LeastBinding},
    token::{Grant, RestsOn},
};
use ambit_engine::{Refreshable, TokenAsk, TokenBy};
use ambit_gateway::{Gateway, GatewayConfig, Peer, SandboxPolicy, TokenConfig};
use ambit_identity::{
    InstanceCaller, KeyBinding, SvidKey,
    dpop::{self, MadeRequest, NonceKey, ProofMaker, ProvedRequest},
    jose::{Algorithm, JwkSet, KeyUse, SigningKey, VerifyingKeys},
    mission::{Anchor, AnchorKind},
    replay::{REPLAY_ENTRIES_MAX, ReplayCache, ReplayOwner, ReplayRoom},
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

/// A token, and how it is shown.
struct Shown {
    name: &'static str,
    token: String,
    /// Who proves the token's key, when it is bound to one.
    maker: Option<ProofMaker>,
    /// Whose connection it comes on.
    peer: Peer,
}

/// What one kind of token costs, round by round, in µs.
#[derive(Clone, Debug, Default)]
struct Cost {
    /// What token and proof add to a request.
    added: Vec<f64>,
    /// What the proof costs by itself, when there is one.
    proof: Vec<f64>,
    /// What the request costs without both.
    bare: Vec<f64>,
}

/// The headers of one request: their values.
#[derive(Clone, Debug)]
struct Values {
    authorization: String,
    proof: Option<String>,
}

/// Prints what a token costs that was verified before.
pub(crate) fn report(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let costs = runtime.block_on(measure(options))?;
    runtime.shutdown_background();
    println!(
        "a token that was verified before, on a request that takes {} µs without it; bar 5 µs for the token itself",
        Spread::new(costs.iter().flat_map(|it| it.1.bare.clone()).collect())
    );
    println!(
        "{:<28}  {:<20}  {:<20}  the token itself, µs",
        "bound to", "it adds, µs", "its proof alone, µs"
    );
    for (name, cost) in costs {
        let proofs = cost.proof.iter().copied().chain(std::iter::repeat(0.0));
        let token = cost.added.iter().zip(proofs).map(|(all, it)| all - it);
        let token = Spread::new(token.collect());
        let proof = match cost.proof.is_empty() {
            true => "–".to_owned(),
            false => Spread::new(cost.proof).to_string(),
        };
        let (added, is_met) = (Spread::new(cost.added), verdict(token.median() <= 5.0));
        println!("{name:<28}  {added:<20}  {proof:<20}  {token}  {is_met}");
    }
    Ok(())
}

async fn measure(options: &Options) -> Result<Vec<(&'static str, Cost)>, Failure> {
    let whole = Whole::open(&Kept::Memory, estate()?).await?;
    let task = whole.start(1).await?.pop().ok_or("no task")?;
    let caller = whole.caller(&task)?;
    let issuer = SigningKey::from_svid_key(&SvidKey::generate([8; 32])?, KeyUse::Signature)?;
    let issuer = Arc::new(issuer);
    let (plain, taking) = (
        gateway(&whole, None),
        gateway(&whole, Some(verifier(&issuer)?)),
    );
    let mut costs = Vec::new();
    for shown in kinds(&whole, &caller, &issuer).await? {
        let mut bare = open(&plain, Peer::Instance(caller.clone())).await?;
        let mut bearing = open(&taking, shown.peer.clone()).await?;
        let mut cost = Cost::default();
        let mut used = ReplayCache::new(ReplayRoom {
            entries_max: REPLAY_ENTRIES_MAX,
            per_owner_max: REPLAY_ENTRIES_MAX,
        });
        // The first round warms both sides up and is not counted.
        for round in 0..=options.rounds {
            let values = shown.values(round)?;
            // As long, so that carrying it counts on both sides.
            let without = batch(&mut bare, ("x-padding", "x-proof"), &values).await?;
            let with = batch(&mut bearing, ("authorization", "dpop"), &values).await?;
            let proof = shown.maker.as_ref();
            let proof = proof.map(|_| verify(&shown.token, &values, &mut used));
            let proof = proof.transpose()?;
            if round > 0 {
                cost.bare.push(without);
                cost.added.push(with - without);
                cost.proof.extend(proof);
            }
        }
        costs.push((shown.name, cost));
    }
    Ok(costs)
}

/// The measured office, which takes tokens of each kind.
fn estate() -> Result<Estate, Failure> {
    let mut estate = whole::estate(10, 1)?;
    estate.bearer_tokens = BearerTokens::Taken;
    for template in estate.templates.values_mut() {
        template.binding = LeastBinding::BearerToAct;
    }
    Ok(estate)
}

/// Has a token of each kind issued.
async fn kinds(
    whole: &Whole,
    caller: &InstanceCaller,
    issuer: &Arc<SigningKey>,
) -> Result<[Shown; 3], Failure> {
    let maker = ProofMaker::new(&SvidKey::generate([6; 32])?)?;
    let thumbprint = maker.thumbprint();
    let by_certificate = token(whole, caller, caller.binding(), issuer).await?;
    let by_proof = token(whole, caller, KeyBinding::Dpop { thumbprint }, issuer).await?;
    let loose = token(whole, caller, KeyBinding::Bearer, issuer).await?;
    let shown = |name, token, maker, peer| Shown {
        name,
        token,
        maker,
        peer,
    };
    let known = Peer::Instance(caller.clone());
    Ok([
        shown("the connection's certificate", by_certificate, None, known),
        shown("a DPoP key", by_proof, Some(maker), Peer::Stranger),
        shown("nothing (bearer)", loose, None, Peer::Stranger),
    ])
}

/// Has a token issued, on the record.
async fn token(
    whole: &Whole,
    caller: &InstanceCaller,
    binding: KeyBinding,
    key: &Arc<SigningKey>,
) -> Result<String, Failure> {
    let moment = (whole.clock)();
    let now = moment.now;
    let ask = TokenAsk {
        client: Some(caller.spiffe_id().to_string()),
        audience: format!("{URL}/mcp"),
        binding,
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
        nonce_chance: NONCE_CHANCE,
    });
    Gateway::new(
        config,
        whole.handle.clone(),
        whole.clock.clone(),
        Arc::new(|_| None),
    )
}

/// Opens a connection of `peer`, in memory.
async fn open(gateway: &Gateway, peer: Peer) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let gateway = gateway.clone();
    tokio::spawn(async move { gateway.serve_connection(theirs, peer).await });
    speak(ours).await
}

impl Shown {
    /// Returns what the requests of one round carry, each its own proof.
    fn values(&self, round: usize) -> Result<Vec<Values>, Failure> {
        let now = whole::clock()().now;
        let nonce = NonceKey::new(&NONCE_CHANCE).nonce(now);
        let scheme = match self.maker {
            Some(_) => "DPoP",
            None => "Bearer",
        };
        let prove = |maker: &ProofMaker, number: usize| {
            maker.prove(&MadeRequest {
                method: "POST",
                url: &format!("{URL}/mcp"),
                access_token: Some(&self.token),
                nonce: Some(&nonce),
                token_id: &format!("{round}-{number}"),
                now,
            })
        };
        let values = (0..REQUESTS).map(|number| {
            let proof = self.maker.as_ref().map(|it| prove(it, number));
            Ok(Values {
                authorization: format!("{scheme} {}", self.token),
                proof: proof.transpose()?,
            })
        });
        values.collect()
    }
}

/// Verifies the proofs, remembers them, makes the nonce of each answer, and returns how long one took, in µs.
fn verify(token: &str, values: &[Values], used: &mut ReplayCache) -> Result<f64, Failure> {
    let (nonces, clock) = (NonceKey::new(&NONCE_CHANCE), whole::clock());
    let url = format!("{URL}/mcp");
    let begun = Instant::now();
    for proof in values.iter().filter_map(|it| it.proof.as_ref()) {
        let moment = clock();
        let proof = dpop::verify(
            proof,
            &ProvedRequest {
                method: "POST",
                url: &url,
                access_token: Some(token),
                nonces: Some(&nonces),
                now: moment.now,
                wall: moment.wall,
            },
        )?;
        let owner = ReplayOwner::ProofOf {
            thumbprint: proof.thumbprint(),
            prover: ISSUER,
        };
        let _once = used.admit(owner, proof.token_id(), proof.remember_until(), moment.wall)?;
        black_box(nonces.nonce(moment.now));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / values.len() as f64)
}

/// Sends many notifications that change nothing, and returns how long one took, in µs.
async fn batch(
    sender: &mut SendRequest<Full<Bytes>>,
    (authorization, proof): (&str, &str),
    values: &[Values],
) -> Result<f64, Failure> {
    let body = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let mut requests = Vec::new();
    for values in values {
        let mut request = Request::post("/mcp")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .header(authorization, &values.authorization);
        if let Some(value) = &values.proof {
            request = request.header(proof, value);
        }
        requests.push(request.body(Full::new(body.clone()))?);
    }
    let begun = Instant::now();
    for request in requests {
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
    Ok(begun.elapsed().as_secs_f64() * 1e6 / values.len() as f64)
}

/// How the gateway is named here.
const URL: &str = "https://localhost:1";
/// Who signs the token.
const ISSUER: &str = "https://localhost:2";
/// Of what the gateway's nonces are made.
const NONCE_CHANCE: [u8; 32] = [4; 32];
/// How many requests one batch has.
const REQUESTS: usize = 5000;

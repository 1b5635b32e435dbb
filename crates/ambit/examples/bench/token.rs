//! Access tokens: what issuing one costs `ambit serve`, beside what it costs npm's `oidc-provider`.
//!
//! Every request is signed beforehand, so that on the measured side of the wire there is nothing but HTTP: both servers
//! verify one assertion and one DPoP proof and sign one token, ES256 all three. Ambit speaks TLS besides, and the record of
//! each token is durable before the answer; the peer speaks plain HTTP and keeps nothing on a disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use ambit_core::{Millis, json::Value};
use ambit_identity::{
    IssuingKeys, SvidKey,
    dpop::{MadeRequest, ProofMaker},
    jose::{KeyUse, Signer, SigningKey},
    token::jwt_svid::JwtSvidIssuance,
};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::{
    Failure, append,
    append::fresh,
    cached, es256,
    http::{connect, speak},
    machine::{Sync, processor_time},
    options::Options,
    serve::{Server, free_port, member},
    spread::{Spread, verdict},
    whole,
};

/// One connection and what it will send.
struct Desk {
    sender: SendRequest<Full<Bytes>>,
    requests: Vec<Request<Full<Bytes>>>,
}

/// What one round saw.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Tokens per second.
    rate: f64,
    /// The median time of one request, in µs.
    middle: f64,
    /// The processor time of the server per token, in µs.
    cost: f64,
}

/// Prints the figures of tokens.
pub(crate) fn report(options: &Options, _: &Sync) -> Result<(), Failure> {
    println!(
        "\n## Tokens: client credentials, the client proved by a signature, bound by DPoP, all ES256; {IN_FLIGHT} in flight"
    );
    let directory = fresh(&options.directory.join("token"))?.canonicalize()?;
    let server = Server::start(&directory)?;
    let peer = Peer::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut appends, mut floors) = (Vec::new(), Vec::new());
    // The first round warms both sides up and is not counted.
    for round in 0..=options.rounds {
        let seen = runtime.block_on(issue(&server, round))?;
        let other = match &peer {
            Some(peer) => Some(runtime.block_on(peer.issue(round))?),
            None => None,
        };
        if round > 0 {
            ours.push(seen);
            theirs.extend(other);
            appends.push(append::once(options, IN_FLIGHT)?);
            floors.push(es256::of_one_token()?);
        }
    }
    tell(&ours, &theirs, &appends);
    tell_promises(&ours, &theirs, &floors)?;
    drop((server, peer));
    fs::remove_dir_all(&directory)?;
    cached::report(options)
}

fn tell(ours: &[Round], theirs: &[Round], appends: &[f64]) {
    let of =
        |rounds: &[Round], what: fn(&Round) -> f64| rounds.iter().map(what).collect::<Vec<_>>();
    println!(
        "{:<24}  {:<26}  {:<26}  its CPU, µs per token",
        "server", "tokens/s", "p50, µs"
    );
    for (name, rounds) in [
        ("ambit serve, TLS", ours),
        ("oidc-provider, no TLS", theirs),
    ] {
        if rounds.is_empty() {
            println!("{name:<24}  left out: run `cargo xtask tools`");
            continue;
        }
        let (rate, middle) = (
            Spread::new(of(rounds, |it| it.rate)),
            Spread::new(of(rounds, |it| it.middle)),
        );
        println!(
            "{name:<24}  {rate:<26}  {middle:<26}  {}",
            Spread::new(of(rounds, |it| it.cost))
        );
    }
    if !theirs.is_empty() {
        let ratio = Spread::ratios(&of(ours, |it| it.cost), &of(theirs, |it| it.cost));
        let is_met = verdict(ratio.median() <= 0.1);
        println!("CPU per token, ours to theirs: {ratio}; bar 0.1: {is_met}");
    }
    let ratio = Spread::ratios(&of(ours, |it| it.rate), appends);
    println!(
        "tokens/s to durable appends/s in batches of {IN_FLIGHT} ({}): {ratio}; bar 0.5: {}",
        Spread::new(appends.to_vec()),
        verdict(ratio.median() >= 0.5)
    );
}

/// Holds what can be promised (decision 16) against what ES256 costs by itself.
fn tell_promises(ours: &[Round], theirs: &[Round], floors: &[f64]) -> Result<(), Failure> {
    println!(
        "ES256 alone, two verifications and one signature on one core: {} µs",
        Spread::new(floors.to_vec())
    );
    let rest = ours.iter().zip(floors).map(|(it, floor)| it.cost - floor);
    let rest: Vec<_> = rest.collect();
    if !theirs.is_empty() {
        let whole: Vec<_> = theirs.iter().map(|it| it.cost).collect();
        let ratio = Spread::ratios(&rest, &whole);
        let is_met = verdict(ratio.median() <= REST_MAX);
        println!("all but ES256, ours to the peer's whole: {ratio}; promised {REST_MAX}: {is_met}");
    }
    let cores = std::thread::available_parallelism()?.get() as f64;
    let rates: Vec<_> = ours.iter().map(|it| it.rate).collect();
    let greatest: Vec<_> = floors.iter().map(|it| cores * 1e6 / it).collect();
    let ratio = Spread::ratios(&rates, &greatest);
    println!(
        "tokens/s to those that {cores} cores can do the ES256 of: {ratio}; promised {RATE_MIN:.2}: {}",
        verdict(ratio.median() >= RATE_MIN)
    );
    Ok(())
}

/// Has so many tokens issued by `ambit serve` to so many instances.
async fn issue(server: &Server, round: usize) -> Result<Round, Failure> {
    let keys = server.keys()?;
    let resource = format!("{}/mcp", gateway(server)?);
    let nonce = nonce(server, &keys).await?;
    let mut prepared = Vec::new();
    for place in 0..IN_FLIGHT {
        let directory = server.directory.join(format!("svid-{round}-{place}"));
        let text = directory.to_str().ok_or("the path is no text")?;
        let started =
            server.ambit(&["task", "start", "look", "--for", "reader", "--svid", text])?;
        let spiffe_id = member(&started, "spiffe_id")?.parse()?;
        let maker = ProofMaker::new(&SvidKey::generate(whole::clock()().chance)?)?;
        let mut requests = Vec::new();
        for number in 0..TOKENS_EACH {
            let now = whole::clock()().now;
            let token_id = format!("bench-{round}-{place}-{number}");
            let assertion = keys.issue_jwt(&JwtSvidIssuance {
                spiffe_id: &spiffe_id,
                audiences: std::slice::from_ref(&server.public),
                token_id: &token_id,
                now,
                expires_at: now.plus(ASSERTION_TTL),
            })?;
            let url = format!("{}/oauth/token", server.public);
            let proof = maker.prove(&MadeRequest {
                method: "POST",
                url: &url,
                access_token: None,
                nonce: Some(&nonce),
                token_id: &token_id,
                now,
            })?;
            requests.push(request(
                ("localhost", "/oauth/token", "jwt-spiffe"),
                &assertion,
                &proof,
                &resource,
            )?);
        }
        prepared.push(requests);
    }
    // Opened last: who says nothing for long is let go.
    let mut desks = Vec::new();
    for requests in prepared {
        let sender = secured(&server.public, &keys).await?;
        desks.push(Desk { sender, requests });
    }
    run(desks, server.id()).await
}

/// Returns the nonce that the server gives now, by asking for a token without one.
pub(crate) async fn nonce(server: &Server, keys: &IssuingKeys) -> Result<String, Failure> {
    let maker = ProofMaker::new(&SvidKey::generate([3; 32])?)?;
    let url = format!("{}/oauth/token", server.public);
    let proof = maker.prove(&MadeRequest {
        method: "POST",
        url: &url,
        access_token: None,
        nonce: None,
        token_id: "first",
        now: whole::clock()().now,
    })?;
    let asked = request(
        ("localhost", "/oauth/token", "jwt-spiffe"),
        "none",
        &proof,
        "none",
    )?;
    let answer = secured(&server.public, keys)
        .await?
        .send_request(asked)
        .await?;
    let nonce = answer
        .headers()
        .get("dpop-nonce")
        .ok_or("there is no nonce")?;
    Ok(nonce.to_str()?.to_owned())
}

/// Returns how clients name the gateway.
pub(crate) fn gateway(server: &Server) -> Result<String, Failure> {
    let gateway = member(&server.ambit(&["status"])?, "gateway")?;
    let port = gateway.rsplit(':').next().unwrap_or_default();
    Ok(format!("https://localhost:{port}"))
}

/// Opens a connection to the port that `url` names, as a client that has no certificate.
pub(crate) async fn secured(
    url: &str,
    keys: &IssuingKeys,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(keys.bundle().to_pem().as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let port = url.rsplit(':').next().unwrap_or_default().parse()?;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost")?;
    speak(connector.connect(name, connect(port).await?).await?).await
}

/// Returns a request for a token.
pub(crate) fn request(
    (host, path, kind): (&str, &str, &str),
    assertion: &str,
    proof: &str,
    resource: &str,
) -> Result<Request<Full<Bytes>>, Failure> {
    let kind = format!("urn:ietf:params:oauth:client-assertion-type:{kind}");
    let body: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_assertion_type", &kind)
        .append_pair("client_assertion", assertion)
        .append_pair("resource", resource)
        .finish();
    Ok(Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("dpop", proof)
        .body(Full::from(body))?)
}

/// Sends what the desks have, each its next when the one before was answered.
async fn run(desks: Vec<Desk>, watched: u32) -> Result<Round, Failure> {
    let count: usize = desks.iter().map(|it| it.requests.len()).sum();
    let (begun, used) = (Instant::now(), processor_time(watched)?);
    let mut running = JoinSet::new();
    for desk in desks {
        running.spawn(desk.work());
    }
    let mut times = Vec::new();
    while let Some(done) = running.join_next().await {
        times.extend(done??);
    }
    let took = begun.elapsed().as_secs_f64();
    let spent = processor_time(watched)? - used;
    Ok(Round {
        rate: count as f64 / took,
        middle: Spread::new(times).median(),
        cost: spent / count as f64,
    })
}

impl Desk {
    async fn work(mut self) -> Result<Vec<f64>, Failure> {
        let mut times = Vec::new();
        for request in self.requests {
            let begun = Instant::now();
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            times.push(begun.elapsed().as_secs_f64() * 1e6);
            let text = String::from_utf8_lossy(&body);
            if status != StatusCode::OK || !text.contains("\"access_token\"") {
                return Err(format!("no token was issued: {status} {text}").into());
            }
        }
        Ok(times)
    }
}

/// npm's `oidc-provider`, in a process of its own.
struct Peer {
    process: Child,
    port: u16,
    key: Arc<SigningKey>,
}

impl Peer {
    /// Starts it, where the judges are installed.
    fn start() -> Result<Option<Self>, Failure> {
        let judges = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../judges");
        let told = std::env::var_os("AMBIT_TOOLS").map(PathBuf::from);
        let tools = told.unwrap_or_else(|| judges.join("../target/tools"));
        let modules = tools.join("npm/node_modules");
        if !modules.join("oidc-provider").exists() {
            return Ok(None);
        }
        let port = free_port()?;
        let key = SigningKey::from_svid_key(&SvidKey::generate([5; 32])?, KeyUse::Signature)?;
        let mut process = Command::new(tools.join("bin/node"))
            .env("NODE_ENV", "production")
            .arg(judges.join("oauth/provider.mjs"))
            .arg(modules)
            .arg(port.to_string())
            .arg(key.public().to_value().to_canonical())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let said = process.stdout.take().ok_or("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line)?;
        if !line.starts_with("provider ") {
            return Err("the peer did not start".into());
        }
        Ok(Some(Self {
            process,
            port,
            key: Arc::new(key),
        }))
    }

    /// Has it issue so many tokens.
    async fn issue(&self, round: usize) -> Result<Round, Failure> {
        let host = &format!("127.0.0.1:{}", self.port);
        let issuer = format!("http://{host}");
        let (url, signer) = (
            format!("{issuer}/token"),
            Signer::new(self.key.clone(), None),
        );
        let mut prepared = Vec::new();
        for place in 0..IN_FLIGHT {
            let maker = ProofMaker::new(&SvidKey::generate(whole::clock()().chance)?)?;
            let mut requests = Vec::new();
            for number in 0..THEIR_TOKENS_EACH {
                let now = whole::clock()().now;
                let token_id = format!("bench-{round}-{place}-{number}");
                let seconds = now.as_millis() / 1000;
                let assertion = signer.sign(&Value::object([
                    ("iss", "bench".into()),
                    ("sub", "bench".into()),
                    ("aud", issuer.as_str().into()),
                    ("jti", token_id.as_str().into()),
                    ("iat", seconds.into()),
                    ("exp", (seconds + 120).into()),
                ]))?;
                let proof = maker.prove(&MadeRequest {
                    method: "POST",
                    url: &url,
                    access_token: None,
                    nonce: None,
                    // It keeps names of assertions and of proofs together.
                    token_id: &format!("proof-{token_id}"),
                    now,
                })?;
                requests.push(request(
                    (host, "/token", "jwt-bearer"),
                    &assertion,
                    &proof,
                    "https://localhost/mcp",
                )?);
            }
            prepared.push(requests);
        }
        let mut desks = Vec::new();
        for requests in prepared {
            let sender = speak(connect(self.port).await?).await?;
            desks.push(Desk { sender, requests });
        }
        run(desks, self.process.id()).await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The most that a token may cost beside ES256, in parts of what one costs the peer in all.
const REST_MAX: f64 = 0.2;
/// The fewest tokens, in parts of those for which all cores together can do the ES256 and nothing else.
const RATE_MIN: f64 = 1.0 / 3.0;
/// How many requests are under way at once, each on a connection of its own.
const IN_FLIGHT: usize = 64;
/// How many tokens each instance asks for: a task has at most 64 live ones.
const TOKENS_EACH: usize = 60;
/// How many each connection asks the peer for, which is slower.
const THEIR_TOKENS_EACH: usize = 15;
/// How long an assertion lives.
pub(crate) const ASSERTION_TTL: Millis = Millis::from_seconds(240);

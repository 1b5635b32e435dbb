//! Who calls the gateway again and again until the task is over: the instance with its certificate, and a client with a
//! token of the task, which was verified before and whose key signs a proof of each request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ambit_core::json::{self, Value};
use ambit_identity::{
    Svid, SvidKey, TlsClock,
    dpop::{MadeRequest, ProofMaker},
    tls,
    token::jwt_svid::JwtSvidIssuance,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use spiffe::X509Svid;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::{
    Failure,
    http::{connect, speak},
    serve::{Server, member},
    token::{self, ASSERTION_TTL, secured},
    whole,
};

/// When somebody was first refused because the task is over.
pub(crate) type Refused = JoinHandle<Result<Instant, Failure>>;

/// A connection to the gateway, and what each call there carries.
struct Caller {
    sender: SendRequest<Full<Bytes>>,
    path: &'static str,
    /// A tool that no task has, as it is named there.
    tool: &'static str,
    token: Option<Token>,
}

/// A token that is bound to a DPoP key.
struct Token {
    text: String,
    maker: ProofMaker,
    url: String,
    nonce: String,
    proofs: u64,
}

/// Calls as the instance, with its certificate.
pub(crate) async fn with_certificate(
    server: &Server,
    shown: &X509Svid,
) -> Result<Refused, Failure> {
    let (svid, key) = own(shown)?;
    let clock = whole::clock();
    let bundle = Arc::clone(server.keys()?.bundle());
    let config = tls::runner_config(&svid, &key, bundle, TlsClock::new(move || clock().now))?;
    let port = token::gateway(server)?;
    let port = port.rsplit(':').next().unwrap_or_default().parse()?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector
        .connect(tls::server_name(), connect(port).await?)
        .await?;
    let caller = Caller {
        sender: speak(stream).await?,
        path: "/s/nowhere/mcp",
        tool: "nothing",
        token: None,
    };
    caller.until_refused().await
}

/// Calls with a token of the instance's task, bound to another key by DPoP, on a connection without a certificate.
pub(crate) async fn with_token(server: &Server, shown: &X509Svid) -> Result<Refused, Failure> {
    let (svid, _) = own(shown)?;
    let keys = server.keys()?;
    let gateway = token::gateway(server)?;
    let moment = whole::clock()();
    let (nonce, now) = (token::nonce(server, &keys).await?, moment.now);
    let token_id = &format!("caller-{now}");
    let maker = ProofMaker::new(&SvidKey::generate(moment.chance)?)?;
    let assertion = keys.issue_jwt(&JwtSvidIssuance {
        spiffe_id: svid.spiffe_id(),
        audiences: std::slice::from_ref(&server.public),
        token_id,
        now,
        expires_at: now.plus(ASSERTION_TTL),
    })?;
    let proof = maker.prove(&MadeRequest {
        method: "POST",
        url: &format!("{}/oauth/token", server.public),
        access_token: None,
        nonce: Some(&nonce),
        token_id,
        now,
    })?;
    let place = ("localhost", "/oauth/token", "jwt-spiffe");
    let resource = format!("{gateway}/mcp");
    let request = token::request(place, &assertion, &proof, &resource)?;
    let mut sender = secured(&server.public, &keys).await?;
    let answer = sender.send_request(request).await?;
    let answer = json::parse(&answer.into_body().collect().await?.to_bytes())?;
    let mut caller = Caller {
        sender: secured(&gateway, &keys).await?,
        path: "/mcp",
        tool: "nowhere__nothing",
        token: Some(Token {
            text: member(&answer, "access_token")?,
            maker,
            url: resource,
            // Of another server: the first answer brings the gateway's.
            nonce,
            proofs: 0,
        }),
    };
    caller.call().await?;
    caller.until_refused().await
}

impl Caller {
    /// Calls on and on in a task of its own, as soon as one call was refused for another reason than the end of its task.
    async fn until_refused(mut self) -> Result<Refused, Failure> {
        let live = member(&self.call().await?, "code")?;
        Ok(tokio::spawn(async move {
            loop {
                // A connection that is closed tells it, too.
                let Ok(refusal) = self.call().await else {
                    return Ok(Instant::now());
                };
                let code = member(&refusal, "code");
                if code.is_err() || code.is_ok_and(|it| it != live) {
                    return Ok(Instant::now());
                }
                tokio::time::sleep(BETWEEN_CALLS).await;
            }
        }))
    }

    /// Calls a tool that no task has, and returns why it is refused: while the task lives, because of the tool.
    async fn call(&mut self) -> Result<Value, Failure> {
        let arguments = Value::object([]);
        let params = Value::object([("name", self.tool.into()), ("arguments", arguments)]);
        let body = Value::object([
            ("jsonrpc", "2.0".into()),
            ("id", Value::Integer(1)),
            ("method", "tools/call".into()),
            ("params", params),
        ]);
        let mut request = Request::post(self.path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(token) = &mut self.token {
            request = request
                .header(header::AUTHORIZATION, format!("DPoP {}", token.text))
                .header("dpop", token.prove()?);
        }
        let request = request.body(Full::new(Bytes::from(body.to_canonical())))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if let (Some(token), Some(nonce)) = (&mut self.token, response.headers().get("dpop-nonce"))
        {
            nonce.to_str()?.clone_into(&mut token.nonce);
        }
        let answer = json::parse(&response.into_body().collect().await?.to_bytes())?;
        let refusal = answer
            .get("result")
            .and_then(|it| it.get("structuredContent"));
        Ok(refusal.unwrap_or(&answer).clone())
    }
}

impl Token {
    fn prove(&mut self) -> Result<String, Failure> {
        self.proofs += 1;
        Ok(self.maker.prove(&MadeRequest {
            method: "POST",
            url: &self.url,
            access_token: Some(&self.text),
            nonce: Some(&self.nonce),
            token_id: &self.proofs.to_string(),
            now: whole::clock()().now,
        })?)
    }
}

/// Returns what the client was given, in our own types.
fn own(shown: &X509Svid) -> Result<(Svid, SvidKey), Failure> {
    let pem = |label: &str, der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    };
    let chain: String = shown
        .cert_chain()
        .iter()
        .map(|it| pem("CERTIFICATE", it.as_bytes()))
        .collect();
    let key = pem("PRIVATE KEY", shown.private_key().as_bytes());
    Ok((Svid::from_pem(&chain)?, SvidKey::from_pem(&key)?))
}

/// How long a caller waits between calls of the gateway.
const BETWEEN_CALLS: Duration = Duration::from_millis(1);

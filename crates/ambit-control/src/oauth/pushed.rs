//! Requests for a person's consent, pushed beforehand (RFC 9126) or carried by the person's browser.

use std::{collections::HashMap, sync::Arc};

use ambit_core::{
    Digest, Millis, Timestamp,
    json::Value,
    origin::{Origin, Share},
};
use ambit_identity::{dpop::Proof, jose::base64url};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    ClientAgents, KnownClient, OAuthError, Server,
    client::Client,
    error::{json, put_nonce},
    form::Form,
    locked,
    metadata::PUSH,
    origin_of,
    redirect::{Fits, Redirect},
    wanted::{Wanted, wanted},
};
use crate::api::Shared;

/// How long a pushed request waits for its person's browser.
pub const PUSHED_TTL: Millis = Millis::from_seconds(90);
/// How long it waits from then on, while the person signs in.
pub const PUSHED_OPENED_TTL: Millis = Millis::from_seconds(900);
/// The most pushed requests that wait at once.
pub const PUSHED_MAX: usize = 10_000;
/// The most of them that come from one origin.
pub const PUSHED_PER_ORIGIN_MAX: usize = 256;
/// The most bytes of text that all of them hold.
pub const PUSHED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest `state`, in bytes.
pub const STATE_BYTES_MAX: usize = 2048;

/// A request for a person's consent, its client known and its address one that the client declared.
#[derive(Clone, Debug)]
pub(super) struct AuthorizeRequest {
    /// Who asks (`client_id`).
    pub(super) client_id: String,
    /// The client's name, for people.
    pub(super) client_name: String,
    /// The agents whose tasks it may have tokens of.
    pub(super) agents: ClientAgents,
    /// Where the person is sent back to.
    pub(super) back: Back,
    /// Where the token shall be used.
    pub(super) audience: String,
    /// The task that the client has in mind; the person decides.
    pub(super) wanted: Option<Wanted>,
    /// The base64url SHA-256 of the secret that redeems the code (PKCE, S256).
    pub(super) challenge: String,
    /// The key to which the code is bound, when the client named one (RFC 9449 §10).
    pub(super) key: Option<Digest>,
    /// Whether the person may be asked.
    pub(super) prompt: Prompt,
}

/// Whether a person may be asked (OpenID Connect Core §3.1.2.1 `prompt`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prompt {
    /// Yes: without that there is no consent.
    Usual,
    /// No: so there is none.
    Silent,
}

/// The way back to a client.
#[derive(Clone, Debug)]
pub(super) struct Back {
    /// An address that the client declared.
    pub(super) redirect: Redirect,
    /// What the client wants back unchanged.
    pub(super) state: Option<String>,
}

/// The requests that wait for their person.
#[derive(Default)]
pub(super) struct Pushed {
    entries: HashMap<Digest, Entry>,
    /// How many bytes of text all of them hold.
    held: usize,
}

struct Entry {
    request: AuthorizeRequest,
    weight: usize,
    origin: Origin,
    until: Timestamp,
    seen: Seen,
}

impl Prompt {
    /// Reads what a request says of it.
    pub(super) fn of(form: &Form) -> Result<Self, OAuthError> {
        let words = form.get("prompt").unwrap_or_default();
        match words.split(' ').any(|it| it == "none") {
            false => Ok(Self::Usual),
            true if words == "none" => Ok(Self::Silent),
            true => Err(OAuthError::request("`prompt=none` stands alone")),
        }
    }
}

impl AuthorizeRequest {
    /// Returns how many bytes of text it holds, about.
    fn weight(&self) -> usize {
        let wanted = self.wanted.as_ref().map_or(0, Wanted::weight);
        let state = self.back.state.as_ref().map_or(0, String::len);
        let texts = [&self.client_id, &self.client_name, &self.audience];
        let texts: usize = texts.iter().map(|it| it.len()).sum();
        wanted + state + texts + self.back.redirect.as_str().len()
    }
}

/// Whether a person's browser came with a request.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Seen {
    Never,
    Once,
}

impl Pushed {
    /// Says whether there is room for one of this weight, once those that are over are forgotten.
    fn check_room(
        &mut self,
        weight: usize,
        origin: Origin,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let held = &mut self.held;
        self.entries.retain(|_, it| {
            let waits = it.until > now;
            if !waits {
                *held = held.saturating_sub(it.weight);
            }
            waits
        });
        let theirs = self.entries.values();
        let theirs = theirs.filter(|it| it.origin == origin).count();
        if origin.share(theirs, PUSHED_PER_ORIGIN_MAX) == Share::Taken {
            return Err(OAuthError::unavailable(
                "too many requests from your network wait for a person; try again in a minute",
            ));
        }
        if self.entries.len() >= PUSHED_MAX || self.held + weight > PUSHED_BYTES_MAX {
            return Err(OAuthError::unavailable(
                "too many requests wait for a person; try again in a minute",
            ));
        }
        Ok(())
    }

    fn keep(
        &mut self,
        (request, weight): (AuthorizeRequest, usize),
        (name, origin): (&str, Origin),
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        self.check_room(weight, origin, now)?;
        let entry = Entry {
            request,
            weight,
            origin,
            until: now.plus(PUSHED_TTL),
            seen: Seen::Never,
        };
        self.held += weight;
        self.entries.insert(Digest::of(name.as_bytes()), entry);
        Ok(())
    }

    /// Returns a request for the browser that came with it, which may have to sign in first.
    pub(super) fn see(
        &mut self,
        request_uri: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<AuthorizeRequest, OAuthError> {
        let entry = self.entries.get_mut(&Digest::of(request_uri.as_bytes()));
        let entry = entry.filter(|it| it.until > now && it.request.client_id == client_id);
        let entry = entry.ok_or_else(unknown)?;
        if entry.seen == Seen::Never {
            entry.seen = Seen::Once;
            entry.until = now.plus(PUSHED_OPENED_TTL);
        }
        Ok(entry.request.clone())
    }

    /// Uses a request up (RFC 9126 §4).
    pub(super) fn take(&mut self, request_uri: &str) -> Result<(), OAuthError> {
        let taken = self.entries.remove(&Digest::of(request_uri.as_bytes()));
        let taken = taken.ok_or_else(unknown)?;
        self.held = self.held.saturating_sub(taken.weight);
        Ok(())
    }
}

#[cfg(test)]
impl Pushed {
    /// Fills it with requests like one of these, until there are so many.
    pub(crate) fn fill(&mut self, count: usize, now: Timestamp) -> AuthorizeRequest {
        let like = self.entries.values().next().map(|it| it.request.clone());
        let like = like.expect("one was pushed");
        for number in self.entries.len()..count {
            let number = number.to_string();
            let weighed = (like.clone(), like.weight());
            self.keep(weighed, (&number, Origin::Here), now)
                .expect("there is room");
        }
        like
    }
}

fn unknown() -> OAuthError {
    OAuthError::new(
        "invalid_request_uri",
        "the request_uri is unknown, was used, or is over; begin again where you came from",
    )
}

/// `POST /oauth/par`.
pub(crate) async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match pushed(&shared, request).await {
        Ok((value, nonce)) => {
            let mut response = json(&value);
            *response.status_mut() = StatusCode::CREATED;
            put_nonce(&mut response, Some(&nonce));
            response
        }
        Err(error) => error.into_response(),
    }
}

/// Keeps a request, and returns the answer and the nonce that the next proof wants.
async fn pushed(shared: &Shared, request: Request) -> Result<(Value, String), OAuthError> {
    let server = shared.server()?;
    server.check_people()?;
    let (head, body) = request.into_parts();
    let form = Form::read(&head.headers, body).await?;
    let moment = (server.control.clock)();
    // Before the assertion is used up: who lacks a nonce comes again with it.
    let url = format!("{}{PUSH}", server.issuer);
    let proof = server.proof(&head.headers, &url, moment.now)?;
    let client = server.client(&head, &form, None, moment.now).await?;
    let (circle, prover) = (client.circle(), client.prover());
    let Client::Known { id, client, .. } = client else {
        return Err(OAuthError::new(
            "unauthorized_client",
            "an instance has its task already; it asks for a token with client_credentials",
        ));
    };
    if form.get("request_uri").is_some() {
        return Err(OAuthError::request("a pushed request names no request_uri"));
    }
    let origin = origin_of(&head.extensions);
    let back = read_back(&form, &client)?;
    let mut request = read(server, &form, (&id, &client), back)?;
    let weight = request.weight();
    if let Some(proof) = &proof {
        let key = bound(server, proof, request.key, moment.now)?;
        // Only who has room here takes room among the proofs.
        locked(&server.oauth.pushed).check_room(weight, origin, moment.now)?;
        server.proved_key((circle, proof), prover.as_deref(), moment.now)?;
        request.key = Some(key);
    }
    let name = format!("{URN}{}", base64url::encode(moment.chance));
    locked(&server.oauth.pushed).keep((request, weight), (&name, origin), moment.now)?;
    let lives = PUSHED_TTL.as_millis() / 1000;
    let answer = Value::object([("request_uri", name.into()), ("expires_in", lives.into())]);
    Ok((answer, server.nonce(moment.now)))
}

/// Returns the key of a proof: the code is good with that alone, as if `dpop_jkt` had named it (RFC 9449 section
/// 10.1).
fn bound(
    server: Server<'_>,
    proof: &Proof,
    named: Option<Digest>,
    now: Timestamp,
) -> Result<Digest, OAuthError> {
    let key = proof.thumbprint();
    if named.is_some_and(|it| it != key) {
        let what = "dpop_jkt names another key than the one of the proof; leave it out, or name that one (RFC 9449 section 10.1)";
        return Err(OAuthError::new("invalid_dpop_proof", what).with_nonce(server.nonce(now)));
    }
    Ok(key)
}

/// Reads where the person is sent back to. Whatever else is wrong can be told to the client there.
pub(super) fn read_back(form: &Form, client: &KnownClient) -> Result<Back, OAuthError> {
    let text = form.required("redirect_uri")?;
    let redirect = Redirect::parse(text);
    let redirect = redirect.map_err(|what| OAuthError::request(format!("redirect_uri {what}")))?;
    let declared = &client.redirect_uris;
    if !declared.iter().any(|it| redirect.fits(it) == Fits::Yes) {
        return Err(OAuthError::request(
            "redirect_uri is none that the client declared; they are compared letter by letter",
        ));
    }
    let state = form.get("state").map(str::to_owned);
    if state.as_ref().is_some_and(|it| it.len() > STATE_BYTES_MAX) {
        return Err(OAuthError::request("`state` is too long"));
    }
    Ok(Back { redirect, state })
}

/// Reads the other parameters of a request for consent.
pub(super) fn read(
    server: Server<'_>,
    form: &Form,
    (client_id, client): (&str, &KnownClient),
    back: Back,
) -> Result<AuthorizeRequest, OAuthError> {
    if form.get("request").is_some() {
        return Err(OAuthError::new(
            "request_not_supported",
            "send the parameters themselves, or push them",
        ));
    }
    if form.required("response_type")? != "code" {
        return Err(OAuthError::new(
            "unsupported_response_type",
            "ask for response_type=code",
        ));
    }
    if form.get("response_mode").is_some_and(|it| it != "query") {
        return Err(OAuthError::request(
            "ask for response_mode=query, or leave it out",
        ));
    }
    if form.get("scope").is_some() {
        return Err(OAuthError::new(
            "invalid_scope",
            "there are no scopes here; the person picks a task. leave `scope` out",
        ));
    }
    Ok(AuthorizeRequest {
        client_id: client_id.to_owned(),
        client_name: client.name.clone(),
        agents: client.agents.clone(),
        back,
        audience: server.place(form)?.url,
        wanted: form.get("authorization_details").map(wanted).transpose()?,
        challenge: challenge(form)?,
        key: form.get("dpop_jkt").map(thumbprint).transpose()?,
        prompt: Prompt::of(form)?,
    })
}

impl Back {
    /// Returns where to send the person, with the answer (RFC 6749 §4.1.2, RFC 9207).
    pub(super) fn answer(&self, issuer: &str, members: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(members);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer);
        let query = query.finish();
        let address = self.redirect.as_str();
        let sign = if address.contains('?') { '&' } else { '?' };
        format!("{address}{sign}{query}")
    }
}

fn challenge(form: &Form) -> Result<String, OAuthError> {
    let refused = || {
        OAuthError::request(
            "send a code_challenge of 43 characters with code_challenge_method=S256 (RFC 7636)",
        )
    };
    if form.get("code_challenge_method") != Some("S256") {
        return Err(refused());
    }
    let challenge = form.get("code_challenge").ok_or_else(refused)?;
    let bytes = base64url::decode(challenge).map_err(|_| refused())?;
    if bytes.len() == 32 {
        return Ok(challenge.to_owned());
    }
    Err(refused())
}

fn thumbprint(text: &str) -> Result<Digest, OAuthError> {
    let bytes = base64url::decode(text).ok();
    let bytes = bytes.and_then(|it| it.try_into().ok());
    bytes.map(Digest::from_bytes).ok_or_else(|| {
        OAuthError::request("dpop_jkt is the base64url SHA-256 thumbprint of a key (RFC 9449 §10)")
    })
}

const URN: &str = "urn:ietf:params:oauth:request_uri:";

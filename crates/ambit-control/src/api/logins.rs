//! The routes of people on the public port, for command lines that have a login.

use std::sync::Arc;

use ambit_core::{LoginId, Timestamp, json::Value};
use ambit_engine::NoLogin;
use ambit_identity::{
    dpop::{self, ProofError, ProvedRequest},
    login::{LoginError, ProvedLogin, ShownLogin},
    replay::{ReplayError, ReplayOwner},
};
use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, body::Answer, caller::Person, problem::Problem, tasks::parsed};
use crate::oauth::Circle;

/// Lets a request on that shows a login with a proof of its key, and no other.
pub(super) async fn by_login(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let now = (shared.control.clock)().now;
    let path = request.uri().path().to_owned();
    let proved = proved(&shared, request.headers(), request.method(), &path, now);
    let mut response = match proved {
        Ok(login) => {
            request.extensions_mut().insert(login);
            next.run(request).await
        }
        Err(stranger) => stranger.into_response(),
    };
    if let Ok(nonce) = HeaderValue::from_str(&shared.oauth().nonce(now)) {
        response.headers_mut().insert(NONCE, nonce);
    }
    response
}

/// `POST /v1/logins/{login}/end`.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Person(caller): Person,
    Path(login): Path<String>,
) -> Result<Answer, Problem> {
    let id: LoginId = parsed(&login)?;
    let control = &shared.control;
    control
        .handle
        .end_login(&caller, id, (control.clock)())
        .await?;
    Ok(Answer(Value::object([
        ("login", id.to_string().into()),
        ("state", "ended".into()),
    ])))
}

/// Somebody without a login, and the challenge that says what is missing (RFC 9449 §7.1).
struct Stranger {
    error: &'static str,
    problem: Problem,
}

fn proved(
    shared: &Shared,
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    now: Timestamp,
) -> Result<ProvedLogin, Stranger> {
    let issuer = shared.control.issuer.as_deref().unwrap_or_default();
    let text = authorization(headers)?;
    // The cheap questions first: strangers get no signature verified.
    let shown = ShownLogin::read(text)?;
    let (login, holder) = shared.control.handle.login(shown.id())?;
    shown.check(&login, now)?;
    let url = format!("{issuer}{path}");
    let request = ProvedRequest {
        method: method.as_str(),
        url: &url,
        access_token: Some(text),
        nonces: Some(shared.oauth().nonces()),
        now,
        wall: shared.control.wall(),
    };
    let proof = dpop::verify(sole(headers, &PROOF)?, &request)?;
    let proved = shown.prove(login, holder, &proof, now)?;
    let thumbprint = proof.thumbprint();
    let owner = ReplayOwner::Proof { thumbprint };
    let until = proof.remember_until();
    let wall = shared.control.wall();
    let oauth = shared.oauth();
    match oauth.admit(Circle::People, (owner, proof.token_id()), until, wall) {
        Ok(()) => Ok(proved),
        Err(error) => Err(error.into()),
    }
}

fn authorization(headers: &HeaderMap) -> Result<&str, Stranger> {
    let text = sole(headers, &header::AUTHORIZATION)?;
    let (scheme, text) = text.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("DPoP") {
        return Ok(text);
    }
    Err(Stranger::new(
        "invalid_token",
        "send `Authorization: DPoP` with a login; `ambit login` gets one",
    ))
}

fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Stranger> {
    let mut all = headers.get_all(name).iter();
    match (all.next().map(HeaderValue::to_str), all.next()) {
        (Some(Ok(value)), None) => Ok(value),
        (None | Some(_), _) => Err(Stranger::new(
            "invalid_token",
            format!("send one `{name}`; `ambit login` makes a login that does"),
        )),
    }
}

impl Stranger {
    fn new(error: &'static str, why: impl Into<String>) -> Self {
        let title = "Ambit does not know who is calling";
        Self {
            error,
            problem: Problem::new(StatusCode::UNAUTHORIZED, "not_identified", title).because(why),
        }
    }
}

impl From<LoginError> for Stranger {
    fn from(error: LoginError) -> Self {
        Self::new("invalid_token", error.to_string())
    }
}

impl From<NoLogin> for Stranger {
    fn from(error: NoLogin) -> Self {
        match error {
            NoLogin::Unknown => Self::new("invalid_token", error.to_string()),
            NoLogin::Failed(error) => Self {
                error: "invalid_token",
                problem: error.into(),
            },
        }
    }
}

impl From<ProofError> for Stranger {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Nonce => Self::new("use_dpop_nonce", error.to_string()),
            ProofError::Refused { .. } => {
                Self::new("invalid_dpop_proof", crate::check::chain(&error))
            }
        }
    }
}

impl From<ReplayError> for Stranger {
    fn from(error: ReplayError) -> Self {
        let problem = match error {
            ReplayError::Replayed | ReplayError::Over => {
                return Self::new("invalid_dpop_proof", error.to_string());
            }
            ReplayError::Full | ReplayError::OwnerFull => {
                let title = "Ambit has too much to do just now";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title)
            }
        };
        Self {
            error: "invalid_dpop_proof",
            problem: problem.because(error.to_string()),
        }
    }
}

impl IntoResponse for Stranger {
    fn into_response(self) -> Response {
        let algorithms: Vec<&str> = dpop::ALGORITHMS.iter().map(|it| it.as_str()).collect();
        let challenge = format!(
            "DPoP algs=\"{}\", error=\"{}\"",
            algorithms.join(" "),
            self.error
        );
        let mut response = self.problem.into_response();
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

const PROOF: HeaderName = HeaderName::from_static("dpop");
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

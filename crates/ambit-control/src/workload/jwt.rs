//! JWT-SVIDs: signed for the instance and one or more audiences, and checked for a process that asks.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, Digest, Millis, SpiffeId, SvidKind, Timestamp, TrustDomain, json::Value,
};
use ambit_engine::EngineError;
use ambit_identity::{
    jose::AUDIENCES_MAX,
    token::jwt_svid::{self, JwtSvidIssuance},
};
use prost_types::{ListValue, Struct, value::Kind};
use tonic::Status;

use super::{
    Peer,
    given::Given,
    instances::instance,
    messages::{
        JwtSvid, JwtSvidRequest, JwtSvidResponse, ValidateJwtSvidRequest, ValidateJwtSvidResponse,
    },
    turns::Asks,
};
use crate::api::{Control, Doors};

/// How long a JWT-SVID lives: whoever holds it is believed, so not long.
pub const JWT_SVID_TTL: Millis = Millis::from_seconds(5 * 60);
/// The longest audience, in bytes.
pub const AUDIENCE_BYTES_MAX: usize = 2048;

/// Signs a JWT-SVID for the instance that the process is, and writes that down before it leaves.
pub(super) async fn issue(
    doors: &Doors,
    peer: &Peer,
    request: JwtSvidRequest,
) -> Result<JwtSvidResponse, Status> {
    check_audiences(&request.audience)?;
    let wanted = wanted(&request.spiffe_id)?;
    let (bound, _) = instance(doors, peer, Asks::Anew).await?;
    let spiffe_id = &bound.task.spiffe_id;
    if wanted.is_some_and(|it| it != *spiffe_id) {
        return Err(Status::permission_denied(format!(
            "this process is {spiffe_id} and gets no JWT-SVID for another name"
        )));
    }
    let control = doors.control();
    let moment = (control.clock)();
    let expires_at = bound.task.expires_at.min(moment.now.plus(JWT_SVID_TTL));
    let token_id = Digest::of(&moment.chance).to_string();
    let ask = JwtSvidIssuance {
        spiffe_id,
        audiences: &request.audience,
        token_id: token_id.trim_start_matches("sha256:"),
        now: moment.now,
        expires_at,
    };
    let token = control.keys_in_force().issue_jwt(&ask).map_err(|error| {
        tracing::error!(
            error = crate::check::chain(&error),
            "a JWT-SVID could not be issued"
        );
        Status::unavailable("no JWT-SVID can be issued now; try again")
    })?;
    let svid = SvidKind::Jwt {
        audiences: request.audience,
    };
    let named = (svid, Digest::of(token.as_bytes()));
    let written = control.handle.certified(&bound.task, named, expires_at);
    written.await.map_err(|error| {
        if matches!(error, EngineError::NoTask) {
            return super::streams::over();
        }
        if matches!(error, EngineError::TooFast { .. }) {
            return Status::unavailable(error.to_string());
        }
        super::instances::not_ready(&error)
    })?;
    let svid = JwtSvid {
        spiffe_id: spiffe_id.to_string(),
        svid: token,
        hint: String::new(),
    };
    Ok(JwtSvidResponse { svids: vec![svid] })
}

/// Checks a JWT-SVID against the bundle of its trust domain, our own or one that a run of `agent` is given, and says whose
/// it is.
pub(super) fn validate(
    doors: &Doors,
    agent: &AgentName,
    request: &ValidateJwtSvidRequest,
) -> Result<ValidateJwtSvidResponse, Status> {
    check_audiences(std::slice::from_ref(&request.audience))?;
    let control = doors.control();
    let own = control.keys_in_force();
    let wrong = |error: &dyn std::error::Error| {
        Status::invalid_argument(format!(
            "the JWT-SVID is refused: {}",
            crate::check::chain(error)
        ))
    };
    let claimed = jwt_svid::claimed_trust_domain(&request.svid).map_err(|error| wrong(&error))?;
    let ambit_engine::Moment { now, wall, .. } = (control.clock)();
    if claimed != *own.trust_domain() {
        let found = foreign(control, agent, &claimed, (request, wall))?;
        return Ok(said(&found));
    }
    let found = jwt_svid::verify(&request.svid, own.jwt_svid_keys(), &request.audience, now)
        .map_err(|error| wrong(&error))?;
    // A signature outlives the task; the authority does not.
    if let Err(error) = control.handle.task_of(found.spiffe_id(), now) {
        if matches!(error, EngineError::NoTask) {
            let ended = "the JWT-SVID is refused: the task of its instance has ended, and its identity with it";
            return Err(Status::invalid_argument(ended));
        }
        return Err(super::instances::not_ready(&error));
    }
    Ok(said(&found))
}

/// Checks a JWT-SVID of a foreign trust domain, which says of its own workloads what is so: no live state here knows them.
fn foreign(
    control: &Control,
    agent: &AgentName,
    claimed: &TrustDomain,
    (request, wall): (&ValidateJwtSvidRequest, Timestamp),
) -> Result<jwt_svid::JwtSvid, Status> {
    let book = control.handle.book();
    let book = book.map_err(|error| super::instances::not_ready(&error))?;
    let believed = control.federated();
    let given = Given::of(agent, book.estate(), &believed).has(claimed);
    let keys = believed.jwt_keys(claimed).filter(|_| given);
    let keys = keys.ok_or_else(|| {
        Status::invalid_argument(format!(
            "the JWT-SVID is of trust domain {claimed}, whose bundle this process is not given"
        ))
    })?;
    jwt_svid::verify(&request.svid, keys, &request.audience, wall).map_err(|error| {
        let error = crate::check::chain(&error);
        Status::invalid_argument(format!("the JWT-SVID is refused: {error}"))
    })
}

fn said(found: &jwt_svid::JwtSvid) -> ValidateJwtSvidResponse {
    ValidateJwtSvidResponse {
        spiffe_id: found.spiffe_id().to_string(),
        claims: found.claims().as_object().map(structure),
    }
}

fn check_audiences(audiences: &[String]) -> Result<(), Status> {
    let fits = |it: &String| (1..=AUDIENCE_BYTES_MAX).contains(&it.len());
    if (1..=AUDIENCES_MAX).contains(&audiences.len()) && audiences.iter().all(fits) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "name 1 to {AUDIENCES_MAX} audiences of 1 to {AUDIENCE_BYTES_MAX} bytes; one is best"
    )))
}

/// Reads the name that is asked for; an empty one asks for whatever the process is.
fn wanted(text: &str) -> Result<Option<SpiffeId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|error| Status::invalid_argument(format!("`spiffe_id`: {error}")))
}

fn structure(members: &BTreeMap<String, Value>) -> Struct {
    let fields = members
        .iter()
        .map(|(name, value)| (name.clone(), protobuf(value)));
    Struct {
        fields: fields.collect(),
    }
}

fn protobuf(value: &Value) -> prost_types::Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "integers are within 2^53, which a double holds exactly"
    )]
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        Value::Integer(it) => Kind::NumberValue(*it as f64),
        Value::Number(it) => Kind::NumberValue(*it),
        Value::String(it) => Kind::StringValue(it.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(protobuf).collect(),
        }),
        Value::Object(members) => Kind::StructValue(structure(members)),
    };
    prost_types::Value { kind: Some(kind) }
}

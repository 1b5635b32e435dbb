//! Reading the claims of access tokens.

use std::collections::BTreeMap;

use ambit_core::{Digest, SpiffeId, json::Value};

use super::{ACTORS_MAX, Mission, TOKEN_ID_BYTES_MAX};
use crate::{
    KeyBinding,
    jose::{Claims, JoseError, base64url, missing},
};

pub(in crate::token) fn token_id(claims: &Claims) -> Result<String, JoseError> {
    let id = claims.text_bounded("jti", TOKEN_ID_BYTES_MAX)?;
    Ok(id.ok_or(missing("jti"))?.to_owned())
}

pub(super) fn actors(claims: &Claims) -> Result<Vec<SpiffeId>, JoseError> {
    let rule = "a chain of 1 to 9 objects with `sub`, a SPIFFE ID, and `act` alone";
    let wrong = || JoseError::Claim { name: "act", rule };
    let mut actors = Vec::new();
    let mut next = Some(claims.get("act").ok_or_else(wrong)?);
    while let Some(actor) = next {
        let members = closed(actor, &["sub", "act"]).ok_or_else(wrong)?;
        let subject = members.get("sub").and_then(Value::as_str);
        let subject = subject.and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
        actors.push(subject);
        if actors.len() > ACTORS_MAX {
            return Err(wrong());
        }
        next = members.get("act");
    }
    Ok(actors)
}

pub(super) fn mission(claims: &Claims, issuer: &str) -> Result<Mission, JoseError> {
    let rule =
        "an object with the texts `id`, `root`, `issuer`, `authority_hash` and `expires_at` alone";
    let name = "mission";
    let wrong = || JoseError::Claim { name, rule };
    let known = ["id", "root", "issuer", "authority_hash", "expires_at"];
    let members = claims.get(name).and_then(|it| closed(it, &known));
    let members = members.ok_or_else(wrong)?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).ok_or_else(wrong);
    if text("issuer")? != issuer {
        let rule = "of the issuer of the token";
        return Err(JoseError::Claim { name, rule });
    }
    Ok(Mission {
        id: text("id")?.to_owned(),
        root: text("root")?.to_owned(),
        authority_hash: text("authority_hash")?.to_owned(),
        expires_at: text("expires_at")?.to_owned(),
    })
}

pub(super) fn authorization_details(claims: &Claims) -> Result<Value, JoseError> {
    let name = "authorization_details";
    let rule = "a list of objects with a text `type` (RFC 9396 §2)";
    let has_type = |it: &Value| it.get("type").is_some_and(|it| it.as_str().is_some());
    match claims.get(name) {
        Some(details @ Value::Array(items)) if !items.is_empty() && items.iter().all(has_type) => {
            Ok(details.clone())
        }
        _ => Err(JoseError::Claim { name, rule }),
    }
}

pub(super) fn binding(claims: &Claims) -> Result<KeyBinding, JoseError> {
    let rule = "an object with either `x5t#S256` or `jkt`, a SHA-256 digest in base64url";
    let wrong = || JoseError::Claim { name: "cnf", rule };
    let Some(confirmation) = claims.get("cnf") else {
        return Ok(KeyBinding::Bearer);
    };
    let members = closed(confirmation, &["x5t#S256", "jkt"]).ok_or_else(wrong)?;
    let read = |it: &Value| it.as_str().and_then(digest).ok_or_else(wrong);
    match (members.get("x5t#S256"), members.get("jkt")) {
        (Some(it), None) => Ok(KeyBinding::Mtls {
            certificate: read(it)?,
        }),
        (None, Some(it)) => Ok(KeyBinding::Dpop {
            thumbprint: read(it)?,
        }),
        (None, None) | (Some(_), Some(_)) => Err(wrong()),
    }
}

fn digest(text: &str) -> Option<Digest> {
    let bytes = base64url::decode(text).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

/// Returns the members of an object that has no others than `known`.
fn closed<'a>(value: &'a Value, known: &[&str]) -> Option<&'a BTreeMap<String, Value>> {
    let members = value.as_object()?;
    let is_known = |name: &String| known.contains(&name.as_str());
    members.keys().all(is_known).then_some(members)
}

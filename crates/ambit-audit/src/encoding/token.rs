//! The kinds of records that tokens leave, both ways.

use std::sync::Arc;

use ambit_core::{
    TaskId, TokenId,
    record::Body,
    token::{Grant, IssuedToken, KeyBinding, Reach, RestsOn, TokenEnd, TokenKind},
};

use super::{
    DecodeError,
    delegation::{read_part, with_part},
    read::Members as Read,
    write::{Members as Written, members, time},
};

pub(super) fn write_issued(token: &IssuedToken) -> Written<'_> {
    let (kind, secret) = match &token.kind {
        TokenKind::Access => (ACCESS, None),
        TokenKind::Refresh { secret } => (REFRESH, Some(secret)),
    };
    let part = token.part.clone();
    members()
        .text("token", &token.id)
        .text("family", &token.family)
        .add("type", kind)
        .maybe_text("secret", secret)
        .text("task", &token.task)
        .add("client", token.client.as_str())
        .add("audience", token.audience.as_str())
        .add("binding", token.binding.as_str())
        .maybe_text("key", token.binding.key().as_ref())
        .add("grant", token.grant.as_str())
        .maybe_text("parent", token.parent.as_ref())
        .maybe("part", part.map(|it| with_part(members(), &it).done()))
        .maybe_text("client_proof", token.rests_on.client.as_ref())
        .maybe_text("registration", token.rests_on.registration.as_ref())
        .add("expires_at", time(token.expires_at))
}

pub(super) fn write_revoked<'a>(
    (token, task): (&TokenId, &TaskId),
    reach: Reach,
    end: TokenEnd,
    client: &'a str,
) -> Written<'a> {
    members()
        .text("token", token)
        .text("task", task)
        .add("reach", reach.as_str())
        .add("end", end.as_str())
        .add("client", client)
}

pub(super) fn read_issued(it: &mut Read) -> Result<Body, DecodeError> {
    let secret = it.maybe_text("secret")?;
    let kind = match (it.string("type")?.as_str(), secret) {
        (ACCESS, None) => TokenKind::Access,
        (REFRESH, Some(secret)) => TokenKind::Refresh { secret },
        _ => return Err(DecodeError::Invalid("type")),
    };
    let key = it.maybe_text("key")?;
    let binding = match (it.string("binding")?.as_str(), key) {
        ("mtls", Some(certificate)) => KeyBinding::Mtls { certificate },
        ("dpop", Some(thumbprint)) => KeyBinding::Dpop { thumbprint },
        ("bearer", None) => KeyBinding::Bearer,
        _ => return Err(DecodeError::Invalid("binding")),
    };
    Ok(Body::TokenIssued(Box::new(IssuedToken {
        id: it.text("token")?,
        family: it.text("family")?,
        kind,
        task: it.text("task")?,
        client: it.string("client")?,
        audience: it.string("audience")?,
        binding,
        grant: it.word("grant", Grant::ALL, Grant::as_str)?,
        parent: it.maybe_text("parent")?,
        part: it.maybe_object("part", read_part)?.map(Arc::new),
        rests_on: RestsOn {
            client: it.maybe_text("client_proof")?,
            registration: it.maybe_text("registration")?,
        },
        expires_at: it.time("expires_at")?,
    })))
}

pub(super) fn read_revoked(it: &mut Read) -> Result<Body, DecodeError> {
    Ok(Body::TokenRevoked {
        token: it.text("token")?,
        task: it.text("task")?,
        reach: it.word("reach", Reach::ALL, Reach::as_str)?,
        end: it.word("end", TokenEnd::ALL, TokenEnd::as_str)?,
        client: it.string("client")?,
    })
}

const ACCESS: &str = "access";
const REFRESH: &str = "refresh";

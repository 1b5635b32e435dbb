//! What is done with tokens at the desk.

use std::sync::Arc;

use ambit_core::{
    Digest, TaskId, Timestamp, TokenId,
    delegation::Part,
    estate::BearerTokens,
    json::Value,
    limits::{
        ACCESS_TOKEN_TTL, REFRESH_FAMILIES_PER_TASK_MAX, REFRESH_TOKEN_TTL, TOKENS_PER_TASK_MAX,
    },
    record::Body,
    task::Task,
    token::{Grant, IssuedToken, KeyBinding, Reach, RestsOn, TokenEnd, TokenKind},
};

use super::{RefreshAsk, Refreshable, TokenAsk, TokenGrant, TokenRefusal};
use crate::{TokenUse, desk::Desk, moment::Chance};

/// Issues the first tokens of a grant.
pub(crate) fn first(
    desk: &mut Desk<'_>,
    task: TaskId,
    ask: TokenAsk,
    chance: &mut Chance,
) -> Result<TokenGrant, TokenRefusal> {
    let whole = desk.acting(task)?;
    gives(desk, &whole, &ask)?;
    let client = ask.client.unwrap_or_else(|| whole.spiffe_id.to_string());
    let part = ask.details.map(|it| part(desk, task, &it)).transpose()?;
    room(desk, task, ask.refreshable)?;
    let at = desk.at();
    let id = chance.id(at);
    let access = IssuedToken {
        id,
        family: id,
        kind: TokenKind::Access,
        task,
        client,
        audience: ask.audience,
        binding: ask.binding,
        grant: ask.grant,
        parent: ask.parent,
        part,
        rests_on: ask.rests_on,
        expires_at: at.plus(ask.ttl.min(ACCESS_TOKEN_TTL)).min(whole.expires_at),
    };
    let refresh = match ask.refreshable {
        Refreshable::No => None,
        Refreshable::Yes => Some(refresh_beside(&access, at, whole.expires_at, chance)),
    };
    write(desk, access, refresh)
}

/// Spends a refresh token.
pub(super) fn next(
    desk: &mut Desk<'_>,
    ask: &RefreshAsk,
    chance: &mut Chance,
) -> Result<TokenGrant, TokenRefusal> {
    let (shown, secret) = read_refresh(&ask.text).ok_or(TokenRefusal::Unknown)?;
    let entry = desk.live.state.token(shown).ok_or(TokenRefusal::Unknown)?;
    // Who does not know the secret learns nothing and ends nothing.
    if !has_secret(&entry.token, secret) {
        return Err(TokenRefusal::Unknown);
    }
    let (before, standing) = (entry.token.clone(), entry.standing);
    if before.client != ask.client {
        return Err(TokenRefusal::OtherClient);
    }
    let Ok(whole) = desk.acting(before.task) else {
        return Err(TokenRefusal::Unknown);
    };
    if standing == TokenUse::Spent {
        desk.write(Body::TokenRevoked {
            token: shown,
            task: before.task,
            reach: Reach::Family,
            end: TokenEnd::Reused,
            client: ask.client.clone(),
        })?;
        return Err(TokenRefusal::Reused);
    }
    let at = desk.at();
    if before.expires_at <= at {
        return Err(TokenRefusal::Unknown);
    }
    if before.binding != ask.binding {
        return Err(TokenRefusal::OtherKey);
    }
    if ask
        .audience
        .as_ref()
        .is_some_and(|it| *it != before.audience)
    {
        return Err(TokenRefusal::OtherAudience(before.audience));
    }
    let rests_on = RestsOn {
        // It may have begun to sign with another key.
        client: ask.client_proof,
        ..before.rests_on
    };
    desk.live.gives(&whole, &ask.client, &rests_on)?;
    takes(desk, &whole, ask.binding)?;
    room(desk, before.task, Refreshable::No)?;
    let access = IssuedToken {
        id: chance.id(at),
        kind: TokenKind::Access,
        grant: Grant::RefreshToken,
        parent: Some(shown),
        rests_on,
        expires_at: at.plus(ask.ttl.min(ACCESS_TOKEN_TTL)).min(whole.expires_at),
        ..before
    };
    let refresh = refresh_beside(&access, at, whole.expires_at, chance);
    write(desk, access, Some(refresh))
}

/// Ends a token before its time. What is not there stays away.
pub(super) fn end(
    desk: &mut Desk<'_>,
    client: &str,
    token: TokenId,
    reach: Reach,
    end: TokenEnd,
) -> Result<(), TokenRefusal> {
    let Some(entry) = desk.live.state.token(token) else {
        return Ok(());
    };
    let task = entry.token.task;
    if entry.token.client != client {
        return Err(TokenRefusal::OtherClient);
    }
    if desk.acting(task).is_err() {
        return Ok(());
    }
    desk.write(Body::TokenRevoked {
        token,
        task,
        reach,
        end,
        client: client.to_owned(),
    })?;
    Ok(())
}

fn write(
    desk: &mut Desk<'_>,
    access: IssuedToken,
    refresh: Option<(IssuedToken, String)>,
) -> Result<TokenGrant, TokenRefusal> {
    let runtime = desk.live.runtime.get(&access.task).cloned();
    let runtime = runtime.ok_or(TokenRefusal::NoTask)?;
    desk.write(Body::TokenIssued(Box::new(access.clone())))?;
    let refresh = match refresh {
        None => None,
        Some((token, text)) => {
            desk.write(Body::TokenIssued(Box::new(token)))?;
            Some(text)
        }
    };
    let above = runtime.tasks_above().map(|it| it.task.clone());
    Ok(TokenGrant {
        task: runtime.task.clone(),
        details: runtime.details()?,
        line: std::iter::once(runtime.task.clone()).chain(above).collect(),
        access,
        refresh,
    })
}

/// Returns a fresh refresh token of the family of `access`, and its text.
fn refresh_beside(
    access: &IssuedToken,
    at: Timestamp,
    until: Timestamp,
    chance: &mut Chance,
) -> (IssuedToken, String) {
    let (id, secret) = (chance.id(at), chance.draw::<32>());
    let token = IssuedToken {
        id,
        kind: TokenKind::Refresh {
            secret: Digest::of(&secret),
        },
        expires_at: at.plus(REFRESH_TOKEN_TTL).min(until),
        ..access.clone()
    };
    let secret = Digest::from_bytes(secret).to_string();
    let text = format!("{id}.{}", secret.trim_start_matches("sha256:"));
    (token, text)
}

/// Takes the text of a refresh token apart.
pub(super) fn read_refresh(text: &str) -> Option<(TokenId, [u8; 32])> {
    let (id, secret) = text.split_once('.')?;
    let digest: Digest = format!("sha256:{secret}").parse().ok()?;
    Some((id.parse().ok()?, *digest.as_bytes()))
}

/// Says whether the secret is the refresh token's. Digests of 32 random bytes tell nothing by how long they compare.
pub(super) fn has_secret(token: &IssuedToken, secret: [u8; 32]) -> bool {
    token.kind
        == TokenKind::Refresh {
            secret: Digest::of(&secret),
        }
}

/// Refuses what the estate in force does not give under `task`, or under a child of it.
pub(crate) fn gives(desk: &Desk<'_>, task: &Task, ask: &TokenAsk) -> Result<(), TokenRefusal> {
    let own = task.spiffe_id.to_string();
    let client = ask.client.as_deref().unwrap_or(&own);
    desk.live.gives(task, client, &ask.rests_on)?;
    takes(desk, task, ask.binding)
}

/// Refuses anybody a token without a key where the task takes none.
fn takes(desk: &Desk<'_>, task: &Task, binding: KeyBinding) -> Result<(), TokenRefusal> {
    if binding != KeyBinding::Bearer {
        return Ok(());
    }
    let book = desk.live.book()?;
    let runtime = desk
        .live
        .runtime
        .get(&task.id)
        .ok_or(TokenRefusal::NoTask)?;
    match runtime.scope(&book)?.takes_bearer() {
        BearerTokens::Taken => Ok(()),
        BearerTokens::Refused => Err(TokenRefusal::NoBearer),
    }
}

/// Reads which part of the task the token shall carry.
fn part(desk: &Desk<'_>, task: TaskId, asked: &Value) -> Result<Arc<Part>, TokenRefusal> {
    let runtime = desk.live.runtime.get(&task).ok_or(TokenRefusal::NoTask)?;
    let scope = runtime.scope(&*desk.live.book()?)?;
    let part = ambit_policy::token_part(asked, &*runtime.details()?, &scope)?;
    Ok(Arc::new(part))
}

/// Refuses one more token where there are too many.
fn room(desk: &Desk<'_>, task: TaskId, refreshable: Refreshable) -> Result<(), TokenRefusal> {
    let at = desk.at();
    let live = desk.live.state.tokens_of(task);
    let live = live.filter(|it| it.standing == TokenUse::Unspent && it.token.expires_at > at);
    let (mut tokens, mut families) = (0, 0);
    for entry in live {
        match entry.token.kind {
            TokenKind::Access => tokens += 1,
            TokenKind::Refresh { .. } => families += 1,
        }
    }
    if tokens >= TOKENS_PER_TASK_MAX {
        let max = TOKENS_PER_TASK_MAX;
        return Err(TokenRefusal::TooMany { max });
    }
    if refreshable == Refreshable::Yes && families >= REFRESH_FAMILIES_PER_TASK_MAX {
        let max = REFRESH_FAMILIES_PER_TASK_MAX;
        return Err(TokenRefusal::TooMany { max });
    }
    Ok(())
}

//! What is done with tokens at the desk.

use std::sync::Arc;

use ambit_core::{
    Digest, SpiffeId, TaskId, Timestamp, TokenId,
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

use super::{
    ClientShown, RefreshAsk, Refreshable, TokenAsk, TokenGrant, TokenRefusal,
    refresh::{self, Origin, Shown},
};
use crate::{Custody, TokenUse, desk::Desk, moment::Chance, sequencer::Shared};

/// Issues the first tokens of a grant.
pub(crate) fn first(
    desk: &mut Desk<'_>,
    task: TaskId,
    ask: TokenAsk,
    (chance, shared): (&mut Chance, &Shared),
) -> Result<TokenGrant, TokenRefusal> {
    let whole = desk.acting(task)?;
    desk.live.lets(task)?;
    gives(desk, &whole, &ask)?;
    let client = ask.client.unwrap_or_else(|| whole.spiffe_id.to_string());
    let part = ask.details.map(|it| part(desk, task, &it)).transpose()?;
    room(desk, task, ask.refreshable)?;
    let at = desk.at();
    shared.quotas().issue((task, whole.instance), at)?;
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
    write(desk, shared.custody.as_ref(), access, refresh)
}

/// Spends a refresh token.
pub(super) fn next(
    desk: &mut Desk<'_>,
    ask: &RefreshAsk,
    (chance, shared): (&mut Chance, &Shared),
) -> Result<TokenGrant, TokenRefusal> {
    let shown = Shown::read(&ask.text).ok_or(TokenRefusal::Unknown)?;
    let Some(entry) = desk.live.state.token(shown.token) else {
        let of_family = older(desk, shared.custody.as_ref(), &shown)?;
        return Err(reused(desk, &ask.client, of_family)?);
    };
    // Who does not know the secret learns nothing and ends nothing.
    if shown.is_of(&entry.token) == Origin::Forged {
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
        return Err(reused(desk, &ask.client, shown.token)?);
    }
    let at = desk.at();
    if before.expires_at <= at {
        return Err(TokenRefusal::Unknown);
    }
    if !may_be_bound(before.binding, ask) {
        return Err(TokenRefusal::OtherKey);
    }
    if run_of(&before, &whole).is_some_and(|it| !serves(desk, &it)) {
        return Err(TokenRefusal::Unknown);
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
    desk.live.lets(before.task)?;
    desk.live.gives(&whole, &ask.client, &rests_on)?;
    takes(desk, &whole, ask.binding)?;
    room(desk, before.task, Refreshable::No)?;
    shared.quotas().issue((before.task, whole.instance), at)?;
    let access = IssuedToken {
        id: chance.id(at),
        kind: TokenKind::Access,
        grant: Grant::RefreshToken,
        parent: Some(shown.token),
        binding: ask.binding,
        rests_on,
        expires_at: at.plus(ask.ttl.min(ACCESS_TOKEN_TTL)).min(whole.expires_at),
        ..before
    };
    let refresh = refresh_beside(&access, at, whole.expires_at, chance);
    write(desk, shared.custody.as_ref(), access, Some(refresh))
}

/// Says whether the next token may be bound as `ask` proves: to the same key, or, for a client that authenticated, to the
/// key that it has now. What was bound to a key never becomes bearer.
fn may_be_bound(before: KeyBinding, ask: &RefreshAsk) -> bool {
    match ask.shown {
        ClientShown::Named => before == ask.binding,
        ClientShown::Proved => {
            (before == KeyBinding::Bearer) == (ask.binding == KeyBinding::Bearer)
        }
    }
}

/// Returns the run of this trust domain to which a token of `task` was given, when its client is one.
fn run_of(token: &IssuedToken, task: &Task) -> Option<SpiffeId> {
    let name: SpiffeId = token.client.parse().ok()?;
    let ours = name.trust_domain() == task.spiffe_id.trust_domain();
    (ours && name.as_instance().is_some()).then_some(name)
}

/// Says whether the run serves a live task of its own, as of this batch.
fn serves(desk: &Desk<'_>, run: &SpiffeId) -> bool {
    let state = &desk.live.state;
    let instance = run.as_instance().map(|(_, instance)| instance);
    let task = instance.and_then(|it| state.instances.get(&it));
    task.is_some_and(|it| desk.acting(*it).is_ok_and(|it| it.spiffe_id == *run))
}

/// Ends a token before its time. What is not there stays away.
pub(super) fn end(
    desk: &mut Desk<'_>,
    client: &str,
    token: TokenId,
    (reach, end): (Reach, TokenEnd),
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

/// Ends the family of a refresh token that its client gives up. What is not there stays away.
pub(super) fn give_up(
    desk: &mut Desk<'_>,
    custody: &dyn Custody,
    client: &str,
    shown: &Shown,
) -> Result<(), TokenRefusal> {
    let token = match desk.live.state.token(shown.token) {
        Some(entry) if shown.is_of(&entry.token) == Origin::Ours => Ok(shown.token),
        Some(_) => return Ok(()),
        None => older(desk, custody, shown),
    };
    match token {
        Ok(token) => end(desk, client, token, (Reach::Family, TokenEnd::Revoked)),
        Err(TokenRefusal::Unknown) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// Ends the family of a refresh token that was shown after it was spent: two hold it.
fn reused(desk: &mut Desk<'_>, client: &str, token: TokenId) -> Result<TokenRefusal, TokenRefusal> {
    end(desk, client, token, (Reach::Family, TokenEnd::Reused))?;
    Ok(TokenRefusal::Reused)
}

/// Finds what lives of the family of a refresh token that the state has forgotten.
fn older(desk: &Desk<'_>, custody: &dyn Custody, shown: &Shown) -> Result<TokenId, TokenRefusal> {
    let runtime = desk.live.runtime.get(&shown.task);
    let runtime = runtime.ok_or(TokenRefusal::Unknown)?;
    match shown.origin(custody, &runtime.wrapped_key)? {
        Origin::Forged => Err(TokenRefusal::Unknown),
        Origin::Ours => {
            let found = desk.live.state.of_family(shown.task, shown.family);
            found.ok_or(TokenRefusal::Unknown)
        }
    }
}

fn write(
    desk: &mut Desk<'_>,
    custody: &dyn Custody,
    access: IssuedToken,
    refresh: Option<(IssuedToken, Digest)>,
) -> Result<TokenGrant, TokenRefusal> {
    let runtime = desk.live.runtime.get(&access.task).cloned();
    let runtime = runtime.ok_or(TokenRefusal::NoTask)?;
    let text = refresh.as_ref();
    let text =
        text.map(|(token, secret)| refresh::text(custody, &runtime.wrapped_key, token, *secret));
    let text = text.transpose()?;
    desk.write(Body::TokenIssued(Box::new(access.clone())))?;
    if let Some((token, _)) = refresh {
        desk.write(Body::TokenIssued(Box::new(token)))?;
    }
    let above = runtime.tasks_above().map(|it| it.task.clone());
    Ok(TokenGrant {
        task: runtime.task.clone(),
        details: runtime.details()?,
        line: std::iter::once(runtime.task.clone()).chain(above).collect(),
        access,
        refresh: text,
    })
}

/// Returns a fresh refresh token of the family of `access`, and its secret.
fn refresh_beside(
    access: &IssuedToken,
    at: Timestamp,
    until: Timestamp,
    chance: &mut Chance,
) -> (IssuedToken, Digest) {
    let (id, secret) = (chance.id(at), chance.draw::<32>());
    let token = IssuedToken {
        id,
        kind: TokenKind::Refresh {
            secret: Digest::of(&secret),
        },
        expires_at: at.plus(REFRESH_TOKEN_TTL).min(until),
        ..access.clone()
    };
    (token, Digest::from_bytes(secret))
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

//! Records in words.

mod content;
mod delegation;

pub(super) use self::content::settled;

use ambit_core::{
    Digest, Reason, ServerName, SvidKind, TokenId,
    act::Target,
    claim::ClaimProof,
    record::{Actor, Answer, Body, Decided, KeyStep, Performed, Status, Warrant},
    task::{self, Task},
    token::{Grant, IssuedToken, Reach, TokenEnd, TokenKind},
};

use super::Names;
use crate::visible::visible;

/// Says what was asked for, such as `mail.send_reply`.
pub(super) fn asked(decided: &Decided) -> String {
    match (&decided.server, &decided.tool) {
        (Some(server), Some(tool)) => format!("{server}.{tool}"),
        (Some(server), None) => format!("{} at {server}", decided.action),
        (None, _) => decided.action.clone(),
    }
}

/// What is known of the end of an allowed act.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    /// Another record says it, if any does: it was not looked for.
    Elsewhere,
    /// No record says it.
    NotWritten,
    /// This record says it.
    Written(&'a Performed),
    /// This record says that nobody knows, and a person said these words of it since.
    Settled(&'a Performed, &'a str),
}

impl<'a> From<Option<&'a Performed>> for End<'a> {
    fn from(performed: Option<&'a Performed>) -> Self {
        performed.map_or(Self::NotWritten, Self::Written)
    }
}

/// Says what was answered and, when it is known, how the act ended.
pub(super) fn decided(decided: &Decided, end: End<'_>) -> String {
    let to = delegation::to(decided);
    let what = format!("{}{to} ({})", asked(decided), decided.decision);
    match &decided.answer {
        Answer::Allow {
            charged, spends, ..
        } => {
            let mut text = format!("allowed {what}");
            if let Some(approval) = spends {
                text.push_str(&format!(", spending approval {approval}"));
            }
            if charged.count() > 0 {
                text.push_str(&format!(", may read {charged} data"));
            }
            match end {
                End::Elsewhere => {}
                End::NotWritten => text.push_str(": outcome not written: under way, or unknown"),
                End::Written(performed) => {
                    text.push_str(": ");
                    text.push_str(&outcome(performed));
                }
                End::Settled(performed, found) => {
                    text.push_str(&format!(": {}; {found}", outcome(performed)));
                }
            }
            text
        }
        Answer::Hold {
            approval,
            expires_at,
            reason,
        } => format!(
            "held {what} until a person decides {approval}, at the latest {expires_at}: {reason}, {}",
            said(decided, *reason)
        ),
        Answer::Deny { reason } => format!(
            "denied {what}: {reason}, {}{}",
            said(decided, *reason),
            delegation::beyond(decided)
        ),
    }
}

/// Says a reason to people: an agent's act is told as the agent was told.
pub(super) fn said(decided: &Decided, reason: Reason) -> &'static str {
    match decided.actor {
        Actor::Person(_) => reason.for_person(),
        Actor::Instance(_) | Actor::Workload(_) | Actor::Ambit | Actor::Nobody => {
            reason.for_agent()
        }
    }
}

/// Says how an act ended.
pub(super) fn outcome(performed: &Performed) -> String {
    let why = performed.failure.as_ref();
    let why = why.map_or_else(String::new, |it| format!(" ({it})"));
    ended(performed) + &why
}

fn ended(performed: &Performed) -> String {
    let took = performed.took;
    match performed.status {
        Status::Done => format!("done in {took}, {} bytes back", performed.received_bytes),
        Status::Failed => format!("the server said it failed, after {took}"),
        Status::NotSent => "nothing was sent".to_owned(),
        Status::Unknown if performed.sent_bytes == 0 => {
            "outcome UNKNOWN: nobody knows whether it was sent".to_owned()
        }
        Status::Unknown => format!(
            "outcome UNKNOWN: up to {} bytes were sent, no whole answer came back",
            performed.sent_bytes
        ),
    }
}

/// Says any record that is not a decision on an act, in one sentence without its place.
pub(super) fn body(body: &Body, names: &Names) -> String {
    match body {
        Body::LogOpened { origin, recovered } => match recovered {
            Some((old, size)) => format!("log {origin} opened in place of {old} at size {size}"),
            None => format!("log {origin} opened"),
        },
        Body::PersonKnown { person } => format!("{} became known", names.person(*person)),
        Body::EstateApplied { estate, warrant } => {
            format!("{} applied estate {estate}", names.person(warrant.by))
        }
        Body::TaskStarted { task, warrant, .. } => started(task, &names.person(warrant.by)),
        Body::InstanceCertified {
            instance,
            svid,
            expires_at,
            ..
        } => {
            format!(
                "{instance} got {}, until {expires_at}",
                certificate_or_token(svid)
            )
        }
        Body::TaskWaits { join_token, .. } => waits(join_token.as_ref()).to_owned(),
        Body::TaskClaimed { .. } => {
            let by = claimant(body).map(|it| it.1).unwrap_or_default();
            format!("claimed by {by}")
        }
        Body::TaskAttended { .. } => "its runner is there, and the task ends with that".to_owned(),
        Body::TaskEnded { end, by, .. } => ended_task(*end, *by, names),
        Body::Decided(it) => decided(it, End::Elsewhere),
        Body::Performed(it) => format!("{}: {}", it.decision, outcome(it)),
        Body::ApprovalDecided { .. }
        | Body::Revoked { .. }
        | Body::Reinstated { .. }
        | Body::RevocationCarried { .. }
        | Body::RevocationEffective { .. }
        | Body::ServerInspected { .. }
        | Body::CredentialSealed { .. } => governance(body, names),
        Body::ActSettled { .. } | Body::SealedOpened { .. } => content::told(body, names),
        Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. } => delegation::step(body, names),
        Body::ToolSeen { server, tool, seen } => format!("{server} showed {tool} as {seen}"),
        Body::KeysRotated {
            step,
            certificate,
            sequence,
            warrant,
        } => {
            let by = warrant.as_ref().map(|it| names.person(it.by));
            keys_rotated(*step, (*certificate, *sequence), by)
        }
        Body::Bundle(fact) => super::bundles::fact(fact),
        Body::Proof(fact) => super::proofs::fact(fact, names),
        Body::TokenIssued(token) => issued(token),
        Body::TokenRevoked {
            token,
            reach,
            end,
            client,
            ..
        } => revoked(*token, *reach, *end, client),
        Body::RefusalsCoalesced { actor, .. } => coalesced(body, &names.actor(*actor)),
        Body::StateDigest { digest } => format!("the folded state is {digest}"),
    }
}

const fn waits(join_token: Option<&Digest>) -> &'static str {
    match join_token {
        Some(_) => "waits for whoever shows its join token",
        None => "waits for whoever proves to be a run of its agent",
    }
}

fn coalesced(body: &Body, whose: &str) -> String {
    let Body::RefusalsCoalesced {
        reason,
        count,
        first_at,
        last_at,
        ..
    } = body
    else {
        return String::new();
    };
    format!("denied {whose} {count} more times from {first_at} to {last_at}: {reason}")
}

/// What an instance got by which it proves who it is.
fn certificate_or_token(svid: &SvidKind) -> String {
    match svid {
        SvidKind::X509 => "its certificate".to_owned(),
        SvidKind::Jwt { audiences } => format!("a JWT-SVID for {}", audiences.join(" and ")),
    }
}

/// What people did to Ambit, and what came of it.
fn governance(body: &Body, names: &Names) -> String {
    match body {
        Body::ApprovalDecided {
            approval,
            verdict,
            warrant,
            ..
        } => {
            let (by, why) = (names.person(warrant.by), names.reason(warrant));
            format!("{by} {} {approval}{why}", verdict.as_str())
        }
        Body::Revoked {
            revocation,
            target,
            warrant,
            ..
        } => {
            let (by, why) = (names.person(warrant.by), names.reason(warrant));
            format!("{by} revoked {} ({revocation}){why}", names.target(target))
        }
        Body::Reinstated {
            target, warrant, ..
        } => reinstated(target, warrant, names),
        Body::RevocationCarried {
            revocation,
            target,
            leaf,
        } => format!(
            "{} stays revoked: {revocation} stood at {leaf} of the log that this one replaces",
            names.target(target)
        ),
        Body::RevocationEffective {
            revocation,
            crossed,
            took,
        } => format!(
            "{revocation} took effect at every door in {took}, {} calls crossed it",
            crossed.len()
        ),
        Body::ServerInspected { server, warrant } => inspected(server, &names.person(warrant.by)),
        Body::CredentialSealed { reference, warrant } => {
            format!("{} sealed credential {reference}", names.person(warrant.by))
        }
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::EstateApplied { .. }
        | Body::TaskStarted { .. }
        | Body::InstanceCertified { .. }
        | Body::TaskWaits { .. }
        | Body::TaskClaimed { .. }
        | Body::TaskAttended { .. }
        | Body::TaskEnded { .. }
        | Body::Decided(_)
        | Body::Performed(_)
        | Body::ToolSeen { .. }
        | Body::ActSettled { .. }
        | Body::SealedOpened { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. }
        | Body::Proof(_)
        | Body::TokenIssued(_)
        | Body::TokenRevoked { .. }
        | Body::RefusalsCoalesced { .. }
        | Body::StateDigest { .. } => self::body(body, names),
    }
}

fn inspected(server: &ServerName, by: &str) -> String {
    format!("{by} asked server {server} for its tools")
}

fn reinstated(target: &Target, warrant: &Warrant, names: &Names) -> String {
    let (by, whom) = (names.person(warrant.by), names.target(target));
    let why = names.reason(warrant);
    format!("{by} reinstated {whom} for what begins from here on{why}")
}

fn issued(token: &IssuedToken) -> String {
    let what = match token.kind {
        TokenKind::Access => "an access token",
        TokenKind::Refresh { .. } => "a refresh token",
    };
    let how = match (token.grant, token.parent) {
        (Grant::ClientCredentials, _) => "as itself".to_owned(),
        (Grant::AuthorizationCode, _) => "by consent".to_owned(),
        (Grant::JwtBearer, _) => "by a workload token".to_owned(),
        (Grant::RefreshToken, Some(parent)) => format!("for the refresh token {parent}"),
        (Grant::TokenExchange, Some(parent)) => format!("in exchange for {parent}"),
        (Grant::RefreshToken | Grant::TokenExchange, None) => "for another token".to_owned(),
    };
    format!(
        "{} got {what} for {}, {how} ({}, {}), until {}",
        visible(&token.client),
        visible(&token.audience),
        token.id,
        token.binding.as_str(),
        token.expires_at
    )
}

fn revoked(token: TokenId, reach: Reach, end: TokenEnd, client: &str) -> String {
    let client = visible(client);
    let what = match reach {
        Reach::Token => token.to_string(),
        Reach::Family => format!("{token} and all that came of the same grant"),
    };
    match end {
        TokenEnd::Revoked => format!("{client} gave up {what}"),
        TokenEnd::Reused => {
            format!("{what} ended: {client} showed a spent refresh token, so two hold it")
        }
        TokenEnd::CodeReplayed => {
            format!("{what} ended: {client} showed their authorization code a second time")
        }
    }
}

fn keys_rotated(
    step: KeyStep,
    (certificate, sequence): (Digest, u64),
    by: Option<String>,
) -> String {
    let by = by.unwrap_or_else(|| "time".to_owned());
    let what = match step {
        KeyStep::Begin => {
            return format!(
                "the log begins with the issuing keys {certificate}, bundle {sequence}"
            );
        }
        KeyStep::Prepare => "published issuing keys that will sign later",
        KeyStep::Activate => "let the prepared issuing keys sign",
        KeyStep::Replace => "replaced all issuing keys; what they signed counts no more",
        KeyStep::Tidy => "let retired issuing keys go",
    };
    format!("{by} {what} ({certificate}, bundle {sequence})")
}

/// Says how a task ended. Ambit itself cancels only what nobody serves any more.
fn ended_task(end: task::End, by: Actor, names: &Names) -> String {
    match (end, by) {
        (task::End::Cancelled, Actor::Ambit) => {
            "cancelled by Ambit: whoever served it is gone".to_owned()
        }
        (task::End::Unregistered, by) => format!(
            "unregistered by {}: the estate applied then does not say any more what its instance claimed it by",
            names.actor(by)
        ),
        (end, by) => format!("{} by {}", end.as_str(), names.actor(by)),
    }
}

fn started(task: &Task, by: &str) -> String {
    format!(
        "{by} started {} version {} for {} as {}, until {}, containment {}",
        task.template,
        task.template_version,
        task.agent,
        task.instance,
        task.expires_at,
        task.contained.as_str()
    )
}

/// Returns who claimed a task with a record: the digest that names them, and what the record says of them.
pub(super) fn claimant(body: &Body) -> Option<(Digest, String)> {
    let Body::TaskClaimed {
        proof,
        workload,
        footing,
        ..
    } = body
    else {
        return None;
    };
    let user = footing.unix_uid;
    let user = user.map_or_else(String::new, |it| format!(" of local user {it}"));
    let by = claimed_by(*proof);
    Some((*workload, format!("{by} {workload}{user}")))
}

const fn claimed_by(proof: ClaimProof) -> &'static str {
    match proof {
        ClaimProof::Process => "the process",
        ClaimProof::JoinToken => "join token and the key",
        ClaimProof::Svid => "the holder of the SVID of",
        ClaimProof::Token => "the holder of a token of",
        ClaimProof::Client => "the client with the key of",
    }
}

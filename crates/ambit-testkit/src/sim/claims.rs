//! What a record says, in one line each: so that what was acknowledged can be looked for in the log.

use ambit_core::{
    ApprovalId, DecisionId, DelegationId, Digest, RevocationId, TaskId, TokenId,
    act::Target,
    record::{Answer, Body, Verdict},
};

/// Something that somebody was told, and that the log must hold from then on.
#[derive(Clone, Debug)]
pub enum Claim {
    /// An act was permitted.
    Allowed(DecisionId),
    /// An act was held.
    Held(DecisionId, ApprovalId),
    /// An act of an agent or a person was denied.
    Denied(DecisionId),
    /// The end of an act is known.
    Ended(DecisionId),
    /// A person settled an act.
    Settled(DecisionId),
    /// A task started.
    TaskStarted(TaskId),
    /// A task ended.
    TaskOver(TaskId),
    /// An approval was decided.
    Verdict(ApprovalId, Verdict),
    /// Authority was taken away.
    Revoked(RevocationId),
    /// A ban was lifted.
    Reinstated(Target),
    /// A revocation is effective.
    Effective(RevocationId),
    /// An estate came into force.
    Applied(Digest),
    /// An instance was certified.
    Certified(Digest),
    /// A part of a task was given away.
    Delegated(DelegationId),
    /// A delegation was taken back.
    Withdrawn(DelegationId),
    /// A token was issued.
    Token(TokenId),
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allowed(it) => write!(f, "allowed {it}"),
            Self::Held(it, approval) => write!(f, "held {it} {approval}"),
            Self::Denied(it) => write!(f, "denied {it}"),
            Self::Ended(it) => write!(f, "ended {it}"),
            Self::Settled(it) => write!(f, "settled {it}"),
            Self::TaskStarted(it) => write!(f, "started {it}"),
            Self::TaskOver(it) => write!(f, "over {it}"),
            Self::Verdict(it, verdict) => write!(f, "{} {it}", verdict.as_str()),
            Self::Revoked(it) => write!(f, "revoked {it}"),
            Self::Reinstated(it) => write!(f, "reinstated {it}"),
            Self::Effective(it) => write!(f, "effective {it}"),
            Self::Applied(it) => write!(f, "applied {it}"),
            Self::Certified(it) => write!(f, "certified {it}"),
            Self::Delegated(it) => write!(f, "delegated {it}"),
            Self::Withdrawn(it) => write!(f, "withdrawn {it}"),
            Self::Token(it) => write!(f, "token {it}"),
        }
    }
}

/// Returns what a record says, as [`Claim`]s are written.
pub(super) fn claims(body: &Body) -> Option<String> {
    let claim = match body {
        Body::Decided(it) => match &it.answer {
            Answer::Allow { .. } => Claim::Allowed(it.decision),
            Answer::Hold { approval, .. } => Claim::Held(it.decision, *approval),
            Answer::Deny { .. } => Claim::Denied(it.decision),
        },
        Body::Performed(it) => Claim::Ended(it.decision),
        Body::ActSettled { decision, .. } => Claim::Settled(*decision),
        Body::TaskStarted { task, .. } | Body::DelegationSpent { task, .. } => {
            Claim::TaskStarted(task.id)
        }
        Body::DelegationMade { delegation, .. } => Claim::Delegated(delegation.id),
        Body::DelegationWithdrawn { delegation, .. } => Claim::Withdrawn(*delegation),
        Body::TokenIssued(token) => Claim::Token(token.id),
        Body::TaskEnded { task, .. } => Claim::TaskOver(*task),
        Body::ApprovalDecided {
            approval, verdict, ..
        } => Claim::Verdict(*approval, *verdict),
        Body::Revoked { revocation, .. } => Claim::Revoked(*revocation),
        Body::Reinstated { target, .. } => Claim::Reinstated(target.clone()),
        Body::RevocationEffective { revocation, .. } => Claim::Effective(*revocation),
        Body::EstateApplied { estate, .. } => Claim::Applied(*estate),
        Body::InstanceCertified { certificate, .. } => Claim::Certified(*certificate),
        Body::LogOpened { .. }
        | Body::TaskWaits { .. }
        | Body::TaskClaimed { .. }
        | Body::TaskAttended { .. }
        | Body::RevocationCarried { .. }
        | Body::ToolSeen { .. }
        | Body::ServerInspected { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::PersonKnown { .. }
        | Body::SealedOpened { .. }
        | Body::CredentialSealed { .. }
        | Body::Proof(_)
        | Body::TokenRevoked { .. }
        | Body::RefusalsCoalesced { .. }
        | Body::StateDigest { .. } => return None,
    };
    Some(claim.to_string())
}

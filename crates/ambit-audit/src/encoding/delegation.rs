//! The kinds of records that delegations leave, both ways.

use std::collections::BTreeMap;

use ambit_core::{
    ServerName,
    delegation::{Delegation, Lineage, Part},
    estate::{Bound, ToolGrant},
    json::Value,
    record::{Body, Mandate},
};

use super::{
    DecodeError, kind,
    read::{self, Members as Read},
    write::{self, Members as Written, members},
};

/// Returns the kind and members of a step of a delegation; of any other record, nothing.
pub(super) fn write(body: &Body) -> (&'static str, Written<'_>) {
    match body {
        Body::DelegationMade {
            delegation,
            part,
            mandate,
        } => (
            kind::DELEGATION_MADE,
            members()
                .add("delegation", write_delegation(delegation))
                .add("part", write::sealed(part))
                .add("mandate", write_mandate(mandate)),
        ),
        Body::DelegationSpent {
            task,
            part,
            mandate,
        } => (
            kind::DELEGATION_SPENT,
            members()
                .add("task", write::task(task))
                .add("part", write::sealed(part))
                .add("mandate", write_mandate(mandate)),
        ),
        Body::DelegationWithdrawn {
            delegation,
            parent,
            mandate,
        } => (
            kind::DELEGATION_WITHDRAWN,
            members()
                .text("delegation", delegation)
                .text("parent", parent)
                .add("mandate", write_mandate(mandate)),
        ),
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
        | Body::ApprovalDecided { .. }
        | Body::Revoked { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::Reinstated { .. }
        | Body::RevocationCarried { .. }
        | Body::ServerInspected { .. }
        | Body::RevocationEffective { .. }
        | Body::ToolSeen { .. }
        | Body::TokenIssued(_)
        | Body::TokenRevoked { .. }
        | Body::Proof(_)
        | Body::ActSettled { .. }
        | Body::SealedOpened { .. }
        | Body::CredentialSealed { .. }
        | Body::RefusalsCoalesced { .. }
        | Body::StateDigest { .. } => ("", members()),
    }
}

/// Adds where a task comes from; of a task that a person started, nothing.
pub(super) fn lineage(members: Written<'static>, lineage: Lineage) -> Written<'static> {
    match lineage {
        Lineage::Root => members,
        Lineage::Child {
            parent,
            delegation,
            depth,
            depth_left,
        } => members
            .text("parent", &parent)
            .text("delegation", &delegation)
            .add("depth", u64::from(depth))
            .add("depth_left", u64::from(depth_left)),
    }
}

/// Reads what [`lineage`] added.
pub(super) fn read_lineage(it: &mut Read) -> Result<Lineage, DecodeError> {
    let Some(parent) = it.maybe_text("parent")? else {
        return Ok(Lineage::Root);
    };
    Ok(Lineage::Child {
        parent,
        delegation: it.text("delegation")?,
        depth: depth(it, "depth")?,
        depth_left: depth(it, "depth_left")?,
    })
}

pub(super) fn made(it: &mut Read) -> Result<Body, DecodeError> {
    Ok(Body::DelegationMade {
        delegation: Box::new(it.object("delegation", read_delegation)?),
        part: it.object("part", read::sealed)?,
        mandate: it.object("mandate", read_mandate)?,
    })
}

pub(super) fn spent(it: &mut Read) -> Result<Body, DecodeError> {
    Ok(Body::DelegationSpent {
        task: Box::new(it.object("task", read::task)?),
        part: it.object("part", read::sealed)?,
        mandate: it.object("mandate", read_mandate)?,
    })
}

pub(super) fn withdrawn(it: &mut Read) -> Result<Body, DecodeError> {
    Ok(Body::DelegationWithdrawn {
        delegation: it.text("delegation")?,
        parent: it.text("parent")?,
        mandate: it.object("mandate", read_mandate)?,
    })
}

fn write_delegation(delegation: &Delegation) -> Value {
    let named = members()
        .text("id", &delegation.id)
        .text("parent", &delegation.parent)
        .text("to", &delegation.to)
        .maybe_text("spiffe_id", delegation.spiffe_id.as_ref());
    with_part(named, &delegation.part)
        .add("depth_left", u64::from(delegation.depth_left))
        .text("authority", &delegation.authority)
        .add("made_at", write::time(delegation.made_at))
        .add("expires_at", write::time(delegation.expires_at))
        .done()
}

/// Adds a part, without its constraints.
pub(super) fn with_part<'a>(named: Written<'a>, part: &Part) -> Written<'a> {
    let tools = part.tools.iter().map(|((server, tool), grant)| {
        let calls_max = grant.calls_max.map(|it| u64::from(it).into());
        members()
            .text("server", server)
            .text("tool", tool)
            .add("approval", approval(grant.approval))
            .maybe("calls_max", calls_max)
            .done()
    });
    let reads = part.reads.iter().map(ServerName::as_str);
    named
        .add("reads", reads.collect::<Value>())
        .add("tools", tools.collect::<Value>())
        .add("calls_max", u64::from(part.calls_max))
        .add("may_emit", write::labels(&part.may_emit))
}

fn read_delegation(it: &mut Read) -> Result<Delegation, DecodeError> {
    Ok(Delegation {
        id: it.text("id")?,
        parent: it.text("parent")?,
        to: it.text("to")?,
        spiffe_id: it.maybe_text("spiffe_id")?,
        part: read_part(it)?,
        depth_left: depth(it, "depth_left")?,
        authority: it.text("authority")?,
        made_at: it.time("made_at")?,
        expires_at: it.time("expires_at")?,
    })
}

/// Reads what [`with_part`] added.
pub(super) fn read_part(it: &mut Read) -> Result<Part, DecodeError> {
    let tools = it.take("tools")?;
    let tools = tools.as_array().ok_or(DecodeError::Invalid("tools"))?;
    let mut grants = BTreeMap::new();
    for tool in tools {
        let mut tool = Read::of(tool.clone(), "a tool")?;
        let key = (tool.text("server")?, tool.text("tool")?);
        let grant = ToolGrant {
            arguments: BTreeMap::new(),
            calls_max: tool.maybe_count("calls_max")?,
            approval: tool.word("approval", [Bound::Free, Bound::Held], approval)?,
        };
        tool.end()?;
        grants.insert(key, grant);
    }
    let reads: Vec<ServerName> = it.texts("reads")?;
    Ok(Part {
        reads: reads.into_iter().collect(),
        tools: grants,
        calls_max: u32::try_from(it.number("calls_max")?)
            .map_err(|_| DecodeError::Invalid("calls_max"))?,
        may_emit: read::labels(it, "may_emit")?,
    })
}

fn write_mandate(mandate: &Mandate) -> Value {
    members()
        .text("decision", &mandate.decision)
        .add("by", write::actor(mandate.by))
        .add("rules", write::texts(&mandate.rules))
        .add("facts", mandate.facts.clone())
        .done()
}

fn read_mandate(it: &mut Read) -> Result<Mandate, DecodeError> {
    Ok(Mandate {
        decision: it.text("decision")?,
        by: read::actor(it, "by")?,
        rules: it.texts("rules")?,
        facts: it.take("facts")?,
    })
}

fn depth(it: &mut Read, name: &'static str) -> Result<u8, DecodeError> {
    u8::try_from(it.number(name)?).map_err(|_| DecodeError::Invalid(name))
}

const fn approval(bound: Bound) -> &'static str {
    match bound {
        Bound::Free => "free",
        Bound::Held => "held",
    }
}

//! From JSON values to records. Every member is taken by name; what is left over is refused.

use std::{collections::BTreeMap, str::FromStr};

use ambit_core::{
    Label, Labels, Millis, Reason, SvidKind, Timestamp,
    act::Target,
    claim::ClaimProof,
    json::Value,
    record::{
        Actor, Answer, Body, Decided, KeyStep, Performed, Record, Sealed, Status, Verdict, Warrant,
    },
    task::{Contained, End, Task},
};

use super::{DecodeError, VERSION, bundle, claim, content, delegation, kind, proof, token};

/// Reads the object of a record.
pub(super) fn record(value: Value) -> Result<Record, DecodeError> {
    let mut members = Members::of(value, "the record")?;
    if members.number("v")? != VERSION {
        return Err(DecodeError::Version);
    }
    let kind = members.string("kind")?;
    let at = members.time("at")?;
    let body = body(&kind, &mut members)?;
    members.end()?;
    Ok(Record { at, body })
}

fn body(kind: &str, it: &mut Members) -> Result<Body, DecodeError> {
    Ok(match kind {
        kind::LOG_OPENED => log_opened(it)?,
        kind::PERSON_KNOWN => Body::PersonKnown {
            person: it.text("person")?,
        },
        kind::ESTATE_APPLIED => Body::EstateApplied {
            estate: it.text("estate")?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::TASK_STARTED => Body::TaskStarted {
            task: Box::new(it.object("task", task)?),
            parameters: it.object("parameters", sealed)?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::INSTANCE_CERTIFIED => Body::InstanceCertified {
            instance: it.text("instance")?,
            task: it.text("task")?,
            certificate: it.text("certificate")?,
            svid: svid(it)?,
            expires_at: it.time("expires_at")?,
        },
        kind::TASK_WAITS => Body::TaskWaits {
            task: it.text("task")?,
            join_token: it.maybe_text("join_token")?,
        },
        kind::TASK_CLAIMED => Body::TaskClaimed {
            task: it.text("task")?,
            proof: it.word("proof", ClaimProof::ALL, ClaimProof::as_str)?,
            workload: it.text("workload")?,
            footing: claim::footing(it)?,
        },
        kind::TASK_ATTENDED => Body::TaskAttended {
            task: it.text("task")?,
        },
        kind::TASK_ENDED => Body::TaskEnded {
            task: it.text("task")?,
            end: it.word("end", End::ALL, End::as_str)?,
            by: actor(it, "by")?,
        },
        kind::DECIDED => Body::Decided(Box::new(decided(it)?)),
        kind::PERFORMED => Body::Performed(Box::new(performed(it)?)),
        _ => governance(kind, it)?,
    })
}

/// The kinds that people's acts and Ambit's own observations leave.
fn governance(kind: &str, it: &mut Members) -> Result<Body, DecodeError> {
    Ok(match kind {
        kind::APPROVAL_DECIDED => Body::ApprovalDecided {
            approval: it.text("approval")?,
            task: it.text("task")?,
            verdict: it.word("verdict", VERDICTS, Verdict::as_str)?,
            reason: it.maybe_object("reason", sealed)?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::REVOKED => Body::Revoked {
            revocation: it.text("revocation")?,
            target: it.object("target", target)?,
            reason: it.object("reason", sealed)?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::REINSTATED => Body::Reinstated {
            target: it.object("target", target)?,
            reason: it.object("reason", sealed)?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::REVOCATION_CARRIED => Body::RevocationCarried {
            revocation: it.text("revocation")?,
            target: it.object("target", target)?,
            leaf: it.number("leaf")?,
        },
        kind::REVOCATION_EFFECTIVE => Body::RevocationEffective {
            revocation: it.text("revocation")?,
            crossed: it.texts("crossed")?,
            took: Millis::new(it.number("took_ms")?),
        },
        kind::TOOL_SEEN => Body::ToolSeen {
            server: it.text("server")?,
            tool: it.text("tool")?,
            seen: it.text("seen")?,
        },
        kind::SERVER_INSPECTED => Body::ServerInspected {
            server: it.text("server")?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::KEYS_ROTATED => Body::KeysRotated {
            step: it.word("step", KeyStep::ALL, KeyStep::as_str)?,
            certificate: it.text("certificate")?,
            sequence: it.number("sequence")?,
            warrant: it.maybe_object("warrant", warrant)?,
        },
        kind if bundle::KINDS.contains(&kind) => bundle::read(kind, it)?,
        kind::CREDENTIAL_SEALED => Body::CredentialSealed {
            reference: it.string("reference")?,
            warrant: it.object("warrant", warrant)?,
        },
        kind::REFUSALS_COALESCED => Body::RefusalsCoalesced {
            actor: actor(it, "actor")?,
            task: it.maybe_text("task")?,
            reason: it.text("reason")?,
            count: it.number("count")?,
            first_at: it.time("first_at")?,
            last_at: it.time("last_at")?,
        },
        kind::STATE_DIGEST => Body::StateDigest {
            digest: it.text("digest")?,
        },
        kind::ACT_SETTLED => content::read_settled(it)?,
        kind::SEALED_OPENED => content::read_opened(it)?,
        kind::DELEGATION_MADE => delegation::made(it)?,
        kind::DELEGATION_SPENT => delegation::spent(it)?,
        kind::DELEGATION_WITHDRAWN => delegation::withdrawn(it)?,
        kind::TOKEN_ISSUED => token::read_issued(it)?,
        kind::TOKEN_REVOKED => token::read_revoked(it)?,
        _ => return proof::read(kind, it),
    })
}

/// Reads in which form an instance got its SVID: a certificate has no audiences.
fn svid(it: &mut Members) -> Result<SvidKind, DecodeError> {
    if !it.0.contains_key("audiences") {
        return Ok(SvidKind::X509);
    }
    let audiences = it.texts("audiences")?;
    Ok(SvidKind::Jwt { audiences })
}

fn log_opened(it: &mut Members) -> Result<Body, DecodeError> {
    let recovered = it.maybe_object("recovered", |inner| {
        Ok((inner.string("origin")?, inner.number("size")?))
    })?;
    Ok(Body::LogOpened {
        origin: it.string("origin")?,
        recovered,
    })
}

fn decided(it: &mut Members) -> Result<Decided, DecodeError> {
    Ok(Decided {
        decision: it.text("decision")?,
        actor: actor(it, "actor")?,
        task: it.maybe_text("task")?,
        action: it.string("action")?,
        server: it.maybe_text("server")?,
        tool: it.maybe_text("tool")?,
        pin: it.maybe_text("pin")?,
        act: it.maybe_object("act", sealed)?,
        estate: it.text("estate")?,
        facts: it.take("facts")?,
        answer: it.object("answer", answer)?,
        rules: it.texts("rules")?,
    })
}

fn answer(it: &mut Members) -> Result<Answer, DecodeError> {
    Ok(match it.string("effect")?.as_str() {
        "allow" => Answer::Allow {
            act_by: it.time("act_by")?,
            charged: labels(it, "charged")?,
            spends: it.maybe_text("spends")?,
        },
        "hold" => Answer::Hold {
            approval: it.text("approval")?,
            expires_at: it.time("expires_at")?,
            reason: it.text("reason")?,
        },
        "deny" => Answer::Deny {
            reason: it.text::<Reason>("reason")?,
        },
        _ => return Err(DecodeError::Invalid("effect")),
    })
}

fn performed(it: &mut Members) -> Result<Performed, DecodeError> {
    Ok(Performed {
        decision: it.text("decision")?,
        task: it.text("task")?,
        status: it.word("status", Status::ALL, Status::as_str)?,
        took: Millis::new(it.number("took_ms")?),
        sent_bytes: it.number("sent_bytes")?,
        received_bytes: it.number("received_bytes")?,
        labels: labels(it, "labels")?,
        result: it.maybe_object("result", sealed)?,
        failure: it.maybe_text("failure")?,
    })
}

pub(super) fn task(it: &mut Members) -> Result<Task, DecodeError> {
    let version = it.number("template_version")?;
    Ok(Task {
        id: it.text("id")?,
        template: it.text("template")?,
        template_version: u32::try_from(version)
            .map_err(|_| DecodeError::Invalid("template_version"))?,
        estate: it.text("estate")?,
        agent: it.text("agent")?,
        instance: it.text("instance")?,
        spiffe_id: it.text("spiffe_id")?,
        subject: it.text("subject")?,
        parameters: BTreeMap::new(),
        authority: it.text("authority")?,
        started_at: it.time("started_at")?,
        expires_at: it.time("expires_at")?,
        contained: it.word("contained", CONTAINED, Contained::as_str)?,
        lineage: delegation::read_lineage(it)?,
    })
}

pub(super) fn warrant(it: &mut Members) -> Result<Warrant, DecodeError> {
    Ok(Warrant {
        decision: it.text("decision")?,
        by: it.text("by")?,
        rules: it.texts("rules")?,
        facts: it.take("facts")?,
    })
}

pub(super) fn sealed(it: &mut Members) -> Result<Sealed, DecodeError> {
    Ok(Sealed {
        commitment: it.text("commitment")?,
        blob: it.maybe_text("blob")?,
    })
}

pub(super) fn actor(it: &mut Members, name: &'static str) -> Result<Actor, DecodeError> {
    let text = it.string(name)?;
    match text.as_str() {
        "ambit" => Ok(Actor::Ambit),
        "nobody" => Ok(Actor::Nobody),
        _ => text
            .parse()
            .map(Actor::Instance)
            .or_else(|_| text.parse().map(Actor::Person))
            .or_else(|_| text.parse().map(Actor::Workload))
            .map_err(|_| DecodeError::Invalid(name)),
    }
}

fn target(it: &mut Members) -> Result<Target, DecodeError> {
    // The one member names the kind; a second one is left over and refused.
    let name = it.0.keys().next().cloned().unwrap_or_default();
    Ok(match name.as_str() {
        "task" => Target::Task(it.text("task")?),
        "instance" => Target::Instance(it.text("instance")?),
        "agent" => Target::Agent(it.text("agent")?),
        "person" => Target::Person(it.text("person")?),
        "server" => Target::Server(it.text("server")?),
        _ => return Err(DecodeError::Invalid("target")),
    })
}

pub(super) fn labels(it: &mut Members, name: &'static str) -> Result<Labels, DecodeError> {
    let labels: Vec<Label> = it.texts(name)?;
    Labels::new(labels).map_err(|_| DecodeError::Invalid(name))
}

const VERDICTS: [Verdict; 2] = [Verdict::Approved, Verdict::Refused];
const CONTAINED: [Contained; 2] = [Contained::Namespaces, Contained::None];

/// The members of an object that were not read yet.
pub(super) struct Members(BTreeMap<String, Value>);

impl Members {
    pub(super) fn of(value: Value, what: &'static str) -> Result<Self, DecodeError> {
        if let Value::Object(members) = value {
            Ok(Self(members))
        } else {
            Err(DecodeError::NotObject(what))
        }
    }

    pub(super) fn end(self) -> Result<(), DecodeError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(DecodeError::Unknown(name.chars().take(64).collect())),
        }
    }

    pub(super) fn take(&mut self, name: &'static str) -> Result<Value, DecodeError> {
        self.0.remove(name).ok_or(DecodeError::Missing(name))
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<String, DecodeError> {
        if let Value::String(text) = self.take(name)? {
            Ok(text)
        } else {
            Err(DecodeError::Invalid(name))
        }
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<u64, DecodeError> {
        let number = self.take(name)?.as_integer();
        number
            .and_then(|it| u64::try_from(it).ok())
            .ok_or(DecodeError::Invalid(name))
    }

    pub(super) fn numbers(&mut self, name: &'static str) -> Result<Vec<u64>, DecodeError> {
        let list = self.take(name)?;
        let items = list.as_array().ok_or(DecodeError::Invalid(name))?;
        let read = |item: &Value| item.as_integer().and_then(|it| u64::try_from(it).ok());
        let numbers: Option<Vec<u64>> = items.iter().map(read).collect();
        numbers.ok_or(DecodeError::Invalid(name))
    }

    pub(super) fn maybe_number(&mut self, name: &'static str) -> Result<Option<u64>, DecodeError> {
        if !self.0.contains_key(name) {
            return Ok(None);
        }
        self.number(name).map(Some)
    }

    pub(super) fn maybe_count(&mut self, name: &'static str) -> Result<Option<u32>, DecodeError> {
        if !self.0.contains_key(name) {
            return Ok(None);
        }
        let count = u32::try_from(self.number(name)?);
        count.map(Some).map_err(|_| DecodeError::Invalid(name))
    }

    pub(super) fn time(&mut self, name: &'static str) -> Result<Timestamp, DecodeError> {
        Ok(Timestamp::from_millis(self.number(name)?))
    }

    pub(super) fn text<T: FromStr>(&mut self, name: &'static str) -> Result<T, DecodeError> {
        let text = self.string(name)?;
        text.parse().map_err(|_| DecodeError::Invalid(name))
    }

    pub(super) fn maybe_text<T: FromStr>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, DecodeError> {
        if !self.0.contains_key(name) {
            return Ok(None);
        }
        self.text(name).map(Some)
    }

    pub(super) fn texts<T: FromStr>(&mut self, name: &'static str) -> Result<Vec<T>, DecodeError> {
        let list = self.take(name)?;
        let items = list.as_array().ok_or(DecodeError::Invalid(name))?;
        let read = |item: &Value| item.as_str().and_then(|text| text.parse().ok());
        let texts: Option<Vec<T>> = items.iter().map(read).collect();
        texts.ok_or(DecodeError::Invalid(name))
    }

    pub(super) fn word<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        all: [T; N],
        spell: impl Fn(T) -> &'static str,
    ) -> Result<T, DecodeError> {
        let text = self.string(name)?;
        let found = all.into_iter().find(|it| spell(*it) == text);
        found.ok_or(DecodeError::Invalid(name))
    }

    pub(super) fn object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut inner = Self::of(self.take(name)?, name)?;
        let value = read(&mut inner)?;
        inner.end()?;
        Ok(value)
    }

    pub(super) fn maybe_object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if !self.0.contains_key(name) {
            return Ok(None);
        }
        self.object(name, read).map(Some)
    }
}

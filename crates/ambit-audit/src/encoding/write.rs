//! From records to JSON values.

use std::collections::BTreeMap;

use ambit_core::{
    DecisionId, Digest, Labels, RevocationId, SvidKind, Timestamp,
    act::Target,
    json::Value,
    record::{Actor, Answer, Body, Decided, KeyStep, Performed, Sealed, Warrant},
    task::Task,
};

use super::{VERSION, bundle, claim, content, delegation, kind, proof, token};

/// Returns the canonical text of the record of `body`: what stands before the time, and what stands behind it.
pub(super) fn around_time(body: &Body) -> (String, String) {
    let (kind, members) = self::body(body);
    members
        .add("v", VERSION)
        .add("kind", kind)
        .text_around("at")
}

fn body(body: &Body) -> (&'static str, Members<'_>) {
    match body {
        Body::LogOpened { origin, recovered } => {
            (kind::LOG_OPENED, log_opened(origin, recovered.as_ref()))
        }
        Body::PersonKnown { person } => (kind::PERSON_KNOWN, members().text("person", person)),
        Body::EstateApplied { estate, warrant } => (
            kind::ESTATE_APPLIED,
            members()
                .text("estate", estate)
                .add("warrant", self::warrant(warrant)),
        ),
        Body::KeysRotated {
            step,
            certificate,
            sequence,
            warrant,
        } => (
            kind::KEYS_ROTATED,
            keys_rotated(*step, certificate, *sequence, warrant.as_ref()),
        ),
        Body::CredentialSealed { reference, warrant } => (
            kind::CREDENTIAL_SEALED,
            members()
                .add("reference", reference.as_str())
                .add("warrant", self::warrant(warrant)),
        ),
        Body::Bundle(fact) => bundle::write(fact),
        Body::StateDigest { digest } => (kind::STATE_DIGEST, members().text("digest", digest)),
        Body::TaskWaits { task, join_token } => claim::waits(task, join_token.as_ref()),
        Body::TaskClaimed {
            task,
            proof,
            workload,
            footing,
        } => claim::claimed(task, *proof, workload, footing),
        Body::TaskAttended { task } => (kind::TASK_ATTENDED, members().text("task", task)),
        Body::TaskStarted { .. }
        | Body::InstanceCertified { .. }
        | Body::TaskEnded { .. }
        | Body::Decided(_)
        | Body::Performed(_)
        | Body::ApprovalDecided { .. } => tasks(body),
        Body::Revoked { .. }
        | Body::Reinstated { .. }
        | Body::RevocationCarried { .. }
        | Body::RevocationEffective { .. } => revocations(body),
        Body::ToolSeen { .. } | Body::ServerInspected { .. } | Body::RefusalsCoalesced { .. } => {
            observations(body)
        }
        Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. } => delegation::write(body),
        Body::ActSettled { .. } | Body::SealedOpened { .. } => content::write(body),
        Body::Proof(it) => proof::write(it),
        Body::TokenIssued(it) => (kind::TOKEN_ISSUED, token::write_issued(it)),
        Body::TokenRevoked {
            token,
            task,
            reach,
            end,
            client,
        } => (
            kind::TOKEN_REVOKED,
            token::write_revoked((token, task), *reach, *end, client),
        ),
    }
}

/// Returns where an SVID is good, when it says so.
fn audiences(svid: &SvidKind) -> Option<Value> {
    match svid {
        SvidKind::X509 => None,
        SvidKind::Jwt { audiences } => Some(texts(audiences)),
    }
}

/// The kinds that tasks and their acts leave.
fn tasks(body: &Body) -> (&'static str, Members<'_>) {
    match body {
        Body::TaskStarted {
            task,
            parameters,
            warrant,
        } => (
            kind::TASK_STARTED,
            members()
                .add("task", self::task(task))
                .add("parameters", sealed(parameters))
                .add("warrant", self::warrant(warrant)),
        ),
        Body::InstanceCertified {
            instance,
            task,
            certificate,
            svid,
            expires_at,
        } => {
            let members = members().text("instance", instance).text("task", task);
            let members = members.text("certificate", certificate);
            let members = members.maybe("audiences", audiences(svid));
            let members = members.add("expires_at", time(*expires_at));
            (kind::INSTANCE_CERTIFIED, members)
        }
        Body::TaskEnded { task, end, by } => {
            let members = members().text("task", task).add("end", end.as_str());
            (kind::TASK_ENDED, members.add("by", actor(*by)))
        }
        Body::Decided(it) => (kind::DECIDED, decided(it)),
        Body::Performed(it) => (kind::PERFORMED, performed(it)),
        Body::ApprovalDecided {
            approval,
            task,
            verdict,
            reason,
            warrant,
        } => {
            let said = members().text("approval", approval).text("task", task);
            let said = said.add("verdict", verdict.as_str());
            let said = said.maybe("reason", reason.as_ref().map(sealed));
            let said = said.add("warrant", self::warrant(warrant));
            (kind::APPROVAL_DECIDED, said)
        }
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::EstateApplied { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::ActSettled { .. }
        | Body::SealedOpened { .. }
        | Body::CredentialSealed { .. }
        | Body::StateDigest { .. }
        | Body::Revoked { .. }
        | Body::Reinstated { .. }
        | Body::RevocationCarried { .. }
        | Body::RevocationEffective { .. }
        | Body::ToolSeen { .. }
        | Body::ServerInspected { .. }
        | Body::RefusalsCoalesced { .. }
        | Body::TaskWaits { .. }
        | Body::TaskClaimed { .. }
        | Body::TaskAttended { .. }
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. }
        | Body::Proof(_)
        | Body::TokenIssued(_)
        | Body::TokenRevoked { .. } => self::body(body),
    }
}

/// The kinds that stopping somebody or something leaves, and letting them go on.
fn revocations(body: &Body) -> (&'static str, Members<'_>) {
    match body {
        Body::Revoked {
            revocation,
            target,
            reason,
            warrant,
        } => (
            kind::REVOKED,
            members()
                .text("revocation", revocation)
                .add("target", self::target(target))
                .add("reason", sealed(reason))
                .add("warrant", self::warrant(warrant)),
        ),
        Body::Reinstated {
            target,
            reason,
            warrant,
        } => (
            kind::REINSTATED,
            members()
                .add("target", self::target(target))
                .add("reason", sealed(reason))
                .add("warrant", self::warrant(warrant)),
        ),
        Body::RevocationCarried {
            revocation,
            target,
            leaf,
        } => {
            let members = members().text("revocation", revocation);
            let members = members.add("target", self::target(target));
            (kind::REVOCATION_CARRIED, members.add("leaf", *leaf))
        }
        Body::RevocationEffective {
            revocation,
            crossed,
            took,
        } => (
            kind::REVOCATION_EFFECTIVE,
            effective(revocation, crossed, took.as_millis()),
        ),
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::EstateApplied { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::ActSettled { .. }
        | Body::SealedOpened { .. }
        | Body::CredentialSealed { .. }
        | Body::StateDigest { .. }
        | Body::TaskStarted { .. }
        | Body::InstanceCertified { .. }
        | Body::TaskEnded { .. }
        | Body::Decided(_)
        | Body::Performed(_)
        | Body::ApprovalDecided { .. }
        | Body::ToolSeen { .. }
        | Body::ServerInspected { .. }
        | Body::RefusalsCoalesced { .. }
        | Body::TaskWaits { .. }
        | Body::TaskClaimed { .. }
        | Body::TaskAttended { .. }
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. }
        | Body::Proof(_)
        | Body::TokenIssued(_)
        | Body::TokenRevoked { .. } => self::body(body),
    }
}

fn effective(revocation: &RevocationId, crossed: &[DecisionId], took_ms: u64) -> Members<'static> {
    members()
        .text("revocation", revocation)
        .add("crossed", texts(crossed))
        .add("took_ms", took_ms)
}

/// The kinds that Ambit's own observations leave.
fn observations(body: &Body) -> (&'static str, Members<'_>) {
    match body {
        Body::ToolSeen { server, tool, seen } => (
            kind::TOOL_SEEN,
            members()
                .add("server", server.as_str())
                .add("tool", tool.as_str())
                .text("seen", seen),
        ),
        Body::ServerInspected { server, warrant } => (
            kind::SERVER_INSPECTED,
            members()
                .add("server", server.as_str())
                .add("warrant", self::warrant(warrant)),
        ),
        Body::RefusalsCoalesced {
            actor,
            task,
            reason,
            count,
            first_at,
            last_at,
        } => (
            kind::REFUSALS_COALESCED,
            members()
                .add("actor", self::actor(*actor))
                .maybe_text("task", task.as_ref())
                .add("reason", reason.code())
                .add("count", *count)
                .add("first_at", time(*first_at))
                .add("last_at", time(*last_at)),
        ),
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::EstateApplied { .. }
        | Body::KeysRotated { .. }
        | Body::Bundle(_)
        | Body::ActSettled { .. }
        | Body::SealedOpened { .. }
        | Body::CredentialSealed { .. }
        | Body::StateDigest { .. }
        | Body::TaskStarted { .. }
        | Body::InstanceCertified { .. }
        | Body::TaskEnded { .. }
        | Body::Decided(_)
        | Body::Performed(_)
        | Body::ApprovalDecided { .. }
        | Body::Revoked { .. }
        | Body::Reinstated { .. }
        | Body::RevocationCarried { .. }
        | Body::RevocationEffective { .. }
        | Body::TaskWaits { .. }
        | Body::TaskClaimed { .. }
        | Body::TaskAttended { .. }
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. }
        | Body::Proof(_)
        | Body::TokenIssued(_)
        | Body::TokenRevoked { .. } => self::body(body),
    }
}

fn keys_rotated(
    step: KeyStep,
    certificate: &Digest,
    sequence: u64,
    warrant: Option<&Warrant>,
) -> Members<'static> {
    members()
        .add("step", step.as_str())
        .text("certificate", certificate)
        .add("sequence", sequence)
        .maybe("warrant", warrant.map(self::warrant))
}

fn log_opened(origin: &str, recovered: Option<&(String, u64)>) -> Members<'static> {
    let recovered = recovered.map(|(origin, size)| {
        let members = members().add("origin", origin.as_str());
        members.add("size", *size).done()
    });
    members()
        .add("origin", origin)
        .maybe("recovered", recovered)
}

fn decided(decided: &Decided) -> Members<'_> {
    members()
        .text("decision", &decided.decision)
        .add("actor", actor(decided.actor))
        .maybe_text("task", decided.task.as_ref())
        .add("action", decided.action.as_str())
        .maybe_text("server", decided.server.as_ref())
        .maybe_text("tool", decided.tool.as_ref())
        .maybe_text("pin", decided.pin.as_ref())
        .maybe("act", decided.act.as_ref().map(sealed))
        .text("estate", &decided.estate)
        .lent("facts", &decided.facts)
        .add("answer", answer(&decided.answer))
        .add("rules", texts(&decided.rules))
}

fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Allow {
            act_by,
            charged,
            spends,
        } => members()
            .add("effect", "allow")
            .add("act_by", time(*act_by))
            .add("charged", labels(charged))
            .maybe_text("spends", spends.as_ref()),
        Answer::Hold {
            approval,
            expires_at,
            reason,
        } => members()
            .add("effect", "hold")
            .text("approval", approval)
            .add("expires_at", time(*expires_at))
            .add("reason", reason.code()),
        Answer::Deny { reason } => members().add("effect", "deny").add("reason", reason.code()),
    }
    .done()
}

fn performed(performed: &Performed) -> Members<'_> {
    members()
        .text("decision", &performed.decision)
        .text("task", &performed.task)
        .add("status", performed.status.as_str())
        .add("took_ms", performed.took.as_millis())
        .add("sent_bytes", performed.sent_bytes)
        .add("received_bytes", performed.received_bytes)
        .add("labels", labels(&performed.labels))
        .maybe("result", performed.result.as_ref().map(sealed))
        .maybe_text("failure", performed.failure.as_ref())
}

pub(super) fn task(task: &Task) -> Value {
    delegation::lineage(members(), task.lineage)
        .text("id", &task.id)
        .add("template", task.template.as_str())
        .add("template_version", u64::from(task.template_version))
        .text("estate", &task.estate)
        .add("agent", task.agent.as_str())
        .text("instance", &task.instance)
        .text("spiffe_id", &task.spiffe_id)
        .text("subject", &task.subject)
        .text("authority", &task.authority)
        .add("started_at", time(task.started_at))
        .add("expires_at", time(task.expires_at))
        .add("contained", task.contained.as_str())
        .done()
}

pub(super) fn warrant(warrant: &Warrant) -> Value {
    members()
        .text("decision", &warrant.decision)
        .text("by", &warrant.by)
        .add("rules", texts(&warrant.rules))
        .add("facts", warrant.facts.clone())
        .done()
}

pub(super) fn sealed(sealed: &Sealed) -> Value {
    members()
        .text("commitment", &sealed.commitment)
        .maybe_text("blob", sealed.blob.as_ref())
        .done()
}

pub(super) fn actor(actor: Actor) -> Value {
    match actor {
        Actor::Instance(id) => id.to_string().into(),
        Actor::Person(id) => id.to_string().into(),
        Actor::Workload(name) => name.to_string().into(),
        Actor::Ambit => "ambit".into(),
        Actor::Nobody => "nobody".into(),
    }
}

fn target(target: &Target) -> Value {
    match target {
        Target::Task(id) => members().text("task", id),
        Target::Instance(id) => members().text("instance", id),
        Target::Agent(name) => members().text("agent", name),
        Target::Person(id) => members().text("person", id),
        Target::Server(name) => members().text("server", name),
    }
    .done()
}

pub(super) fn labels(labels: &Labels) -> Value {
    labels.iter().map(|label| label.as_str()).collect()
}

pub(super) fn texts<T: ToString>(items: &[T]) -> Value {
    items.iter().map(ToString::to_string).collect()
}

pub(super) fn time(at: Timestamp) -> Value {
    at.as_millis().into()
}

/// The members of an object under way.
pub(super) struct Members<'a>(BTreeMap<&'static str, Part<'a>>);

/// A member. Facts are the largest part of a record: they are lent, not copied.
enum Part<'a> {
    Own(Value),
    Lent(&'a Value),
}

pub(super) const fn members() -> Members<'static> {
    Members(BTreeMap::new())
}

impl<'a> Members<'a> {
    pub(super) fn add(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.insert(name, Part::Own(value.into()));
        self
    }

    fn lent<'b>(self, name: &'static str, value: &'b Value) -> Members<'b>
    where
        'a: 'b,
    {
        let mut members = self.0;
        members.insert(name, Part::Lent(value));
        Members(members)
    }

    pub(super) fn text(self, name: &'static str, value: &impl ToString) -> Self {
        self.add(name, value.to_string())
    }

    pub(super) fn maybe(self, name: &'static str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.add(name, value),
            None => self,
        }
    }

    pub(super) fn maybe_text(self, name: &'static str, value: Option<&impl ToString>) -> Self {
        self.maybe(name, value.map(|it| it.to_string().into()))
    }

    pub(super) fn done(self) -> Value {
        Value::object(self.0.into_iter().map(|(name, part)| match part {
            Part::Own(value) => (name, value),
            Part::Lent(value) => (name, value.clone()),
        }))
    }

    /// Returns the canonical text of the object before and behind the value of one more member, `gap`. The names are
    /// plain ASCII, in the order of their bytes.
    fn text_around(self, gap: &'static str) -> (String, String) {
        let mut before = String::with_capacity(TEXT_BYTES);
        let mut after = String::with_capacity(TEXT_BYTES);
        for (name, part) in self.0 {
            let text = if name < gap { &mut before } else { &mut after };
            let is_first = name < gap && text.is_empty();
            write_name(text, is_first, name);
            match part {
                Part::Own(value) => value.write_canonical(text),
                Part::Lent(value) => value.write_canonical(text),
            }
        }
        let is_first = before.is_empty();
        write_name(&mut before, is_first, gap);
        after.push('}');
        (before, after)
    }
}

fn write_name(text: &mut String, is_first: bool, name: &str) {
    text.push(if is_first { '{' } else { ',' });
    text.push('"');
    text.push_str(name);
    text.push_str("\":");
}

/// More than most records have, in bytes.
const TEXT_BYTES: usize = 2048;

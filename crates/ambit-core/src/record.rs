//! Records: the facts of which the log is made. The state of Ambit is their fold.
//!
//! A record holds every input of the fold and of each decision, pseudonymous: identifiers, digests, codes,
//! numbers. Names of people, arguments and results stand beside the log, sealed, bound by salted commitments.

mod content;

pub use self::content::{Content, Settlement};

use crate::{
    ApprovalId, DecisionId, DelegationId, Digest, InstanceId, Labels, Millis, PersonId, Reason,
    RevocationId, ServerName, SvidKind, TaskId, Timestamp, TokenId, ToolName,
    act::Target,
    bundle::BundleFact,
    claim::{ClaimProof, Footing},
    delegation::Delegation,
    json::Value,
    proof::ProofFact,
    task::{End, Task},
    token::{IssuedToken, Reach, TokenEnd},
};

/// One fact in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The log's time when it was written. It never decreases.
    pub at: Timestamp,
    /// What is so.
    pub body: Body,
}

/// What is so.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A log begins. Always the first record.
    LogOpened {
        /// The log's name in its checkpoints (C2SP tlog-checkpoint).
        origin: String,
        /// The log that this one replaces after a rollback or a loss: its origin and the last size known of it.
        recovered: Option<(String, u64)>,
    },
    /// A person was seen for the first time. Who it is stands in the erasable directory.
    PersonKnown {
        /// The pseudonym.
        person: PersonId,
    },
    /// A version of the estate came into force.
    EstateApplied {
        /// Which version.
        estate: Digest,
        /// Who may say so.
        warrant: Warrant,
    },
    /// A task started.
    TaskStarted {
        /// The task. Its `parameters` are empty in the log: they are the owner's words, sealed beside it.
        task: Box<Task>,
        /// The sealed parameters.
        parameters: Sealed,
        /// Who may say so.
        warrant: Warrant,
    },
    /// An instance got an SVID.
    InstanceCertified {
        /// Which instance.
        instance: InstanceId,
        /// For which task.
        task: TaskId,
        /// The digest over the SVID: the DER of its certificate, or the text of its token.
        certificate: Digest,
        /// Which kind it is.
        svid: SvidKind,
        /// When it ends.
        expires_at: Timestamp,
    },
    /// A task waits for an instance: whoever first proves to be a run of its agent, or shows its join token.
    TaskWaits {
        /// Which task.
        task: TaskId,
        /// The digest of the join token, when only who shows that gets it.
        join_token: Option<Digest>,
    },
    /// Somebody who proved to be a run of the agent became the instance of a task that waited.
    TaskClaimed {
        /// Which task.
        task: TaskId,
        /// What was proved.
        proof: ClaimProof,
        /// Names who: the digest over the proof's word and what it is about. The same process, key, SPIFFE ID or
        /// issuer and subject has the same.
        workload: Digest,
        /// What it stands on.
        footing: Footing,
    },
    /// A runner attends a task: its end is the task's end, also when it ends while Ambit is away.
    TaskAttended {
        /// Which task.
        task: TaskId,
    },
    /// A task ended, and everything issued under it.
    TaskEnded {
        /// Which task.
        task: TaskId,
        /// How.
        end: End,
        /// Who ended it.
        by: Actor,
    },
    /// A task gave a part of itself away.
    DelegationMade {
        /// What was given, without its constraints.
        delegation: Box<Delegation>,
        /// The whole part, sealed under the parent's key.
        part: Sealed,
        /// Who may say so.
        mandate: Mandate,
    },
    /// A delegation was exchanged for a child task.
    DelegationSpent {
        /// The child. Its lineage names the parent and the delegation.
        task: Box<Task>,
        /// The whole part, sealed under the child's key.
        part: Sealed,
        /// Who may say so: the delegate, or the person whose runner starts it.
        mandate: Mandate,
    },
    /// A delegation was taken back, and the child with it.
    DelegationWithdrawn {
        /// Which delegation.
        delegation: DelegationId,
        /// Of which task it gave a part.
        parent: TaskId,
        /// Who may say so.
        mandate: Mandate,
    },
    /// A decision was made on an act.
    Decided(Box<Decided>),
    /// A permitted act came to an end, or is known not to have begun.
    Performed(Box<Performed>),
    /// A person said of an act whose outcome nobody knew whether it happened.
    ActSettled {
        /// The decision that permitted the act.
        decision: DecisionId,
        /// Under which task.
        task: TaskId,
        /// What the person found.
        settlement: Settlement,
        /// The sealed reason, as the person gave it.
        reason: Sealed,
        /// Who may say so.
        warrant: Warrant,
    },
    /// A person opened what stands sealed beside records of a task. Written before it is shown.
    SealedOpened {
        /// Of which task.
        task: TaskId,
        /// The places of the records.
        leaves: Vec<u64>,
        /// Who may say so.
        warrant: Warrant,
    },
    /// A person said yes or no to a held act.
    ApprovalDecided {
        /// Which approval.
        approval: ApprovalId,
        /// Under which task.
        task: TaskId,
        /// Yes or no.
        verdict: Verdict,
        /// The sealed reason, when the person gave one.
        reason: Option<Sealed>,
        /// Who may say so.
        warrant: Warrant,
    },
    /// Authority was taken away.
    Revoked {
        /// Names the revocation.
        revocation: RevocationId,
        /// From what.
        target: Target,
        /// The sealed reason, as the person gave it.
        reason: Sealed,
        /// Who may say so.
        warrant: Warrant,
    },
    /// A ban was lifted: what begins from here on may be given authority again. What ended stays ended, and a task
    /// that began before stays without.
    Reinstated {
        /// An agent, a person or a server.
        target: Target,
        /// The sealed reason, as the person gave it.
        reason: Sealed,
        /// Who may say so.
        warrant: Warrant,
    },
    /// A ban of the log that this one replaces stands here, too. Nobody decided it anew: the recovery carried it over.
    RevocationCarried {
        /// The name that it had.
        revocation: RevocationId,
        /// An agent, a person or a server.
        target: Target,
        /// The place of its record in the log that was replaced.
        leaf: u64,
    },
    /// Every door acknowledged a revocation, or its bounded view has expired.
    RevocationEffective {
        /// Which revocation.
        revocation: RevocationId,
        /// The decisions whose acts were under way when it took effect.
        crossed: Vec<DecisionId>,
        /// From the durable record to the last acknowledgement.
        took: Millis,
    },
    /// A server showed a tool otherwise than its owner accepted, or as accepted again.
    ToolSeen {
        /// Which server.
        server: ServerName,
        /// Which tool.
        tool: ToolName,
        /// The digest of the definition that the server showed.
        seen: Digest,
    },
    /// A person may ask a running server for its tools, with its credential. Written before the server is asked.
    ServerInspected {
        /// Which server.
        server: ServerName,
        /// Who may say so.
        warrant: Warrant,
    },
    /// The issuing keys of the trust domain change. Written before the new ones are kept, published or signed with.
    KeysRotated {
        /// How.
        step: KeyStep,
        /// SHA-256 over the DER of the certificate of the pair of keys that it is about: the one that is prepared, or
        /// that signs from now on.
        certificate: Digest,
        /// The bundle's sequence after it.
        sequence: u64,
        /// Who may say so; nobody, when time asked for it.
        warrant: Option<Warrant>,
    },
    /// What is believed of a foreign trust domain changed, or what its endpoint gave was refused.
    Bundle(Box<BundleFact>),
    /// A credential was sealed for the gateway to inject.
    CredentialSealed {
        /// Under which name.
        reference: String,
        /// Who may say so.
        warrant: Warrant,
    },
    /// A token was issued. Written before it is signed.
    TokenIssued(Box<IssuedToken>),
    /// A token, or all that came of one grant, is worth nothing before its time.
    TokenRevoked {
        /// Which token.
        token: TokenId,
        /// Under which task.
        task: TaskId,
        /// How far it goes.
        reach: Reach,
        /// Why.
        end: TokenEnd,
        /// The client that gave it up, or that showed it again.
        client: String,
    },
    /// What a person proves who they are with changed.
    Proof(Box<ProofFact>),
    /// Refusals of one caller that came too fast to be written one by one.
    RefusalsCoalesced {
        /// Whose.
        actor: Actor,
        /// Under which task.
        task: Option<TaskId>,
        /// Why they were refused.
        reason: Reason,
        /// How many.
        count: u64,
        /// When the first came.
        first_at: Timestamp,
        /// When the last came.
        last_at: Timestamp,
    },
    /// The digest of the folded state after the record before this one.
    StateDigest {
        /// The digest.
        digest: Digest,
    },
}

/// Who did something.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Actor {
    /// One run of an agent.
    Instance(InstanceId),
    /// A person.
    Person(PersonId),
    /// A workload that proved to be a run of an agent and serves no task yet, by the digest that names it: see
    /// [`Body::TaskClaimed`].
    Workload(Digest),
    /// Ambit itself, such as when a runner's connection ends.
    Ambit,
    /// Somebody who was not identified.
    Nobody,
}

/// The decision behind a person's act.
#[derive(Clone, Debug, PartialEq)]
pub struct Warrant {
    /// The decision's name.
    pub decision: DecisionId,
    /// The person.
    pub by: PersonId,
    /// The rules that permitted it.
    pub rules: Vec<String>,
    /// Everything that the decision depended upon.
    pub facts: Value,
}

/// The decision behind a step of a delegation: a person's, or a run's of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Mandate {
    /// The decision's name.
    pub decision: DecisionId,
    /// Who took the step.
    pub by: Actor,
    /// The rules that permitted it.
    pub rules: Vec<String>,
    /// Everything that the decision depended upon.
    pub facts: Value,
}

/// Something kept sealed beside the log, bound to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// SHA-256 over the task's secret salt (32 bytes) and the plaintext.
    pub commitment: Digest,
    /// SHA-256 over the sealed bytes, when they are kept.
    pub blob: Option<Digest>,
}

/// A decision on an act.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// Its name.
    pub decision: DecisionId,
    /// Who asked.
    pub actor: Actor,
    /// Under which task, when one was found.
    pub task: Option<TaskId>,
    /// What was asked: the word of [`crate::act::Act::action`] or [`crate::act::Governance::action`].
    pub action: String,
    /// At which server.
    pub server: Option<ServerName>,
    /// With which tool.
    pub tool: Option<ToolName>,
    /// The tool's definition as pinned at that moment.
    pub pin: Option<Digest>,
    /// The sealed act. Its commitment is what an approval names.
    pub act: Option<Sealed>,
    /// The version of the estate whose policies decided.
    pub estate: Digest,
    /// Everything that the decision depended upon, normalised: the same facts give the same answer.
    pub facts: Value,
    /// The answer.
    pub answer: Answer,
    /// The rules that made it.
    pub rules: Vec<String>,
}

/// The answer of a decision, as the log keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It may happen, once, now.
    Allow {
        /// When the permit ends.
        act_by: Timestamp,
        /// The labels of what the act may return: the task has them from now on.
        charged: Labels,
        /// The approval that it spends.
        spends: Option<ApprovalId>,
    },
    /// A human must approve this exact act.
    Hold {
        /// The approval that was asked for, new or pending already.
        approval: ApprovalId,
        /// When the hold expires.
        expires_at: Timestamp,
        /// Why a human is asked.
        reason: Reason,
    },
    /// It may not happen.
    Deny {
        /// Why not.
        reason: Reason,
    },
}

/// How a permitted act ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// The decision that permitted it.
    pub decision: DecisionId,
    /// Under which task.
    pub task: TaskId,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub took: Millis,
    /// The bytes that went upstream.
    pub sent_bytes: u64,
    /// The bytes that came back.
    pub received_bytes: u64,
    /// Labels found only in the result.
    pub labels: Labels,
    /// The sealed result, when it is kept.
    pub result: Option<Sealed>,
    /// Why it did not end well, in Ambit's own words: no secret, and nothing that the upstream wrote.
    pub failure: Option<String>,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Status {
    /// The upstream says it worked.
    Done,
    /// The upstream says it did not work.
    Failed,
    /// Not one byte went upstream.
    NotSent,
    /// Nobody knows: something went upstream and no whole answer came back.
    Unknown,
}

/// A step in the rotation of the issuing keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyStep {
    /// The keys with which a log begins: from here on it knows them. Nobody asks for it.
    Begin,
    /// A pair of keys is published that will sign later.
    Prepare,
    /// The prepared pair signs; the one before is retired.
    Activate,
    /// A new pair takes the place of all others, and what those signed counts no more.
    Replace,
    /// Retired pairs leave the bundle: all that they signed has ended.
    Tidy,
}

/// A person's answer to a held act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Yes, once.
    Approved,
    /// No.
    Refused,
}

/// Something that knows the record it must leave in the log.
pub trait Recordable {
    /// Returns the fact to be written.
    fn body(&self) -> Body;
}

impl Recordable for Body {
    fn body(&self) -> Body {
        self.clone()
    }
}

impl Body {
    /// Returns the decision behind it, when it is a person's act.
    pub const fn warrant(&self) -> Option<&Warrant> {
        match self {
            Self::EstateApplied { warrant, .. }
            | Self::TaskStarted { warrant, .. }
            | Self::ApprovalDecided { warrant, .. }
            | Self::ActSettled { warrant, .. }
            | Self::SealedOpened { warrant, .. }
            | Self::Revoked { warrant, .. }
            | Self::Reinstated { warrant, .. }
            | Self::ServerInspected { warrant, .. }
            | Self::CredentialSealed { warrant, .. } => Some(warrant),
            Self::KeysRotated { warrant, .. } => warrant.as_ref(),
            Self::Proof(fact) => (**fact).warrant(),
            Self::DelegationMade { .. }
            | Self::DelegationSpent { .. }
            | Self::DelegationWithdrawn { .. }
            | Self::LogOpened { .. }
            | Self::PersonKnown { .. }
            | Self::InstanceCertified { .. }
            | Self::TaskWaits { .. }
            | Self::TaskClaimed { .. }
            | Self::TaskAttended { .. }
            | Self::TaskEnded { .. }
            | Self::Decided(_)
            | Self::Performed(_)
            | Self::RevocationCarried { .. }
            | Self::RevocationEffective { .. }
            | Self::ToolSeen { .. }
            | Self::Bundle(_)
            | Self::TokenIssued(_)
            | Self::TokenRevoked { .. }
            | Self::RefusalsCoalesced { .. }
            | Self::StateDigest { .. } => None,
        }
    }
}

impl Body {
    /// Returns the decision behind it, when it is a step of a delegation.
    pub const fn mandate(&self) -> Option<&Mandate> {
        match self {
            Self::DelegationMade { mandate, .. }
            | Self::DelegationSpent { mandate, .. }
            | Self::DelegationWithdrawn { mandate, .. } => Some(mandate),
            Self::LogOpened { .. }
            | Self::PersonKnown { .. }
            | Self::EstateApplied { .. }
            | Self::TaskStarted { .. }
            | Self::InstanceCertified { .. }
            | Self::TaskWaits { .. }
            | Self::TaskClaimed { .. }
            | Self::TaskAttended { .. }
            | Self::TaskEnded { .. }
            | Self::Decided(_)
            | Self::Performed(_)
            | Self::ActSettled { .. }
            | Self::SealedOpened { .. }
            | Self::ApprovalDecided { .. }
            | Self::Revoked { .. }
            | Self::KeysRotated { .. }
            | Self::Bundle(_)
            | Self::Reinstated { .. }
            | Self::RevocationCarried { .. }
            | Self::ServerInspected { .. }
            | Self::RevocationEffective { .. }
            | Self::ToolSeen { .. }
            | Self::TokenIssued(_)
            | Self::TokenRevoked { .. }
            | Self::Proof(_)
            | Self::CredentialSealed { .. }
            | Self::RefusalsCoalesced { .. }
            | Self::StateDigest { .. } => None,
        }
    }
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::NotSent, Self::Unknown];

    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }
}

impl KeyStep {
    /// Every step.
    pub const ALL: [Self; 5] = [
        Self::Begin,
        Self::Prepare,
        Self::Activate,
        Self::Replace,
        Self::Tidy,
    ];

    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Replace => "replace",
            Self::Tidy => "tidy",
        }
    }
}

impl Verdict {
    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Refused => "refused",
        }
    }
}

//! What is counted for those who run Ambit: a copy of what the log says since the start, and how long things took.
//! Relaxed atomics: nobody waits for a count, and no decision reads one.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ambit_core::{
    Reason, SvidKind,
    act::Target,
    record::{Answer, Body, Decided, Status, Verdict},
    task::TaskState,
    token::TokenKind,
};

use crate::{EngineError, Handle};

/// The words for what an agent asks for ([`ambit_core::act::Act::action`]), and one for all else: people's acts, requests
/// that never became an act, and refusals that were counted together.
pub const COUNTED_ACTIONS: [&str; 7] = [
    "call_tool",
    "read_resource",
    "get_prompt",
    "complete",
    "list",
    "connect",
    "other",
];

/// The three answers of a decision.
pub const COUNTED_OUTCOMES: [&str; 3] = ["allow", "hold", "deny"];

/// What authority can be taken from.
pub const COUNTED_TARGETS: [&str; 5] = ["task", "instance", "agent", "person", "server"];

/// The upper bounds of the buckets of every histogram.
pub const BUCKETS: [Duration; 12] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

/// Counts since the start. Those of records are made where the log is written.
#[derive(Debug, Default)]
pub struct Metrics {
    decisions: [[Count; COUNTED_OUTCOMES.len()]; COUNTED_ACTIONS.len()],
    denials: Denials,
    ends: [Count; Status::ALL.len()],
    /// Denials and repeated holds that share a record with others.
    pub coalesced: Count,
    /// Tasks that started, children among them.
    pub tasks_started: Count,
    /// Connections to the gateway that ended in the handshake.
    pub connections_refused: Count,
    /// Requests of known callers that the edge turned away before they became an act.
    pub turned_away: Count,
    approvals: [Count; VERDICTS.len()],
    revocations: [Count; COUNTED_TARGETS.len()],
    /// Acts that were under way when a revocation took effect.
    pub crossings: Count,
    svids: [Count; SVIDS.len()],
    tokens: [Count; 2],
    /// From the durable record of a revocation to the last door's acknowledgement.
    pub revocation: Histogram,
    /// What Ambit adds to a call: from the parsed request to its answer, without the waits for the upstream.
    pub added: Histogram,
}

/// One count. It only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// How long something took, in the buckets of [`BUCKETS`] and one beyond.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Count; BUCKETS.len() + 1],
    micros: Count,
}

/// What is so now, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gauges {
    /// Live tasks.
    pub tasks_live: u64,
    /// Held acts that wait for a person.
    pub holds_waiting: u64,
    /// Permitted acts whose end is not written yet.
    pub acts_under_way: u64,
    /// Acts of which nobody knows whether they happened.
    pub acts_unknown: u64,
    /// Records in the log.
    pub log_records: u64,
}

/// One count for each reason.
struct Denials([Count; Reason::ALL.len()]);

impl Metrics {
    /// Counts what a record says.
    pub(crate) fn count(&self, body: &Body) {
        match body {
            Body::Decided(decided) => self.decided(decided),
            Body::Performed(performed) => {
                let end = Status::ALL.iter().position(|it| *it == performed.status);
                bump(&self.ends, end.unwrap_or(Status::ALL.len()));
            }
            Body::TaskStarted { .. } | Body::DelegationSpent { .. } => self.tasks_started.add(1),
            Body::InstanceCertified { svid, .. } => bump(&self.svids, form(svid)),
            Body::TokenIssued(token) => bump(&self.tokens, kind(token.kind)),
            Body::ApprovalDecided { verdict, .. } => {
                let said = VERDICTS.iter().position(|it| it == verdict);
                bump(&self.approvals, said.unwrap_or(VERDICTS.len()));
            }
            Body::Revoked { target, .. } => bump(&self.revocations, of(target)),
            Body::RevocationEffective { crossed, took, .. } => {
                self.crossings.add(crossed.len() as u64);
                let took = Duration::from_millis(took.as_millis());
                self.revocation.observe(took);
            }
            Body::RefusalsCoalesced { reason, count, .. } => self.coalesced(*reason, *count),
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::EstateApplied { .. }
            | Body::TaskWaits { .. }
            | Body::TaskClaimed { .. }
            | Body::TaskAttended { .. }
            | Body::TaskEnded { .. }
            | Body::DelegationMade { .. }
            | Body::DelegationWithdrawn { .. }
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::ToolSeen { .. }
            | Body::ActSettled { .. }
            | Body::SealedOpened { .. }
            | Body::ServerInspected { .. }
            | Body::KeysRotated { .. }
            | Body::Bundle(_)
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::TokenRevoked { .. }
            | Body::StateDigest { .. } => {}
        }
    }

    /// Counts answers that share a record: denials, and holds that were asked for again.
    fn coalesced(&self, reason: Reason, count: u64) {
        self.coalesced.add(count);
        let outcome = match reason == Reason::ApprovalRequired {
            true => HOLD,
            false => {
                self.denials.add(reason, count);
                DENY
            }
        };
        if let Some(decisions) = self.decisions.last() {
            bump_by(decisions, outcome, count);
        }
    }

    fn decided(&self, decided: &Decided) {
        let outcome = match decided.answer {
            Answer::Allow { .. } => ALLOW,
            Answer::Hold { .. } => HOLD,
            Answer::Deny { reason } => {
                self.denials.add(reason, 1);
                DENY
            }
        };
        let known = COUNTED_ACTIONS.iter().position(|it| *it == decided.action);
        let action = known.unwrap_or(COUNTED_ACTIONS.len() - 1);
        if let Some(decisions) = self.decisions.get(action) {
            bump(decisions, outcome);
        }
    }

    /// Iterates over the decisions: what was asked, the answer, and how many.
    pub fn decisions(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let actions = COUNTED_ACTIONS.iter().zip(&self.decisions);
        actions.flat_map(|(action, counts)| {
            let outcomes = COUNTED_OUTCOMES.iter().zip(counts);
            outcomes.map(|(outcome, count)| (*action, *outcome, count.get()))
        })
    }

    /// Iterates over the denials by the code of their reason.
    pub fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = Reason::ALL.iter().zip(&self.denials.0);
        reasons.map(|(reason, count)| (reason.code(), count.get()))
    }

    /// Iterates over how permitted acts ended.
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ends = Status::ALL.iter().zip(&self.ends);
        ends.map(|(status, count)| (status.as_str(), count.get()))
    }

    /// Iterates over people's answers to held acts.
    pub fn approvals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let verdicts = VERDICTS.iter().zip(&self.approvals);
        verdicts.map(|(verdict, count)| (verdict.as_str(), count.get()))
    }

    /// Iterates over the revocations by what they took authority from.
    pub fn revocations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&COUNTED_TARGETS, &self.revocations)
    }

    /// Iterates over the SVIDs that runs of agents got, by their kind.
    pub fn svids(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&SVIDS, &self.svids)
    }

    /// Iterates over the tokens that were issued, by their kind.
    pub fn tokens(&self) -> impl Iterator<Item = (&'static str, u64)> {
        named(&["access", "refresh"], &self.tokens)
    }
}

impl Count {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// Counts something that took so long.
    pub fn observe(&self, took: Duration) {
        let bucket = BUCKETS.iter().position(|bound| took <= *bound);
        bump(&self.counts, bucket.unwrap_or(BUCKETS.len()));
        self.micros
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Returns how many took at most so long, for each bound of [`BUCKETS`]; all of them; and how long they took together.
    pub fn read(&self) -> (Vec<(Duration, u64)>, u64, Duration) {
        let mut sum = 0;
        let mut buckets = Vec::with_capacity(BUCKETS.len());
        let mut counts = self.counts.iter();
        for (bound, count) in BUCKETS.iter().zip(counts.by_ref()) {
            sum += count.get();
            buckets.push((*bound, sum));
        }
        let beyond: u64 = counts.map(Count::get).sum();
        (
            buckets,
            sum + beyond,
            Duration::from_micros(self.micros.get()),
        )
    }
}

impl Handle {
    /// Returns the counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Returns what is so now, in numbers. They name nobody, so nobody is asked who wants to know.
    ///
    /// # Errors
    /// The engine or the store can't be read.
    pub fn gauges(&self) -> Result<Gauges, EngineError> {
        let now = (self.shared.clock)().now;
        let log_records = self.shared.archive.size()?;
        let live = self.shared.read()?;
        let active = |it: &&crate::TaskEntry| {
            it.state.standing(it.task.expires_at, now) == TaskState::Active
        };
        let waits = |it: &&crate::Approval| it.is_pending(now);
        let unknown = |it: &&crate::OpenAct| it.status == Some(Status::Unknown);
        let open = live.state.open_acts().count() as u64;
        let acts_unknown = live.state.open_acts().filter(unknown).count() as u64;
        Ok(Gauges {
            tasks_live: live.state.tasks().filter(active).count() as u64,
            holds_waiting: live.state.approvals().filter(waits).count() as u64,
            acts_under_way: open.saturating_sub(acts_unknown),
            acts_unknown,
            log_records,
        })
    }
}

impl Denials {
    fn add(&self, reason: Reason, count: u64) {
        if let Some(place) = Reason::ALL.iter().position(|it| *it == reason) {
            bump_by(&self.0, place, count);
        }
    }
}

impl Default for Denials {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Denials")
    }
}

/// The two answers of people.
const VERDICTS: [Verdict; 2] = [Verdict::Approved, Verdict::Refused];
const ALLOW: usize = 0;
const HOLD: usize = 1;
const DENY: usize = 2;

fn bump(counts: &[Count], place: usize) {
    bump_by(counts, place, 1);
}

fn bump_by(counts: &[Count], place: usize, count: u64) {
    if let Some(it) = counts.get(place) {
        it.add(count);
    }
}

fn named<'a>(
    names: &'a [&'static str],
    counts: &'a [Count],
) -> impl Iterator<Item = (&'static str, u64)> + use<'a> {
    names.iter().zip(counts).map(|(name, it)| (*name, it.get()))
}

const fn of(target: &Target) -> usize {
    match target {
        Target::Task(_) => 0,
        Target::Instance(_) => 1,
        Target::Agent(_) => 2,
        Target::Person(_) => 3,
        Target::Server(_) => 4,
    }
}

/// The two forms of SVIDs.
const SVIDS: [&str; 2] = ["x509", "jwt"];

const fn form(svid: &SvidKind) -> usize {
    match svid {
        SvidKind::X509 => 0,
        SvidKind::Jwt { .. } => 1,
    }
}

const fn kind(kind: TokenKind) -> usize {
    match kind {
        TokenKind::Access => 0,
        TokenKind::Refresh { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use ambit_core::{
        DecisionId, InstanceId, Millis, RevocationId, TaskId, Timestamp,
        act::{Act, Listing},
        json::Value,
        record::Actor,
    };

    use super::*;

    #[test]
    fn what_took_longer_than_a_bound_is_in_the_next_bucket() {
        let histogram = Histogram::default();
        let check = |count: usize, place: usize, wanted: u64| {
            let (buckets, all, _) = histogram.read();
            assert_eq!(all, count as u64);
            assert_eq!(buckets[place].1, wanted, "{:?}", buckets[place].0);
        };
        histogram.observe(BUCKETS[0]);
        check(1, 0, 1);
        histogram.observe(BUCKETS[0] + Duration::from_micros(1));
        check(2, 0, 1);
        check(2, 1, 2);
        histogram.observe(Duration::from_secs(3600));
        check(3, BUCKETS.len() - 1, 2);
        let micros = Duration::from_micros(1001) + Duration::from_secs(3600);
        assert_eq!(histogram.read().2, micros);
        assert!(BUCKETS.is_sorted());
    }

    #[test]
    fn every_act_of_an_agent_is_counted_by_its_word() {
        let server: ambit_core::ServerName = "notes".parse().unwrap();
        let tool = "note".parse().unwrap();
        let none = || Value::object([]);
        let acts = [
            Act::CallTool {
                server: server.clone(),
                tool,
                arguments: none(),
            },
            Act::ReadResource {
                server: server.clone(),
                uri: String::new(),
            },
            Act::GetPrompt {
                server: server.clone(),
                prompt: String::new(),
                arguments: none(),
            },
            Act::Complete {
                server: server.clone(),
                parameters: none(),
            },
            Act::List {
                server,
                what: Listing::Prompts,
            },
            Act::Connect {
                host: String::new(),
                port: 1,
            },
        ];
        let words: Vec<_> = acts.iter().map(Act::action).collect();
        assert_eq!(words, COUNTED_ACTIONS[..COUNTED_ACTIONS.len() - 1]);
    }

    #[test]
    fn records_are_counted_as_what_they_say() {
        let metrics = Metrics::default();
        metrics.count(&Body::RefusalsCoalesced {
            actor: Actor::Instance(InstanceId::from_bits(1)),
            task: Some(TaskId::from_bits(1)),
            reason: Reason::ToolUnknown,
            count: 7,
            first_at: Timestamp::from_millis(1),
            last_at: Timestamp::from_millis(2),
        });
        metrics.count(&Body::RevocationEffective {
            revocation: RevocationId::from_bits(1),
            crossed: vec![DecisionId::from_bits(1), DecisionId::from_bits(2)],
            took: Millis::new(3),
        });
        metrics.count(&Body::RefusalsCoalesced {
            actor: Actor::Instance(InstanceId::from_bits(1)),
            task: None,
            reason: Reason::ApprovalRequired,
            count: 2,
            first_at: Timestamp::from_millis(1),
            last_at: Timestamp::from_millis(2),
        });
        assert_eq!(metrics.coalesced.get(), 9);
        let denied: Vec<_> = metrics.denials().filter(|it| it.1 > 0).collect();
        assert_eq!(denied, [("tool_unknown", 7)]);
        let decided: Vec<_> = metrics.decisions().filter(|it| it.2 > 0).collect();
        assert_eq!(decided, [("other", "hold", 2), ("other", "deny", 7)]);
        assert_eq!(metrics.crossings.get(), 2);
        assert_eq!(metrics.revocation.read().1, 1);
    }
}

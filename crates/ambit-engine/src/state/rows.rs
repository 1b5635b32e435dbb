//! The rows into which the fold goes, and how they are read back at a start.
//!
//! A row holds what changes and the index of the leaf that holds the rest: nothing is encoded twice.

mod claim;

mod delegation;
pub(super) mod ended;
mod open;
mod proof;
mod row;
mod token;

use std::collections::BTreeMap;

use ambit_audit::RowChange;
use ambit_core::{
    ApprovalId, DecisionId, DelegationId, Digest, LoginId, PasskeyId, PersonId, ServerName, TaskId,
    Timestamp, TokenId, ToolName,
    act::Target,
    claim::ClaimStanding,
    json::Value,
    record::{Actor, Body, Status},
    task::{End, TaskState, Usage},
};

use self::{
    delegation::{delegation_row, read_delegation},
    row::Row,
};
use super::{Approval, ApprovalStanding, OpenAct, RecordedKeys, SetDigest, State, TaskEntry};
use crate::{Archive, ArchiveError};

/// The names of the folded tables.
pub const TABLES: &[&str] = &[
    "log",
    "people",
    "tasks",
    "tasks_ended",
    "approvals",
    "approvals_ended",
    "delegations",
    "delegations_ended",
    "tokens",
    "open_acts",
    "revoked",
    "tools_seen",
    "logins",
    "passkeys",
    "enrolments",
];

/// Names one row of the fold.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum RowKey {
    Log,
    Person(PersonId),
    Task(TaskId),
    Approval(ApprovalId),
    Delegation(DelegationId),
    Token(TokenId),
    Open(DecisionId),
    Revoked(Target),
    Seen(ServerName, ToolName),
    Login(LoginId),
    Passkey(PasskeyId),
    Enrolment(PersonId),
}

/// A row of the store is not what this binary writes.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The row can't be read.
    #[error(
        "row `{key}` of table `{table}` can't be read: {what}; run `ambit log rebuild`, which says how to mend it"
    )]
    Unreadable {
        /// Which table.
        table: &'static str,
        /// Which row.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The tables say something else than the digest beside them.
    #[error(
        "the tables are not the fold of the log (digest {found}, expected {expected}); run `ambit log rebuild`, which says how to mend it"
    )]
    Digest {
        /// What the rows give.
        found: Digest,
        /// What stands beside them.
        expected: Digest,
    },
    /// The store could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl State {
    pub(super) fn touch(&mut self, key: RowKey) {
        self.touched.insert(key);
    }

    /// Takes the changes of rows since the last time, in order.
    pub fn take_rows(&mut self) -> Vec<RowChange> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            self.change(key, &mut changes);
        }
        if !changes.is_empty() {
            let value =
                Value::from_iter([self.digest, self.ended].map(|it| it.to_digest().to_string()));
            changes.push(RowChange {
                table: "log",
                key: DIGEST_KEY.to_owned(),
                value: Some(bytes(&value)),
            });
        }
        changes
    }

    /// Writes one touched row, and keeps the digest over all rows in step.
    fn change(&mut self, key: RowKey, changes: &mut Vec<RowChange>) {
        let (table, name, value, finality) = self.row(&key);
        if let Some(old) = self.hashes.remove(&key) {
            self.digest = self.digest.without(old);
        }
        if finality == Finality::Ended {
            let live = match table {
                "tasks_ended" => "tasks",
                "delegations_ended" => "delegations",
                _ => "approvals",
            };
            changes.push(RowChange {
                table: live,
                key: name.clone(),
                value: None,
            });
        }
        if let Some(bytes) = &value {
            let hash = row_hash(table, &name, bytes);
            if finality == Finality::Live {
                self.digest = self.digest.with(hash);
                self.hashes.insert(key, hash);
            } else {
                // Ended rows never change again: only their sum is kept.
                self.ended = self.ended.with(hash);
            }
        }
        changes.push(RowChange {
            table,
            key: name,
            value,
        });
    }

    fn row(&self, key: &RowKey) -> (&'static str, String, Option<Vec<u8>>, Finality) {
        match key {
            RowKey::Log => {
                let origin = self.origin.as_deref().unwrap_or_default();
                let estate = self.estate.map_or(Value::Null, |it| it.to_string().into());
                let issuing = self.issuing.map(|it| ("issuing", it.to_value()));
                let members = [("origin", origin.into()), ("estate", estate)];
                let row = Value::object(members.into_iter().chain(issuing));
                ("log", LOG_KEY.to_owned(), Some(bytes(&row)), Finality::Live)
            }
            RowKey::Person(id) => (
                "people",
                id.to_string(),
                Some(b"{}".to_vec()),
                Finality::Live,
            ),
            RowKey::Task(id) => {
                let entry = self.tasks.get(id);
                let row = entry.map(|it| bytes(&task_row(it)));
                if entry.is_none_or(|it| it.state == TaskState::Active) {
                    return ("tasks", id.to_string(), row, Finality::Live);
                }
                ("tasks_ended", id.to_string(), row, Finality::Ended)
            }
            RowKey::Approval(id) => {
                let entry = self.approvals.get(id);
                let row = entry.map(|it| bytes(&approval_row(it)));
                let task = entry.and_then(|it| self.tasks.get(&it.task));
                if task.is_some_and(|it| it.state == TaskState::Active) {
                    return ("approvals", id.to_string(), row, Finality::Live);
                }
                ("approvals_ended", id.to_string(), row, Finality::Ended)
            }
            RowKey::Delegation(id) => {
                let entry = self.delegations.get(id);
                let row = entry.map(|it| bytes(&delegation_row(it)));
                let parent = entry.and_then(|it| self.tasks.get(&it.delegation.parent));
                if parent.is_some_and(|it| it.state == TaskState::Active) {
                    return ("delegations", id.to_string(), row, Finality::Live);
                }
                ("delegations_ended", id.to_string(), row, Finality::Ended)
            }
            RowKey::Token(id) => {
                let row = self.tokens.get(id).map(|it| bytes(&token::row(it)));
                ("tokens", id.to_string(), row, Finality::Live)
            }
            RowKey::Open(id) => {
                let row = self.open.get(id).map(|it| bytes(&open_row(it)));
                ("open_acts", id.to_string(), row, Finality::Live)
            }
            RowKey::Revoked(target) => (
                "revoked",
                target.to_string(),
                Some(bytes(&revoked_row(self.reinstated.get(target).copied()))),
                Finality::Live,
            ),
            RowKey::Login(_) | RowKey::Passkey(_) | RowKey::Enrolment(_) => {
                let (table, name, row) = self.proof_row(key);
                (table, name, row.map(|it| bytes(&it)), Finality::Live)
            }
            RowKey::Seen(server, tool) => {
                let seen = self.seen.get(&(server.clone(), tool.clone()));
                let row = seen.map(|it| bytes(&it.to_string().into()));
                (
                    "tools_seen",
                    format!("{server}/{tool}"),
                    row,
                    Finality::Live,
                )
            }
        }
    }

    /// Reads the state back from the rows of `archive`.
    pub fn load(archive: &dyn Archive) -> Result<Self, RowError> {
        let mut state = Self::empty();
        let mut expected = [SetDigest::empty(); 2];
        for (table, reader) in READERS {
            for (key, value) in archive.rows(table)? {
                let row = Row {
                    archive,
                    table,
                    key: &key,
                    value: &value,
                };
                if key == DIGEST_KEY {
                    expected = read_digests(&row)?;
                    continue;
                }
                let row_key = reader(&mut state, &row)?;
                let hash = row_hash(table, &key, &value);
                state.digest = state.digest.with(hash);
                state.hashes.insert(row_key, hash);
            }
        }
        let [live, ended] = expected;
        if state.digest != live {
            let (found, expected) = (state.digest.to_digest(), live.to_digest());
            return Err(RowError::Digest { found, expected });
        }
        state.ended = ended;
        Ok(state)
    }
}

fn read_digests(row: &Row<'_>) -> Result<[SetDigest; 2], RowError> {
    let value = row.json()?;
    let texts = value
        .as_array()
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str);
    let digests: Option<Vec<_>> = texts
        .map(|it| it.parse().ok().map(SetDigest::from_digest))
        .collect();
    let digests = digests.and_then(|it| <[SetDigest; 2]>::try_from(it).ok());
    digests.ok_or_else(|| row.wrong("it is no pair of digests"))
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Finality {
    Live,
    Ended,
}

type Reader = fn(&mut State, &Row<'_>) -> Result<RowKey, RowError>;

const READERS: [(&str, Reader); 12] = [
    ("log", read_log),
    ("people", read_person),
    ("tasks", read_task),
    ("approvals", read_approval),
    ("delegations", read_delegation),
    ("tokens", token::read),
    ("open_acts", read_open),
    ("revoked", read_revoked),
    ("tools_seen", read_seen),
    ("logins", proof::read_login),
    ("passkeys", proof::read_passkey),
    ("enrolments", proof::read_enrolment),
];

fn read_log(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let value = row.json()?;
    state.origin = Some(row.text(&value, "origin")?.to_owned());
    state.estate = match value.get("estate") {
        Some(Value::String(text)) => Some(text.parse().map_err(|_| row.wrong("`estate`"))?),
        _ => None,
    };
    state.issuing = issuing(row, &value)?;
    Ok(RowKey::Log)
}

/// Reads the log's row for the issuing keys alone.
pub(super) fn recorded_keys(archive: &dyn Archive) -> Result<Option<RecordedKeys>, RowError> {
    let table = "log";
    for (key, value) in archive.rows(table)? {
        if key == LOG_KEY {
            let (key, value) = (key.as_str(), value.as_slice());
            let row = Row {
                archive,
                table,
                key,
                value,
            };
            return issuing(&row, &row.json()?);
        }
    }
    Ok(None)
}

fn issuing(row: &Row<'_>, value: &Value) -> Result<Option<RecordedKeys>, RowError> {
    let Some(value) = value.get("issuing") else {
        return Ok(None);
    };
    let known = RecordedKeys::from_value(value);
    known.ok_or_else(|| row.wrong("`issuing`")).map(Some)
}

fn read_person(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let id = row.key.parse().map_err(|_| row.wrong("its key"))?;
    state.people.insert(id);
    Ok(RowKey::Person(id))
}

fn read_task(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let entry = task_entry(row)?;
    let id = entry.task.id;
    state.instances.insert(entry.task.instance, id);
    match entry.claim {
        ClaimStanding::Closed | ClaimStanding::Attended => {}
        ClaimStanding::Waiting { .. } => {
            state.waiting.insert(entry.leaf, id);
        }
        ClaimStanding::Claimed { workload } => {
            state.claims.insert(workload, id);
        }
    }
    state.hang(&entry);
    state.tasks.insert(id, entry);
    Ok(RowKey::Task(id))
}

fn task_entry(row: &Row<'_>) -> Result<TaskEntry, RowError> {
    let value = row.json()?;
    let leaf = row.number(&value, "leaf")?;
    let body = row.record(leaf)?.body;
    let (task, parameters, started_by) = if let Body::TaskStarted {
        task,
        parameters,
        warrant,
    } = body
    {
        (task, parameters, Actor::Person(warrant.by))
    } else if let Body::DelegationSpent {
        task,
        part,
        mandate,
    } = body
    {
        (task, part, mandate.by)
    } else {
        return Err(row.wrong("its leaf is no start of a task"));
    };
    let mut tool_calls = BTreeMap::new();
    for item in value
        .get("tool_calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let server = row
            .text(item, "server")?
            .parse()
            .map_err(|_| row.wrong("`server`"))?;
        let tool = row
            .text(item, "tool")?
            .parse()
            .map_err(|_| row.wrong("`tool`"))?;
        tool_calls.insert((server, tool), row.count(item, "calls")?);
    }
    let usage = Usage {
        calls: row.count(&value, "calls")?,
        tool_calls,
        labels: row.labels(&value)?,
    };
    let word = row.text(&value, "state")?;
    let ended = End::ALL.into_iter().find(|it| it.as_str() == word);
    let state = match (ended, word) {
        (Some(end), _) => TaskState::Ended(end),
        (None, "active") => TaskState::Active,
        (None, _) => return Err(row.wrong("`state`")),
    };
    Ok(TaskEntry {
        leaf,
        task: *task,
        parameters,
        state,
        usage,
        claim: claim::read(row, &value)?,
        footing: claim::read_footing(row, &value)?,
        started_by,
    })
}

fn read_approval(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let approval = ended::approval_entry(row)?;
    let id = approval.id;
    state
        .approvals_of
        .entry(approval.task)
        .or_default()
        .push(id);
    state.approvals.insert(id, approval);
    Ok(RowKey::Approval(id))
}

fn read_open(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let value = row.json()?;
    let leaf = row.number(&value, "leaf")?;
    let record = row.record(leaf)?;
    let Body::Decided(decided) = record.body else {
        return Err(row.wrong("its leaf is no decision"));
    };
    let status = match row.text(&value, "status")? {
        "open" => None,
        "unknown" => Some(Status::Unknown),
        _ => return Err(row.wrong("`status`")),
    };
    let id = decided.decision;
    let open = OpenAct::permitted(leaf, record.at, &decided, status);
    state
        .open
        .insert(id, open.ok_or_else(|| row.wrong("its leaf names no task"))?);
    Ok(RowKey::Open(id))
}

fn read_revoked(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let target = match row.key.split_once(' ') {
        Some(("agent", name)) => name.parse().map(Target::Agent).ok(),
        Some(("person", id)) => id.parse().map(Target::Person).ok(),
        Some(("server", name)) => name.parse().map(Target::Server).ok(),
        _ => None,
    };
    let target = target.ok_or_else(|| row.wrong("its key"))?;
    let value = row.json()?;
    if value.get("reinstated").is_some() {
        let leaf = row.number(&value, "reinstated")?;
        state.reinstated.insert(target.clone(), leaf);
    } else {
        state.revoked.insert(target.clone());
    }
    Ok(RowKey::Revoked(target))
}

fn read_seen(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let names = row.key.split_once('/');
    let names = names.and_then(|(server, tool)| Some((server.parse().ok()?, tool.parse().ok()?)));
    let (server, tool): (ServerName, ToolName) = names.ok_or_else(|| row.wrong("its key"))?;
    let seen = row.json()?.as_str().and_then(|it| it.parse().ok());
    let seen = seen.ok_or_else(|| row.wrong("its digest"))?;
    state.seen.insert((server.clone(), tool.clone()), seen);
    Ok(RowKey::Seen(server, tool))
}

fn task_row(entry: &TaskEntry) -> Value {
    let tool_calls = entry
        .usage
        .tool_calls
        .iter()
        .map(|((server, tool), calls)| {
            Value::object([
                ("server", server.as_str().into()),
                ("tool", tool.as_str().into()),
                ("calls", u64::from(*calls).into()),
            ])
        });
    let state = match entry.state {
        TaskState::Active => "active",
        TaskState::Ended(end) => End::as_str(end),
    };
    let members = [
        ("leaf", entry.leaf.into()),
        ("state", state.into()),
        ("calls", u64::from(entry.usage.calls).into()),
        ("tool_calls", tool_calls.collect()),
        (
            "labels",
            entry.usage.labels.iter().map(|it| it.as_str()).collect(),
        ),
    ];
    let claimed = claim::member(entry.claim).into_iter();
    let claimed = claimed.chain(claim::footing_members(entry.footing));
    Value::object(members.into_iter().chain(claimed))
}

fn approval_row(approval: &Approval) -> Value {
    let leaf = ("leaf", approval.leaf.into());
    let time = |at: Timestamp| Value::from(at.as_millis());
    match approval.standing {
        ApprovalStanding::Pending { until } => {
            Value::object([leaf, ("standing", "pending".into()), ("until", time(until))])
        }
        ApprovalStanding::Approved { by, until } => Value::object([
            leaf,
            ("standing", "approved".into()),
            ("by", by.to_string().into()),
            ("until", time(until)),
        ]),
        ApprovalStanding::Refused { by } => Value::object([
            leaf,
            ("standing", "refused".into()),
            ("by", by.to_string().into()),
        ]),
        ApprovalStanding::Void { by, until } => Value::object([
            leaf,
            ("standing", "void".into()),
            ("by", by.to_string().into()),
            ("until", time(until)),
        ]),
        ApprovalStanding::Spent { decision } => Value::object([
            leaf,
            ("standing", "spent".into()),
            ("decision", decision.to_string().into()),
        ]),
    }
}

fn open_row(open: &OpenAct) -> Value {
    let status = if open.status.is_some() {
        "unknown"
    } else {
        "open"
    };
    Value::object([("leaf", open.leaf.into()), ("status", status.into())])
}

fn revoked_row(reinstated: Option<u64>) -> Value {
    Value::object(reinstated.map(|leaf| ("reinstated", leaf.into())))
}

fn bytes(row: &Value) -> Vec<u8> {
    row.to_canonical().into_bytes()
}

fn row_hash(table: &str, key: &str, value: &[u8]) -> Digest {
    Digest::of_parts(&[table.as_bytes(), &[0], key.as_bytes(), &[0], value])
}

/// The row that holds the digest over all other rows.
const DIGEST_KEY: &str = "digest";
/// The row of the log itself.
const LOG_KEY: &str = "log";

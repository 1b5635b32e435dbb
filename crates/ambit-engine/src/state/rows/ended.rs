//! What has left the fold, read from the store: ended tasks and their approvals.

use ambit_core::{ApprovalId, TaskId, Timestamp, record::Body};

use super::{RowError, row::Row, task_entry};
use crate::{Approval, ApprovalStanding, Archive, TaskEntry};

/// Returns at most `count` tasks that have ended, the newest that started before `before` first.
pub(crate) fn ended_tasks(
    archive: &dyn Archive,
    before: Option<TaskId>,
    count: usize,
) -> Result<Vec<TaskEntry>, RowError> {
    let table = "tasks_ended";
    // Every key is ASCII, and comes before this.
    let before = before.map_or_else(|| "~".to_owned(), |it| it.to_string());
    let rows = archive.rows_before(table, &before, count)?;
    let read = |(key, value): &(String, Vec<u8>)| {
        task_entry(&Row {
            archive,
            table,
            key,
            value,
        })
    };
    rows.iter().map(read).collect()
}

/// Returns the task `id` when it has ended.
pub(crate) fn ended_task(archive: &dyn Archive, id: TaskId) -> Result<Option<TaskEntry>, RowError> {
    one((archive, "tasks_ended"), &id.to_string(), task_entry)
}

/// Returns at most `count` approvals whose tasks have ended, the newest first.
pub(crate) fn ended_approvals(
    archive: &dyn Archive,
    count: usize,
) -> Result<Vec<Approval>, RowError> {
    let table = "approvals_ended";
    let rows = archive.rows_before(table, "~", count)?;
    let read = |(key, value): &(String, Vec<u8>)| {
        approval_entry(&Row {
            archive,
            table,
            key,
            value,
        })
    };
    rows.iter().map(read).collect()
}

/// Returns the approval `id` when its task has ended.
pub(crate) fn ended_approval(
    archive: &dyn Archive,
    id: ApprovalId,
) -> Result<Option<Approval>, RowError> {
    one(
        (archive, "approvals_ended"),
        &id.to_string(),
        approval_entry,
    )
}

fn one<T>(
    (archive, table): (&dyn Archive, &'static str),
    key: &str,
    read: impl Fn(&Row<'_>) -> Result<T, RowError>,
) -> Result<Option<T>, RowError> {
    let Some(value) = archive.row(table, key)? else {
        return Ok(None);
    };
    let row = Row {
        archive,
        table,
        key,
        value: &value,
    };
    read(&row).map(Some)
}

/// Reads the row of an approval.
pub(super) fn approval_entry(row: &Row<'_>) -> Result<Approval, RowError> {
    let value = row.json()?;
    let leaf = row.number(&value, "leaf")?;
    let record = row.record(leaf)?;
    let Body::Decided(decided) = record.body else {
        return Err(row.wrong("its leaf is no decision"));
    };
    let id: ApprovalId = row.key.parse().map_err(|_| row.wrong("its key"))?;
    let until = || row.number(&value, "until").map(Timestamp::from_millis);
    let by = || {
        row.text(&value, "by")?
            .parse()
            .map_err(|_| row.wrong("`by`"))
    };
    let standing = match row.text(&value, "standing")? {
        "pending" => ApprovalStanding::Pending { until: until()? },
        "approved" => ApprovalStanding::Approved {
            by: by()?,
            until: until()?,
        },
        "refused" => ApprovalStanding::Refused { by: by()? },
        "void" => ApprovalStanding::Void {
            by: by()?,
            until: until()?,
        },
        "spent" => {
            let decision = row.text(&value, "decision")?.parse();
            ApprovalStanding::Spent {
                decision: decision.map_err(|_| row.wrong("`decision`"))?,
            }
        }
        _ => return Err(row.wrong("`standing`")),
    };
    let approval = Approval::requested(id, leaf, record.at, &decided, standing);
    approval.ok_or_else(|| row.wrong("its leaf holds nothing"))
}

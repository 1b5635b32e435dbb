//! The row of a delegation, both ways.

use ambit_core::{json::Value, record::Body};
use ambit_policy::DelegationStanding;

use super::{RowError, RowKey, row::Row};
use crate::state::{DelegationEntry, State};

/// Reads a delegation back.
pub(super) fn read_delegation(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let value = row.json()?;
    let leaf = row.number(&value, "leaf")?;
    let Body::DelegationMade {
        delegation, part, ..
    } = row.record(leaf)?.body
    else {
        return Err(row.wrong("its leaf is no delegation"));
    };
    let standing = row.text(&value, "standing")?;
    let standings = STANDINGS.into_iter().find(|(word, _)| *word == standing);
    let (_, standing) = standings.ok_or_else(|| row.wrong("`standing`"))?;
    let child = match value.get("child") {
        None => None,
        Some(_) => Some(
            row.text(&value, "child")?
                .parse()
                .map_err(|_| row.wrong("`child`"))?,
        ),
    };
    let id = delegation.id;
    let made = state.delegations_of.entry(delegation.parent).or_default();
    made.push(id);
    let entry = DelegationEntry {
        leaf,
        delegation: *delegation,
        part,
        standing,
        child,
    };
    state.delegations.insert(id, entry);
    Ok(RowKey::Delegation(id))
}

/// The row of a delegation.
pub(super) fn delegation_row(entry: &DelegationEntry) -> Value {
    let standing = STANDINGS.into_iter().find(|(_, it)| *it == entry.standing);
    let mut members = vec![
        ("leaf", entry.leaf.into()),
        ("standing", standing.map_or("none", |(word, _)| word).into()),
    ];
    if let Some(child) = entry.child {
        members.push(("child", child.to_string().into()));
    }
    Value::object(members)
}

const STANDINGS: [(&str, DelegationStanding); 3] = [
    ("open", DelegationStanding::Open),
    ("spent", DelegationStanding::Spent),
    ("withdrawn", DelegationStanding::Withdrawn),
];

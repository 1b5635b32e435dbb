//! What the row of a task says of its claim.

use ambit_core::{claim::ClaimStanding, json::Value};

use super::{RowError, row::Row};

/// Returns what a task's row says of its claim; of a task that can't be claimed, nothing.
pub(super) fn member(claim: ClaimStanding) -> Option<(&'static str, Value)> {
    match claim {
        ClaimStanding::Closed => None,
        ClaimStanding::Attended => Some(("attended", true.into())),
        ClaimStanding::Waiting { join_token: None } => Some(("waits", true.into())),
        ClaimStanding::Waiting {
            join_token: Some(digest),
        } => Some(("join_token", digest.to_string().into())),
        ClaimStanding::Claimed { workload } => Some(("workload", workload.to_string().into())),
    }
}

pub(super) fn read(row: &Row<'_>, value: &Value) -> Result<ClaimStanding, RowError> {
    let digest = |name: &'static str| {
        let text = value.get(name).map(|_| row.text(value, name)).transpose()?;
        let digest = text.map(|it| it.parse().map_err(|_| row.wrong(name)));
        digest.transpose()
    };
    let (join_token, workload) = (digest("join_token")?, digest("workload")?);
    if let Some(attended) = value.get("attended") {
        let alone = value.get("waits").is_none() && join_token.is_none() && workload.is_none();
        return if alone && *attended == Value::Bool(true) {
            Ok(ClaimStanding::Attended)
        } else {
            Err(row.wrong("its runner"))
        };
    }
    match (value.get("waits"), join_token, workload) {
        (None, None, None) => Ok(ClaimStanding::Closed),
        (None, None, Some(workload)) => Ok(ClaimStanding::Claimed { workload }),
        (Some(Value::Bool(true)), None, None) => Ok(ClaimStanding::Waiting { join_token: None }),
        (None, Some(_), None) => Ok(ClaimStanding::Waiting { join_token }),
        _ => Err(row.wrong("its claim")),
    }
}

//! What the row of a task says of its claim.

use ambit_core::{
    claim::{ClaimStanding, Footing},
    json::Value,
};

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

/// Returns what a task's row says of what its instance stands on.
pub(super) fn footing_members(footing: Footing) -> impl Iterator<Item = (&'static str, Value)> {
    let registration = footing.registration.map(|it| it.to_string().into());
    let unix_uid = footing.unix_uid.map(|it| u64::from(it).into());
    let members = [("registration", registration), ("unix_uid", unix_uid)];
    let said = |(name, value): (&'static str, Option<Value>)| Some((name, value?));
    members.into_iter().filter_map(said)
}

pub(super) fn read_footing(row: &Row<'_>, value: &Value) -> Result<Footing, RowError> {
    let registration = value.get("registration");
    let registration = registration.map(|_| row.text(value, "registration"));
    let registration = registration.transpose()?;
    let registration = registration.map(|it| it.parse().map_err(|_| row.wrong("`registration`")));
    let unix_uid = value.get("unix_uid");
    let unix_uid = unix_uid.map(|_| row.count(value, "unix_uid"));
    Ok(Footing {
        registration: registration.transpose()?,
        unix_uid: unix_uid.transpose()?,
    })
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

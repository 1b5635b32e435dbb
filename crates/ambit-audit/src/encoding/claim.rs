//! The kinds of records that claims of tasks leave, as they are written.

use ambit_core::{
    Digest, TaskId,
    claim::{ClaimProof, Footing},
};

use super::{
    DecodeError, kind, read,
    write::{Members, members},
};

pub(super) fn waits(
    task: &TaskId,
    join_token: Option<&Digest>,
) -> (&'static str, Members<'static>) {
    let members = members().text("task", task);
    (
        kind::TASK_WAITS,
        members.maybe_text("join_token", join_token),
    )
}

pub(super) fn footing(it: &mut read::Members) -> Result<Footing, DecodeError> {
    Ok(Footing {
        registration: it.maybe_text("registration")?,
        unix_uid: it.maybe_count("unix_uid")?,
    })
}

pub(super) fn claimed(
    task: &TaskId,
    proof: ClaimProof,
    workload: &Digest,
    footing: &Footing,
) -> (&'static str, Members<'static>) {
    let members = members()
        .text("task", task)
        .add("proof", proof.as_str())
        .text("workload", workload)
        .maybe_text("registration", footing.registration.as_ref())
        .maybe("unix_uid", footing.unix_uid.map(|it| u64::from(it).into()));
    (kind::TASK_CLAIMED, members)
}

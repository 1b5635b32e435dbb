//! The kinds of records that claims of tasks leave, as they are written.

use ambit_core::{Digest, TaskId, claim::ClaimProof};

use super::{
    kind,
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

pub(super) fn claimed(
    task: &TaskId,
    proof: ClaimProof,
    workload: &Digest,
) -> (&'static str, Members<'static>) {
    let members = members()
        .text("task", task)
        .add("proof", proof.as_str())
        .text("workload", workload);
    (kind::TASK_CLAIMED, members)
}

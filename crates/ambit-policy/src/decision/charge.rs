//! What a permit costs, held against what is so when its turn comes.

use ambit_core::{
    Reason,
    task::{Task, Usage},
};

use super::{Flow, Permit};
use crate::{
    TaskScope,
    gather::{counted_tool, counts},
};

/// Returns the usage of `task` after `permit`, in the order in which the sequencer calls this: for the task that
/// asked, and for every task above it, whose budget the act is charged to as well.
///
/// # Errors
///
/// [`Reason::BudgetExhausted`] when the calls or the room for labels were used up meanwhile;
/// [`Reason::LabelMayNotLeave`] when data leaves and labels came meanwhile that may not;
/// [`Reason::PermitStale`] when labels came meanwhile and the tenant's policies look at labels: the act
/// must be decided again.
pub fn charge(
    task: &Task,
    usage: &Usage,
    permit: &Permit,
    scope: &TaskScope,
) -> Result<Usage, Reason> {
    let flow = permit.flows.iter().find(|(id, _)| *id == task.id);
    let Some((_, flow)) = flow.filter(|_| scope.task() == task.id) else {
        return Err(Reason::PermitStale);
    };
    match flow {
        Flow::Settled => {}
        Flow::Judged(labels) if *labels != usage.labels => return Err(Reason::PermitStale),
        Flow::Judged(_) => {}
        Flow::Leaves => {
            let may_emit = scope.may_emit();
            if usage.labels.without(&may_emit).next().is_some() {
                return Err(Reason::LabelMayNotLeave);
            }
        }
    }
    let mut after = usage.clone();
    after.labels = usage
        .labels
        .union(&permit.charged)
        .map_err(|_| Reason::BudgetExhausted)?;
    if !counts(&permit.act) {
        return Ok(after);
    }
    after.calls = one_more(usage.calls, scope.calls_max())?;
    if let Some((tool, max)) = counted_tool(scope, &permit.act) {
        let calls = after.tool_calls.entry(tool).or_default();
        *calls = one_more(*calls, max)?;
    }
    Ok(after)
}

const fn one_more(calls: u32, max: u32) -> Result<u32, Reason> {
    if calls < max {
        Ok(calls + 1)
    } else {
        Err(Reason::BudgetExhausted)
    }
}

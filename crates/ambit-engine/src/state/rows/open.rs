//! An act under way, as its decision gives it.

use ambit_core::{
    Timestamp,
    record::{Decided, Status},
};

use crate::state::OpenAct;

impl OpenAct {
    /// Returns the act that `decided` permitted at `leaf`.
    pub(in crate::state) fn permitted(
        leaf: u64,
        at: Timestamp,
        decided: &Decided,
        status: Option<Status>,
    ) -> Option<Self> {
        Some(Self {
            leaf,
            decision: decided.decision,
            task: decided.task?,
            action: decided.action.clone(),
            server: decided.server.clone(),
            tool: decided.tool.clone(),
            act: decided.act,
            at,
            status,
        })
    }
}

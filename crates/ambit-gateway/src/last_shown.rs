//! What each agent was last shown, for the time after its task.
//!
//! Some clients list the tools anew before each step and give up when that fails; their models would never read that
//! the task has ended. So an agent whose task is over sees what it saw before, and each call says what happened.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use ambit_core::InstanceId;
use ambit_engine::Offer;

use crate::limits::LAST_SHOWN_MAX;

/// The last offers of the agents that listed their tools, the latest [`LAST_SHOWN_MAX`] of them.
#[derive(Debug, Default)]
pub(crate) struct LastShown(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    offers: HashMap<InstanceId, Vec<Offer>>,
    order: VecDeque<InstanceId>,
}

impl LastShown {
    /// Keeps what `instance` is shown now, in place of what it was shown before.
    pub(crate) fn keep(&self, instance: InstanceId, offers: &[Offer]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.offers.insert(instance, offers.to_vec()).is_some() {
            return;
        }
        kept.order.push_back(instance);
        if kept.order.len() > LAST_SHOWN_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.offers.remove(&oldest);
        }
    }

    /// Returns what `instance` was last shown; nothing when it listed nothing, or long ago.
    pub(crate) fn of(&self, instance: InstanceId) -> Option<Vec<Offer>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.offers.get(&instance).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_up_to_the_maximum() {
        let shown = LastShown::default();
        let instance = |number| InstanceId::from_bits(number as u128);
        (0..LAST_SHOWN_MAX).for_each(|it| shown.keep(instance(it), &[]));
        assert!(shown.of(instance(0)).is_some());
        shown.keep(instance(LAST_SHOWN_MAX), &[]);
        assert!(shown.of(instance(0)).is_none(), "one beyond");
        assert!(shown.of(instance(1)).is_some() && shown.of(instance(LAST_SHOWN_MAX)).is_some());
    }
}

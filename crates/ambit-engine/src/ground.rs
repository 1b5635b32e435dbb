//! Whether anything stands behind whoever comes.

use ambit_core::Timestamp;
use ambit_identity::InstanceCaller;

use crate::{EngineError, Handle, Presented};

/// Whether a task that acts stands behind somebody, by what they come with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ground {
    /// It does.
    Stands,
    /// It does not: it has ended, or what they come with is worth nothing.
    Gone,
}

impl Handle {
    /// Says whether a task that acts stands behind `caller` now. It decides nothing: each act is decided by itself.
    ///
    /// # Errors
    /// [`EngineError`] when the engine has stopped.
    pub fn ground(&self, caller: &InstanceCaller, now: Timestamp) -> Result<Ground, EngineError> {
        let live = self.shared.read()?;
        let task = live.state.instances.get(&caller.instance());
        let acts = task.is_some_and(|it| live.acting(*it, now).is_ok());
        Ok(match (acts, live.presented(caller, now)) {
            (true, Presented::AsItsTask) => Ground::Stands,
            (true, Presented::Nothing(_)) | (false, _) => Ground::Gone,
        })
    }
}

//! Tasks to which people consent: started for a client that comes with no run of an agent, and acts by their tokens.

use ambit_core::Millis;
use ambit_identity::PersonCaller;

use super::{
    Asked,
    tasks::{StartTask, Started, start_here},
};
use crate::{ClientLeave, Handle, Moment, Refusal, desk::Desk};

impl Handle {
    /// Starts a task as [`Handle::start_task`] does, for at most `ttl_max`, and lets a client have its tokens. Nobody
    /// claims it and nobody is certified for it: without the leave nobody acts within it.
    ///
    /// # Errors
    /// As there.
    pub async fn consent(
        &self,
        caller: &PersonCaller,
        ask: StartTask,
        ttl_max: Millis,
        moment: Moment,
    ) -> Result<(Started, ClientLeave), Refusal> {
        let (custody, trust_domain) = (
            self.shared.custody.clone(),
            self.shared.trust_domain.clone(),
        );
        let start = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            start_here(desk, asked, (ask, ttl_max), custody.as_ref(), &trust_domain)
        };
        let started = self.govern(caller, moment, start).await?;
        let leave = ClientLeave::of(started.task.id);
        Ok((started, leave))
    }
}

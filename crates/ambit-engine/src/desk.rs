//! The sequencer's desk: where turns are taken, one after another, in the one order.

use ambit_audit::{Attachment, Batch, Committed, Draft, Pending, Space};
use ambit_core::{
    DecisionId, TaskId, Timestamp,
    limits::BATCH_RECORDS_MAX,
    proof::ProofFact,
    record::{Body, Recordable, Sealed},
};

use crate::{EngineError, live::Live};

/// Something to be done in order: it reads and changes what is so, and returns what to do once that is durable.
pub(crate) type Turn = Box<dyn FnOnce(&mut Desk<'_>) -> Settle + Send>;

/// What to do once the batch is durable, or known to have failed.
///
/// There is no commit when nobody wrote anything.
pub(crate) type Settle = Box<dyn FnOnce(Result<Option<&Committed>, EngineError>) + Send>;

/// What a turn works on.
pub(crate) struct Desk<'a> {
    pub(crate) live: &'a mut Live,
    pub(crate) attachments: Vec<Attachment>,
    batch: &'a mut Batch,
    space: Space,
    fatal: Option<EngineError>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(live: &'a mut Live, batch: &'a mut Batch, space: Space) -> Self {
        Self {
            live,
            attachments: Vec::new(),
            batch,
            space,
            fatal: None,
        }
    }

    /// Returns the log's time for everything in this batch.
    pub(crate) fn at(&self) -> Timestamp {
        self.batch.at()
    }

    /// Returns how many records the batch has.
    pub(crate) fn written(&self) -> usize {
        self.batch.len()
    }

    /// Returns how many more records the batch takes.
    pub(crate) fn room(&self) -> usize {
        BATCH_RECORDS_MAX.saturating_sub(self.batch.len())
    }

    /// Writes the record of `value` and folds it.
    ///
    /// # Errors
    /// A record that is too long is refused and changes nothing, and so is, when the disk is full, one for which the
    /// reserve is not kept. A record that does not fold stops the engine.
    pub(crate) fn write<T: Recordable>(&mut self, value: T) -> Result<Pending<T>, EngineError> {
        self.write_draft(Draft::new(value)?)
    }

    /// Writes a record that was made ready before the turn, as [`Desk::write`] does.
    pub(crate) fn write_draft<T>(&mut self, draft: Draft<T>) -> Result<Pending<T>, EngineError> {
        let (live, fatal, space) = (&mut *self.live, &mut self.fatal, self.space);
        self.batch.add_draft(draft, |index, record| {
            if space == Space::Reserve && !may_use_reserve(&record.body) {
                return Err(EngineError::NoSpace);
            }
            if let Err(error) = live.state.apply(index, record) {
                let error = EngineError::from(error);
                *fatal = Some(error.clone());
                return Err(error);
            }
            live.metrics.count(&record.body);
            live.announce(&record.body);
            Ok(())
        })
    }

    /// Says whether an outcome of the act that `decision` permitted can still be written. Once a person settled an unknown
    /// one, what a door says of it later comes too late.
    pub(crate) fn awaits(&self, decision: DecisionId) -> Awaits {
        if self.live.state.open.contains_key(&decision) {
            Awaits::Outcome
        } else {
            Awaits::Nothing
        }
    }

    /// Remembers whose word an agent of the task, which nobody claims, could give.
    pub(crate) fn loosen(&mut self, task: TaskId) {
        if let Some(entry) = self.live.state.task(task).cloned() {
            self.live.loosen(&entry);
        }
    }

    /// Keeps the sealed bytes that the record at `leaf` names.
    pub(crate) fn keep_sealed(
        &mut self,
        leaf: u64,
        task: Option<TaskId>,
        sealed: &Sealed,
        bytes: Vec<u8>,
    ) {
        self.attachments
            .extend(sealed.blob.map(|id| Attachment::Blob {
                leaf,
                id,
                task,
                bytes,
            }));
    }

    /// Gives up the attachments, or the reason why the engine must stop.
    pub(crate) fn finish(self) -> Result<Vec<Attachment>, EngineError> {
        self.fatal.map_or(Ok(self.attachments), Err)
    }
}

/// Whether the outcome of an act can still be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Awaits {
    /// It can.
    Outcome,
    /// It was written, or a person settled it.
    Nothing,
}

/// Says whether the reserve is kept for such a record: it takes authority away, says how something ended, or is what
/// such a record needs.
const fn may_use_reserve(body: &Body) -> bool {
    match body {
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::TaskEnded { .. }
        | Body::Performed(_)
        | Body::DelegationWithdrawn { .. }
        | Body::Revoked { .. }
        | Body::TokenRevoked { .. }
        | Body::RevocationCarried { .. }
        | Body::RevocationEffective { .. }
        | Body::RefusalsCoalesced { .. }
        | Body::StateDigest { .. } => true,
        Body::Proof(fact) => match **fact {
            ProofFact::LoginEnded { .. } | ProofFact::PasskeyRemoved { .. } => true,
            ProofFact::LoginOpened { .. }
            | ProofFact::EnrolmentOffered { .. }
            | ProofFact::PasskeyRegistered { .. }
            | ProofFact::PasskeyUsed { .. } => false,
        },
        Body::EstateApplied { .. }
        | Body::TaskStarted { .. }
        | Body::InstanceCertified { .. }
        | Body::TaskWaits { .. }
        | Body::TaskClaimed { .. }
        | Body::TaskAttended { .. }
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::Decided(_)
        | Body::ApprovalDecided { .. }
        | Body::Reinstated { .. }
        | Body::ToolSeen { .. }
        | Body::ServerInspected { .. }
        | Body::KeysRotated { .. }
        | Body::TokenIssued(_)
        | Body::ActSettled { .. }
        | Body::SealedOpened { .. }
        | Body::CredentialSealed { .. } => false,
    }
}

impl Live {
    /// Keeps what is derived from the fold in step with it.
    fn announce(&mut self, body: &Body) {
        match body {
            Body::TaskEnded { task, .. } => self.announce_ends(*task),
            Body::DelegationWithdrawn { parent, .. } => self.announce_ends(*parent),
            Body::Revoked { .. } => {
                let ended: Vec<_> = self.runtime.keys().copied().collect();
                for task in ended {
                    self.announce_end(task);
                }
            }
            Body::TaskClaimed { footing, .. } => self.loose_users.extend(footing.unix_uid),
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::EstateApplied { .. }
            | Body::TaskStarted { .. }
            | Body::InstanceCertified { .. }
            | Body::TaskWaits { .. }
            | Body::TaskAttended { .. }
            | Body::DelegationMade { .. }
            | Body::DelegationSpent { .. }
            | Body::Decided(_)
            | Body::Performed(_)
            | Body::ApprovalDecided { .. }
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::RevocationEffective { .. }
            | Body::ToolSeen { .. }
            | Body::ServerInspected { .. }
            | Body::KeysRotated { .. }
            | Body::ActSettled { .. }
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::TokenIssued(_)
            | Body::TokenRevoked { .. }
            | Body::RefusalsCoalesced { .. }
            | Body::StateDigest { .. } => {}
        }
    }

    /// Tells a task and those below it, as far as they ended.
    fn announce_ends(&self, task: ambit_core::TaskId) {
        self.announce_end(task);
        for below in self.state.below(task) {
            self.announce_end(below);
        }
    }

    fn announce_end(&self, task: ambit_core::TaskId) {
        let ended = self
            .state
            .task(task)
            .is_none_or(|it| it.state != ambit_core::task::TaskState::Active);
        if ended && let Some(runtime) = self.runtime.get(&task) {
            runtime.ended.send_replace(true);
        }
    }
}

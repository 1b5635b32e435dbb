//! The issuing keys: each step of their rotation is decided and written before it is taken.

use ambit_core::{
    Digest,
    act::Governance,
    record::{Body, KeyStep},
};
use ambit_identity::PersonCaller;
use ambit_policy::Touched;

use super::Asked;
use crate::{EngineError, Handle, Moment, Refusal, desk::Desk};

/// A step of the rotation, and what it leads to.
#[derive(Clone, Copy, Debug)]
pub struct KeyRotation {
    /// Which step.
    pub step: KeyStep,
    /// The digest over the certificate of the pair that is prepared, or that signs from now on.
    pub certificate: Digest,
    /// The bundle's sequence after it.
    pub sequence: u64,
}

/// Leave to take one step. Made only once it is durable, spent by taking it.
#[derive(Debug)]
#[must_use]
pub struct KeyLeave(());

impl Handle {
    /// Says whether the caller may take a step of the rotation now, so that no keys are made for who may not. A refusal is
    /// durable; leave is given by [`Handle::may_rotate_keys`] alone.
    pub async fn would_rotate_keys(
        &self,
        caller: &PersonCaller,
        step: KeyStep,
        moment: Moment,
    ) -> Result<(), Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            asked
                .permit(desk, Governance::RotateKeys { step }, Touched::NOTHING)
                .map(drop)
        };
        self.govern(caller, moment, take).await
    }

    /// Decides whether the caller may take a step of the rotation. The answer is durable before the keys change.
    pub async fn may_rotate_keys(
        &self,
        caller: &PersonCaller,
        rotation: KeyRotation,
        moment: Moment,
    ) -> Result<KeyLeave, Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let step = rotation.step;
            let permit = asked.permit(desk, Governance::RotateKeys { step }, Touched::NOTHING)?;
            desk.write(rotation.body(Some(permit.warrant())))?;
            Ok(KeyLeave(()))
        };
        self.govern(caller, moment, take).await
    }

    /// Writes down a step that time asks for.
    pub async fn keys_due(&self, rotation: KeyRotation) -> Result<KeyLeave, EngineError> {
        self.turn(move |desk| {
            let written = desk.write(rotation.body(None));
            Box::new(move |committed| committed.and(written).map(|_| KeyLeave(())))
        })
        .await?
    }
}

impl KeyLeave {
    /// Gives up the leave: the step is taken now.
    pub const fn spend(self) {}
}

impl KeyRotation {
    const fn body(self, warrant: Option<ambit_core::record::Warrant>) -> Body {
        Body::KeysRotated {
            step: self.step,
            certificate: self.certificate,
            sequence: self.sequence,
            warrant,
        }
    }
}

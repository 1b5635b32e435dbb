//! Rotation of the issuing keys as time asks for it.

use std::time::Duration;

use ambit_control::api::{Doors, rotate_if_due};
use tokio::time::MissedTickBehavior;

/// How often it is asked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Takes each step of the rotation when it is due, until dropped.
pub(crate) async fn rotate(doors: Doors) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        rotate_if_due(&doors).await;
    }
}

//! Processes that end while they are being attested.

use std::{future::poll_fn, task::Poll};

use super::*;

/// NHI01: a task that a process claimed as it died ends with it. Otherwise it would be open to its expiry, with nobody in
/// it and nobody who could claim it.
#[tokio::test]
async fn nhi01_a_process_that_ends_while_it_attests_takes_its_task_along() {
    let desk = Desk::open();
    let task = desk.expect().await;
    let clerk = process(CLERK, 7);
    let mut call = Box::pin(desk.svids(&clerk));
    poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    // The transport drops the call when its connection ends.
    drop(call);
    clerk.ended.send_replace(true);
    let ended = async {
        loop {
            let records = desk.world.records();
            let over = |it: &ambit_core::record::Record| matches!(it.body, Fact::TaskEnded { task: it, .. } if it == task.id);
            if records.iter().any(over) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    ended.expect("the task ends with its process");
}

//! The estate that a server begins with.

use std::path::Path;

use ambit_control::{check::Checked, credentials::unsealed};
use ambit_core::{reason::Reason, task::Contained};
use ambit_engine::Refusal;
use ambit_identity::{PeerCredentials, identify_person};

use super::{engine::Running, server::ServeError};
use crate::output::complain;

/// The most tasks that are named when they keep an estate from coming into force.
const TASKS_NAMED_MAX: usize = 16;

/// When an estate is put in force at the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// Whenever it differs from the one in force.
    Changed,
    /// Only as long as none is in force: afterwards `ambit apply` decides.
    NoneYet,
}

/// Puts the estate in force that the server begins with, when there is one, and warns of what the one in force lacks.
pub(super) async fn begin(
    running: &Running,
    estate: Option<(Checked, When)>,
    directory: &Path,
) -> Result<(), ServeError> {
    if let Some((checked, when)) = estate {
        let refused = match put_in_force(running, checked, when).await {
            Err(ServeError::Estate(refused)) => Err(refused),
            other => Ok(other?),
        };
        if let Err(refused) = refused {
            let Some(advice) = goes_on(running, &refused, directory).await else {
                return Err(refused.into());
            };
            complain(&advice);
        }
    }
    warn_of_unsealed(running);
    Ok(())
}

/// Says what to do when the change of the estate was refused because of live tasks without containment. The estate that
/// was in force stays, so that they can be ended. None says that the server can't go on.
async fn goes_on(running: &Running, refused: &Refusal, directory: &Path) -> Option<String> {
    let Refusal::Denied { denied, .. } = refused else {
        return None;
    };
    if denied.reason != Reason::BindingTooWeak {
        return None;
    }
    let book = running.handle.book().ok()?;
    let caller = identify_person(this_user(), &book.estate().people).ok()?;
    let moment = (running.moments)();
    let inspection = running.handle.may_inspect(&caller, moment).await.ok()?;
    let tasks = running.handle.tasks(&inspection).ok()?;
    let loose = tasks.iter().filter(|it| it.contained == Contained::None);
    let named: Vec<String> = loose
        .take(TASKS_NAMED_MAX)
        .map(|it| format!("  ambit task end {}", it.id))
        .collect();
    Some(format!(
        "ambit: warning: the estate in force stays in force: a task without containment is live, whose process could have \
         changed {directory}; end what runs so, then stop and start `ambit dev` again:\n{}",
        named.join("\n"),
        directory = directory.display(),
    ))
}

fn this_user() -> PeerCredentials {
    PeerCredentials {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        pid: None,
    }
}

/// Applies the estate as the person whose user runs this process, unless it is in force already.
async fn put_in_force(running: &Running, checked: Checked, when: When) -> Result<(), ServeError> {
    if let Ok(book) = running.handle.book() {
        let old = book.estate();
        if old.digest == checked.digest() || when == When::NoneYet {
            return Ok(());
        }
        // Said before it is done: somebody else may have changed the directory.
        let plan = ambit_control::plan::plan(Some(old), checked.estate());
        complain(
            "ambit: the estate's directory differs from the estate in force; this changes (+ widens):",
        );
        complain(plan.to_string().trim_end());
    }
    let caller = identify_person(this_user(), &checked.estate().people)?;
    let (book, archive) = checked.into_parts();
    running
        .handle
        .apply(&caller, book, archive, (running.moments)())
        .await?;
    Ok(())
}

/// Warns of the servers of the estate in force whose credentials are not sealed. What can't be read shows itself elsewhere.
fn warn_of_unsealed(running: &Running) {
    let Ok(book) = running.handle.book() else {
        return;
    };
    let missing = unsealed(running.archive.as_ref(), book.estate()).unwrap_or_default();
    for it in missing {
        complain(&format!("ambit: warning: {it}"));
    }
}

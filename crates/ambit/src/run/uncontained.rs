//! A command on the host's own network. A convenience, not a boundary.

use std::{ffi::OsString, path::Path};

use ambit_gateway::hand_nothing_over;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{
    RunError,
    handover::Report,
    inner::{Written, exit_code, write_config},
    surroundings::Surroundings,
};

/// A command that runs beside everything else.
#[derive(Debug)]
pub(crate) struct Uncontained {
    child: Child,
    /// Removed when dropped.
    _written: Option<Written>,
}

impl Uncontained {
    /// Starts the command.
    pub(crate) fn start(
        command: &[OsString],
        directory: &Path,
        surroundings: &Surroundings,
        mcp_config: Option<&Path>,
    ) -> Result<Self, RunError> {
        let (program, arguments) = command.split_first().ok_or(RunError::NoCommand)?;
        let text = surroundings.mcp_config();
        let written = mcp_config
            .map(|path| write_config(path, &text))
            .transpose()?;
        let mut started = Command::new(program);
        started
            .args(arguments)
            .current_dir(directory)
            .envs(surroundings.variables())
            .kill_on_drop(true);
        let child = hand_nothing_over(started.as_std_mut())
            .and_then(|()| started.spawn())
            .map_err(RunError::local(format!("start `{}`", program.display())))?;
        Ok(Self {
            child,
            _written: written,
        })
    }

    /// Passes a signal on to the command.
    pub(crate) fn signal(&self, number: u8) {
        let process = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(i32::from(number)))
        {
            // The command may have ended meanwhile.
            let _ = kill_process(process, signal);
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> Result<Report, RunError> {
        let status = self
            .child
            .wait()
            .await
            .map_err(RunError::local("wait for the command"))?;
        Ok(Report::Ended(exit_code(status)))
    }
}

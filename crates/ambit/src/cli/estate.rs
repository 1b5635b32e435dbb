//! x
use super::Session;
use crate::problem::Problem;
use std::path::PathBuf;
/// Options of commands on an estate directory.
#[derive(clap::Args, Debug)]
pub(crate) struct EstateArguments {
    /// The estate directory
    dir: PathBuf,
}
/// What to do with servers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// Asks a running server for its tools
    Inspect {
        /// Which
        name: String,
    },
}
pub(crate) fn check(_: &Session, _: &EstateArguments) -> Result<(), Problem> {
    Ok(())
}
pub(crate) async fn plan(_: &Session, _: &EstateArguments) -> Result<(), Problem> {
    Ok(())
}
pub(crate) async fn apply(_: &Session, _: &EstateArguments) -> Result<(), Problem> {
    Ok(())
}
pub(crate) async fn server(_: &Session, _: &ServerCommand) -> Result<(), Problem> {
    Ok(())
}

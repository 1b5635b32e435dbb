//! serve
use crate::{cli::Session, problem::Problem};
/// x
#[derive(clap::Args, Debug)]
pub(crate) struct DevArguments {}
/// x
#[derive(clap::Args, Debug)]
pub(crate) struct ServeArguments {}
/// x
#[derive(clap::Args, Debug)]
pub(crate) struct RecoverArguments {}
pub(crate) async fn dev(_: &Session, _: &DevArguments) -> Result<(), Problem> {
    Ok(())
}
pub(crate) async fn serve(_: &Session, _: &ServeArguments) -> Result<(), Problem> {
    Ok(())
}
pub(crate) async fn recover(_: &Session, _: &RecoverArguments) -> Result<(), Problem> {
    Ok(())
}

//! demo
use crate::{cli::Session, problem::Problem};
/// x
#[derive(clap::Args, Debug)]
pub(crate) struct DemoArguments {}
/// x
#[derive(clap::Args, Debug)]
pub(crate) struct AgentArguments {}
pub(crate) async fn demo(_: &Session, _: &DemoArguments) -> Result<u8, Problem> {
    Ok(1)
}
pub(crate) async fn agent(_: &AgentArguments) -> Result<u8, Problem> {
    Ok(1)
}

//! `ambit demo`: all of Ambit in seconds, with real parts: a server, two upstreams, a contained agent.

mod agent;
mod estate;
mod story;
mod upstream;

use std::sync::Arc;

pub(crate) use self::agent::{AgentArguments, agent};
use self::{
    story::Story,
    upstream::{Which, World},
};
use crate::{
    cli::Session,
    clock::Stopwatch,
    config::{DoorsConfig, OutboundConfig, Ports, StateDirectory},
    problem::Problem,
    serve::{Plan, Server, When, engine::lines},
};

/// Options of `ambit demo`.
#[derive(clap::Args, Debug)]
pub(crate) struct DemoArguments {}

/// Runs the demo.
pub(crate) async fn demo(session: &Session, _: &DemoArguments) -> Result<u8, Problem> {
    crate::run::harden();
    let watch = Stopwatch::start();
    let directory = tempfile::Builder::new()
        .prefix("ambit-demo-")
        .tempdir()
        .map_err(|error| Problem::io("make a directory for the demo", error))?;
    let world = Arc::new(World::default());
    let listening = |error| Problem::io("start the demo's MCP servers", error);
    let tickets = upstream::start(Which::Tickets, Arc::clone(&world))
        .await
        .map_err(listening)?;
    let mail = upstream::start(Which::Mail, Arc::clone(&world))
        .await
        .map_err(listening)?;
    let uid = rustix::process::getuid().as_raw();
    let checked = estate::checked(uid, tickets, mail)
        .map_err(|problems| Problem::CheckFailed(lines(&problems)))?;
    let state = StateDirectory::at(directory.path().join("state"));
    let plan = Plan {
        mark: state.mark(),
        state: state.clone(),
        trust_domain: None,
        doors: DoorsConfig::at(Ports::default()),
        // It is over before anybody could follow a link.
        public: None,
        sign_in: None,
        identity: None,
        outbound: OutboundConfig::default(),
        estate: Some((checked, When::Changed)),
        // The demo's estate is in no files.
        places: Vec::new(),
        // The demo's servers are HTTP servers; nothing is started by the estate.
        estate_directory: directory.path().to_owned(),
        search_path: session.environment.path.clone(),
    };
    let server = Server::start(plan, &session.clock).await?;
    let story = Story::new(session, &state, server.control(), tickets, world);
    let told = story.tell(directory.path()).await;
    server.stop().await;
    told?;
    story.verify(watch)?;
    Ok(0)
}

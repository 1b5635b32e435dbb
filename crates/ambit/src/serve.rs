//! `ambit dev` and `ambit serve`: the engine, its doors, and their end.

mod body;
mod descriptors;
mod doors;
pub(crate) mod engine;
mod estate;
mod federate;
mod fetch;
pub(crate) mod keys;
mod listen;
mod public;
mod recover;
mod rotate;
mod server;
mod telemetry;
mod workload;

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use ambit_control::{
    check::{Checked, check, check_files},
    estate::EstateFiles,
};
use ambit_core::{estate::PersonRole, json::Value};
use ambit_gateway::CALL_SPANS;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub(crate) use self::doors::upstream_tls;
pub(crate) use self::recover::{RecoverArguments, recover};
use self::{engine::lines, fetch::Fetcher, telemetry::Telemetry};
pub(crate) use self::{
    estate::When,
    server::{Plan, ServeError, Server},
};
use crate::{
    cli::Session,
    config::{
        DoorsConfig, OutboundConfig, Ports, PublicConfig, PublicUrl, ServeConfig, StateDirectory,
        TelemetryConfig, variable,
    },
    output::{Tone, complain},
    problem::Problem,
    run::harden,
};

/// Options of `ambit dev`.
#[derive(clap::Args, Debug)]
pub(crate) struct DevArguments {
    /// The estate directory
    dir: PathBuf,
}

/// Options of `ambit serve`.
#[derive(clap::Args, Debug)]
pub(crate) struct ServeArguments {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/ambit/ambit.toml",
        env = "AMBIT_CONFIG",
        hide_env_values = true
    )]
    config: PathBuf,
}

/// Serves an estate directory to this user.
pub(crate) async fn dev(session: &Session, arguments: &DevArguments) -> Result<(), Problem> {
    harden();
    let dir = arguments.dir.canonicalize().map_err(|error| {
        Problem::io(
            format!(
                "find the estate directory {}; name one that is there, or make it with `mkdir`",
                arguments.dir.display()
            ),
            error,
        )
    })?;
    begin_estate(&dir)?;
    let state = session.state()?;
    let (checked, alias) = checked_for_this_user(&dir)?;
    let ports = Ports::of_last(&state);
    let plan = Plan {
        mark: state.mark(),
        state: state.clone(),
        trust_domain: None,
        doors: DoorsConfig::at(ports),
        public: Some(PublicConfig::of_this_user(ports.public)),
        sign_in: None,
        identity: None,
        outbound: OutboundConfig::default(),
        estate: Some((checked, When::Changed)),
        places: vec![dir.clone()],
        estate_directory: dir,
        search_path: session.environment.path.clone(),
    };
    until_told(session, plan, None, |server| {
        let (gateway, health) = (server.gateway().port(), server.health().port());
        let public = server.public().and_then(PublicUrl::port);
        let ports = Ports {
            gateway,
            health,
            public: public.unwrap_or_default(),
        };
        if let Err(error) = ports.keep(&state) {
            complain(&format!(
                "ambit: warning: the next start will have other ports: {error}"
            ));
        }
        Whom::OneUser(alias)
    })
    .await
}

/// The estate that `ambit dev` begins with in an empty directory.
const FIRST_ESTATE: &str = "\
# The estate: what exists and what may be. Whoever runs `ambit dev` has every role, unless people are named here:
#
# [people.ada]
# unix_uid = 1000
# roles = [\"starter\", \"approver\", \"administrator\"]
#
# Agents are in agents/NAME.toml, servers in servers/NAME.toml, what a task may do in templates/NAME.toml.
";

/// Writes the first file of an estate into a directory that is empty.
fn begin_estate(dir: &Path) -> Result<(), Problem> {
    let failed = |error| Problem::io(format!("begin an estate in {}", dir.display()), error);
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Ok(());
    }
    let path = dir.join("estate.toml");
    fs::write(&path, FIRST_ESTATE).map_err(failed)?;
    complain(&format!(
        "ambit: wrote {}, an estate in which nothing is yet",
        path.display()
    ));
    Ok(())
}

/// Serves as the configuration says.
pub(crate) async fn serve(session: &Session, arguments: &ServeArguments) -> Result<(), Problem> {
    harden();
    let config = ServeConfig::read(&arguments.config)?;
    let telemetry = config
        .telemetry
        .as_ref()
        .map(|it| telemetry_of(it, &config.outbound));
    let telemetry = telemetry.transpose()?;
    let root = session
        .environment
        .state_directory(session.state.clone().or(config.state))?;
    let state = StateDirectory::at(root);
    let public = config.public.as_ref();
    let places = [
        Some(&arguments.config),
        config.estate.as_ref(),
        public.and_then(|it| it.certificate.as_ref()),
        public.and_then(|it| it.key.as_ref()),
        config.outbound.roots.as_ref(),
        config.doors.gateway_certificate.as_ref(),
        config.doors.gateway_key.as_ref(),
    ];
    let places = places.into_iter().flatten().map(|path| {
        path.canonicalize().map_err(|error| {
            Problem::io(
                format!("find {}; see what ambit.toml says of it", path.display()),
                error,
            )
        })
    });
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let estate_directory = config
        .estate
        .clone()
        .unwrap_or_else(|| state.root().to_owned());
    let read = |dir: &PathBuf| check(dir).map_err(|it| Problem::CheckFailed(lines(&it)));
    let estate = config.estate.as_ref().map(read).transpose()?;
    let plan = Plan {
        mark: config.mark.unwrap_or_else(|| state.mark()),
        state: state.clone(),
        trust_domain: Some(config.trust_domain),
        doors: config.doors,
        public: config.public,
        sign_in: config.sign_in,
        identity: config.identity,
        outbound: config.outbound,
        estate: estate.map(|checked| (checked, When::NoneYet)),
        places,
        estate_directory,
        search_path: session.environment.path.clone(),
    };
    until_told(session, plan, telemetry, |_| {
        if let Err(error) = Ports::forget(&state) {
            complain(&format!(
                "ambit: warning: `ambit plan` and `apply` may take this for a server of `ambit dev`: {error}"
            ));
        }
        Whom::Many
    })
    .await
}

/// Reads the estate, and says by which alias it knows whoever runs this. When it names nobody, that is all the people, and
/// has every role.
pub(crate) fn checked_for_this_user(dir: &Path) -> Result<(Checked, String), Problem> {
    let failed = |problems: Vec<_>| Problem::CheckFailed(lines(&problems));
    let files = EstateFiles::collect(dir).map_err(failed)?;
    let checked = check_files(&files).map_err(failed)?;
    let uid = rustix::process::getuid().as_raw();
    let mut people = checked.estate().people.iter();
    let alias = people.find(|(_, person)| person.unix_uid == Some(uid));
    if let Some(alias) = alias.map(|(alias, _)| alias.to_string()) {
        return Ok((checked, alias));
    }
    let alias = format!("dev-{uid}");
    let files = files.with_person(&alias, uid, &PersonRole::ALL);
    Ok((check_files(&files).map_err(failed)?, alias))
}

/// Returns what sends spans to the collector that the configuration names.
fn telemetry_of(config: &TelemetryConfig, outbound: &OutboundConfig) -> Result<Telemetry, Problem> {
    let roots = outbound.read_roots().map_err(ServeError::Roots)?;
    let fetcher = Fetcher::new(upstream_tls(roots), outbound);
    Ok(Telemetry::new(config, fetcher))
}

async fn until_told(
    session: &Session,
    plan: Plan,
    telemetry: Option<Telemetry>,
    started: impl FnOnce(&Server) -> Whom,
) -> Result<(), Problem> {
    log_to_standard_error(telemetry.as_ref())?;
    let catch = |kind| signal(kind).map_err(|error| Problem::io("catch signals", error));
    let mut terminate = catch(SignalKind::terminate())?;
    let mut interrupt = catch(SignalKind::interrupt())?;
    let server = Server::start(plan, &session.clock).await?;
    let whom = started(&server);
    let (answer, text) = doors_of(session, &server, &whom);
    session.output.thing(&answer, &text)?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    server.stop().await;
    if let Some(telemetry) = telemetry {
        telemetry.stop().await;
    }
    Ok(())
}

/// For whom a server is.
enum Whom {
    /// Whoever its configuration lets in.
    Many,
    /// The local user who runs it, by the estate's alias.
    OneUser(String),
}

/// Says where a server's doors are: for programs and for people.
fn doors_of(session: &Session, server: &Server, whom: &Whom) -> (Value, String) {
    let (gateway, health) = (server.gateway(), server.health());
    let (control, workload) = (server.control().display(), server.workload().display());
    let mut members = vec![
        ("gateway", Value::from(gateway.to_string())),
        ("health", health.to_string().into()),
        ("control", control.to_string().into()),
        ("workload", workload.to_string().into()),
    ];
    let urls = [
        ("gateway_url", server.gateway_url()),
        ("public", server.public()),
    ];
    let urls = urls
        .into_iter()
        .filter_map(|(name, url)| Some((name, url?.as_str().into())));
    members.extend(urls);
    let bundle = server
        .bundle()
        .map(|it| format!("https://{it}/spiffe/bundle"));
    members.extend(bundle.as_deref().map(|it| ("bundle", it.into())));
    let good = session.output.paint(Tone::Good, "Ambit serves.");
    let mut text = format!(
        "{good}\n  agents   https://{gateway}  (mutual TLS; `ambit run` speaks it for you)\n  people   {control}\n  workload \
         unix://{workload}  (SPIFFE_ENDPOINT_SOCKET)\n  health   http://{health}/healthz"
    );
    let public = server.public().map(PublicUrl::as_str);
    if let (Some(gateway), Some(_)) = (server.gateway_url(), public) {
        text.push_str(&format!(
            "\n  clients  {}/mcp  (MCP, by your consent in a browser; they trust `ambit authority roots`)",
            gateway.as_str()
        ));
    }
    match (public, whom) {
        (Some(public), Whom::OneUser(alias)) => text.push_str(&format!(
            "\n  browser  {public}/account  (you alone; your first passkey: `ambit people enroll {alias}`)"
        )),
        (Some(public), Whom::Many) => text.push_str(&format!(
            "\n  anybody  {public}  (sign-in, links in refusals, the log's checkpoint)"
        )),
        (None, _) => {}
    }
    if let Some(bundle) = bundle {
        text.push_str(&format!(
            "\n  bundle   {bundle}  (other trust domains, by our SPIFFE ID)"
        ));
    }
    (Value::object(members), text)
}

/// Logs for operators; the filter is `AMBIT_LOG`, such as `info` or `ambit=debug`.
///
/// # Errors
/// The filter can't be read: whoever set it should not look for lines that never come.
fn log_to_standard_error(telemetry: Option<&Telemetry>) -> Result<(), Problem> {
    let filter = match variable("AMBIT_LOG") {
        None => EnvFilter::new("warn"),
        Some(text) => log_filter(&text.to_string_lossy())?,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter);
    let spans = telemetry.map(|it| {
        tracing_opentelemetry::layer()
            .with_tracer(it.tracer())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(CALL_SPANS, LevelFilter::INFO))
    });
    // A logger that is there already is as good.
    let _ = tracing_subscriber::registry()
        .with(spans)
        .with(lines)
        .try_init();
    Ok(())
}

fn log_filter(text: &str) -> Result<EnvFilter, Problem> {
    EnvFilter::try_new(text).map_err(|error| {
        Problem::Usage(format!(
            "AMBIT_LOG=`{text}` is no filter ({error}); write a level or levels by crate, such as `info` or \
             `warn,ambit_gateway=debug`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_the_log_is_right_or_an_error() {
        let check =
            |text: &str, wanted: bool| assert_eq!(log_filter(text).is_ok(), wanted, "{text}");
        check("info", true);
        check("warn,ambit_gateway=debug", true);
        check("ambit=loud", false);
        check("ambit==debug", false);
    }
}

//! A whole server in this process: opened, served, stopped.

use std::{
    ffi::OsString,
    future::pending,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ambit_control::{
    api::{bundle_router, operations_router, people_router, public_router},
    check::Checked,
    estate::EstateFiles,
    workload::Connection,
};
use ambit_engine::{Handle, Refusal};
use ambit_gateway::Gateway;
use ambit_identity::IdentityError;
use nix::unistd::{Gid, Group};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    begin::{When, begin},
    descriptors::{Seating, TooFewFiles},
    doors::{self, Here, Outbound, OuterFace},
    engine::{self, EngineStartError, Running, tick},
    federate::federate,
    listen::{ControlSocket, health},
    public::{BundlePort, FaceError, PublicPort},
    recover,
    rotate::rotate,
    workload::{Place, WorkloadSocket, unreached},
};
use crate::{
    clock::Clock,
    config::{
        ConfigError, DoorsConfig, IdentityConfig, OutboundConfig, PublicConfig, PublicUrl,
        SignInConfig, StateDirectory,
        places::{self, Places},
    },
    output::complain,
};

/// How long acts under way may take to end, and the sequencer to close the store.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Its state.
    pub(crate) state: StateDirectory,
    /// Its rollback mark.
    pub(crate) mark: PathBuf,
    /// Its trust domain, when the configuration names one.
    pub(crate) trust_domain: Option<String>,
    /// Where it listens.
    pub(crate) doors: DoorsConfig,
    /// The port for anybody, when there is one.
    pub(crate) public: Option<PublicConfig>,
    /// Where people sign in there.
    pub(crate) sign_in: Option<SignInConfig>,
    /// Where it takes an identity of its own from.
    pub(crate) identity: Option<IdentityConfig>,
    /// How far it reaches itself.
    pub(crate) outbound: OutboundConfig,
    /// The estate to put in force.
    pub(crate) estate: Option<(Checked, When)>,
    /// What the authority comes from, besides the state: no command may change it.
    pub(crate) places: Vec<PathBuf>,
    /// Where relative paths of stdio servers begin.
    pub(crate) estate_directory: PathBuf,
    /// Where programs are looked for.
    pub(crate) search_path: Option<OsString>,
}

/// A server that serves. Dropped, it stops at once.
#[derive(Debug)]
pub(crate) struct Server {
    gateway: SocketAddr,
    gateway_url: Option<PublicUrl>,
    health: SocketAddr,
    control: PathBuf,
    workload: PathBuf,
    public: Option<PublicUrl>,
    bundle: Option<SocketAddr>,
    tasks: JoinSet<()>,
    handle: Handle,
    ended: oneshot::Receiver<()>,
}

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The state directory can't be used.
    #[error(transparent)]
    State(#[from] ConfigError),
    /// Too few files may be open.
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    /// A recovery was interrupted.
    #[error("a recovery of this state was begun and not finished; run `ambit recover` again")]
    Recovering,
    /// The engine does not run.
    #[error(transparent)]
    Engine(#[from] EngineStartError),
    /// A door can't be opened.
    #[error("could not listen at {place}; is another server running there?")]
    Listen {
        /// Where.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no such group.
    #[error(
        "doors.control_group is {0}, and this machine has no group of that number; make it with `groupadd --gid {0} NAME`, \
         or write the number of one that is there"
    )]
    Group(u32),
    /// Runners can't be told what to keep from their commands.
    #[error("could not write {}", path.display())]
    Places {
        /// The list.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The estate does not name who runs the server.
    #[error("the estate can't be put in force by this user")]
    Person(#[from] IdentityError),
    /// The estate was refused.
    #[error("the estate was not put in force")]
    Estate(#[from] Refusal),
    /// The public port can't be named.
    #[error("{0}")]
    PublicUrl(String),
    /// What is trusted besides this machine's certificates can't be read.
    #[error("{0}")]
    Roots(String),
    /// The public port has nothing to show.
    #[error("the public port has no certificate to show")]
    PublicFace(#[from] FaceError),
    /// The gateway's certificate from files can't be used.
    #[error("the gateway has no certificate to show")]
    GatewayFace(#[source] FaceError),
    /// The key for the provider can't be used.
    #[error("{0}")]
    ClientKey(String),
    /// The gateway has no identity.
    #[error("the gateway could not get its SVID")]
    Svid(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The local sockets, bound but not yet served.
struct Sockets {
    control: PathBuf,
    people: ControlSocket,
    workload: PathBuf,
    workloads: WorkloadSocket,
    /// What the authority comes from, with the sockets that lead to it.
    places: Places,
}

impl Sockets {
    fn bind(
        state: &StateDirectory,
        doors: &DoorsConfig,
        (mark, rules): (&Path, Vec<PathBuf>),
    ) -> Result<Self, ServeError> {
        let control = doors.control.clone();
        let control = control.unwrap_or_else(|| state.control_socket());
        let group = doors.control_group;
        group.map_or(Ok(()), known_group)?;
        let places = Places {
            of_ambit: own_places(state, mark, &control, doors.workload.as_ref()),
            of_authority: rules,
        };
        places::write(&control, group, &places).map_err(|source| ServeError::Places {
            path: places::beside(&control),
            source,
        })?;
        let people = ControlSocket::bind(&control, group).map_err(unbound(&control))?;
        let workload = doors.workload.clone();
        let workload = workload.unwrap_or_else(|| state.workload_socket());
        // Clients name it by a URI, which knows no working directory.
        let workload = std::path::absolute(&workload).map_err(unbound(&workload))?;
        let workloads = WorkloadSocket::bind(&workload).map_err(unbound(&workload))?;
        Ok(Self {
            control,
            people,
            workload,
            workloads,
            places,
        })
    }
}

/// The ports that not every server has, bound but not yet served.
struct Ports<'a> {
    public: Option<(PublicPort, &'a PublicConfig)>,
    bundle: Option<BundlePort>,
    second: Option<TcpListener>,
}

impl<'a> Ports<'a> {
    async fn bind(
        (public, bundle, second): (
            Option<&'a PublicConfig>,
            Option<SocketAddr>,
            Option<&IdentityConfig>,
        ),
        running: &Running,
        clock: &Clock,
    ) -> Result<Self, ServeError> {
        let public = match public {
            Some(config) => Some((PublicPort::bind(config, running, clock).await?, config)),
            None => None,
        };
        let bundle = match bundle {
            Some(address) => Some(BundlePort::bind(address, running, clock).await?),
            None => None,
        };
        let second = match second {
            Some(config) => Some(listen(config.listen).await?),
            None => None,
        };
        Ok(Self {
            public,
            bundle,
            second,
        })
    }
}

impl Ports<'_> {
    fn bundle_address(&self) -> Result<Option<SocketAddr>, ServeError> {
        self.bundle.as_ref().map(BundlePort::address).transpose()
    }
}

impl Server {
    /// Opens the engine and the doors.
    pub(crate) async fn start(plan: Plan, clock: &Clock) -> Result<Self, ServeError> {
        let seating = seats(&plan.doors)?;
        plan.state.prepare()?;
        if recover::is_under_way(&plan.state) {
            return Err(ServeError::Recovering);
        }
        let domain = plan.trust_domain.as_deref();
        let (running, ended) = engine::open(&plan.state, &plan.mark, domain, clock, None)?;
        begin(&running, plan.estate, &plan.estate_directory).await?;
        let gateway = listen(plan.doors.gateway).await?;
        let health_door = listen(plan.doors.health).await?;
        let places = (plan.mark.as_path(), plan.places);
        let sockets = Sockets::bind(&plan.state, &plan.doors, places)?;
        let addresses = (local(&gateway)?, local(&health_door)?);
        let path = plan.search_path.as_ref();
        let protected = protected(&sockets.places);
        let sandbox = doors::sandbox(&plan.doors, path, plan.estate_directory, protected).await;
        let sandbox = (sandbox, plan.doors.stdio_processes_max, seating.gateway);
        let wanted = (
            plan.public.as_ref(),
            plan.doors.bundle,
            plan.identity.as_ref(),
        );
        let ports = Ports::bind(wanted, &running, clock).await?;
        let sign_in = plan.sign_in.as_ref();
        let public = ports.public.as_ref();
        let public = public.map(|(port, config)| (port.url(), *config, sign_in));
        let url = plan
            .doors
            .gateway_url_at(addresses.0)
            .map_err(ServeError::PublicUrl)?;
        let at = Here {
            address: addresses.0,
            url: url.as_ref(),
            doors: &plan.doors,
            second: plan.identity.as_ref(),
        };
        let outbound = Outbound::new(&plan.outbound).map_err(ServeError::Roots)?;
        let place = (&plan.state, clock);
        let doors = doors::join(&running, sandbox, at, place, (public, outbound))?;
        let public = public.map(|(url, ..)| url.clone());
        let bundle = ports.bundle_address()?;
        let mut tasks = JoinSet::new();
        let open = (ports.bundle, ports.public.map(|(port, _)| port));
        serve_ports(&mut tasks, open, (&doors.people, seating.public));
        warn_of_unreached(&mut tasks, &running.handle, &sockets.workload);
        let handle = keep_going(&mut tasks, running, &doors.people);
        let workloads = sockets.workloads.connections(seating.workload);
        tasks.spawn(serve_workloads(doors.people.clone(), workloads));
        tasks.spawn(health(health_door, operations_router(&doors.people)));
        tasks.spawn(sockets.people.serve(people_router(&doors.people)));
        let agents = doors.gateway;
        if let (Some(listener), Some(outer)) = (ports.second, doors.outer) {
            serve_outer(&mut tasks, listener, (agents.clone(), outer));
        }
        tasks.spawn(async move { agents.serve_tls(gateway, doors.face, pending()).await });
        Ok(Self {
            gateway: addresses.0,
            gateway_url: url,
            health: addresses.1,
            control: sockets.control,
            workload: sockets.workload,
            public,
            bundle,
            tasks,
            handle,
            ended,
        })
    }

    /// Returns where agents connect.
    pub(crate) const fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Returns how those with access tokens name the gateway, where it takes any.
    pub(crate) const fn gateway_url(&self) -> Option<&PublicUrl> {
        self.gateway_url.as_ref()
    }

    /// Returns where health and metrics are.
    pub(crate) const fn health(&self) -> SocketAddr {
        self.health
    }

    /// Returns where people connect.
    pub(crate) fn control(&self) -> &Path {
        &self.control
    }

    /// Returns where workloads connect.
    pub(crate) fn workload(&self) -> &Path {
        &self.workload
    }

    /// Returns how anybody names the public port, when there is one.
    pub(crate) const fn public(&self) -> Option<&PublicUrl> {
        self.public.as_ref()
    }

    /// Returns where the bundle is served by SPIFFE ID, when it is.
    pub(crate) const fn bundle(&self) -> Option<SocketAddr> {
        self.bundle
    }

    /// Closes the doors and the store.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
        // Connections that are open, and what goes on within them, hold the engine: it ends without waiting for them.
        if timeout(STOP_TIMEOUT, self.handle.land()).await.is_err() {
            tracing::warn!("acts were still under way; the next start writes them down as unknown");
        }
        self.handle.finish();
        // Every record is durable already: a late end costs nothing but the wait.
        let _ = timeout(STOP_TIMEOUT, self.ended).await;
    }
}

/// Lets this process have as many open files as it may, and warns when they are too few for all seats of its doors.
fn seats(doors: &DoorsConfig) -> Result<Seating, TooFewFiles> {
    let seating = Seating::of_this_process(doors.stdio_processes_max)?;
    if let Some(warning) = seating.warning() {
        complain(&format!("ambit: warning: {warning}"));
    }
    Ok(seating)
}

/// Refuses a group that this machine does not know: its number may be given to anybody later.
fn known_group(number: u32) -> Result<(), ServeError> {
    let group = Group::from_gid(Gid::from_raw(number));
    match group {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err(ServeError::Group(number)),
    }
}

/// Warns of the processes that the estate in force registers and that can't reach the socket for them: now, and whenever
/// another version is in force.
fn warn_of_unreached(tasks: &mut JoinSet<()>, handle: &Handle, socket: &Path) {
    // None when the engine has stopped already.
    let Ok(mut estates) = handle.estates() else {
        return;
    };
    let (handle, socket) = (handle.clone(), socket.to_owned());
    let warn = move || {
        let Ok(book) = handle.book() else {
            return;
        };
        for it in unreached(book.estate(), &socket) {
            complain(&format!("ambit: warning: {it}"));
        }
    };
    warn();
    tasks.spawn(async move {
        while estates.changed().await.is_ok() {
            warn();
        }
    });
}

/// Returns what is the server's own. Who reached the workload socket from inside a container would be taken for the
/// agent that it is.
fn own_places(
    state: &StateDirectory,
    mark: &Path,
    control: &Path,
    workload: Option<&PathBuf>,
) -> Vec<PathBuf> {
    let mut all = vec![
        state.root().to_owned(),
        mark.to_owned(),
        control.to_owned(),
        places::beside(control),
    ];
    all.extend(workload.cloned());
    all
}

/// Returns what no stdio server may mount: whoever reads or writes it could be anybody.
fn protected(places: &Places) -> Vec<PathBuf> {
    let mut all = places.of_ambit.clone();
    for place in &places.of_authority {
        if place.is_dir() {
            // Its other folders may be mounted into servers.
            all.extend(EstateFiles::places().map(|name| place.join(name)));
        } else {
            all.push(place.clone());
        }
    }
    all
}

pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            place: address.to_string(),
            source,
        })
}

pub(super) fn local(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|source| ServeError::Listen {
        place: "its own address".to_owned(),
        source,
    })
}

/// Says of a socket that can't be bound which one it is.
fn unbound(place: &Path) -> impl FnOnce(std::io::Error) -> ServeError {
    let place = place.display().to_string();
    |source| ServeError::Listen { place, source }
}

/// Spawns what goes on by itself, and returns the engine, to be ended.
fn keep_going(
    tasks: &mut JoinSet<()>,
    running: Running,
    doors: &ambit_control::api::Doors,
) -> Handle {
    let handle = running.handle.clone();
    tasks.spawn(tick(running));
    tasks.spawn(rotate(doors.clone()));
    // None when the engine has stopped already.
    if let Ok(estates) = handle.estates() {
        tasks.spawn(federate(doors.clone(), estates));
    }
    handle
}

/// Serves the ports that not every server has.
fn serve_ports(
    tasks: &mut JoinSet<()>,
    (bundle, public): (Option<BundlePort>, Option<PublicPort>),
    (doors, seats): (&ambit_control::api::Doors, usize),
) {
    if let Some(port) = bundle {
        tasks.spawn(port.serve(bundle_router(doors), seats));
    }
    if let Some(port) = public {
        tasks.spawn(port.serve(public_router(doors), seats));
    }
}

/// Serves the gateway at its second address.
fn serve_outer(
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
    (agents, outer): (Gateway, OuterFace),
) {
    let faces = Arc::clone(&outer.faces);
    tasks.spawn(outer.follow());
    tasks.spawn(async move { agents.serve_tls(listener, faces, pending()).await });
}

async fn serve_workloads(
    doors: ambit_control::api::Doors,
    workloads: ReceiverStream<io::Result<Connection<Place>>>,
) {
    ambit_control::workload::serve(&doors, workloads).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_must_be_there() {
        known_group(0).unwrap();
        let unknown = known_group(4_294_000_001).unwrap_err();
        assert!(
            matches!(unknown, ServeError::Group(4_294_000_001)),
            "{unknown}"
        );
    }
}

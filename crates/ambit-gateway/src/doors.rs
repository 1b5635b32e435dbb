//! What all doors of one gateway share, and the conversations with upstreams that its tasks have.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ambit_core::{
    InstanceId, Reason, ServerName, TaskId, Timestamp, ToolName,
    estate::{Server, Tool},
    json::Value,
};
use ambit_engine::{Clock, Handle, Moment, Offers};
use ambit_identity::InstanceCaller;
use tokio::{sync::watch, time::timeout};

use crate::{
    Stopwatch,
    last_shown::LastShown,
    limits::{READY_PATIENCE, STREAMS_PER_TASK_MAX, TOOLS_SHOWN_MAX, UPSTREAM_START_TIMEOUT},
    mcp::refusal::Links,
    upstream::{Check, Means, Upstream, UpstreamError},
};

/// The action in the record of a request whose method is not known.
pub(crate) const MALFORMED: &str = "malformed";
/// The action in the record of a request whose access token is worth too little for any act.
pub(crate) const SHOW_TOKEN: &str = "show_token";

/// What all doors share.
pub(crate) struct Doors {
    /// Decides and records.
    pub handle: Handle,
    /// Tells the time and gives chance.
    pub clock: Clock,
    /// What upstreams need.
    pub means: Arc<Means>,
    /// Where people read about refusals.
    pub links: Links,
    /// Measures how long things take.
    pub stopwatch: Option<Stopwatch>,
    tables: Mutex<HashMap<InstanceId, Table>>,
    /// Counts what may change listings, so that streams look again.
    pub shown: watch::Sender<u64>,
    /// What agents saw last.
    pub last_shown: LastShown,
}

/// What one instance has open.
struct Table {
    links: BTreeMap<ServerName, Link>,
    streams: usize,
}

/// A conversation that is being opened, stands, or failed.
type Link = watch::Receiver<Stage>;

#[derive(Clone, Debug)]
enum Stage {
    Opening,
    Ready(Arc<Upstream>),
    Failed(Arc<UpstreamError>),
}

/// One of the streams of changes that an instance may keep open.
pub(crate) struct StreamSeat {
    doors: Arc<Doors>,
    instance: InstanceId,
}

impl Doors {
    /// Returns doors without any conversation.
    pub(crate) fn new(
        (handle, clock): (Handle, Clock),
        stopwatch: Option<Stopwatch>,
        means: Means,
        links: Links,
    ) -> Self {
        Self {
            stopwatch,
            handle,
            clock,
            means: Arc::new(means),
            links,
            tables: Mutex::default(),
            shown: watch::Sender::new(0),
            last_shown: LastShown::default(),
        }
    }

    /// Returns the instant.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)().now
    }

    /// Returns the moment.
    pub(crate) fn moment(&self) -> Moment {
        (self.clock)()
    }

    /// Records a refusal of what never becomes an act. When that can't be written the refusal stands all the same.
    pub(crate) async fn note(&self, caller: &InstanceCaller, action: &str, reason: Reason) {
        let moment = (self.clock)();
        if let Err(error) = self.handle.refuse(caller, action, reason, moment).await {
            tracing::warn!(%error, action, "a refusal could not be recorded");
        }
    }

    /// Returns the standing conversation of `caller` with `server`, when there is one. Never waits.
    pub(crate) fn standing(
        self: &Arc<Self>,
        caller: &InstanceCaller,
        server: &ServerName,
    ) -> Option<Arc<Upstream>> {
        let upstream = {
            let tables = self.tables();
            let link = tables.get(&caller.instance())?.links.get(server)?;
            let Stage::Ready(upstream) = &*link.borrow() else {
                return None;
            };
            Arc::clone(upstream)
        };
        (!upstream.is_closed() && self.is_current(&upstream)).then_some(upstream)
    }

    /// Opens the conversation of `caller` with `server`, unless it stands or the task was not given that server, and
    /// waits a little: a hold must be answered soon, whatever the upstream does.
    pub(crate) async fn warm(
        self: &Arc<Self>,
        caller: &InstanceCaller,
        server: &ServerName,
    ) -> Option<Arc<Upstream>> {
        if let Some(upstream) = self.standing(caller, server) {
            self.keep_checked(&upstream).await;
            return Some(upstream);
        }
        let offers = self.handle.offers(caller, self.now()).ok()?;
        let link = self.link(caller, server, &offers)?;
        timeout(READY_PATIENCE, settled(link)).await.ok()?.ok()
    }

    /// Opens conversations with all that `offers` has, and waits a little.
    pub(crate) async fn warm_all(
        self: &Arc<Self>,
        caller: &InstanceCaller,
        offers: &Offers,
        only: Option<&ServerName>,
    ) {
        let wanted = offers
            .servers
            .iter()
            .filter(|it| only.is_none_or(|only| *only == it.server));
        let links: Vec<_> = wanted
            .filter_map(|it| self.link(caller, &it.server, offers))
            .collect();
        let all = async {
            for link in links {
                let _failed = settled(link).await;
            }
        };
        let _still_cold = timeout(READY_PATIENCE, all).await;
    }

    /// Waits for the conversation of `caller` with `server`.
    ///
    /// # Errors
    /// Why there is none. Nothing of the agent's was sent.
    pub(crate) async fn upstream(
        self: &Arc<Self>,
        caller: &InstanceCaller,
        server: &ServerName,
    ) -> Result<Arc<Upstream>, Arc<UpstreamError>> {
        if let Some(upstream) = self.standing(caller, server) {
            return Ok(upstream);
        }
        let not_given = || Arc::new(UpstreamError::Start("the task ended".into()));
        let offers = self
            .handle
            .offers(caller, self.now())
            .map_err(|_| not_given())?;
        let link = self.link(caller, server, &offers).ok_or_else(not_given)?;
        let waited = timeout(
            UPSTREAM_START_TIMEOUT + Duration::from_secs(1),
            settled(link),
        )
        .await;
        waited.unwrap_or_else(|_| {
            Err(Arc::new(UpstreamError::Start(
                "it did not answer in time".into(),
            )))
        })
    }

    /// Takes a seat for a stream of changes; none when the instance has [`STREAMS_PER_TASK_MAX`] already.
    pub(crate) fn seat(
        self: &Arc<Self>,
        caller: &InstanceCaller,
        task: TaskId,
    ) -> Option<StreamSeat> {
        let mut tables = self.tables();
        let table = self.table(&mut tables, caller.instance(), task);
        if table.streams >= STREAMS_PER_TASK_MAX {
            return None;
        }
        table.streams += 1;
        Some(StreamSeat {
            doors: Arc::clone(self),
            instance: caller.instance(),
        })
    }

    /// Compares the tools that `upstream` shows with their pins and reports each to the engine.
    ///
    /// # Errors
    /// The list could not be had whole, or the engine could not write: the conversation can't be trusted.
    pub(crate) async fn compare(&self, upstream: &Upstream) -> Result<(), UpstreamError> {
        let listed = upstream.list("tools/list", "tools", None).await?;
        let listed = listed.map_err(|_| UpstreamError::Malformed("it lists no tools"))?;
        if listed.len() > TOOLS_SHOWN_MAX {
            return Err(UpstreamError::TooLong);
        }
        let unreadable = |_| UpstreamError::Malformed("its tools can't be compared");
        let book = self.handle.book().map_err(unreadable)?;
        let name = &upstream.server().name;
        let server = book
            .estate()
            .servers
            .get(name)
            .ok_or(UpstreamError::Closed)?;
        let mut differing = Vec::new();
        for definition in listed {
            let name = definition
                .get("name")
                .and_then(Value::as_str)
                .and_then(|it| it.parse::<ToolName>().ok());
            let Some(name) = name.filter(|it| server.tools.contains_key(it)) else {
                continue;
            };
            let seen = Tool::pin_of(&definition);
            let pinned = server.tools.get(&name).is_some_and(|it| it.pin == seen);
            if !pinned {
                differing.push(name.clone());
            }
            // The engine writes down changes only, back to the pin too.
            if let Err(error) = self.handle.tool_seen(server.name.clone(), name, seen).await {
                tracing::warn!(%error, server = %server.name, "a changed tool could not be recorded");
                return Err(UpstreamError::Malformed("its tools can't be compared"));
            }
        }
        if upstream.set_differing(differing) {
            self.shown.send_modify(|it| *it = it.wrapping_add(1));
        }
        Ok(())
    }

    /// Compares tools with their pins when it is time. A change that the server announced is looked at before the next
    /// call is decided; otherwise the call goes on meanwhile.
    async fn keep_checked(self: &Arc<Self>, upstream: &Arc<Upstream>) {
        let check = upstream.check_wanted(self.now());
        if check == Check::Fresh {
            return;
        }
        let (doors, upstream) = (Arc::clone(self), Arc::clone(upstream));
        let comparing = tokio::spawn(async move {
            if let Err(error) = doors.compare(&upstream).await {
                tracing::warn!(%error, server = %upstream.server().name, "tools could not be compared with their pins");
                upstream.distrust();
            }
        });
        if check == Check::Announced {
            let _still_busy = timeout(READY_PATIENCE, comparing).await;
        }
    }

    /// Says whether the estate still describes the server as it did when the conversation was opened.
    fn is_current(&self, upstream: &Upstream) -> bool {
        self.handle.book().is_ok_and(|book| {
            let known = upstream.server();
            book.estate()
                .servers
                .get(&known.name)
                .is_some_and(|it| it.transport == known.transport)
        })
    }

    /// Finds or begins the conversation of `caller` with `server`; none when the task was not given that server.
    fn link(
        self: &Arc<Self>,
        caller: &InstanceCaller,
        server: &ServerName,
        offers: &Offers,
    ) -> Option<Link> {
        offers.servers.iter().find(|it| it.server == *server)?;
        let described = offers.book.estate().servers.get(server)?;
        let mut tables = self.tables();
        let table = self.table(&mut tables, caller.instance(), offers.task.id);
        let found = table
            .links
            .get(server)
            .filter(|link| match &*link.borrow() {
                Stage::Opening => true,
                Stage::Ready(upstream) => !upstream.is_closed() && self.is_current(upstream),
                Stage::Failed(_) => false,
            });
        if let Some(link) = found {
            return Some(link.clone());
        }
        let link = self.open(Arc::new(described.clone()));
        table.links.insert(server.clone(), link.clone());
        Some(link)
    }

    fn open(self: &Arc<Self>, server: Arc<Server>) -> Link {
        let (stage, link) = watch::channel(Stage::Opening);
        let doors = Arc::clone(self);
        tokio::spawn(async move {
            let name = server.name.clone();
            let opened = async {
                let upstream = Upstream::open(server, &doors.means).await?;
                upstream.check_wanted(doors.now());
                doors.compare(&upstream).await?;
                Ok(Arc::new(upstream))
            };
            let result = tokio::select! {
                result = opened => result,
                // The task ended: its table is gone and nobody waits.
                () = stage.closed() => return,
            };
            let next = match result {
                Ok(upstream) => Stage::Ready(upstream),
                Err(error) => {
                    tracing::warn!(server = %name, error = %crate::causes(&error), "no conversation with a server");
                    Stage::Failed(Arc::new(error))
                }
            };
            let _nobody_waits = stage.send(next);
        });
        link
    }

    /// Finds or lays the table of an instance; whoever lays it also clears it when the task ends.
    fn table<'a>(
        self: &Arc<Self>,
        tables: &'a mut HashMap<InstanceId, Table>,
        instance: InstanceId,
        task: TaskId,
    ) -> &'a mut Table {
        tables.entry(instance).or_insert_with(|| {
            let doors = Arc::clone(self);
            tokio::spawn(async move {
                doors.handle.task_ended(task).await;
                let table = doors.tables().remove(&instance);
                for link in table.into_iter().flat_map(|it| it.links.into_values()) {
                    let Stage::Ready(upstream) = link.borrow().clone() else {
                        continue;
                    };
                    upstream.close().await;
                }
            });
            Table {
                links: BTreeMap::new(),
                streams: 0,
            }
        })
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<InstanceId, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamSeat {
    fn drop(&mut self) {
        if let Some(table) = self.doors.tables().get_mut(&self.instance) {
            table.streams = table.streams.saturating_sub(1);
        }
    }
}

/// Waits until a conversation stands or failed.
async fn settled(mut link: Link) -> Result<Arc<Upstream>, Arc<UpstreamError>> {
    loop {
        match link.borrow_and_update().clone() {
            Stage::Ready(upstream) => return Ok(upstream),
            Stage::Failed(error) => return Err(error),
            Stage::Opening => {}
        }
        if link.changed().await.is_err() {
            return Err(Arc::new(UpstreamError::Start("the task ended".into())));
        }
    }
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

//! Looking: who may, and at what.

use std::{collections::BTreeSet, sync::Arc};

use ambit_core::{
    DecisionId, PersonId, Reason, ServerName, TaskId,
    act::{Governance, Target},
    estate::Estate,
    json::{self, Value},
    record::{Body, Sealed},
    task::TaskState,
};
use ambit_identity::{Grounds, PersonCaller};
use ambit_policy::{Standing, Touched};

use super::{Asked, TaskSummary, pseudonym, reason_key, tasks::summary};
use crate::{
    Archive, EngineError, Handle, Moment, OpenAct, Refusal,
    desk::Desk,
    moment::Chance,
    state::{ended_task, ended_tasks},
};

/// How long the salt was that stood before a person's words that were not encrypted yet.
const REASON_SALT_BYTES: usize = 32;

/// Leave to look. Made only by [`Handle::may_inspect`].
#[derive(Debug)]
pub struct Inspection(());

/// Leave to ask one server for its tools. Made only by [`Handle::may_inspect_server`], spent by the question.
#[derive(Debug)]
#[must_use]
pub struct ServerInspection(ServerName);

impl ServerInspection {
    /// Gives up the leave for the name of the server.
    pub fn spend(self) -> ServerName {
        self.0
    }
}

impl Handle {
    /// Decides whether the caller may look at tasks, approvals and the log. Only a no is written down.
    pub async fn may_inspect(
        &self,
        caller: &PersonCaller,
        moment: Moment,
    ) -> Result<Inspection, Refusal> {
        let take = |desk: &mut Desk<'_>, asked: &mut Asked| {
            asked
                .permit(desk, Governance::Inspect, Touched::NOTHING)
                .map(|_| Inspection(()))
        };
        self.govern(caller, moment, take).await
    }

    /// Decides whether the caller may ask a running server for its tools, with its credential. The answer is durable
    /// before the server is asked.
    pub async fn may_inspect_server(
        &self,
        caller: &PersonCaller,
        server: ServerName,
        moment: Moment,
    ) -> Result<ServerInspection, Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let act = Governance::InspectServer {
                server: server.clone(),
            };
            let permit = asked.permit(desk, act, Touched::NOTHING)?;
            let target = Target::Server(server.clone());
            if desk.live.state.standing(&target) == Standing::Revoked {
                let reason = Reason::ServerRevoked;
                let explanation = format!("{}: {}", reason.for_person(), reason.next_step());
                return Err(asked.refuse(desk, "inspect_server", reason, explanation)?);
            }
            desk.write(Body::ServerInspected {
                server: server.clone(),
                warrant: permit.warrant(),
            })?;
            Ok(ServerInspection(server))
        };
        self.govern(caller, moment, take).await
    }

    /// Returns the live tasks, oldest first.
    pub fn tasks(&self, _: &Inspection) -> Result<Vec<TaskSummary>, EngineError> {
        let now = (self.shared.clock)().now;
        let live = self.shared.read()?;
        let whole = |id: TaskId| live.runtime.get(&id).map(|it| it.task.as_ref());
        Ok(live
            .state
            .tasks()
            .map(|it| summary(it, whole(it.task.id), now))
            .filter(|it| it.state == TaskState::Active)
            .collect())
    }

    /// Returns the live tasks that would end as `estate` comes into force: those whose instances came by what it does not
    /// register, and what hangs on them.
    pub fn unregistered(
        &self,
        _: &Inspection,
        estate: &Estate,
    ) -> Result<BTreeSet<TaskId>, EngineError> {
        let live = self.shared.read()?;
        let gone = live.unregistered(&Grounds::of(estate));
        let hanging = gone.iter().flat_map(|it| live.state.hanging_on(*it));
        let all: BTreeSet<TaskId> = hanging.chain(gone.iter().copied()).collect();
        let active =
            |it: &TaskId| live.state.task(*it).map(|it| it.state) == Some(TaskState::Active);
        Ok(all.into_iter().filter(active).collect())
    }

    /// Returns at most `count` tasks that have ended, the newest that started before `before` first. They are read from
    /// the store, and their parameters stay sealed.
    pub fn ended_tasks(
        &self,
        _: &Inspection,
        before: Option<TaskId>,
        count: usize,
    ) -> Result<Vec<TaskSummary>, EngineError> {
        let now = (self.shared.clock)().now;
        let ended = ended_tasks(self.shared.archive.as_ref(), before, count)?;
        Ok(ended.iter().map(|it| summary(it, None, now)).collect())
    }

    /// Returns one task, live or ended. The parameters of one that ended before Ambit started are opened from beside the log.
    pub fn task(&self, _: &Inspection, id: TaskId) -> Result<Option<TaskSummary>, EngineError> {
        let now = (self.shared.clock)().now;
        {
            let live = self.shared.read()?;
            let whole = live.runtime.get(&id).map(|it| it.task.as_ref());
            if let Some(entry) = live.state.task(id) {
                return Ok(Some(summary(entry, whole, now)));
            }
        }
        let Some(entry) = ended_task(self.shared.archive.as_ref(), id)? else {
            return Ok(None);
        };
        let words = self.open((entry.leaf, id), &entry.parameters)?;
        let words = words.and_then(|it| json::parse(&it).ok());
        let mut summary = summary(&entry, None, now);
        if let Some(parameters) = words.as_ref().and_then(Value::as_object) {
            summary.parameters = parameters.clone();
        }
        Ok(Some(summary))
    }

    /// Returns the acts whose end nobody knows, or is not written yet.
    pub fn open_acts(&self, _: &Inspection) -> Result<Vec<OpenAct>, EngineError> {
        Ok(self.shared.read()?.state.open_acts().cloned().collect())
    }

    /// Returns what the store can be asked.
    pub fn archive(&self, _: &Inspection) -> Arc<dyn Archive> {
        self.shared.archive.clone()
    }

    /// Returns the words that a person gave with the act that `decision` permitted, from beside `leaf`; `None` when they were
    /// erased, or never kept.
    pub fn reason(
        &self,
        _: &Inspection,
        (leaf, decision): (u64, DecisionId),
        sealed: &Sealed,
    ) -> Result<Option<String>, EngineError> {
        let words = match sealed.blob {
            // As it was before they were encrypted: the salt, and then the words.
            Some(id) if id == sealed.commitment => {
                let blob = self.shared.archive.blob(leaf, id)?;
                blob.map(|it| it.get(REASON_SALT_BYTES..).unwrap_or_default().to_vec())
            }
            _ => self.open((leaf, reason_key(decision)), sealed)?,
        };
        Ok(words.map(|it| String::from_utf8_lossy(&it).into_owned()))
    }

    /// Returns who a pseudonym is, when the directory still knows.
    pub fn person_alias(
        &self,
        _: &Inspection,
        person: PersonId,
    ) -> Result<Option<String>, EngineError> {
        Ok(self.shared.read()?.aliases.get(&person).cloned())
    }

    /// Returns the pseudonym of the person with this alias.
    pub fn person_id(&self, _: &Inspection, alias: &str) -> Result<Option<PersonId>, EngineError> {
        Ok(self.shared.read()?.person(alias))
    }

    /// Returns the pseudonym of a person, made now when only the estate knows the person.
    ///
    /// # Errors
    /// The log can't be written.
    pub async fn pseudonym(
        &self,
        inspection: &Inspection,
        alias: &str,
        moment: Moment,
    ) -> Result<Option<PersonId>, Refusal> {
        if let Some(known) = self.person_id(inspection, alias)? {
            return Ok(Some(known));
        }
        let alias = alias.to_owned();
        let mut chance = Chance::new(moment.chance);
        let made = self.turn(move |desk| {
            let book = desk.live.book();
            let is_named = book.map(|it| it.estate().people.contains_key(&alias));
            let made = is_named
                .map_err(Refusal::from)
                .and_then(|it| it.then(|| pseudonym(desk, &mut chance, &alias)).transpose());
            Box::new(move |committed| committed.map_err(Refusal::Failed).and(made))
        });
        made.await?
    }

    /// Opens what stands sealed beside `leaf`; `None` when it was erased, or never kept.
    pub(crate) fn open(
        &self,
        (leaf, task): (u64, TaskId),
        sealed: &Sealed,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let archive = &self.shared.archive;
        let (Some(wrapped), Some(id)) = (archive.task_key(task)?, sealed.blob) else {
            return Ok(None);
        };
        let Some(blob) = archive.blob(leaf, id)? else {
            return Ok(None);
        };
        Ok(Some(
            self.shared.custody.open(&wrapped, task, sealed, &blob)?,
        ))
    }
}

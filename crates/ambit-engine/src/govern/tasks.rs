//! Tasks: starting and ending.

use std::{collections::BTreeMap, sync::Arc};

use ambit_audit::Attachment;
use ambit_core::{
    AgentName, Digest, InstanceId, Millis, PersonId, Reason, SpiffeId, SvidKind, TaskId,
    TemplateName, Timestamp,
    act::{Governance, Target},
    delegation::Lineage,
    estate::{Containment, Estate, Template},
    json::Value,
    limits::{SVID_TTL_MAX, TASK_TTL_MAX, TASKS_LIVE_MAX},
    record::{Actor, Body},
    task::{Contained, End, Task, TaskState, Usage},
};
use ambit_identity::{InstanceCaller, PersonCaller};
use ambit_policy::{CallerToken, Standing, Touched};

use super::{Asked, TouchedTask};
use crate::{
    EngineError, Handle, Moment, Refusal, TaskEntry, desk::Desk, live::TaskRuntime,
    state::ended_task,
};

/// What a person wants started.
#[derive(Clone, Debug)]
pub struct StartTask {
    /// From which template.
    pub template: TemplateName,
    /// For which agent.
    pub agent: AgentName,
    /// The owner's words.
    pub parameters: BTreeMap<String, Value>,
    /// Whether the agent will run where it can't leave the path. The runner says so; nothing proves it to the server.
    pub contained: Contained,
}

/// A task that started.
#[derive(Clone, Debug)]
pub struct Started {
    /// The task, with its parameters.
    pub task: Arc<Task>,
    /// Its authority as RFC 9396 authorization details.
    pub authorization_details: Value,
    /// The latest end of a certificate for its instance.
    pub certificate_expires_at: Timestamp,
}

/// Who ends a task.
#[derive(Clone, Copy, Debug)]
pub enum Ender<'a> {
    /// A person.
    Person(&'a PersonCaller),
    /// The instance that serves it.
    Instance(&'a InstanceCaller),
}

/// A task that was ended, and what ended with it.
#[derive(Clone, Debug)]
pub struct EndedTask {
    /// The task.
    pub task: TaskSummary,
    /// Every task that was active and ended with it: those below it, and the parts that their runs took beside them.
    /// Parents come before their children.
    pub below: Vec<TaskId>,
}

/// A task, as people see it.
#[derive(Clone, Debug)]
pub struct TaskSummary {
    /// Its name.
    pub id: TaskId,
    /// From which template.
    pub template: TemplateName,
    /// The template's version.
    pub template_version: u32,
    /// The agent that acts.
    pub agent: AgentName,
    /// The run of the agent.
    pub instance: InstanceId,
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// On whose behalf.
    pub subject: PersonId,
    /// The owner's words; empty once their key was erased.
    pub parameters: BTreeMap<String, Value>,
    /// Where it stands, as of the question.
    pub state: TaskState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ends even if nobody ends it.
    pub expires_at: Timestamp,
    /// What it has used.
    pub usage: Usage,
    /// Whether its agent runs where it can't leave the path.
    pub contained: Contained,
    /// Where it comes from.
    pub lineage: Lineage,
}

impl Handle {
    /// Starts a task for an agent on the caller's behalf.
    pub async fn start_task(
        &self,
        caller: &PersonCaller,
        ask: StartTask,
        moment: Moment,
    ) -> Result<Started, Refusal> {
        let (custody, trust_domain) = (
            self.shared.custody.clone(),
            self.shared.trust_domain.clone(),
        );
        let start = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let whole = TASK_TTL_MAX;
            start_here(desk, asked, (ask, whole), custody.as_ref(), &trust_domain)
        };
        self.govern(caller, moment, start).await
    }

    /// Writes down an SVID of this kind and digest before it leaves.
    ///
    /// # Errors
    /// [`EngineError::NoTask`] when the task has ended, [`EngineError::TooFast`] when it asks for JWT-SVIDs faster than it may.
    pub async fn certified(
        &self,
        task: &Task,
        (svid, certificate): (SvidKind, Digest),
        expires_at: Timestamp,
    ) -> Result<(), EngineError> {
        let (task, instance) = (task.id, task.instance);
        let shared = self.shared.clone();
        self.turn(move |desk| {
            let at = desk.at();
            let acting = |it: &TaskEntry| it.state.standing(it.task.expires_at, at);
            let standing = desk.live.state.task(task).map(acting);
            let asked = match (standing, &svid) {
                (Some(TaskState::Active), SvidKind::X509) => Ok(()),
                // These are not kept for the next who asks.
                (Some(TaskState::Active), SvidKind::Jwt { .. }) => {
                    shared.quotas().issue((task, instance), at)
                }
                (Some(TaskState::Ended(_)) | None, _) => Err(EngineError::NoTask),
            };
            let body = Body::InstanceCertified {
                instance,
                task,
                certificate,
                svid,
                expires_at,
            };
            let written = asked.and_then(|()| desk.write(body).map(|_| ()));
            Box::new(move |committed| committed.and(written))
        })
        .await?
    }

    /// Ends a task, and with it everything issued under it.
    pub async fn end_task(
        &self,
        by: Ender<'_>,
        task: TaskId,
        end: End,
        moment: Moment,
    ) -> Result<EndedTask, Refusal> {
        match by {
            Ender::Person(caller) => {
                let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
                    let touched = touched(desk, task)?;
                    let act = Governance::EndTask { task };
                    let permit = asked.permit(desk, act, touched.whole())?;
                    let by = Actor::Person(permit.warrant().by);
                    finish(desk, task, end, by)
                };
                let done = self.govern_crossing(caller, moment, take).await;
                let (ended, crossed) = done.map_err(|it| self.unless_over(task, it))?;
                self.shared.flights.landed(&crossed).await;
                Ok(ended)
            }
            Ender::Instance(caller) => {
                self.refuse_less(caller, moment).await?;
                let caller = caller.clone();
                let own = move |desk: &Desk<'_>| of_its_own(desk, &caller, task);
                self.end_without_warrant((task, end), own).await
            }
        }
    }

    /// Refuses whoever ends a task by a token that is worth less than the whole of it, and writes that down.
    async fn refuse_less(&self, caller: &InstanceCaller, moment: Moment) -> Result<(), Refusal> {
        let worth = self.shared.read()?.caller_token(caller, moment.now);
        let (reason, explanation) = match worth {
            CallerToken::Whole => return Ok(()),
            CallerToken::Narrowed => (
                Reason::TokenNarrowed,
                "a token that carries a part of its task does not end the whole; use one that was asked for without \
                 authorization_details",
            ),
            CallerToken::Nothing(reason) => (reason, reason.for_agent()),
        };
        let denied = self.refuse(caller, "end_task", reason, moment).await?;
        Err(Refusal::Denied {
            denied,
            explanation: explanation.to_owned(),
        })
    }

    /// Says of a task that is not there any more that it has ended, when that is so.
    fn unless_over(&self, task: TaskId, refusal: Refusal) -> Refusal {
        if !matches!(refusal, Refusal::NotFound(_)) {
            return refusal;
        }
        let known = ended_task(self.shared.archive.as_ref(), task);
        match known.map(|it| it.map(|it| it.state)) {
            Ok(Some(TaskState::Ended(already))) => over(task, already),
            Ok(Some(TaskState::Active) | None) | Err(_) => refusal,
        }
    }

    /// Keeps a sealed credential for the gateway to inject. The secret itself never comes here.
    pub async fn keep_credential(
        &self,
        caller: &PersonCaller,
        reference: String,
        sealed: Vec<u8>,
        moment: Moment,
    ) -> Result<(), Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            let act = Governance::SealCredential {
                reference: reference.clone(),
            };
            let permit = asked.permit(desk, act, Touched::NOTHING)?;
            let warrant = permit.warrant();
            desk.write(Body::CredentialSealed {
                reference: reference.clone(),
                warrant,
            })?;
            desk.attachments
                .push(Attachment::Secret { reference, sealed });
            Ok(())
        };
        self.govern(caller, moment, take).await
    }

    async fn end_without_warrant(
        &self,
        (task, end): (TaskId, End),
        by: impl FnOnce(&Desk<'_>) -> Result<Actor, Refusal> + Send + 'static,
    ) -> Result<EndedTask, Refusal> {
        let ended = self.turn_crossing(move |desk| {
            let by = by(desk);
            let result = by.and_then(|by| finish(desk, task, end, by));
            Box::new(move |committed| committed.map_err(Refusal::Failed).and(result))
        });
        let (ended, crossed) = ended.await?;
        self.shared.flights.landed(&crossed).await;
        ended
    }
}

/// Starts a task as [`start`] does, that nobody claims: its agent runs where the person who starts it says.
pub(super) fn start_here(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    ask: (StartTask, Millis),
    custody: &dyn crate::Custody,
    trust_domain: &ambit_core::TrustDomain,
) -> Result<Started, Refusal> {
    let started = start(desk, asked, ask, custody, trust_domain)?;
    desk.loosen(started.task.id);
    Ok(started)
}

/// Starts a task that lives as long as its template says, and at most `ttl_max`.
pub(super) fn start(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    (ask, ttl_max): (StartTask, Millis),
    custody: &dyn crate::Custody,
    trust_domain: &ambit_core::TrustDomain,
) -> Result<Started, Refusal> {
    let book = desk.live.book()?;
    let estate = book.estate();
    let template = startable(desk, estate, &ask)?;
    refuse_unfit(desk, asked, &ask, template)?;
    let parameters = ambit_policy::check_parameters(template, &ask.parameters)
        .map_err(|problem| Refusal::Invalid(problem.to_string()))?;
    let act = Governance::StartTask {
        template: ask.template.clone(),
        agent: ask.agent.clone(),
    };
    let touched = Touched {
        template: Some(template),
        ..Touched::NOTHING
    };
    let permit = asked.permit(desk, act, touched)?;
    let warrant = permit.warrant();
    let at = desk.at();
    let (id, instance) = (asked.chance.id(at), asked.chance.id(at));
    let details = ambit_policy::authorization_details(template, estate, &parameters);
    let task = Task {
        id,
        template: ask.template,
        template_version: template.version,
        estate: estate.digest,
        agent: ask.agent.clone(),
        instance,
        spiffe_id: trust_domain.instance(&ask.agent, instance),
        subject: warrant.by,
        parameters: BTreeMap::new(),
        authority: Digest::of(details.to_canonical().as_bytes()),
        started_at: at,
        expires_at: at.plus(template.ttl.min(ttl_max).min(TASK_TTL_MAX)),
        contained: ask.contained,
        lineage: Lineage::Root,
    };
    let wrapped = custody.new_task_key(id, asked.chance.draw())?;
    let words = Value::Object(parameters.clone()).to_canonical();
    let (sealed, bytes) = custody.seal(&wrapped, id, words.as_bytes(), asked.chance.draw())?;
    let runtime = TaskRuntime::new(
        Task {
            parameters,
            ..task.clone()
        },
        wrapped.clone(),
        book.clone(),
    );
    // Bounds that can't be compiled are found before anything is written.
    runtime.scope(&book)?;
    let written = desk.write(Body::TaskStarted {
        task: Box::new(task),
        parameters: sealed,
        warrant,
    })?;
    desk.attachments
        .push(Attachment::TaskKey { task: id, wrapped });
    desk.keep_sealed(written.index(), Some(id), &sealed, bytes);
    let task = runtime.task.clone();
    desk.live.runtime.insert(id, Arc::new(runtime));
    let certificate_expires_at = task.expires_at.min(at.plus(SVID_TTL_MAX));
    Ok(Started {
        task,
        authorization_details: details,
        certificate_expires_at,
    })
}

/// Refuses, on the record, an agent that was revoked or that would run less contained than its task wants.
fn refuse_unfit(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    ask: &StartTask,
    template: &Template,
) -> Result<(), Refusal> {
    let (agent, name) = (&ask.agent, &ask.template);
    if desk.live.state.standing(&Target::Agent(agent.clone())) == Standing::Revoked {
        let explanation =
            format!("agent `{agent}` starts tasks again after `ambit reinstate agent {agent}`");
        return Err(asked.refuse(desk, "start_task", Reason::AgentRevoked, explanation)?);
    }
    if template.containment == Containment::Required && ask.contained == Contained::None {
        let explanation = format!(
            "template `{name}` wants its agent contained; install bubblewrap (`apt install bubblewrap`) and start it with `ambit run`"
        );
        return Err(asked.refuse(desk, "start_task", Reason::ContainmentRequired, explanation)?);
    }
    Ok(())
}

/// Returns the template when there is room for the task and the estate lets the agent run it.
fn startable<'a>(
    desk: &Desk<'_>,
    estate: &'a Estate,
    ask: &StartTask,
) -> Result<&'a Template, Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(text));
    let (agent, name) = (&ask.agent, &ask.template);
    if !estate.agents.contains_key(agent) {
        return invalid(format!(
            "the estate in force has no agent `{agent}`; check the spelling, or write agents/{agent}.toml and apply the estate"
        ));
    }
    let Some(template) = estate.templates.get(name) else {
        return invalid(format!(
            "the estate in force has no template `{name}`; check the spelling, or write templates/{name}.toml and apply the estate"
        ));
    };
    if desk.live.state.room() == crate::state::Room::Full {
        return Err(Refusal::Conflict(format!(
            "{TASKS_LIVE_MAX} tasks are live, the most that there may be; end some first"
        )));
    }
    Ok(template)
}

/// Returns the live task that is touched.
pub(super) fn touched(desk: &Desk<'_>, task: TaskId) -> Result<TouchedTask, Refusal> {
    TouchedTask::new(desk.live, task).ok_or_else(|| Refusal::not_found(task))
}

/// Returns who ends a task that it serves itself. Who came by a token of a part of it ends nobody's whole.
fn of_its_own(desk: &Desk<'_>, caller: &InstanceCaller, task: TaskId) -> Result<Actor, Refusal> {
    let live = &desk.live;
    let serves = live.state.instances.get(&caller.instance()) == Some(&task);
    // It may have been given up since it was looked at.
    if !serves || live.caller_token(caller, desk.at()) != CallerToken::Whole {
        return Err(Refusal::not_found(task));
    }
    Ok(Actor::Instance(caller.instance()))
}

/// Ends a task that is active, and says what ended with it.
pub(super) fn finish(
    desk: &mut Desk<'_>,
    task: TaskId,
    end: End,
    by: Actor,
) -> Result<EndedTask, Refusal> {
    let at = desk.at();
    let entry = desk
        .live
        .state
        .task(task)
        .ok_or_else(|| Refusal::not_found(task))?;
    if let TaskState::Ended(already) = entry.state {
        return Err(over(task, already));
    }
    // What ends after its time has expired, whoever says so.
    let late = entry.state.standing(entry.task.expires_at, at) != TaskState::Active;
    let end = if late { End::Expired } else { end };
    let state = &desk.live.state;
    let is_active = |it: &TaskId| state.task(*it).map(|it| it.state) == Some(TaskState::Active);
    let below = state.hanging_on(task);
    let below = below.into_iter().filter(is_active).collect();
    desk.write(Body::TaskEnded { task, end, by })?;
    let entry = desk
        .live
        .state
        .task(task)
        .ok_or_else(|| Refusal::not_found(task))?;
    let whole = desk.live.runtime.get(&task).map(|it| it.task.as_ref());
    Ok(EndedTask {
        task: summary(entry, whole, at),
        below,
    })
}

fn over(task: TaskId, already: End) -> Refusal {
    Refusal::Conflict(format!(
        "{task} has ended already ({}); see `ambit task show {task}`",
        already.as_str()
    ))
}

/// Returns the task as people see it as of `now`.
pub(super) fn summary(entry: &TaskEntry, whole: Option<&Task>, now: Timestamp) -> TaskSummary {
    let task = &entry.task;
    TaskSummary {
        id: task.id,
        template: task.template.clone(),
        template_version: task.template_version,
        agent: task.agent.clone(),
        instance: task.instance,
        spiffe_id: task.spiffe_id.clone(),
        subject: task.subject,
        parameters: whole.map(|it| it.parameters.clone()).unwrap_or_default(),
        state: entry.state.standing(task.expires_at, now),
        started_at: task.started_at,
        expires_at: task.expires_at,
        usage: entry.usage.clone(),
        contained: task.contained,
        lineage: task.lineage,
    }
}

//! The bounds of one task.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    Digest, Labels, ServerName, TaskId, TemplateName, ToolName,
    estate::{Agent, BearerTokens, Containment, Estate, LeastBinding, Mode, Template, ToolGrant},
    json::Value,
    task::Task,
};
use cedar_policy::Entities;

use crate::{
    PolicyBook,
    entities::{EntityError, Who},
    gather::optimistic,
    judge::{Verdict, judge},
};

/// The bounds of one task, compiled once: the template as it was when the task started and, when the
/// estate has changed since, also as it is now. Both must allow, so a change can narrow a live task and
/// never widens it.
#[derive(Debug)]
pub struct TaskScope {
    /// One bound when the estate in force is the task's own; else the task's own and the one in force.
    pub(crate) bounds: Vec<Bound>,
    pub(crate) in_force: Digest,
    pub(crate) template: TemplateStanding,
    pub(crate) parameters: BTreeMap<String, Value>,
    pub(crate) who: Who,
    pub(crate) entities: Entities,
    task: TaskId,
}

/// One estate's view of the task's bounds.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) estate: Arc<Estate>,
    agent: ambit_core::AgentName,
    template: TemplateName,
}

/// Whether the estate in force still lets the agent run the template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TemplateStanding {
    InForce,
    Withdrawn,
}

/// What one estate's template says about a tool.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grant<'a> {
    /// The template names the tool.
    Named(&'a ToolGrant),
    /// It reads, on a server whose reads are free.
    FreeRead,
    /// The template has the server, but not this.
    NotThis,
    /// The template has nothing of the server.
    NoServer,
}

/// Whether some call could be allowed or held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offering {
    /// Some call could.
    Offered,
    /// None could.
    Withheld,
}

/// The bounds of a task can't be compiled; the task can do nothing.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    /// The book given as the task's own is another one.
    #[error("the task was started in estate {expected}, not in {found}; compile the former")]
    WrongEstate {
        /// The task's estate.
        expected: Digest,
        /// The given one.
        found: Digest,
    },
    /// The task's own estate lacks the template in the task's version.
    #[error("the task's estate has no template `{0}` in the task's version; end the task")]
    TemplateMissing(TemplateName),
    /// The task can't be shown to the policies.
    #[error("the task can't be shown to the policies; end the task")]
    Entities(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TaskScope {
    /// Compiles the bounds of `task`, which was started in `own`, as of the estate in force `current`.
    ///
    /// A template or agent that `current` lacks gives a scope under which every act is denied as
    /// [`ambit_core::Reason::TemplateWithdrawn`].
    ///
    /// # Errors
    ///
    /// When `own` is not the task's estate, or lacks the template.
    pub fn new(own: &PolicyBook, current: &PolicyBook, task: &Task) -> Result<Self, ScopeError> {
        if own.estate().digest != task.estate {
            return Err(ScopeError::WrongEstate {
                expected: task.estate,
                found: own.estate().digest,
            });
        }
        let mut bounds = vec![Bound::new(own, task)];
        let written = bounds.iter().find_map(Bound::template);
        if written.is_none_or(|it| it.version != task.template_version) {
            return Err(ScopeError::TemplateMissing(task.template.clone()));
        }
        if own.estate().digest != current.estate().digest {
            bounds.push(Bound::new(current, task));
        }
        let kept = bounds.iter().all(Bound::lets_agent_run);
        let who = Who {
            task: task.id,
            agent: task.agent.clone(),
            template: task.template.clone(),
            subject: task.subject,
            contained: task.contained.as_str().to_owned(),
        };
        let entities = entities_of(current, &who).map_err(|it| ScopeError::Entities(it.into()))?;
        Ok(Self {
            bounds,
            in_force: current.estate().digest,
            template: if kept {
                TemplateStanding::InForce
            } else {
                TemplateStanding::Withdrawn
            },
            parameters: task.parameters.clone(),
            who,
            entities,
            task: task.id,
        })
    }

    /// Says whether some call of the tool could be allowed or held: what `tools/list` shows.
    ///
    /// A convenience for the agent, not a control: every call is decided.
    pub fn offers(&self, book: &PolicyBook, server: &ServerName, tool: &ToolName) -> Offering {
        let facts = optimistic(self, book, server, tool);
        match judge(book, &self.entities, &facts).verdict {
            Verdict::Allow { .. } | Verdict::Hold { .. } => Offering::Offered,
            Verdict::Deny { .. } => Offering::Withheld,
        }
    }

    /// Says whether the task was given anything of the server.
    pub fn offers_server(&self, server: &ServerName) -> Offering {
        let granted = self.template == TemplateStanding::InForce
            && self.bounds.iter().all(|it| it.has_server(server));
        if granted {
            Offering::Offered
        } else {
            Offering::Withheld
        }
    }

    /// Returns the task whose bounds these are.
    pub const fn task(&self) -> TaskId {
        self.task
    }

    /// Returns the digest of the estate in force for which the bounds were compiled.
    pub const fn in_force(&self) -> Digest {
        self.in_force
    }

    /// Says whether a token that is bound to no key could do anything in the task.
    pub fn takes_bearer(&self) -> BearerTokens {
        match self.least_binding() {
            LeastBinding::Mtls | LeastBinding::Dpop => BearerTokens::Refused,
            LeastBinding::BearerToRead | LeastBinding::BearerToAct => self.bearer_tokens(),
        }
    }

    /// Returns the most calls of the task in all.
    pub(crate) fn calls_max(&self) -> u32 {
        self.templates().map(|it| it.calls_max).min().unwrap_or(0)
    }

    /// Returns the most calls of the tool, when it has a maximum of its own.
    pub(crate) fn tool_calls_max(&self, server: &ServerName, tool: &ToolName) -> Option<u32> {
        let grants = self.bounds.iter().map(|it| it.grant(server, tool));
        grants.filter_map(|it| it.calls_max()).min()
    }

    /// Returns the labels that may leave.
    pub(crate) fn may_emit(&self) -> Labels {
        let mut all = self.templates().map(|it| &it.may_emit);
        let Some(first) = all.next() else {
            return Labels::none();
        };
        all.fold(first.clone(), |both, next| {
            let kept = both
                .iter()
                .filter(|label| next.iter().any(|it| it == *label));
            Labels::new(kept.cloned()).unwrap_or_else(|_| Labels::none())
        })
    }

    pub(crate) fn requires_containment(&self) -> bool {
        self.templates()
            .any(|it| it.containment == Containment::Required)
    }

    /// Says whether all estates that bound the task take tokens that are bound to no key.
    pub(crate) fn bearer_tokens(&self) -> BearerTokens {
        let refused = |it: &Bound| it.estate.bearer_tokens == BearerTokens::Refused;
        match self.bounds.iter().any(refused) {
            true => BearerTokens::Refused,
            false => BearerTokens::Taken,
        }
    }

    /// Returns the weakest proof with which the agent may act: of several bounds, the strictest.
    pub(crate) fn least_binding(&self) -> LeastBinding {
        let all = self.templates().map(|it| it.binding);
        all.min().unwrap_or(LeastBinding::Mtls)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.bounds.iter().filter_map(Bound::template)
    }
}

impl Bound {
    fn new(book: &PolicyBook, task: &Task) -> Self {
        Self {
            estate: Arc::clone(book.estate()),
            agent: task.agent.clone(),
            template: task.template.clone(),
        }
    }

    pub(crate) fn template(&self) -> Option<&Template> {
        self.estate.templates.get(&self.template)
    }

    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.estate.agents.get(&self.agent)
    }

    fn lets_agent_run(&self) -> bool {
        self.template().is_some()
            && self
                .agent()
                .is_some_and(|it| it.templates.contains(&self.template))
    }

    /// Says whether the template has free reads or a named tool of the server.
    pub(crate) fn has_server(&self, server: &ServerName) -> bool {
        let named = |it: &Template| it.tools.keys().any(|(named, _)| named == server);
        self.estate.servers.contains_key(server)
            && self
                .template()
                .is_some_and(|it| it.reads.contains(server) || named(it))
    }

    /// Says whether the resources, prompts and lists of the server are free.
    pub(crate) fn reads_server(&self, server: &ServerName) -> bool {
        self.estate.servers.contains_key(server)
            && self.template().is_some_and(|it| it.reads.contains(server))
    }

    pub(crate) fn grant(&self, server: &ServerName, tool: &ToolName) -> Grant<'_> {
        let Some(template) = self.template() else {
            return Grant::NoServer;
        };
        if let Some(named) = template.tools.get(&(server.clone(), tool.clone())) {
            return Grant::Named(named);
        }
        let mode = self.estate.tool(server, tool).map(|it| it.mode);
        if mode == Some(Mode::Read) && template.reads.contains(server) {
            return Grant::FreeRead;
        }
        if self.has_server(server) {
            Grant::NotThis
        } else {
            Grant::NoServer
        }
    }
}

impl<'a> Grant<'a> {
    pub(crate) const fn named(self) -> Option<&'a ToolGrant> {
        match self {
            Self::Named(grant) => Some(grant),
            Self::FreeRead | Self::NotThis | Self::NoServer => None,
        }
    }

    fn calls_max(self) -> Option<u32> {
        self.named()?.calls_max
    }
}

/// Builds the entities of a task in the estate in force.
pub(crate) fn entities_of(book: &PolicyBook, who: &Who) -> Result<Entities, EntityError> {
    book.shared.with_task(who, &book.schema, &book.vocabulary)
}

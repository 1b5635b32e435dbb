//! The bounds of one task.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    AgentName, Digest, Labels, ServerName, TaskId, TemplateName, ToolName,
    delegation::{Lineage, Part},
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
#[derive(Clone, Debug)]
pub struct TaskScope {
    /// One bound when the estate in force is the task's own; else the task's own and the one in force.
    pub(crate) bounds: Vec<Bound>,
    pub(crate) in_force: Digest,
    pub(crate) template: TemplateStanding,
    pub(crate) parameters: BTreeMap<String, Value>,
    pub(crate) who: Who,
    pub(crate) entities: Entities,
    /// The parts that were delegated on the way to the task, the outermost first; none when a person started it.
    pub(crate) parts: Vec<Arc<Part>>,
    task: TaskId,
    lineage: Lineage,
}

/// One estate's view of the task's bounds.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) estate: Arc<Estate>,
    agent: ambit_core::AgentName,
    template: TemplateName,
}

/// Whether the estate in force still lets the agent run the template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemplateStanding {
    /// It does.
    InForce,
    /// It does not: every act is denied.
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
    /// The parent's bounds that were given are another task's.
    #[error("the bounds given as those of the parent of {0} are another task's; end the task")]
    WrongParent(TaskId),
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
        Self::compile(own, current, task, None)
    }

    /// Compiles the bounds of a child: those of `parent`, compiled for the same estate in force, and its own part.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], and when `parent` is not the child's.
    pub fn child(
        own: &PolicyBook,
        current: &PolicyBook,
        task: &Task,
        (parent, part): (&Self, Arc<Part>),
    ) -> Result<Self, ScopeError> {
        Self::compile(own, current, task, Some((parent, part)))
    }

    fn compile(
        own: &PolicyBook,
        current: &PolicyBook,
        task: &Task,
        above: Option<(&Self, Arc<Part>)>,
    ) -> Result<Self, ScopeError> {
        let parent = above.as_ref().map(|(parent, _)| parent.task);
        if parent != task.lineage.parent() {
            return Err(ScopeError::WrongParent(task.id));
        }
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
        let kept = match &above {
            None => bounds.iter().all(Bound::lets_agent_run),
            Some((parent, _)) => {
                let depth = task.lineage.depth();
                parent.template == TemplateStanding::InForce
                    && bounds.iter().all(|it| it.lets_agent_take(depth))
            }
        };
        let parts = above.map_or_else(Vec::new, |(parent, part)| {
            parent.parts.iter().cloned().chain([part]).collect()
        });
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
            parts,
            task: task.id,
            lineage: task.lineage,
        })
    }

    /// Returns the bounds of whoever comes with a token that carries `part` of the task alone.
    #[must_use]
    pub fn narrowed(&self, part: Arc<Part>) -> Self {
        let mut narrowed = self.clone();
        narrowed.parts.push(part);
        narrowed
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
        let granted = self.template == TemplateStanding::InForce && self.has_server(server);
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

    /// Says whether the estate in force still lets the agent run the template.
    pub const fn template(&self) -> TemplateStanding {
        self.template
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
        let parts = self.parts.iter().map(|it| it.calls_max);
        let templates = self.templates().map(|it| it.calls_max);
        templates.chain(parts).min().unwrap_or(0)
    }

    /// Returns the most calls of the tool, when it has a maximum of its own.
    pub(crate) fn tool_calls_max(&self, server: &ServerName, tool: &ToolName) -> Option<u32> {
        let grants = self.grants(server, tool).into_iter();
        grants.filter_map(|it| it.calls_max()).min()
    }

    /// Returns the labels that may leave.
    pub(crate) fn may_emit(&self) -> Labels {
        let parts = self.parts.iter().map(|it| &it.may_emit);
        let mut all = self.templates().map(|it| &it.may_emit).chain(parts);
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

    /// Returns what every template in view and every part on the way to the task says of the tool.
    pub(crate) fn grants(&self, server: &ServerName, tool: &ToolName) -> Vec<Grant<'_>> {
        let bounds = self.bounds.iter().map(|it| it.grant(server, tool));
        let mode = self.strictest_mode(server, tool);
        let parts = self
            .parts
            .iter()
            .map(|it| of_part(it, (server, tool), mode));
        bounds.chain(parts).collect()
    }

    /// Returns how many of [`Self::grants`] come from templates; the others come from parts.
    pub(crate) const fn templates_in_view(&self) -> usize {
        self.bounds.len()
    }

    /// Says whether the task was given anything of the server.
    pub(crate) fn has_server(&self, server: &ServerName) -> bool {
        let part = |it: &Arc<Part>| {
            it.reads.contains(server) || it.tools.keys().any(|(named, _)| named == server)
        };
        self.bounds.iter().all(|it| it.has_server(server)) && self.parts.iter().all(part)
    }

    /// Says whether the resources, prompts and lists of the server are free.
    pub(crate) fn reads_server(&self, server: &ServerName) -> bool {
        self.bounds.iter().all(|it| it.reads_server(server))
            && self.parts.iter().all(|it| it.reads.contains(server))
    }

    /// Returns the worst mode that any estate in view gives the tool; none when one of them lacks it.
    pub(crate) fn strictest_mode(&self, server: &ServerName, tool: &ToolName) -> Option<Mode> {
        let modes = self.bounds.iter();
        let modes = modes.map(|it| it.estate.tool(server, tool).map(|it| it.mode));
        modes.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Returns the most hops below the task that a person started, as every template in view allows.
    fn depth_max(&self) -> u8 {
        let templates = self.templates().map(|it| it.delegation.depth_max());
        templates.min().unwrap_or(0)
    }

    /// Returns how many more hops may follow below the task.
    pub(crate) fn depth_left(&self) -> u8 {
        let left = self.depth_max().saturating_sub(self.lineage.depth());
        match self.lineage {
            Lineage::Root => left,
            Lineage::Child { depth_left, .. } => left.min(depth_left),
        }
    }

    /// Says whether parts of such a task may be delegated at all.
    pub(crate) fn is_delegable(&self) -> bool {
        self.depth_max() > 0
    }

    /// Says whether every estate in view lets `agent` take a part of the task.
    pub(crate) fn lists_delegate(&self, agent: &AgentName) -> bool {
        let depth = self.lineage.depth().saturating_add(1);
        let takes = |it: &Bound| it.lets_take(agent, depth);
        self.bounds.iter().all(takes)
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

    /// Says whether the template still lets the agent take a part so many hops away, and the agent takes it.
    fn lets_agent_take(&self, depth: u8) -> bool {
        self.lets_take(&self.agent, depth)
    }

    fn lets_take(&self, agent: &AgentName, depth: u8) -> bool {
        let delegation = self.template().map(|it| &it.delegation);
        let listed = delegation
            .is_some_and(|it| depth <= it.depth_max() && it.agents().any(|it| it == agent));
        let agent = self.estate.agents.get(agent);
        listed && agent.is_some_and(|it| it.parts_of.contains(&self.template))
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

/// Returns what a part says of a tool of this mode.
fn of_part<'a>(
    part: &'a Part,
    (server, tool): (&ServerName, &ToolName),
    mode: Option<Mode>,
) -> Grant<'a> {
    if let Some(named) = part.tools.get(&(server.clone(), tool.clone())) {
        return Grant::Named(named);
    }
    if mode == Some(Mode::Read) && part.reads.contains(server) {
        return Grant::FreeRead;
    }
    Grant::NotThis
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

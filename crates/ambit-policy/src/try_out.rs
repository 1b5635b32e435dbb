//! Decisions tried out without a task: decision tables and what-if questions.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, ApprovalId, DecisionId, Digest, InstanceId, Labels, PersonId, Reason, SpiffeId,
    TaskId, TemplateName, Timestamp, TrustDomain,
    act::Act,
    json::Value,
    task::{Contained, Task, TaskState, Usage},
};

use crate::{
    ApprovalState, Decision, Epochs, Live, ParameterProblem, PolicyBook, Request, ScopeError,
    TaskScope, check_parameters, decide,
};

/// A question: what would be answered if a fresh task of this kind asked for this act?
#[derive(Clone, Debug)]
pub struct TryOut {
    /// The template of the task.
    pub template: TemplateName,
    /// The agent that acts.
    pub agent: AgentName,
    /// The parameters that the starter gave.
    pub parameters: BTreeMap<String, Value>,
    /// The labels of what the task has read so far.
    pub labels: Labels,
    /// Whether the agent runs contained.
    pub contained: Contained,
    /// How the agent proves itself: `mtls`, `dpop` or `bearer`.
    pub binding: &'static str,
    /// The log's time.
    pub at: Timestamp,
    /// The act.
    pub act: Act,
}

/// The answer to a [`TryOut`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TriedOut {
    /// The answer.
    pub answer: Tried,
    /// The rules that made it.
    pub rules: Vec<String>,
    /// The answer in words, for people; empty when allowed.
    pub explanation: String,
}

/// What would be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tried {
    /// It would happen.
    Allow,
    /// A person would be asked.
    Hold(Reason),
    /// It would be refused.
    Deny(Reason),
}

/// The question can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum TryOutProblem {
    /// The estate has no such template.
    #[error("the estate has no template `{0}`; check the spelling")]
    TemplateUnknown(TemplateName),
    /// The parameters do not fit the template.
    #[error("the parameters do not fit")]
    Parameters(#[from] ParameterProblem),
    /// The task can't be bounded.
    #[error("the task can't be bounded")]
    Scope(#[from] ScopeError),
    /// The name of the task can't be made up.
    #[error("no task can be made up for the question")]
    Name(#[from] ambit_core::spiffe::InvalidSpiffeId),
}

impl PolicyBook {
    /// Answers as [`decide`] would for the first act of a fresh task, everybody live and nobody asked.
    ///
    /// # Errors
    ///
    /// An unknown template, or parameters that do not fit it. An agent that may not run the template is
    /// an answer: [`Reason::TemplateWithdrawn`].
    pub fn try_out(&self, question: TryOut) -> Result<TriedOut, TryOutProblem> {
        let task = self.made_up_task(&question)?;
        let scope = TaskScope::new(self, self, &task)?;
        let usage = Usage {
            labels: question.labels,
            ..Usage::nothing()
        };
        let decision = decide(Request {
            above: &[],
            decision: DecisionId::from_bits(0),
            at: question.at,
            book: self,
            task: &task,
            scope: &scope,
            state: TaskState::Active,
            usage: &usage,
            act: question.act,
            sealed: None,
            live: Live::ALL,
            approval: ApprovalState::None,
            fresh_approval: ApprovalId::from_bits(0),
            binding: question.binding,
            epochs: Epochs::default(),
        });
        Ok(match decision {
            Decision::Allow(it) => TriedOut {
                answer: Tried::Allow,
                rules: it.rules().to_vec(),
                explanation: String::new(),
            },
            Decision::Hold(it) => TriedOut {
                answer: Tried::Hold(it.reason()),
                rules: it.rules().to_vec(),
                explanation: it.explanation(),
            },
            Decision::Deny(it) => TriedOut {
                answer: Tried::Deny(it.reason()),
                rules: it.rules().to_vec(),
                explanation: it.explanation(),
            },
        })
    }

    fn made_up_task(&self, question: &TryOut) -> Result<Task, TryOutProblem> {
        let template = self
            .estate()
            .templates
            .get(&question.template)
            .ok_or_else(|| TryOutProblem::TemplateUnknown(question.template.clone()))?;
        let instance = InstanceId::from_bits(0);
        let domain: TrustDomain = "try-out".parse()?;
        let spiffe_id: SpiffeId = domain.instance(&question.agent, instance);
        Ok(Task {
            id: TaskId::from_bits(0),
            template: template.name.clone(),
            template_version: template.version,
            estate: self.estate().digest,
            agent: question.agent.clone(),
            instance,
            spiffe_id,
            subject: PersonId::from_bits(0),
            parameters: check_parameters(template, &question.parameters)?,
            authority: Digest::of(b""),
            started_at: question.at,
            expires_at: question.at.plus(template.ttl),
            contained: question.contained,
            lineage: ambit_core::delegation::Lineage::Root,
        })
    }
}

//! Separation of duties: who alone could write what a task may do, start it, and approve what it does.
//!
//! The policies themselves are asked, for each person whom the estate names. What they would answer decides, not how
//! they are written.

use ambit_core::{
    ApprovalId, Digest, PersonId, TemplateName,
    act::Governance,
    estate::{Agent, Approver, Bound, Estate, PersonRole, Template},
};

use crate::{
    PolicyBook, PolicyProblem, Prospect, Touched, book::TenantAsks, tenant::problem_at_policy,
};

/// How many pairs of a person and a template are looked at.
pub const PAIRS_LOOKED_AT_MAX: usize = 4096;

/// A person whom nobody else watches over at a template.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Alone {
    /// By the estate's alias.
    pub person: String,
    /// Which template the person may rewrite, start, and approve acts of.
    pub template: TemplateName,
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Separation {
    /// Who is alone, in order.
    pub alone: Vec<Alone>,
    /// How many pairs of a person and a template were not looked at, since there are so many.
    pub unseen: usize,
}

/// The person who asks for himself.
const ONESELF: PersonId = PersonId::from_bits(0);

impl PolicyBook {
    /// Says what the policies would answer the person `alias` who puts another estate in force.
    pub fn would_apply(&self, alias: &str) -> Prospect {
        let estate = Digest::of(b"another");
        let act = Governance::ApplyEstate { estate };
        self.prospect((ONESELF, alias), act, Touched::NOTHING)
    }

    /// Looks for people who alone could apply an estate, start a task of a template of theirs, and approve what is held of it.
    pub fn separation(&self) -> Separation {
        let estate = self.estate();
        let asking: Vec<_> = estate.templates.values().collect();
        let asking: Vec<_> = asking.into_iter().filter(|it| self.asks(it)).collect();
        let people = estate.people.keys();
        let writers: Vec<_> = people
            .filter(|it| self.would_apply(it) == Prospect::Open)
            .collect();
        let pairs = writers
            .iter()
            .flat_map(|alias| asking.iter().map(move |it| (alias.as_str(), *it)));
        let looked_at = pairs.take(PAIRS_LOOKED_AT_MAX);
        let alone = looked_at
            .filter(|(alias, template)| self.is_alone(alias, template))
            .map(|(alias, template)| Alone {
                person: alias.to_owned(),
                template: template.name.clone(),
            });
        Separation {
            alone: alone.collect(),
            unseen: (writers.len() * asking.len()).saturating_sub(PAIRS_LOOKED_AT_MAX),
        }
    }

    /// Returns why nobody could put another estate in force, when the estate's own policies keep every administrator from it.
    pub(crate) fn locked_out(&self) -> Option<PolicyProblem> {
        let files = &self.estate().people_policies;
        let people = self.estate().people.values();
        let administrators = people.filter(|it| it.roles.contains(&PersonRole::Administrator));
        let mut stopped = Vec::new();
        for person in administrators {
            match self.would_apply(&person.alias) {
                Prospect::Open => return None,
                Prospect::Stopped { rules } => stopped.push((&person.alias, rules)),
            }
        }
        let (alias, rules) = stopped.first()?;
        let message = format!(
            "nobody could put another estate in force: the policies stop every administrator, `{alias}` by this one; let one \
             of them `apply_estate`, or name an administrator whom it does not stop"
        );
        let rule = rules.first().map(String::as_str);
        Some(problem_at_policy(files, rule, message))
    }

    /// Says whether anybody's own yes counts for acts of this template that wait for one.
    fn asks(&self, template: &Template) -> bool {
        let held = template.tools.values().any(|it| it.approval == Bound::Held);
        let by_policy = !template.tools.is_empty() && self.tenant_asks == TenantAsks::Somebody;
        template.approver == Approver::Anyone && (held || by_policy)
    }

    fn is_alone(&self, alias: &str, template: &Template) -> bool {
        let estate = self.estate();
        runs(estate, template).any(|agent| self.starts_and_approves(alias, agent, template))
    }

    fn starts_and_approves(&self, alias: &str, agent: &Agent, template: &Template) -> bool {
        let touched = Touched {
            subject: None,
            template: Some(template),
            of: None,
        };
        let start = Governance::StartTask {
            template: template.name.clone(),
            agent: agent.name.clone(),
        };
        if self.prospect((ONESELF, alias), start, touched) != Prospect::Open {
            return false;
        }
        let approve = Governance::DecideApproval {
            approval: ApprovalId::from_bits(0),
        };
        let touched = Touched {
            subject: Some(ONESELF),
            of: Some((&agent.name, &template.name)),
            ..touched
        };
        self.prospect((ONESELF, alias), approve, touched) == Prospect::Open
    }
}

fn runs<'a>(estate: &'a Estate, template: &'a Template) -> impl Iterator<Item = &'a Agent> {
    let agents = estate.agents.values();
    agents.filter(|it| it.templates.contains(&template.name))
}

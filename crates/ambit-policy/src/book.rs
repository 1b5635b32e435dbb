//! One compiled estate.

use std::{fmt, str::FromStr, sync::Arc};

use ambit_core::estate::Estate;
use cedar_policy::Schema;

use crate::{
    PolicyProblem,
    contexts::mentions,
    entities::SharedEntities,
    people::PeopleRules,
    rules::{ActRules, Lift},
    schemas::ArgumentSchemas,
    tenant::{Folder, read_fixed, read_tenant},
    vocabulary::Vocabulary,
};

/// The policies and schemas of one estate, compiled once and read by every decision.
pub struct PolicyBook {
    estate: Arc<Estate>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) schema: Schema,
    pub(crate) acts: ActRules,
    pub(crate) people: PeopleRules,
    pub(crate) delegations: PeopleRules,
    pub(crate) schemas: ArgumentSchemas,
    pub(crate) shared: SharedEntities,
    pub(crate) labels_in_tenant_policies: Sensitivity,
    pub(crate) tenant_asks: TenantAsks,
}

/// Whether a tenant policy has a person asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TenantAsks {
    /// One does.
    Somebody,
    /// None does.
    Nobody,
}

/// Whether tenant policies may answer otherwise when a task has gathered more labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sensitivity {
    /// They do not look.
    Blind,
    /// They may.
    Sensitive,
}

pub(crate) const ACTS_SCHEMA: &str = include_str!("acts.cedarschema");
pub(crate) const ACTS_POLICIES: &str = include_str!("acts.cedar");
pub(crate) const PEOPLE_SCHEMA: &str = include_str!("people.cedarschema");
pub(crate) const PEOPLE_POLICIES: &str = include_str!("people.cedar");
pub(crate) const DELEGATIONS_SCHEMA: &str = include_str!("delegations.cedarschema");
pub(crate) const DELEGATIONS_POLICIES: &str = include_str!("delegations.cedar");

impl PolicyBook {
    /// Compiles the policies and schemas of `estate`.
    ///
    /// # Errors
    ///
    /// All problems found: policies that can't be read, do not fit the schema, permit, lack a name or
    /// name what the estate lacks; policies under which no administrator could put another estate in force; input schemas
    /// that can't be compiled without reading elsewhere.
    pub fn compile(estate: Arc<Estate>) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let schemas = ArgumentSchemas::compile(&estate, &mut problems);
        let book = Self::compile_policies(estate, schemas, &mut problems);
        if problems.is_empty()
            && let Ok(book) = &book
        {
            problems.extend(book.locked_out());
        }
        match book {
            Ok(book) if problems.is_empty() => Ok(book),
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }

    /// Returns the estate that was compiled.
    pub const fn estate(&self) -> &Arc<Estate> {
        &self.estate
    }

    fn compile_policies(
        estate: Arc<Estate>,
        schemas: ArgumentSchemas,
        problems: &mut Vec<PolicyProblem>,
    ) -> Result<Self, PolicyProblem> {
        let vocabulary = Vocabulary::new()?;
        let schema = Schema::from_str(ACTS_SCHEMA).map_err(|it| PolicyProblem::inside(&it))?;
        let fixed = read_fixed(ACTS_POLICIES)?;
        let taken: Vec<&str> = fixed.iter().map(|(_, it)| it.name.as_ref()).collect();
        let tenant = read_tenant(&Folder::on_agents(&estate, &schema)?, &taken, problems);
        let labels_in_tenant_policies =
            if tenant.iter().any(|(policy, _)| mentions(policy, "labels")) {
                Sensitivity::Sensitive
            } else {
                Sensitivity::Blind
            };
        let tenant_asks = match tenant.iter().any(|(_, it)| it.lift == Lift::Approval) {
            true => TenantAsks::Somebody,
            false => TenantAsks::Nobody,
        };
        let shared = SharedEntities::build(&estate, &schema, &vocabulary)
            .map_err(|it| PolicyProblem::inside(&it))?;
        Ok(Self {
            acts: ActRules::new(&schema, &vocabulary, fixed, tenant)?,
            people: people_rules(&estate, problems)?,
            delegations: delegation_rules()?,
            estate,
            vocabulary,
            schema,
            schemas,
            shared,
            labels_in_tenant_policies,
            tenant_asks,
        })
    }
}

fn people_rules(
    estate: &Estate,
    problems: &mut Vec<PolicyProblem>,
) -> Result<PeopleRules, PolicyProblem> {
    let schema = Schema::from_str(PEOPLE_SCHEMA).map_err(|it| PolicyProblem::inside(&it))?;
    let fixed = read_fixed(PEOPLE_POLICIES)?;
    let taken: Vec<&str> = fixed.iter().map(|(_, it)| it.name.as_ref()).collect();
    let tenant = read_tenant(&Folder::on_people(estate, &schema)?, &taken, problems);
    PeopleRules::new(&schema, fixed, tenant)
}

fn delegation_rules() -> Result<PeopleRules, PolicyProblem> {
    let schema = Schema::from_str(DELEGATIONS_SCHEMA).map_err(|it| PolicyProblem::inside(&it))?;
    PeopleRules::new(&schema, read_fixed(DELEGATIONS_POLICIES)?, Vec::new())
}

impl fmt::Debug for PolicyBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyBook({})", self.estate.digest)
    }
}

//! Reading an estate: what an organisation declared, as files that it keeps in git.
//!
//! ```text
//! estate.toml                 people, and which access tokens are taken
//! agents/NAME.toml            workloads with an owner and a purpose
//! clients/NAME.toml           programs that ask for tokens
//! issuers/NAME.toml           who says by a token what a workload is
//! servers/NAME.toml           upstreams and their tools, as their owner accepted them
//! servers/NAME.tools.json     the accepted definitions: what MCP `tools/list` returned
//! templates/NAME.toml         the most that a kind of task may ask for
//! policies/NAME.cedar         the tenant's own guardrails for agents
//! policies/people/NAME.cedar  the same for people
//! tests/NAME.toml             decision tables; they gate `apply`
//! trust/NAME.toml             foreign trust domains whose workloads are believed
//! files/                      whatever stdio servers mount; not part of the version
//! ```
//!
//! All problems are found in one reading, each with its file, line, column and what to write.

mod agents;
mod clients;
mod document;
mod federations;
mod files;
mod issuers;
mod people;
mod problem;
mod servers;
mod tables;
mod templates;
mod value;

use std::{collections::BTreeSet, path::Path};

use ambit_core::{
    Digest,
    estate::{Estate, PolicyFile},
};

pub use self::{
    clients::CLIENTS_MAX,
    federations::FEDERATIONS_MAX,
    files::{ARCHIVE_BYTES_MAX, EstateFiles, FILE_BYTES_MAX, FILES_MAX},
    issuers::ISSUERS_MAX,
    people::GROUPS_OF_PERSON_MAX,
    problem::EstateProblem,
    tables::{CASES_MAX, DecisionCase, DecisionTable, Expected},
};
use self::{files::Kind, problem::Problems};

/// An estate that was read without a problem.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The estate; its digest is over `archive`.
    pub estate: Estate,
    /// All its files in one canonical form. [`read_archive`] reads them back.
    pub archive: Vec<u8>,
    /// The decision tables, in the order of their paths.
    pub tables: Vec<DecisionTable>,
}

/// Reads the estate in the directory `dir`.
///
/// # Errors
/// Every problem of every file, in the order of path, line and column.
pub fn read(dir: &Path) -> Result<Loaded, Vec<EstateProblem>> {
    EstateFiles::collect(dir)?.load()
}

/// Reads the estate that [`Loaded::archive`] keeps.
///
/// # Errors
/// Every problem, as [`read`] does; an archive of another form is one problem.
pub fn read_archive(bytes: &[u8]) -> Result<Loaded, Vec<EstateProblem>> {
    EstateFiles::from_archive(bytes)?.load()
}

impl EstateFiles {
    /// Reads the estate that these files declare.
    ///
    /// # Errors
    /// Every problem of every file, in the order of path, line and column.
    pub fn load(&self) -> Result<Loaded, Vec<EstateProblem>> {
        let problems = Problems::default();
        self.check_bounds(&problems);
        let archive = self.archive();
        if archive.len() > ARCHIVE_BYTES_MAX {
            problems.add_whole(
                "estate.toml",
                format!(
                    "all files together have more than {ARCHIVE_BYTES_MAX} bytes; split the estate"
                ),
            );
        }
        let known = Known::of(self);
        let people::Root {
            people,
            bearer_tokens,
        } = people::read(self, &problems);
        let aliases: BTreeSet<&str> = people.keys().map(String::as_str).collect();
        let servers = servers::read(self, &aliases, &problems);
        let templates = templates::read(self, &known, &aliases, &servers, &problems);
        let issuers = issuers::read(self, &problems);
        let federations = federations::read(self, &problems);
        let agents = agents::read(self, &known, &aliases, (&servers, &templates), &problems);
        let clients = clients::read(self, &known, &aliases, &problems);
        let estate = Estate {
            digest: Digest::of(&archive),
            agents,
            clients,
            federations,
            issuers,
            servers,
            templates,
            people,
            policies: self.policies(Kind::Policy),
            people_policies: self.policies(Kind::PeoplePolicy),
            bearer_tokens,
        };
        let tables = tables::read(self, &known, &estate, &problems);
        problems.into_result()?;
        Ok(Loaded {
            estate,
            archive,
            tables,
        })
    }

    fn policies(&self, kind: Kind) -> Vec<PolicyFile> {
        self.of_kind(kind)
            .map(|(_, path, text)| PolicyFile {
                path: path.to_owned(),
                text: text.to_owned(),
            })
            .collect()
    }
}

/// What the files declare by their names. References are checked against these, so that one broken
/// file is one problem and not also a problem of everybody who names it.
struct Known<'a> {
    servers: BTreeSet<&'a str>,
    templates: BTreeSet<&'a str>,
    issuers: BTreeSet<&'a str>,
    federations: BTreeSet<&'a str>,
    agents: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(files: &'a EstateFiles) -> Self {
        let stems = |kind| files.of_kind(kind).map(|(stem, ..)| stem).collect();
        Self {
            servers: stems(Kind::Server),
            templates: stems(Kind::Template),
            issuers: stems(Kind::Issuer),
            federations: stems(Kind::Federation),
            agents: stems(Kind::Agent),
        }
    }
}

#[cfg(test)]
mod tests;

//! The versions of the estate between which a simulation goes to and fro.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    Digest,
    estate::{Bound, Delegable, Estate, PersonRole, Tool},
    json,
};
use ambit_policy::PolicyBook;

use crate::delegating_office;

/// The versions of the estate, compiled.
pub(super) struct Estates {
    versions: Vec<Arc<PolicyBook>>,
}

impl Estates {
    /// Compiles all versions.
    pub(super) fn new() -> Self {
        let forbid = "@id(\"no-replies\")\nforbid (principal, action, resource == Ambit::Tool::\"tickets/send_reply\");";
        let forbidding = delegating(&[("policies/no-replies.cedar", forbid)]);
        let versions = [
            grown(delegating(&[])),
            repinned(grown(delegating(&[]))),
            narrowed(grown(delegating(&[]))),
            grown(forbidding),
        ];
        let compile = |(number, mut estate): (usize, Estate)| {
            estate.digest = digest(number);
            Arc::new(PolicyBook::compile(Arc::new(estate)).expect("an estate"))
        };
        Self {
            versions: versions.into_iter().enumerate().map(compile).collect(),
        }
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Returns a version and its files, which are its number.
    pub(super) fn version(&self, number: u64) -> (Arc<PolicyBook>, Vec<u8>) {
        let number = number as usize % self.versions.len();
        let book = self.versions.get(number).expect("a version");
        (book.clone(), vec![number as u8])
    }

    /// Makes the policies of a version from its files.
    pub(super) fn compile(&self, files: &[u8]) -> Result<Arc<PolicyBook>, String> {
        let number = files.first().copied().map(usize::from);
        let book = number.and_then(|it| self.versions.get(it));
        book.cloned().ok_or_else(|| "no such version".to_owned())
    }

    /// Returns every version by its digest.
    pub(super) fn by_digest(&self) -> BTreeMap<Digest, Arc<PolicyBook>> {
        let keyed = |it: &Arc<PolicyBook>| (it.estate().digest, it.clone());
        self.versions.iter().map(keyed).collect()
    }
}

fn delegating(policies: &[(&str, &str)]) -> Estate {
    delegating_office(DEPTH, policies)
}

/// How many hops deep parts of tasks can be delegated.
const DEPTH: u8 = 3;

fn digest(number: usize) -> Digest {
    Digest::of(&[number as u8])
}

/// Adds what may be revoked as a whole without bringing everything to a halt: the agent `scribe`, the person
/// `cat` with every role, and the server `vault`.
fn grown(mut estate: Estate) -> Estate {
    let (name, vault) = ("vault".parse().expect("a name"), "tickets");
    let mut server = estate
        .servers
        .values()
        .find(|it| it.name.as_str() == vault)
        .cloned()
        .expect("a server");
    server.name = name;
    for template in estate.templates.values_mut() {
        template.reads.insert(server.name.clone());
    }
    estate.servers.insert(server.name.clone(), server);
    let clerk = estate.agents.values();
    let clerk = clerk.into_iter().find(|it| it.name.as_str() == "clerk");
    let mut scribe = clerk.cloned().expect("an agent");
    scribe.name = "scribe".parse().expect("a name");
    for template in estate.templates.values_mut() {
        if let Delegable::To { agents, .. } = &mut template.delegation {
            agents.insert(scribe.name.clone());
        }
    }
    estate.agents.insert(scribe.name.clone(), scribe);
    let mut cat = estate.people.get("ana").cloned().expect("a person");
    cat.alias = "cat".to_owned();
    cat.unix_uid = Some(1004);
    cat.roles = PersonRole::ALL.into_iter().collect();
    estate.people.insert(cat.alias.clone(), cat);
    estate
}

/// Gives `refund` and `close_ticket` another definition, and so another pin.
fn repinned(mut estate: Estate) -> Estate {
    let servers = estate.servers.values_mut();
    for tool in servers.flat_map(|it| it.tools.values_mut()) {
        if ["refund", "close_ticket"].contains(&tool.name.as_str()) {
            let text = tool.definition.to_canonical();
            let text = text.replacen("\"description\":\"", "\"description\":\"again ", 1);
            tool.definition = json::parse(text.as_bytes()).expect("a definition");
            tool.pin = Tool::pin_of(&tool.definition);
        }
    }
    estate
}

/// Takes `close_ticket` from the template, holds every reply, and halves the budget.
fn narrowed(mut estate: Estate) -> Estate {
    for template in estate.templates.values_mut() {
        template.version += 1;
        template.calls_max = 10;
        template
            .tools
            .retain(|(_, tool), _| tool.as_str() != "close_ticket");
        for ((_, tool), grant) in &mut template.tools {
            if tool.as_str() == "send_reply" {
                grant.approval = Bound::Held;
            }
        }
    }
    estate
}

impl std::fmt::Debug for Estates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Estates({})", self.versions.len())
    }
}

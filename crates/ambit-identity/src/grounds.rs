//! What of the estate a token rests upon: who the client is and by what it showed that, and whose run it is.
//!
//! A ground is named by a digest, so that the log can keep it with the token. At every use it is looked for among those
//! that the estate in force gives: what was taken out or replaced is not there any more.

mod runs;
mod whole;

use std::collections::HashSet;

use ambit_core::{
    AgentName, Digest,
    claim::Footing,
    estate::{Client, ClientKeys, Estate, Workload},
    token::RestsOn,
};

pub use self::runs::COMBINATIONS_MAX;
pub(crate) use self::runs::{run_by_svid, run_by_token};
use crate::jose::{Algorithm, JwkSet, KeyUse, VerifyingKeys};

/// The uses of keys by which clients sign their assertions.
pub const CLIENT_KEY_USES: [KeyUse; 2] = [KeyUse::Signature, KeyUse::Unstated];

/// All grounds that an estate gives.
#[derive(Clone, Debug, Default)]
pub struct Grounds(HashSet<Digest>);

/// Whether an estate still says what a token rests upon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ground {
    /// It does.
    Stands,
    /// It does not: something was taken out or replaced.
    Gone,
}

impl Grounds {
    /// Returns those that `estate` gives. Keys that can't be read give none.
    pub fn of(estate: &Estate) -> Self {
        let mut grounds = HashSet::new();
        for client in estate.clients.values() {
            grounds.extend(client_proofs(client));
            let runs = client.runs.as_ref();
            grounds.extend(runs.map(|it| run_of_client(client, it)));
        }
        for (name, agent) in &estate.agents {
            let processes = agent.workloads.iter();
            grounds.extend(processes.map(|it| run_by_process(it, name)));
            for registration in &agent.tokens {
                let Some(issuer) = estate.issuers.get(&registration.issuer) else {
                    continue;
                };
                grounds.extend(runs::runs_by_token(issuer, registration, name));
                grounds.insert(whole::token(issuer, registration, name));
            }
            for registration in &agent.svids {
                let Some(federation) = estate.federations.get(&registration.federation) else {
                    continue;
                };
                grounds.extend(runs::runs_by_svid(federation, registration, name));
                grounds.insert(whole::svid(federation, registration, name));
            }
        }
        Self(grounds)
    }

    /// Says whether everything that a token rests upon is still there.
    pub fn hold(&self, rests_on: &RestsOn) -> Ground {
        let RestsOn {
            client,
            registration,
        } = rests_on;
        self.all(client.iter().chain(registration))
    }

    /// Says whether what a claim stands on is still there.
    pub fn bear(&self, footing: &Footing) -> Ground {
        self.all(footing.registration.iter())
    }

    fn all<'a>(&self, mut wanted: impl Iterator<Item = &'a Digest>) -> Ground {
        if wanted.all(|it| self.0.contains(it)) {
            Ground::Stands
        } else {
            Ground::Gone
        }
    }
}

/// Names what a client that the estate declares showed: `key` is the thumbprint of the key by which it signed (RFC 7638).
/// None when it showed less than it must.
///
/// The keys of a client that publishes them elsewhere come and go there: what is named is the address.
pub fn client_proof(client: &Client, key: Option<Digest>) -> Option<Digest> {
    let name = client.name.as_str().as_bytes();
    match (&client.keys, key) {
        (ClientKeys::Public, _) => Some(ground(&[b"client", name, b"public"])),
        (ClientKeys::At(address), Some(_)) => {
            Some(ground(&[b"client", name, b"at", address.as_bytes()]))
        }
        (ClientKeys::Given(_), Some(key)) => {
            Some(ground(&[b"client", name, b"key", key.as_bytes()]))
        }
        (ClientKeys::At(_) | ClientKeys::Given(_), None) => None,
    }
}

/// Names that a client is a run of `agent`.
pub(crate) fn run_of_client(client: &Client, agent: &AgentName) -> Digest {
    let names = [client.name.as_str(), agent.as_str()];
    ground(&[b"runs", names[0].as_bytes(), names[1].as_bytes()])
}

/// Names that processes that fit `registration` are runs of `agent`.
pub(crate) fn run_by_process(registration: &Workload, agent: &AgentName) -> Digest {
    let Workload {
        uid,
        gid,
        path,
        sha256,
        unit,
    } = registration;
    // What is not named is another thing than what is named and empty.
    let named = |it: Option<String>| it.map_or_else(String::new, |it| format!("={it}"));
    let parts = [
        named(uid.map(|it| it.to_string())),
        named(gid.map(|it| it.to_string())),
        named(path.clone()),
        named(sha256.map(|it| it.to_string())),
        named(unit.clone()),
    ];
    let mut names: Vec<&[u8]> = vec![b"process", agent.as_str().as_bytes()];
    names.extend(parts.iter().map(|it| it.as_bytes()));
    ground(&names)
}

/// Returns the grounds that a client can show.
fn client_proofs(client: &Client) -> Vec<Digest> {
    let keys = match &client.keys {
        ClientKeys::Public => return client_proof(client, None).into_iter().collect(),
        // Whichever key it is, the address is named.
        ClientKeys::At(_) => vec![Digest::of(&[])],
        ClientKeys::Given(text) => given_keys(text),
    };
    let shown = |key: Digest| client_proof(client, Some(key));
    keys.into_iter().filter_map(shown).collect()
}

fn given_keys(text: &str) -> Vec<Digest> {
    let set = JwkSet::parse(text.as_bytes()).ok();
    let keys = set.and_then(|it| VerifyingKeys::new(&it, &CLIENT_KEY_USES, &Algorithm::ALL).ok());
    let keys = keys.unwrap_or_default();
    keys.keys().iter().map(|it| it.thumbprint()).collect()
}

/// Names a ground: each part with its length first, so that no two lists of parts are the same bytes.
fn ground(parts: &[&[u8]]) -> Digest {
    crate::claimant::name_of(b"ambit ground", parts)
}

#[cfg(test)]
mod tests;

//! What of the estate a token rests upon: who the client is and by what it showed that, and whose run it is.
//!
//! A ground is named by a digest, so that the log can keep it with the token. At every use it is looked for among those
//! that the estate in force gives: what was taken out or replaced is not there any more.

use std::collections::HashSet;

use ambit_core::{
    AgentName, Digest,
    claim::Footing,
    estate::{
        BundleSource, Client, ClientKeys, Estate, Federation, Issuer, IssuerKeys, SvidRegistration,
        TokenRegistration, Workload,
    },
    token::RestsOn,
};

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
            let tokens = agent.tokens.iter().filter_map(|registration| {
                let issuer = estate.issuers.get(&registration.issuer)?;
                Some(run_by_token(issuer, registration, name))
            });
            grounds.extend(tokens);
            let processes = agent.workloads.iter();
            grounds.extend(processes.map(|it| run_by_process(it, name)));
            let svids = agent.svids.iter().filter_map(|registration| {
                let federation = estate.federations.get(&registration.federation)?;
                Some(run_by_svid(federation, registration, name))
            });
            grounds.extend(svids);
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

/// Names that tokens of `issuer` that fit `registration` are runs of `agent`.
pub(crate) fn run_by_token(
    issuer: &Issuer,
    registration: &TokenRegistration,
    agent: &AgentName,
) -> Digest {
    let keys = match &issuer.keys {
        IssuerKeys::Given(text) => ["given", text],
        IssuerKeys::At(address) => ["at", address],
        IssuerKeys::Discovered => ["discovered", ""],
    };
    let [kind, keys] = keys.map(str::as_bytes);
    ground(&[
        b"token",
        issuer.name.as_str().as_bytes(),
        issuer.issuer.as_bytes(),
        issuer.audience.as_bytes(),
        kind,
        keys,
        registration.claims.to_string().as_bytes(),
        agent.as_str().as_bytes(),
    ])
}

/// Names that workloads of `federation` whose path fits `registration` are runs of `agent`.
pub(crate) fn run_by_svid(
    federation: &Federation,
    registration: &SvidRegistration,
    agent: &AgentName,
) -> Digest {
    let (kind, source) = match &federation.source {
        BundleSource::Given(text) => ("given", text),
        BundleSource::Web { url } => ("web", url),
        BundleSource::Spiffe { url, .. } => ("spiffe", url),
    };
    ground(&[
        b"svid",
        federation.name.as_str().as_bytes(),
        federation.trust_domain.to_string().as_bytes(),
        kind.as_bytes(),
        source.as_bytes(),
        registration.path.to_string().as_bytes(),
        agent.as_str().as_bytes(),
    ])
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

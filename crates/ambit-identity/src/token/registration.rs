//! Whose run a workload token is: the one agent whose registration its claims fit; and whose run a client is.

use std::collections::BTreeMap;

use ambit_core::{
    AgentName, ClientName, Digest, IssuerName,
    claim::ClaimProof,
    estate::{Agent, Client, Issuer, claim_rules::ClaimRule},
};

use super::{assertion::ProvedClient, workload_token::WorkloadToken};
use crate::{
    Claimant,
    grounds::{run_by_token, run_of_client},
    nearest::{Miss, Nearest, Search, hint, shown},
};

/// A workload token that is not a run of exactly one agent. For those who operate Ambit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnknownToken {
    /// No registration fits.
    #[error("no agent is registered for this token of issuer `{issuer}`; {}", hint(nearest.as_deref(), "a `[[token]]`"))]
    Nobody {
        /// Whose token it is.
        issuer: IssuerName,
        /// The registration of which most claims fit, when there is any.
        nearest: Option<Box<Nearest>>,
    },
    /// Registrations of several agents fit.
    #[error(
        "the token fits agent `{first}` and agent `{second}`; narrow the claims of one of them"
    )]
    Several {
        /// One of them.
        first: AgentName,
        /// Another.
        second: AgentName,
    },
}

/// Identifies the one agent of which the holder of `token`, of the estate's issuer `issuer`, is a run.
///
/// The same issuer and subject is the same workload: it has one live task at a time.
///
/// # Errors
/// [`UnknownToken`] when no registration fits, or those of several agents do.
pub fn identify_token(
    token: &WorkloadToken,
    issuer: &Issuer,
    agents: &BTreeMap<AgentName, Agent>,
) -> Result<Claimant, UnknownToken> {
    let mut fitting: Option<(&AgentName, Digest)> = None;
    let mut nearest = Search::default();
    for (name, agent) in agents {
        let own = agent.tokens.iter().filter(|it| it.issuer == issuer.name);
        for registration in own {
            let differing = registration.claims.differing(|path| token.claim(path));
            if !differing.is_empty() {
                let fitted = registration.claims.count().saturating_sub(differing.len());
                let misses = differing.into_iter().map(|it| claim_miss(it, token));
                nearest.missed(name, fitted, misses.collect());
                continue;
            }
            match fitting {
                Some((first, _)) if first != name => {
                    return Err(UnknownToken::Several {
                        first: first.clone(),
                        second: name.clone(),
                    });
                }
                Some(_) => {}
                None => {
                    let claim = |path: &[String]| token.claim(path);
                    let by = run_by_token(issuer, registration, name, token.key(), claim);
                    fitting = Some((name, by));
                }
            }
        }
    }
    let Some((agent, registration)) = fitting else {
        let issuer = issuer.name.clone();
        let nearest = nearest.found();
        return Err(UnknownToken::Nobody { issuer, nearest });
    };
    let names = [token.issuer().as_bytes(), token.subject().as_bytes()];
    let claimant = Claimant::agent(agent.clone(), ClaimProof::Token, &names);
    Ok(claimant.registered(registration))
}

/// A client that is a run of no agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "this client is a run of no agent; ask for a person's consent (authorization_code), or write `runs = \"AGENT\"` into \
     `clients/NAME.toml` and apply the estate"
)]
pub struct RunsNothing;

/// Identifies the agent of which a client that proved itself is a run, as the estate declares.
///
/// The same client is the same workload: it has one live task at a time.
///
/// # Errors
/// [`RunsNothing`] when the estate declares it as none.
pub fn identify_client(
    client: &ProvedClient,
    clients: &BTreeMap<ClientName, Client>,
) -> Result<Claimant, RunsNothing> {
    let name = client.client_id().parse::<ClientName>();
    let declared = name.ok().and_then(|it| clients.get(&it));
    let runs = declared.and_then(|it| Some((it, it.runs.clone()?)));
    let (declared, agent) = runs.ok_or(RunsNothing)?;
    let names = [client.client_id().as_bytes()];
    let registration = run_of_client(declared, &agent);
    let claimant = Claimant::agent(agent, ClaimProof::Client, &names);
    Ok(claimant.registered(registration))
}

/// Says what of a claim differs.
fn claim_miss(rule: &ClaimRule, token: &WorkloadToken) -> Miss {
    let seen = match token.claim(rule.path()) {
        None => "missing".to_owned(),
        Some(claim) => claim
            .as_str()
            .map_or_else(|| "no text".to_owned(), |it| format!("`{}`", shown(it))),
    };
    Miss {
        name: format!("claim `{}`", rule.path().join(".")),
        wanted: format!("`{}`", rule.wanted()),
        seen,
    }
}

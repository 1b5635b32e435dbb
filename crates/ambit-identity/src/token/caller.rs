//! Callers that prove themselves with an access token.

use ambit_core::{TaskId, TrustDomain};

use super::access::{AccessToken, Possession};
use crate::{InstanceCaller, KeyBinding, caller::TokenClaim, dpop::Proof, jose::JoseError};

/// What came beside an access token.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The instance that the connection's certificate proves, when there is one.
    pub connection: Option<&'a InstanceCaller>,
    /// The DPoP proof of the request, when there is one. It was admitted once.
    pub proof: Option<&'a Proof>,
}

/// Identifies the instance that acts by a verified access token: the first of its actors.
///
/// Its key must be proved by what came `beside` it, unless it names none. On a connection with a certificate only a token
/// is taken that was issued to the instance of that certificate (`client_id`), or whose actor it is: a delegate uses its
/// own certificate with the token of a part that it took. The evidence is good for one request.
///
/// # Errors
/// [`JoseError::Claim`] when the key is not proved, or when the actor is no instance of `trust_domain`, or when the
/// connection's is neither the actor nor the client, or when the token names no task.
pub fn identify_token(
    token: &AccessToken,
    beside: Beside<'_>,
    trust_domain: &TrustDomain,
) -> Result<InstanceCaller, JoseError> {
    token.check_possession(possession(beside))?;
    let grant = token.grant();
    let ours = grant.actors.first();
    let ours = ours.filter(|it| it.trust_domain() == trust_domain);
    let named = ours.and_then(|it| Some((it, it.as_instance()?)));
    let (spiffe_id, (agent, instance)) =
        named.ok_or_else(|| wrong("act", "an instance of an agent of this trust domain"))?;
    let mut expires_at = grant.expires_at;
    if let Some(certified) = beside.connection {
        // The client of a token is who proved itself for it, which may be a name of another trust domain.
        let proved = certified.proved_name();
        if certified.spiffe_id() != spiffe_id && proved.to_string() != grant.client_id {
            return Err(wrong(
                "act",
                "the instance whose certificate the connection has, or a part that it took",
            ));
        }
        expires_at = expires_at.min(certified.expires_at());
    }
    let task: TaskId = grant
        .mission
        .id
        .parse()
        .map_err(|_| wrong("mission", "a task of this server"))?;
    Ok(InstanceCaller {
        spiffe_id: spiffe_id.clone(),
        agent,
        instance,
        binding: grant.binding,
        expires_at,
        token: Some(Box::new(TokenClaim {
            token_id: grant.token_id.clone(),
            task,
            client: grant.client_id.clone(),
            issued_at: token.issued_at(),
        })),
        foreign: beside.connection.and_then(|it| it.foreign.clone()),
    })
}

fn possession<'a>(beside: Beside<'a>) -> Possession<'a> {
    if let Some(proof) = beside.proof {
        return Possession::Proof(proof);
    }
    match beside.connection.map(InstanceCaller::binding) {
        Some(KeyBinding::Mtls { certificate }) => Possession::Certificate(certificate),
        Some(KeyBinding::Dpop { .. } | KeyBinding::Bearer) | None => Possession::Nothing,
    }
}

const fn wrong(name: &'static str, rule: &'static str) -> JoseError {
    JoseError::Claim { name, rule }
}

//! OpenID issuers whose tokens say what a workload is, and which of those tokens are an agent.

use super::claim_rules::ClaimRules;
use crate::IssuerName;

/// An OpenID issuer of workload tokens: Kubernetes, GitHub Actions, GitLab, a cloud.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer {
    /// Its name in the estate.
    pub name: IssuerName,
    /// What its tokens say as `iss`, letter by letter.
    pub issuer: String,
    /// What its tokens must say as their only `aud`.
    pub audience: String,
    /// Where its keys are.
    pub keys: IssuerKeys,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IssuerKeys {
    /// Where its discovery document says (OpenID Connect Discovery §4).
    Discovered,
    /// At this address.
    At(String),
    /// Here: a JWK Set, as text. For an issuer that Ambit can't reach.
    Given(String),
}

/// Which tokens of one issuer are an agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRegistration {
    /// Which issuer.
    pub issuer: IssuerName,
    /// What must hold of the claims, all of it.
    pub claims: ClaimRules,
}

/// Writes `a token of github with sub = repo:example/books:*`.
impl std::fmt::Display for TokenRegistration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a token of {} with {}", self.issuer, self.claims)
    }
}

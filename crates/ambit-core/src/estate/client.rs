//! Clients of the authorization server whom an organisation knows by name.

use std::collections::BTreeSet;

use crate::{AgentName, ClientName};

/// A program that asks for tokens: with a person's consent, or as a run of an agent itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its name, which is its `client_id`.
    pub name: ClientName,
    /// Its name for people.
    pub title: String,
    /// The alias of the person answerable for it.
    pub owner: String,
    /// The agents whose tasks it may have tokens of.
    pub agents: BTreeSet<AgentName>,
    /// The one of them of which it is a run, by its key: it claims tasks that wait for that agent.
    pub runs: Option<AgentName>,
    /// Where a person who consented may be sent back to, letter by letter.
    pub redirect_uris: Vec<String>,
    /// The keys by which it proves itself.
    pub keys: ClientKeys,
}

/// Where the keys of a client are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientKeys {
    /// It has none: a public client (RFC 6749 §2.1). Anybody can say that name.
    Public,
    /// At this address.
    At(String),
    /// Here: a JWK Set, as text.
    Given(String),
}

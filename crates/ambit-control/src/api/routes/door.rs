//! Behind which door a route is, and what it asks for.

/// Behind which door a route is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// People: on the local socket, and on the public port with a login.
    People,
    /// Runs of agents, over mutual TLS.
    Instance,
    /// Those who operate Ambit, on loopback.
    Operations,
    /// Anybody, on the public port.
    Public,
}

/// Which decision a route asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asks {
    /// One on a person's act, by the word of [`ambit_core::act::Governance::action`].
    Person(&'static str),
    /// That the instance's own task is live: it can only end itself.
    OwnTask,
    /// That a task waits for the token that is shown: it is spent.
    WaitingTask,
    /// That the client proves itself and, for a token, that a live task stands behind it.
    Client,
    /// None: it tells only what its door's onlookers may know.
    Nothing,
    /// None: people prove who they are, and are told nothing but that.
    WhoItIs,
}

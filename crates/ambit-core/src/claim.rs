//! Claims: how a run of an agent that nobody started comes to the task that waits for it.

/// How somebody proved to be a run of an agent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ClaimProof {
    /// A process of this machine, by what the kernel says of it.
    Process,
    /// The join token of the task, shown once.
    JoinToken,
    /// An X509-SVID of another trust domain.
    Svid,
    /// A workload token of an OpenID issuer.
    Token,
    /// The key of a client that the estate declares as a run of the agent.
    Client,
}

/// What the claim of a task stands on, and so what a run took over by that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Footing {
    /// Names the registration of the estate by which it was made, as that is written. Without it in the estate in force
    /// the task ends. None of a join token, and of claims from before registrations were written down.
    pub registration: Option<crate::Digest>,
    /// The local user as whom the process runs: it could speak for the person whose user that is. None of whoever is no
    /// process of this machine.
    pub unix_uid: Option<u32>,
}

/// Where a task stands with those who may claim it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimStanding {
    /// Nobody can: whoever started it certifies its instance.
    Closed,
    /// Nobody can, and a runner attends it: the runner's end is the task's end.
    Attended,
    /// The first who proves to be a run of its agent gets it.
    Waiting {
        /// The digest of the join token, when only who shows that gets it.
        join_token: Option<crate::Digest>,
    },
    /// It has its instance.
    Claimed {
        /// Names who has it: see [`crate::record::Body::TaskClaimed`].
        workload: crate::Digest,
    },
}

impl ClaimProof {
    /// Every proof.
    pub const ALL: [Self; 5] = [
        Self::Process,
        Self::JoinToken,
        Self::Svid,
        Self::Token,
        Self::Client,
    ];

    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::JoinToken => "join_token",
            Self::Svid => "svid",
            Self::Token => "token",
            Self::Client => "client",
        }
    }
}

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

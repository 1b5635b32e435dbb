//! How a running process proves to be an agent, as its owner registered it.

use crate::Digest;

/// A registration: a process that has every attribute named here is a run of the agent.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Workload {
    /// The local user (uid).
    pub uid: Option<u32>,
    /// The local group (gid).
    pub gid: Option<u32>,
    /// The absolute path of its executable.
    pub path: Option<String>,
    /// The digest over its executable's bytes.
    pub sha256: Option<Digest>,
    /// The systemd unit that runs it, such as `support-bot.service`.
    pub unit: Option<String>,
}

impl Workload {
    /// Returns how many attributes it names.
    pub fn count(&self) -> usize {
        let named = [
            self.uid.is_some(),
            self.gid.is_some(),
            self.path.is_some(),
            self.sha256.is_some(),
            self.unit.is_some(),
        ];
        named.into_iter().filter(|it| *it).count()
    }
}

/// Which local users a registration admits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admits {
    /// Those whose user, group or unit it names.
    Some,
    /// Everybody who can run the executable.
    Everybody,
}

impl Workload {
    /// Says which local users it admits. What is run says nothing of who runs it.
    pub const fn admits(&self) -> Admits {
        if self.uid.is_none() && self.gid.is_none() && self.unit.is_none() {
            return Admits::Everybody;
        }
        Admits::Some
    }
}

/// Writes `uid 1001, path /usr/bin/agent`.
impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [
            self.uid.map(|it| format!("uid {it}")),
            self.gid.map(|it| format!("gid {it}")),
            self.path.as_ref().map(|it| format!("path {it}")),
            self.sha256.map(|it| it.to_string()),
            self.unit.as_ref().map(|it| format!("unit {it}")),
        ];
        f.write_str(&named.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}
